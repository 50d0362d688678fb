//! What was left unfinished between customer_trusted and customer_curated.
//!
//! Whether people have a witness depends on their part of the register and on the manifests that name
//! them. What is remembered is of pairs: a part and a manifest that are both remembered, in their versions,
//! are as they should be to each other. So
//!
//! - what is gone is forgotten first: should it come back, it comes as new;
//! - a manifest that changed is looked at with the parts that did not, and remembered;
//! - a part that changed is looked at with all manifests: with those of the witnesses of its people,
//!   and with those that the index has for whoever is without; and remembered.
//!
//! Who is cut off in between leaves what is remembered so far to the next.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::pin::pin;
use std::sync::Arc;

use futures::future::try_join_all;
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

/// How many people a manifest that changed is reckoned to name whom none before it did.
const NAMED: usize = 4;

/// Parts that are behind customer_trusted or were left in the middle, and accelerometer objects
/// that were not taken into account.
pub(crate) async fn find(lake: &Lake) -> Result<Vec<ObjectKey>, Error> {
    let mut comparison = Comparison::begin(lake, env!("CARGO_PKG_NAME")).await;
    let listed = Listed::list(lake, &comparison).await?;
    let changed = comparison.unknown_parts(lake, |part| listed.versions(part));
    let manifests = listed.unknown_manifests(&mut comparison);
    comparison.forget_gone();

    let mut keys = BTreeSet::new();
    let is_there = |part: &Part| listed.registers.contains_key(&layout::curated_register(*part));
    let mut unchanged: BTreeSet<Part> = lake.settings.parts.all().filter(is_there).collect();
    unchanged.retain(|part| changed.binary_search(part).is_err());
    for manifests in manifests.chunks((lake.bounds.people_at_once / NAMED).max(1)) {
        let manifests = manifests.iter().copied().collect();
        let with = with_changed(lake, &mut comparison, &listed, manifests, &unchanged);
        keys.extend(with.await?);
        comparison.keep_progress(lake).await;
    }

    let mut group = Group::default();
    for parts in changed.chunks(lake.parts_at_once()) {
        keys.extend(group.add(lake, listed.under, parts).await?);
        if group.presence.people.len() >= lake.bounds.people_at_once {
            let group = std::mem::take(&mut group);
            keys.extend(group.with_all(lake, &mut comparison, &listed).await?);
            comparison.record_progress(lake).await;
        }
    }
    keys.extend(group.with_all(lake, &mut comparison, &listed).await?);
    comparison.register(lake, &[&CUSTOMER_CURATED]).await?;
    comparison.end(lake).await;
    Ok(keys.into_iter().collect())
}

/// Looks at some manifests that changed with the parts that did not; returns accelerometer objects that
/// were not taken into account.
async fn with_changed(
    lake: &Lake,
    comparison: &mut Comparison,
    listed: &Listed,
    manifests: BTreeSet<Source>,
    unchanged: &BTreeSet<Part>,
) -> Result<BTreeSet<ObjectKey>, Error> {
    let parts = lake.settings.parts;
    let (mut unmoved, mut unlike) = (manifests, BTreeSet::new());
    if !unchanged.is_empty() {
        let (mut named, mut naming) = (BTreeSet::new(), BTreeSet::new());
        let add_named = |source, manifest: &Manifest| {
            let people = manifest.keys.keys().copied();
            let mut people = people.filter(|person| unchanged.contains(&person.part(parts)));
            if let Some(first) = people.next() {
                naming.insert(source);
                named.extend(people.chain([first]));
            }
        };
        unmoved = listed.look_at(lake, &unmoved, add_named).await?;

        let mut presence = Presence::default();
        let of_named: BTreeSet<Part> = named.iter().map(|person| person.part(parts)).collect();
        let mut registers = stream::iter(of_named)
            .map(|part| async move {
                let key = layout::curated_register(part);
                Ok::<_, Error>((part, lake.load::<CuratedRegister>(&key).await?))
            })
            .buffered(lake.parts_at_once());
        while let Some((part, register)) = registers.try_next().await? {
            let etag = register.as_ref().map(|register| &register.etag);
            if listed.registers.get(&layout::curated_register(part)) != etag {
                listed.forget_part(comparison, part);
            }
            if let Some(register) = register {
                presence.await_people(lake, &register.value, |person| named.contains(person));
            }
        }
        let look = |_, manifest: &Manifest| presence.add(manifest);
        let still_unmoved = listed.look_at(lake, &naming, look).await?;
        unmoved.retain(|source| !naming.contains(source) || still_unmoved.contains(source));
        for (person, lead) in presence.unlike() {
            unlike.insert(lead);
            listed.forget_part(comparison, person.part(parts));
        }
    }
    for versions in unmoved.iter().filter_map(|source| listed.versions_of(source)) {
        comparison.note(versions.fingerprint(), Vec::new());
    }
    Ok(unlike)
}

/// Some parts that changed.
#[derive(Default)]
struct Group {
    presence: Presence,
    /// Those in which everybody is as they should be, so far; and the versions that says.
    settled: BTreeMap<Part, Fingerprint>,
}

impl Group {
    /// Adds some; returns what leads to those that are not settled by themselves.
    async fn add(
        &mut self,
        lake: &Lake,
        under: Versions,
        parts: &[Part],
    ) -> Result<Vec<ObjectKey>, Error> {
        let compared = parts.iter().map(|part| compare(lake, under, *part));
        let mut unsettled = Vec::new();
        for (part, (register, versions)) in parts.iter().zip(try_join_all(compared).await?) {
            self.presence.await_people(lake, &register, |_| true);
            match versions {
                Some(versions) => drop(self.settled.insert(*part, versions)),
                None => unsettled.push(layout::customer_part(layout::TRUSTED_CUSTOMER, *part)),
            }
        }
        Ok(unsettled)
    }

    /// Looks at them with all manifests; returns accelerometer objects that were not taken into account.
    async fn with_all(
        self,
        lake: &Lake,
        comparison: &mut Comparison,
        listed: &Listed,
    ) -> Result<BTreeSet<ObjectKey>, Error> {
        let Self { mut presence, mut settled } = self;
        let sources = presence.sources(lake).await?;
        let look = |_, manifest: &Manifest| presence.add(manifest);
        let unmoved = listed.look_at(lake, &sources, look).await?;
        for moved in sources.difference(&unmoved).filter_map(|source| listed.versions_of(source)) {
            comparison.forget(moved.fingerprint());
        }
        let mut unlike = BTreeSet::new();
        for (person, lead) in presence.unlike() {
            unlike.insert(lead);
            settled.remove(&person.part(lake.settings.parts));
        }
        settled.into_values().for_each(|versions| comparison.note(versions, Vec::new()));
        Ok(unlike)
    }
}

/// What there is, as it was listed.
struct Listed {
    /// What everything is compared under.
    under: Versions,
    trusted: BTreeMap<ObjectKey, ETag>,
    registers: BTreeMap<ObjectKey, ETag>,
    owners: BTreeMap<ObjectKey, ETag>,
    curated: BTreeMap<ObjectKey, ETag>,
    /// Of accelerometer objects.
    manifests: BTreeMap<Source, comparison::Listed>,
}

impl Listed {
    async fn list(lake: &Lake, comparison: &Comparison) -> Result<Self, Error> {
        let (store, under) = (lake.store.as_ref(), under(lake));
        let manifested = |key: &ObjectKey, etag: &ETag| under.version(key.as_str(), Some(etag));
        let (trusted, registers, owners, curated, manifests) = try_join!(
            versions_below(store, layout::TRUSTED_CUSTOMER),
            versions_below(store, layout::CURATED_REGISTER),
            versions_below(store, layout::OWNERS),
            versions_below(store, layout::CURATED_CUSTOMER),
            comparison.manifests(lake, Stream::Accelerometer, manifested),
        )?;
        Ok(Self { under, trusted, registers, owners, curated, manifests })
    }

    /// Those of a part; `None` if there is nothing from which anything follows.
    fn versions(&self, part: Part) -> Option<Fingerprint> {
        let trusted = self.trusted.get(&layout::customer_part(layout::TRUSTED_CUSTOMER, part));
        let register = self.registers.get(&layout::curated_register(part));
        if trusted.is_none() && register.is_none() {
            return None;
        }
        let owners = self.owners.get(&layout::owners(part));
        let curated = self.curated.get(&layout::customer_part(layout::CURATED_CUSTOMER, part));
        Some(of_part(self.under, part, [trusted, register, owners, curated]))
    }

    fn forget_part(&self, comparison: &mut Comparison, part: Part) {
        if let Some(versions) = self.versions(part) {
            comparison.forget(versions);
        }
    }

    fn versions_of(&self, source: &Source) -> Option<Versions> {
        self.manifests.get(source).map(|manifest| manifest.versions)
    }

    fn unknown_manifests(&self, comparison: &mut Comparison) -> Vec<Source> {
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
        mut look: impl FnMut(Source, &Manifest),
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
            look(source, &manifest.value);
            let seen = self.under.version(key.as_str(), Some(&manifest.etag));
            if self.versions_of(&source) == Some(seen) {
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

fn of_part(under: Versions, part: Part, versions: [Option<&ETag>; 4]) -> Fingerprint {
    let names = ["trusted", "register", "owners", "curated"];
    let with = |all: Versions, (name, version)| all.version(&format!("{name} {part}"), version);
    names.into_iter().zip(versions).fold(under, with).fingerprint()
}

/// A part of the register; and the versions in which everything follows from it, and it from
/// customer_trusted, if that is so.
async fn compare(
    lake: &Lake,
    under: Versions,
    part: Part,
) -> Result<(Arc<CuratedRegister>, Option<Fingerprint>), Error> {
    let key = layout::curated_register(part);
    let found = readable(&key, lake.load::<CuratedRegister>(&key).await)?;
    let etag = found.as_ref().map(|found| found.etag.clone());
    let register = found.map(|found| found.value).unwrap_or_default();
    let trusted = layout::customer_part(layout::TRUSTED_CUSTOMER, part);
    let trusted = lake.store.head(&trusted).await?.map(|meta| meta.etag);
    let curated = layout::customer_part(layout::CURATED_CUSTOMER, part);
    let curated = readable(&curated, object::note(lake, &curated).await)?;
    let owners = layout::owners(part);
    let owners = readable(&owners, slim::revision(lake, &owners).await)?;

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
    let versions = is_settled.then(|| of_part(under, part, seen));
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
    /// Adds the trusted people of a part, or some of them, to be looked for in manifests.
    fn await_people(
        &mut self,
        lake: &Lake,
        register: &CuratedRegister,
        is_awaited: impl Fn(&KeyHash) -> bool,
    ) {
        for (person, row) in register.people.iter().filter(|(person, _)| is_awaited(person)) {
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
        let Some(slice) = manifest.lead() else { return };
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
