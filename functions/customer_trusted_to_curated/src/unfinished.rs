//! What was left unfinished between customer_trusted and customer_curated.

use std::collections::{BTreeMap, BTreeSet};

use lake::error::Error;
use lake::key::{KeyHash, ObjectKey, Part};
use lake::lake::Lake;
use lake::layout;
use lake::manifest::Manifest;
use lake::object;
use lake::registers::CuratedRegister;
use lake::store::list_all;
use lake::tables::{ACCELEROMETER_TRUSTED, Stream};

use crate::project;

/// Parts that are behind customer_trusted or were left in the middle, and accelerometer objects
/// that were not taken into account.
pub(crate) async fn find(lake: &Lake) -> Result<Vec<ObjectKey>, Error> {
    let presence = Presence::read(lake).await?;
    let mut keys = BTreeSet::new();
    for part in lake.settings.parts.all() {
        let found = lake.load::<CuratedRegister>(&layout::curated_register(part)).await?;
        let register = found.map(|found| found.value).unwrap_or_default();
        if !is_settled(lake, part, &register).await? {
            keys.insert(layout::customer_part(layout::TRUSTED_CUSTOMER, part));
        }
        for (person, row) in &register.people {
            let Some(trusted) = &row.trusted else { continue };
            let from_ms = lake.settings.policies.consent.covers_from(trusted.since_ms);
            keys.extend(presence.unlike(person, from_ms, row.present));
        }
    }
    Ok(keys.into_iter().collect())
}

async fn is_settled(lake: &Lake, part: Part, register: &CuratedRegister) -> Result<bool, Error> {
    let trusted = layout::customer_part(layout::TRUSTED_CUSTOMER, part);
    let trusted = lake.store.head(&trusted).await?.map(|meta| meta.etag);
    let curated = layout::customer_part(layout::CURATED_CUSTOMER, part);
    let curated = object::note(lake, &curated).await?.map(|noted| noted.footer.version);
    let followed = register.trusted.as_ref().map(|trusted| trusted.etag.clone());
    let projected = trusted.is_none() || curated == Some(project::version(lake, register));
    let decided = register.unconfirmed.is_empty()
        && (trusted.is_none() || register.consent == lake.settings.policies.consent);
    Ok(trusted == followed && decided && projected)
}

/// The last reading of each person, and an accelerometer object that leads to them.
#[derive(Default)]
struct Presence {
    last_ms: BTreeMap<KeyHash, i64>,
    leads: BTreeMap<KeyHash, ObjectKey>,
}

impl Presence {
    async fn read(lake: &Lake) -> Result<Self, Error> {
        let mut presence = Self::default();
        let stream = Stream::Accelerometer;
        for object in list_all(lake.store.as_ref(), &layout::manifests(stream)).await? {
            if let Some(manifest) = lake.load::<Manifest>(&object.key).await? {
                presence.add(&manifest.value);
            }
        }
        Ok(presence)
    }

    fn add(&mut self, manifest: &Manifest) {
        let Some(slice) = manifest.slices.keys().next() else { return };
        let lead = slice.key(ACCELEROMETER_TRUSTED.location);
        for (person, span) in &manifest.keys {
            self.leads.entry(*person).or_insert_with(|| lead.clone());
            if let Some(span) = span {
                let last_ms = self.last_ms.entry(*person).or_insert(span.last_ms);
                *last_ms = span.last_ms.max(*last_ms);
            }
        }
    }

    /// The object to look at, if a person's presence is otherwise than the register has it.
    fn unlike(&self, person: &KeyHash, from_ms: i64, present: bool) -> Option<ObjectKey> {
        let has_data = self.last_ms.get(person).is_some_and(|last_ms| *last_ms >= from_ms);
        (has_data != present).then(|| self.leads.get(person).cloned())?
    }
}
