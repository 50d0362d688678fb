//! Manifests: what a landing object of readings holds, and what was derived from it.
//!
//! A manifest is published *before* the register is read: so either the reader sees the new
//! consent, or whoever applies the new consent sees the manifest. What may be affected only grows:
//! a manifest keeps every key and every target it ever named.

use std::collections::{BTreeMap, BTreeSet};

use futures::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::index::Index;
use crate::key::{ETag, KeyHash, ObjectKey, Revision, Source};
use crate::lake::{Lake, Put, Versioned};
use crate::landing::Landed;
use crate::layout::{self, Slice, Span};
use crate::tables::Stream;

/// What a landing object holds, and everything it ever held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Grows with every change, so that a landing object which goes from A to B and back to A is
    /// still told apart.
    pub sequence: Revision,
    /// The landing object.
    pub landing: ObjectKey,
    /// What it holds now.
    pub content: Content,
    /// Every key it ever named; with the time range of its readings if it holds any now.
    pub keys: BTreeMap<KeyHash, Option<Span>>,
    /// Every slice that was ever derived from it; whether it holds readings of it now.
    pub slices: BTreeMap<Slice, bool>,
    /// Whether it ever had fragments.
    pub had_fragments: bool,
}

/// What a landing object holds as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Its version; `None` if it is gone.
    pub version: Option<ETag>,
    /// Its whole records.
    pub rows: u64,
    /// Its fragments, by reason.
    pub fragments: BTreeMap<String, u64>,
    /// Tells its quarantine; `None` if it has none.
    pub quarantine: Option<String>,
    /// Keys of its records that no column takes, with the number of records.
    pub unknown_columns: BTreeMap<String, u64>,
    /// Records that did not meet an expectation, by its name; those that all met are left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unmet: BTreeMap<String, u64>,
    /// Whether Athena's JSON SerDe reads it as it is.
    pub newline_delimited: bool,
}

impl Content {
    /// What was read.
    pub fn of(landed: &Landed) -> Self {
        let fragments = landed.summary.reasons.iter();
        let fragments = fragments.map(|(reason, count)| (reason.code().to_owned(), *count));
        let unmet = landed.summary.expectations.iter().filter(|(_, records)| **records > 0);
        Self {
            version: landed.version.clone(),
            rows: landed.summary.rows,
            fragments: fragments.collect(),
            quarantine: landed.quarantine.digest.clone(),
            unknown_columns: landed.summary.unknown_columns.clone(),
            unmet: unmet.map(|(name, records)| ((*name).to_owned(), *records)).collect(),
            newline_delimited: landed.summary.newline_delimited,
        }
    }
}

/// What was found in a landing object, for its manifest.
pub struct Found {
    /// As a whole.
    pub content: Content,
    /// The keys, with the time range of their readings.
    pub keys: BTreeMap<KeyHash, Span>,
    /// The slices.
    pub slices: BTreeSet<Slice>,
}

impl Manifest {
    /// The keys of the readings it holds now.
    pub fn current_keys(&self) -> BTreeSet<KeyHash> {
        let current = self.keys.iter().filter(|(_, span)| span.is_some());
        current.map(|(key, _)| *key).collect()
    }

    /// The first slice that was ever derived from it. Whatever changes in a manifest, each of its slices
    /// is written after it: so that the event of this one stands for all where they would ask the same.
    pub fn lead(&self) -> Option<Slice> {
        self.slices.keys().next().copied()
    }

    /// The one that follows when this was found in its landing object.
    pub fn following(known: Option<&Self>, landing: &ObjectKey, found: &Found) -> Self {
        let mut next = Self::merged(known, landing, found);
        if next.is_to_be_published(known) {
            next.sequence = next.sequence.next();
        }
        next
    }

    /// Whether it says what the one that is known does not. Of what was never there nothing is said.
    fn is_to_be_published(&self, known: Option<&Self>) -> bool {
        known != Some(self) && (known.is_some() || self.content.version.is_some())
    }

    fn merged(before: Option<&Self>, landing: &ObjectKey, found: &Found) -> Self {
        let mut keys = before.map_or_else(BTreeMap::new, |before| before.keys.clone());
        keys.values_mut().for_each(|span| *span = None);
        keys.extend(found.keys.iter().map(|(key, span)| (*key, Some(*span))));
        let mut slices = before.map_or_else(BTreeMap::new, |before| before.slices.clone());
        slices.values_mut().for_each(|wanted| *wanted = false);
        slices.extend(found.slices.iter().map(|slice| (*slice, true)));
        let had_fragments = before.is_some_and(|before| before.had_fragments);
        Self {
            sequence: before.map_or(Revision(0), |before| before.sequence),
            landing: landing.clone(),
            content: found.content.clone(),
            keys,
            slices,
            had_fragments: had_fragments || !found.content.fragments.is_empty(),
        }
    }
}

/// Reads the manifest of a source.
pub async fn load(
    lake: &Lake,
    stream: Stream,
    source: Source,
) -> Result<Option<Versioned<Manifest>>, Error> {
    lake.load(&layout::manifest(stream, source)).await
}

/// Publishes the manifest that [follows](Manifest::following) the one that is known, unless it says the
/// same; `false` if somebody else published meanwhile.
///
/// The index by which its keys are found comes first: an entry without a manifest only costs a look,
/// a manifest without its entries would never be found.
pub async fn publish(
    lake: &Lake,
    stream: Stream,
    known: Option<&Versioned<Manifest>>,
    next: &Manifest,
) -> Result<bool, Error> {
    let (etag, known) = known.map(|known| (&known.etag, known.value.as_ref())).unzip();
    if !next.is_to_be_published(known) {
        return Ok(true);
    }
    let source = Source::of(&next.landing);
    let named = |key: &KeyHash| known.is_some_and(|known| known.keys.contains_key(key));
    let new = next.keys.keys().filter(|key| !named(key));
    let new = new.map(|key| (*key, *source.as_bytes())).collect();
    let key = layout::manifest(stream, source);
    let put = index(lake, stream).add(new).await?.then(lake.save(&key, next, etag)).await?;
    Ok(put != Put::Moved)
}

/// Which landing objects of a stream ever held a key.
fn index(lake: &Lake, stream: Stream) -> Index<'_> {
    Index::new(lake, layout::index(stream))
}

/// The landing objects that ever held each of some keys; and, very seldom, others.
pub async fn sources(
    lake: &Lake,
    stream: Stream,
    keys: &BTreeSet<KeyHash>,
) -> Result<BTreeMap<KeyHash, BTreeSet<Source>>, Error> {
    let found = index(lake, stream).find(keys).await?;
    let sources = |values: BTreeSet<_>| values.into_iter().map(Source::of_bytes).collect();
    Ok(found.into_iter().map(|(key, values)| (key, sources(values))).collect())
}

/// The landing objects whose manifests name any of `keys`, found through the index. No more manifests
/// are held than are read at once: somebody may be in very many landing objects of very many people.
pub async fn naming(
    lake: &Lake,
    stream: Stream,
    keys: &BTreeSet<KeyHash>,
) -> Result<Vec<ObjectKey>, Error> {
    let found = sources(lake, stream, keys).await?;
    let sources: BTreeSet<Source> = found.into_values().flatten().collect();
    stream::iter(sources)
        .map(|source| async move {
            let Some(found) = load(lake, stream, source).await? else { return Ok(None) };
            let names = keys.iter().any(|key| found.value.keys.contains_key(key));
            Ok(names.then(|| found.value.landing.clone()))
        })
        .buffered(lake.bounds.concurrency)
        .try_filter_map(|landing| async move { Ok(landing) })
        .try_collect()
        .await
}
