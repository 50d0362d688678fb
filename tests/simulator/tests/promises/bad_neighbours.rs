//! A landing object that cannot be dealt with is told of, and keeps nobody from dealing with the others.

use chain::FunctionName;
use futures::executor::block_on;
use lake::events::{Ask, Message};
use lake::key::{ObjectKey, Revision, Source};
use lake::layout;
use lake::policy::Policies;
use lake::store::{MemoryStore, Store};
use lake::tables::Stream;
use serde_json::json;

use crate::small_lake::{finish, keys, open, put};

const NOON_MS: i64 = 1_687_086_000_000;
const READINGS: FunctionName = FunctionName::AccelerometerLandingToTrusted;

fn reading() -> String {
    json!({"user": "ada@test.com", "timestamp": NOON_MS, "x": 0.5, "y": 1, "z": 2}).to_string()
}

fn manifest_of(landing: &str) -> ObjectKey {
    layout::manifest(Stream::Accelerometer, Source::of(&ObjectKey::new(landing)))
}

/// What the hourly schedule asks; says what failed.
fn reconcile(store: &MemoryStore) -> Vec<String> {
    let ask = Message { ask: Ok(Ask::Reconcile { time_ms: None }), ..Message::to_look_at(&[]) };
    let lake = open(store, Policies::default());
    let outcome = block_on(READINGS.invoke_messages(&lake, vec![ask]));
    outcome.errors.iter().map(ToString::to_string).collect()
}

#[test]
fn a_key_too_long_for_what_belongs_to_it_is_refused_before_anything_is_made_of_it() {
    let store = MemoryStore::default();
    let long = format!("landing/accelerometer/{}.json", "a".repeat(960));
    put(&store, &long, "garbage".to_owned());
    put(&store, "landing/accelerometer/b.json", reading());
    let lake = open(&store, Policies::default());
    // Of the other kind of keys of which each is recorded once its work is done.
    let marker = layout::replay(
        lake.settings.parts.all().next().unwrap(),
        Revision(1),
        &ObjectKey::new("landing/accelerometer/b.json"),
    );
    block_on(lake.mark(&marker)).unwrap();

    let failed = reconcile(&store);
    assert!(failed[0].contains("rename it to one of at most 980"), "{failed:?}");
    assert!(failed[0].contains(&long));
    let manifests = keys(&store, &layout::manifests(Stream::Accelerometer));
    assert_eq!(manifests, [manifest_of("landing/accelerometer/b.json")]);
    assert_eq!(keys(&store, layout::REPLAY), [], "what it was asked with is settled");

    // Renamed, as it was told: what is heard of the old key is nothing to fail at.
    let long = ObjectKey::new(long);
    block_on(store.delete(&long)).unwrap();
    let outcome = block_on(READINGS.invoke_messages(&lake, vec![Message::to_look_at(&[long])]));
    assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
}

#[test]
fn a_manifest_that_cannot_be_read_keeps_nobody_from_comparing_the_others() {
    let store = MemoryStore::default();
    put(&store, "landing/accelerometer/a.json", reading());
    finish(&open(&store, Policies::default()), &[READINGS]);
    put(&store, manifest_of("landing/accelerometer/a.json").as_str(), "no manifest".to_owned());
    put(&store, "landing/accelerometer/b.json", reading());

    let failed = reconcile(&store);
    assert!(failed[0].contains("restore the version of it before"), "{failed:?}");
    let manifests = keys(&store, &layout::manifests(Stream::Accelerometer));
    assert!(manifests.contains(&manifest_of("landing/accelerometer/b.json")));
}
