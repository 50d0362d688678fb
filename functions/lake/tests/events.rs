//! Every file of `events/` is understood.

use std::fs;
use std::path::Path;

use lake::events;

const KEY: &str = "landing/accelerometer/2026/a b+c é.json";

#[test]
fn every_envelope_of_the_events_folder_names_its_key() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events");
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        seen += 1;
        let messages = events::decode(&fs::read(&path).unwrap()).unwrap();
        assert!(messages.iter().all(|message| message.ask.is_ok()), "{}", path.display());
        let mut keys = messages.iter().flat_map(|message| message.changes());
        let is_test = path.file_stem().is_some_and(|name| name == "s3_test_event");
        let first = keys.next().map(|change| change.key.as_str());
        assert_eq!(first, (!is_test).then_some(KEY), "{}", path.display());
    }
    assert!(seen >= 9, "{seen} events");
}
