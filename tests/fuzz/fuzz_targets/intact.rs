//! Any bytes between intact records: every intact record comes out, where it is.
#![no_main]

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use fuzz::read;
use lake::reader::Limits;
use lake::tables::Stream;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

const FIRST_MS: i64 = 1_655_564_000_000;
/// Parts the bytes of one gap from those of the next; it is not UTF-8.
const NEXT: u8 = 0xFE;

/// Whether bytes before the record make it a part of a larger object that is JSON: then the
/// larger one is the record, and nothing can tell otherwise.
fn is_part_of_another(bytes: &[u8], start: usize, end: usize) -> bool {
    (0..start).filter(|&i| bytes[i] == b'{').any(|i| {
        let mut objects =
            serde_json::Deserializer::from_slice(&bytes[i..]).into_iter::<Map<String, Value>>();
        matches!(objects.next(), Some(Ok(_))) && i + objects.byte_offset() >= end
    })
}

fuzz_target!(|input: &[u8]| {
    // Nothing that compression could begin with.
    let mut bytes = vec![b'\n'];
    let mut places = Vec::new();
    for (i, gap) in input.split(|&b| b == NEXT).enumerate().take(100) {
        bytes.extend_from_slice(gap);
        let start = bytes.len();
        let time = FIRST_MS + i as i64;
        bytes.extend(format!(r#"{{"user":"a","timestamp":{time},"x":0.5}}"#).into_bytes());
        places.push((time, start, bytes.len()));
    }
    let found = read(Stream::Accelerometer, &Limits::default(), &bytes, bytes.len());
    assert_eq!(found, read(Stream::Accelerometer, &Limits::default(), &bytes, 7));
    let mut times = Vec::new();
    for batch in &found.batches {
        times.extend(batch.column(1).as_primitive::<Int64Type>().iter().flatten());
    }
    for (time, start, end) in places {
        if is_part_of_another(&bytes, start, end) {
            continue;
        }
        assert!(times.contains(&time), "lost the record at {start}");
        for fragment in &found.fragments {
            let first = fragment.offset_bytes as usize;
            let last = first + fragment.length_bytes as usize;
            assert!(last <= start || end <= first, "a fragment on the record at {start}");
        }
    }
});
