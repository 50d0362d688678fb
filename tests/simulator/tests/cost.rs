//! What one change costs does not grow with what it does not affect.
//!
//! The calls of the store, and the bytes they read and write, are counted while one change after
//! another goes through the chain: in a lake of 100 landing objects and in larger ones, with no
//! document in memory.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use bytes::Bytes;
use chain::{FunctionName, Routes};
use lake::catalog::StoreCatalog;
use lake::events::{object_event, sqs_batch};
use lake::key::{ETag, LakeKey, ObjectKey, Parts};
use lake::lake::Lake;
use lake::policy::Policies;
use lake::store::{
    ByteRange, MemoryStore, Object, ObjectMeta, ObjectStream, Page, Precondition, Store,
    StoreError, Upload,
};
use serde_json::json;

const DAY_MS: i64 = 86_400_000;
const FIRST_MS: i64 = 1_600_000_000_000;
const CUSTOMERS: usize = 16;

/// Calls by kind, and every object written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Counts {
    calls: BTreeMap<&'static str, usize>,
    read_bytes: usize,
    written_bytes: usize,
}

impl Counts {
    fn calls(&self) -> usize {
        self.calls.values().sum()
    }
}

/// A store in memory that counts.
#[derive(Clone)]
struct Counting {
    store: MemoryStore,
    counts: Arc<Mutex<Counts>>,
    changed: Arc<Mutex<VecDeque<(ObjectKey, bool)>>>,
}

impl Counting {
    fn count(&self, call: &'static str) -> std::sync::MutexGuard<'_, Counts> {
        let mut counts = self.counts.lock().unwrap();
        *counts.calls.entry(call).or_default() += 1;
        counts
    }
}

#[async_trait]
impl Store for Counting {
    async fn head(&self, key: &ObjectKey) -> Result<Option<ObjectMeta>, StoreError> {
        drop(self.count("head"));
        self.store.head(key).await
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> Result<Option<Object>, StoreError> {
        let object = self.store.get(key, range).await?;
        self.count("get").read_bytes += object.as_ref().map_or(0, |object| object.bytes.len());
        Ok(object)
    }

    async fn stream(&self, key: &ObjectKey) -> Result<Option<ObjectStream>, StoreError> {
        let object = self.store.stream(key).await?;
        let size = object.as_ref().map_or(0, |object| object.meta.size_bytes);
        self.count("get").read_bytes += size as usize;
        Ok(object)
    }

    async fn put(
        &self,
        key: &ObjectKey,
        bytes: Bytes,
        when: Precondition,
    ) -> Result<ETag, StoreError> {
        self.count("put").written_bytes += bytes.len();
        let etag = self.store.put(key, bytes, when).await?;
        self.changed.lock().unwrap().push_back((key.clone(), true));
        Ok(etag)
    }

    async fn upload(&self, key: &ObjectKey) -> Result<Box<dyn Upload>, StoreError> {
        drop(self.count("upload"));
        let upload = self.store.upload(key).await?;
        Ok(Box::new(CountingUpload { store: self.clone(), key: key.clone(), upload }))
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        drop(self.count("delete"));
        self.store.delete(key).await?;
        self.changed.lock().unwrap().push_back((key.clone(), false));
        Ok(())
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Page, StoreError> {
        drop(self.count("list"));
        self.store.list(prefix, after).await
    }
}

/// An upload that counts as a put once it is complete.
struct CountingUpload {
    store: Counting,
    key: ObjectKey,
    upload: Box<dyn Upload>,
}

#[async_trait]
impl Upload for CountingUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        self.store.count("upload").written_bytes += bytes.len();
        self.upload.write(bytes).await
    }

    async fn complete(self: Box<Self>, when: Precondition) -> Result<ETag, StoreError> {
        drop(self.store.count("put"));
        let etag = self.upload.complete(when).await?;
        self.store.changed.lock().unwrap().push_back((self.key, true));
        Ok(etag)
    }

    async fn abort(self: Box<Self>) -> Result<(), StoreError> {
        self.upload.abort().await
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

struct Chain {
    store: Arc<Counting>,
    catalog: Arc<MemoryStore>,
    routes: Routes,
}

impl Chain {
    fn new() -> Self {
        let store = Counting {
            store: MemoryStore::default(),
            counts: Arc::default(),
            changed: Arc::default(),
        };
        let routes = Routes::deployed().unwrap();
        Self { store: Arc::new(store), catalog: Arc::default(), routes }
    }

    fn lake(&self) -> Lake {
        let store: Arc<dyn Store> = self.store.clone();
        let catalog = Arc::new(StoreCatalog::new(self.catalog.clone()));
        let key = LakeKey::new(b"a secret of the cost test").unwrap();
        let parts = Parts::try_from(16).unwrap();
        block_on(Lake::open(store, catalog, key, parts, Policies::default())).unwrap()
    }

    fn land(&self, key: &str, records: &[serde_json::Value]) {
        let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
        let key = ObjectKey::new(key);
        block_on(self.store.put(&key, lines.into(), Precondition::None)).unwrap();
    }

    /// Delivers what waits, in batches of ten, until nothing does.
    fn come_to_rest(&self) {
        let lake = self.lake();
        let mut queues: BTreeMap<FunctionName, VecDeque<(ObjectKey, bool)>> = BTreeMap::new();
        loop {
            for (key, created) in self.store.changed.lock().unwrap().drain(..) {
                for function in self.routes.woken_by(&key) {
                    queues.entry(function).or_default().push_back((key.clone(), created));
                }
            }
            let next = queues.iter_mut().find(|(_, queue)| !queue.is_empty());
            let Some((function, queue)) = next else { return };
            let batch: Vec<_> = (0..10).map_while(|_| queue.pop_front()).collect();
            let events: Vec<_> = batch
                .iter()
                .enumerate()
                .map(|(id, (key, created))| (id.to_string(), object_event("b", key, *created)))
                .collect();
            let event = sqs_batch(events.iter().map(|(id, event)| (id.as_str(), event)));
            let outcome = block_on(function.invoke(&lake, &event)).unwrap();
            assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
        }
    }

    fn customer(&self, customer: usize, updated_ms: i64, research_ms: Option<i64>) {
        let record = json!({
            "email": email(customer),
            "serialNumber": format!("D-{customer}"),
            "registrationDate": FIRST_MS,
            "lastUpdateDate": updated_ms,
            "shareWithResearchAsOfDate": research_ms,
        });
        self.land(&format!("landing/customer/{customer}-{updated_ms}.json"), &[record]);
    }

    /// What it takes to bring the chain to rest, with no document in memory.
    fn counted(&self, change: impl FnOnce()) -> Counts {
        change();
        *self.store.counts.lock().unwrap() = Counts::default();
        self.come_to_rest();
        self.store.counts.lock().unwrap().clone()
    }

    /// Two readings of each sensor, at that time.
    fn readings(&self, name: &str, customer: usize, begun_ms: i64) {
        let times = [begun_ms, begun_ms + 500];
        let motions = times.map(|time_ms| json!({"user": email(customer), "timestamp": time_ms}));
        self.land(&format!("landing/accelerometer/{name}.json"), &motions);
        let steps = times.map(|time_ms| {
            let serial = format!("D-{customer}");
            json!({"sensorReadingTime": time_ms, "serialNumber": serial, "distanceFromObject": 1})
        });
        self.land(&format!("landing/step_trainer/{name}.json"), &steps);
    }
}

fn email(customer: usize) -> String {
    format!("customer.{customer}@test.com")
}

/// How the landing objects lie in time.
#[derive(Clone, Copy, Debug)]
enum Spread {
    /// So many a day, day after day.
    ADay(usize),
    /// All on one day.
    OneDay,
}

/// A lake of so many landing objects, of which four hold customer 0 and the others others.
fn lake_of(objects: usize, customers: usize, spread: Spread) -> Chain {
    let chain = Chain::new();
    for customer in 0..customers {
        // Every other customer never consented: their objects are without rows.
        let research_ms = (customer.is_multiple_of(2)).then_some(FIRST_MS);
        chain.customer(customer, FIRST_MS + 1, research_ms);
    }
    for object in 0..objects / 2 {
        let mine = [10, 30].contains(&object);
        let customer = if mine { 0 } else { 1 + object % (customers - 1) };
        let day = match spread {
            Spread::ADay(objects) => object / objects,
            Spread::OneDay => 0,
        };
        let begun_ms = FIRST_MS + day as i64 * DAY_MS + (object % 7_000) as i64 * 1_000;
        chain.readings(&object.to_string(), customer, begun_ms);
    }
    chain.come_to_rest();
    chain
}

/// What some changes cost, one after another.
fn costs(objects: usize, customers: usize, spread: Spread) -> Vec<(&'static str, Counts)> {
    let chain = lake_of(objects, customers, spread);
    println!("{objects} objects, {customers} customers, {spread:?}");
    let mut costs = Vec::new();
    let mut count = |name, change: &dyn Fn()| {
        let counts = chain.counted(change);
        let Counts { calls, read_bytes, written_bytes } = &counts;
        let all = counts.calls();
        println!("  {name}: {all} {calls:?}, {read_bytes} bytes read, {written_bytes} written");
        costs.push((name, counts));
    };
    count("readings of a customer", &|| chain.readings("more", 2, FIRST_MS + 9_999_000));
    count("a customer", &|| chain.customer(customers, FIRST_MS + 2, Some(FIRST_MS)));
    count("a withdrawal", &|| chain.customer(0, FIRST_MS + 2, None));
    count("a later consent", &|| chain.customer(0, FIRST_MS + 3, Some(FIRST_MS)));
    costs
}

/// The large lake against the small one.
fn is_flat(small: &[(&str, Counts)], large: &[(&str, Counts)]) {
    // Of a lookup: a run that was read whole when it was small is looked into.
    const LOOKUPS: usize = 4;
    const READ_BYTES: usize = 64 << 10;
    for ((name, small), (_, large)) in small.iter().zip(large) {
        assert!(10 * large.calls() <= 12 * small.calls(), "{name}: {small:?}, {large:?}");
        assert_eq!(large.written_bytes, small.written_bytes, "{name}");
        let read_max = small.read_bytes + LOOKUPS * READ_BYTES;
        assert!(large.read_bytes <= read_max, "{name}: {small:?}, {large:?}");
    }
    let (_, small) = &small[0];
    let (_, large) = &large[0];
    assert_eq!(small, large, "readings of somebody with a witness look nobody up");
}

#[test]
fn one_change_costs_the_same_in_a_lake_of_a_hundred_times_the_objects() {
    let small = costs(100, CUSTOMERS, Spread::ADay(25));
    is_flat(&small, &costs(1_000, CUSTOMERS, Spread::ADay(25)));
    is_flat(&small, &costs(10_000, CUSTOMERS, Spread::ADay(25)));
}

/// The worst case: everything is on the day of the changed customer's readings. The listings of
/// the day have more pages.
#[test]
fn one_change_costs_the_same_on_a_day_of_thirty_times_the_objects() {
    let small = costs(100, CUSTOMERS, Spread::OneDay);
    let large = costs(3_000, CUSTOMERS, Spread::OneDay);
    for ((name, small), (_, large)) in small.iter().zip(&large) {
        let mut unlisted = large.clone();
        let lists = small.calls.get("list").copied().unwrap_or_default();
        unlisted.calls.insert("list", lists);
        assert!(10 * unlisted.calls() <= 12 * small.calls(), "{name}: {small:?}, {large:?}");
        assert_eq!(large.written_bytes, small.written_bytes, "{name}");
    }
}

/// Readings of one customer look up one in each register, however many there are.
#[test]
fn readings_cost_the_same_among_a_hundred_times_the_customers() {
    let of = |customers| costs(200, customers, Spread::ADay(25)).swap_remove(0).1;
    let (few, many) = (of(100), of(10_000));
    assert!(10 * many.calls() <= 12 * few.calls(), "{few:?}, {many:?}");
    assert_eq!(many.written_bytes, few.written_bytes);
    assert!(many.read_bytes <= few.read_bytes + (128 << 10), "{few:?}, {many:?}");
}
