//! What the reader promises, shown.

mod damage;
mod forms;
mod properties;
mod quarantine;
mod real_data;
mod shapes;
mod values;

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;

use super::{Fragment, Limits, Reader, Reason, Sink, Summary};
use crate::tables::Stream;

/// All that was found in an object.
#[derive(Debug, PartialEq)]
struct Found {
    rows: RecordBatch,
    fragments: Vec<Fragment>,
    summary: Summary,
}

#[derive(Default)]
struct Collected {
    batches: Vec<RecordBatch>,
    fragments: Vec<Fragment>,
}

impl Sink for Collected {
    fn batch(&mut self, batch: RecordBatch) {
        self.batches.push(batch);
    }

    fn fragment(&mut self, fragment: Fragment) {
        self.fragments.push(fragment);
    }
}

fn read_pieces<'a>(
    stream: Stream,
    limits: &Limits,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Found {
    read_by(Reader::new(stream, limits), stream, pieces)
}

fn read_by<'a>(
    mut reader: Reader,
    stream: Stream,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Found {
    let mut sink = Collected::default();
    for piece in pieces {
        reader.push(piece, &mut sink);
    }
    let summary = reader.finish(&mut sink);
    let rows = concat_batches(&stream.schema(), &sink.batches).unwrap();
    assert_eq!(summary.rows as usize, rows.num_rows());
    assert_eq!(summary.fragments as usize, sink.fragments.len());
    assert_eq!(summary.fragments, summary.reasons.values().sum::<u64>());
    assert_eq!(
        summary.row_bytes + summary.fragment_bytes + summary.separator_bytes,
        summary.source_bytes
    );
    Found { rows, fragments: sink.fragments, summary }
}

fn read_chunked(stream: Stream, bytes: &[u8], chunk_bytes: usize) -> Found {
    read_pieces(stream, &Limits::default(), bytes.chunks(chunk_bytes))
}

/// Reads at once, and shows that reading byte by byte gives the same.
fn read_with(stream: Stream, limits: &Limits, bytes: &[u8]) -> Found {
    let found = read_pieces(stream, limits, [bytes]);
    assert_eq!(found, read_pieces(stream, limits, bytes.chunks(1)), "byte by byte");
    found
}

fn read(stream: Stream, bytes: impl AsRef<[u8]>) -> Found {
    read_with(stream, &Limits::default(), bytes.as_ref())
}

/// The reasons of the fragments, in order.
fn reasons(found: &Found) -> Vec<Reason> {
    found.fragments.iter().map(|fragment| fragment.reason).collect()
}

/// The bytes of the fragments, in order.
fn raw(found: &Found) -> Vec<String> {
    found.fragments.iter().map(|f| String::from_utf8_lossy(&f.raw).into_owned()).collect()
}

/// A whole reading of the step trainer, told apart by its distance.
fn step(distance: i32) -> String {
    format!(
        r#"{{"sensorReadingTime":1655564172120,"serialNumber":"s","distanceFromObject":{distance}}}"#
    )
}

/// The distances read.
fn distances(found: &Found) -> Vec<i32> {
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int32Type;
    found.rows.column(2).as_primitive::<Int32Type>().values().to_vec()
}
