//! Any bytes: nothing panics, every byte is accounted for, and chunks do not show.
#![no_main]

use fuzz::{chosen, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [stream, limits, chunk, bytes @ ..] = input else { return };
    let (stream, limits) = chosen(*stream, *limits);
    let at_once = read(stream, &limits, bytes, bytes.len());
    assert_eq!(at_once, read(stream, &limits, bytes, usize::from(*chunk)));
});
