//! Bytes of a landing object in, as they arrive; Arrow batches, fragments and a summary out.

use arrow_array::RecordBatch;

use crate::tables::Stream;

/// Bounds of the reader. Exceeding one quarantines a record; it never fails the object.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Longest record, in bytes of the decompressed source.
    pub record_bytes_max: usize,
    /// Deepest nesting of objects and arrays within a record.
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

/// A stretch of the source that did not become a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Stable code, such as `cut_off` or `missing_key`.
    pub reason: Reason,
    /// What is wrong and what to do about it, for a person; never a value of the record.
    pub message: String,
    /// Place in the decompressed source, bytes from its start.
    pub offset_bytes: u64,
    /// Length in the decompressed source, bytes.
    pub length_bytes: u64,
    /// The first bytes of the fragment, at most `Limits::fragment_bytes_max`.
    pub raw: Vec<u8>,
}

/// Why a fragment was quarantined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {}

/// Takes what the reader finds, in the order of the source.
pub trait Sink {
    /// Takes rows with the stream's schema.
    fn batch(&mut self, batch: RecordBatch);
    /// Takes a stretch that did not become a row.
    fn fragment(&mut self, fragment: Fragment);
}

/// What was seen in a whole object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Rows handed out.
    pub rows: u64,
    /// Fragments handed out.
    pub fragments: u64,
    /// Bytes of the decompressed source.
    pub source_bytes: u64,
    /// Keys of records that no column takes, with the number of records that carried them.
    pub unknown_columns: std::collections::BTreeMap<String, u64>,
    /// Whether Athena's JSON SerDe reads the object as it is: one object a line, not compressed
    /// otherwise than gzip named `.gz`.
    pub newline_delimited: bool,
}

/// Reads one landing object, pushed in chunks of any size.
pub struct Reader {
    _stream: Stream,
}
