//! The forms in which the feeds arrive.

use std::io::Write;

use flate2::Compression as Level;
use flate2::write::GzEncoder;

use super::{Collected, distances, raw, read, read_chunked, reasons, step};
use crate::reader::{Compression, Limits, Reader, Reason};
use crate::tables::Stream::StepTrainer;

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Level::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn every_way_of_putting_records_one_after_another() {
    let (a, b, c) = (step(1), step(2), step(3));
    let bom = '\u{FEFF}';
    let forms = [
        (format!("{a}\n{b}\n{c}\n"), true),
        (format!("{a}\n{b}\n{c}"), true),
        (format!("{a}\r\n{b}\r\n{c}\r\n"), true),
        (format!("{a} \n {b}\n\t{c}"), true),
        (format!("{a}\n\n{b}\n{c}"), false),
        (format!("{a}{b}{c}"), false),
        (format!("{a}\n{b}{c}"), false),
        (format!("{a} {b}\n{c}"), false),
        (format!("{a},\n{b},\n{c}"), false),
        (format!("{a},\n{b},\n{c},"), false),
        (format!("[{a},{b},{c}]"), false),
        (format!("[\n{a},\n{b}\n]\n{c}"), false),
        (format!("[{a}][{b},{c}]"), false),
        (format!("{a}\n[{b},{c}]"), false),
        (format!("{bom}{a}\n{b}\n{c}"), false),
        (format!("{bom}[{a},{b},{c}]"), false),
        (format!("{a}\n{bom}{b}\n{c}"), false),
        (format!("{}\n{b}\n{c}", a.replace(',', ",\n")), false),
    ];
    for (text, newline_delimited) in &forms {
        let found = read(StepTrainer, text);
        assert_eq!(distances(&found), [1, 2, 3], "{text}");
        assert_eq!(reasons(&found), [], "{text}");
        assert_eq!(found.summary.newline_delimited, *newline_delimited, "{text}");
    }
}

#[test]
fn an_empty_object_holds_nothing() {
    for text in ["", "\n", "[]", "\u{FEFF}", " \r\n"] {
        let found = read(StepTrainer, text);
        assert_eq!((found.summary.rows, found.summary.fragments), (0, 0));
    }
    assert!(read(StepTrainer, "").summary.newline_delimited);
}

#[test]
fn what_is_no_json_is_one_fragment() {
    for text in
        ["sensorReadingTime,serialNumber\n1,2\n3,4", "<html></html>", "%PDF-1.7 \0\u{1}", "1"]
    {
        let found = read(StepTrainer, text);
        assert_eq!(reasons(&found), [Reason::StrayBytes]);
        assert_eq!(raw(&found), [text]);
        assert!(!found.summary.newline_delimited);
    }
}

#[test]
fn compressed_objects_of_several_members() {
    let (a, b) = (step(1), step(2));
    let text = format!("{a}\n{b}\n");
    let parts = [&text.as_bytes()[..30], b"", &text.as_bytes()[30..]];
    let plain = read(StepTrainer, &text);
    for (compress, compression, newline_delimited) in
        [(gzip as fn(&[u8]) -> Vec<u8>, Compression::Gzip, true), (zstd, Compression::Zstd, false)]
    {
        let bytes = parts.map(compress).concat();
        let found = read(StepTrainer, bytes);
        assert_eq!(found.rows, plain.rows);
        assert_eq!(reasons(&found), []);
        assert_eq!(found.summary.compression, compression);
        assert_eq!(found.summary.newline_delimited, newline_delimited);
    }
    let mut padded = gzip(text.as_bytes());
    padded.extend([0; 700]);
    assert_eq!(reasons(&read(StepTrainer, padded)), []);
    let mut skippable = b"\x51\x2A\x4D\x18\x03\0\0\0abc".to_vec();
    skippable.extend(zstd(text.as_bytes()));
    assert_eq!(read(StepTrainer, skippable).rows, plain.rows);
}

#[test]
fn a_broken_tail_costs_the_tail_only() {
    let text: String = (0..5_000).map(|i| step(i % 700) + "\n").collect();
    for compress in [gzip as fn(&[u8]) -> Vec<u8>, zstd] {
        let whole = compress(text.as_bytes());
        for kept in [1, 2, 3, 5, 9, 17, 18, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
            let found = read(StepTrainer, &whole[..kept]);
            let [fragment] = &found.fragments[..] else { panic!("{:?}", found.fragments) };
            let expected = if kept < 2 { Reason::StrayBytes } else { Reason::BrokenCompression };
            if kept != 2 && kept != 3 {
                assert_eq!(fragment.reason, expected, "{kept}");
            }
            let read = fragment.offset_bytes + fragment.length_bytes;
            assert_eq!(read, found.summary.source_bytes);
            let rows = distances(&found);
            assert!(rows.iter().enumerate().all(|(i, &d)| d == i as i32 % 700));
        }
        // Garbage after a whole stream.
        let mut garbage = whole.clone();
        garbage.extend(b"garbage");
        let found = read(StepTrainer, garbage);
        assert_eq!((found.summary.rows, reasons(&found)), (5_000, vec![Reason::BrokenCompression]));
        // Damage in the middle.
        for place in (20..whole.len()).step_by(whole.len() / 40) {
            let mut damaged = whole.clone();
            damaged[place] ^= 0x55;
            let found = read_chunked(StepTrainer, &damaged, 1000);
            assert!(found.summary.fragments > 0);
            let again = read_chunked(StepTrainer, &damaged, 77);
            assert_eq!(found.summary, again.summary, "byte {place} of {}", whole.len());
            assert!(found == again);
        }
    }
}

#[test]
fn half_of_a_gzip_object_gives_about_half_of_its_rows() {
    let text: String = (0..20_000).map(|i| step(i * 7919 % 1000) + "\n").collect();
    let whole = gzip(text.as_bytes());
    let found = read_chunked(StepTrainer, &whole[..whole.len() / 2], 1 << 16);
    assert!((8_000..12_000).contains(&found.summary.rows), "{}", found.summary.rows);
}

#[test]
fn a_sip_stands_for_a_few_pieces_however_well_the_object_was_compressed() {
    const PIECE_BYTES: usize = 128 << 10;
    let source = b"{}\n".repeat(4 << 20);
    for object in [gzip(&source), zstd(&source)] {
        let mut reader = Reader::new(StepTrainer, &Limits::default());
        let (mut left, mut most, mut all) = (object.as_slice(), 0, 0);
        while !left.is_empty() {
            let mut sink = Collected::default();
            left = &left[reader.sip(left, &mut sink)..];
            most = most.max(sink.fragments.len());
            all += sink.fragments.len();
        }
        let mut sink = Collected::default();
        let summary = reader.finish(&mut sink);
        assert_eq!(summary.fragments, 4 << 20);
        assert_eq!(all + sink.fragments.len(), 4 << 20);
        assert!(most <= 2 * PIECE_BYTES / 3 + 1, "{most} at once of {} bytes", object.len());
    }
}
