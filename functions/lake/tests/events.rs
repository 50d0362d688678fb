//! Every file of `events/` is understood.

use std::fs;
use std::path::{Path, PathBuf};

use lake::events::{self, Ask, Message};

/// The keys that the events of each function name: the first in every envelope, the second beside
/// it where there are two.
const KEYS: [(&str, &str, &str); 5] = [
    (
        "customer_landing_to_trusted",
        "landing/customer/2026/a b+c é.json",
        "landing/customer/b.json",
    ),
    (
        "accelerometer_landing_to_trusted",
        "landing/accelerometer/2026/a b+c é.json",
        "trusted/customer/part-00.parquet",
    ),
    (
        "customer_trusted_to_curated",
        "trusted/customer/part-00.parquet",
        "trusted/accelerometer/a b+c é.parquet",
    ),
    (
        "step_trainer_landing_to_trusted",
        "landing/step_trainer/2026/a b+c é.json",
        "curated/customer/part-00.parquet",
    ),
    (
        "machine_learning_curated",
        "trusted/step_trainer/reading_date=2022-06-18/\
         1655561935465-1655564519452-0011223344556677.parquet",
        "trusted/accelerometer/a b+c é.parquet",
    ),
];

fn files(function: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events").join(function);
    let mut paths: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn every_envelope_of_the_events_folder_names_its_keys() {
    for (function, first, second) in KEYS {
        let mut seen = 0;
        for path in files(function) {
            let name = path.file_stem().unwrap().to_str().unwrap();
            if name == "adopt_policies" {
                continue; // is answered before it is decoded: see functions/aws
            }
            seen += 1;
            let messages = events::decode(&fs::read(&path).unwrap()).unwrap();
            let keys: Vec<&str> =
                messages.iter().flat_map(Message::changes).map(|c| c.key.as_str()).collect();
            let reconciles = messages.iter().all(|message| message.ask == Ok(Ask::Reconcile));
            let (wanted, wants_to_reconcile): (&[&str], bool) = match name {
                "s3_test_event" => (&[], false),
                "schedule" | "sqs_schedule" => (&[], true),
                "s3_put_two_records" | "sqs_eventbridge" => (&[first, second], false),
                _ => (&[first], false),
            };
            assert_eq!((keys.as_slice(), reconciles), (wanted, wants_to_reconcile), "{path:?}");
        }
        assert!(seen >= 11, "{function}: {seen} events");
    }
}
