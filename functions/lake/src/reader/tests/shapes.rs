//! Records of the shape of the one before, which are read a short way.

use arrow_schema::DataType;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::properties::{chunks, config};
use super::{Found, read_by, read_pieces};
use crate::reader::{Limits, Reader};
use crate::tables::Stream;

/// Both ways, which must come to the same; and what that is.
fn both_ways(stream: Stream, limits: &Limits, bytes: &[u8], lengths: &[usize]) -> Found {
    let short = read_pieces(stream, limits, [bytes]);
    assert_eq!(short, read_by(Reader::the_long_way(stream, limits), stream, [bytes]));
    assert_eq!(short, read_pieces(stream, limits, chunks(bytes, lengths)));
    short
}

/// What a column is made for.
fn native(kind: &DataType) -> BoxedStrategy<String> {
    let time = (1_655_564_000_000..1_655_565_000_000i64).prop_map(|time| time.to_string());
    let double =
        (-20..20i32, 0..4usize).prop_map(|(x, places)| format!("{:.places$}", f64::from(x) / 8.0));
    match kind {
        DataType::Int64 => time.boxed(),
        DataType::Int32 => (0..1000i32).prop_map(|distance| distance.to_string()).boxed(),
        DataType::Float64 => double.boxed(),
        _ => "[a-z0-9@.-]{1,60}".prop_map(|text| format!("\"{text}\"")).boxed(),
    }
}

const ODD: &[&str] = &[
    "null",
    "true",
    "{}",
    "[1]",
    "NaN",
    "-",
    "-Infinity",
    "1.",
    ".5",
    "01",
    "-01",
    "00",
    "1e3",
    "1.5e-3",
    "1.2.3",
    "--1",
    "-1",
    "-0",
    "-0.0",
    "01655564000000",
    "9007199254740993",
    "5.000",
    "123456789012345678",
    "1234567890123456789",
    "9223372036854775808",
    "0.1234567890123456789",
    "2147483648",
    "18446744073709551617",
    "18446745729273551616",
    "0.18446744073709551617",
    r#""""#,
    r#"" ""#,
    r#""  a""#,
    r#""a\u0041b""#,
    r#""a\n""#,
    r#""ä""#,
    "\"a\tb\"",
    r#""1655564000000""#,
    r#""1.5""#,
    r#""unclosed"#,
    r#""a"b""#,
    "",
];

/// Records most of which are of one shape.
fn source() -> impl Strategy<Value = (Stream, Vec<u8>)> {
    let records = |stream: Stream| {
        let fields = stream.schema().fields().clone();
        let values: Vec<_> = fields
            .iter()
            .map(|field| {
                let odd = select(ODD).prop_map(str::to_owned);
                prop_oneof![19 => native(field.data_type()), 1 => odd]
            })
            .collect();
        let names: Vec<String> = fields.iter().map(|field| field.name().clone()).collect();
        (
            (Just(stream), Just(names).prop_shuffle()),
            prop_oneof![4 => Just(usize::MAX), 1 => 1..8usize],
            (select(vec!["", " ", "  "]), select(vec!["", "\n", ",\n", " "])),
            proptest::collection::vec(values, 1..12),
            prop_oneof![8 => Just(""), 1 => Just("\"note\":1,"), 1 => Just("\n")],
        )
    };
    select(Stream::ALL.to_vec()).prop_flat_map(records).prop_map(
        |((stream, order), count, (space, gap), records, unlike)| {
            let schema = stream.schema();
            let mut bytes = Vec::new();
            for (number, values) in records.iter().enumerate() {
                let value = |name: &String| &values[schema.index_of(name).unwrap_or(0)];
                let pairs: Vec<String> = order
                    .iter()
                    .take(count)
                    .map(|name| format!("\"{name}\":{space}{}", value(name)))
                    .collect();
                let first = if number % 3 == 0 { unlike } else { "" };
                let pairs = pairs.join(&format!(",{space}"));
                bytes.extend(format!("{{{first}{pairs}}}{gap}").bytes());
            }
            (stream, bytes)
        },
    )
}

proptest! {
    #![proptest_config(config(1_500))]

    #[test]
    fn the_short_way_comes_to_the_same(
        (stream, mut bytes) in source(),
        flips in prop_oneof![
            3 => Just(Vec::new()),
            1 => proptest::collection::vec((any::<Index>(), any::<u8>()), 1..3),
        ],
        lengths in proptest::collection::vec(1..700usize, 1..5),
        record_bytes_max in select(vec![1 << 20, 1 << 20, 60]),
    ) {
        for (place, byte) in flips {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let limits = Limits { record_bytes_max, ..Limits::default() };
        both_ways(stream, &limits, &bytes, &lengths);
    }
}

#[test]
fn each_kind_of_value_is_read_after_records_of_its_shape() {
    let reading = |user: &str, time: &str, x: &str| {
        format!("{{\"user\":\"{user}\",\"timestamp\":{time},\"x\":{x},\"y\":0,\"z\":-1.5}}\n")
    };
    let plain = reading("ada@test.com", "1655564000000", "-1.0").repeat(3);
    let read = |record: &str| {
        let source = format!("{plain}{record}{plain}");
        let found = both_ways(Stream::Accelerometer, &Limits::default(), source.as_bytes(), &[7]);
        (found.summary.rows, found.summary.fragments)
    };
    assert_eq!(read(&reading("bob@test.com", "1655564000001", "12.375")), (7, 0));
    assert_eq!(read(&reading(&"b".repeat(100), "1655564000001", "0")), (7, 0));
    assert_eq!(read(&reading("b\\u0062", "\"1655564000001\"", "1e0")), (7, 0));
    assert_eq!(read(&reading("", "1655564000001", "1")), (6, 1), "nobody");
    assert_eq!(read(&reading("   ", "1655564000001", "1")), (6, 1), "nobody");
    assert_eq!(read(&reading("b", "1655564000", "1")), (6, 1), "seconds");
    assert_eq!(read(&reading("b", "01655564000001", "1")), (6, 1), "a leading zero");
    let beyond = (u128::from(u64::MAX) + 1_655_564_000_002).to_string();
    assert_eq!(read(&reading("b", &beyond, "1")), (6, 1), "64 bits and a time");
    assert_eq!(read(&reading("b", "1655564000001", "1.00000000000000000000")), (7, 0));
    assert_eq!(read(&reading("b", "1655564000001", "1.")), (6, 1));
    assert_eq!(read(&reading("b", "1655564000001", "1.2.3")), (6, 1));
    assert_eq!(read("{\"user\":\"b\",\"timestamp\":16555640"), (6, 1), "cut off");
}
