//! What was left unfinished between a landing zone of readings and its trusted table.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;

use futures::stream::{self, StreamExt, TryStreamExt};
use futures::try_join;

use super::{Applied, Rule, rule_of};
use crate::comparison::{Comparison, Versions, versions_below};
use crate::error::Error;
use crate::key::{ETag, Fingerprint, ObjectKey, Part, Revision, Source};
use crate::lake::Lake;
use crate::layout::{self, Slice};
use crate::manifest::Manifest;
use crate::object::{self, Occupancy};
use crate::partitions::Occupied;
use crate::quarantine;
use crate::registers::slim;
use crate::store::{ObjectMeta, list_all};

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
    comparison.end(lake).await;
    Ok(keys.into_iter().collect())
}

/// What there is of a landing object, as it was listed.
#[derive(Default)]
struct Listed {
    landing: Option<(ObjectKey, ETag)>,
    manifest: Option<ObjectMeta>,
    slices: Vec<(Slice, ETag)>,
    quarantine: Option<ETag>,
}

/// Everything there is of the landing objects of a stream.
async fn list<R: Rule>(lake: &Lake) -> Result<BTreeMap<Source, Listed>, Error> {
    let store = lake.store.as_ref();
    let (zone, manifests) = (layout::landing(R::STREAM), layout::manifests(R::STREAM));
    let quarantined = layout::quarantined(R::STREAM);
    let (landed, manifests, derived, quarantined) = try_join!(
        list_all(store, zone),
        list_all(store, &manifests),
        list_all(store, R::TABLE.location),
        list_all(store, &quarantined),
    )?;
    let mut sources: BTreeMap<Source, Listed> = BTreeMap::new();
    for object in landed {
        let listed = sources.entry(Source::of(&object.key)).or_default();
        listed.landing = Some((object.key, object.etag));
    }
    for object in manifests {
        if let Some(source) = layout::source_of_manifest(R::STREAM, &object.key) {
            sources.entry(source).or_default().manifest = Some(object);
        }
    }
    for object in derived {
        if let Some(slice) = Slice::of_key(&object.key, R::TABLE.location) {
            let listed = sources.entry(slice.source).or_default();
            // Most have one, and there are many.
            listed.slices.reserve_exact(1);
            listed.slices.push((slice, object.etag));
        }
    }
    for object in quarantined {
        if let Some(landing) = layout::landing_of_quarantine(R::STREAM, &object.key) {
            sources.entry(Source::of(&landing)).or_default().quarantine = Some(object.etag);
        }
    }
    for listed in sources.values_mut() {
        listed.slices.sort_unstable_by_key(|(slice, _)| *slice);
    }
    Ok(sources)
}

/// Landing objects from which not all is derived that should be, and nothing else.
async fn underived<R: Rule>(
    lake: &Lake,
    comparison: &mut Comparison,
) -> Result<BTreeSet<ObjectKey>, Error> {
    let sources = list::<R>(lake).await?;
    let mut keys = BTreeSet::new();
    let mut occupied = Occupied::default();
    let mut unknown = Vec::new();
    for listed in sources.values() {
        let landed = listed.landing.as_ref();
        let Some(manifest) = &listed.manifest else {
            keys.extend(landed.map(|(key, _)| key.clone()));
            continue;
        };
        let landed = landed.map(|(_, version)| version);
        let slices = listed.slices.iter().map(|(slice, etag)| (slice, etag));
        let seen =
            Seen { manifest: &manifest.etag, slices, quarantine: listed.quarantine.as_ref() };
        match comparison.knows(seen.fingerprint::<R>(lake, &manifest.key, landed)) {
            Some(occupancies) => {
                for ((slice, _), occupancy) in listed.slices.iter().zip(occupancies) {
                    occupied.add(slice.date, *occupancy, &manifest.key);
                }
            }
            None => unknown.push(manifest.clone()),
        }
    }
    let mut compared = pin!(lake.look_at_each(unknown, |key| compare::<R>(lake, key)));
    while let Some(compared) = compared.try_next().await? {
        let Some(compared) = compared else { continue };
        for (slice, (_, occupancy)) in &compared.slices {
            occupied.add(slice.date, *occupancy, &compared.manifest);
        }
        let listed = sources.get(&Source::of(&compared.landing));
        let landed = listed.and_then(|listed| Some(&listed.landing.as_ref()?.1));
        if landed == compared.version.as_ref() && compared.is_derived {
            let slices = compared.slices.iter().map(|(slice, (etag, _))| (slice, etag));
            let quarantine = compared.quarantine.as_ref();
            let seen = Seen { manifest: &compared.etag, slices, quarantine };
            let versions = seen.fingerprint::<R>(lake, &compared.manifest, landed);
            let occupancies = compared.slices.values().map(|(_, occupancy)| *occupancy);
            comparison.note(versions, occupancies.collect());
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

/// Versions of what is derived from a landing object, with that of its manifest.
struct Seen<'a, S> {
    manifest: &'a ETag,
    slices: S,
    quarantine: Option<&'a ETag>,
}

impl<'a, S: Iterator<Item = (&'a Slice, &'a ETag)>> Seen<'a, S> {
    fn fingerprint<R: Rule>(
        self,
        lake: &Lake,
        manifest: &ObjectKey,
        landed: Option<&ETag>,
    ) -> Fingerprint {
        let versions = under::<R>(lake)
            .version("landing", landed)
            .version("quarantine", self.quarantine)
            .version(manifest.as_str(), Some(self.manifest));
        let with = |versions: Versions, (slice, etag): (&Slice, &ETag)| {
            versions.version(slice.key(R::TABLE.location).as_str(), Some(etag))
        };
        self.slices.fold(versions, with).fingerprint()
    }
}

fn under<R: Rule>(lake: &Lake) -> Versions {
    Versions::under(&format!("{} {}", rule_of::<R>(lake), lake.settings.changes.consent))
}

/// A manifest beside what is derived from its landing object.
struct Compared {
    landing: ObjectKey,
    version: Option<ETag>,
    manifest: ObjectKey,
    etag: ETag,
    slices: BTreeMap<Slice, (ETag, Occupancy)>,
    quarantine: Option<ETag>,
    /// Whether that is what the manifest wants.
    is_derived: bool,
}

async fn compare<R: Rule>(lake: &Lake, key: ObjectKey) -> Result<Option<Compared>, Error> {
    let Some(found) = lake.load::<Manifest>(&key).await? else { return Ok(None) };
    let manifest = &found.value;
    let mut compared = Compared {
        landing: manifest.landing.clone(),
        version: manifest.content.version.clone(),
        manifest: key,
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
    let announced = versions_below(lake, R::ANNOUNCED).await?;
    let applied = versions_below(lake, &layout::applied_parts(R::STREAM)).await?;
    let unknown = lake.settings.parts.all().filter(|part| {
        // What is not there was never to be applied.
        announced.get(&R::announced(*part)).is_some_and(|announced| {
            let applied = applied.get(&layout::applied(R::STREAM, *part));
            comparison.knows(of_part::<R>(lake, *part, announced, applied)).is_none()
        })
    });
    let unknown: Vec<Part> = unknown.collect();
    let compared: Vec<Option<Behind>> = stream::iter(unknown)
        .map(|part| behind::<R>(lake, part))
        .buffered(lake.parts_at_once())
        .try_collect()
        .await?;
    let mut keys = Vec::new();
    for compared in compared.into_iter().flatten() {
        match compared {
            Behind::By(key) => keys.push(key),
            Behind::Not(versions) => comparison.note(versions, Vec::new()),
        }
    }
    Ok(keys)
}

fn of_part<R: Rule>(
    lake: &Lake,
    part: Part,
    announced: &ETag,
    applied: Option<&ETag>,
) -> Fingerprint {
    under::<R>(lake)
        .version(R::announced(part).as_str(), Some(announced))
        .version(layout::applied(R::STREAM, part).as_str(), applied)
        .fingerprint()
}

/// Whether a part of the register was not applied yet.
enum Behind {
    /// It was not; that part of the customer table announces it.
    By(ObjectKey),
    /// It was, in these versions.
    Not(Fingerprint),
}

async fn behind<R: Rule>(lake: &Lake, part: Part) -> Result<Option<Behind>, Error> {
    let applied = lake.load::<Applied>(&layout::applied(R::STREAM, part)).await?;
    let etag = applied.as_ref().map(|applied| applied.etag.clone());
    let applied = applied.map_or(Revision(0), |applied| applied.value.revision);
    let Some((announced, revision)) = slim::revision(lake, &R::announced(part)).await? else {
        return Ok(None);
    };
    if revision <= applied {
        let versions = of_part::<R>(lake, part, &announced, etag.as_ref());
        return Ok(Some(Behind::Not(versions)));
    }
    let (revision, _) = R::changed(lake, part, applied).await?;
    let key = layout::customer_part(R::REGISTER_ZONE, part);
    Ok((revision > applied).then_some(Behind::By(key)))
}
