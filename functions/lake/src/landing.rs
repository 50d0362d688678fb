//! Landing objects: read through the reader, whatever form they were delivered in, a piece at a time.
//!
//! Nothing here keeps more of an object than the piece in hand: what is kept of it is the caller's
//! affair, and [bounded](crate::lake::Bounds). An object that takes more is opened
//! [again](Records::again), for the same bytes, and dealt with as it passes.

use std::collections::VecDeque;

use arrow_array::{Array, RecordBatch};
use bytes::{Buf, Bytes};
use futures::StreamExt;
use tracing::info;

use crate::error::Error;
use crate::key::{ETag, ObjectKey};
use crate::lake::{Lake, Room};
use crate::layout::LANDING_KEY_BYTES_MAX;
use crate::quarantine::{Lines, Quarantined};
use crate::reader::{Compression, Fragment, Reader, Sink, Summary};
use crate::store::{ObjectMeta, ObjectStream};
use crate::tables::Stream;

/// Memory that the records of a landing object may take, by its size: more where it is compressed,
/// which shows when it is read.
const HELD_OF_SIZE: u64 = 2;

/// What a landing object held when it was read.
#[derive(Default)]
pub struct Landed {
    /// Its version; `None` if there is no such object.
    pub version: Option<ETag>,
    /// What its quarantine says.
    pub quarantine: Quarantined,
    /// Counts of the whole object.
    pub summary: Summary,
    /// Room for what is held of it.
    pub room: Option<Room>,
}

/// Something of a landing object.
pub enum Piece {
    /// Records, in the stream's schema and the order of the object.
    Batch(RecordBatch),
    /// What did not become a record.
    Fragment(Fragment),
}

/// The records of a landing object, as they pass.
pub struct Records {
    object: ObjectStream,
    reader: Option<Reader>,
    chunk: Bytes,
    found: Found,
    summary: Summary,
    is_named_gz: bool,
    room: Option<Room>,
}

#[derive(Default)]
struct Found(VecDeque<Piece>);

impl Sink for Found {
    fn batch(&mut self, batch: RecordBatch) {
        self.0.push_back(Piece::Batch(batch));
    }

    fn fragment(&mut self, fragment: Fragment) {
        self.0.push_back(Piece::Fragment(fragment));
    }
}

impl Records {
    /// Opens a landing object as it is now; `None` if there is none. A large one waits until there
    /// is [room](Lake::room) for it.
    pub async fn open(lake: &Lake, stream: Stream, key: &ObjectKey) -> Result<Option<Self>, Error> {
        match Opened::now(lake, key).await? {
            Some(opened) => opened.records(lake, stream).await,
            None => Ok(None),
        }
    }

    /// Opens a landing object as it is now, once there is all the room there may be for it.
    pub async fn open_large(
        lake: &Lake,
        stream: Stream,
        key: &ObjectKey,
    ) -> Result<Option<Self>, Error> {
        Self::with_room(lake, stream, key, u64::MAX).await
    }

    async fn with_room(
        lake: &Lake,
        stream: Stream,
        key: &ObjectKey,
        bytes: u64,
    ) -> Result<Option<Self>, Error> {
        let room = lake.room(bytes).await;
        let records = Self::again(lake, stream, key).await?;
        Ok(records.map(|records| Self { room: Some(room), ..records }))
    }

    /// Opens a landing object as it is now, for somebody who has room.
    pub async fn again(
        lake: &Lake,
        stream: Stream,
        key: &ObjectKey,
    ) -> Result<Option<Self>, Error> {
        let object = open(lake, key).await?;
        Ok(object.map(|object| Self::over(lake, stream, key, object)))
    }

    fn over(lake: &Lake, stream: Stream, key: &ObjectKey, object: ObjectStream) -> Self {
        Self {
            object,
            reader: Some(Reader::new(stream, &lake.limits)),
            chunk: Bytes::new(),
            found: Found::default(),
            summary: Summary::default(),
            is_named_gz: key.as_str().ends_with(".gz"),
            room: None,
        }
    }

    /// The version that is being read.
    pub fn version(&self) -> &ETag {
        &self.object.meta.etag
    }

    /// How much of it may be held.
    pub fn held_bytes_max(&self, lake: &Lake) -> u64 {
        match &self.room {
            Some(room) => room.bytes(),
            None => lake.bounds.held_bytes_max.min(lake.bounds.small_bytes_max),
        }
    }

    /// What comes next; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Piece>, Error> {
        loop {
            if let Some(piece) = self.found.0.pop_front() {
                return Ok(Some(piece));
            }
            let Some(reader) = &mut self.reader else { return Ok(None) };
            if !self.chunk.is_empty() {
                let taken = reader.sip(&self.chunk, &mut self.found);
                self.chunk.advance(taken);
            } else if let Some(chunk) = self.object.chunks.next().await {
                self.chunk = chunk?;
            } else if let Some(reader) = self.reader.take() {
                self.summary = reader.finish(&mut self.found);
                self.summary.newline_delimited &=
                    (self.summary.compression == Compression::Gzip) == self.is_named_gz;
            }
        }
    }

    /// What was seen, once it was all read.
    pub fn landed(self, lines: Lines) -> Landed {
        let Self { object, summary, room, .. } = self;
        let unmet: Vec<_> =
            summary.expectations.iter().filter(|(_, records)| **records > 0).collect();
        info!(
            landing = %object.meta.key,
            object_bytes = object.meta.size_bytes,
            source_bytes = summary.source_bytes,
            records = summary.rows + summary.fragments,
            quarantined = summary.fragments,
            reasons = ?summary.reasons,
            unmet_expectations = ?unmet,
            unknown_columns = ?summary.unknown_columns,
            "read a landing object"
        );
        Landed { version: Some(object.meta.etag), quarantine: lines.finish(), summary, room }
    }
}

/// A landing object that was opened, and nothing of it read yet.
pub struct Opened(ObjectStream);

impl Opened {
    /// Opens a landing object as it is now; `None` if there is none.
    pub async fn now(lake: &Lake, key: &ObjectKey) -> Result<Option<Self>, Error> {
        Ok(open(lake, key).await?.map(Self))
    }

    /// Its version.
    pub fn version(&self) -> &ETag {
        &self.0.meta.etag
    }

    /// Its records; those of a large one as it is once there is [room](Lake::room) for it, if there is
    /// one then.
    pub async fn records(self, lake: &Lake, stream: Stream) -> Result<Option<Records>, Error> {
        let Self(object) = self;
        let ObjectMeta { key, size_bytes, .. } = object.meta.clone();
        if size_bytes <= lake.bounds.small_bytes_max {
            return Ok(Some(Records::over(lake, stream, &key, object)));
        }
        // Not while the store's answer waits to be read.
        drop(object);
        Records::with_room(lake, stream, &key, HELD_OF_SIZE * size_bytes).await
    }
}

/// Refused, if there is one, before anything is made of it that would have no key.
async fn open(lake: &Lake, key: &ObjectKey) -> Result<Option<ObjectStream>, Error> {
    let object = lake.store.stream(key).await?;
    if object.is_some() && key.as_str().len() > LANDING_KEY_BYTES_MAX {
        return Err(Error::LandingKey { key: key.clone() });
    }
    Ok(object)
}

/// Memory the values of a batch take, bytes: those of its rows, whatever was allocated for them, so
/// that it depends on the rows alone.
pub fn row_bytes(batch: &RecordBatch) -> u64 {
    let sizes = batch.columns().iter().map(|column| column.to_data().get_slice_memory_size());
    // It has no size only where it is no column of ours.
    sizes.map(|size| size.unwrap_or(0) as u64).sum()
}
