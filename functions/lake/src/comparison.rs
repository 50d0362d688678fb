//! What a comparison found settled, so that the next one looks only at what changed since.
//!
//! What is compared depends on objects, and a version of an object never changes: what was found of
//! some versions would be found of them again. So a function remembers which versions it found
//! settled. The next comparison lists the versions there are, which costs a call for a thousand of
//! them, and looks only at those it does not know. Nothing else depends on this memory: where it is
//! deleted, or cannot be read or written, more is looked at.
//!
//! What a version is the store says by its tag. What is damaged without its tag changing is found only
//! once the memory is deleted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest, Sha256};
use tracing::warn;

use crate::error::Error;
use crate::key::{ETag, Fingerprint, ObjectKey};
use crate::lake::{Lake, Put};
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
#[derive(Default, Deserialize)]
struct Document {
    kind: u32,
    /// Number of the last change of policies that it knew of.
    policies: u32,
    settled: BTreeMap<Fingerprint, Vec<Occupancy>>,
}

/// After so many looks what was found is recorded, for whoever has to begin again.
const PROGRESS: usize = 4096;

/// A comparison of all there is, beside what the one before found settled.
pub struct Comparison {
    key: ObjectKey,
    noted: Option<ETag>,
    /// Another compared meanwhile, or knew of later policies before.
    is_superseded: bool,
    /// What it found, as far as that was not asked for yet.
    before: BTreeMap<Fingerprint, Vec<Occupancy>>,
    now: BTreeMap<Fingerprint, Vec<Occupancy>>,
    /// Whether all of that is recorded.
    is_recorded: bool,
    /// How much was found since that was tried.
    untried: usize,
}

impl Comparison {
    /// Begins one of a function's. Without what the one before found all is looked at.
    pub async fn begin(lake: &Lake, function: &str) -> Self {
        let key = layout::compared(function);
        let object = lake.store.get(&key, ByteRange::All).await.unwrap_or_else(|error| {
            warn!(%key, "what was compared before is not known: {error}");
            None
        });
        // Whatever else lies there is replaced.
        let known = |object: &Object| {
            let document: Document = serde_json::from_slice(&object.bytes).ok()?;
            (document.kind == KIND).then_some(document)
        };
        let known = object.as_ref().and_then(known).unwrap_or_default();
        Self {
            key,
            noted: object.map(|object| object.meta.etag),
            is_superseded: known.policies > lake.settings.changes.last(),
            before: known.settled,
            now: BTreeMap::new(),
            is_recorded: true,
            untried: 0,
        }
    }

    /// Whether these versions were found settled; with what was noted of them.
    pub fn knows(&mut self, versions: Fingerprint) -> Option<&[Occupancy]> {
        if let Some(found) = self.before.remove(&versions) {
            self.now.insert(versions, found);
        }
        self.now.get(&versions).map(Vec::as_slice)
    }

    /// Remembers that these versions, which were all seen, are settled; and the occupancy of those
    /// that belong to a date.
    pub fn note(&mut self, versions: Fingerprint, occupancies: Vec<Occupancy>) {
        if self.now.insert(versions, occupancies).is_none() {
            self.is_recorded = false;
            self.untried += 1;
        }
    }

    /// Forgets these versions: with others that changed they are not settled.
    pub fn forget(&mut self, versions: Fingerprint) {
        if self.now.remove(&versions).is_some() {
            self.is_recorded = false;
        }
    }

    /// Records what was found so far, now and then. Where each of what is noted is settled by itself:
    /// should the time not suffice, the next comparison goes on from there.
    pub async fn keep_progress(&mut self, lake: &Lake) {
        if self.untried >= PROGRESS {
            self.record(lake).await;
        }
    }

    /// Ends it: what is settled now is recorded for the next.
    pub async fn end(mut self, lake: &Lake) {
        let gone = std::mem::take(&mut self.before);
        if !self.is_recorded || !gone.is_empty() {
            self.record(lake).await;
        }
    }

    /// Where it cannot be recorded, the next comparison looks at more; what this one found holds. What
    /// another recorded meanwhile stays.
    async fn record(&mut self, lake: &Lake) {
        self.untried = 0;
        if self.is_superseded {
            return;
        }
        let policies = lake.settings.changes.last();
        let settled = Both { now: &self.now, before: &self.before };
        let when = Precondition::unchanged(self.noted.as_ref());
        let bytes = serde_json::to_vec(&Recorded { kind: KIND, policies, settled });
        let put = match bytes {
            Ok(bytes) => lake.put(&self.key, bytes.into(), when).await,
            Err(source) => {
                let what = self.key.to_string();
                Err(Error::Encode { what, source: source.into() })
            }
        };
        match put {
            Ok(Put::Done(etag)) => {
                self.noted = Some(etag);
                self.is_recorded = true;
            }
            Ok(Put::Moved) => self.is_superseded = true,
            Err(error) => warn!(key = %self.key, "what was compared is not recorded: {error}"),
        }
    }
}

/// A [`Document`] as it is written.
#[derive(Serialize)]
struct Recorded<'a> {
    kind: u32,
    policies: u32,
    settled: Both<'a>,
}

/// What was found, and what was found before and not asked for yet.
struct Both<'a> {
    now: &'a BTreeMap<Fingerprint, Vec<Occupancy>>,
    before: &'a BTreeMap<Fingerprint, Vec<Occupancy>>,
}

impl Serialize for Both<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.now.iter().chain(self.before))
    }
}
