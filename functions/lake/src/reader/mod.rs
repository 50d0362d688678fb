//! Bytes of a landing object in, as they arrive; Arrow batches, fragments and a summary out.
//!
//! The rule: every whole record becomes a row or, if its table cannot take it, a fragment with its
//! reason; every other byte that is not a mere separator belongs to a fragment too; and what comes
//! out does not depend on how the bytes were cut into chunks.
//!
//! ```
//! use lake::reader::{Fragment, Limits, Reader, Sink};
//! use lake::tables::Stream;
//!
//! #[derive(Default)]
//! struct Counts { rows: usize, fragments: Vec<Fragment> }
//! impl Sink for Counts {
//!     fn batch(&mut self, batch: arrow_array::RecordBatch) { self.rows += batch.num_rows(); }
//!     fn fragment(&mut self, fragment: Fragment) { self.fragments.push(fragment); }
//! }
//!
//! let mut found = Counts::default();
//! let mut reader = Reader::new(Stream::StepTrainer, &Limits::default());
//! reader.push(br#"{"sensorReadingTime":1655564172120,"serialNumber":"a","dist"#, &mut found);
//! reader.push(br#"anceFromObject":246}{"sensorReadingTime":16555"#, &mut found);
//! let summary = reader.finish(&mut found);
//! assert_eq!((summary.rows, summary.fragments), (1, 1));
//! assert_eq!(found.fragments[0].reason.code(), "cut_off");
//! ```
//!
//! The way of the bytes: `source` decompresses, `framing` finds where records begin and end,
//! `scan` holds the grammar of one record, `column` says what a column takes, `rows` joins columns
//! and `expectations`, `quarantine` writes fragments down. Most records go a shorter way: `shape`
//! takes those that are written like the one before.
//!
//! Memory is bounded by a batch, the longest record and a piece of 128 KiB, whatever the object
//! (a zstd frame adds the window it asks for, up to 128 MiB; most ask for less than 8): 2 GB of
//! readings pass through 7 MB. What a sink keeps of fragments is its own affair.
//!
//! # Why the grammar is written by hand
//!
//! A library reads a record or refuses it; the reader must also say that a record is right as far
//! as it goes, which byte breaks it, where the next may begin, and how a number was written, and
//! must do so once over the bytes. Tried on the feeds as `infra/generate` makes them, lines to the
//! same Arrow columns (2026-11-26, one core of a shared virtual machine, MB/s of the fastest sample;
//! `tests/bench/stages` has all of it):
//!
//! | | accelerometer | step trainer | customer |
//! |---|---|---|---|
//! | this reader, all of it | 1,251 | 2,005 | 947 |
//! | serde_json 1, into a struct | 364 | 672 | 533 |
//! | simd-json 0.17, into a struct | 360 | 666 | 651 |
//! | sonic-rs 0.5, into a struct | 358 | 642 | 638 |
//! | serde_json 1, into `Value` | 148 | 338 | 258 |
//! | sonic-rs 0.5, keys looked up lazily | 151 | 284 | 338 |
//!
//! So the reader is kept for the hot path: on records this short what costs is a key and a number,
//! not a byte, and it expects the keys that came before. Libraries keep what is theirs:
//! serde_json judges escapes, and in the tests and the fuzzing whole records; the standard library
//! rounds every number that is not short; flate2 and zstd decompress; Arrow holds the rows.

mod column;
mod excerpt;
mod expectations;
mod fragment;
mod framing;
mod names;
mod number;
mod quarantine;
mod record;
mod rows;
mod scan;
mod shape;
mod source;
#[cfg(test)]
mod tests;
mod unknown;

use std::collections::BTreeMap;

use arrow_array::RecordBatch;

use crate::tables::Stream;

pub use excerpt::Excerpt;
pub use expectations::{Expectation, Otherwise, Predicate, expectations};
pub use fragment::{Fragment, Reason};
pub use quarantine::LineError;

use framing::Framing;
use source::Source;

/// Bounds of the reader. Exceeding one quarantines a record; it never fails the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest record, in bytes of the decompressed source.
    pub record_bytes_max: usize,
    /// Deepest nesting of objects and arrays; a flat record is 1 deep.
    pub nesting_max: usize,
    /// Bytes of a fragment that are kept in the quarantine.
    pub fragment_bytes_max: usize,
    /// Rows of a batch.
    pub batch_rows: usize,
    /// Earliest plausible time of any column that is a time, epoch milliseconds.
    pub time_min_ms: i64,
    /// Latest plausible time, epoch milliseconds.
    pub time_max_ms: i64,
}

impl Default for Limits {
    /// Records up to 1 MiB and 32 deep, 16 KiB of a fragment, 8,192 rows, 2000-01-01 to 2100-01-01.
    fn default() -> Self {
        Self {
            record_bytes_max: 1 << 20,
            nesting_max: 32,
            fragment_bytes_max: 16 << 10,
            batch_rows: 8192,
            time_min_ms: 946_684_800_000,
            time_max_ms: 4_102_444_800_000,
        }
    }
}

/// Takes what the reader finds, each kind in the order of the source.
pub trait Sink {
    /// Takes rows with the stream's schema.
    fn batch(&mut self, batch: RecordBatch);
    /// Takes a stretch that did not become a row.
    fn fragment(&mut self, fragment: Fragment);
}

/// How an object is compressed, by its first bytes and not by its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip, of one or more members.
    Gzip,
    /// Zstandard, of one or more frames.
    Zstd,
}

/// What was seen in a whole object.
///
/// Every byte is accounted for: `source_bytes` is `row_bytes + fragment_bytes + separator_bytes`.
/// Records in are `rows + fragments`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Rows handed out.
    pub rows: u64,
    /// Fragments handed out.
    pub fragments: u64,
    /// Fragments by reason.
    pub reasons: BTreeMap<Reason, u64>,
    /// Bytes of the decompressed source.
    pub source_bytes: u64,
    /// Bytes of the records that became rows.
    pub row_bytes: u64,
    /// Bytes of the fragments.
    pub fragment_bytes: u64,
    /// Bytes between records that mean nothing: white space, commas, brackets, byte order marks.
    pub separator_bytes: u64,
    /// Keys of records that no column takes (lower case), with the number of records that
    /// carried them. The first 256 names only.
    pub unknown_columns: BTreeMap<String, u64>,
    /// Occurrences of further unknown keys, beyond the names remembered.
    pub unknown_columns_unlisted: u64,
    /// Records that did not meet an expectation, by its name; every expectation of the stream
    /// is listed.
    pub expectations: BTreeMap<&'static str, u64>,
    /// How the object is compressed.
    pub compression: Compression,
    /// Whether Athena's JSON SerDe reads the object as it is: one object a line, no blank line,
    /// no brackets or commas between, plain or gzip (whose name must then end in `.gz`).
    pub newline_delimited: bool,
}

/// Reads one landing object, pushed in chunks of any size. It does no I/O and never fails.
pub struct Reader {
    source: Source,
    framing: Framing,
}

impl Reader {
    /// A reader for one object of a stream.
    pub fn new(stream: Stream, limits: &Limits) -> Self {
        Self { source: Source::new(), framing: Framing::new(stream, limits) }
    }

    /// A reader that takes no record the short way, so that it can be seen to come to the same.
    #[cfg(test)]
    fn the_long_way(stream: Stream, limits: &Limits) -> Self {
        let mut reader = Self::new(stream, limits);
        reader.framing.go_the_long_way();
        reader
    }

    /// Takes the next bytes of the object, as the store delivers them.
    pub fn push(&mut self, chunk: &[u8], sink: &mut dyn Sink) {
        let framing = &mut self.framing;
        self.source.push(chunk, &mut |piece| framing.push(piece, sink));
    }

    /// Takes some of the next bytes, and says how many: no more than stand for a piece or two of the
    /// object, of 128 KiB, however much was compressed into them.
    pub fn sip(&mut self, chunk: &[u8], sink: &mut dyn Sink) -> usize {
        let framing = &mut self.framing;
        self.source.sip(chunk, &mut |piece| framing.push(piece, sink))
    }

    /// Ends the object: hands out what is left, and says what was seen.
    pub fn finish(self, sink: &mut dyn Sink) -> Summary {
        let Self { mut source, mut framing } = self;
        let whole = source.finish(&mut |piece| framing.push(piece, sink));
        let compression = source.compression();
        let mut summary = framing.finish(whole, sink);
        summary.compression = compression;
        summary.newline_delimited &= compression != Compression::Zstd;
        summary
    }
}
