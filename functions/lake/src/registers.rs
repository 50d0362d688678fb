//! What the registers of customers say to others: hashes, consents and revisions, no names.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::OnceLock;

use futures::stream::{self, StreamExt, TryStreamExt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::key::{ETag, KeyHash, ObjectKey, Part, Revision, Source};
use crate::lake::{Lake, Versioned};
use crate::policy::Consent;

/// A part of the consents: of everybody the lake has a record of, consenting or not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consents {
    /// Of the part of the customer register this follows from.
    pub revision: Revision,
    /// By `key(email)`.
    pub people: BTreeMap<KeyHash, ConsentRow>,
}

/// A person's consent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsentRow {
    /// Since when they share their data for research, epoch milliseconds; `None`: they do not.
    pub since_ms: Option<i64>,
    /// When the consent last changed.
    pub revision: Revision,
}

/// A part of the curated register: of everybody who was ever trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CuratedRegister {
    /// Grows whenever a row changes.
    pub revision: Revision,
    /// The part of customer_trusted this was derived from.
    pub trusted: Option<TrustedPart>,
    /// The policy people's presence was decided under.
    pub consent: Consent,
    /// By `key(email)`.
    pub people: BTreeMap<KeyHash, CuratedRow>,
    /// People whose presence was decided by a write that was not confirmed yet: whoever works on
    /// the part decides it again.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unconfirmed: BTreeSet<KeyHash>,
    /// Who has or had each device; made when first asked for, and kept with the document.
    #[serde(skip)]
    pub index: DeviceIndex,
}

impl CuratedRegister {
    /// The people of this part who have or had a device, in order: found without looking at the
    /// others, so that a few devices cost the same in a large register as in a small one.
    pub fn people_with(
        &self,
        device: &KeyHash,
    ) -> impl Iterator<Item = (&KeyHash, &CuratedRow)> + '_ {
        let index = self.index.0.get_or_init(|| {
            let mut index: HashMap<KeyHash, Vec<KeyHash>> = HashMap::new();
            for (person, row) in &self.people {
                for device in &row.devices {
                    index.entry(*device).or_default().push(*person);
                }
            }
            index
        });
        let people = index.get(device).into_iter().flatten();
        people.filter_map(|person| self.people.get_key_value(person))
    }
}

/// An index over a part of the register. It says nothing that the part does not: it is no part of
/// what makes two of them equal, and a copy, which may be changed, begins without.
#[derive(Debug, Default)]
pub struct DeviceIndex(OnceLock<HashMap<KeyHash, Vec<KeyHash>>>);

impl Clone for DeviceIndex {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for DeviceIndex {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for DeviceIndex {}

/// A version of a part of customer_trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustedPart {
    /// Of the object.
    pub etag: ETag,
    /// Its source: the revision of the customer register.
    pub revision: String,
}

/// A person who was ever trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CuratedRow {
    /// Their record in customer_trusted; `None`: they are not trusted now.
    pub trusted: Option<TrustedRow>,
    /// A landing object with accelerometer data of theirs that is trusted; `None` if there is
    /// none: only with some they are curated.
    pub witness: Option<Source>,
    /// Every serial number they were ever curated with.
    pub devices: BTreeSet<KeyHash>,
    /// When anything changed that matters to readings.
    pub revision: Revision,
}

/// What matters of a record in customer_trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustedRow {
    /// Of the whole record.
    pub digest: KeyHash,
    /// Since when they share their data for research, epoch milliseconds.
    pub since_ms: i64,
    /// Hash of the serial number, if there is one.
    pub device: Option<KeyHash>,
}

impl CuratedRow {
    /// The trusted record of a person who is curated.
    pub fn curated(&self) -> Option<&TrustedRow> {
        self.trusted.as_ref().filter(|_| self.witness.is_some())
    }
}

/// The parts that some keys fall into.
pub fn parts_of<'a>(lake: &Lake, keys: impl IntoIterator<Item = &'a KeyHash>) -> BTreeSet<Part> {
    keys.into_iter().map(|key| key.part(lake.settings.parts)).collect()
}

/// Reads parts of a register; those that do not exist yet are left out.
pub async fn load_parts<T: DeserializeOwned + Send + Sync + 'static>(
    lake: &Lake,
    parts: impl IntoIterator<Item = Part>,
    key: fn(Part) -> ObjectKey,
) -> Result<BTreeMap<Part, Versioned<T>>, Error> {
    let parts: Vec<Part> = parts.into_iter().collect();
    stream::iter(parts)
        .map(|part| async move { Ok::<_, Error>((part, lake.load(&key(part)).await?)) })
        .buffered(lake.bounds.concurrency)
        .try_filter_map(|(part, found)| async move { Ok(found.map(|found| (part, found))) })
        .try_collect()
        .await
}
