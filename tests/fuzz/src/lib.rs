//! What the targets share: reading, and the promises every reading must keep.

use arrow_array::RecordBatch;
use lake::reader::{Fragment, Limits, Reader, Sink, Summary};
use lake::tables::Stream;

/// All that was found in an object.
#[derive(Debug, Default, PartialEq)]
pub struct Found {
    pub batches: Vec<RecordBatch>,
    pub fragments: Vec<Fragment>,
    pub summary: Summary,
}

impl Sink for Found {
    fn batch(&mut self, batch: RecordBatch) {
        self.batches.push(batch);
    }

    fn fragment(&mut self, fragment: Fragment) {
        self.fragments.push(fragment);
    }
}

/// Reads an object, and checks what holds for every one.
pub fn read(stream: Stream, limits: &Limits, bytes: &[u8], chunk_bytes: usize) -> Found {
    let mut found = Found::default();
    let mut reader = Reader::new(stream, limits);
    for chunk in bytes.chunks(chunk_bytes.max(1)) {
        reader.push(chunk, &mut found);
    }
    let summary = reader.finish(&mut found);
    let rows: usize = found.batches.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(summary.rows, rows as u64);
    assert_eq!(summary.fragments, found.fragments.len() as u64);
    assert_eq!(
        summary.row_bytes + summary.fragment_bytes + summary.separator_bytes,
        summary.source_bytes
    );
    let mut end = 0;
    for fragment in &found.fragments {
        assert!(fragment.offset_bytes >= end, "fragments overlap");
        end = fragment.offset_bytes + fragment.length_bytes;
        assert!((fragment.offset_bytes..=end).contains(&fragment.at_bytes));
        assert!(fragment.raw.len() <= limits.fragment_bytes_max);
    }
    assert!(end <= summary.source_bytes);
    found.summary = summary;
    found
}

/// A stream and limits chosen by two bytes.
pub fn chosen(stream: u8, limits: u8) -> (Stream, Limits) {
    let limits = Limits {
        record_bytes_max: [40, 200, 4096, 1 << 20][usize::from(limits & 3)],
        nesting_max: [1, 3, 8, 32][usize::from(limits >> 2 & 3)],
        fragment_bytes_max: [0, 7, 1 << 10, 1 << 20][usize::from(limits >> 4 & 3)],
        batch_rows: [1, 2, 3, 8192][usize::from(limits >> 6)],
        ..Limits::default()
    };
    (Stream::ALL[usize::from(stream) % Stream::ALL.len()], limits)
}
