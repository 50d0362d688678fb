//! The objects that rows are made of, and how they are read.

use arrow_array::RecordBatch;
use futures::stream::{self, Stream, StreamExt};
use lake::error::Error;
use lake::key::ObjectKey;
use lake::lake::{Lake, Versioned};
use lake::landing::row_bytes;
use lake::layout::Span;
use lake::object::{self, Fetched, Opened};
use lake::store::ObjectMeta;

use crate::rows::failed;
use crate::transform::of_times;

/// Memory that a reading takes which is put in order, bytes, about.
pub(crate) const READING_BYTES: u64 = 96;

/// An object the rows are made of.
pub(crate) struct Input {
    key: ObjectKey,
    pub(crate) opened: Versioned<Opened>,
}

impl Input {
    /// Opens an object that was listed; `None` if it moved since.
    pub(crate) async fn open(lake: &Lake, listed: ObjectMeta) -> Result<Option<Self>, Error> {
        let opened = object::open(lake, &listed).await?;
        let unmoved = opened.filter(|opened| opened.etag == listed.etag);
        Ok(unmoved.map(|opened| Self { key: listed.key, opened }))
    }

    /// Opens an object as it is now; `None` if there is none.
    pub(crate) async fn of(lake: &Lake, key: ObjectKey) -> Result<Option<Self>, Error> {
        let opened = object::open_now(lake, &key).await?;
        Ok(opened.map(|opened| Self { key, opened }))
    }

    /// The row groups that may have rows of a time within a span.
    pub(crate) fn groups_within(&self, column: &str, span: Span) -> Vec<usize> {
        let opened = &self.opened.value;
        let within =
            |group: &usize| opened.span(*group, column).is_none_or(|known| known.overlaps(span));
        (0..opened.groups()).filter(within).collect()
    }

    /// How many rows the footer tells of that lie in a span for certain.
    pub(crate) fn rows_within(&self, column: &str, span: Span) -> u64 {
        let opened = &self.opened.value;
        let is_within =
            |group: &usize| opened.span(*group, column).is_some_and(|known| span.contains(known));
        (0..opened.groups()).filter(is_within).map(|group| opened.group_rows(group)).sum()
    }

    /// The rows of a row group, which is sorted by a column of times, whose times lie in a span; `None`
    /// if the object moved.
    pub(crate) async fn group_within(
        &self,
        lake: &Lake,
        group: usize,
        column: &str,
        span: Span,
    ) -> Result<Option<RecordBatch>, Error> {
        let fetched = self.fetch(lake, group).await?;
        fetched.map(|fetched| self.rows_of(&fetched, column, span, None)).transpose()
    }

    /// Fetches a row group; `None` if the object moved.
    pub(crate) async fn fetch(&self, lake: &Lake, group: usize) -> Result<Option<Fetched>, Error> {
        object::fetch(lake, &self.key, &self.opened, group).await
    }

    /// The rows of a row group that was fetched, which is sorted by a column of times, whose times lie in
    /// a span; or those of them that are of some times, which are in order.
    pub(crate) fn rows_of(
        &self,
        fetched: &Fetched,
        column: &str,
        span: Span,
        times: Option<&[i64]>,
    ) -> Result<RecordBatch, Error> {
        let rows = fetched.within(&self.key, column, span)?;
        match times {
            None => Ok(rows),
            Some(times) => of_times(&rows, column, times).map_err(failed),
        }
    }

    /// The rows whose times lie in a span, or those of them that are of some times, which are in order;
    /// unless they take more than so much memory: those of each row group, in the order of time.
    pub(crate) async fn within(
        &self,
        lake: &Lake,
        column: &str,
        span: Span,
        times: Option<&[i64]>,
        bytes_max: u64,
    ) -> Result<Read, Error> {
        if times.is_none() && self.rows_within(column, span) * READING_BYTES > bytes_max {
            return Ok(Read::TooMuch);
        }
        let (mut read, mut bytes) = (Vec::new(), 0);
        for group in self.groups_within(column, span) {
            let Some(fetched) = self.fetch(lake, group).await? else { return Ok(Read::Moved) };
            let batch = self.rows_of(&fetched, column, span, times)?;
            if batch.num_rows() == 0 {
                continue;
            }
            bytes += held_bytes(&batch);
            if bytes > bytes_max {
                return Ok(Read::TooMuch);
            }
            read.push(batch);
        }
        Ok(Read::All(read, bytes))
    }
}

/// Memory that readings take, and take in order, bytes, about.
pub(crate) fn held_bytes(readings: &RecordBatch) -> u64 {
    row_bytes(readings).max(readings.num_rows() as u64 * READING_BYTES)
}

/// What came of reading rows of an object.
pub(crate) enum Read {
    /// They, and the memory they take in order, bytes.
    All(Vec<RecordBatch>, u64),
    /// The object moved.
    Moved,
    /// They take too much memory.
    TooMuch,
}

/// Opens accelerometer objects of a listing, of which there is room for all; `None` for one that moved
/// since.
pub(crate) fn open_each(
    lake: &Lake,
    motions: Vec<ObjectMeta>,
) -> impl Stream<Item = Result<Option<Input>, Error>> {
    let open = |listed| Input::open(lake, listed);
    stream::iter(motions).map(open).buffered(lake.bounds.looks_at_once)
}
