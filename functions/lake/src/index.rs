//! The key index: which landing objects of readings ever held a key.
//!
//! A set of (key, source) pairs that only grows, kept in runs: immutable objects whose entries are
//! sorted. A landing object adds a run of its own; now and then one merges those into a larger run,
//! and that with others that are not much larger. So there are few runs however many landing objects,
//! each some [`GROWTH`] times as large as the one before, and an entry is written again only when
//! what it is merged with is a fourth of its run or more: a log-structured merge-tree (O'Neil 1996).
//!
//! # Why no entry is ever missed
//!
//! Since it is a set, an entry may be in several runs, and merging twice does no harm. A run is
//! deleted only after another was written that holds all of it, and that one's key comes later in a
//! listing: its generation is higher. So a listing, page by page, finds each entry at least once;
//! and who finds a listed run deleted lists again.
//!
//! # Why it is looked up without an index of its own
//!
//! Entries have a fixed width, and the keys are keyed hashes, evenly spread: so the place of a key
//! is computed from the size of the run, which the listing says. One range read finds it as a rule,
//! wherever one key has many more entries than others a few more (interpolation search; Perl, Itai,
//! Avni 1978).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::key::{KeyHash, Source};
use crate::lake::{Lake, Put};
use crate::layout;
use crate::store::{ByteRange, ObjectMeta, Precondition, list_all};
use crate::tables::Stream;

/// How many times as large as the smaller ones a run is that they are not merged into.
const GROWTH: u64 = 4;
/// Bytes of an entry: the first half of the key's hash, then the source.
const ENTRY_BYTES: usize = 16;
const ENTRY_SIZE: u64 = ENTRY_BYTES as u64;
/// Entries that one range read looks at.
const WINDOW: u64 = 1 << 10;
/// Entries that are read of each run, and written, at once while runs are merged.
const MERGED_AT_ONCE: u64 = 16 << 10;

/// Sorted by key, then by source.
type Entry = [u8; ENTRY_BYTES];
/// What the index knows of a key.
type Prefix = u64;

fn entry(key: &KeyHash, source: Source) -> Entry {
    let mut entry = [0; ENTRY_BYTES];
    entry[..8].copy_from_slice(&key.as_bytes()[..8]);
    entry[8..].copy_from_slice(source.as_bytes());
    entry
}

fn prefix(key: &KeyHash) -> Prefix {
    leading(key.as_bytes())
}

fn leading(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// A run as it was listed.
#[derive(Clone, Debug)]
struct Run {
    meta: ObjectMeta,
    generation: u32,
}

impl Run {
    fn entries(&self) -> u64 {
        self.meta.size_bytes / ENTRY_SIZE
    }
}

/// What may be missing because a run was merged into another meanwhile: then the runs are to be
/// listed again.
type Found<T> = Result<Option<T>, Error>;

/// Adds that a landing object holds some keys.
pub async fn add(
    lake: &Lake,
    stream: Stream,
    source: Source,
    keys: impl IntoIterator<Item = &KeyHash>,
) -> Result<(), Error> {
    let entries: BTreeSet<Entry> = keys.into_iter().map(|key| entry(key, source)).collect();
    if entries.is_empty() {
        return Ok(());
    }
    let bytes = entries.into_iter().flatten().collect::<Bytes>();
    let digest = Sha256::digest(&bytes);
    let key = layout::index_run(stream, 0, &digest);
    lake.store.put(&key, bytes, Precondition::None).await?;
    // One of as many as may be there looks whether they are, so that a run costs but its own put.
    let looks = leading(&digest).is_multiple_of(lake.bounds.runs_max as u64);
    if looks { merge(lake, stream).await } else { Ok(()) }
}

/// The landing objects that ever held each of some keys; and, very seldom, others.
pub async fn find(
    lake: &Lake,
    stream: Stream,
    keys: &BTreeSet<KeyHash>,
) -> Result<BTreeMap<KeyHash, BTreeSet<Source>>, Error> {
    if keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    for _ in 0..lake.bounds.attempts_max {
        let runs = runs(lake, stream).await?;
        if let Some(found) = find_in(lake, runs, keys).await? {
            return Ok(found);
        }
    }
    Err(contended(lake, format!("look up keys in {}", layout::index(stream))))
}

/// Merges the runs that landing objects added, once there are many.
async fn merge(lake: &Lake, stream: Stream) -> Result<(), Error> {
    let _alone = lake.merging.lock().await;
    for _ in 0..lake.bounds.attempts_max {
        let runs = runs(lake, stream).await?;
        let Some(chosen) = to_merge(lake, &runs) else { return Ok(()) };
        let merged = merge_runs(lake, stream, &chosen).await?;
        if merged.is_some() {
            for run in &chosen {
                lake.store.delete(&run.meta.key).await?;
            }
        }
    }
    Err(contended(lake, format!("merge the runs of {}", layout::index(stream))))
}

fn contended(lake: &Lake, what: String) -> Error {
    Error::Contended { what, moved: "the runs".to_owned(), attempts: lake.bounds.attempts_max }
}

async fn runs(lake: &Lake, stream: Stream) -> Result<Vec<Run>, Error> {
    let listed = list_all(lake.store.as_ref(), &layout::index(stream)).await?;
    let run = |meta: ObjectMeta| {
        let generation = layout::index_generation(stream, &meta.key)?;
        Some(Run { meta, generation })
    };
    Ok(listed.into_iter().filter_map(run).collect())
}

/// The runs to merge into one: the landing objects' own, once they are many, and larger ones as long
/// as they are not much larger than all those before.
fn to_merge(lake: &Lake, runs: &[Run]) -> Option<Vec<Run>> {
    let (own, mut merged): (Vec<Run>, Vec<Run>) =
        runs.iter().cloned().partition(|run| run.generation == 0);
    if own.len() < lake.bounds.runs_max {
        return None;
    }
    let mut bytes = 0;
    let mut chosen: Vec<Run> = Vec::new();
    for run in own {
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
async fn merge_runs(lake: &Lake, stream: Stream, runs: &[Run]) -> Found<()> {
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
    let mut next: BinaryHeap<Reverse<(Entry, usize)>> = BinaryHeap::new();
    let first = |(number, cursor): (usize, &Cursor)| Some(Reverse((cursor.entry()?, number)));
    next.extend(cursors.iter().enumerate().filter_map(first));
    let key = layout::index_run(stream, generation, &name.finalize());
    let mut output = lake.upload(&key).await?;
    let mut entries: Vec<u8> = Vec::new();
    let mut last = None;
    while let Some(Reverse((entry, number))) = next.pop() {
        if last != Some(entry) {
            entries.extend_from_slice(&entry);
            last = Some(entry);
        }
        let cursor = &mut cursors[number];
        if cursor.advance(lake).await?.is_none() {
            output.abort().await?;
            return Ok(None);
        }
        next.extend(cursor.entry().map(|entry| Reverse((entry, number))));
        if entries.len() as u64 >= MERGED_AT_ONCE * ENTRY_SIZE {
            output.write(&std::mem::take(&mut entries)).await?;
        }
    }
    output.write(&entries).await?;
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
}

impl Cursor {
    async fn open(lake: &Lake, run: Run) -> Found<Self> {
        let mut cursor = Self { run, read: 0, window: Bytes::new() };
        Ok(cursor.fill(lake).await?.map(|()| cursor))
    }

    fn entry(&self) -> Option<Entry> {
        self.window.first_chunk().copied()
    }

    async fn advance(&mut self, lake: &Lake) -> Found<()> {
        let _passed = self.window.split_to(ENTRY_BYTES.min(self.window.len()));
        if self.window.is_empty() { self.fill(lake).await } else { Ok(Some(())) }
    }

    async fn fill(&mut self, lake: &Lake) -> Found<()> {
        let end = self.run.entries().min(self.read + MERGED_AT_ONCE);
        if end == self.read {
            return Ok(Some(()));
        }
        let Some(window) = read(lake, &self.run, self.read, end).await? else { return Ok(None) };
        self.window = window;
        self.read = end;
        Ok(Some(()))
    }
}

/// Reads entries of a run; `None` if it is gone.
async fn read(lake: &Lake, run: &Run, first: u64, end: u64) -> Found<Bytes> {
    let range = ByteRange::Bounded(first * ENTRY_SIZE..end * ENTRY_SIZE);
    Ok(lake.store.get(&run.meta.key, range).await?.map(|object| object.bytes))
}

async fn find_in(
    lake: &Lake,
    runs: Vec<Run>,
    keys: &BTreeSet<KeyHash>,
) -> Found<BTreeMap<KeyHash, BTreeSet<Source>>> {
    let by_prefix: BTreeMap<Prefix, KeyHash> = keys.iter().map(|key| (prefix(key), *key)).collect();
    let by_prefix = &by_prefix;
    let searched: Vec<Option<Vec<Entry>>> = stream::iter(runs)
        .map(|run| async move { search(lake, &run, by_prefix).await })
        .buffered(lake.bounds.concurrency)
        .try_collect()
        .await?;
    let mut found: BTreeMap<KeyHash, BTreeSet<Source>> =
        keys.iter().map(|key| (*key, BTreeSet::new())).collect();
    for entries in searched {
        let Some(entries) = entries else { return Ok(None) };
        for entry in entries {
            let key = by_prefix.get(&leading(&entry)).and_then(|key| found.get_mut(key));
            let source = Source::of_bytes(&entry[8..]);
            if let (Some(sources), Some(source)) = (key, source) {
                sources.insert(source);
            }
        }
    }
    Ok(Some(found))
}

/// The entries of some keys in a run; `None` if the run is gone.
async fn search(lake: &Lake, run: &Run, keys: &BTreeMap<Prefix, KeyHash>) -> Found<Vec<Entry>> {
    if run.meta.size_bytes <= lake.bounds.small_bytes_max {
        let decode = |object: crate::store::Object| {
            let bytes = object.bytes.len();
            Ok((object.bytes, bytes))
        };
        let Some(read) = lake.read_listed(&run.meta, ByteRange::All, decode).await? else {
            return Ok(None);
        };
        return Ok(Some(matching(&read.value, keys)));
    }
    if keys.len() as u64 * WINDOW >= run.entries() {
        return scan(lake, run, keys).await;
    }
    let mut found = Vec::new();
    for key in keys.keys() {
        let Some(entries) = look_up(lake, run, *key).await? else { return Ok(None) };
        found.extend(entries);
    }
    Ok(Some(found))
}

/// Those of some sorted entries that are of one of the keys.
fn matching(entries: &[u8], keys: &BTreeMap<Prefix, KeyHash>) -> Vec<Entry> {
    let (entries, _) = entries.as_chunks::<ENTRY_BYTES>();
    // Whichever is the fewer leads the way.
    if keys.len() * 16 < entries.len() {
        let of = |key: Prefix| {
            let first = entries.partition_point(|entry| leading(entry) < key);
            entries[first..].iter().take_while(move |entry| leading(*entry) == key)
        };
        return keys.keys().flat_map(|key| of(*key)).copied().collect();
    }
    entries.iter().filter(|entry| keys.contains_key(&leading(*entry))).copied().collect()
}

/// Reads a run from its beginning to its end.
async fn scan(lake: &Lake, run: &Run, keys: &BTreeMap<Prefix, KeyHash>) -> Found<Vec<Entry>> {
    let mut found = Vec::new();
    let mut first = 0;
    while first < run.entries() {
        let end = run.entries().min(first + MERGED_AT_ONCE);
        let Some(window) = read(lake, run, first, end).await? else { return Ok(None) };
        found.extend(matching(&window, keys));
        first = end;
    }
    Ok(Some(found))
}

/// Finds the entries of one key in a large run by the place they should have.
async fn look_up(lake: &Lake, run: &Run, key: Prefix) -> Found<Vec<Entry>> {
    let mut found: Vec<Entry> = Vec::new();
    // The entries of the key, if there are any, begin between these two, or lie before `end`.
    let (mut first, mut end) = (0, run.entries());
    let (mut first_key, mut end_key) = (0, Prefix::MAX);
    let mut probes = 0_u32;
    while first < end {
        let between = end - first;
        // Every other probe halves, should the keys lie unevenly.
        let place = if probes < 2 || probes.is_multiple_of(2) {
            let share = u128::from(key.saturating_sub(first_key)) * u128::from(between);
            (share / u128::from(end_key.saturating_sub(first_key).max(1))) as u64
        } else {
            between / 2
        };
        probes += 1;
        let from = (first + place.min(between)).saturating_sub(WINDOW / 2).max(first);
        let to = (from + WINDOW).min(end);
        let Some(window) = read(lake, run, from, to).await? else { return Ok(None) };
        let (entries, _) = window.as_chunks::<ENTRY_BYTES>();
        let (Some(lowest), Some(highest)) = (entries.first(), entries.last()) else { break };
        let (lowest, highest) = (leading(lowest), leading(highest));
        found.extend(entries.iter().filter(|entry| leading(*entry) == key));
        if lowest < key && highest > key {
            break;
        }
        match (lowest >= key, highest <= key) {
            // All of it is of the key: there may be more on both sides.
            (true, true) => {
                let Some(more) = around(lake, run, key, from, to).await? else { return Ok(None) };
                found.extend(more);
                break;
            }
            (true, false) => (end, end_key) = (from, lowest),
            (false, _) => (first, first_key) = (to, highest),
        }
    }
    Ok(Some(found))
}

/// The entries of a key before `from` and from `to` on, where those between are all of the key.
async fn around(lake: &Lake, run: &Run, key: Prefix, from: u64, to: u64) -> Found<Vec<Entry>> {
    let mut found = Vec::new();
    let is_key = |entry: &&Entry| leading(*entry) == key;
    let (mut begin, mut end) = (from, to);
    while begin > 0 {
        let first = begin.saturating_sub(MERGED_AT_ONCE);
        let Some(window) = read(lake, run, first, begin).await? else { return Ok(None) };
        let (entries, _) = window.as_chunks::<ENTRY_BYTES>();
        let count = entries.iter().rev().take_while(is_key).count();
        found.extend_from_slice(&entries[entries.len() - count..]);
        begin = first;
        if count < entries.len() {
            break;
        }
    }
    while end < run.entries() {
        let last = (end + MERGED_AT_ONCE).min(run.entries());
        let Some(window) = read(lake, run, end, last).await? else { return Ok(None) };
        let (entries, _) = window.as_chunks::<ENTRY_BYTES>();
        let count = entries.iter().take_while(is_key).count();
        found.extend_from_slice(&entries[..count]);
        end = last;
        if count < entries.len() {
            break;
        }
    }
    Ok(Some(found))
}
