//! What was left unfinished between a landing zone of readings and its trusted table.

use std::collections::BTreeSet;
use std::pin::pin;

use futures::stream::StreamExt;
use futures::try_join;

use super::{Applied, Rule, rule_of, tables_of};
use crate::comparison::{Comparison, Dates, LandingObjects, Listed, Looked, Versions, readable};
use crate::error::Error;
use crate::key::{ETag, Fingerprint, ObjectKey, Part, Revision};
use crate::lake::Lake;
use crate::layout;
use crate::manifest::Manifest;
use crate::object;
use crate::partitions::Occupied;
use crate::quarantine;
use crate::registers::slim;
use crate::store::{list_all, versions_below};

/// Landing objects that were added, replaced, deleted or not wholly derived; replay markers; parts
/// of the register that were not applied.
pub(super) async fn find<R: Rule>(lake: &Lake) -> Result<Vec<ObjectKey>, Error> {
    let mut comparison = Comparison::begin(lake, R::NAME).await;
    let mut keys = underived::<R>(lake, &mut comparison).await?;
    for marker in list_all(lake.store.as_ref(), layout::REPLAY).await? {
        let landing = layout::replayed(&marker.key);
        if landing.is_some_and(|key| key.after(layout::landing(R::STREAM)).is_some()) {
            keys.insert(marker.key);
        }
    }
    keys.extend(unapplied::<R>(lake, &mut comparison).await?);
    comparison.register(lake, &tables_of::<R>()).await?;
    comparison.end(lake).await;
    Ok(keys.into_iter().collect())
}

/// Landing objects from which not all is derived that should be, and nothing else.
async fn underived<R: Rule>(
    lake: &Lake,
    comparison: &mut Comparison,
) -> Result<BTreeSet<ObjectKey>, Error> {
    let (zone, under) = (Some(R::TABLE.location), under::<R>(lake));
    let listed = LandingObjects::list(lake, comparison, R::STREAM, zone, under).await?;
    let mut keys: BTreeSet<ObjectKey> = listed.new.iter().cloned().collect();
    let mut occupied = Occupied::default();
    let mut unknown = Vec::new();
    for (source, Listed { versions, manifest_bytes }) in &listed.known {
        match comparison.knows(versions.fingerprint()) {
            Some(dates) => {
                dates.into_iter().for_each(|(date, rows)| occupied.add(date, rows, *source));
            }
            None => unknown.push((*source, *manifest_bytes)),
        }
    }
    // Of these the manifests do not say where they landed.
    let mut untold = BTreeSet::new();
    let look = |source| async move {
        let key = layout::manifest(R::STREAM, source);
        (source, compare::<R>(lake, under, &key).await)
    };
    let mut compared = pin!(lake.look_at_each(unknown, look));
    while let Some((source, compared)) = compared.next().await {
        let Some(compared) = compared? else {
            untold.insert(source);
            continue;
        };
        let Compared { landing, version, versions, dates, is_derived } = compared;
        dates.iter().for_each(|(date, rows)| occupied.add(*date, *rows, source));
        if is_derived && listed.is_current(lake, &landing, version.as_ref(), versions).await? {
            comparison.note(versions.fingerprint(), dates);
            comparison.keep_progress(lake).await;
        } else {
            keys.insert(landing);
        }
    }
    for source in occupied.unsettled(lake, R::TABLE).await? {
        let key = layout::manifest(R::STREAM, source);
        let manifest = readable(&key, lake.load::<Manifest>(&key).await)?;
        keys.extend(manifest.map(|manifest| manifest.value.landing.clone()));
    }
    keys.extend(listed.keys(lake, &untold).await?);
    Ok(keys)
}

fn under<R: Rule>(lake: &Lake) -> Versions {
    Versions::under(&format!("{} {}", rule_of::<R>(lake), lake.settings.changes.consent))
}

/// What is derived from a landing object, as its manifest has it.
struct Compared {
    landing: ObjectKey,
    version: Option<ETag>,
    /// Of all there is of it.
    versions: Versions,
    dates: Dates,
    /// Whether that is what the manifest wants.
    is_derived: bool,
}

/// Looks at what a manifest wants; `None` if it is gone, or cannot be read.
async fn compare<R: Rule>(
    lake: &Lake,
    under: Versions,
    key: &ObjectKey,
) -> Result<Option<Compared>, Error> {
    let found = readable(key, lake.load::<Manifest>(key).await)?;
    let Some(found) = found else { return Ok(None) };
    let (manifest, version) = (&found.value, found.value.content.version.clone());
    let (mut versions, mut dates) = (under, Vec::new());
    let mut is_derived = true;
    let (sequence, rule) = (manifest.sequence.to_string(), rule_of::<R>(lake));
    let policies = lake.settings.changes.consent;
    for slice in manifest.slices.keys() {
        let derived = slice.key(R::TABLE.location);
        let noted = readable(&derived, object::note(lake, &derived).await)?;
        is_derived &= noted.as_ref().is_some_and(|noted| {
            let version = &noted.footer.version;
            version.source == sequence && version.rule == rule && version.policies == policies
        });
        if let Some(noted) = noted {
            versions = versions.version(derived.as_str(), Some(&noted.etag));
            dates.push((slice.date, noted.occupancy()));
        }
    }
    let mut quarantined = None;
    if is_derived && manifest.had_fragments {
        let found = quarantine::find(lake, R::STREAM, &manifest.landing).await?;
        is_derived = found.digest == manifest.content.quarantine;
        quarantined = found.etag;
    }
    let manifested = (key, &found.etag);
    let versions = versions.landing_object(version.as_ref(), quarantined.as_ref(), manifested);
    let landing = manifest.landing.clone();
    Ok(Some(Compared { landing, version, versions, dates, is_derived }))
}

/// The parts of the customer table that announce parts of the register which were not applied.
async fn unapplied<R: Rule>(
    lake: &Lake,
    comparison: &mut Comparison,
) -> Result<Vec<ObjectKey>, Error> {
    let store = lake.store.as_ref();
    let prefix = layout::applied_parts(R::STREAM);
    let (announced, applied) =
        try_join!(versions_below(store, R::ANNOUNCED), versions_below(store, &prefix))?;
    let under = under::<R>(lake);
    let listed = |part| {
        // What is not there was never to be applied.
        let announced = announced.get(&layout::slim_part(R::ANNOUNCED, part))?;
        Some(of_part::<R>(under, part, announced, applied.get(&layout::applied(R::STREAM, part))))
    };
    comparison.look_at_parts(lake, listed, |part| behind::<R>(lake, under, part)).await
}

fn of_part<R: Rule>(
    under: Versions,
    part: Part,
    announced: &ETag,
    applied: Option<&ETag>,
) -> Fingerprint {
    under
        .version(layout::slim_part(R::ANNOUNCED, part).as_str(), Some(announced))
        .version(layout::applied(R::STREAM, part).as_str(), applied)
        .fingerprint()
}

/// Whether a part of the register was not applied yet: then its part of the customer table announces
/// it.
async fn behind<R: Rule>(
    lake: &Lake,
    under: Versions,
    part: Part,
) -> Result<Option<Looked>, Error> {
    let applied = lake.load::<Applied>(&layout::applied(R::STREAM, part)).await?;
    let etag = applied.as_ref().map(|applied| applied.etag.clone());
    let applied = applied.map_or(Revision(0), |applied| applied.value.revision);
    let key = layout::slim_part(R::ANNOUNCED, part);
    let Some((announced, revision)) = slim::revision(lake, &key).await? else { return Ok(None) };
    if revision <= applied {
        let versions = of_part::<R>(under, part, &announced, etag.as_ref());
        return Ok(Some(Looked::Settled(versions)));
    }
    let (revision, _) = R::changed(lake, part, R::announced(lake, part).await?, applied).await?;
    let key = layout::customer_part(R::REGISTER_ZONE, part);
    Ok((revision > applied).then_some(Looked::Unfinished(key)))
}
