//! An object that cannot be read costs those who need it, and not their neighbours.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chain::FunctionName;
use futures::executor::block_on;
use lake::error::Error;
use lake::events::Message;
use lake::key::ObjectKey;
use lake::policy::Policies;
use lake::store::{MemoryStore, Store, StoreError};
use serde_json::json;
use simulator::table::Derived;

use crate::small_lake::{finish, keys, open, put};

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

/// Once it was delivered a withdrawal stands, also where what follows from the register cannot be written,
/// and its landing object is gone when that is mended.
#[test]
fn a_withdrawal_is_folded_though_the_part_that_follows_cannot_be_read() {
    let function = FunctionName::CustomerLandingToTrusted;
    let store = landed();
    finish(&open(&store, Policies::default()), &[function]);
    let part = keys(&store, "trusted/customer/").pop().unwrap();
    assert_eq!(Derived::read(store.snapshot()[&part].1.clone()).rows.len(), 1);
    put(&store, part.as_str(), "no Parquet".to_owned());

    let withdrawal = ObjectKey::new("landing/customer/b.json");
    let record = json!({"email": "a@test.com", "registrationDate": EVENING_MS});
    put(&store, withdrawal.as_str(), record.to_string());
    let asked = vec![Message::to_look_at(std::slice::from_ref(&withdrawal))];
    let outcome = block_on(function.invoke_messages(&open(&store, Policies::default()), asked));
    assert!(!outcome.errors.is_empty(), "the part cannot be read");

    block_on(store.delete(&withdrawal)).unwrap();
    block_on(store.delete(&part)).unwrap();
    finish(&open(&store, Policies::default()), &[function]);
    assert_eq!(Derived::read(store.snapshot()[&part].1.clone()).rows.len(), 0);
}

/// An outage fails the message, and not the time there is for the others of its batch.
#[test]
fn the_days_of_a_landing_object_are_not_begun_after_one_failed() {
    const DAYS: i64 = 60;
    const DAY_MS: i64 = 86_400_000;
    let store = landed();
    finish(&open(&store, Policies::default()), &[FunctionName::CustomerLandingToTrusted]);
    let motions = (0..DAYS).map(|day| {
        let time_ms = MORNING_MS + day * DAY_MS;
        json!({"user": "a@test.com", "timestamp": time_ms, "x": 0.5, "y": 1, "z": 2}).to_string()
    });
    let landing = ObjectKey::new("landing/accelerometer/days.json");
    put(&store, landing.as_str(), motions.collect());

    let puts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&puts);
    let failing = store.before(move |call, key| {
        if call != "put" || key.after(MOTIONS).is_none() {
            return Ok(());
        }
        counted.fetch_add(1, Ordering::Relaxed);
        let (key, source) = (key.clone(), "it is down".into());
        Err(StoreError::Unavailable { operation: call, key, source })
    });
    let lake = open(&failing, Policies::default());
    let asked = vec![Message::to_look_at(&[landing])];
    let function = FunctionName::AccelerometerLandingToTrusted;
    let outcome = block_on(function.invoke_messages(&lake, asked));
    assert_eq!(outcome.errors.len(), 1, "{:?}", outcome.errors);
    let begun = puts.load(Ordering::Relaxed);
    assert!((1..=lake.bounds.concurrency).contains(&begun), "{begun}");
}
