//! Sorted runs: what only grows, and is looked up by hash.
//!
//! Entries of a fixed width are kept in runs: immutable objects in which they are sorted. Whoever has
//! something to add adds a run of its own; now and then one merges those into a larger run, and that
//! with others that are not much larger. So there are few runs however many were added, each some
//! `GROWTH` times as large as the one before, and an entry is written again only when what it is
//! merged with is an eighth of its run or more: a log-structured merge-tree (O'Neil 1996). What cannot be
//! merged within an invocation ([`crate::lake::Bounds::merged_bytes_max`]) is left as it is: of runs so
//! large there are as many as it takes.
//!
//! # Why no entry is ever missed
//!
//! An entry may be in several runs, and merging twice does no harm. A run is deleted only after another
//! was written that holds all of it, and that one's key comes later in a listing: its generation is
//! higher. So a listing, page by page, finds each entry at least once; and who finds a listed run
//! deleted lists again.
//!
//! Entries are found by a computed place ([`crate::search`]), among `keys` where these have many.

mod keys;

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::pin::pin;

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use futures::try_join;
use sha2::{Digest, Sha256};
use tracing::warn;

use self::keys::Keys;
use crate::error::Error;
use crate::key::ObjectKey;
use crate::lake::{Lake, Put};
use crate::layout;
use crate::search::{
    self, Rows, SCANNED_BYTES, SMALL_BYTES, Unmoved, WINDOW_BYTES, before, leading,
};
use crate::store::{ByteRange, Object, ObjectMeta, Precondition, list_all};

/// How many times as large as the smaller ones a run is that they are not merged into.
const GROWTH: u64 = 8;
/// From how many keys on it is better to read on and on in what they lie in than to look for each.
const MANY_KEYS: usize = 12;

/// An entry of a run: bytes of a fixed number, the first 8 of which it is looked up by. All of them
/// order the entries.
pub trait Entry: AsRef<[u8]> + Copy + Ord + Send + Sync + 'static {
    /// Bytes of it.
    const BYTES: usize;

    /// The entries that some bytes are.
    fn all_in(bytes: &[u8]) -> &[Self];

    /// The bytes of some entries.
    fn bytes_of(entries: &[Self]) -> &[u8];
}

impl<const BYTES: usize> Entry for [u8; BYTES] {
    const BYTES: usize = BYTES;

    fn all_in(bytes: &[u8]) -> &[Self] {
        bytes.as_chunks().0
    }

    fn bytes_of(entries: &[Self]) -> &[u8] {
        entries.as_flattened()
    }
}

/// Sorts entries; of those that begin with the same `identity` bytes the last one stands.
fn settle<E: Entry>(entries: &mut Vec<E>, identity: usize) {
    // Stable, which merges what is sorted in stretches.
    entries.sort_by(|a, b| leading(a.as_ref()).cmp(&leading(b.as_ref())).then_with(|| a.cmp(b)));
    entries.dedup_by(|later, kept| {
        let is_same = later.as_ref()[..identity] == kept.as_ref()[..identity];
        if is_same {
            *kept = *later;
        }
        is_same
    });
}

/// Some entries that were added.
#[must_use]
pub struct Added<'a, E> {
    /// Those of which it is to be seen if they are many now.
    runs: Option<Runs<'a, E>>,
}

impl<E: Entry> Added<'_, E> {
    /// Does what comes next, while what was added is merged once there is much of it. What is not
    /// merged is found, too: so what comes next does not fail with it, a withdrawal least of all.
    pub async fn then<T>(self, next: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let merge = async {
            if let Some(runs) = &self.runs
                && let Err(error) = runs.merge().await
            {
                warn!("the runs below {} are left as they are: {error}", runs.prefix);
            }
            Ok(())
        };
        Ok(try_join!(merge, next)?.1)
    }
}

/// The runs below a prefix.
pub struct Runs<'a, E> {
    lake: &'a Lake,
    prefix: &'a str,
    /// Bytes at the front of an entry that say what it is of: of those in which they are the same the one
    /// that is sorted last stands.
    identity: usize,
    entry: PhantomData<E>,
}

/// A run as it was listed.
#[derive(Clone)]
struct Run<E> {
    meta: ObjectMeta,
    generation: u32,
    keys: Option<Keys>,
    entry: PhantomData<E>,
}

impl<E: Entry> Rows for Run<E> {
    const WIDTH: usize = E::BYTES;

    fn count(&self) -> u64 {
        self.meta.size_bytes / E::BYTES as u64
    }

    async fn read(&self, lake: &Lake, first: u64, end: u64) -> Unmoved<Bytes> {
        search::read(lake, &self.meta.key, E::BYTES, first, end).await
    }
}

impl<'a, E: Entry> Runs<'a, E> {
    /// Those below `prefix`, of entries that begin with so many bytes of what they are of.
    pub fn new(lake: &'a Lake, prefix: &'a str, identity: usize) -> Self {
        Self { lake, prefix, identity, entry: PhantomData }
    }

    /// Adds some entries.
    pub async fn add(self, mut entries: Vec<E>) -> Result<Added<'a, E>, Error> {
        if entries.is_empty() {
            return Ok(Added { runs: None });
        }
        settle(&mut entries, self.identity);
        let bytes = Bytes::copy_from_slice(E::bytes_of(&entries));
        let digest = Sha256::digest(&bytes);
        let key = layout::run(self.prefix, 0, &digest);
        self.lake.store.put(&key, bytes, Precondition::None).await?;
        // Every other one looks whether there are many: so that they are seldom many more, and a run
        // costs little but its own put.
        let one_in = (self.lake.bounds.runs_max as u64 / 4).max(1);
        Ok(Added { runs: leading(&digest).is_multiple_of(one_in).then_some(self) })
    }

    /// The entries, sorted, of some keys, which are sorted; of what several runs have, the last one.
    pub async fn find(&self, keys: &[u64]) -> Result<Vec<E>, Error> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        for _ in 0..self.lake.bounds.attempts_max {
            let (runs, _) = self.listed().await?;
            if let Some(mut found) = find_in(self.lake, runs, keys).await? {
                settle(&mut found, self.identity);
                return Ok(found);
            }
        }
        Err(self.lake.contended(format!("look up keys in {}", self.prefix), "the runs"))
    }

    /// Merges the runs that were added, once there are many.
    async fn merge(&self) -> Result<(), Error> {
        let _alone = self.lake.merging.lock().await;
        for _ in 0..self.lake.bounds.attempts_max {
            let (runs, of_none) = self.listed().await?;
            let Some(chosen) = to_merge(self.lake, &runs) else { return Ok(()) };
            if self.merge_into_one(&chosen).await?.is_some() {
                let keys = chosen.iter().filter_map(|run| run.keys.clone()).chain(of_none);
                let merged = chosen.iter().map(|run| run.meta.key.clone());
                stream::iter(keys.map(|Keys(meta)| meta.key).chain(merged).collect::<Vec<_>>())
                    .map(|key| async move { self.lake.store.delete(&key).await })
                    .buffer_unordered(self.lake.bounds.looks_at_once)
                    .try_collect::<()>()
                    .await?;
            }
        }
        // Others add runs faster than they are merged: what was to be added is, and is found.
        Ok(())
    }

    /// The runs, and keys that are of none of them: somebody died between the two, or is about to write
    /// the run, which is then one without keys.
    async fn listed(&self) -> Result<(Vec<Run<E>>, Vec<Keys>), Error> {
        let listed = list_all(self.lake.store.as_ref(), self.prefix).await?;
        let (mut runs, mut keys) = (Vec::new(), BTreeMap::<ObjectKey, Keys>::new());
        for meta in listed {
            if let Some(generation) = layout::run_generation(self.prefix, &meta.key) {
                runs.push(Run { meta, generation, keys: None, entry: PhantomData });
            } else if let Some(run) = layout::run_of_keys(self.prefix, &meta.key) {
                keys.insert(run, Keys(meta));
            }
        }
        runs.iter_mut().for_each(|run| run.keys = keys.remove(&run.meta.key));
        Ok((runs, keys.into_values().collect()))
    }

    /// Writes one run of several; `None` if one of them was merged by somebody else meanwhile.
    async fn merge_into_one(&self, runs: &[Run<E>]) -> Unmoved<()> {
        let lake = self.lake;
        let generation = runs.iter().map(|run| run.generation).max().unwrap_or(0).saturating_add(1);
        let mut name = Sha256::new();
        runs.iter().for_each(|run| name.update(run.meta.key.as_str()));
        let cursors: Vec<Option<Cursor<E>>> = stream::iter(runs.to_vec())
            .map(|run| Cursor::open(lake, run))
            .buffered(lake.bounds.concurrency)
            .try_collect()
            .await?;
        let Some(mut cursors) = cursors.into_iter().collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        let key = layout::run(self.prefix, generation, &name.finalize());
        let (mut keys, bytes) = (None, runs.iter().map(|run| run.meta.size_bytes).sum());
        let mut keys_key = Some(layout::run_keys(self.prefix, &key));
        let mut output = lake.pieces(key);
        loop {
            // Up to here all that the runs have is at hand.
            let end = cursors.iter().filter_map(Cursor::last_before_more).min();
            let mut entries: Vec<E> = Vec::new();
            for cursor in &mut cursors {
                entries.extend_from_slice(cursor.take_to(end));
            }
            if entries.is_empty() {
                break;
            }
            settle(&mut entries, self.identity);
            if let Some(key) = keys_key.take() {
                keys = keys::Draft::begin(lake, key, bytes, &entries);
            }
            if let Some(keys) = &mut keys {
                keys.add(&entries).await?;
            }
            output.write(E::bytes_of(&entries)).await?;
            for cursor in &mut cursors {
                if cursor.refill(lake).await?.is_none() {
                    if let Some(keys) = keys {
                        keys.abort().await?;
                    }
                    output.abort().await?;
                    return Ok(None);
                }
            }
        }
        if let Some(keys) = keys {
            keys.complete().await?;
        }
        // Whoever merged the same runs wrote the same.
        match output.complete(Precondition::None).await? {
            Put::Done(_) => Ok(Some(())),
            Put::Moved => Ok(None),
        }
    }
}

/// The runs to merge into one: those that were added, once they are many, and larger ones as long as
/// they are not much larger than all those before, nor all of them too large.
fn to_merge<E: Entry>(lake: &Lake, runs: &[Run<E>]) -> Option<Vec<Run<E>>> {
    let (added, mut merged): (Vec<Run<E>>, Vec<Run<E>>) =
        runs.iter().cloned().partition(|run| run.generation == 0);
    if added.len() < lake.bounds.runs_max {
        return None;
    }
    let mut bytes = 0;
    let mut chosen: Vec<Run<E>> = Vec::new();
    for run in added {
        if chosen.len() > 1 && bytes + run.meta.size_bytes > lake.bounds.held_bytes_max / 2 {
            break;
        }
        bytes += run.meta.size_bytes;
        chosen.push(run);
    }
    merged.sort_by_key(|run| run.meta.size_bytes);
    for run in merged {
        let size = run.meta.size_bytes;
        if size >= GROWTH * bytes || bytes + size > lake.bounds.merged_bytes_max {
            break;
        }
        bytes += size;
        chosen.push(run);
    }
    Some(chosen)
}

/// A run that is being merged.
struct Cursor<E> {
    run: Run<E>,
    /// Entries up to the end of the window.
    read: u64,
    window: Bytes,
    /// Entries of the window that were taken.
    taken: usize,
}

impl<E: Entry> Cursor<E> {
    async fn open(lake: &Lake, run: Run<E>) -> Unmoved<Self> {
        let mut cursor = Self { run, read: 0, window: Bytes::new(), taken: 0 };
        Ok(cursor.refill(lake).await?.map(|()| cursor))
    }

    /// The last entry of the window, if it is not the last of the run.
    fn last_before_more(&self) -> Option<E> {
        let entries = E::all_in(&self.window);
        entries.last().filter(|_| self.read < self.run.count()).copied()
    }

    /// The next entries of the window, up to one; all there are if there is none.
    fn take_to(&mut self, end: Option<E>) -> &[E] {
        let rest = &E::all_in(&self.window)[self.taken..];
        let count = end.map_or(rest.len(), |end| rest.partition_point(|entry| *entry <= end));
        self.taken += count;
        &rest[..count]
    }

    /// Reads the next window, once all of this one was taken.
    async fn refill(&mut self, lake: &Lake) -> Unmoved<()> {
        let at_once = SCANNED_BYTES / E::BYTES as u64;
        let end = self.run.count().min(self.read + at_once);
        if self.taken < E::all_in(&self.window).len() || end == self.read {
            return Ok(Some(()));
        }
        let Some(window) = self.run.read(lake, self.read, end).await? else { return Ok(None) };
        (self.window, self.taken) = (window, 0);
        self.read = end;
        Ok(Some(()))
    }
}

async fn find_in<E: Entry>(lake: &Lake, runs: Vec<Run<E>>, keys: &[u64]) -> Unmoved<Vec<E>> {
    // Of most runs few bytes are read for few keys.
    let is_little = keys.len() as u64 * WINDOW_BYTES <= SMALL_BYTES;
    let at_once = if is_little { lake.bounds.looks_at_once } else { lake.bounds.concurrency };
    let searched: Vec<Option<Vec<E>>> = stream::iter(runs)
        .map(|run| async move { search_run(lake, &run, keys).await })
        .buffered(at_once)
        .try_collect()
        .await?;
    let Some(found) = searched.into_iter().collect::<Option<Vec<_>>>() else { return Ok(None) };
    Ok(Some(found.concat()))
}

/// The entries of some keys in a run; `None` if the run is gone.
async fn search_run<E: Entry>(lake: &Lake, run: &Run<E>, keys: &[u64]) -> Unmoved<Vec<E>> {
    let size = run.meta.size_bytes;
    // Of a key that lies beside the run there are two looks.
    let few = if run.keys.is_some() { 2 } else { MANY_KEYS };
    let worth = match keys.len() < few {
        true => WINDOW_BYTES.min(lake.bounds.small_bytes_max),
        false => lake.bounds.bytes_per_look,
    };
    let wants_most = keys.len() as u64 * worth >= size;
    let kept_max = lake.bounds.small_bytes_max.max(lake.bounds.cache_bytes_max as u64 / 4);
    if wants_most && size <= kept_max {
        let decode = |object: Object| {
            let bytes = object.bytes.len();
            Ok((object.bytes, bytes))
        };
        let read = lake.read_listed(&run.meta, ByteRange::All, decode).await?;
        return Ok(read.map(|read| matching(E::all_in(&read.value), keys)));
    }
    if wants_most {
        return stream_through(lake, run, keys).await;
    }
    let mut found = Vec::new();
    let mut looked_up = pin!(
        stream::iter(keys.iter().copied())
            .map(|key| look_up(lake, run, key))
            .buffered(lake.bounds.concurrency)
    );
    while let Some(entries) = looked_up.try_next().await? {
        let Some(entries) = entries else { return Ok(None) };
        found.extend_from_slice(E::all_in(&entries));
    }
    Ok(Some(found))
}

/// The entries of a key in a run of which few bytes are read.
async fn look_up<E: Entry>(lake: &Lake, run: &Run<E>, key: u64) -> Unmoved<Vec<u8>> {
    match &run.keys {
        Some(keys) => keys.look_up(lake, run, key).await,
        None => search::look_up(lake, run, key).await,
    }
}

/// The same of a run that is read from its first entry to its last, and not held.
async fn stream_through<E: Entry>(lake: &Lake, run: &Run<E>, keys: &[u64]) -> Unmoved<Vec<E>> {
    let Some(mut object) = lake.store.stream(&run.meta.key).await? else { return Ok(None) };
    let (mut found, mut waiting) = (Vec::new(), Vec::new());
    while let Some(chunk) = object.chunks.next().await.transpose()? {
        found.extend(passing::<E>(&mut waiting, &chunk, keys));
    }
    Ok(Some(found))
}

/// The same of the next bytes of a run. The beginning of an entry waits for the rest of it.
fn passing<E: Entry>(waiting: &mut Vec<u8>, chunk: &[u8], keys: &[u64]) -> Vec<E> {
    waiting.extend_from_slice(chunk);
    let entries = E::all_in(waiting);
    let (found, passed) = (matching(entries, keys), entries.len() * E::BYTES);
    waiting.drain(..passed);
    found
}

/// Those of some sorted entries that are of one of the sorted keys: each leaps over what the other has
/// none of.
fn matching<E: Entry>(mut entries: &[E], mut keys: &[u64]) -> Vec<E> {
    let mut found = Vec::new();
    while let (Some(entry), Some(key)) = (entries.first(), keys.first()) {
        let of = leading(entry.as_ref());
        if *key < of {
            keys = &keys[before(keys, |key| *key < of)..];
            continue;
        }
        let key = *key;
        entries = &entries[before(entries, |entry| leading(entry.as_ref()) < key)..];
        let count = before(entries, |entry| leading(entry.as_ref()) == key);
        found.extend_from_slice(&entries[..count]);
        (entries, keys) = (&entries[count..], &keys[1..]);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    type Three = [u8; 9];

    fn entries(keys: impl IntoIterator<Item = (u64, u8)>) -> Vec<Three> {
        let entry = |(key, last): (u64, u8)| {
            let mut entry = [last; 9];
            entry[..8].copy_from_slice(&key.to_be_bytes());
            entry
        };
        keys.into_iter().map(entry).collect()
    }

    #[test]
    fn of_the_same_the_last_one_stands() {
        let mut some = entries([(7, 1), (3, 9), (7, 3), (5, 0), (7, 2), (3, 9)]);
        let mut all = some.clone();
        settle(&mut some, 8);
        assert_eq!(some, entries([(3, 9), (5, 0), (7, 3)]));
        settle(&mut all, 9);
        assert_eq!(all, entries([(3, 9), (5, 0), (7, 1), (7, 2), (7, 3)]), "another identity");
    }

    #[test]
    fn the_entries_of_keys_are_found_however_the_bytes_arrive() {
        let all = entries((0..60).map(|number| (number / 3 * 5, number as u8)));
        for keys in [vec![], vec![0], vec![95], vec![1, 2, 96], vec![0, 4, 5, 6, 50, 95, 100]] {
            let is_wanted = |entry: &&Three| keys.contains(&leading(*entry));
            let wanted: Vec<Three> = all.iter().filter(is_wanted).copied().collect();
            assert_eq!(matching(&all, &keys), wanted, "{keys:?}");
            for length in 1..30 {
                let mut waiting = Vec::new();
                let chunks = all.as_flattened().chunks(length);
                let found = chunks.flat_map(|chunk| passing::<Three>(&mut waiting, chunk, &keys));
                assert_eq!(found.collect::<Vec<_>>(), wanted, "{keys:?} by {length}");
                assert!(waiting.is_empty());
            }
        }
    }
}
