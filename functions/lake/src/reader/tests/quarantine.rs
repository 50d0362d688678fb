//! Fragments are kept without loss, and can be shown.

use super::{read, step};
use crate::reader::{Fragment, LineError, Reason};
use crate::tables::Stream::StepTrainer;

fn fragment(raw: &[u8]) -> Fragment {
    Fragment {
        reason: Reason::WrongType,
        message: "a \"message\"".to_owned(),
        offset_bytes: u64::MAX,
        length_bytes: 3,
        at_bytes: 0,
        raw: raw.to_vec(),
    }
}

#[test]
fn a_line_gives_the_fragment_back() {
    let every: Vec<u8> = (0..=255).collect();
    for raw in [&every[..], b"", b"100% \"sure\"\n", "é\u{1F600}".as_bytes(), &[0xE2, 0x82]] {
        let line = fragment(raw).to_line().unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(Fragment::from_line(&line).unwrap(), fragment(raw));
    }
    let line = fragment(b"50%\xFF\0\n").to_line().unwrap();
    assert!(line.contains(r#""reason":"wrong_type""#), "{line}");
    assert!(line.contains(r#""raw":"50%25%FF%00\n""#), "{line}");
}

#[test]
fn a_line_that_is_none_is_refused() {
    assert!(matches!(Fragment::from_line("{}"), Err(LineError::Json(_))));
    for bad in ["%", "%4", "%xy", "%é"] {
        let line = fragment(b"raw")
            .to_line()
            .unwrap()
            .replace("\"raw\":\"raw\"", &format!("\"raw\":\"{bad}\""));
        assert!(matches!(Fragment::from_line(&line), Err(LineError::Escape(0))), "{bad}");
    }
}

#[test]
fn codes_are_what_is_stored() {
    for reason in Reason::ALL {
        assert_eq!(serde_json::to_string(&reason).unwrap(), format!("\"{}\"", reason.code()));
    }
}

#[test]
fn the_marker_is_under_the_offending_byte() {
    let source = format!("{}\n{}\n{}\n", step(1), step(2).replace(":2", ":é2"), step(3));
    let found = read(StepTrainer, &source);
    let fragment = &found.fragments[0];
    for range in [0..source.len(), {
        let around = fragment.surroundings();
        around.start as usize..source.len().min(around.end as usize)
    }] {
        let text = fragment.explain(&source.as_bytes()[range.clone()], range.start as u64);
        let lines: Vec<Vec<char>> = text.lines().map(|line| line.chars().collect()).collect();
        assert_eq!(lines.len(), 5, "{text}");
        let column = lines[3].iter().position(|&c| c == '^').unwrap();
        assert_eq!(lines[2][column], 'é', "{text}");
    }
}

#[test]
fn a_place_on_one_long_line_is_shown_clipped() {
    let source = step(1).repeat(1000) + &step(2)[..30];
    let found = read(StepTrainer, &source);
    let text = found.fragments[0].explain(source.as_bytes(), 0);
    assert!(text.lines().all(|line| line.chars().count() < 200), "{text}");
    assert_eq!(text.lines().count(), 3, "{text}");
    let beyond = found.fragments[0].explain(b"", 1 << 40);
    assert!(beyond.ends_with("^\n"), "{beyond}");
}
