//! Whether people have accelerometer data that is trusted.

use std::collections::{BTreeMap, BTreeSet};

use lake::error::Error;
use lake::key::KeyHash;
use lake::lake::Lake;
use lake::manifest;
use lake::tables::Stream;

/// Decides for trusted people, given with the dates of their consents, epoch milliseconds: a
/// landing object must hold a reading of theirs that the consent covers.
pub(crate) async fn decide(
    lake: &Lake,
    people: &BTreeMap<KeyHash, i64>,
) -> Result<BTreeMap<KeyHash, bool>, Error> {
    let hashes: BTreeSet<KeyHash> = people.keys().copied().collect();
    let manifests = manifest::naming(lake, Stream::Accelerometer, &hashes).await?;
    let consent = lake.settings.policies.consent;
    let present = |person: &KeyHash, since_ms: i64| {
        let from_ms = consent.covers_from(since_ms);
        manifests.values().any(|manifest| {
            let span = manifest.value.keys.get(person).copied().flatten();
            span.is_some_and(|span| span.last_ms >= from_ms)
        })
    };
    Ok(people.iter().map(|(person, since_ms)| (*person, present(person, *since_ms))).collect())
}
