//! One object: taken as whole by the reader if, and only if, serde_json takes it, but for what the
//! reader notes on top and names as the reason.
#![no_main]

use fuzz::{chosen, read};
use lake::reader::{Limits, Reason};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

fuzz_target!(|input: &[u8]| {
    let [stream, bytes @ ..] = input else { return };
    if bytes.first() != Some(&b'{') || bytes.last() != Some(&b'}') {
        return;
    }
    let (stream, _) = chosen(*stream, 0);
    let limits = Limits { nesting_max: 100, ..Limits::default() };
    let found = read(stream, &limits, bytes, bytes.len());
    let judged = serde_json::from_slice::<Map<String, Value>>(bytes);
    let row = found.summary.row_bytes == bytes.len() as u64 && found.summary.rows == 1;
    let refused = match &found.fragments[..] {
        [one] if one.length_bytes == bytes.len() as u64 => Some(one.reason),
        _ => None,
    };
    match judged {
        // A whole object that cannot be a row may be looked into, and then be in parts.
        Ok(_) => assert!(
            row || found.summary.fragments > 0 && refused != Some(Reason::Malformed),
            "serde_json takes it, the reader does not"
        ),
        // serde_json refuses numbers beyond a double also where no column takes them.
        Err(error) => assert!(
            !row || error.to_string().starts_with("number out of range"),
            "the reader takes it, serde_json does not: {error}"
        ),
    }
});
