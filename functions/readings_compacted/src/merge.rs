//! The rows of many objects, sorted, in few.
//!
//! The objects are read in the order of their first times, which their keys carry, and what is held
//! is written as soon as nothing can come before it: so the whole is sorted by time, then by every
//! column, as long as the objects that overlap at any time fit into what may be held. Where they do
//! not, the earliest rows that are held are written all the same: then every row group is sorted in
//! itself, and the time ranges of some overlap.
//!
//! Memory is that of a large object (see `Bounds` of the lake), beside the small objects that are
//! read ahead, and a piece of the upload.

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use futures::stream::{self, StreamExt};
use lake::derivation::{Waiting, sorted};
use lake::error::Error;
use lake::key::ObjectKey;
use lake::lake::{Lake, Pieces, Put};
use lake::layout::Slice;
use lake::object::{self, Encoder, Footer, Ledger, Version};
use lake::store::{ObjectMeta, Precondition};

use crate::Day;

/// What was written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Written {
    pub(crate) objects: u64,
    pub(crate) rows: u64,
}

/// Writes the rows of some objects of a day below `location`; `None` if one of them moved.
pub(crate) async fn write(
    lake: &Lake,
    day: Day,
    location: &str,
    objects: Vec<ObjectMeta>,
) -> Result<Option<Written>, Error> {
    let bytes: u64 = objects.iter().map(|object| object.size_bytes).sum();
    let room = match bytes > lake.bounds.small_bytes_max {
        true => Some(lake.room(lake.bounds.held_bytes_max).await),
        false => None,
    };
    let mut merge = Merge::new(lake, day, location);
    let merged = merge.all(objects).await;
    drop(room);
    match merged {
        Ok(true) => Ok(Some(merge.written)),
        Ok(false) => {
            merge.abort().await?;
            Ok(None)
        }
        Err(error) => {
            // The failure is told; that the upload was given up counts less.
            let _ = merge.abort().await;
            Err(error)
        }
    }
}

struct Merge<'a> {
    lake: &'a Lake,
    day: Day,
    location: &'a str,
    held: Waiting,
    part: Option<PartObject>,
    written: Written,
}

/// An object that is being written.
struct PartObject {
    encoder: Encoder,
    pieces: Pieces,
    rows: u64,
    bytes: u64,
}

impl<'a> Merge<'a> {
    fn new(lake: &'a Lake, day: Day, location: &'a str) -> Self {
        let (held, written) = (Waiting::default(), Written::default());
        Self { lake, day, location, held, part: None, written }
    }

    /// Merges everything; `false` if an object moved.
    async fn all(&mut self, objects: Vec<ObjectMeta>) -> Result<bool, Error> {
        let lake = self.lake;
        let zone = self.day.table().location;
        let first_ms = |object: &ObjectMeta| Slice::of_key(&object.key, zone).map(|s| s.first_ms);
        // Keys are in the order of these times.
        let firsts: Vec<i64> = objects.iter().filter_map(first_ms).collect();
        let opened = stream::iter(objects).map(|listed| async move {
            let opened = object::open_once(lake, &listed.key).await?;
            let same = opened.filter(|opened| opened.etag == listed.etag);
            Ok::<_, Error>(same.map(|opened| (listed.key, opened)))
        });
        let mut opened = opened.buffered(lake.bounds.concurrency).enumerate();
        while let Some((at, found)) = opened.next().await {
            let Some((key, object)) = found? else { return Ok(false) };
            let after = firsts.get(at + 1).copied().unwrap_or(i64::MAX);
            let groups = object.value.groups();
            for group in 0..groups {
                let Some(rows) = object::read_group(lake, &key, &object, group).await? else {
                    return Ok(false);
                };
                self.held.push(rows);
                let next_ms =
                    if group + 1 < groups { firsts.get(at).copied() } else { Some(after) };
                self.write_held(next_ms.unwrap_or(i64::MIN), false).await?;
            }
        }
        self.write_held(i64::MAX, true).await?;
        self.complete_part().await?;
        Ok(true)
    }

    fn is_full(&self) -> bool {
        self.held.rows >= 2 * self.lake.bounds.row_group_rows
            || self.held.bytes >= self.lake.bounds.held_bytes_max
    }

    /// Writes what is held, if that is enough or all; nothing before `next_ms` comes any more.
    async fn write_held(&mut self, next_ms: i64, all: bool) -> Result<(), Error> {
        if self.held.rows == 0 || !(all || self.is_full()) {
            return Ok(());
        }
        let held = std::mem::take(&mut self.held);
        let half = self.lake.bounds.held_bytes_max / 2;
        let of_half = held.rows as u64 * half / held.bytes.max(1);
        let group_rows = usize::try_from(of_half).unwrap_or(usize::MAX);
        let group_rows = group_rows.clamp(1, self.lake.bounds.row_group_rows.max(1));
        let rows = sorted(self.day.table(), &held.batches, self.day.time_column())?;
        drop(held);
        let sure = times(&rows, self.day).partition_point(|time| *time < next_ms);
        let mut from = 0;
        while from < rows.num_rows() && (all || rows.num_rows() - from > group_rows) {
            let most = group_rows.min(rows.num_rows() - from);
            let sure = sure.saturating_sub(from);
            // Few rows that are sure are no row group.
            let count = if all || sure < most.div_ceil(2) { most } else { most.min(sure) };
            self.row_group(&rows.slice(from, count)).await?;
            from += count;
        }
        if from < rows.num_rows() {
            self.held.push(rows.slice(from, rows.num_rows() - from));
        }
        Ok(())
    }

    async fn row_group(&mut self, rows: &RecordBatch) -> Result<(), Error> {
        let lake = self.lake;
        let part = match &mut self.part {
            Some(part) => part,
            none => {
                let key = format!("{}part-{:04}.parquet", self.location, self.written.objects);
                let encoder = Encoder::new(&self.day.table().schema(), &rule(self.day))?;
                let pieces = lake.pieces(ObjectKey::new(key));
                none.insert(PartObject { encoder, pieces, rows: 0, bytes: 0 })
            }
        };
        let encoded = part.encoder.row_group(rows)?;
        part.rows += rows.num_rows() as u64;
        part.bytes += encoded.len() as u64;
        part.pieces.write(&encoded).await?;
        if part.bytes >= lake.bounds.compacted_bytes {
            self.complete_part().await?;
        }
        Ok(())
    }

    async fn complete_part(&mut self) -> Result<(), Error> {
        let Some(mut part) = self.part.take() else { return Ok(()) };
        let version = Version {
            rule: rule(self.day),
            policies: 0,
            source: self.location.to_owned(),
            digest: String::new(),
        };
        let ledger = Ledger { records: part.rows, admitted: part.rows, ..Ledger::default() };
        let footer = Footer { version, ledger, had_rows: true };
        part.pieces.write(&part.encoder.finish(&footer)?).await?;
        // The name is this generation's alone: there is nobody to write over.
        let put = part.pieces.complete(Precondition::None).await?;
        debug_assert!(put != Put::Moved, "there is no condition");
        self.written.objects += 1;
        self.written.rows += part.rows;
        Ok(())
    }

    async fn abort(self) -> Result<(), Error> {
        match self.part {
            Some(part) => part.pieces.abort().await,
            None => Ok(()),
        }
    }
}

fn rule(day: Day) -> String {
    format!("{} compacted", day.table().name)
}

fn times(rows: &RecordBatch, day: Day) -> Vec<i64> {
    let column = rows.column_by_name(day.time_column());
    let times = column.and_then(|column| column.as_primitive_opt::<Int64Type>());
    times.map(|times| times.values().to_vec()).unwrap_or_default()
}
