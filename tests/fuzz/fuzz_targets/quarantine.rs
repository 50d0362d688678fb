//! Any bytes as a fragment: written and read back without loss, and shown without harm.
#![no_main]

use lake::reader::{Fragment, Reason};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(line) = std::str::from_utf8(input)
        && let Ok(fragment) = Fragment::from_line(line)
    {
        let again = fragment.to_line().expect("a line");
        assert_eq!(Fragment::from_line(&again).expect("the fragment"), fragment);
    }
    let [reason, at, raw @ ..] = input else { return };
    let fragment = Fragment {
        reason: Reason::ALL[usize::from(*reason) % Reason::ALL.len()],
        message: "a message".to_owned(),
        offset_bytes: 3,
        length_bytes: raw.len() as u64,
        at_bytes: 3 + u64::from(*at),
        raw: raw.to_vec(),
    };
    let line = fragment.to_line().expect("a line");
    assert!(!line.contains('\n'));
    assert_eq!(Fragment::from_line(&line).expect("the fragment"), fragment);
    let shown = fragment.explain(raw, 3);
    assert_eq!(shown.matches("\n  | ").count() + 1, shown.lines().count().max(1));
});
