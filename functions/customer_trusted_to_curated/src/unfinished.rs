//! What was left unfinished between customer_trusted and customer_curated.
//!
//! Whether people have a witness depends on their part of the register and on the manifests that name
//! them. What is found settled is of pairs of a part and a manifest:
//!
//! - a part that changed since the last comparison is looked at with all manifests: with those of the
//!   witnesses of its people, and with those that the index has for whoever is without;
//! - a part that did not, with the manifests that changed.
//!
//! Every other pair is as it was. So a manifest is remembered once it was looked at with all parts that
//! are remembered, and a part once it was with all manifests: who is cut off leaves both to the next.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::pin::pin;
use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};
use futures::try_join;
use lake::comparison::{self, Comparison, Versions, readable};
use lake::error::Error;
use lake::key::{ETag, Fingerprint, KeyHash, ObjectKey, Part, Source};
use lake::lake::Lake;
use lake::layout;
use lake::manifest::{self, Manifest};
use lake::object;
use lake::registers::{CuratedRegister, slim};
use lake::store::versions_below;
use lake::tables::{ACCELEROMETER_TRUSTED, CUSTOMER_CURATED, Stream};

use crate::project;

/// How many people a manifest that changed is reckoned to name.
const NAMED: usize = 32;

/// Parts that are behind customer_trusted or were left in the middle, and accelerometer objects
/// that were not taken into account.
pub(crate) async fn find(lake: &Lake) -> Result<Vec<ObjectKey>, Error> {
    let mut comparison = Comparison::begin(lake, env!("CARGO_PKG_NAME")).await;
    let listed = Listed::list(lake, &comparison).await?;
    let changed = comparison.unknown_parts(lake, |part| listed.versions(lake, part));
    let changed = changed.into_iter().collect();
    let mut keys = with_changed_manifests(lake, &mut comparison, &listed, &changed).await?;
    keys.extend(with_all_manifests(lake, &mut comparison, &listed, &changed).await?);
    comparison.register(lake, &[&CUSTOMER_CURATED]).await?;
    comparison.end(lake).await;
    Ok(keys.into_iter().collect())
}

/// Looks at the parts that did not change with the manifests that did.
async fn with_changed_manifests(
    lake: &Lake,
    comparison: &mut Comparison,
    listed: &Listed,
    changed: &BTreeSet<Part>,
) -> Result<BTreeSet<ObjectKey>, Error> {
    let is_there = |part: &Part| listed.registers.contains_key(&layout::curated_register(*part));
    let is_unchanged = |part: &Part| is_there(part) && !changed.contains(part);
    let is_any_unchanged = lake.settings.parts.all().any(|part| is_unchanged(&part));
    let manifests = listed.new_manifests(comparison);
    let mut keys = BTreeSet::new();
    for new in manifests.chunks((lake.bounds.people_at_once / NAMED).max(1)) {
        let mut unmoved: BTreeSet<Source> = new.iter().copied().collect();
        if is_any_unchanged {
            let mut named = BTreeSet::new();
            let add_parts = |manifest: &Manifest| {
                named.extend(manifest.keys.keys().map(|person| person.part(lake.settings.parts)));
            };
            unmoved = listed.look_at(lake, &unmoved, add_parts).await?;
            let mut presence = Presence::default();
            let mut registers = stream::iter(named.into_iter().filter(is_unchanged))
                .map(|part| async move {
                    let key = layout::curated_register(part);
                    Ok::<_, Error>((part, lake.load::<CuratedRegister>(&key).await?))
                })
                .buffered(lake.parts_at_once());
            while let Some((part, register)) = registers.try_next().await? {
                let etag = register.as_ref().map(|register| &register.etag);
                if listed.registers.get(&layout::curated_register(part)) != etag {
                    listed.forget_part(lake, comparison, part);
                }
                if let Some(register) = register {
                    presence.await_people(lake, &register.value);
                }
            }
            let sources = new.iter().copied().collect();
            let seen = listed.look_at(lake, &sources, |manifest| presence.add(manifest)).await?;
            unmoved.retain(|source| seen.contains(source));
            for (person, lead) in presence.unlike() {
                keys.insert(lead);
                listed.forget_part(lake, comparison, person.part(lake.settings.parts));
            }
        }
        for versions in unmoved.iter().filter_map(|source| listed.versions_of(source)) {
            comparison.note(versions.fingerprint(), Vec::new());
        }
        comparison.keep_progress(lake).await;
    }
    Ok(keys)
}

/// Looks at the parts that changed, with all manifests.
async fn with_all_manifests(
    lake: &Lake,
    comparison: &mut Comparison,
    listed: &Listed,
    changed: &BTreeSet<Part>,
) -> Result<BTreeSet<ObjectKey>, Error> {
    let mut keys = BTreeSet::new();
    let mut compared = stream::iter(changed.iter().copied())
        .map(|part| async move { Ok::<_, Error>((part, compare(lake, part).await?)) })
        .buffered(lake.parts_at_once());
    let mut presence = Presence::default();
    // The parts in which everybody is as they should be, so far; and the versions that says.
    let mut settled: BTreeMap<Part, Fingerprint> = BTreeMap::new();
    loop {
        let next = compared.try_next().await?;
        let is_last = next.is_none();
        if let Some((part, (register, versions))) = next {
            presence.await_people(lake, &register);
            match versions {
                Some(versions) => drop(settled.insert(part, versions)),
                None => drop(keys.insert(layout::customer_part(layout::TRUSTED_CUSTOMER, part))),
            }
        }
        if !is_last && presence.people.len() < lake.bounds.people_at_once {
            continue;
        }
        let mut presence = std::mem::take(&mut presence);
        let sources = presence.sources(lake).await?;
        let seen = listed.look_at(lake, &sources, |manifest| presence.add(manifest)).await?;
        for versions in sources.difference(&seen).filter_map(|source| listed.versions_of(source)) {
            comparison.forget(versions.fingerprint());
        }
        for (person, lead) in presence.unlike() {
            keys.insert(lead);
            settled.remove(&person.part(lake.settings.parts));
        }
        for versions in std::mem::take(&mut settled).into_values() {
            comparison.note(versions, Vec::new());
        }
        comparison.keep_progress(lake).await;
        if is_last {
            return Ok(keys);
        }
    }
}

/// What there is, as it was listed.
struct Listed {
    trusted: BTreeMap<ObjectKey, ETag>,
    registers: BTreeMap<ObjectKey, ETag>,
    owners: BTreeMap<ObjectKey, ETag>,
    curated: BTreeMap<ObjectKey, ETag>,
    /// Of accelerometer objects.
    manifests: BTreeMap<Source, comparison::Listed>,
}

impl Listed {
    async fn list(lake: &Lake, comparison: &Comparison) -> Result<Self, Error> {
        let store = lake.store.as_ref();
        let manifested = |key: &ObjectKey, etag: &ETag| of_manifest(lake, key, etag);
        let (trusted, registers, owners, curated, manifests) = try_join!(
            versions_below(store, layout::TRUSTED_CUSTOMER),
            versions_below(store, layout::CURATED_REGISTER),
            versions_below(store, layout::OWNERS),
            versions_below(store, layout::CURATED_CUSTOMER),
            comparison.manifests(lake, Stream::Accelerometer, manifested),
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

    fn forget_part(&self, lake: &Lake, comparison: &mut Comparison, part: Part) {
        if let Some(versions) = self.versions(lake, part) {
            comparison.forget(versions);
        }
    }

    fn versions_of(&self, source: &Source) -> Option<Versions> {
        self.manifests.get(source).map(|manifest| manifest.versions)
    }

    fn new_manifests(&self, comparison: &mut Comparison) -> Vec<Source> {
        let mut is_new = |manifest: &comparison::Listed| {
            comparison.knows(manifest.versions.fingerprint()).is_none()
        };
        let new = self.manifests.iter().filter(|(_, manifest)| is_new(manifest));
        new.map(|(source, _)| *source).collect()
    }

    /// Looks at those manifests that were listed; returns those that are as they were.
    async fn look_at(
        &self,
        lake: &Lake,
        sources: &BTreeSet<Source>,
        mut look: impl FnMut(&Manifest),
    ) -> Result<BTreeSet<Source>, Error> {
        let listed = |source| Some((source, self.manifests.get(&source)?.manifest_bytes));
        let load = |source| async move {
            let key = layout::manifest(Stream::Accelerometer, source);
            let manifest = readable(&key, lake.load::<Manifest>(&key).await);
            (source, key, manifest)
        };
        let listed = sources.iter().copied().filter_map(listed).collect();
        let mut manifests = pin!(lake.look_at_each(listed, load));
        let mut unmoved = BTreeSet::new();
        while let Some((source, key, manifest)) = manifests.next().await {
            let Some(manifest) = manifest? else { continue };
            look(&manifest.value);
            if self.versions_of(&source) == Some(of_manifest(lake, &key, &manifest.etag)) {
                unmoved.insert(source);
            }
        }
        Ok(unmoved)
    }
}

/// What people's presence depends on beside the objects.
fn under(lake: &Lake) -> Versions {
    let (consent, changes) = (lake.settings.policies.consent, lake.settings.changes.consent);
    Versions::under(&format!("{} consent={consent} {changes}", CUSTOMER_CURATED.name))
}

fn of_manifest(lake: &Lake, key: &ObjectKey, etag: &ETag) -> Versions {
    under(lake).version(key.as_str(), Some(etag))
}

fn of_part(lake: &Lake, part: Part, versions: [Option<&ETag>; 4]) -> Fingerprint {
    let names = ["trusted", "register", "owners", "curated"];
    let with = |all: Versions, (name, version)| all.version(&format!("{name} {part}"), version);
    names.into_iter().zip(versions).fold(under(lake), with).fingerprint()
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

    /// The landing objects that matter to these people.
    async fn sources(&self, lake: &Lake) -> Result<BTreeSet<Source>, Error> {
        let mut sources: BTreeSet<Source> =
            self.people.values().filter_map(|person| person.witness).collect();
        let without = self.people.iter().filter(|(_, person)| person.witness.is_none());
        let without = without.map(|(person, _)| *person).collect();
        let found = manifest::sources(lake, Stream::Accelerometer, &without).await?;
        sources.extend(found.into_values().flatten());
        Ok(sources)
    }

    /// Those who have a witness that is none, or none though there is one; with an object to look at.
    fn unlike(self) -> impl Iterator<Item = (KeyHash, ObjectKey)> {
        self.people.into_iter().filter_map(|(person, presence)| Some((person, presence.unlike()?)))
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
