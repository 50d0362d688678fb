//! What was left unfinished between a landing zone of readings and its trusted table.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;

use futures::stream::StreamExt;
use futures::try_join;
use tracing::warn;

use super::{Applied, Rule, rule_of, tables_of};
use crate::comparison::{Comparison, Listed, Looked, Versions, landing_objects};
use crate::error::Error;
use crate::key::{ETag, Fingerprint, ObjectKey, Part, Revision, Source};
use crate::lake::Lake;
use crate::layout::{self, Slice};
use crate::manifest::Manifest;
use crate::object::{self, Occupancy};
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
    let (sources, derived) = try_join!(
        landing_objects(lake, R::STREAM),
        list_all(lake.store.as_ref(), R::TABLE.location),
    )?;
    let mut slices: BTreeMap<Source, Slices> = BTreeMap::new();
    for object in derived {
        if let Some(slice) = Slice::of_key(&object.key, R::TABLE.location) {
            let slices = slices.entry(slice.source).or_default();
            // Most have one, and there are many.
            slices.reserve_exact(1);
            slices.push((slice, object.etag));
        }
    }
    for slices in slices.values_mut() {
        slices.sort_unstable_by_key(|(slice, _)| *slice);
    }
    let under = under::<R>(lake);
    let mut keys = BTreeSet::new();
    let mut occupied = Occupied::default();
    let mut unknown = Vec::new();
    for (source, listed) in &sources {
        let Some(manifest) = &listed.manifest else {
            keys.extend(listed.key());
            continue;
        };
        let slices = slices.get(source).map_or(&[][..], Vec::as_slice);
        let versions = under.clone().landing_object(
            listed.landed(),
            listed.quarantine.as_ref(),
            (&manifest.key, &manifest.etag),
        );
        let versions = with_slices::<R>(versions, slices.iter().map(|(slice, etag)| (slice, etag)));
        match comparison.knows(versions) {
            Some(occupancies) => {
                for ((slice, _), occupancy) in slices.iter().zip(occupancies) {
                    occupied.add(slice.date, *occupancy, &manifest.key);
                }
            }
            None => unknown.push(manifest.clone()),
        }
    }
    let look = |key: ObjectKey| async move {
        let compared = compare::<R>(lake, &key).await;
        (key, compared)
    };
    let mut compared = pin!(lake.look_at_each(unknown, look));
    while let Some((key, compared)) = compared.next().await {
        let source = layout::source_of_manifest(R::STREAM, &key);
        let listed = source.and_then(|source| sources.get(&source));
        let compared = match compared {
            Ok(Some(compared)) => compared,
            Ok(None) => {
                keys.extend(listed.and_then(Listed::key));
                continue;
            }
            // What will not do better later is told by whoever looks at the landing object, and keeps
            // nobody from comparing the others.
            Err(error) if !error.is_retryable() => {
                warn!(manifest = %key, "compare: {error}");
                keys.extend(listed.and_then(Listed::key));
                continue;
            }
            Err(error) => return Err(error),
        };
        for (slice, (_, occupancy)) in &compared.slices {
            occupied.add(slice.date, *occupancy, &key);
        }
        let landed = listed.and_then(Listed::landed);
        if landed == compared.version.as_ref() && compared.is_derived {
            let quarantine = compared.quarantine.as_ref();
            let versions = under.clone().landing_object(landed, quarantine, (&key, &compared.etag));
            let slices = compared.slices.iter().map(|(slice, (etag, _))| (slice, etag));
            let occupancies = compared.slices.values().map(|(_, occupancy)| *occupancy);
            comparison.note(with_slices::<R>(versions, slices), occupancies.collect());
            comparison.keep_progress(lake).await;
        } else {
            keys.insert(compared.landing);
        }
    }
    for manifest in occupied.unsettled(lake, R::TABLE).await? {
        let manifest = lake.load::<Manifest>(&manifest).await?;
        keys.extend(manifest.map(|manifest| manifest.value.landing.clone()));
    }
    Ok(keys)
}

/// What is derived from a landing object, with its versions.
type Slices = Vec<(Slice, ETag)>;

fn with_slices<'a, R: Rule>(
    versions: Versions,
    slices: impl Iterator<Item = (&'a Slice, &'a ETag)>,
) -> Fingerprint {
    let with = |versions: Versions, (slice, etag): (&Slice, &ETag)| {
        versions.version(slice.key(R::TABLE.location).as_str(), Some(etag))
    };
    slices.fold(versions, with).fingerprint()
}

fn under<R: Rule>(lake: &Lake) -> Versions {
    Versions::under(&format!("{} {}", rule_of::<R>(lake), lake.settings.changes.consent))
}

/// What is derived from a landing object, as its manifest has it.
struct Compared {
    landing: ObjectKey,
    version: Option<ETag>,
    /// Of the manifest.
    etag: ETag,
    slices: BTreeMap<Slice, (ETag, Occupancy)>,
    quarantine: Option<ETag>,
    /// Whether that is what the manifest wants.
    is_derived: bool,
}

/// Looks at what a manifest wants; `None` if it is gone.
async fn compare<R: Rule>(lake: &Lake, key: &ObjectKey) -> Result<Option<Compared>, Error> {
    let Some(found) = lake.load::<Manifest>(key).await? else { return Ok(None) };
    let manifest = &found.value;
    let mut compared = Compared {
        landing: manifest.landing.clone(),
        version: manifest.content.version.clone(),
        etag: found.etag,
        slices: BTreeMap::new(),
        quarantine: None,
        is_derived: true,
    };
    let (sequence, rule) = (manifest.sequence.to_string(), rule_of::<R>(lake));
    let policies = lake.settings.changes.consent;
    for slice in manifest.slices.keys() {
        let noted = object::note(lake, &slice.key(R::TABLE.location)).await?;
        compared.is_derived &= noted.as_ref().is_some_and(|noted| {
            let version = &noted.footer.version;
            version.source == sequence && version.rule == rule && version.policies == policies
        });
        if let Some(noted) = noted {
            let occupancy = noted.occupancy();
            compared.slices.insert(*slice, (noted.etag, occupancy));
        }
    }
    if compared.is_derived && manifest.had_fragments {
        let found = quarantine::find(lake, R::STREAM, &manifest.landing).await?;
        compared.is_derived = found.digest == manifest.content.quarantine;
        compared.quarantine = found.etag;
    }
    Ok(Some(compared))
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
    let listed = |part| {
        // What is not there was never to be applied.
        let announced = announced.get(&layout::slim_part(R::ANNOUNCED, part))?;
        Some(of_part::<R>(lake, part, announced, applied.get(&layout::applied(R::STREAM, part))))
    };
    comparison.look_at_parts(lake, listed, |part| behind::<R>(lake, part)).await
}

fn of_part<R: Rule>(
    lake: &Lake,
    part: Part,
    announced: &ETag,
    applied: Option<&ETag>,
) -> Fingerprint {
    under::<R>(lake)
        .version(layout::slim_part(R::ANNOUNCED, part).as_str(), Some(announced))
        .version(layout::applied(R::STREAM, part).as_str(), applied)
        .fingerprint()
}

/// Whether a part of the register was not applied yet: then its part of the customer table announces
/// it.
async fn behind<R: Rule>(lake: &Lake, part: Part) -> Result<Option<Looked>, Error> {
    let applied = lake.load::<Applied>(&layout::applied(R::STREAM, part)).await?;
    let etag = applied.as_ref().map(|applied| applied.etag.clone());
    let applied = applied.map_or(Revision(0), |applied| applied.value.revision);
    let key = layout::slim_part(R::ANNOUNCED, part);
    let Some((announced, revision)) = slim::revision(lake, &key).await? else { return Ok(None) };
    if revision <= applied {
        let versions = of_part::<R>(lake, part, &announced, etag.as_ref());
        return Ok(Some(Looked::Settled(versions)));
    }
    let (revision, _) = R::changed(lake, part, applied).await?;
    let key = layout::customer_part(R::REGISTER_ZONE, part);
    Ok((revision > applied).then_some(Looked::Unfinished(key)))
}
