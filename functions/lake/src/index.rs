//! Indexes: which landing objects of readings ever held a key; who ever had a device.
//!
//! A set of (key, value) pairs that only grows, kept in runs: immutable objects whose entries are
//! sorted. Whoever has something to add, as a landing object, adds a run of its own; now and then one
//! merges those into a larger run, and that with others that are not much larger. So there are few
//! runs however many were added, each some [`GROWTH`] times as large as the one before, and an entry is written again only when
//! what it is merged with is an eighth of its run or more: a log-structured merge-tree (O'Neil 1996).
//!
//! # Why no entry is ever missed
//!
//! Since it is a set, an entry may be in several runs, and merging twice does no harm. A run is
//! deleted only after another was written that holds all of it, and that one's key comes later in a
//! listing: its generation is higher. So a listing, page by page, finds each entry at least once;
//! and who finds a listed run deleted lists again.
//!
//! Entries are found by a computed place ([`crate::search`]): a run has no index of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use futures::try_join;
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::key::KeyHash;
use crate::lake::{Lake, Put};
use crate::layout;
use crate::search::{
    self, Rows, SCANNED_BYTES, SMALL_BYTES, Unmoved, WINDOW_BYTES, before, leading,
};
use crate::store::{ByteRange, Object, ObjectMeta, Precondition, list_all};

/// How many times as large as the smaller ones a run is that they are not merged into.
const GROWTH: u64 = 8;
/// Bytes of an entry: the first half of the key's hash, then the value.
const ENTRY_BYTES: usize = 16;
const ENTRY_SIZE: u64 = ENTRY_BYTES as u64;
/// Entries that are read of each run, and written, at once while runs are merged.
const MERGED_AT_ONCE: u64 = SCANNED_BYTES / ENTRY_SIZE;

/// What a key leads to: a [`Source`](crate::key::Source), or the first half of a person's hash.
pub type Value = [u8; 8];
/// Sorted by key, then by value.
type Entry = [u8; ENTRY_BYTES];

fn entry(key: &KeyHash, value: &Value) -> Entry {
    let mut entry = [0; ENTRY_BYTES];
    entry[..8].copy_from_slice(&key.as_bytes()[..8]);
    entry[8..].copy_from_slice(value);
    entry
}

/// An index of the lake.
pub struct Index<'a> {
    lake: &'a Lake,
    prefix: String,
}

/// A run as it was listed.
#[derive(Clone, Debug)]
struct Run {
    meta: ObjectMeta,
    generation: u32,
}

impl Rows for Run {
    const WIDTH: usize = ENTRY_BYTES;

    fn count(&self) -> u64 {
        self.meta.size_bytes / ENTRY_SIZE
    }

    async fn read(&self, lake: &Lake, first: u64, end: u64) -> Unmoved<Bytes> {
        let range = ByteRange::Bounded(first * ENTRY_SIZE..end * ENTRY_SIZE);
        Ok(lake.store.get(&self.meta.key, range).await?.map(|object| object.bytes))
    }
}

impl<'a> Index<'a> {
    /// The index whose runs are below `prefix`.
    pub fn new(lake: &'a Lake, prefix: impl Into<String>) -> Self {
        Self { lake, prefix: prefix.into() }
    }

    /// Adds some pairs; then `next` is done, while what was added is merged once there is much of it.
    pub async fn add<T>(
        &self,
        pairs: Vec<(KeyHash, Value)>,
        next: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let is_full = self.put(pairs).await?;
        let merge = async { if is_full { self.merge().await } else { Ok(()) } };
        Ok(try_join!(merge, next)?.1)
    }

    /// Adds some pairs; whether it is to be seen if there are many runs.
    async fn put(&self, pairs: Vec<(KeyHash, Value)>) -> Result<bool, Error> {
        let mut entries: Vec<Entry> = pairs.iter().map(|(key, value)| entry(key, value)).collect();
        if entries.is_empty() {
            return Ok(false);
        }
        entries.sort_unstable();
        entries.dedup();
        let bytes = Bytes::from(entries.into_flattened());
        let digest = Sha256::digest(&bytes);
        let key = layout::index_run(&self.prefix, 0, &digest);
        self.lake.store.put(&key, bytes, Precondition::None).await?;
        // Every other one looks whether there are many: so that they are seldom many more, and a run
        // costs little but its own put.
        Ok(leading(&digest).is_multiple_of((self.lake.bounds.runs_max as u64 / 4).max(1)))
    }

    /// What each of some keys leads to; and, very seldom, what others do.
    pub async fn find(
        &self,
        keys: &BTreeSet<KeyHash>,
    ) -> Result<BTreeMap<KeyHash, BTreeSet<Value>>, Error> {
        if keys.is_empty() {
            return Ok(BTreeMap::new());
        }
        for _ in 0..self.lake.bounds.attempts_max {
            let runs = self.runs().await?;
            if let Some(found) = find_in(self.lake, runs, keys).await? {
                return Ok(found);
            }
        }
        Err(self.contended("look up keys in"))
    }

    /// Merges the runs that were added, once there are many.
    async fn merge(&self) -> Result<(), Error> {
        let _alone = self.lake.merging.lock().await;
        for _ in 0..self.lake.bounds.attempts_max {
            let Some(chosen) = to_merge(self.lake, &self.runs().await?) else { return Ok(()) };
            if merge_runs(self.lake, &self.prefix, &chosen).await?.is_some() {
                stream::iter(chosen)
                    .map(|run| async move { self.lake.store.delete(&run.meta.key).await })
                    .buffer_unordered(self.lake.bounds.looks_at_once)
                    .try_collect::<()>()
                    .await?;
            }
        }
        // Others add runs faster than they are merged: what was to be added is, and is found.
        Ok(())
    }

    fn contended(&self, what: &str) -> Error {
        self.lake.contended(format!("{what} {}", self.prefix), "the runs")
    }

    async fn runs(&self) -> Result<Vec<Run>, Error> {
        let listed = list_all(self.lake.store.as_ref(), &self.prefix).await?;
        let run = |meta: ObjectMeta| {
            let generation = layout::index_generation(&self.prefix, &meta.key)?;
            Some(Run { meta, generation })
        };
        Ok(listed.into_iter().filter_map(run).collect())
    }
}

/// The runs to merge into one: those that were added, once they are many, and larger ones as long as
/// they are not much larger than all those before.
fn to_merge(lake: &Lake, runs: &[Run]) -> Option<Vec<Run>> {
    let (added, mut merged): (Vec<Run>, Vec<Run>) =
        runs.iter().cloned().partition(|run| run.generation == 0);
    if added.len() < lake.bounds.runs_max {
        return None;
    }
    let mut bytes = 0;
    let mut chosen: Vec<Run> = Vec::new();
    for run in added {
        if chosen.len() > 1 && bytes + run.meta.size_bytes > lake.bounds.held_bytes_max / 2 {
            break;
        }
        bytes += run.meta.size_bytes;
        chosen.push(run);
    }
    merged.sort_by_key(|run| run.meta.size_bytes);
    for run in merged {
        if run.meta.size_bytes >= GROWTH * bytes {
            break;
        }
        bytes += run.meta.size_bytes;
        chosen.push(run);
    }
    Some(chosen)
}

/// Writes one run of several; `None` if one of them was merged by somebody else meanwhile.
async fn merge_runs(lake: &Lake, prefix: &str, runs: &[Run]) -> Unmoved<()> {
    let generation = runs.iter().map(|run| run.generation).max().unwrap_or(0).saturating_add(1);
    let mut name = Sha256::new();
    runs.iter().for_each(|run| name.update(run.meta.key.as_str()));
    let cursors: Vec<Option<Cursor>> = stream::iter(runs.to_vec())
        .map(|run| Cursor::open(lake, run))
        .buffered(lake.bounds.concurrency)
        .try_collect()
        .await?;
    let Some(mut cursors) = cursors.into_iter().collect::<Option<Vec<Cursor>>>() else {
        return Ok(None);
    };
    let key = layout::index_run(prefix, generation, &name.finalize());
    let mut output = lake.pieces(key);
    loop {
        // Up to here all that the runs have is at hand.
        let end = cursors.iter().filter_map(Cursor::last_before_more).min();
        let mut entries: Vec<Entry> = Vec::new();
        for cursor in &mut cursors {
            entries.extend_from_slice(cursor.take_to(end));
        }
        if entries.is_empty() {
            break;
        }
        // Stable, which merges what is sorted in stretches.
        entries.sort_by_key(|entry| u128::from_be_bytes(*entry));
        entries.dedup();
        output.write(entries.as_flattened()).await?;
        for cursor in &mut cursors {
            if cursor.refill(lake).await?.is_none() {
                output.abort().await?;
                return Ok(None);
            }
        }
    }
    // Whoever merged the same runs wrote the same.
    match output.complete(Precondition::None).await? {
        Put::Done(_) => Ok(Some(())),
        Put::Moved => Ok(None),
    }
}

/// A run that is being merged.
struct Cursor {
    run: Run,
    /// Entries up to the end of the window.
    read: u64,
    window: Bytes,
    /// Entries of the window that were taken.
    taken: usize,
}

impl Cursor {
    async fn open(lake: &Lake, run: Run) -> Unmoved<Self> {
        let mut cursor = Self { run, read: 0, window: Bytes::new(), taken: 0 };
        Ok(cursor.refill(lake).await?.map(|()| cursor))
    }

    fn entries(&self) -> &[Entry] {
        self.window.as_chunks().0
    }

    /// The last entry of the window, if it is not the last of the run.
    fn last_before_more(&self) -> Option<Entry> {
        self.entries().last().filter(|_| self.read < self.run.count()).copied()
    }

    /// The next entries of the window, up to one; all there are if there is none.
    fn take_to(&mut self, end: Option<Entry>) -> &[Entry] {
        let first = self.taken;
        let rest = &self.entries()[first..];
        let count = end.map_or(rest.len(), |end| rest.partition_point(|entry| *entry <= end));
        self.taken += count;
        &self.entries()[first..first + count]
    }

    /// Reads the next window, once all of this one was taken.
    async fn refill(&mut self, lake: &Lake) -> Unmoved<()> {
        let end = self.run.count().min(self.read + MERGED_AT_ONCE);
        if self.taken < self.entries().len() || end == self.read {
            return Ok(Some(()));
        }
        let Some(window) = self.run.read(lake, self.read, end).await? else { return Ok(None) };
        (self.window, self.taken) = (window, 0);
        self.read = end;
        Ok(Some(()))
    }
}

async fn find_in(
    lake: &Lake,
    runs: Vec<Run>,
    keys: &BTreeSet<KeyHash>,
) -> Unmoved<BTreeMap<KeyHash, BTreeSet<Value>>> {
    let by_prefix: BTreeMap<u64, KeyHash> =
        keys.iter().map(|key| (leading(key.as_bytes()), *key)).collect();
    let by_prefix = &by_prefix;
    // Of most runs few bytes are read for few keys.
    let is_little = keys.len() as u64 * WINDOW_BYTES <= SMALL_BYTES;
    let at_once = if is_little { lake.bounds.looks_at_once } else { lake.bounds.concurrency };
    let searched: Vec<Option<Vec<Entry>>> = stream::iter(runs)
        .map(|run| async move { search_run(lake, &run, by_prefix).await })
        .buffered(at_once)
        .try_collect()
        .await?;
    let mut found: BTreeMap<KeyHash, BTreeSet<Value>> =
        keys.iter().map(|key| (*key, BTreeSet::new())).collect();
    for entries in searched {
        let Some(entries) = entries else { return Ok(None) };
        for entry in entries {
            let values = by_prefix.get(&leading(&entry)).and_then(|key| found.get_mut(key));
            if let (Some(values), Some(value)) = (values, entry.last_chunk()) {
                values.insert(*value);
            }
        }
    }
    Ok(Some(found))
}

/// The entries of some keys in a run; `None` if the run is gone.
async fn search_run(lake: &Lake, run: &Run, keys: &BTreeMap<u64, KeyHash>) -> Unmoved<Vec<Entry>> {
    let size = run.meta.size_bytes;
    let wants_most = keys.len() as u64 * WINDOW_BYTES >= size;
    let kept_max = lake.bounds.small_bytes_max.max(lake.bounds.cache_bytes_max as u64 / 16);
    if size <= SMALL_BYTES.min(lake.bounds.small_bytes_max) || (wants_most && size <= kept_max) {
        let decode = |object: Object| {
            let bytes = object.bytes.len();
            Ok((object.bytes, bytes))
        };
        let read = lake.read_listed(&run.meta, ByteRange::All, decode).await?;
        return Ok(read.map(|read| matching(&read.value, keys)));
    }
    let mut found = Vec::new();
    if wants_most {
        let mut first = 0;
        while first < run.count() {
            let end = run.count().min(first + MERGED_AT_ONCE);
            let Some(window) = run.read(lake, first, end).await? else { return Ok(None) };
            found.extend(matching(&window, keys));
            first = end;
        }
        return Ok(Some(found));
    }
    let mut looked_up = pin!(
        stream::iter(keys.keys().copied())
            .map(|key| search::look_up(lake, run, key))
            .buffered(lake.bounds.concurrency)
    );
    while let Some(entries) = looked_up.try_next().await? {
        let Some(entries) = entries else { return Ok(None) };
        found.extend_from_slice(entries.as_chunks().0);
    }
    Ok(Some(found))
}

/// Those of some sorted entries that are of one of the keys: each leaps over what the other has
/// none of.
fn matching(entries: &[u8], keys: &BTreeMap<u64, KeyHash>) -> Vec<Entry> {
    let (mut entries, _) = entries.as_chunks::<ENTRY_BYTES>();
    let mut found = Vec::new();
    for key in keys.keys() {
        entries = &entries[before(entries, |entry| leading(entry) < *key)..];
        let (of_key, others) = entries.split_at(before(entries, |entry| leading(entry) == *key));
        found.extend_from_slice(of_key);
        entries = others;
    }
    found
}
