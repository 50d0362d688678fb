//! Whether an object is held or passes in pieces shows neither in the rows nor, however its bytes
//! were cut, in a byte of what is derived.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use bytes::Bytes;
use chain::FunctionName;
use futures::StreamExt;
use lake::catalog::StoreCatalog;
use lake::events::{object_event, sqs_batch};
use lake::key::{ETag, LakeKey, ObjectKey, Parts};
use lake::lake::{Bounds, Lake};
use lake::policy::{Consent, Pairing, Policies};
use lake::store::{
    ByteRange, MemoryStore, Object, ObjectMeta, ObjectStream, Page, Precondition, Store,
    StoreError, Upload,
};
use serde_json::{Value, json};
use simulator::table::{Derived, Row};

const FIRST_MS: i64 = 1_687_046_400_000;
const DAY_MS: i64 = 86_400_000;
const PEOPLE: i64 = 5;

/// A store in memory whose objects arrive in chunks of so many bytes.
struct Chunked {
    store: MemoryStore,
    chunk_bytes: usize,
}

#[async_trait]
impl Store for Chunked {
    async fn head(&self, key: &ObjectKey) -> Result<Option<ObjectMeta>, StoreError> {
        self.store.head(key).await
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> Result<Option<Object>, StoreError> {
        self.store.get(key, range).await
    }

    async fn stream(&self, key: &ObjectKey) -> Result<Option<ObjectStream>, StoreError> {
        let object = self.store.get(key, ByteRange::All).await?;
        Ok(object.map(|Object { meta, bytes }| {
            let chunks = bytes.chunks(self.chunk_bytes).map(Bytes::copy_from_slice);
            let chunks: Vec<_> = chunks.map(Ok).collect();
            ObjectStream { meta, chunks: futures::stream::iter(chunks).boxed() }
        }))
    }

    async fn put(
        &self,
        key: &ObjectKey,
        bytes: Bytes,
        when: Precondition,
    ) -> Result<ETag, StoreError> {
        self.store.put(key, bytes, when).await
    }

    async fn upload(&self, key: &ObjectKey) -> Result<Box<dyn Upload>, StoreError> {
        self.store.upload(key).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.store.delete(key).await
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Page, StoreError> {
        self.store.list(prefix, after).await
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return done;
        }
    }
}

fn lines(records: impl Iterator<Item = Value>) -> Bytes {
    records.map(|record| format!("{record}\n")).collect::<String>().into()
}

/// A feed of each kind: three days, in no order of time, with a fragment here and there.
fn feeds() -> [(&'static str, Bytes); 3] {
    let customers = (0..PEOPLE).map(|person| {
        json!({
            "email": format!("{person}@test.com"),
            "serialNumber": format!("D-{person}"),
            "registrationDate": FIRST_MS,
            "shareWithResearchAsOfDate": (person % 3 != 0).then_some(FIRST_MS + DAY_MS / 2),
        })
    });
    let times = || (0..900_i64).map(|k| (k % PEOPLE, FIRST_MS + k * 7_919 % 300 * DAY_MS / 100));
    let motions = times().map(|(person, time_ms)| {
        let user =
            if time_ms % 11 == 0 { json!(null) } else { json!(format!("{person}@test.com")) };
        json!({"user": user, "timestamp": time_ms, "x": 0.5, "y": time_ms % 3, "z": null})
    });
    let steps = times().map(|(person, time_ms)| {
        let distance = if time_ms % 13 == 0 { -1 } else { time_ms % 300 };
        json!({
            "sensorReadingTime": time_ms,
            "serialNumber": format!("D-{person}"),
            "distanceFromObject": distance
        })
    });
    [
        ("landing/customer/a.json", lines(customers)),
        ("landing/accelerometer/a.json", lines(motions)),
        ("landing/step_trainer/a.json", lines(steps)),
    ]
}

type Objects = BTreeMap<ObjectKey, (ETag, Bytes)>;

/// What is derived from the feeds.
fn derived(policies: Policies, bounds: &Bounds, chunk_bytes: usize) -> Objects {
    let store = MemoryStore::default();
    for (key, bytes) in feeds() {
        block_on(store.put(&ObjectKey::new(key), bytes, Precondition::None)).unwrap();
    }
    let catalog = Arc::new(StoreCatalog::new(Arc::new(MemoryStore::default())));
    let key = LakeKey::new(b"a secret of the passes").unwrap();
    let chunked = Arc::new(Chunked { store: store.clone(), chunk_bytes });
    let parts = Parts::try_from(2).unwrap();
    let mut lake = block_on(Lake::open(chunked, catalog, key, parts, policies)).unwrap();
    lake.bounds = bounds.clone();
    for function in FunctionName::ALL {
        while let unfinished = block_on(function.unfinished(&lake)).unwrap()
            && !unfinished.is_empty()
        {
            let events = unfinished.iter().enumerate();
            let events: Vec<_> =
                events.map(|(id, key)| (id.to_string(), object_event("b", key, true))).collect();
            let event = sqs_batch(events.iter().map(|(id, event)| (id.as_str(), event)));
            let outcome = block_on(function.invoke(&lake, &event)).unwrap();
            assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
        }
    }
    let zones = ["trusted/", "curated/", "quarantine/"];
    let mut objects = store.snapshot();
    objects.retain(|key, _| zones.iter().any(|zone| key.after(zone).is_some()));
    objects
}

fn rows(objects: &Objects) -> BTreeMap<ObjectKey, Vec<Row>> {
    let tables = objects.iter().filter(|(key, _)| key.as_str().ends_with(".parquet"));
    tables.map(|(key, (_, bytes))| (key.clone(), Derived::read(bytes.clone()).rows)).collect()
}

fn row_groups(objects: &Objects) -> usize {
    use parquet::file::reader::FileReader;
    use parquet::file::serialized_reader::SerializedFileReader;
    let tables = objects.iter().filter(|(key, _)| key.as_str().ends_with(".parquet"));
    let groups = tables.map(|(_, (_, bytes))| {
        SerializedFileReader::new(bytes.clone()).unwrap().metadata().num_row_groups()
    });
    groups.max().unwrap_or(0)
}

#[test]
fn neither_bounds_nor_chunks_show_in_the_tables() {
    for (consent, pairing) in
        [(Consent::Any, Pairing::Timestamp), (Consent::AsOf, Pairing::Customer)]
    {
        let policies = Policies { consent, pairing, ..Policies::default() };
        let held = derived(policies, &Bounds::default(), usize::MAX);
        assert_eq!(row_groups(&held), 1);
        assert!(rows(&held).values().map(Vec::len).sum::<usize>() > 500);
        // Also where what was written as it passed is small: row groups that repeat well.
        let small = Bounds::default().small_bytes_max;
        for (held_bytes_max, piece_bytes, small_bytes_max) in
            [(4_000, 1_000, 200), (600, 1, 200), (4_000, 1_000, small)]
        {
            let bounds = Bounds {
                small_bytes_max,
                held_bytes_max,
                open_bytes_max: 1,
                piece_bytes,
                ..Bounds::default()
            };
            let passed = derived(policies, &bounds, usize::MAX);
            assert!(row_groups(&passed) > 3, "it does not pass");
            let (passed_rows, held_rows) = (rows(&passed), rows(&held));
            let differs = held_rows.keys().find(|key| passed_rows.get(*key) != held_rows.get(*key));
            assert_eq!(differs, None, "{bounds:?}");
            assert_eq!(passed_rows.len(), held_rows.len(), "{bounds:?}");
            for chunk_bytes in [1, 61, 4_096] {
                let again = derived(policies, &bounds, chunk_bytes);
                assert!(again == passed, "chunks of {chunk_bytes} bytes show, {bounds:?}");
            }
        }
    }
}
