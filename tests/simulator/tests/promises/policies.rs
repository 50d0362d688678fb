//! Policies that go from A to B and back to A: nothing of B comes back with them.

use chain::FunctionName;
use futures::executor::block_on;
use lake::error::{Error, SettingsError};
use lake::events::Message;
use lake::key::{LakeKey, ObjectKey, Parts};
use lake::lake::Lake;
use lake::layout;
use lake::policy::{Consent, Policies};
use lake::store::{MemoryStore, Precondition, Store, StoreError, list_all};
use serde_json::json;
use simulator::table::Derived;

use crate::small_lake::{finish, key, open, put};

const ANY: Policies = policies(Consent::Any);
const AS_OF: Policies = policies(Consent::AsOf);
const CURATED: &str = "curated/machine_learning/";
const CONSENT_MS: i64 = 1_687_050_000_000;

const fn policies(consent: Consent) -> Policies {
    Policies {
        consent,
        pairing: lake::policy::Pairing::Timestamp,
        identity: lake::policy::Identity::Pseudonym,
    }
}

/// The lake, under other policies from now on.
fn changed(store: &MemoryStore, policies: Policies) -> Lake {
    let parts = Parts::try_from(1).unwrap();
    block_on(Lake::change_policies(store, &key(), parts, policies)).unwrap();
    open(store, policies)
}

/// A lake with a step and a motion before its customer's consent, and one of each after.
fn landed() -> MemoryStore {
    let store = MemoryStore::default();
    let customer = json!({
        "email": "a@test.com", "serialNumber": "D", "registrationDate": CONSENT_MS,
        "shareWithResearchAsOfDate": CONSENT_MS,
    });
    let (mut motions, mut steps) = (String::new(), String::new());
    for time_ms in [CONSENT_MS - 1, CONSENT_MS + 1] {
        let motion = json!({"user": "a@test.com", "timestamp": time_ms, "x": 0.5, "y": 1, "z": 2});
        let step =
            json!({"sensorReadingTime": time_ms, "serialNumber": "D", "distanceFromObject": 3});
        motions += &format!("{motion}\n");
        steps += &format!("{step}\n");
    }
    for (key, text) in [
        ("landing/customer/a.json", customer.to_string()),
        ("landing/accelerometer/a.json", motions),
        ("landing/step_trainer/a.json", steps),
    ] {
        put(&store, key, text);
    }
    store
}

fn curated(store: &MemoryStore) -> (ObjectKey, Derived) {
    let listed = block_on(list_all(store, CURATED)).unwrap();
    let [object] = listed.as_slice() else { panic!("{listed:?}") };
    let (_, bytes) = store.snapshot().remove(&object.key).unwrap();
    (object.key.clone(), Derived::read(bytes))
}

#[test]
fn a_write_that_began_before_two_changes_of_policy_does_not_win() {
    let store = landed();
    finish(&open(&store, ANY), &FunctionName::ALL);
    let (target, before) = curated(&store);
    assert_eq!(before.rows.len(), 2);
    let (etag, _) = store.snapshot().remove(&target).unwrap();

    let as_of = changed(&store, AS_OF);
    finish(&as_of, &[FunctionName::StepTrainerLandingToTrusted]);
    // What machine_learning_curated is about to write, and does not get to.
    let beside = MemoryStore::default();
    for (key, (_, bytes)) in store.snapshot() {
        block_on(beside.put(&key, bytes, Precondition::None)).unwrap();
    }
    finish(&open(&beside, AS_OF), &[FunctionName::MachineLearningCurated]);
    let (_, late) = beside.snapshot().remove(&target).unwrap();
    assert_eq!(Derived::read(late.clone()).rows.len(), 1);

    finish(&changed(&store, ANY), &FunctionName::ALL);
    let arrived = block_on(store.put(&target, late, Precondition::IfMatch(etag)));
    assert!(matches!(arrived, Err(StoreError::Precondition { .. })), "{arrived:?}");
    assert_eq!(curated(&store).1.rows, before.rows);
}

#[test]
fn a_process_that_began_under_former_policies_writes_over_nothing_newer() {
    let store = landed();
    let former = open(&store, ANY);
    finish(&changed(&store, AS_OF), &FunctionName::ALL);
    let before = store.snapshot();
    for function in
        [FunctionName::AccelerometerLandingToTrusted, FunctionName::StepTrainerLandingToTrusted]
    {
        let keys = block_on(function.unfinished(&former)).unwrap();
        assert!(!keys.is_empty());
        let outcome = block_on(function.invoke_messages(&former, vec![Message::to_look_at(&keys)]));
        let refused =
            |error: &Error| matches!(error, Error::Settings(SettingsError::Superseded { .. }));
        assert!(outcome.errors.iter().any(|error| refused(error)), "{:?}", outcome.errors);
    }
    assert!(store.snapshot() == before);
}

#[test]
fn policies_of_a_lake_that_would_be_refused_stay() {
    let store = landed();
    drop(open(&store, policies(Consent::Any)));
    let before = store.snapshot()[&ObjectKey::new(layout::SETTINGS)].clone();
    let parts = |parts| Parts::try_from(parts).unwrap();
    let another = LakeKey::new(b"the secret of another lake").unwrap();
    for (key, parts) in [(another, parts(1)), (key(), parts(2))] {
        let changed = Lake::change_policies(&store, &key, parts, policies(Consent::AsOf));
        assert!(matches!(block_on(changed), Err(Error::Settings(_))));
        assert_eq!(store.snapshot()[&ObjectKey::new(layout::SETTINGS)], before);
    }
}
