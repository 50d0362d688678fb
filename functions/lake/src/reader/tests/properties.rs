//! Properties, on generated records and damage. The seed is fixed, so that a run in CI says
//! something about the change and not about the day; `PROPTEST_RNG_SEED` and `PROPTEST_CASES` set
//! others for a longer hunt.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::RngSeed;

use super::{Found, read_pieces};
use crate::reader::{Limits, Reason};
use crate::tables::Stream::{self, Accelerometer};

const FIRST_MS: i64 = 1_655_564_000_000;
/// The times of intact records; damage to one that is not intact gives no such time.
const OURS: Range<i64> = FIRST_MS..FIRST_MS + 8;

pub(super) fn config(cases: u32) -> ProptestConfig {
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(0x57ED1);
    }
    if config.cases == ProptestConfig::default().cases && config.cases == 256 {
        config.cases = cases;
    }
    config
}

/// One intact reading: what is written of it, but its time.
#[derive(Clone, Debug)]
struct Written {
    keys: [&'static str; 3],
    space: &'static str,
    user: &'static str,
    x: f64,
    unknown: &'static str,
    time_first: bool,
}

impl Written {
    fn with_time(&self, time: i64) -> String {
        let Self { keys: [user, timestamp, x], space: s, .. } = self;
        let user = format!("\"{user}\"{s}:{s}\"{}\"", self.user);
        let time = format!("\"{timestamp}\"{s}:{s}{time}");
        let (first, second) = if self.time_first { (time, user) } else { (user, time) };
        let (unknown, value) = (self.unknown, self.x);
        format!("{{{s}{first}{s},{s}{unknown}{second},{s}\"{x}\":{value:?}{s}}}")
    }
}

fn written() -> impl Strategy<Value = Written> + Clone {
    (
        select(vec![
            ["user", "timestamp", "x"],
            ["user", "timeStamp", "x"],
            ["USER", "TIMEstamp", "X"],
        ]),
        select(vec!["", "", "", " ", "\n", "\r\n\t"]),
        select(vec![
            "a@b.c",
            "{\\\"",
            "}{",
            "a{",
            "é\u{1F600}",
            "\\u00e9\\ud83d\\ude00\\\\",
            "[,]",
        ]),
        any::<f64>().prop_filter("finite", |x| x.is_finite()),
        select(vec!["", "", "\"n\":null,", "\"n\":{\"a\":[{},\"}\"]},", "\"n\":[[\"{\"]],"]),
        any::<bool>(),
    )
        .prop_map(|(keys, space, user, x, unknown, time_first)| Written {
            keys,
            space,
            user,
            x,
            unknown,
            time_first,
        })
}

/// What stands between two records: a mere separator, or damage of many kinds.
fn gap() -> impl Strategy<Value = Vec<u8>> {
    let separator = select(vec!["", "\n", "\r\n", ",", ",\n", " ", "][", "\u{FEFF}"])
        .prop_map(|text| text.as_bytes().to_vec());
    let structural = proptest::collection::vec(select(b"{}[]\",:\\ \n0a".to_vec()), 0..12);
    let any_bytes = proptest::collection::vec(any::<u8>(), 0..12);
    let part =
        (written(), any::<Index>(), any::<Index>(), 0..4).prop_map(|(written, a, b, kind)| {
            // Unknown columns with objects are left out: see `swallowed_whole` below.
            let whole = Written { unknown: "", ..written }.with_time(FIRST_MS - 1).into_bytes();
            let (a, b) = (a.index(whole.len()), b.index(whole.len()));
            match kind {
                0 => whole[..a].to_vec(),
                1 => whole[a + 1..].to_vec(),
                2 => whole[a.min(b)..a.max(b)].to_vec(),
                _ => {
                    let mut flipped = whole;
                    flipped[a] = flipped[b];
                    flipped
                }
            }
        });
    let mixed = (
        prop_oneof![part.clone(), structural.clone()],
        prop_oneof![part.clone(), structural.clone(), any_bytes.clone()],
    )
        .prop_map(|(a, b)| [a, b].concat());
    prop_oneof![4 => separator, 2 => structural, 1 => any_bytes, 2 => part, 2 => mixed]
}

/// A source of intact records with gaps before, between and behind, and the place of each record.
fn source() -> impl Strategy<Value = (Vec<u8>, Vec<(Range<usize>, Written)>)> {
    let pairs = proptest::collection::vec((gap(), written()), 0..8);
    (pairs, gap()).prop_map(|(pairs, last)| {
        let mut bytes = Vec::new();
        let mut records = Vec::new();
        for (i, (gap, written)) in pairs.into_iter().enumerate() {
            bytes.extend(gap);
            let start = bytes.len();
            bytes.extend(written.with_time(FIRST_MS + i as i64).into_bytes());
            records.push((start..bytes.len(), written));
        }
        bytes.extend(last);
        (bytes, records)
    })
}

fn limits() -> impl Strategy<Value = Limits> {
    (select(vec![160, 200, 1 << 20]), 4..33usize, 1..5usize).prop_map(|(record, nesting, batch)| {
        Limits {
            record_bytes_max: record,
            nesting_max: nesting,
            batch_rows: batch,
            fragment_bytes_max: 1 << 20,
            ..Limits::default()
        }
    })
}

/// Cuts bytes into chunks of the given lengths, over and over.
pub(super) fn chunks<'a>(mut bytes: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut chunks = Vec::new();
    for length in lengths.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (chunk, rest) = bytes.split_at((*length).min(bytes.len()));
        chunks.push(chunk);
        bytes = rest;
    }
    chunks
}

/// The fragments in order, each where it says it is, none on an intact record.
fn fragments_are_exact(found: &Found, bytes: &[u8], records: &[(Range<usize>, Written)]) {
    let mut end = 0;
    for fragment in &found.fragments {
        let start = fragment.offset_bytes as usize;
        assert!(start >= end, "fragments overlap");
        end = start + fragment.length_bytes as usize;
        assert_eq!(fragment.raw, &bytes[start..end]);
        assert!(start < end && fragment.at_bytes as usize >= start);
        assert!(fragment.at_bytes as usize <= end);
        for (place, _) in records {
            assert!(end <= place.start || place.end <= start, "a fragment on a record");
        }
    }
}

proptest! {
    #![proptest_config(config(2_000))]

    #[test]
    fn every_intact_record_comes_out(
        (bytes, records) in source(),
        limits in limits(),
        lengths in proptest::collection::vec(1..40usize, 1..5),
    ) {
        let at_once = read_pieces(Accelerometer, &limits, [&bytes[..]]);
        let in_chunks = read_pieces(Accelerometer, &limits, chunks(&bytes, &lengths));
        prop_assert_eq!(&at_once, &in_chunks);

        let fits = |place: &Range<usize>| place.len() <= limits.record_bytes_max;
        let records: Vec<_> = records
            .into_iter()
            .enumerate()
            .filter(|(_, (place, _))| fits(place))
            .map(|(i, record)| (FIRST_MS + i as i64, record))
            .collect();
        let times = at_once.rows.column(1).as_primitive::<Int64Type>();
        let rows: Vec<usize> =
            (0..times.len()).filter(|&row| OURS.contains(&times.value(row))).collect();
        let found: Vec<i64> = rows.iter().map(|&row| times.value(row)).collect();
        let expected: Vec<i64> = records.iter().map(|(time, _)| *time).collect();
        prop_assert_eq!(found, expected, "{}", String::from_utf8_lossy(&bytes));
        let users = at_once.rows.column(0).as_string::<i32>();
        let xs = at_once.rows.column(2).as_primitive::<Float64Type>();
        for (&row, (_, (_, written))) in rows.iter().zip(&records) {
            let user: String = serde_json::from_str(&format!("\"{}\"", written.user)).unwrap();
            prop_assert_eq!(users.value(row), user);
            prop_assert_eq!(xs.value(row).to_bits(), written.x.to_bits());
        }
        let places: Vec<_> = records.into_iter().map(|(_, record)| record).collect();
        fragments_are_exact(&at_once, &bytes, &places);
    }

    #[test]
    fn any_bytes_are_accounted_for_and_chunks_do_not_show(
        bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            proptest::collection::vec(select(b"{}[]\",:\\ \n0-1.eEnulu\0".to_vec()), 0..200),
        ],
        stream in select(Stream::ALL.to_vec()),
        limits in limits(),
        lengths in proptest::collection::vec(1..40usize, 1..5),
    ) {
        let at_once = read_pieces(stream, &limits, [&bytes[..]]);
        prop_assert_eq!(&at_once, &read_pieces(stream, &limits, chunks(&bytes, &lengths)));
    }

    #[test]
    fn damaged_compression_does_not_show_the_chunks(
        (bytes, _) in source(),
        (repeat, gzip) in (1..200usize, any::<bool>()),
        flips in proptest::collection::vec((any::<Index>(), 1..255u8), 0..3),
        cut in any::<Index>(),
        lengths in proptest::collection::vec(1..400usize, 1..5),
    ) {
        let bytes = bytes.repeat(repeat);
        let mut compressed = if gzip {
            super::forms::gzip(&bytes)
        } else {
            super::forms::zstd(&bytes)
        };
        for (place, flip) in flips {
            let place = place.index(compressed.len());
            compressed[place] ^= flip;
        }
        compressed.truncate(cut.index(2 * compressed.len()));
        let limits = Limits::default();
        let at_once = read_pieces(Accelerometer, &limits, [&compressed[..]]);
        let in_chunks = read_pieces(Accelerometer, &limits, chunks(&compressed, &lengths));
        prop_assert_eq!(&at_once.summary, &in_chunks.summary);
        prop_assert_eq!(&at_once, &in_chunks);
    }

    /// serde_json judges whether one object is JSON; the reader adds what it knows beyond that.
    #[test]
    fn serde_json_takes_the_same_records(
        written in written(),
        edits in proptest::collection::vec(
            (any::<Index>(), prop_oneof![select(b"{}[]\",:\\ \n0-1.eEnulu\0".to_vec()), any::<u8>()], 0..3),
            0..3,
        ),
    ) {
        let mut bytes = written.with_time(FIRST_MS).into_bytes();
        for (place, byte, kind) in edits {
            let place = place.index(bytes.len());
            match kind {
                0 => bytes[place] = byte,
                1 => bytes.insert(place, byte),
                _ => drop(bytes.remove(place)),
            }
        }
        let found = read_pieces(Accelerometer, &Limits::default(), [&bytes[..]]);
        let whole = match &found.fragments[..] {
            [] => found.summary.rows == 1 && found.summary.separator_bytes == 0,
            [one] => one.length_bytes as usize == bytes.len() && !matches!(
                one.reason,
                Reason::Malformed | Reason::CutOff | Reason::StrayBytes | Reason::NestedTooDeep
            ),
            _ => false,
        };
        let judged = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&bytes);
        if judged.is_ok() && !bytes.starts_with(b" ") && bytes[0] == b'{' && bytes.ends_with(b"}") {
            prop_assert!(whole, "{}", String::from_utf8_lossy(&bytes));
        }
        // serde_json refuses numbers beyond a double also where no column takes them.
        if let Err(error) = judged && !error.to_string().starts_with("number out of range") {
            let noted = found.fragments.iter().any(|fragment| matches!(
                fragment.reason,
                Reason::NotUtf8 | Reason::Nul | Reason::LoneSurrogate | Reason::NotFinite
                    | Reason::OutOfRange
            ));
            let rows = found.summary.rows == 1 && found.summary.separator_bytes == 0
                && found.fragments.is_empty();
            prop_assert!(!rows && (!whole || noted), "{}", String::from_utf8_lossy(&bytes));
        }
    }
}

proptest! {
    #![proptest_config(config(4_000))]

    #[test]
    fn numbers_say_what_the_standard_library_says(
        whole in any::<i64>(),
        shift in 0..63u32,
        mantissa in 0..10_000_000_000_000_000u64,
        places in 0..17usize,
        double in any::<f64>(),
    ) {
        let limits = Limits { time_min_ms: i64::MIN, time_max_ms: i64::MAX, ..Limits::default() };
        let read = |time: &str, x: &str| {
            let record = format!(r#"{{"user":"a","timestamp":{time},"x":{x}}}"#);
            let found = read_pieces(Accelerometer, &limits, [record.as_bytes()]);
            match found.fragments.first() {
                Some(fragment) => Err(fragment.reason),
                None => Ok((
                    found.rows.column(1).as_primitive::<Int64Type>().value(0),
                    found.rows.column(2).as_primitive::<Float64Type>().value(0).to_bits(),
                )),
            }
        };
        let whole = whole >> shift;
        let said = |text: &str| read(text, "0").map(|(time, _)| time);
        prop_assert_eq!(said(&whole.to_string()), Ok(whole));
        prop_assert_eq!(said(&format!("{whole}.00")), Ok(whole));
        prop_assert_eq!(said(&format!("\"{whole}.0e0\"")), Ok(whole));
        prop_assert_eq!(said(&format!("{whole}.001")), Err(Reason::NotIntegral));
        let beyond = i128::from(whole) * 10_000_000_000;
        let expected = i64::try_from(beyond).map_err(|_| Reason::OutOfRange);
        prop_assert_eq!(said(&beyond.to_string()), expected);
        prop_assert_eq!(said(&format!("{whole}e10")), expected);

        let digits = format!("{mantissa:017}");
        let (high, low) = digits.split_at(17 - places);
        let high = high.trim_start_matches('0');
        let point = if low.is_empty() { "" } else { "." };
        let short = format!("-{}{point}{low}", if high.is_empty() { "0" } else { high });
        for text in [short.as_str(), &short[1..], &format!("{double:?}"), &format!("{double}")] {
            let expected: f64 = text.parse().unwrap();
            let expected = if expected.is_finite() { Ok(expected.to_bits()) } else { Err(Reason::NotFinite) };
            prop_assert_eq!(read("0", text).map(|(_, x)| x), expected, "{}", text);
        }
    }
}
