//! An object that cannot be read costs those who need it, and not their neighbours.

use std::sync::Arc;

use chain::FunctionName;
use futures::executor::block_on;
use lake::catalog::StoreCatalog;
use lake::error::Error;
use lake::events::Message;
use lake::key::{LakeKey, ObjectKey, Parts};
use lake::lake::Lake;
use lake::policy::Policies;
use lake::store::{MemoryStore, Precondition, Store, list_all};
use serde_json::json;
use simulator::table::Derived;

const CURATED: &str = "curated/machine_learning/";
const MOTIONS: &str = "trusted/accelerometer/";
const STEPS: &str = "trusted/step_trainer/";
const MORNING_MS: i64 = 1_687_050_000_000;
const EVENING_MS: i64 = MORNING_MS + 36_000_000;

fn open(store: &MemoryStore) -> Lake {
    let catalog = Arc::new(StoreCatalog::new(Arc::new(MemoryStore::default())));
    let key = LakeKey::new(b"a secret of the neighbours").unwrap();
    let parts = Parts::try_from(1).unwrap();
    let opened = Lake::open(Arc::new(store.clone()), catalog, key, parts, Policies::default());
    block_on(opened).unwrap()
}

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
        let record = record.to_string().into();
        block_on(store.put(&ObjectKey::new(key), record, Precondition::None)).unwrap();
    }
    store
}

fn keys(store: &MemoryStore, prefix: &str) -> Vec<ObjectKey> {
    block_on(list_all(store, prefix)).unwrap().into_iter().map(|object| object.key).collect()
}

#[test]
fn an_accelerometer_object_that_cannot_be_read_costs_only_the_steps_of_its_time() {
    let store = landed();
    for function in FunctionName::ALL {
        let lake = open(&store);
        while let asked = block_on(function.unfinished(&lake)).unwrap()
            && !asked.is_empty()
        {
            let looked = function.invoke_messages(&lake, vec![Message::to_look_at(&asked)]);
            let outcome = block_on(looked);
            assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
        }
    }
    let whole: Vec<(ObjectKey, usize)> = keys(&store, CURATED)
        .into_iter()
        .map(|key| (key.clone(), Derived::read(store.snapshot()[&key].1.clone()).rows.len()))
        .collect();
    assert_eq!(whole.iter().map(|(_, rows)| *rows).collect::<Vec<_>>(), [1, 1]);
    for (key, _) in &whole {
        block_on(store.delete(key)).unwrap();
    }
    let evening = keys(&store, MOTIONS).pop().unwrap();
    block_on(store.put(&evening, "no Parquet".into(), Precondition::None)).unwrap();

    let asked = vec![Message::to_look_at(&keys(&store, STEPS))];
    let outcome =
        block_on(FunctionName::MachineLearningCurated.invoke_messages(&open(&store), asked));
    let unreadable =
        |error: &Error| matches!(error, Error::Unreadable { key, .. } if *key == evening);
    assert!(outcome.errors.iter().all(|error| unreadable(error)), "{:?}", outcome.errors);
    assert!(!outcome.errors.is_empty());
    assert_eq!(keys(&store, CURATED), [whole[0].0.clone()], "the morning's is derived again");
}
