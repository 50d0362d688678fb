//! Whether people have accelerometer data that is trusted.

use std::collections::{BTreeMap, BTreeSet};

use futures::stream::{self, StreamExt, TryStreamExt};
use lake::error::Error;
use lake::key::{KeyHash, Source};
use lake::lake::Lake;
use lake::manifest::{self, Manifest};
use lake::tables::Stream;

/// Decides for trusted people, given with the dates of their consents, epoch milliseconds: a
/// landing object must hold a reading of theirs that the consent covers.
///
/// One that does is enough: manifests are read, few at a time, until everybody is found or none is
/// left. So somebody with years of readings costs no more than somebody with a day's.
pub(crate) async fn decide(
    lake: &Lake,
    people: &BTreeMap<KeyHash, i64>,
) -> Result<BTreeMap<KeyHash, bool>, Error> {
    if people.is_empty() {
        return Ok(BTreeMap::new());
    }
    let stream = Stream::Accelerometer;
    let hashes: BTreeSet<KeyHash> = people.keys().copied().collect();
    let mut search = Search {
        marked: manifest::marked(lake, stream, &hashes).await?,
        wide: manifest::wide(lake, stream).await?,
        missing: people.clone(),
        stride: 1,
    };
    loop {
        let sources = search.next(lake.bounds.concurrency);
        if sources.is_empty() {
            break;
        }
        let manifests: Vec<_> = stream::iter(sources)
            .map(|source| manifest::load(lake, stream, source))
            .buffered(lake.bounds.concurrency)
            .try_collect()
            .await?;
        for manifest in manifests.into_iter().flatten() {
            search.look(lake, &manifest.value);
        }
    }
    let found = |person| !search.missing.contains_key(person);
    Ok(people.keys().map(|person| (*person, found(person))).collect())
}

/// The people who were not found yet, and where else to look for them.
struct Search {
    marked: BTreeMap<KeyHash, BTreeSet<Source>>,
    wide: BTreeSet<Source>,
    missing: BTreeMap<KeyHash, i64>,
    stride: usize,
}

impl Search {
    /// Takes a few of the sources left: those that name somebody missing first, one for each to
    /// begin with and more each time; then the wide ones.
    fn next(&mut self, count_max: usize) -> BTreeSet<Source> {
        let mut next = BTreeSet::new();
        for person in self.missing.keys() {
            let Some(sources) = self.marked.get_mut(person) else { continue };
            while let Some(source) = sources.pop_first() {
                next.insert(source);
                if next.len() % self.stride == 0 {
                    break;
                }
            }
            if next.len() >= count_max {
                break;
            }
        }
        self.stride = (self.stride * 2).min(count_max.max(1));
        for sources in self.marked.values_mut() {
            sources.retain(|source| !next.contains(source));
        }
        if next.is_empty() && !self.missing.is_empty() {
            next.extend(std::iter::from_fn(|| self.wide.pop_first()).take(count_max.max(1)));
        }
        next
    }

    fn look(&mut self, lake: &Lake, manifest: &Manifest) {
        let consent = lake.settings.policies.consent;
        self.missing.retain(|person, since_ms| {
            let span = manifest.keys.get(person).copied().flatten();
            span.is_none_or(|span| span.last_ms < consent.covers_from(*since_ms))
        });
    }
}
