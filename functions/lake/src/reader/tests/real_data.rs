//! The reader on the real feeds, in the folder that `STEDI_DATA` names.

use std::path::{Path, PathBuf};

use super::{Found, read_chunked};
use crate::reader::Summary;
use crate::tables::Stream;

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// Records as serde_json counts them, and whether it cannot read the rest.
fn counted(bytes: &[u8]) -> (u64, bool) {
    let (mut rows, mut start) = (0, 0);
    loop {
        let gap = bytes[start..].iter().position(|b| !b" \t\r\n,[]".contains(b));
        let Some(gap) = gap else { return (rows, false) };
        start += gap;
        let mut records = serde_json::Deserializer::from_slice(&bytes[start..])
            .into_iter::<serde_json::Map<String, serde_json::Value>>();
        match records.next() {
            Some(Ok(_)) => rows += 1,
            _ => return (rows, true),
        }
        start += records.byte_offset();
    }
}

/// Of each stream under a folder: rows, fragments, and whether Athena reads all of its objects.
fn read(folder: &Path) -> Vec<(u64, u64, bool)> {
    let mut paths = Vec::new();
    files(folder, &mut paths);
    let mut streams = Vec::new();
    for stream in Stream::ALL {
        let mut total = (0, 0, true);
        let name = stream.name();
        for path in &paths {
            if !path.components().any(|part| part.as_os_str() == name) {
                continue;
            }
            let bytes = std::fs::read(path).unwrap();
            let Found { rows: batches, fragments: list, summary } =
                read_chunked(stream, &bytes, 50_000);
            let Summary { rows, fragments, source_bytes, .. } = summary;
            assert_eq!(rows as usize, batches.num_rows());
            assert_eq!(fragments as usize, list.len());
            assert_eq!(source_bytes as usize, bytes.len());
            assert_eq!(
                summary.row_bytes + summary.fragment_bytes + summary.separator_bytes,
                source_bytes
            );
            let place = path.display();
            for fragment in &list {
                println!("{place}: {} at {}", fragment.reason, fragment.offset_bytes);
                let start = fragment.offset_bytes as usize;
                let end = start + fragment.length_bytes as usize;
                assert_eq!(fragment.raw, &bytes[start..end]);
            }
            let (whole, rest) = counted(&bytes);
            assert_eq!((rows, fragments), (whole, u64::from(rest)), "{place}");
            println!(
                "{place}: {rows} rows, newline delimited {}, unmet {:?}, unknown {:?}",
                summary.newline_delimited, summary.expectations, summary.unknown_columns
            );
            total.0 += rows;
            total.1 += fragments;
            total.2 &= summary.newline_delimited;
        }
        streams.push(total);
    }
    streams
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the folder of the data is this test's one setting")]
fn the_real_feeds_are_read_whole() {
    let Ok(data) = std::env::var("STEDI_DATA") else {
        println!("STEDI_DATA is not set: nothing was read, nothing is shown");
        return;
    };
    let data = PathBuf::from(data);
    let clean = vec![(956, 0, true), (81_273, 0, true), (28_680, 0, true)];
    assert_eq!(read(&data.join("stedi")), clean);
    for folder in ["dirty", "repaired"] {
        println!("{folder}: {:?}", read(&data.join(folder)));
    }
}
