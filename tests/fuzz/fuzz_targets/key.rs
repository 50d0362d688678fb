//! Every key of the layout: whatever is read from a key is what the key was made of.
#![no_main]

use lake::key::ObjectKey;
use lake::layout::{self, ReadingDate, Slice};
use lake::tables::Stream;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let key = ObjectKey::new(text);
    for zone in [
        layout::TRUSTED_ACCELEROMETER,
        layout::TRUSTED_STEP_TRAINER,
        layout::CURATED_MACHINE_LEARNING,
    ] {
        if let Some(slice) = Slice::of_key(&key, zone) {
            assert_eq!(slice.key(zone), key);
        }
    }
    for zone in [layout::TRUSTED_CUSTOMER, layout::CURATED_CUSTOMER] {
        if let Some(part) = layout::part_of_key(&key, zone) {
            assert_eq!(layout::customer_part(zone, part), key);
        }
    }
    if let Some(landing) = layout::replayed(&key) {
        assert!(key.as_str().ends_with(landing.as_str()) && landing.as_str() != text);
    }
    if let Some(slice) = Slice::parse(text) {
        assert_eq!(slice.to_string(), text);
    }
    if let Some(date) = ReadingDate::parse(text) {
        let _ = date.to_string();
    }
    for stream in Stream::ALL {
        assert!(layout::quarantine(stream, &key).as_str().contains(text));
    }
});
