//! What a comparison found settled, so that the next one looks only at what changed since.
//!
//! What is compared depends on objects, and a version of an object never changes: what was found of
//! some versions would be found of them again. So a function remembers which versions it found
//! settled. The next comparison lists the versions there are, which costs a call for a thousand of
//! them, and looks only at those it does not know. Nothing else depends on this memory: where it is
//! deleted, or lost to another invocation's, more is looked at.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::key::{ETag, Fingerprint, ObjectKey};
use crate::lake::Lake;
use crate::layout;
use crate::object::Occupancy;
use crate::store::{ByteRange, Object, Precondition, list_all};

/// To be changed whenever a comparison looks at something else, or sees it otherwise: then what an
/// earlier one found is nothing to go by.
const KIND: u32 = 1;

/// Versions that are compared with each other.
pub struct Versions(Sha256);

impl Versions {
    /// None yet, of those that are compared under a rule.
    pub fn under(rule: &str) -> Self {
        Self(Sha256::new()).and(rule)
    }

    /// Adds that of an object, by its key or what else it is known by; or that there is none.
    #[must_use]
    pub fn version(self, of: &str, etag: Option<&ETag>) -> Self {
        self.and(of).and(etag.map_or("", ETag::as_str))
    }

    /// Adds a field, with its length so that neighbours cannot run together.
    fn and(mut self, field: &str) -> Self {
        self.0.update((field.len() as u64).to_le_bytes());
        self.0.update(field);
        self
    }

    /// Tells them from others.
    pub fn fingerprint(self) -> Fingerprint {
        Fingerprint::of(self.0)
    }
}

/// The versions of the objects below a prefix.
pub async fn versions_below(lake: &Lake, prefix: &str) -> Result<BTreeMap<ObjectKey, ETag>, Error> {
    let listed = list_all(lake.store.as_ref(), prefix).await?;
    Ok(listed.into_iter().map(|object| (object.key, object.etag)).collect())
}

/// As it is stored.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Document {
    kind: u32,
    /// Number of the last change of policies that it knew of.
    policies: u32,
    settled: BTreeMap<Fingerprint, Vec<Occupancy>>,
}

/// A comparison of all there is, beside what the one before found settled.
pub struct Comparison {
    key: ObjectKey,
    noted: Option<ETag>,
    /// Whoever compared before knew of later policies.
    is_superseded: bool,
    before: BTreeMap<Fingerprint, Vec<Occupancy>>,
    now: BTreeMap<Fingerprint, Vec<Occupancy>>,
}

impl Comparison {
    /// Begins one of a function's.
    pub async fn begin(lake: &Lake, function: &str) -> Result<Self, Error> {
        let key = layout::compared(function);
        let object = lake.store.get(&key, ByteRange::All).await?;
        // Whatever else lies there is replaced.
        let known = |object: &Object| {
            let document: Document = serde_json::from_slice(&object.bytes).ok()?;
            (document.kind == KIND).then_some(document)
        };
        let known = object.as_ref().and_then(known).unwrap_or_default();
        Ok(Self {
            key,
            noted: object.map(|object| object.meta.etag),
            is_superseded: known.policies > lake.settings.changes.last(),
            before: known.settled,
            now: BTreeMap::new(),
        })
    }

    /// Whether these versions were found settled; with what was noted of them.
    pub fn knows(&mut self, versions: Fingerprint) -> Option<&[Occupancy]> {
        let found = self.before.get(&versions)?;
        Some(self.now.entry(versions).or_insert_with(|| found.clone()))
    }

    /// Remembers that these versions, which were all seen, are settled; and the occupancy of those
    /// that belong to a date.
    pub fn note(&mut self, versions: Fingerprint, occupancies: Vec<Occupancy>) {
        self.now.insert(versions, occupancies);
    }

    /// Forgets these versions: with others that changed they are not settled.
    pub fn forget(&mut self, versions: Fingerprint) {
        self.now.remove(&versions);
    }

    /// Ends it: what is settled now is recorded for the next. What another recorded meanwhile stays.
    pub async fn end(self, lake: &Lake) -> Result<(), Error> {
        let Self { key, noted, is_superseded, before, now } = self;
        if is_superseded || now == before {
            return Ok(());
        }
        let policies = lake.settings.changes.last();
        let document = Document { kind: KIND, policies, settled: now };
        let bytes = serde_json::to_vec(&document)
            .map_err(|source| Error::Encode { what: key.to_string(), source: source.into() })?;
        let when = Precondition::unchanged(noted.as_ref());
        let _ = lake.put(&key, bytes.into(), when).await?;
        Ok(())
    }
}
