//! A column takes exactly what it can hold.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, RecordBatch};

use super::{read, reasons};
use crate::reader::Reason;
use crate::tables::Stream::{Accelerometer, Customer, StepTrainer};

fn reading(time: &str) -> String {
    format!(r#"{{"user":"a","timestamp":{time},"x":1}}"#)
}

fn long(rows: &RecordBatch, column: usize) -> Option<i64> {
    let column = rows.column(column).as_primitive::<Int64Type>();
    column.is_valid(0).then(|| column.value(0))
}

fn text(rows: &RecordBatch, column: usize) -> Option<String> {
    let column = rows.column(column).as_string::<i32>();
    column.is_valid(0).then(|| column.value(0).to_owned())
}

#[track_caller]
fn quarantined(stream: crate::tables::Stream, record: &str, reason: Reason) {
    let found = read(stream, record);
    assert_eq!(reasons(&found), [reason], "{record}");
    let fragment = &found.fragments[0];
    assert_eq!(fragment.raw, record.as_bytes());
    let (offset, end) = (fragment.offset_bytes, fragment.offset_bytes + fragment.length_bytes);
    assert!((offset..end).contains(&fragment.at_bytes), "{record}");
}

#[test]
fn whole_numbers_however_written() {
    for time in [
        "1655564376361",
        "1655564376361.0",
        "1655564376361.000",
        "1.655564376361e12",
        "1655564376361000E-3",
        "16.55564376361e+11",
        "0.1655564376361e13",
        "\"1655564376361\"",
        "\"1655564376361.0\"",
        "\"\\u0031655564376361\"",
    ] {
        let found = read(Accelerometer, reading(time));
        assert_eq!(long(&found.rows, 1), Some(1_655_564_376_361), "{time}");
    }
}

#[test]
fn what_a_whole_number_is_not() {
    for (time, reason) in [
        ("1655564376361.5", Reason::NotIntegral),
        ("1e-1", Reason::NotIntegral),
        ("9223372036854775808", Reason::OutOfRange),
        ("-9223372036854775809", Reason::OutOfRange),
        ("99999999999999999999999999", Reason::OutOfRange),
        ("1e999999999999999999999", Reason::OutOfRange),
        ("\"1e400\"", Reason::OutOfRange),
        ("1.00000000000000000000000000001e12", Reason::NotIntegral),
        ("9223372036854775807", Reason::ImplausibleTime),
        ("-9223372036854775808.0", Reason::ImplausibleTime),
        ("0", Reason::ImplausibleTime),
        ("0e99999", Reason::ImplausibleTime),
        ("-0.0", Reason::ImplausibleTime),
        ("1655564376", Reason::ImplausibleTime),
        ("\"\"", Reason::WrongType),
        ("\" 1655564376361\"", Reason::WrongType),
        ("\"+1655564376361\"", Reason::WrongType),
        ("\"soon\"", Reason::WrongType),
        ("true", Reason::WrongType),
        ("[1655564376361]", Reason::WrongType),
        ("{\"a\":1}", Reason::WrongType),
        ("NaN", Reason::NotFinite),
        ("-Infinity", Reason::NotFinite),
        ("\"NaN\"", Reason::NotFinite),
        ("null", Reason::MissingTime),
    ] {
        quarantined(Accelerometer, &reading(time), reason);
    }
}

#[test]
fn whole_numbers_of_32_bits() {
    let record = |distance: &str| {
        format!(
            r#"{{"sensorReadingTime":1655564172120,"serialNumber":"s","distanceFromObject":{distance}}}"#
        )
    };
    for (distance, expected) in [
        ("2147483647", Some(i32::MAX)),
        ("0", Some(0)),
        ("-0", Some(0)),
        ("2.46e2", Some(246)),
        ("\"246\"", Some(246)),
        ("null", None),
    ] {
        let found = read(StepTrainer, record(distance));
        let column = found.rows.column(2).as_primitive::<Int32Type>();
        assert_eq!(column.iter().next(), Some(expected), "{distance}");
        let missing = found.summary.expectations["distance_present"];
        assert_eq!(missing, u64::from(expected.is_none()));
    }
    quarantined(StepTrainer, &record("2147483648"), Reason::OutOfRange);
    quarantined(StepTrainer, &record("-2147483649"), Reason::OutOfRange);
    quarantined(StepTrainer, &record("-1"), Reason::NegativeDistance);
    quarantined(StepTrainer, &record("1.5"), Reason::NotIntegral);
}

#[test]
fn doubles_are_rounded_correctly() {
    for (x, expected) in [
        ("0.1", 0.1),
        ("-0.0", -0.0),
        ("1", 1.0),
        ("\"-1.5e-3\"", -1.5e-3),
        ("2.2250738585072014e-308", f64::MIN_POSITIVE),
        ("9007199254740993.0", 9_007_199_254_740_992.0),
        ("1e-400", 0.0),
        ("1.7976931348623157e308", f64::MAX),
    ] {
        let record = format!(r#"{{"user":"a","timestamp":1655564376361,"x":{x},"y":null}}"#);
        let found = read(Accelerometer, record);
        let value = found.rows.column(2).as_primitive::<Float64Type>().value(0);
        assert_eq!(value.to_bits(), f64::to_bits(expected), "{x}");
        assert!(found.rows.column(3).is_null(0) && found.rows.column(4).is_null(0));
        assert_eq!(found.summary.expectations["axes_present"], 1);
    }
    for x in ["1e309", "NaN", "Infinity", "-Infinity", "\"inf\"", "\"-Infinity\"", "\"1e999\""] {
        let record = format!(r#"{{"user":"a","timestamp":1655564376361,"x":{x}}}"#);
        quarantined(Accelerometer, &record, Reason::NotFinite);
        assert_eq!(read(Accelerometer, record).summary.expectations["axes_finite"], 1);
    }
}

fn customer(rest: &str) -> String {
    format!(r#"{{"email":"a@b.c","registrationDate":1655564376361{rest}}}"#)
}

#[test]
fn texts_may_come_as_numbers() {
    for (phone, expected) in [
        ("\"8015551212\"", "8015551212"),
        ("8015551212", "8015551212"),
        ("8015551212.0", "8015551212"),
        ("8.015551212e9", "8015551212"),
        ("12345678901234567890123", "12345678901234567890123"),
        ("12345678901234567890123.00", "12345678901234567890123"),
        ("-7.0", "-7"),
        ("0.0", "0"),
        ("801.25", "801.25"),
        ("1e999", "1e999"),
        ("\"\"", ""),
        ("\"\\u00e9\\n\\ud83d\\ude00\"", "\u{e9}\n\u{1F600}"),
    ] {
        let found = read(Customer, customer(&format!(",\"phone\":{phone}")));
        assert_eq!(text(&found.rows, 2).as_deref(), Some(expected), "{phone}");
    }
    for phone in ["true", "[]", "{}", "[[{}]]"] {
        quarantined(Customer, &customer(&format!(",\"phone\":{phone}")), Reason::WrongType);
    }
}

#[test]
fn birthdays_stay_the_text_they_are() {
    let found = read(Customer, customer(r#","birthDay":"997-01-01","serialNumber":null"#));
    assert_eq!(text(&found.rows, 3).as_deref(), Some("997-01-01"));
    assert_eq!(text(&found.rows, 4), None);
    assert_eq!(found.summary.expectations["serialnumber_present"], 1);
}

#[test]
fn keys_in_any_case_order_and_spelling() {
    for record in [
        r#"{"USER":"a","timeStamp":1655564376361}"#,
        r#"{"timestamp":1655564376361,"user":"a"}"#,
        r#"{ "us\u0065r" : "a" , "TimeStamp" : 1655564376361 }"#,
        r#"{"user":"a","timestamp":1655564376361,"timeStamp":1655564376361.0}"#,
        r#"{"user":"a","timestamp":null,"timeStamp":1655564376361}"#,
        r#"{"user":"a","timestamp":1655564376361,"timeStamp":null}"#,
    ] {
        let found = read(Accelerometer, record);
        assert_eq!(text(&found.rows, 0).as_deref(), Some("a"), "{record}");
        assert_eq!(long(&found.rows, 1), Some(1_655_564_376_361), "{record}");
    }
    let record = r#"{"user":"a","timestamp":1655564376361,"timeStamp":1655564376362}"#;
    quarantined(Accelerometer, record, Reason::ConflictingKeys);
}

#[test]
fn records_without_their_keys() {
    for user in ["", r#""user":null,"#, r#""user":"","#, r#""user":"  ","#] {
        let record = format!(r#"{{{user}"timestamp":1655564376361}}"#);
        quarantined(Accelerometer, &record, Reason::MissingKey);
    }
    quarantined(StepTrainer, "{}", Reason::MissingKey);
    quarantined(StepTrainer, r#"{"foo":1}"#, Reason::MissingKey);
    quarantined(StepTrainer, r#"{"foo":{"bar":[{}]}}"#, Reason::MissingKey);
    quarantined(Customer, r#"{"email":"a@b.c"}"#, Reason::MissingDate);
    quarantined(Customer, r#"{"registrationDate":1655564376361}"#, Reason::MissingKey);
    quarantined(Customer, &customer(r#","lastUpdateDate":1"#), Reason::ImplausibleTime);
    let found = read(Customer, r#"{"email":"a","lastUpdateDate":1655564376361}"#);
    assert_eq!(found.summary.rows, 1);
}

#[test]
fn a_withdrawal_is_not_lost_by_a_date_from_which_nothing_follows() {
    for share in ["Public", "Friends"] {
        let withdrawal = customer(&format!(r#","shareWith{share}AsOfDate":0"#));
        let found = read(Customer, &withdrawal);
        assert_eq!(found.summary.rows, 1, "{withdrawal}");
        assert_eq!(found.summary.expectations["other_shares_plausible"], 1);
    }
    let consent = customer(r#","shareWithResearchAsOfDate":0"#);
    quarantined(Customer, &consent, Reason::ImplausibleTime);
}

#[test]
fn texts_that_are_none() {
    let with = |user: &[u8]| {
        let mut record = br#"{"user":""#.to_vec();
        record.extend_from_slice(user);
        record.extend_from_slice(br#"","timestamp":1655564376361}"#);
        record
    };
    for (user, reason) in [
        (&b"a\xFFb"[..], Reason::NotUtf8),
        (b"\xC0\x80", Reason::NotUtf8),
        (b"\xED\xA0\x80", Reason::NotUtf8),
        (b"\xE2\x82", Reason::NotUtf8),
        (b"a\0b", Reason::Nul),
        (b"a\\u0000b", Reason::Nul),
        (b"\\ud800", Reason::LoneSurrogate),
        (b"\\udc00x", Reason::LoneSurrogate),
        (b"\\ud800\\u0041", Reason::LoneSurrogate),
        (b"\\ud800\\ud800\\udc00", Reason::LoneSurrogate),
        (b"a\tb", Reason::Malformed),
        (b"\\x", Reason::Malformed),
        (b"\\u12g4", Reason::Malformed),
    ] {
        let mut source = with(b"first");
        let record = with(user);
        source.extend_from_slice(&record);
        source.extend_from_slice(&with(b"last"));
        let found = read(Accelerometer, &source);
        assert_eq!(found.summary.rows, 2, "{user:?}");
        assert_eq!(reasons(&found), [reason], "{user:?}");
        assert_eq!(found.fragments[0].raw, record);
    }
    // Also where no column takes the text.
    let record = r#"{"user":"a","timestamp":1655564376361,"note":["\u0000"]}"#;
    quarantined(Accelerometer, record, Reason::Nul);
    assert_eq!(read(Accelerometer, with("\u{e9}\u{1F600}".as_bytes())).summary.rows, 1);
}

#[test]
fn unknown_columns_are_counted_once_a_record() {
    let records = r#"{"user":"a","timestamp":1655564376361,"Lat":1,"lat":[2,{"deep":{}}]}
        {"user":"a","timestamp":1655564376361,"LAT":null,"\u006con":{"x":[]}}"#;
    let found = read(Accelerometer, records);
    assert_eq!(found.summary.rows, 2);
    let unknown: Vec<(&str, u64)> =
        found.summary.unknown_columns.iter().map(|(name, count)| (&name[..], *count)).collect();
    assert_eq!(unknown, [("lat", 2), ("lon", 1)]);

    let many: String = (0..1000)
        .map(|i| format!(r#"{{"user":"a","timestamp":1655564376361,"k{i}":1}}"#))
        .collect();
    let found = read(Accelerometer, many);
    assert_eq!(found.summary.unknown_columns.len(), 256);
    assert_eq!(found.summary.unknown_columns_unlisted, 744);
}

#[test]
fn messages_name_the_column_and_never_the_value() {
    let record = r#"{"user":"person@example.com","timestamp":"secret"}"#;
    let found = read(Accelerometer, record);
    let message = &found.fragments[0].message;
    assert!(message.contains("timestamp"), "{message}");
    assert!(!message.contains("secret") && !message.contains("person"), "{message}");
}
