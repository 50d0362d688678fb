//! An object that cannot be read costs those who need it, and not their neighbours.

mod small_lake;

use chain::FunctionName;
use futures::executor::block_on;
use lake::error::Error;
use lake::events::Message;
use lake::key::ObjectKey;
use lake::policy::Policies;
use lake::store::{MemoryStore, Store};
use serde_json::json;
use simulator::table::Derived;

use self::small_lake::{finish, keys, open, put};

const CURATED: &str = "curated/machine_learning/";
const MOTIONS: &str = "trusted/accelerometer/";
const STEPS: &str = "trusted/step_trainer/";
const MORNING_MS: i64 = 1_687_050_000_000;
const EVENING_MS: i64 = MORNING_MS + 36_000_000;

/// A lake with readings of a morning and of an evening.
fn landed() -> MemoryStore {
    let customer = json!({
        "email": "a@test.com", "serialNumber": "D", "registrationDate": MORNING_MS,
        "shareWithResearchAsOfDate": MORNING_MS,
    });
    let mut feeds = vec![("landing/customer/a.json".to_owned(), customer)];
    for (name, time_ms) in [("morning", MORNING_MS), ("evening", EVENING_MS)] {
        let motion = json!({"user": "a@test.com", "timestamp": time_ms, "x": 0.5, "y": 1, "z": 2});
        let step =
            json!({"sensorReadingTime": time_ms, "serialNumber": "D", "distanceFromObject": 3});
        feeds.push((format!("landing/accelerometer/{name}.json"), motion));
        feeds.push((format!("landing/step_trainer/{name}.json"), step));
    }
    let store = MemoryStore::default();
    for (key, record) in feeds {
        put(&store, &key, record.to_string());
    }
    store
}

#[test]
fn an_accelerometer_object_that_cannot_be_read_costs_only_the_steps_of_its_time() {
    let store = landed();
    finish(&open(&store, Policies::default()), &FunctionName::ALL);
    let whole: Vec<(ObjectKey, usize)> = keys(&store, CURATED)
        .into_iter()
        .map(|key| (key.clone(), Derived::read(store.snapshot()[&key].1.clone()).rows.len()))
        .collect();
    assert_eq!(whole.iter().map(|(_, rows)| *rows).collect::<Vec<_>>(), [1, 1]);
    for (key, _) in &whole {
        block_on(store.delete(key)).unwrap();
    }
    let evening = keys(&store, MOTIONS).pop().unwrap();
    put(&store, evening.as_str(), "no Parquet".to_owned());

    let asked = vec![Message::to_look_at(&keys(&store, STEPS))];
    let outcome = block_on(
        FunctionName::MachineLearningCurated
            .invoke_messages(&open(&store, Policies::default()), asked),
    );
    let unreadable =
        |error: &Error| matches!(error, Error::Unreadable { key, .. } if *key == evening);
    assert!(outcome.errors.iter().all(|error| unreadable(error)), "{:?}", outcome.errors);
    assert!(!outcome.errors.is_empty());
    assert_eq!(keys(&store, CURATED), [whole[0].0.clone()], "the morning's is derived again");
}
