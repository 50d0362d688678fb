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
//!
//! # Room
//!
//! What is listed of millions of objects would not fit into a function. So of versions that belong
//! together only the sum of their digests is held ([`Versions`]), to which they are added as they are
//! listed, in any order; and what is remembered is held as it is stored, in sorted rows of
//! `ROW_BYTES`, in which the place of versions is computed ([`crate::search`]).

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use futures::try_join;
use tracing::warn;

use crate::error::Error;
use crate::key::{ETag, Fingerprint, ObjectKey, Part, Source, VersionDigest};
use crate::lake::{Lake, Put};
use crate::layout::{self, ReadingDate, Slice};
use crate::object::Occupancy;
use crate::search;
use crate::store::{ByteRange, ObjectMeta, Pages, Precondition, Store, StoreError};
use crate::tables::{Stream, Table};

/// What a memory begins with. To be changed whenever a comparison looks at something else, or sees it
/// otherwise: then what an earlier one found is nothing to go by.
const MAGIC: [u8; 8] = *b"stedi\0c2";
/// The number of the last change of policies that it knew of follows.
const HEADER_BYTES: usize = 12;
/// Versions that are settled, and what was noted of a date, if anything was: a fingerprint, an
/// occupancy, the number of a day.
const ROW_BYTES: usize = 16 + 1 + 4;

/// Versions that are compared with each other: the sum of their digests (AdHash; Bellare, Micciancio
/// 1997), so that none is kept until the others are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions(u128);

impl Versions {
    /// None yet, of those that are compared under a rule.
    pub fn under(rule: &str) -> Self {
        Self(0).and(rule, "")
    }

    /// Adds that of an object, by its key or what else it is known by; nothing if there is none.
    #[must_use]
    pub fn version(self, of: &str, etag: Option<&ETag>) -> Self {
        etag.map_or(self, |etag| self.and(of, etag.as_str()))
    }

    /// Adds those of a landing object, of its quarantine and of its manifest.
    #[must_use]
    pub fn landing_object(
        self,
        landed: Option<&ETag>,
        quarantine: Option<&ETag>,
        manifest: (&ObjectKey, &ETag),
    ) -> Self {
        self.version(LANDED, landed)
            .version(QUARANTINED, quarantine)
            .version(manifest.0.as_str(), Some(manifest.1))
    }

    fn and(self, of: &str, version: &str) -> Self {
        let mut digest = VersionDigest::new();
        digest.field(of.as_bytes());
        digest.field(version.as_bytes());
        let digest = u128::from_be_bytes(*digest.fingerprint().as_bytes());
        Self(self.0.wrapping_add(digest))
    }

    /// Tells them from others.
    pub fn fingerprint(self) -> Fingerprint {
        Fingerprint::of_bytes(self.0.to_be_bytes())
    }
}

/// What a landing object and its quarantine are known by, beside their manifest.
const LANDED: &str = "landing";
const QUARANTINED: &str = "quarantine";

/// The landing objects of a stream, as they were listed.
pub struct LandingObjects {
    stream: Stream,
    /// Those that have a manifest, also where they are gone.
    pub known: BTreeMap<Source, Listed>,
    /// The keys of the others.
    pub new: Vec<ObjectKey>,
}

/// The manifest of a landing object.
pub struct Listed {
    /// Of it, and of what else there is of the landing object.
    pub versions: Versions,
    /// Size of its manifest, bytes.
    pub manifest_bytes: u64,
}

impl LandingObjects {
    /// Lists those of a stream, with what lies beside them, and what is derived from them in `zone`.
    pub async fn list(
        lake: &Lake,
        comparison: &Comparison,
        stream: Stream,
        zone: Option<&'static str>,
        under: Versions,
    ) -> Result<Self, StoreError> {
        let store = lake.store.as_ref();
        let versions = |key: &ObjectKey, etag: &ETag| under.landing_object(None, None, (key, etag));
        let known = Mutex::new(comparison.manifests(lake, stream, versions).await?);
        let mut new = Vec::new();
        let landed = |key: &ObjectKey| Some(Source::of(key));
        let quarantined =
            |key: &ObjectKey| Some(Source::of(&layout::landing_of_quarantine(stream, key)?));
        let derived = async {
            let Some(zone) = zone else { return Ok(()) };
            let derived = |key: &ObjectKey| Some(Slice::of_key(key, zone)?.source);
            add_below(store, zone, None, &known, derived, drop).await
        };
        let (zone_of_landing, quarantine) = (layout::landing(stream), layout::quarantined(stream));
        try_join!(
            add_below(store, zone_of_landing, Some(LANDED), &known, landed, |key| new.push(key)),
            add_below(store, quarantine, Some(QUARANTINED), &known, quarantined, drop),
            derived,
        )?;
        let known = known.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(Self { stream, known, new })
    }

    /// Whether a landing object is still of the version in its manifest. If all that was seen of it is as it
    /// was listed, the listing says so; otherwise the store is asked.
    pub async fn is_current(
        &self,
        lake: &Lake,
        landing: &ObjectKey,
        version: Option<&ETag>,
        seen: Versions,
    ) -> Result<bool, StoreError> {
        let listed = self.known.get(&Source::of(landing));
        if listed.is_some_and(|listed| listed.versions == seen) {
            return Ok(true);
        }
        let landed = lake.store.head(landing).await?;
        Ok(landed.map(|landed| landed.etag).as_ref() == version)
    }

    /// The keys of those of some that are still there, of which their manifests do not tell.
    pub async fn keys(
        &self,
        lake: &Lake,
        sources: &BTreeSet<Source>,
    ) -> Result<Vec<ObjectKey>, StoreError> {
        let mut keys = Vec::new();
        if sources.is_empty() {
            return Ok(keys);
        }
        let mut pages = Pages::below(lake.store.as_ref(), layout::landing(self.stream));
        while let Some(page) = pages.next().await? {
            let of_page = page.into_iter().map(|object| object.key);
            keys.extend(of_page.filter(|key| sources.contains(&Source::of(key))));
        }
        Ok(keys)
    }
}

/// Adds the versions of what is below a prefix to those of the landing objects it belongs to, by this
/// name or by its key; hands on the keys of what belongs to none that is known.
async fn add_below(
    store: &dyn Store,
    prefix: impl Into<String>,
    name: Option<&str>,
    known: &Mutex<BTreeMap<Source, Listed>>,
    belongs: impl Fn(&ObjectKey) -> Option<Source>,
    mut other: impl FnMut(ObjectKey),
) -> Result<(), StoreError> {
    let mut pages = Pages::below(store, prefix);
    while let Some(page) = pages.next().await? {
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        for ObjectMeta { key, etag, .. } in page {
            let Some(source) = belongs(&key) else { continue };
            let Some(Listed { versions, .. }) = known.get_mut(&source) else {
                other(key);
                continue;
            };
            *versions = versions.version(name.unwrap_or(key.as_str()), Some(&etag));
        }
    }
    Ok(())
}

/// What was found by a key; `None` also where it cannot be read. What will not do better later is told by
/// whoever looks at the landing object, and keeps nobody from comparing the others.
pub fn readable<T>(key: &ObjectKey, found: Result<Option<T>, Error>) -> Result<Option<T>, Error> {
    match found {
        Err(error) if !error.is_retryable() => {
            warn!(%key, "compare: {error}");
            Ok(None)
        }
        found => found,
    }
}

/// What a comparison noted of versions that are settled: dates on which there are rows, or were.
pub type Dates = Vec<(ReadingDate, Occupancy)>;

type Row = [u8; ROW_BYTES];

fn rows_of(versions: Fingerprint, dates: &Dates) -> Vec<Row> {
    let row = |occupancy: u8, day: i32| {
        let mut row = [0; ROW_BYTES];
        row[..16].copy_from_slice(versions.as_bytes());
        row[16] = occupancy;
        row[17..].copy_from_slice(&day.to_be_bytes());
        row
    };
    let of_date = |(date, occupancy): &(ReadingDate, Occupancy)| match occupancy {
        Occupancy::Some => Some(row(1, date.number())),
        Occupancy::NoneNow => Some(row(2, date.number())),
        Occupancy::NeverAny => None,
    };
    let rows: Vec<Row> = dates.iter().filter_map(of_date).collect();
    if rows.is_empty() { vec![row(0, 0)] } else { rows }
}

/// What a row says of a date, if anything.
fn date_in(row: &[u8]) -> Option<(ReadingDate, Occupancy)> {
    let occupancy = match row.get(16)? {
        1 => Occupancy::Some,
        2 => Occupancy::NoneNow,
        _ => return None,
    };
    let day = i32::from_be_bytes(*row.last_chunk()?);
    Some((ReadingDate::of_number(day)?, occupancy))
}

/// What the comparison before recorded.
#[derive(Default)]
struct Recorded {
    /// Number of the last change of policies that it knew of.
    policies: u32,
    /// Sorted.
    rows: Bytes,
    /// Of each row.
    marks: Vec<Mark>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// So far there are no such versions.
    Unseen,
    Seen,
    /// With others that changed they are not settled.
    Forgotten,
}

impl Recorded {
    /// `None` if the bytes are no such memory.
    fn of_bytes(bytes: &Bytes) -> Option<Self> {
        let (header, rows) = bytes.split_at_checked(HEADER_BYTES)?;
        let policies = u32::from_be_bytes(*header.strip_prefix(&MAGIC)?.first_chunk()?);
        let rows = rows.len().is_multiple_of(ROW_BYTES).then(|| bytes.slice_ref(rows))?;
        let marks = vec![Mark::Unseen; rows.len() / ROW_BYTES];
        Some(Self { policies, rows, marks })
    }

    /// Marks the rows of some versions, unless they are forgotten; returns them, if there are any.
    fn mark(&mut self, versions: Fingerprint, mark: Mark) -> Option<&[u8]> {
        let key = search::leading(versions.as_bytes());
        let mut range = search::range_of(&self.rows, ROW_BYTES, key);
        let is_of = |row: &usize| self.rows[row * ROW_BYTES..].starts_with(versions.as_bytes());
        let first = range.find(is_of)?;
        let end = range.find(|row| !is_of(row)).unwrap_or(range.end);
        let marks = &mut self.marks[first..end];
        if marks.contains(&Mark::Forgotten) {
            return None;
        }
        marks.fill(mark);
        Some(&self.rows[first * ROW_BYTES..end * ROW_BYTES])
    }

    /// The rows that are marked so.
    fn marked(&self, is_kept: impl Fn(Mark) -> bool) -> impl Iterator<Item = &[u8]> {
        let rows = self.rows.chunks_exact(ROW_BYTES).zip(&self.marks);
        rows.filter(move |(_, mark)| is_kept(**mark)).map(|(row, _)| row)
    }
}

/// A comparison of all there is, beside what the one before found settled.
pub struct Comparison {
    key: ObjectKey,
    etag: Option<ETag>,
    /// Another compared meanwhile, or knew of later policies before.
    is_superseded: bool,
    before: Recorded,
    /// What this one found settled, and the one before did not.
    noted: BTreeMap<Fingerprint, Dates>,
    /// Whether that is recorded, and nothing forgotten since.
    is_recorded: bool,
    /// Rows that are recorded.
    recorded: usize,
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
        let before = object.as_ref().and_then(|object| Recorded::of_bytes(&object.bytes));
        let before = before.unwrap_or_default();
        Self {
            key,
            etag: object.map(|object| object.meta.etag),
            is_superseded: before.policies > lake.settings.changes.last(),
            recorded: before.marks.len(),
            before,
            noted: BTreeMap::new(),
            is_recorded: true,
            untried: 0,
        }
    }

    /// Lists the manifests of a stream, each in the versions that `versions` makes of its own. Their names
    /// are digests, evenly spread: where there are many, several stretches are listed at once.
    pub async fn manifests(
        &self,
        lake: &Lake,
        stream: Stream,
        versions: impl Fn(&ObjectKey, &ETag) -> Versions,
    ) -> Result<BTreeMap<Source, Listed>, StoreError> {
        let all = layout::manifests(stream);
        let stretches = match self.before.marks.len() >= lake.bounds.many_settled {
            true => (0..16).map(|digit| format!("{all}{digit:x}")).collect(),
            false => vec![all],
        };
        let manifests = Mutex::new(BTreeMap::new());
        stream::iter(stretches.into_iter().map(Ok::<String, StoreError>))
            .try_for_each_concurrent(lake.bounds.concurrency, |stretch| async {
                let mut pages = Pages::below(lake.store.as_ref(), stretch);
                while let Some(page) = pages.next().await? {
                    let manifest = |object: ObjectMeta| {
                        let source = layout::source_of_manifest(stream, &object.key)?;
                        let versions = versions(&object.key, &object.etag);
                        Some((source, Listed { versions, manifest_bytes: object.size_bytes }))
                    };
                    let mut manifests = manifests.lock().unwrap_or_else(PoisonError::into_inner);
                    manifests.extend(page.into_iter().filter_map(manifest));
                }
                Ok(())
            })
            .await?;
        Ok(manifests.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether these versions were found settled; with what was noted of them.
    pub fn knows(&mut self, versions: Fingerprint) -> Option<Dates> {
        if let Some(dates) = self.noted.get(&versions) {
            return Some(dates.clone());
        }
        let rows = self.before.mark(versions, Mark::Seen)?.chunks_exact(ROW_BYTES);
        Some(rows.filter_map(date_in).collect())
    }

    /// Remembers that these versions, which were all seen, are settled; and the occupancy of the dates
    /// with which they have to do.
    pub fn note(&mut self, versions: Fingerprint, dates: Dates) {
        if self.before.mark(versions, Mark::Seen).is_none()
            && self.noted.insert(versions, dates).is_none()
        {
            self.is_recorded = false;
            self.untried += 1;
        }
    }

    /// Forgets these versions: with others that changed they are not settled.
    pub fn forget(&mut self, versions: Fingerprint) {
        let was_noted = self.noted.remove(&versions).is_some();
        if self.before.mark(versions, Mark::Forgotten).is_some() || was_noted {
            self.is_recorded = false;
        }
    }

    /// Forgets all that was not asked for so far. What is remembered of objects together holds of those only
    /// that are remembered all the time: of one that was gone, and is back, nobody looked at it with what
    /// changed meanwhile.
    pub fn forget_gone(&mut self) {
        for mark in self.before.marks.iter_mut().filter(|mark| **mark == Mark::Unseen) {
            *mark = Mark::Forgotten;
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
        let mut looks = pin!(stream::iter(unknown).map(look).buffered(lake.parts_at_once()));
        let mut unfinished = Vec::new();
        while let Some(looked) = looks.try_next().await? {
            match looked {
                Some(Looked::Settled(versions)) => self.note(versions, Vec::new()),
                Some(Looked::Unfinished(key)) => unfinished.push(key),
                None => {}
            }
            self.keep_progress(lake).await;
        }
        Ok(unfinished)
    }

    /// Records what was found so far, now and then, and the more seldom the more there is to be recorded:
    /// should the time not suffice, the next comparison goes on from there. What was not asked for yet
    /// stays recorded beside what is noted; where it must not, see [`Self::forget_gone`].
    pub async fn keep_progress(&mut self, lake: &Lake) {
        if self.untried >= lake.bounds.looks_recorded.max(self.recorded / 64) {
            self.record_progress(lake).await;
        }
    }

    /// The same, at once.
    pub async fn record_progress(&mut self, lake: &Lake) {
        if self.untried > 0 {
            self.record(lake, |mark| mark != Mark::Forgotten).await;
        }
    }

    /// Registers the tables of what is settled: a catalog that was lost has them again, also where
    /// nothing changes any more.
    pub async fn register(&self, lake: &Lake, tables: &[&'static Table]) -> Result<(), Error> {
        if !self.noted.is_empty() || self.before.marks.contains(&Mark::Seen) {
            lake.register(tables).await?;
        }
        Ok(())
    }

    /// Ends it: what is settled now is recorded for the next.
    pub async fn end(mut self, lake: &Lake) {
        if !self.is_recorded || self.before.marks.contains(&Mark::Unseen) {
            self.record(lake, |mark| mark == Mark::Seen).await;
        }
    }

    /// Where it cannot be recorded, the next comparison looks at more; what this one found holds. What
    /// another recorded meanwhile stays.
    async fn record(&mut self, lake: &Lake, is_kept: impl Fn(Mark) -> bool) {
        self.untried = 0;
        if self.is_superseded {
            return;
        }
        let when = Precondition::unchanged(self.etag.as_ref());
        let bytes = self.to_bytes(lake, is_kept);
        self.recorded = bytes.len() / ROW_BYTES;
        match lake.put(&self.key, bytes, when).await {
            Ok(Put::Done(etag)) => {
                self.etag = Some(etag);
                self.is_recorded = true;
            }
            Ok(Put::Moved) => self.is_superseded = true,
            Err(error) => warn!(key = %self.key, "what was compared is not recorded: {error}"),
        }
    }

    fn to_bytes(&self, lake: &Lake, is_kept: impl Fn(Mark) -> bool) -> Bytes {
        let mut noted =
            self.noted.iter().flat_map(|(versions, dates)| rows_of(*versions, dates)).peekable();
        let mut bytes = Vec::with_capacity(
            HEADER_BYTES + (self.before.marks.len() + self.noted.len()) * ROW_BYTES,
        );
        bytes.extend(MAGIC);
        bytes.extend(lake.settings.changes.last().to_be_bytes());
        for row in self.before.marked(is_kept) {
            while let Some(earlier) = noted.next_if(|noted| noted.as_slice() < row) {
                bytes.extend(earlier);
            }
            bytes.extend(row);
        }
        bytes.extend(noted.flatten());
        bytes.into()
    }
}
