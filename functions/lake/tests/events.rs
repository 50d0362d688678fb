//! Every file of `events/` is understood.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::fs;
use std::path::{Path, PathBuf};

use lake::events::{self, Ask, Message};

/// When all of them happened: 2026-11-23 12:00 UTC.
const TIME_MS: i64 = 1_795_435_200_000;

/// The keys that the events of each function name: the first in every envelope, the second beside
/// it where there are two.
const KEYS: [(&str, &str, &str); 6] = [
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
         1655564400000-1655564400000-306fd24b8c397d9b.parquet",
        "trusted/accelerometer/a b+c é.parquet",
    ),
    (
        "readings_compacted",
        "trusted/step_trainer/reading_date=2022-06-18/\
         1655564400000-1655564400000-306fd24b8c397d9b.parquet",
        "trusted/accelerometer/a b+c é.parquet",
    ),
];

/// What the file of an envelope asks for: how many of the function's two keys, in how many messages;
/// or to reconcile.
enum Asked {
    Look { keys: usize, messages: usize },
    Reconcile,
}

const ENVELOPES: [(&str, Asked); 11] = [
    ("eventbridge_created", Asked::Look { keys: 1, messages: 1 }),
    ("eventbridge_deleted", Asked::Look { keys: 1, messages: 1 }),
    ("s3_delete", Asked::Look { keys: 1, messages: 1 }),
    ("s3_put", Asked::Look { keys: 1, messages: 1 }),
    ("s3_put_two_records", Asked::Look { keys: 2, messages: 1 }),
    ("s3_test_event", Asked::Look { keys: 0, messages: 1 }),
    ("schedule", Asked::Reconcile),
    ("sqs_eventbridge", Asked::Look { keys: 2, messages: 2 }),
    ("sqs_s3", Asked::Look { keys: 1, messages: 1 }),
    ("sqs_schedule", Asked::Reconcile),
    ("sqs_sns_s3", Asked::Look { keys: 1, messages: 1 }),
];

fn events_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn every_function_has_every_envelope_and_no_file_is_left_over() {
    let mut functions: Vec<_> = KEYS.iter().map(|(function, ..)| *function).collect();
    functions.push("README.md");
    functions.sort_unstable();
    assert_eq!(names(&events_folder()), functions);
    for (function, ..) in KEYS {
        let mut envelopes: Vec<_> =
            ENVELOPES.iter().map(|(name, _)| format!("{name}.json")).collect();
        if function == "customer_landing_to_trusted" {
            // Is answered before it is decoded: see functions/aws.
            envelopes.insert(0, "adopt_policies.json".to_owned());
        }
        assert_eq!(names(&events_folder().join(function)), envelopes, "{function}");
    }
}

#[test]
fn every_envelope_asks_for_what_it_names() {
    for (function, first, second) in KEYS {
        for (name, asked) in &ENVELOPES {
            let path = events_folder().join(function).join(format!("{name}.json"));
            let messages = events::decode(&fs::read(&path).unwrap()).unwrap();
            let in_sqs = messages.iter().all(|message| message.id.is_some());
            assert_eq!(in_sqs, name.starts_with("sqs_"), "{path:?}");
            match asked {
                Asked::Reconcile => {
                    assert_eq!(messages.len(), 1, "{path:?}");
                    assert!(matches!(messages[0].ask, Ok(Ask::Reconcile { .. })), "{path:?}");
                }
                Asked::Look { keys, messages: count } => {
                    assert_eq!(messages.len(), *count, "{path:?}");
                    let asks = messages.iter().all(|m| matches!(m.ask, Ok(Ask::Look(_))));
                    assert!(asks, "{path:?}: {messages:?}");
                    let changes: Vec<_> = messages.iter().flat_map(Message::changes).collect();
                    let found: Vec<_> = changes.iter().map(|change| change.key.as_str()).collect();
                    assert_eq!(found, [first, second][..*keys], "{path:?}");
                    for change in changes {
                        assert_eq!(change.bucket, "lake", "{path:?}");
                        assert_eq!(change.time_ms, Some(TIME_MS), "{path:?}");
                    }
                }
            }
        }
    }
}
