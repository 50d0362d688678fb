//! What a step trainer object costs that lands when its day has very many accelerometer readings already.

use std::sync::{Arc, Mutex};

use chain::FunctionName;
use futures::executor::block_on;
use lake::events::Message;
use lake::key::ObjectKey;
use lake::lake::{Bounds, Lake};
use lake::layout;
use lake::policy::Policies;
use lake::store::{MemoryStore, Precondition, Store};
use serde_json::json;
use simulator::table::Derived;

use crate::small_lake::{finish, keys, open_with, put};

const FIRST_MS: i64 = 1_687_046_400_000;
const OBJECTS: i64 = 12;
const READINGS: i64 = 500;
const APART_MS: i64 = 60_000;
const BEFORE_THAT: [FunctionName; 4] = [
    FunctionName::CustomerLandingToTrusted,
    FunctionName::AccelerometerLandingToTrusted,
    FunctionName::CustomerTrustedToCurated,
    FunctionName::StepTrainerLandingToTrusted,
];

/// A lake of which no object is small, and where a stretch of a day has some hundred readings at the most.
fn open(store: &MemoryStore) -> Lake {
    let mut lake = open_with(store, Policies::default(), 1);
    lake.bounds.small_bytes_max = 1;
    lake.bounds.held_bytes_max = 48 << 10;
    lake
}

/// A day of which each accelerometer object has readings of all times, and every so many of them a step
/// reading of a device.
fn day(device: &str, apart: usize) -> MemoryStore {
    let store = MemoryStore::default();
    let customer = json!({
        "email": "ada@test.com", "serialNumber": "D-1", "registrationDate": FIRST_MS,
        "shareWithResearchAsOfDate": FIRST_MS,
    });
    put(&store, "landing/customer/a.json", customer.to_string());
    for object in 0..OBJECTS {
        let readings = (0..READINGS).map(|reading| {
            let time_ms = FIRST_MS + reading * APART_MS + object;
            let user = "ada@test.com";
            let x = (reading * 7_919 + object) as f64 / 3.0;
            json!({"user": user, "timestamp": time_ms, "x": x, "y": x, "z": x}).to_string()
        });
        put(&store, &format!("landing/accelerometer/{object}.json"), readings.collect());
    }
    let steps = (0..READINGS).step_by(apart).map(|reading| {
        let time_ms = FIRST_MS + reading * APART_MS + reading % OBJECTS;
        json!({"sensorReadingTime": time_ms, "serialNumber": device, "distanceFromObject": 1})
            .to_string()
    });
    put(&store, "landing/step_trainer/late.json", steps.collect());
    finish(&open(&store), &BEFORE_THAT);
    store
}

/// Joins what there is; returns the calls for accelerometer objects, and the rows of the target.
fn joined(store: &MemoryStore) -> (Vec<String>, usize) {
    joined_in(store, open(store).bounds)
}

/// The same within other bounds.
fn joined_in(store: &MemoryStore, bounds: Bounds) -> (Vec<String>, usize) {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&calls);
    let noting = store.before(move |call, key| {
        if key.after(layout::TRUSTED_ACCELEROMETER).is_some() && call == "get" {
            noted.lock().unwrap().push(format!("{call} {key}"));
        }
        Ok(())
    });
    let mut lake = open_with(&noting, Policies::default(), 1);
    lake.bounds = bounds;
    let message = Message::to_look_at(&keys(store, layout::TRUSTED_STEP_TRAINER));
    let join = FunctionName::MachineLearningCurated.invoke_messages(&lake, vec![message]);
    let outcome = block_on(join);
    assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
    let targets = keys(store, layout::CURATED_MACHINE_LEARNING);
    let [target] = targets.as_slice() else { panic!("{targets:?}") };
    let rows = Derived::read(store.snapshot()[target].1.clone()).rows.len();
    let calls = calls.lock().unwrap().clone();
    (calls, rows)
}

#[test]
fn each_accelerometer_object_is_read_once_for_few_step_readings() {
    let store = day("D-1", 50);
    let (calls, rows) = joined(&store);
    assert_eq!(rows, 10);
    // Its end, which says what is where, and its row group.
    assert_eq!(calls.len() as i64, 2 * OBJECTS, "{calls:#?}");
}

/// As after a withdrawal: what was joined of it is to go, whatever else is broken.
#[test]
fn no_accelerometer_object_is_read_for_no_step_readings() {
    let store = day("of nobody", 50);
    let broken: ObjectKey = keys(&store, layout::TRUSTED_ACCELEROMETER).remove(0);
    block_on(store.put(&broken, "no Parquet".into(), Precondition::None)).unwrap();
    let (calls, rows) = joined(&store);
    assert_eq!((calls.as_slice(), rows), (&[] as &[String], 0));
}

/// What was fetched waits for the next stretch where there is room for it, and is fetched for each else.
#[test]
fn each_accelerometer_object_is_read_once_for_many_stretches_if_there_is_room() {
    let store = day("D-1", 1);
    let (calls, rows) = joined(&store);
    assert_eq!(rows as i64, READINGS);
    assert_eq!(calls.len() as i64, 2 * OBJECTS, "{calls:#?}");
    let again = day("D-1", 1);
    let without_room = Bounds { cache_bytes_max: 0, ..open(&again).bounds };
    let (many, rows) = joined_in(&again, without_room);
    assert_eq!(rows as i64, READINGS);
    assert!(many.len() > 2 * calls.len(), "{}", many.len());
}
