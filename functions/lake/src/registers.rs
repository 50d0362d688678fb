//! What the registers of customers say to others: hashes, consents and revisions, no names.

pub mod slim;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use self::slim::{Slim, SlimRow};
use crate::key::{ETag, KeyHash, Revision, Source};
use crate::layout;
use crate::policy::Consent;

/// A part of the consents: of everybody the lake has a record of, consenting or not.
pub type Consents = Slim<ConsentRow>;

/// A person's consent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsentRow {
    /// Since when they share their data for research, epoch milliseconds; `None`: they do not.
    pub since_ms: Option<i64>,
    /// When the consent last changed.
    pub revision: Revision,
}

impl SlimRow for ConsentRow {
    type Entry = [u8; 24 + 9];
    const PARTS: &'static str = layout::CONSENTS;
    const RUNS: &'static str = layout::CONSENT_RUNS;

    fn revision(&self) -> Revision {
        self.revision
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.push(u8::from(self.since_ms.is_some()));
        bytes.extend(self.since_ms.unwrap_or_default().to_be_bytes());
    }

    fn read(revision: Revision, bytes: &[u8]) -> Option<Self> {
        let (consents, since_ms) = bytes.split_first()?;
        let since_ms = i64::from_be_bytes(*since_ms.first_chunk()?);
        Some(Self { since_ms: (*consents == 1).then_some(since_ms), revision })
    }
}

/// A part of the owners: of everybody who was ever trusted.
pub type Owners = Slim<OwnerRow>;

/// What matters to readings of a person who was ever trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerRow {
    /// When it last changed.
    pub revision: Revision,
    /// `None`: they are not curated now.
    pub curated: Option<Owner>,
}

/// What matters to readings of a person who is curated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Since when they share their data for research, epoch milliseconds.
    pub since_ms: i64,
    /// Hash of the serial number, if there is one.
    pub device: Option<KeyHash>,
}

impl SlimRow for OwnerRow {
    type Entry = [u8; 24 + 25];
    const PARTS: &'static str = layout::OWNERS;
    const RUNS: &'static str = layout::OWNER_RUNS;

    fn revision(&self) -> Revision {
        self.revision
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        let device = self.curated.and_then(|owner| owner.device);
        let since_ms = self.curated.map(|owner| owner.since_ms).unwrap_or_default();
        bytes.push(u8::from(self.curated.is_some()) + u8::from(device.is_some()));
        bytes.extend(since_ms.to_be_bytes());
        bytes.extend(device.map_or([0; 16], |device| *device.as_bytes()));
    }

    fn read(revision: Revision, bytes: &[u8]) -> Option<Self> {
        let (kind, bytes) = bytes.split_first()?;
        let (since_ms, device) = bytes.split_first_chunk()?;
        let device = KeyHash::of_bytes(*device.first_chunk()?);
        let owner = Owner {
            since_ms: i64::from_be_bytes(*since_ms),
            device: (*kind == 2).then_some(device),
        };
        Some(Self { revision, curated: (*kind > 0).then_some(owner) })
    }
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
    /// People whose presence was decided by a write that was not confirmed yet, nor is it certain that
    /// what follows from it was written: whoever works on the part decides it again.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unconfirmed: BTreeSet<KeyHash>,
}

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

    /// What matters of it to readings.
    pub fn owner(&self) -> OwnerRow {
        let owner = |row: &TrustedRow| Owner { since_ms: row.since_ms, device: row.device };
        OwnerRow { revision: self.revision, curated: self.curated().map(owner) }
    }
}
