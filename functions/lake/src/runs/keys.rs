//! Where in a run the entries of each key are.
//!
//! A place that is computed among keys is off by the square root of their number, about; among entries
//! by as many times more as a key has of them. So where keys have many, they lie once more beside the
//! run, each with the place of its entries: a look at a few of them, and one at the entries, instead of
//! some that come nearer and nearer.
//!
//! They say nothing that the run does not, and whoever writes keys of its name writes the same. Who does
//! not find just the entries of the key where they lead looks in the run; who finds either gone lists
//! again.

use std::ops::Range;

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::{Entry, Run};
use crate::error::Error;
use crate::key::ObjectKey;
use crate::lake::{Lake, Pieces, Put};
use crate::search::{
    self, FEW_OF_A_KEY, Rows, SCANNED_BYTES, Unmoved, WINDOW_BYTES, leading, near,
};
use crate::store::{ObjectMeta, Precondition};

/// Bytes of a row: a key, the number of its first entry, and how many it has.
const ROW_BYTES: usize = 24;

/// The keys of a run, as they were listed.
#[derive(Clone)]
pub(super) struct Keys(pub(super) ObjectMeta);

impl Rows for Keys {
    const WIDTH: usize = ROW_BYTES;

    fn count(&self) -> u64 {
        self.0.size_bytes / ROW_BYTES as u64
    }

    fn window_rows(&self) -> u64 {
        near(self.count(), 1).min(4 * WINDOW_BYTES / ROW_BYTES as u64)
    }

    async fn read(&self, lake: &Lake, first: u64, end: u64) -> Unmoved<Bytes> {
        search::read(lake, &self.0.key, ROW_BYTES, first, end).await
    }
}

impl Keys {
    /// The entries of a key in the run.
    pub(super) async fn look_up<E: Entry>(
        &self,
        lake: &Lake,
        run: &Run<E>,
        key: u64,
    ) -> Unmoved<Vec<u8>> {
        let Some(row) = search::look_up(lake, self, key).await? else { return Ok(None) };
        let Some(Range { start, end }) = entries_of(&row) else { return Ok(Some(Vec::new())) };
        // With one before and one after, which have other keys if these are all of this one.
        let around = start.saturating_sub(1)..run.count().min(end.saturating_add(1));
        let at_once = SCANNED_BYTES / E::BYTES as u64;
        let reads = around.clone().step_by(at_once as usize).map(|first| {
            let end = around.end.min(first + at_once);
            async move { run.read(lake, first, end).await }
        });
        let reads: Vec<_> = reads.collect();
        let read: Vec<Option<Bytes>> =
            stream::iter(reads).buffered(lake.bounds.concurrency).try_collect().await?;
        let Some(read) = read.into_iter().collect::<Option<Vec<_>>>() else { return Ok(None) };
        let read = read.concat();
        let found = search::range_of(&read, E::BYTES, key);
        let [start, end] = [start, end].map(|row| (row - around.start) as usize);
        match found == (start..end) {
            true => Ok(Some(read[start * E::BYTES..end * E::BYTES].to_vec())),
            false => search::look_up(lake, run, key).await,
        }
    }
}

/// Some sorted entries, those of each key together.
fn by_key<E: Entry>(entries: &[E]) -> impl Iterator<Item = &[E]> {
    entries.chunk_by(|a, b| leading(a.as_ref()) == leading(b.as_ref()))
}

fn row(key: u64, entries: &Range<u64>) -> [u8; ROW_BYTES] {
    let mut row = [0; ROW_BYTES];
    let numbers = [key, entries.start, entries.end - entries.start];
    row.as_chunks_mut().0.iter_mut().zip(numbers).for_each(|(it, is)| *it = is.to_be_bytes());
    row
}

/// `None` of no row.
fn entries_of(row: &[u8]) -> Option<Range<u64>> {
    let [_, first, count, ..] = row.as_chunks().0 else { return None };
    let (first, count) = (u64::from_be_bytes(*first), u64::from_be_bytes(*count));
    Some(first..first.saturating_add(count))
}

/// The keys of a run that is being written.
pub(super) struct Draft {
    pieces: Pieces,
    /// The last key so far, and its entries.
    last: Option<(u64, Range<u64>)>,
}

impl Draft {
    /// Begins with the keys of a run that is merged of so many bytes and begins with these entries; `None`
    /// if it is read at once, or the keys of these have few.
    pub(super) fn begin<E: Entry>(
        lake: &Lake,
        key: ObjectKey,
        bytes: u64,
        entries: &[E],
    ) -> Option<Self> {
        let is_small = bytes <= WINDOW_BYTES.min(lake.bounds.small_bytes_max);
        let has_many = entries.len() >= FEW_OF_A_KEY * by_key(entries).count();
        (has_many && !is_small).then(|| Self { pieces: lake.pieces(key), last: None })
    }

    /// Adds the next entries of the run.
    pub(super) async fn add<E: Entry>(&mut self, entries: &[E]) -> Result<(), Error> {
        let mut rows = Vec::new();
        for same in by_key(entries) {
            let (key, count) = (leading(same[0].as_ref()), same.len() as u64);
            let first = self.last.as_ref().map_or(0, |(_, entries)| entries.end);
            match &mut self.last {
                Some((last, entries)) if *last == key => entries.end += count,
                last => {
                    let before = last.replace((key, first..first + count));
                    rows.extend(before.map(|(key, entries)| row(key, &entries)));
                }
            }
        }
        self.pieces.write(rows.as_flattened()).await
    }

    /// Ends with the last key.
    pub(super) async fn complete(mut self) -> Result<(), Error> {
        let last = self.last.map(|(key, entries)| row(key, &entries));
        self.pieces.write(last.as_slice().as_flattened()).await?;
        // Whoever merged the same runs wrote the same.
        match self.pieces.complete(Precondition::None).await? {
            Put::Done(_) | Put::Moved => Ok(()),
        }
    }

    /// Gives it up.
    pub(super) async fn abort(self) -> Result<(), Error> {
        self.pieces.abort().await
    }
}
