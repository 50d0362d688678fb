//! What a landing object takes of memory whose readings come in no order of time, so that all its days
//! are written at once, or whose texts are long.

use std::sync::Arc;

use chain::FunctionName;
use futures::executor::block_on;
use lake::catalog::StoreCatalog;
use lake::events::{object_event, sqs_batch};
use lake::key::{LakeKey, ObjectKey, Parts};
use lake::lake::{Bounds, Lake};
use lake::policy::Policies;
use lake::store::{MemoryStore, Precondition, Store};
use peak_alloc::PeakAlloc;
use serde_json::json;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

const FIRST_MS: i64 = 1_687_046_400_000;
const DAY_MS: i64 = 86_400_000;
const DAYS: i64 = 100;
const PEOPLE: i64 = 200;
const READINGS: i64 = 400_000;
/// With texts of 4 KiB: 123 MB of them.
const LONG_READINGS: i64 = 30_000;
/// The reader hands out up to 16 MiB of texts at once, which are copied and encoded.
const PEAK_BYTES_MAX_OF_TEXTS: usize = 72 << 20;
/// All of these readings would take 22 MB.
const HELD_READINGS_BYTES_MAX: u64 = 8 << 20;
/// What waits and is dealt out, and what that takes beside itself; the days that are open; the reader.
const PEAK_BYTES_MAX: usize = 10 << 20;

fn put(store: &MemoryStore, key: &str, lines: impl Iterator<Item = String>) -> ObjectKey {
    let (key, bytes) = (ObjectKey::new(key), lines.collect::<String>().into());
    block_on(store.put(&key, bytes, Precondition::None)).unwrap();
    key
}

fn invoke(lake: &Lake, function: FunctionName, key: &ObjectKey) {
    let event = object_event("b", key, true);
    let batch = sqs_batch([("1", &event, 0)]);
    let errors = block_on(function.invoke(lake, &batch)).unwrap().errors;
    assert!(errors.is_empty(), "{errors:?}");
}

/// What deriving accelerometer readings takes at the most, beside what is derived, bytes; and how many
/// objects that is.
fn taken(
    bounds: Bounds,
    emails: impl Fn(i64) -> String,
    readings: impl Iterator<Item = (i64, i64)>,
) -> (usize, usize) {
    let store = MemoryStore::default();
    let catalog = Arc::new(StoreCatalog::new(Arc::new(MemoryStore::default())));
    let key = LakeKey::new(b"a secret of many days").unwrap();
    let parts = Parts::try_from(2).unwrap();
    let lake = Lake::open(Arc::new(store.clone()), catalog, key, parts, Policies::default());
    let mut lake = block_on(lake).unwrap();
    lake.bounds = bounds;
    let customers = (0..PEOPLE).map(|person| {
        let customer = json!({
            "email": emails(person),
            "serialNumber": format!("D-{person}"),
            "registrationDate": FIRST_MS,
            "shareWithResearchAsOfDate": FIRST_MS,
        });
        format!("{customer}\n")
    });
    let customers = put(&store, "landing/customer/a.json", customers);
    let readings = readings.map(|(person, time_ms)| {
        let user = emails(person);
        format!(r#"{{"user":"{user}","timestamp":{time_ms},"x":0.5,"y":-1.25,"z":{time_ms}}}"#)
            + "\n"
    });
    let readings = put(&store, "landing/accelerometer/a.json", readings);
    invoke(&lake, FunctionName::CustomerLandingToTrusted, &customers);

    let before = ALLOCATED.current_usage();
    ALLOCATED.reset_peak_usage();
    invoke(&lake, FunctionName::AccelerometerLandingToTrusted, &readings);
    // What was derived lies in memory here.
    let derived = ALLOCATED.current_usage() - before;
    let taken = ALLOCATED.peak_usage() - before - derived;
    println!("{taken} bytes, beside {derived} that were derived");
    let objects = store.snapshot();
    (taken, objects.keys().filter(|key| key.after("trusted/accelerometer/").is_some()).count())
}

/// One test: another would be counted with it.
#[test]
fn what_is_not_held_takes_what_may_wait_however_many_its_days_and_however_long_its_texts() {
    let days = Bounds {
        cache_bytes_max: 0,
        held_bytes_max: 1 << 20,
        held_readings_bytes_max: HELD_READINGS_BYTES_MAX,
        upload_bytes_max: 0,
        piece_bytes: 1 << 10,
        ..Bounds::default()
    };
    let times = |k: i64| (k * 7_919 % PEOPLE, FIRST_MS + k * 104_729_000 % (DAYS * DAY_MS));
    let emails = |person| format!("person.{person}@test.com");
    let (bytes, objects) = taken(days.clone(), emails, (0..READINGS).map(times));
    assert_eq!(objects, DAYS as usize);
    assert!(bytes <= PEAK_BYTES_MAX, "{bytes}");

    // The same whether they pass, or are held with numbers in place of the texts.
    for held_readings_bytes_max in [100 << 10, HELD_READINGS_BYTES_MAX] {
        let texts = Bounds { held_bytes_max: 8 << 20, held_readings_bytes_max, ..days.clone() };
        let emails = |person| format!("person.{person}@test.com{:4096}", "");
        let readings = (0..LONG_READINGS).map(|k| (k % PEOPLE, FIRST_MS + k));
        let (bytes, objects) = taken(texts, emails, readings);
        assert_eq!(objects, 1);
        assert!(bytes <= PEAK_BYTES_MAX_OF_TEXTS, "{bytes}");
    }
}
