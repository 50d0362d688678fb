//! That the libraries read what the lake reads, before they are timed.

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use lake::tables::Stream;

use crate::feeds::{self, Form};
use crate::peers;

/// Compares the rows of every library with the lake's; tells of doubles that differ.
///
/// # Panics
///
/// Where anything else differs.
pub fn the_same_columns() {
    for stream in Stream::ALL {
        let expected = peers::lake(stream, feeds::lines(stream));
        for (name, read) in peers::PEERS {
            let found = read(stream, feeds::lines(stream));
            tell(stream, name, differing(&expected, &found));
        }
        let array = feeds::in_form(stream, Form::Array);
        for (name, read) in peers::ARRAY_PEERS {
            tell(stream, name, differing(&expected, &read(stream, &array)));
        }
        for form in [Form::Array, Form::Joined, Form::Gzip] {
            let found = peers::lake(stream, &feeds::in_form(stream, form));
            assert_eq!(expected, found, "{stream:?} as {form:?}");
        }
    }
}

fn tell(stream: Stream, name: &str, differing: usize) {
    if differing > 0 {
        println!("{stream:?}, {name}: {differing} doubles are not as written");
    }
}

/// How many doubles differ, by no more than the last bit or the sign of a zero.
fn differing(expected: &[RecordBatch], found: &[RecordBatch]) -> usize {
    assert_eq!(expected.len(), found.len(), "batches");
    let mut differing = 0;
    for (expected, found) in expected.iter().zip(found) {
        for (expected, found) in expected.columns().iter().zip(found.columns()) {
            if *expected.data_type() != DataType::Float64 {
                assert_eq!(expected, found);
                continue;
            }
            let bits = |column: &dyn Array| -> Vec<u64> {
                let doubles = column.as_primitive::<Float64Type>();
                doubles.values().iter().map(|double| double.to_bits()).collect()
            };
            for (expected, found) in bits(expected).into_iter().zip(bits(found)) {
                let zeros = f64::from_bits(expected) == 0.0 && f64::from_bits(found) == 0.0;
                assert!(zeros || expected.abs_diff(found) <= 1, "{expected:x} {found:x}");
                differing += usize::from(expected != found);
            }
        }
    }
    differing
}
