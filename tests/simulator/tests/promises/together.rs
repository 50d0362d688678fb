//! Parts of customer_curated that are asked for together look at the manifests they share once, and
//! fail each for itself.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::thread;

use chain::FunctionName;
use futures::executor::block_on;
use lake::events::{self, Message};
use lake::function::Outcome;
use lake::key::{ObjectKey, Part, Source};
use lake::lake::Lake;
use lake::layout::{self, Slice};
use lake::policy::{Consent, Policies};
use lake::store::{MemoryStore, Store, StoreError};
use lake::tables::Stream;
use serde_json::json;
use simulator::table::Derived;

use crate::small_lake::{finish, keys, open_with, put};

const PARTS: u16 = 16;
const NOON_MS: i64 = 1_687_086_000_000;
const MORNING: &str = "landing/accelerometer/morning.json";
const EVENING: &str = "landing/accelerometer/evening.json";

/// A lake before anybody is curated: readings of the people of even parts are of the morning, those of
/// the people of odd parts of the evening.
fn trusted() -> MemoryStore {
    let store = MemoryStore::default();
    let lake = open_with(&store, Policies::default(), PARTS);
    let (mut customers, mut morning, mut evening) = (String::new(), String::new(), String::new());
    for number in 0..200 {
        let email = format!("{number}@test.com");
        let customer = json!({
            "email": email, "registrationDate": NOON_MS, "shareWithResearchAsOfDate": NOON_MS,
        });
        customers += &customer.to_string();
        let reading = json!({"user": email, "timestamp": NOON_MS, "x": 0.5, "y": 1, "z": 2});
        let readings = if is_even(&lake, lake.key.person(&email).part(lake.settings.parts)) {
            &mut morning
        } else {
            &mut evening
        };
        *readings += &reading.to_string();
    }
    put(&store, "landing/customer/all.json", customers);
    put(&store, MORNING, morning);
    put(&store, EVENING, evening);
    let before =
        [FunctionName::CustomerLandingToTrusted, FunctionName::AccelerometerLandingToTrusted];
    finish(&lake, &before);
    store
}

fn is_even(lake: &Lake, part: Part) -> bool {
    lake.settings.parts.all().step_by(2).any(|even| even == part)
}

/// An invocation with some keys, a message each.
fn curate(lake: &Lake, keys: &[ObjectKey]) -> Outcome {
    let messages: Vec<_> = keys
        .iter()
        .map(|key| (key.to_string(), events::object_event("bucket", key, true)))
        .collect();
    let event = events::sqs_batch(messages.iter().map(|(id, body)| (id.as_str(), body, 0)));
    block_on(FunctionName::CustomerTrustedToCurated.invoke(lake, &event)).unwrap()
}

/// Curates all parts: those whose people have readings of the evening fail, and no others.
fn fails_for_the_evening_only(store: &MemoryStore, lake: &Lake) {
    let parts = keys(store, layout::TRUSTED_CUSTOMER);
    let part = |key| layout::part_of_key(key, layout::TRUSTED_CUSTOMER).unwrap();
    let of_evening: BTreeSet<String> =
        parts.iter().filter(|key| !is_even(lake, part(key))).map(ToString::to_string).collect();
    let failures = curate(lake, &parts).response.batch_item_failures.into_iter();
    let failed: BTreeSet<String> = failures.map(|failure| failure.item_identifier).collect();
    assert_eq!(failed, of_evening);
    assert_eq!(keys(store, layout::CURATED_CUSTOMER).len(), parts.len() - failed.len());
}

fn manifest_of(landing: &str) -> ObjectKey {
    layout::manifest(Stream::Accelerometer, Source::of(&ObjectKey::new(landing)))
}

#[test]
fn manifests_that_parts_share_are_looked_at_once() {
    let store = trusted();
    let looks = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&looks);
    let counting = store.before(move |_, key| {
        let is_look = [manifest_of(MORNING), manifest_of(EVENING)].contains(key);
        counted.fetch_add(usize::from(is_look), Ordering::Relaxed);
        Ok(())
    });
    let lake = open_with(&counting, Policies::default(), PARTS);
    let parts = keys(&store, layout::TRUSTED_CUSTOMER);
    assert_eq!(parts.len(), usize::from(PARTS));
    let outcome = curate(&lake, &parts);
    assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
    assert_eq!(keys(&store, layout::CURATED_CUSTOMER).len(), usize::from(PARTS));
    // Twice each, before the registers are written and after, for every eight parts; each part by
    // itself would be twice as many as there are parts.
    assert_eq!(looks.load(Ordering::Relaxed), 2 * 2 * 2);
}

/// As where parts were decided on after the objects were written whose events come after them.
#[test]
fn witnesses_that_changed_and_still_are_cost_a_look() {
    let store = trusted();
    let lake = open_with(&store, Policies::default(), PARTS);
    finish(&lake, &[FunctionName::CustomerTrustedToCurated]);
    let calls = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&calls);
    let noting = store.before(move |call, key| {
        noted.lock().unwrap().push(format!("{call} {key}"));
        Ok(())
    });
    let lake = open_with(&noting, Policies::default(), PARTS);
    calls.lock().unwrap().clear();
    let outcome = curate(&lake, &keys(&store, layout::TRUSTED_ACCELEROMETER));
    assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
    // Each register and each part of customer_trusted; the manifest of each object for its people, and
    // once more for all.
    let expected = 2 * usize::from(PARTS) + 2 * 2;
    let calls = calls.lock().unwrap();
    assert_eq!(calls.len(), expected, "{calls:#?}");
}

/// As where months of readings are handed in at once: each of the objects of its days would ask for
/// everybody in it.
#[test]
fn the_first_day_of_a_landing_object_asks_for_all_of_its_people() {
    const DAY_MS: i64 = 86_400_000;
    let people = ["ada@test.com", "bea@test.com", "cyd@test.com"];
    let reading = |day: usize| {
        let time_ms = NOON_MS + day as i64 * DAY_MS;
        json!({"user": people[day], "timestamp": time_ms, "x": 0.5, "y": 1, "z": 2}).to_string()
    };
    let store = MemoryStore::default();
    let lake = open_with(&store, Policies::default(), 1);
    let customers = people.map(|email| {
        let customer = json!({
            "email": email, "registrationDate": NOON_MS, "shareWithResearchAsOfDate": NOON_MS,
        });
        customer.to_string()
    });
    put(&store, "landing/customer/all.json", customers.concat());
    put(&store, MORNING, (0..people.len()).map(reading).collect());
    let to_trusted =
        [FunctionName::CustomerLandingToTrusted, FunctionName::AccelerometerLandingToTrusted];
    finish(&lake, &to_trusted);
    let curated = || {
        let keys = keys(&store, layout::CURATED_CUSTOMER);
        let rows = |key| Derived::read(store.snapshot()[key].1.clone()).rows.len();
        keys.iter().map(rows).sum::<usize>()
    };

    let days = keys(&store, layout::TRUSTED_ACCELEROMETER);
    let [first, others @ ..] = days.as_slice() else { panic!("no day") };
    assert_eq!(others.len(), 2);
    assert!(curate(&lake, others).errors.is_empty());
    assert_eq!(curated(), 0, "the first day has not asked yet");
    assert!(curate(&lake, std::slice::from_ref(first)).errors.is_empty());
    assert_eq!(curated(), people.len());

    // The first day is gone, but not its object.
    put(&store, MORNING, reading(2));
    finish(&lake, &to_trusted);
    assert!(curate(&lake, std::slice::from_ref(first)).errors.is_empty());
    assert_eq!(curated(), 1);
    let left = block_on(FunctionName::CustomerTrustedToCurated.unfinished(&lake)).unwrap();
    assert_eq!(left, []);
}

#[test]
fn a_manifest_that_cannot_be_read_costs_only_the_parts_of_its_people() {
    let store = trusted();
    put(&store, manifest_of(EVENING).as_str(), "no manifest".to_owned());
    let lake = open_with(&store, Policies::default(), PARTS);
    fails_for_the_evening_only(&store, &lake);
}

/// Others, who looked before the register was written, had nothing to change: no event is left that
/// would tell.
#[test]
fn a_witness_that_goes_before_the_registers_are_written_is_none() {
    let store = trusted();
    let evening = store.snapshot()[&ObjectKey::new(EVENING)].1.clone();
    take_back_the_evening(&store);
    put(&store, EVENING, String::from_utf8(evening.to_vec()).unwrap());
    let lake = open_with(&store, Policies::default(), PARTS);
    finish(&lake, &[FunctionName::AccelerometerLandingToTrusted]);

    let (others, gone) = (store.clone(), Once::new());
    let interrupted = store.before(move |call, key| {
        if call == "put" && key.after(layout::CURATED_REGISTER).is_some() {
            gone.call_once(|| {
                let others = others.clone();
                thread::spawn(move || take_back_the_evening(&others)).join().unwrap();
            });
        }
        Ok(())
    });
    let lake = open_with(&interrupted, Policies::default(), PARTS);
    let outcome = curate(&lake, &keys(&store, layout::TRUSTED_ACCELEROMETER));
    assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
    for key in keys(&store, layout::CURATED_CUSTOMER) {
        let rows = Derived::read(store.snapshot()[&key].1.clone()).rows;
        let part = layout::part_of_key(&key, layout::CURATED_CUSTOMER).unwrap();
        assert_eq!(rows.is_empty(), !is_even(&lake, part), "{key}");
    }
}

/// The consent moves to the night; and, before the register says so, the readings of the evening that
/// are of the night are taken back. Whoever is told of that finds the evening still a witness by the
/// consent before.
#[test]
fn a_witness_that_no_longer_shows_under_a_consent_that_changed_meanwhile_is_none() {
    let policies = Policies { consent: Consent::AsOf, ..Policies::default() };
    let store = MemoryStore::default();
    let lake = open_with(&store, policies, 1);
    let night_ms = NOON_MS + 10 * 60 * 60 * 1_000;
    let customer = |research_ms: i64, updated_ms: i64| {
        json!({
            "email": "ada@test.com", "registrationDate": NOON_MS, "lastUpdateDate": updated_ms,
            "shareWithResearchAsOfDate": research_ms,
        })
        .to_string()
    };
    let reading = |time_ms: i64| {
        json!({"user": "ada@test.com", "timestamp": time_ms, "x": 0.5, "y": 1, "z": 2}).to_string()
    };
    let to_trusted =
        [FunctionName::CustomerLandingToTrusted, FunctionName::AccelerometerLandingToTrusted];
    put(&store, "landing/customer/a.json", customer(NOON_MS, NOON_MS));
    put(&store, EVENING, reading(NOON_MS) + &reading(night_ms));
    finish(&lake, &to_trusted);
    finish(&lake, &[FunctionName::CustomerTrustedToCurated]);
    put(&store, "landing/customer/b.json", customer(night_ms, NOON_MS + 1));
    finish(&lake, &to_trusted);

    let (others, changed) = (store.clone(), Once::new());
    let interrupted = store.before(move |call, key| {
        if call == "put" && key.after(layout::CURATED_REGISTER).is_some() {
            changed.call_once(|| {
                let (others, text) = (others.clone(), reading(NOON_MS));
                let meanwhile = move || {
                    let lake = open_with(&others, policies, 1);
                    put(&others, EVENING, text);
                    finish(&lake, &[FunctionName::AccelerometerLandingToTrusted]);
                    let outcome = curate(&lake, &keys(&others, layout::TRUSTED_ACCELEROMETER));
                    assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
                };
                thread::spawn(meanwhile).join().unwrap();
            });
        }
        Ok(())
    });
    let lake = open_with(&interrupted, policies, 1);
    let outcome = curate(&lake, &keys(&store, layout::TRUSTED_CUSTOMER));
    assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
    let part = keys(&store, layout::CURATED_CUSTOMER).remove(0);
    let rows = Derived::read(store.snapshot()[&part].1.clone()).rows;
    assert!(rows.is_empty(), "there are no readings since the consent: {rows:?}");
}

/// The readings of the evening are deleted, and whom that concerns is invoked.
fn take_back_the_evening(store: &MemoryStore) {
    let lake = open_with(store, Policies::default(), PARTS);
    let landing = ObjectKey::new(EVENING);
    block_on(store.delete(&landing)).unwrap();
    let asked = [keys(store, layout::TRUSTED_CUSTOMER), keys(store, layout::TRUSTED_ACCELEROMETER)];
    for (function, keys) in [
        (FunctionName::AccelerometerLandingToTrusted, vec![landing]),
        (FunctionName::CustomerTrustedToCurated, asked.concat()),
    ] {
        let outcome = block_on(function.invoke_messages(&lake, vec![Message::to_look_at(&keys)]));
        assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
    }
}

/// The registers are written by then, but nothing that was not confirmed is to be seen.
#[test]
fn a_manifest_that_fails_after_the_registers_are_written_costs_only_the_parts_of_its_people() {
    let store = trusted();
    let is_written = AtomicBool::new(false);
    let failing = store.before(move |call, key| {
        let is_put = call == "put" && key.after(layout::CURATED_REGISTER).is_some();
        is_written.fetch_or(is_put, Ordering::Relaxed);
        if is_written.load(Ordering::Relaxed) && *key == manifest_of(EVENING) {
            let (key, source) = (key.clone(), "slow down".into());
            return Err(StoreError::Unavailable { operation: call, key, source });
        }
        Ok(())
    });
    let lake = open_with(&failing, Policies::default(), PARTS);
    fails_for_the_evening_only(&store, &lake);

    let parts = keys(&store, layout::TRUSTED_CUSTOMER);
    let outcome = curate(&open_with(&store, Policies::default(), PARTS), &parts);
    assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
    assert_eq!(keys(&store, layout::CURATED_CUSTOMER).len(), parts.len());
}

/// Whoever changed the witness is asked again with the landing object that was witness, and another
/// one is by then.
#[test]
fn what_follows_from_another_witness_is_left_to_whoever_is_delivered_again() {
    const NIGHT: &str = "landing/accelerometer/night.json";
    let store = trusted();
    let lake = open_with(&store, Policies::default(), PARTS);
    finish(&lake, &[FunctionName::CustomerTrustedToCurated]);
    let evening = store.snapshot()[&ObjectKey::new(EVENING)].1.clone();
    put(&store, NIGHT, String::from_utf8(evening.to_vec()).unwrap());
    finish(&lake, &[FunctionName::AccelerometerLandingToTrusted]);
    block_on(store.delete(&ObjectKey::new(EVENING))).unwrap();
    finish(&lake, &[FunctionName::AccelerometerLandingToTrusted]);

    let of_evening = |key: &ObjectKey| {
        let slice = Slice::of_key(key, layout::TRUSTED_ACCELEROMETER).unwrap();
        slice.source == Source::of(&ObjectKey::new(EVENING))
    };
    let mut changed = keys(&store, layout::TRUSTED_ACCELEROMETER);
    changed.retain(of_evening);
    let failing = store.before(|call, key| match key.after(layout::CURATED_CUSTOMER) {
        Some(_) if call == "put" => {
            let (key, source) = (key.clone(), "slow down".into());
            Err(StoreError::Unavailable { operation: call, key, source })
        }
        _ => Ok(()),
    });
    let failed = curate(&open_with(&failing, Policies::default(), PARTS), &changed);
    assert!(!failed.errors.is_empty());
    let again = curate(&open_with(&store, Policies::default(), PARTS), &changed);
    assert!(again.errors.is_empty(), "{:?}", again.errors);
    let left = block_on(FunctionName::CustomerTrustedToCurated.unfinished(&lake)).unwrap();
    assert_eq!(left, []);
}
