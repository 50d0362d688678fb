//! What one changed customer costs does not grow with what does not hold them.
//!
//! The calls of the store are counted while one withdrawal, and then one consent, goes through the
//! chain: in a lake of 100 landing objects and in one of 10,000.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
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
    written: BTreeSet<ObjectKey>,
    read: BTreeSet<ObjectKey>,
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
        self.count("head").read.insert(key.clone());
        self.store.head(key).await
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> Result<Option<Object>, StoreError> {
        self.count("get").read.insert(key.clone());
        self.store.get(key, range).await
    }

    async fn stream(&self, key: &ObjectKey) -> Result<Option<ObjectStream>, StoreError> {
        self.count("get").read.insert(key.clone());
        self.store.stream(key).await
    }

    async fn put(
        &self,
        key: &ObjectKey,
        bytes: Bytes,
        when: Precondition,
    ) -> Result<ETag, StoreError> {
        self.count("put").written.insert(key.clone());
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
        drop(self.store.count("upload"));
        self.upload.write(bytes).await
    }

    async fn complete(self: Box<Self>, when: Precondition) -> Result<ETag, StoreError> {
        self.store.count("put").written.insert(self.key.clone());
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
fn lake_of(objects: usize, spread: Spread) -> Chain {
    let chain = Chain::new();
    for customer in 0..CUSTOMERS {
        // Every other customer never consented: their objects are without rows.
        let research_ms = (customer.is_multiple_of(2)).then_some(FIRST_MS);
        chain.customer(customer, FIRST_MS + 1, research_ms);
    }
    for object in 0..objects / 2 {
        let mine = [10, 30].contains(&object);
        let customer = if mine { 0 } else { 1 + object % (CUSTOMERS - 1) };
        let day = match spread {
            Spread::ADay(objects) => object / objects,
            Spread::OneDay => 0,
        };
        let begun_ms = FIRST_MS + day as i64 * DAY_MS + (object % 7_000) as i64 * 1_000;
        let times = [begun_ms, begun_ms + 500];
        let motions = times.map(|time_ms| json!({"user": email(customer), "timestamp": time_ms}));
        chain.land(&format!("landing/accelerometer/{object}.json"), &motions);
        let steps = times.map(|time_ms| {
            let serial = format!("D-{customer}");
            json!({"sensorReadingTime": time_ms, "serialNumber": serial, "distanceFromObject": 1})
        });
        chain.land(&format!("landing/step_trainer/{object}.json"), &steps);
    }
    chain.come_to_rest();
    chain
}

/// The cost of a withdrawal and of a later consent.
fn costs(objects: usize, spread: Spread) -> [Counts; 2] {
    let chain = lake_of(objects, spread);
    let withdrawal = chain.counted(|| chain.customer(0, FIRST_MS + 2, None));
    let consent = chain.counted(|| chain.customer(0, FIRST_MS + 3, Some(FIRST_MS)));
    println!("{objects} objects, {spread:?}");
    println!(
        "  withdrawal: {:?}, {} objects read, {} written",
        withdrawal.calls,
        withdrawal.read.len(),
        withdrawal.written.len()
    );
    println!(
        "  consent: {:?}, {} objects read, {} written",
        consent.calls,
        consent.read.len(),
        consent.written.len()
    );
    [withdrawal, consent]
}

#[test]
fn one_changed_customer_costs_the_same_in_a_lake_of_a_hundred_times_the_objects() {
    let small = costs(100, Spread::ADay(25));
    let large = costs(10_000, Spread::ADay(25));
    for (small, large) in small.iter().zip(&large) {
        assert_eq!(small.written, large.written);
        assert_eq!(small.read, large.read);
        assert_eq!(small.calls, large.calls);
    }
}

/// The worst case: everything is on the day of the changed customer's readings. The listings of
/// the day have more pages; no other object is read or written.
#[test]
fn one_changed_customer_costs_the_same_on_a_day_of_thirty_times_the_objects() {
    let small = costs(100, Spread::OneDay);
    let large = costs(3_000, Spread::OneDay);
    for (small, large) in small.iter().zip(&large) {
        assert_eq!(small.written, large.written);
        assert_eq!(small.read, large.read);
        for call in ["get", "head", "put", "delete"] {
            assert_eq!(small.calls.get(call), large.calls.get(call), "{call}");
        }
    }
}
