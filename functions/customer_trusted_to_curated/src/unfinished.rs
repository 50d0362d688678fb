//! What was left unfinished between customer_trusted and customer_curated.
//!
//! Whether people have a witness depends on their part of the register and on the manifests that name
//! them. Of a part that changed since the last comparison all of those matter; of a manifest that
//! changed, all parts of those whom it names. Every other pair of a part and a manifest is as it was.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::pin::pin;
use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};
use futures::try_join;
use lake::comparison::{Comparison, Versions};
use lake::error::Error;
use lake::key::{ETag, Fingerprint, KeyHash, ObjectKey, Part, Source};
use lake::lake::{Lake, Versioned};
use lake::layout;
use lake::manifest::{self, Manifest};
use lake::object;
use lake::registers::{CuratedRegister, slim};
use lake::store::{ObjectMeta, list_all, versions_below};
use lake::tables::{ACCELEROMETER_TRUSTED, CUSTOMER_CURATED, Stream};

use crate::project;

/// Up to how many people of changed parts the manifests that name them are looked up; beyond, all
/// manifests are looked at.
const LOOKED_UP_MAX: usize = 1 << 16;

/// Parts that are behind customer_trusted or were left in the middle, and accelerometer objects
/// that were not taken into account.
pub(crate) async fn find(lake: &Lake) -> Result<Vec<ObjectKey>, Error> {
    let mut comparison = Comparison::begin(lake, env!("CARGO_PKG_NAME")).await;
    let listed = Listed::list(lake).await?;
    let changed = comparison.unknown_parts(lake, |part| listed.versions(lake, part));
    let changed: BTreeSet<Part> = changed.into_iter().collect();
    let new = listed.new_manifests(lake, &mut comparison);
    let mut keys = BTreeSet::new();
    let mut presence = Presence::default();

    // The parts in which everybody is as they should be, so far; and the versions that says.
    let mut settled: BTreeMap<Part, Fingerprint> = BTreeMap::new();
    let mut compared = stream::iter(changed.iter().copied())
        .map(|part| async move { Ok::<_, Error>((part, compare(lake, part).await?)) })
        .buffered(lake.parts_at_once());
    while let Some((part, (register, versions))) = compared.try_next().await? {
        presence.await_people(lake, &register);
        match versions {
            Some(versions) => drop(settled.insert(part, versions)),
            None => drop(keys.insert(layout::customer_part(layout::TRUSTED_CUSTOMER, part))),
        }
    }
    let sources = presence.sources(lake).await?;

    let (neighbours, moved) = neighbours(lake, &listed, &changed, &new).await?;
    for (part, register) in neighbours {
        if let Some(register) = &register {
            presence.await_people(lake, &register.value);
        }
        let Some(versions) = listed.versions(lake, part) else { continue };
        let seen = register.as_ref().map(|register| &register.etag);
        if listed.registers.get(&layout::curated_register(part)) == seen {
            settled.insert(part, versions);
        } else {
            comparison.forget(versions);
        }
    }

    let is_new: HashSet<&ObjectKey> = new.iter().map(|listed| &listed.key).collect();
    let is_wanted = |listed: &&ObjectMeta| {
        let Some(sources) = &sources else { return true };
        let source = layout::source_of_manifest(Stream::Accelerometer, &listed.key);
        is_new.contains(&listed.key) || source.is_some_and(|source| sources.contains(&source))
    };
    let wanted: Vec<ObjectMeta> = listed.manifests.iter().filter(is_wanted).cloned().collect();
    let mut unseen: HashMap<ObjectKey, ETag> =
        wanted.iter().map(|listed| (listed.key.clone(), listed.etag.clone())).collect();
    let mut manifests = pin!(lake.look_at_each(wanted, |key| load(lake, key)));
    while let Some(manifest) = manifests.try_next().await? {
        let Some((key, manifest)) = manifest else { continue };
        presence.add(&manifest.value);
        if unseen.get(&key) == Some(&manifest.etag) && !moved.contains(&key) {
            unseen.remove(&key);
            comparison.note(of_manifest(lake, &key, &manifest.etag), Vec::new());
        }
    }
    for (key, etag) in unseen {
        comparison.forget(of_manifest(lake, &key, &etag));
    }

    for (person, presence) in presence.people {
        let Some(lead) = presence.unlike() else { continue };
        keys.insert(lead);
        if let Some(versions) = settled.remove(&person.part(lake.settings.parts)) {
            comparison.forget(versions);
        }
    }
    for versions in settled.into_values() {
        comparison.note(versions, Vec::new());
    }
    comparison.register(lake, &[&CUSTOMER_CURATED]).await?;
    comparison.end(lake).await;
    Ok(keys.into_iter().collect())
}

async fn load(
    lake: &Lake,
    key: ObjectKey,
) -> Result<Option<(ObjectKey, Versioned<Manifest>)>, Error> {
    Ok(lake.load::<Manifest>(&key).await?.map(|manifest| (key, manifest)))
}

/// The parts that did not change, with people whom changed manifests name; and the manifests that
/// moved since they were listed.
async fn neighbours(
    lake: &Lake,
    listed: &Listed,
    changed: &BTreeSet<Part>,
    new: &[ObjectMeta],
) -> Result<(Vec<(Part, Option<Versioned<CuratedRegister>>)>, HashSet<ObjectKey>), Error> {
    let mut named = BTreeSet::new();
    let is_there = |part: &Part| listed.registers.contains_key(&layout::curated_register(*part));
    let unchanged = |part: &Part| is_there(part) && !changed.contains(part);
    if !lake.settings.parts.all().any(|part| unchanged(&part)) {
        return Ok((Vec::new(), HashSet::new()));
    }
    let mut moved: HashMap<&ObjectKey, &ETag> =
        new.iter().map(|listed| (&listed.key, &listed.etag)).collect();
    let mut manifests = pin!(lake.look_at_each(new.to_vec(), |key| load(lake, key)));
    while let Some(manifest) = manifests.try_next().await? {
        let Some((key, manifest)) = manifest else { continue };
        named.extend(manifest.value.keys.keys().map(|person| person.part(lake.settings.parts)));
        if moved.get(&key) == Some(&&manifest.etag) {
            moved.remove(&key);
        }
    }
    let neighbours = stream::iter(named.into_iter().filter(unchanged))
        .map(|part| async move {
            let register = lake.load::<CuratedRegister>(&layout::curated_register(part)).await?;
            Ok::<_, Error>((part, register))
        })
        .buffered(lake.parts_at_once())
        .try_collect()
        .await?;
    Ok((neighbours, moved.into_keys().cloned().collect()))
}

/// What there is, as it was listed.
struct Listed {
    trusted: BTreeMap<ObjectKey, ETag>,
    registers: BTreeMap<ObjectKey, ETag>,
    owners: BTreeMap<ObjectKey, ETag>,
    curated: BTreeMap<ObjectKey, ETag>,
    manifests: Vec<ObjectMeta>,
}

impl Listed {
    async fn list(lake: &Lake) -> Result<Self, Error> {
        let manifests = layout::manifests(Stream::Accelerometer);
        let store = lake.store.as_ref();
        let (trusted, registers, owners, curated, manifests) = try_join!(
            versions_below(store, layout::TRUSTED_CUSTOMER),
            versions_below(store, layout::CURATED_REGISTER),
            versions_below(store, layout::OWNERS),
            versions_below(store, layout::CURATED_CUSTOMER),
            list_all(store, &manifests),
        )?;
        Ok(Self { trusted, registers, owners, curated, manifests })
    }

    /// Those of a part; `None` if there is nothing from which anything follows.
    fn versions(&self, lake: &Lake, part: Part) -> Option<Fingerprint> {
        let trusted = self.trusted.get(&layout::customer_part(layout::TRUSTED_CUSTOMER, part));
        let register = self.registers.get(&layout::curated_register(part));
        if trusted.is_none() && register.is_none() {
            return None;
        }
        let owners = self.owners.get(&layout::owners(part));
        let curated = self.curated.get(&layout::customer_part(layout::CURATED_CUSTOMER, part));
        Some(of_part(lake, part, [trusted, register, owners, curated]))
    }

    fn new_manifests(&self, lake: &Lake, comparison: &mut Comparison) -> Vec<ObjectMeta> {
        let mut is_new = |listed: &ObjectMeta| {
            comparison.knows(of_manifest(lake, &listed.key, &listed.etag)).is_none()
        };
        self.manifests.iter().filter(|listed| is_new(listed)).cloned().collect()
    }
}

/// What people's presence depends on beside the objects.
fn under(lake: &Lake) -> Versions {
    let (consent, changes) = (lake.settings.policies.consent, lake.settings.changes.consent);
    Versions::under(&format!("{} consent={consent} {changes}", CUSTOMER_CURATED.name))
}

fn of_manifest(lake: &Lake, key: &ObjectKey, etag: &ETag) -> Fingerprint {
    under(lake).version(key.as_str(), Some(etag)).fingerprint()
}

fn of_part(lake: &Lake, part: Part, versions: [Option<&ETag>; 4]) -> Fingerprint {
    let names = ["trusted", "register", "owners", "curated"];
    let with = |all: Versions, (name, version)| all.version(name, version);
    let part = under(lake).version(&part.to_string(), None);
    names.into_iter().zip(versions).fold(part, with).fingerprint()
}

/// A part of the register; and the versions in which everything follows from it, and it from
/// customer_trusted, if that is so.
async fn compare(
    lake: &Lake,
    part: Part,
) -> Result<(Arc<CuratedRegister>, Option<Fingerprint>), Error> {
    let found = lake.load::<CuratedRegister>(&layout::curated_register(part)).await?;
    let etag = found.as_ref().map(|found| found.etag.clone());
    let register = found.map(|found| found.value).unwrap_or_default();
    let trusted = layout::customer_part(layout::TRUSTED_CUSTOMER, part);
    let trusted = lake.store.head(&trusted).await?.map(|meta| meta.etag);
    let curated = layout::customer_part(layout::CURATED_CUSTOMER, part);
    let curated = object::note(lake, &curated).await?;
    let owners = slim::revision(lake, &layout::owners(part)).await?;

    let followed = register.trusted.as_ref().map(|trusted| &trusted.etag);
    let version = curated.as_ref().map(|noted| &noted.footer.version);
    let projected = trusted.is_none()
        || (version == Some(&project::version(lake, &register))
            && owners.as_ref().is_some_and(|(_, revision)| *revision == register.revision));
    let decided = register.unconfirmed.is_empty()
        && (trusted.is_none() || register.consent == lake.settings.policies.consent);
    let is_settled = trusted.as_ref() == followed && decided && projected;
    let seen = [
        trusted.as_ref(),
        etag.as_ref(),
        owners.as_ref().map(|(etag, _)| etag),
        curated.as_ref().map(|noted| &noted.etag),
    ];
    let versions = is_settled.then(|| of_part(lake, part, seen));
    Ok((register, versions))
}

/// Where there are readings of the trusted.
#[derive(Default)]
struct Presence {
    people: HashMap<KeyHash, Person>,
}

/// A trusted person, as the register has them and as the manifests do.
struct Person {
    /// From when on readings are trusted, epoch milliseconds.
    from_ms: i64,
    witness: Option<Source>,
    witness_shows: bool,
    /// An accelerometer object that leads to the landing object that is witness.
    of_witness: Option<ObjectKey>,
    /// The first other that leads to one with trusted readings.
    of_another: Option<ObjectKey>,
}

impl Presence {
    /// Adds the trusted people of a part, to be looked for in manifests.
    fn await_people(&mut self, lake: &Lake, register: &CuratedRegister) {
        for (person, row) in &register.people {
            let Some(trusted) = &row.trusted else { continue };
            let from_ms = lake.settings.policies.consent.covers_from(trusted.since_ms);
            self.people.insert(*person, Person::new(from_ms, row.witness));
        }
    }

    /// The landing objects that matter to these people; `None` if they are too many to be looked up.
    async fn sources(&self, lake: &Lake) -> Result<Option<BTreeSet<Source>>, Error> {
        if self.people.len() > LOOKED_UP_MAX {
            return Ok(None);
        }
        let mut sources: BTreeSet<Source> =
            self.people.values().filter_map(|person| person.witness).collect();
        let without = self.people.iter().filter(|(_, person)| person.witness.is_none());
        let without = without.map(|(person, _)| *person).collect();
        let found = manifest::sources(lake, Stream::Accelerometer, &without).await?;
        sources.extend(found.into_values().flatten());
        Ok(Some(sources))
    }

    fn add(&mut self, manifest: &Manifest) {
        let Some(slice) = manifest.slices.keys().next() else { return };
        let lead = slice.key(ACCELEROMETER_TRUSTED.location);
        for (person, span) in &manifest.keys {
            let Some(person) = self.people.get_mut(person) else { continue };
            let shows = span.is_some_and(|span| span.last_ms >= person.from_ms);
            if person.witness == Some(slice.source) {
                person.witness_shows = shows;
                person.of_witness = Some(lead.clone());
            } else if shows && person.of_another.as_ref().is_none_or(|another| lead < *another) {
                person.of_another = Some(lead.clone());
            }
        }
    }
}

impl Person {
    fn new(from_ms: i64, witness: Option<Source>) -> Self {
        Self { from_ms, witness, witness_shows: false, of_witness: None, of_another: None }
    }

    /// The object to look at, if the person's witness is none, or there is one and it has none.
    fn unlike(self) -> Option<ObjectKey> {
        match self.witness {
            Some(_) if self.witness_shows => None,
            Some(_) => self.of_witness,
            None => self.of_another,
        }
    }
}
