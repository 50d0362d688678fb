//! Whoever asks for very many people reads what the runs say of them. So they say what was decided of
//! people before anything else is decided of them, and before the parts say it.

use std::sync::{Arc, Mutex};

use chain::FunctionName;
use futures::executor::block_on;
use lake::events::Message;
use lake::key::ObjectKey;
use lake::layout;
use lake::policy::{Pairing, Policies};
use lake::store::{MemoryStore, Store, StoreError};
use serde_json::json;
use simulator::table::Derived;

use crate::small_lake::{finish, keys, open, put};

const CURATES: FunctionName = FunctionName::CustomerTrustedToCurated;
/// Those before it.
const BEFORE: [FunctionName; 2] =
    [FunctionName::CustomerLandingToTrusted, FunctionName::AccelerometerLandingToTrusted];
const MOTION: &str = "landing/accelerometer/a.json";
const MANIFESTS: &str = "state/accelerometer/manifests/";
const INDEX: &str = "state/accelerometer/index/";
const TIME_MS: i64 = 1_687_050_000_000;

/// A lake with readings of somebody who consents.
fn landed() -> MemoryStore {
    let customer = json!({
        "email": "a@test.com", "serialNumber": "D", "registrationDate": TIME_MS,
        "shareWithResearchAsOfDate": TIME_MS,
    });
    let motion = json!({"user": "a@test.com", "timestamp": TIME_MS, "x": 0.5, "y": 1, "z": 2});
    let store = MemoryStore::default();
    put(&store, "landing/customer/a.json", customer.to_string());
    put(&store, MOTION, motion.to_string());
    store
}

/// Has a function look at what is below a prefix; returns its calls, and whether it failed. The first call
/// that `fails` picks is answered by an outage.
fn calls(
    store: &MemoryStore,
    prefix: &str,
    fails: fn(&str, &ObjectKey) -> bool,
) -> (Vec<(&'static str, ObjectKey)>, bool) {
    let calls: Arc<Mutex<Vec<(&'static str, ObjectKey)>>> = Arc::default();
    let (noted, failed) = (Arc::clone(&calls), Mutex::new(false));
    let watched = store.before(move |call, key| {
        noted.lock().unwrap().push((call, key.clone()));
        let mut failed = failed.lock().unwrap();
        if *failed || !fails(call, key) {
            return Ok(());
        }
        *failed = true;
        let (key, source) = (key.clone(), "it is down".into());
        Err(StoreError::Unavailable { operation: call, key, source })
    });
    let asked = vec![Message::to_look_at(&keys(store, prefix))];
    let outcome = block_on(CURATES.invoke_messages(&open(&watched, Policies::default()), asked));
    let calls = std::mem::take(&mut *calls.lock().unwrap());
    (calls, !outcome.errors.is_empty())
}

/// The place of the first such call.
fn first(calls: &[(&'static str, ObjectKey)], call: &str, prefix: &str) -> usize {
    let is_it =
        |(made, key): &(&'static str, ObjectKey)| *made == call && key.as_str().starts_with(prefix);
    calls.iter().position(is_it).unwrap_or_else(|| panic!("no {call} {prefix} in {calls:?}"))
}

#[test]
fn who_lost_their_witness_is_said_before_another_is_looked_for_again() {
    let store = landed();
    finish(&open(&store, Policies::default()), &FunctionName::ALL);
    block_on(store.delete(&ObjectKey::new(MOTION))).unwrap();
    let lake = open(&store, Policies::default());
    finish(&lake, &[FunctionName::AccelerometerLandingToTrusted]);

    let (calls, _) = calls(&store, layout::TRUSTED_ACCELEROMETER, |_, _| false);
    let saved = first(&calls, "put", layout::CURATED_REGISTER);
    let later = &calls[saved..];
    let (said, searched) = (first(later, "put", layout::OWNER_RUNS), first(later, "list", INDEX));
    assert!(said < searched, "{later:?}");
}

#[test]
fn what_somebody_died_before_saying_is_said_before_anything_is_decided() {
    let store = landed();
    finish(&open(&store, Policies::default()), &BEFORE);
    let is_said =
        |call: &str, key: &ObjectKey| call == "put" && key.after(layout::OWNER_RUNS).is_some();
    let (_, failed) = calls(&store, layout::TRUSTED_CUSTOMER, is_said);
    assert!(failed, "nothing was said");
    assert!(!keys(&store, layout::CURATED_REGISTER).is_empty(), "it was decided");

    let (calls, _) = calls(&store, layout::TRUSTED_CUSTOMER, |_, _| false);
    let (said, decided) =
        (first(&calls, "put", layout::OWNER_RUNS), first(&calls, "get", MANIFESTS));
    assert!(said < decided, "{calls:?}");
}

/// The event of a landing object's first slice stands for all: but another may have come first since
/// somebody died at it.
#[test]
fn delivered_again_any_slice_asks_for_everybody() {
    let store = landed();
    finish(&open(&store, Policies::default()), &BEFORE);
    let was_first = keys(&store, layout::TRUSTED_ACCELEROMETER);
    let earlier = json!({"user": "a@test.com", "timestamp": TIME_MS - 1, "x": 0, "y": 0, "z": 0});
    put(&store, MOTION, earlier.to_string());
    finish(&open(&store, Policies::default()), &BEFORE);
    assert_ne!(keys(&store, layout::TRUSTED_ACCELEROMETER)[0], was_first[0], "another is first");

    let again = vec![Message::to_look_at(&was_first)];
    let outcome = block_on(CURATES.invoke_messages(&open(&store, Policies::default()), again));
    assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
    assert_eq!(keys(&store, layout::CURATED_REGISTER).len(), 1, "nobody was asked for");
}

/// A step trainer object of many people may be derived from runs that are ahead of the parts.
#[test]
fn who_pairs_readings_of_a_person_reads_the_runs_and_not_the_parts() {
    let step = json!({"sensorReadingTime": TIME_MS, "serialNumber": "D", "distanceFromObject": 3});
    let store = landed();
    put(&store, "landing/step_trainer/a.json", step.to_string());
    let policies = Policies { pairing: Pairing::Customer, ..Policies::default() };
    finish(&open(&store, policies), &FunctionName::ALL);
    let rows = || {
        let made = keys(&store, layout::CURATED_MACHINE_LEARNING);
        let rows = |key| Derived::read(store.snapshot()[key].1.clone()).rows.len();
        made.iter().map(rows).sum::<usize>()
    };
    assert_eq!(rows(), 1);
    for prefix in [layout::OWNERS, layout::CURATED_MACHINE_LEARNING] {
        keys(&store, prefix).iter().for_each(|key| block_on(store.delete(key)).unwrap());
    }
    let asked = vec![Message::to_look_at(&keys(&store, layout::TRUSTED_STEP_TRAINER))];
    let function = FunctionName::MachineLearningCurated;
    let outcome = block_on(function.invoke_messages(&open(&store, policies), asked));
    assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
    assert_eq!(rows(), 1, "paired by what the runs say");
}
