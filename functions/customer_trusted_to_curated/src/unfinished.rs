//! What was left unfinished between customer_trusted and customer_curated.

use std::collections::{BTreeSet, HashMap};
use std::pin::pin;

use futures::stream::{self, StreamExt, TryStreamExt};
use lake::error::Error;
use lake::key::{KeyHash, ObjectKey, Part, Source};
use lake::lake::Lake;
use lake::layout;
use lake::manifest::Manifest;
use lake::object;
use lake::registers::{CuratedRegister, slim};
use lake::store::list_all;
use lake::tables::{ACCELEROMETER_TRUSTED, Stream};

use crate::project;

/// Parts that are behind customer_trusted or were left in the middle, and accelerometer objects
/// that were not taken into account.
pub(crate) async fn find(lake: &Lake) -> Result<Vec<ObjectKey>, Error> {
    let mut presence = Presence::default();
    let mut keys = BTreeSet::new();
    let mut registers = stream::iter(lake.settings.parts.all())
        .map(|part| async move {
            let found = lake.load::<CuratedRegister>(&layout::curated_register(part)).await?;
            let register = found.map(|found| found.value).unwrap_or_default();
            let is_settled = is_settled(lake, part, &register).await?;
            Ok::<_, Error>((part, register, is_settled))
        })
        .buffered(lake.parts_at_once());
    while let Some((part, register, is_settled)) = registers.try_next().await? {
        if !is_settled {
            keys.insert(layout::customer_part(layout::TRUSTED_CUSTOMER, part));
        }
        for (person, row) in &register.people {
            let Some(trusted) = &row.trusted else { continue };
            let from_ms = lake.settings.policies.consent.covers_from(trusted.since_ms);
            presence.people.insert(*person, Person::new(from_ms, row.witness));
        }
    }
    let zone = layout::manifests(Stream::Accelerometer);
    let manifests = list_all(lake.store.as_ref(), &zone).await?;
    let load = |key: ObjectKey| async move { lake.load::<Manifest>(&key).await };
    let mut manifests = pin!(lake.look_at_each(manifests, load));
    while let Some(manifest) = manifests.try_next().await? {
        if let Some(manifest) = manifest {
            presence.add(&manifest.value);
        }
    }
    keys.extend(presence.people.into_values().filter_map(Person::unlike));
    Ok(keys.into_iter().collect())
}

async fn is_settled(lake: &Lake, part: Part, register: &CuratedRegister) -> Result<bool, Error> {
    let trusted = layout::customer_part(layout::TRUSTED_CUSTOMER, part);
    let trusted = lake.store.head(&trusted).await?.map(|meta| meta.etag);
    let curated = layout::customer_part(layout::CURATED_CUSTOMER, part);
    let curated = object::note(lake, &curated).await?.map(|noted| noted.footer.version);
    let followed = register.trusted.as_ref().map(|trusted| trusted.etag.clone());
    let owners = slim::revision(lake, &layout::owners(part)).await?;
    let projected = trusted.is_none()
        || (curated == Some(project::version(lake, register))
            && owners.is_some_and(|(_, revision)| revision == register.revision));
    let decided = register.unconfirmed.is_empty()
        && (trusted.is_none() || register.consent == lake.settings.policies.consent);
    Ok(trusted == followed && decided && projected)
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
    /// Another that leads to one with trusted readings.
    of_another: Option<ObjectKey>,
}

impl Presence {
    fn add(&mut self, manifest: &Manifest) {
        let Some(slice) = manifest.slices.keys().next() else { return };
        let lead = slice.key(ACCELEROMETER_TRUSTED.location);
        for (person, span) in &manifest.keys {
            let Some(person) = self.people.get_mut(person) else { continue };
            let shows = span.is_some_and(|span| span.last_ms >= person.from_ms);
            if person.witness == Some(slice.source) {
                person.witness_shows = shows;
                person.of_witness = Some(lead.clone());
            } else if shows && person.of_another.is_none() {
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
