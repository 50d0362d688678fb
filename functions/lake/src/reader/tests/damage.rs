//! One broken record never costs its neighbours.

use super::{distances, raw, read, read_with, reasons, step};
use crate::reader::{Limits, Reason};
use crate::tables::Stream::{Accelerometer, StepTrainer};

/// Records 1 and 2 come out, and in between exactly this fragment, for this reason.
#[track_caller]
fn between(text: &str, fragment: &str, reason: Reason) {
    for separator in ["", "\n", ",\n", " "] {
        let (first, second) = (step(1) + separator, step(2));
        let source = format!("{first}{text}{separator}{second}{separator}");
        let found = read(StepTrainer, &source);
        assert_eq!(distances(&found), [1, 2], "{source}");
        let comma = if separator == ",\n" { "," } else { "" };
        let expected = format!("{fragment}{comma}");
        assert_eq!(raw(&found), [expected.as_str()], "{source}");
        assert_eq!(reasons(&found), [reason], "{source}");
        let place = first.len() + text.len() - fragment.len();
        assert_eq!(found.fragments[0].offset_bytes as usize, place, "{source}");
    }
}

#[test]
fn a_record_cut_off_anywhere_costs_itself_only() {
    let whole = step(9);
    for kept in 1..whole.len() {
        let cut = &whole[..kept];
        let source = format!("{}{cut}{}", step(1), step(2));
        let found = read(StepTrainer, &source);
        assert_eq!(distances(&found), [1, 2], "{source}");
        assert_eq!(reasons(&found), [Reason::CutOff], "{source}");
        assert_eq!(raw(&found), [cut], "{source}");
    }
}

#[test]
fn a_record_without_its_beginning_costs_itself_only() {
    let whole = step(9);
    for start in 1..whole.len() {
        between(&whole[start..], whole[start..].trim_start_matches(','), Reason::StrayBytes);
    }
}

#[test]
fn stray_bytes_between_records() {
    for stray in ["x", "\"", "}", "\\", "}}", ":", "1", "null", "\"\"\"", "'", "garbage \" here"] {
        between(stray, stray, Reason::StrayBytes);
    }
}

#[test]
fn an_unterminated_text_ends_at_the_next_record() {
    let text = r#"{"sensorReadingTime":1655564172120,"serialNumber":"abc"#;
    let found = read(StepTrainer, format!("{}\n{text}\n{}", step(1), step(2)));
    assert_eq!(distances(&found), [1, 2]);
    assert_eq!(raw(&found), [text]);
}

#[test]
fn unbalanced_braces() {
    let found = read(StepTrainer, format!("{{{}}}{{{{{}", step(1), step(2)));
    assert_eq!(distances(&found), [1, 2]);
    assert_eq!(raw(&found), ["{", "}{{"]);
    let found = read(StepTrainer, format!("{}\n{}\n{}", &step(1)[..60], step(2), step(3)));
    assert_eq!(distances(&found), [2, 3]);
}

#[test]
fn broken_lines_one_after_another_are_each_a_fragment() {
    let broken = step(5).replace(":\"s\"", ":s");
    for separator in ["", "\n", ",\n", ","] {
        let records = [step(1), broken.clone(), broken.clone(), step(2)];
        let found = read(StepTrainer, records.join(separator));
        assert_eq!(distances(&found), [1, 2], "{separator:?}");
        assert_eq!(found.fragments.len(), 2, "{separator:?}");
    }
}

#[test]
fn a_record_swallowed_by_a_cut_off_one_comes_out() {
    for (before, after) in [
        (r#"{"sensorReadingTime":"#, "}"),
        (r#"{"serialNumber":["#, "]}"),
        (r#"{"serialNumber":"a","sensorReadingTime":"#, r#","distanceFromObject":3}"#),
        (r#"{"Records":["#, "]}"),
        (r#"{"detail":{"#, "}}"),
    ] {
        let source = format!("{}{before}{}{after}{}", step(1), step(2), step(3));
        let found = read(StepTrainer, &source);
        assert_eq!(distances(&found), [1, 2, 3], "{source}");
    }
}

#[test]
fn nested_objects_are_no_records() {
    let nested = r#"{"sensorReadingTime":1655564172120,"serialNumber":"s","distanceFromObject":2,"meta":{"serialNumber":"t","k":[{"a":1}]}}"#;
    let found = read(StepTrainer, format!("{}{nested}{}", step(1), step(3)));
    assert_eq!(distances(&found), [1, 2, 3]);
    assert_eq!(found.summary.unknown_columns["meta"], 1);
    let broken = nested.replace("\"sensor", "sensor").replace("serialNumber\":\"t", "u\":\"t");
    let found = read(StepTrainer, format!("{}{broken}{}", step(1), step(3)));
    assert_eq!(distances(&found), [1, 3]);
    assert_eq!(raw(&found), [broken]);
}

#[test]
fn records_longer_or_deeper_than_the_limits() {
    let limits = Limits { record_bytes_max: 200, nesting_max: 4, ..Limits::default() };
    let long = step(5).replace(":\"s\"", &format!(":\"{}\"", "s".repeat(300)));
    let source = format!("{}\n{long}\n{}", step(1), step(2));
    let found = read_with(StepTrainer, &limits, source.as_bytes());
    assert_eq!(distances(&found), [1, 2]);
    assert_eq!((raw(&found), reasons(&found)), (vec![long], vec![Reason::RecordTooLong]));

    for (depth, reason) in [(3, None), (4, Some(Reason::NestedTooDeep))] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let value = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            let deep = step(5).replace("}", &format!(",\"deep\":{value}}}"));
            let source = format!("{}{deep}{}", step(1), step(2));
            let found = read_with(StepTrainer, &limits, source.as_bytes());
            assert_eq!(reasons(&found), reason.into_iter().collect::<Vec<_>>(), "{source}");
            assert_eq!(distances(&found).len(), if reason.is_some() { 2 } else { 3 });
        }
    }
}

#[test]
fn limits_of_nothing_quarantine_everything() {
    let limits = Limits {
        record_bytes_max: 0,
        nesting_max: 0,
        fragment_bytes_max: 0,
        batch_rows: 0,
        ..Limits::default()
    };
    let source = format!("{}{}", step(1), step(2));
    let found = read_with(StepTrainer, &limits, source.as_bytes());
    assert_eq!(found.summary.fragment_bytes as usize, source.len());
}

#[test]
fn a_wreck_of_any_length_keeps_its_first_bytes() {
    let limits = Limits { fragment_bytes_max: 10, ..Limits::default() };
    let source = format!("{}{}{}", step(1), "garbage ".repeat(100_000), step(2));
    let found = read_with(StepTrainer, &limits, source.as_bytes());
    assert_eq!(distances(&found), [1, 2]);
    assert_eq!(raw(&found), ["garbage ga"]);
    assert_eq!(found.fragments[0].length_bytes, 799_999);
}

#[test]
fn the_last_record_cut_off() {
    let reading = r#"{"user":"a@b.c","timeStamp":1655471492661,"x":1.0,"y":1.0,"z":0.0}"#;
    let source = format!("{reading}{}", &reading[..40]);
    let found = read(Accelerometer, &source);
    assert_eq!((found.summary.rows, reasons(&found)), (1, vec![Reason::CutOff]));
    let fragment = &found.fragments[0];
    assert_eq!(fragment.offset_bytes as usize, reading.len());
    assert_eq!((fragment.length_bytes, fragment.at_bytes as usize), (40, source.len()));
}

/// Found by fuzzing: a text of an object that is looked into began another that ended beyond it.
#[test]
fn what_begins_within_a_text_ends_with_its_object() {
    let object = r#"{"euuu{}}V{":{}}m":null}}V{":{}}"#;
    let found = read(StepTrainer, format!("{}{object}{}", step(1), step(2)));
    assert_eq!(distances(&found), [1, 2]);
}
