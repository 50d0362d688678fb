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
use std::future::Future;

use futures::stream::{self, StreamExt, TryStreamExt};
use futures::try_join;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::error::Error;
use crate::key::{ETag, Fingerprint, ObjectKey, Part, Source, VersionDigest};
use crate::lake::{Lake, Put, json};
use crate::layout;
use crate::object::Occupancy;
use crate::store::{ByteRange, Object, ObjectMeta, Precondition, StoreError, list_all};
use crate::tables::{Stream, Table};

/// To be changed whenever a comparison looks at something else, or sees it otherwise: then what an
/// earlier one found is nothing to go by.
const KIND: u32 = 1;
/// After so many looks what was found is recorded, for whoever has to begin again.
const PROGRESS: usize = 4096;

/// Versions that are compared with each other.
#[derive(Clone)]
pub struct Versions(VersionDigest);

impl Versions {
    /// None yet, of those that are compared under a rule.
    pub fn under(rule: &str) -> Self {
        Self(VersionDigest::new()).and(rule)
    }

    /// Adds that of an object, by its key or what else it is known by; or that there is none.
    #[must_use]
    pub fn version(self, of: &str, etag: Option<&ETag>) -> Self {
        self.and(of).and(etag.map_or("", ETag::as_str))
    }

    /// Adds those of a landing object, of its quarantine and of its manifest.
    #[must_use]
    pub fn landing_object(
        self,
        landed: Option<&ETag>,
        quarantine: Option<&ETag>,
        manifest: (&ObjectKey, &ETag),
    ) -> Self {
        self.version("landing", landed)
            .version("quarantine", quarantine)
            .version(manifest.0.as_str(), Some(manifest.1))
    }

    fn and(mut self, field: &str) -> Self {
        self.0.field(field.as_bytes());
        self
    }

    /// Tells them from others.
    pub fn fingerprint(self) -> Fingerprint {
        self.0.fingerprint()
    }
}

/// What there is of a landing object, as it was listed.
#[derive(Default)]
pub struct Listed {
    /// The object.
    pub landing: Option<(ObjectKey, ETag)>,
    /// What is said to be in it.
    pub manifest: Option<ObjectMeta>,
    /// What could not be read of it, be the object still there or not.
    pub quarantine: Option<ETag>,
}

impl Listed {
    /// Its version, if it is there.
    pub fn landed(&self) -> Option<&ETag> {
        self.landing.as_ref().map(|(_, version)| version)
    }

    /// Its key, if it is there.
    pub fn key(&self) -> Option<ObjectKey> {
        self.landing.as_ref().map(|(key, _)| key.clone())
    }
}

/// Lists the landing objects of a stream, with what lies beside them.
pub async fn landing_objects(
    lake: &Lake,
    stream: Stream,
) -> Result<BTreeMap<Source, Listed>, StoreError> {
    let store = lake.store.as_ref();
    let (manifests, quarantined) = (layout::manifests(stream), layout::quarantined(stream));
    let (landed, manifests, quarantined) = try_join!(
        list_all(store, layout::landing(stream)),
        list_all(store, &manifests),
        list_all(store, &quarantined),
    )?;
    let mut sources: BTreeMap<Source, Listed> = BTreeMap::new();
    for object in landed {
        let listed = sources.entry(Source::of(&object.key)).or_default();
        listed.landing = Some((object.key, object.etag));
    }
    for object in manifests {
        if let Some(source) = layout::source_of_manifest(stream, &object.key) {
            sources.entry(source).or_default().manifest = Some(object);
        }
    }
    for object in quarantined {
        if let Some(landing) = layout::landing_of_quarantine(stream, &object.key) {
            sources.entry(Source::of(&landing)).or_default().quarantine = Some(object.etag);
        }
    }
    Ok(sources)
}

/// As it is stored.
#[derive(Default, Serialize, Deserialize)]
struct Document {
    kind: u32,
    /// Number of the last change of policies that it knew of.
    policies: u32,
    settled: BTreeMap<Fingerprint, Settled>,
}

/// What was noted of versions that are settled.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Settled {
    occupancies: Vec<Occupancy>,
    /// Whether there still are such versions.
    #[serde(skip)]
    is_seen: bool,
}

/// A comparison of all there is, beside what the one before found settled.
pub struct Comparison {
    key: ObjectKey,
    noted: Option<ETag>,
    /// Another compared meanwhile, or knew of later policies before.
    is_superseded: bool,
    document: Document,
    /// Whether the document is, but for what is not seen any more.
    is_recorded: bool,
    /// How much was found since that was tried.
    untried: usize,
}

/// What a look at a part of a register found.
pub enum Looked {
    /// All that follows from it, in these versions.
    Settled(Fingerprint),
    /// Something is left to do, to which this key leads.
    Unfinished(ObjectKey),
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
        let known = |object: &Object| serde_json::from_slice(&object.bytes).ok();
        let before: Option<Document> = object.as_ref().and_then(known);
        let before = before.filter(|before| before.kind == KIND).unwrap_or_default();
        let policies = lake.settings.changes.last();
        Self {
            key,
            noted: object.map(|object| object.meta.etag),
            is_superseded: before.policies > policies,
            document: Document { kind: KIND, policies, ..before },
            is_recorded: true,
            untried: 0,
        }
    }

    /// Whether these versions were found settled; with what was noted of them.
    pub fn knows(&mut self, versions: Fingerprint) -> Option<&[Occupancy]> {
        let settled = self.document.settled.get_mut(&versions)?;
        settled.is_seen = true;
        Some(&settled.occupancies)
    }

    /// Remembers that these versions, which were all seen, are settled; and the occupancy of those
    /// that belong to a date.
    pub fn note(&mut self, versions: Fingerprint, occupancies: Vec<Occupancy>) {
        let settled = Settled { occupancies, is_seen: true };
        if self.document.settled.insert(versions, settled).is_none() {
            self.is_recorded = false;
            self.untried += 1;
        }
    }

    /// Forgets these versions: with others that changed they are not settled.
    pub fn forget(&mut self, versions: Fingerprint) {
        if self.document.settled.remove(&versions).is_some() {
            self.is_recorded = false;
        }
    }

    /// The parts of which `listed` has versions that are not known to be settled.
    pub fn unknown_parts(
        &mut self,
        lake: &Lake,
        listed: impl Fn(Part) -> Option<Fingerprint>,
    ) -> Vec<Part> {
        let mut is_unknown =
            |part: &Part| listed(*part).is_some_and(|versions| self.knows(versions).is_none());
        lake.settings.parts.all().filter(|part| is_unknown(part)).collect()
    }

    /// Looks at these parts; returns the keys that lead to what is left to do.
    pub async fn look_at_parts<L>(
        &mut self,
        lake: &Lake,
        listed: impl Fn(Part) -> Option<Fingerprint>,
        look: impl Fn(Part) -> L,
    ) -> Result<Vec<ObjectKey>, Error>
    where
        L: Future<Output = Result<Option<Looked>, Error>>,
    {
        let unknown = self.unknown_parts(lake, listed);
        let looks = stream::iter(unknown).map(look).buffered(lake.parts_at_once());
        let looked: Vec<Option<Looked>> = looks.try_collect().await?;
        let mut unfinished = Vec::new();
        for looked in looked.into_iter().flatten() {
            match looked {
                Looked::Settled(versions) => self.note(versions, Vec::new()),
                Looked::Unfinished(key) => unfinished.push(key),
            }
        }
        Ok(unfinished)
    }

    /// Records what was found so far, now and then. Where each of what is noted is settled by itself:
    /// should the time not suffice, the next comparison goes on from there.
    pub async fn keep_progress(&mut self, lake: &Lake) {
        if self.untried >= PROGRESS {
            self.record(lake).await;
        }
    }

    /// Registers the tables of what is settled: a catalog that was lost has them again, also where
    /// nothing changes any more.
    pub async fn register(&self, lake: &Lake, tables: &[&'static Table]) -> Result<(), Error> {
        if self.document.settled.values().any(|settled| settled.is_seen) {
            lake.register(tables).await?;
        }
        Ok(())
    }

    /// Ends it: what is settled now is recorded for the next.
    pub async fn end(mut self, lake: &Lake) {
        let known = self.document.settled.len();
        self.document.settled.retain(|_, settled| settled.is_seen);
        if !self.is_recorded || self.document.settled.len() < known {
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
        let when = Precondition::unchanged(self.noted.as_ref());
        let put = match json(&self.key, &self.document) {
            Ok(bytes) => lake.put(&self.key, bytes, when).await,
            Err(error) => Err(error),
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
