//! What a change costs: the chain as deployed, over a store in memory that counts.
//!
//! A lake is built once, in bulk; then one change after another goes through the chain, each with no
//! document of the lake in memory, and the calls of the store and the bytes they read and write are
//! counted. Instructions are counted by whoever runs [`Chain::come_to_rest`] under a profiler: what
//! the store itself does is behind `apart`. With a [clock](Chain::with_clock) it is counted, too, how
//! many calls are waited for one after the other: of an invocation in Lambda that is most of the time.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::future::Future;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chain::{FunctionName, woken_by};
use lake::catalog::StoreCatalog;
use lake::events::{Ask, Message, object_event, sqs_batch};
use lake::key::{ETag, LakeKey, ObjectKey, Parts};
use lake::lake::Lake;
use lake::layout::{self, ReadingDate};
use lake::policy::Policies;
use lake::store::{
    ByteRange, MemoryStore, Object, ObjectMeta, ObjectStream, Page, Precondition, Store,
    StoreError, Upload,
};
use lake::tables::{ACCELEROMETER_TRUSTED, MACHINE_LEARNING_CURATED, STEP_TRAINER_TRUSTED};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, sleep};

const DAY_MS: i64 = 86_400_000;
/// When people registered and consented; readings follow.
pub const FIRST_MS: i64 = 1_600_000_000_000;
/// Messages of an invocation, as the template has it.
const BATCH: usize = 10;
/// What a call takes on the clock by which waits are counted.
const CALL: Duration = Duration::from_secs(1);

/// Calls by kind, and bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls of the store.
    pub calls: BTreeMap<&'static str, usize>,
    /// Calls of the catalog, as far as a catalog in a store makes as many as one of Glue's.
    pub catalog_calls: usize,
    /// Invocations of functions.
    pub invocations: usize,
    /// Calls of the store and the catalog that are waited for one after the other, where a clock counts
    /// them: calls that go on at the same time are one.
    pub waits: usize,
    /// Bytes of what was read.
    pub read_bytes: usize,
    /// Bytes of what was written.
    pub written_bytes: usize,
}

impl Counts {
    /// Calls of every kind.
    pub fn calls(&self) -> usize {
        self.calls.values().sum()
    }

    fn add(&mut self, other: &Self) {
        for (call, count) in &other.calls {
            *self.calls.entry(call).or_default() += count;
        }
        self.catalog_calls += other.catalog_calls;
        self.invocations += other.invocations;
        self.waits += other.waits;
        self.read_bytes += other.read_bytes;
        self.written_bytes += other.written_bytes;
    }
}

/// What the store does, and not the lake, while that is measured: a profiler that counts from where the
/// measured function begins leaves it out by the name of this one.
#[inline(never)]
fn apart<T>(call: impl Future<Output = T>) -> T {
    block_on(call)
}

/// Runs what never waits.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return done;
        }
    }
}

/// A store in memory that counts, and says what changed in it.
#[derive(Clone, Default)]
struct Counting {
    store: MemoryStore,
    counts: Arc<Mutex<Counts>>,
    changed: Arc<Mutex<VecDeque<(ObjectKey, bool)>>>,
    /// Whether a profiler is counting, which the name of [`apart`] would have count elsewhere.
    is_measured: Arc<AtomicBool>,
    /// Whether a call takes its time.
    takes_time: Arc<AtomicBool>,
}

impl Counting {
    /// What a call takes.
    async fn wait(&self) {
        if self.takes_time.load(Ordering::Relaxed) {
            sleep(CALL).await;
        }
    }

    /// Has the store do something.
    fn of_store<T>(&self, call: impl Future<Output = T>) -> T {
        if self.is_measured.load(Ordering::Relaxed) { apart(call) } else { block_on(call) }
    }

    fn over(store: MemoryStore) -> Self {
        Self { store, ..Self::default() }
    }

    fn count(&self, call: &'static str) -> std::sync::MutexGuard<'_, Counts> {
        let mut counts = self.counts.lock().expect("one thread");
        *counts.calls.entry(call).or_default() += 1;
        counts
    }

    fn changed(&self, key: &ObjectKey, is_there: bool) {
        self.changed.lock().expect("one thread").push_back((key.clone(), is_there));
    }
}

#[async_trait]
impl Store for Counting {
    async fn head(&self, key: &ObjectKey) -> Result<Option<ObjectMeta>, StoreError> {
        self.wait().await;
        drop(self.count("head"));
        self.of_store(self.store.head(key))
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> Result<Option<Object>, StoreError> {
        self.wait().await;
        let got = async {
            let mut object = self.store.get(key, range).await?;
            // Nobody else has its bytes in memory, as nobody has those of S3.
            if let Some(object) = &mut object {
                object.bytes = Bytes::copy_from_slice(&object.bytes);
            }
            Ok(object)
        };
        let object = self.of_store(got)?;
        self.count("get").read_bytes += object.as_ref().map_or(0, |object| object.bytes.len());
        Ok(object)
    }

    async fn stream(&self, key: &ObjectKey) -> Result<Option<ObjectStream>, StoreError> {
        self.wait().await;
        let object = self.of_store(self.store.stream(key))?;
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
        self.wait().await;
        self.count("put").written_bytes += bytes.len();
        let etag = self.of_store(self.store.put(key, bytes, when))?;
        self.changed(key, true);
        Ok(etag)
    }

    async fn upload(&self, key: &ObjectKey) -> Result<Box<dyn Upload>, StoreError> {
        self.wait().await;
        drop(self.count("upload"));
        let upload = self.store.upload(key).await?;
        Ok(Box::new(CountingUpload { store: self.clone(), key: key.clone(), upload }))
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.wait().await;
        drop(self.count("delete"));
        self.of_store(self.store.delete(key))?;
        self.changed(key, false);
        Ok(())
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Page, StoreError> {
        self.wait().await;
        drop(self.count("list"));
        let listed = async {
            let mut page = self.store.list(prefix, after).await?;
            // They are nobody else's, as those of S3 are.
            for object in &mut page.objects {
                object.key = ObjectKey::new(object.key.as_str());
                object.etag = ETag::new(object.etag.as_str());
            }
            Ok(page)
        };
        self.of_store(listed)
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
        self.store.wait().await;
        self.store.count("upload").written_bytes += bytes.len();
        self.store.of_store(self.upload.write(bytes))
    }

    async fn complete(self: Box<Self>, when: Precondition) -> Result<ETag, StoreError> {
        self.store.wait().await;
        drop(self.store.count("put"));
        let etag = self.store.of_store(self.upload.complete(when))?;
        self.store.changed(&self.key, true);
        Ok(etag)
    }

    async fn abort(self: Box<Self>) -> Result<(), StoreError> {
        self.upload.abort().await
    }
}

/// How the landing objects lie in time.
#[derive(Clone, Copy, Debug)]
pub enum Spread {
    /// So many of each sensor a day, day after day.
    ADay(usize),
    /// All on one day.
    OneDay,
}

/// The size of a lake.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Landing objects of readings, half of them of each sensor.
    pub objects: usize,
    /// Customers, of whom every other one consents.
    pub customers: usize,
    /// Parts of the registers.
    pub parts: Parts,
    /// How the landing objects lie in time.
    pub spread: Spread,
}

impl Size {
    /// When the readings of a pair of landing objects begin.
    fn begun_ms(self, pair: usize) -> i64 {
        let day = match self.spread {
            Spread::ADay(objects) => pair / objects,
            Spread::OneDay => 0,
        };
        FIRST_MS + day as i64 * DAY_MS + (pair % 7_000) as i64 * 1_000
    }
}

/// The chain over a lake in memory.
pub struct Chain {
    store: Arc<Counting>,
    catalog: Arc<Counting>,
    parts: Parts,
    clock: Option<Clock>,
}

/// A clock that goes on whenever everybody waits for a call.
struct Clock {
    runtime: Runtime,
    began: Instant,
}

impl Clock {
    /// How many calls have been waited for, one after the other.
    fn waited(&self) -> usize {
        let waited = self.runtime.block_on(async { self.began.elapsed() });
        (waited.as_secs() / CALL.as_secs()) as usize
    }
}

impl Chain {
    /// The chain over an empty store.
    pub fn new(parts: Parts) -> Self {
        Self::over(parts, MemoryStore::default(), MemoryStore::default())
    }

    fn over(parts: Parts, store: MemoryStore, catalog: MemoryStore) -> Self {
        Self {
            store: Arc::new(Counting::over(store)),
            catalog: Arc::new(Counting::over(catalog)),
            parts,
            clock: None,
        }
    }

    /// The same chain with a clock by which waits are counted.
    pub fn with_clock(self) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build()?;
        let began = runtime.block_on(async { Instant::now() });
        Ok(Self { clock: Some(Clock { runtime, began }), ..self })
    }

    fn run<T>(&self, work: impl Future<Output = T>) -> T {
        match &self.clock {
            Some(clock) => clock.runtime.block_on(work),
            None => block_on(work),
        }
    }

    /// Opens the lake, with none of its documents in memory.
    pub fn lake(&self) -> Lake {
        let store: Arc<dyn Store> = self.store.clone();
        let catalog = Arc::new(StoreCatalog::new(self.catalog.clone()));
        let key = LakeKey::new(b"a secret of the cost test").expect("it is long enough");
        let opened = Lake::open(store, catalog, key, self.parts, Policies::default());
        self.run(opened).expect("a lake")
    }

    /// Puts records into the landing zone.
    pub fn land(&self, key: &str, records: impl IntoIterator<Item = Value>) {
        let lines: String = records.into_iter().map(|record| format!("{record}\n")).collect();
        let key = ObjectKey::new(key);
        self.run(self.store.put(&key, lines.into(), Precondition::None)).expect("it is in memory");
    }

    /// Delivers what waits, so many messages at a time, until nothing does.
    fn work_off(&self, lake: &Lake, at_once: usize) {
        let mut queues: BTreeMap<FunctionName, VecDeque<(ObjectKey, bool)>> = BTreeMap::new();
        loop {
            for (key, is_there) in self.store.changed.lock().expect("one thread").drain(..) {
                for function in woken_by(&key) {
                    queues.entry(function).or_default().push_back((key.clone(), is_there));
                }
            }
            let next = queues.iter_mut().find(|(_, queue)| !queue.is_empty());
            let Some((function, queue)) = next else { return };
            let batch: Vec<_> = (0..at_once).map_while(|_| queue.pop_front()).collect();
            let events: Vec<_> = batch
                .iter()
                .enumerate()
                .map(|(id, (key, is_there))| (id.to_string(), object_event("b", key, *is_there)))
                .collect();
            let event = sqs_batch(events.iter().map(|(id, event)| (id.as_str(), event, 0)));
            let outcome = self.run(function.invoke(lake, &event)).expect("an event");
            assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
            self.store.counts.lock().expect("one thread").invocations += 1;
        }
    }

    /// Brings the chain to rest, with no document in memory.
    #[inline(never)]
    pub fn come_to_rest(&self) {
        self.come_to_rest_in(BATCH);
    }

    /// The same, so many messages at a time.
    pub fn come_to_rest_in(&self, at_once: usize) {
        self.work_off(&self.lake(), at_once);
    }

    /// Brings the chain to rest with much room and large batches, as a bulk load does.
    fn build_up(&self) {
        let mut lake = self.lake();
        lake.bounds.cache_bytes_max = 1 << 30;
        lake.bounds.open_bytes_max = 4 << 30;
        self.work_off(&lake, 1_000);
    }

    /// Has every function compare all there is, as its schedule does, each with no document in
    /// memory. Nothing may be found.
    #[inline(never)]
    pub fn compare(&self) {
        for function in FunctionName::ALL {
            let ask =
                Message { ask: Ok(Ask::Reconcile { time_ms: None }), ..Message::to_look_at(&[]) };
            let outcome = self.run(function.invoke_messages(&self.lake(), vec![ask]));
            assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
            assert_eq!(outcome.report.unfinished, 0, "{}", function.as_str());
            self.store.counts.lock().expect("one thread").invocations += 1;
        }
    }

    /// Compacts a date of every table, with no document in memory.
    #[inline(never)]
    pub fn compact(&self, date: ReadingDate) {
        let tables = [&ACCELEROMETER_TRUSTED, &STEP_TRAINER_TRUSTED, &MACHINE_LEARNING_CURATED];
        let keys =
            tables.map(|table| ObjectKey::new(layout::day(&layout::compacted(table.name), date)));
        let function = FunctionName::ReadingsCompacted;
        for key in keys {
            let ask = Message::to_look_at(&[key]);
            let outcome = self.run(function.invoke_messages(&self.lake(), vec![ask]));
            assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
            self.store.counts.lock().expect("one thread").invocations += 1;
        }
    }

    /// What some work takes.
    pub fn counted(&self, work: impl FnOnce(&Self)) -> Counts {
        let (counts, of_catalog) = (&self.store.counts, &self.catalog.counts);
        *counts.lock().expect("one thread") = Counts::default();
        *of_catalog.lock().expect("one thread") = Counts::default();
        let measure = |is_measured| {
            for store in [&self.store, &self.catalog] {
                store.is_measured.store(is_measured, Ordering::Relaxed);
                store.takes_time.store(is_measured && self.clock.is_some(), Ordering::Relaxed);
            }
        };
        let waited = || self.clock.as_ref().map_or(0, Clock::waited);
        let before = waited();
        measure(true);
        work(self);
        measure(false);
        let waits = waited() - before;
        let catalog_calls = of_catalog.lock().expect("one thread").calls();
        Counts { catalog_calls, waits, ..counts.lock().expect("one thread").clone() }
    }

    /// A new record of a customer, delivered by itself.
    pub fn customer(&self, customer: usize, updated_ms: i64, research_ms: Option<i64>) {
        let key = format!("landing/customer/{customer}-{updated_ms}.json");
        self.land(&key, [record(customer, updated_ms, research_ms)]);
    }

    /// Two readings of each sensor of each of some customers, one customer's after the other's.
    pub fn readings(&self, name: &str, customers: impl Iterator<Item = usize>, begun_ms: i64) {
        let readings = two_of_each(customers, begun_ms);
        self.motions(name, &readings);
        self.steps(name, &readings);
    }

    /// A landing object of the accelerometer, with readings of these customers at these times.
    pub fn motions(&self, name: &str, readings: &[(usize, i64)]) {
        let motions = readings.iter().map(|(customer, time_ms)| {
            json!({"user": email(*customer), "timestamp": time_ms, "x": 0.5, "y": -1.5, "z": 0.25})
        });
        self.land(&format!("landing/accelerometer/{name}.json"), motions);
    }

    /// A landing object of the step trainer, with readings of these customers at these times.
    fn steps(&self, name: &str, readings: &[(usize, i64)]) {
        let steps = readings.iter().map(|(customer, time_ms)| {
            let serial = serial_number(*customer);
            json!({"sensorReadingTime": time_ms, "serialNumber": serial, "distanceFromObject": 1})
        });
        self.land(&format!("landing/step_trainer/{name}.json"), steps);
    }

    /// Writes the lake and its catalog into a file, to be opened by another process.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        let stores = [&self.store, &self.catalog].map(|store| store.store.snapshot());
        for objects in &stores {
            writeln!(file, "{} {}", u16::from(self.parts), objects.len())?;
            for (key, (etag, bytes)) in objects {
                writeln!(file, "{} {} {key}", etag.as_str(), bytes.len())?;
            }
        }
        for (_, bytes) in stores.iter().flat_map(BTreeMap::values) {
            file.write_all(bytes)?;
        }
        file.flush()
    }

    /// Opens what was [saved](Self::save).
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut bytes = Vec::new();
        File::open(path)?.read_to_end(&mut bytes)?;
        let file = Bytes::from(bytes);
        Self::read(&file).ok_or_else(|| io::Error::other("it is no lake that was saved here"))
    }

    fn read(file: &Bytes) -> Option<Self> {
        let mut at = 0;
        let mut line = || {
            let length = file[at..].iter().position(|byte| *byte == b'\n')?;
            let line = std::str::from_utf8(&file[at..at + length]).ok()?;
            at += length + 1;
            Some(line)
        };
        let mut parts = None;
        let mut indexes = Vec::new();
        for _ in 0..2 {
            let (count, objects) = line()?.split_once(' ')?;
            parts = Some(count.parse().ok()?);
            let mut index = Vec::new();
            for _ in 0..objects.parse().ok()? {
                let mut fields = line()?.splitn(3, ' ');
                let (etag, size, key) = (fields.next()?, fields.next()?, fields.next()?);
                index.push((ObjectKey::new(key), ETag::new(etag), size.parse::<usize>().ok()?));
            }
            indexes.push(index);
        }
        let mut stores = indexes.into_iter().map(|index| {
            let objects = index.into_iter().map(|(key, etag, size)| {
                at += size;
                (key, (etag, file.slice(at - size..at)))
            });
            MemoryStore::of(objects.collect())
        });
        Some(Self::over(parts?, stores.next()?, stores.next()?))
    }
}

/// Two readings of each customer, one customer's after the other's.
fn two_of_each(customers: impl Iterator<Item = usize>, begun_ms: i64) -> Vec<(usize, i64)> {
    const APART_MS: usize = 500;
    customers.flat_map(|customer| [customer; 2]).zip((begun_ms..).step_by(APART_MS)).collect()
}

fn email(customer: usize) -> String {
    format!("customer.{customer}@test.com")
}

fn serial_number(customer: usize) -> String {
    format!("{customer:08}-5a3e-4f6c-9d1b-0c2d4e6f8a90")
}

fn record(customer: usize, updated_ms: i64, research_ms: Option<i64>) -> Value {
    json!({
        "customerName": format!("Customer {customer}"),
        "email": email(customer),
        "phone": format!("801{customer:07}"),
        "birthDay": format!("19{:02}-01-01", customer % 100),
        "serialNumber": serial_number(customer),
        "registrationDate": FIRST_MS,
        "lastUpdateDate": updated_ms,
        "shareWithResearchAsOfDate": research_ms,
        "shareWithPublicAsOfDate": research_ms,
    })
}

/// Customers whose readings are in two pairs of landing objects, in a lake of any size. They
/// consent; they are the even ones below twice as many.
pub const FEW: usize = 16;
/// Customers of the pair of landing objects that holds many. Every other one consents.
pub const MANY: usize = 675;

/// Step trainer objects with rows that an [overlapping](Change::Overlap) object overlaps with in time.
/// As many are without, since every other customer does not consent.
pub const OVERLAPPED: usize = 10;

/// A change whose price is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A landing object of each sensor, with two readings of one customer.
    Readings,
    /// The same with those of [`MANY`] customers.
    Wide,
    /// A landing object of the accelerometer alone.
    Accelerometer,
    /// The same with those of [`MANY`] customers.
    WideAccelerometer,
    /// A landing object of the step trainer alone.
    StepTrainer,
    /// The same with those of [`MANY`] customers.
    WideStepTrainer,
    /// A landing object of the accelerometer, at the time of [`OVERLAPPED`] objects of each sensor that
    /// have rows.
    Overlap,
    /// A record of somebody new, who consents.
    Customer,
    /// A record that takes a consent back: of somebody with four landing objects.
    Withdrawal,
    /// A record that gives it again.
    Consent,
    /// No change: every function compares all there is, after a landing object of each sensor more.
    Comparison,
    /// The same after a record that takes a consent back.
    WithdrawnComparison,
    /// The same after nothing.
    IdleComparison,
    /// No change: the copies of a date are made, which has as many landing objects as any.
    Compaction,
}

impl Change {
    /// In the order in which they can be made.
    pub const ALL: [Self; 14] = [
        Self::Readings,
        Self::Wide,
        Self::Accelerometer,
        Self::WideAccelerometer,
        Self::StepTrainer,
        Self::WideStepTrainer,
        Self::Overlap,
        Self::Customer,
        Self::Withdrawal,
        Self::Consent,
        Self::Comparison,
        Self::WithdrawnComparison,
        Self::IdleComparison,
        Self::Compaction,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Readings => "readings",
            Self::Wide => "wide readings",
            Self::Accelerometer => "accelerometer",
            Self::WideAccelerometer => "wide accelerometer",
            Self::StepTrainer => "step trainer",
            Self::WideStepTrainer => "wide step trainer",
            Self::Overlap => "overlap",
            Self::Customer => "customer",
            Self::Withdrawal => "withdrawal",
            Self::Consent => "consent",
            Self::Comparison => "comparison",
            Self::WithdrawnComparison => "withdrawn comparison",
            Self::IdleComparison => "idle comparison",
            Self::Compaction => "compaction",
        }
    }

    /// What it takes, for the `number`th time of [`FEW`].
    fn price(self, chain: &Chain, size: Size, number: usize) -> Counts {
        if matches!(self, Self::Customer | Self::Withdrawal | Self::Consent) {
            // Readings of others come between such changes: as many runs of the indexes wait to be
            // merged as wait on average, and not as many as happened to when the lake was made.
            let name = format!("between {} {number}", self.name());
            let begun_ms = FIRST_MS + 50 * DAY_MS + number as i64 * 1_000_000;
            chain.readings(&name, many(size.customers).take(1), begun_ms);
            // Not `come_to_rest`, whose instructions are counted.
            chain.work_off(&chain.lake(), BATCH);
        }
        self.make(chain, size, number);
        match self {
            Self::Comparison | Self::WithdrawnComparison | Self::IdleComparison => {
                chain.work_off(&chain.lake(), BATCH);
                chain.counted(Chain::compare)
            }
            Self::Compaction => {
                let date = ReadingDate::of(day_ms(number));
                chain.counted(|chain| chain.compact(date.expect("a date")))
            }
            _ => chain.counted(Chain::come_to_rest),
        }
    }

    /// Makes it, for the `number`th time of [`FEW`].
    fn make(self, chain: &Chain, size: Size, number: usize) {
        assert!(number < FEW, "there are no more of whom that is asked");
        let (few, update_ms) = (2 * number, FIRST_MS + 10);
        // After all others of the day, and one another.
        let begun_ms = FIRST_MS + 9_999_000 + number as i64 * 1_000_000;
        let name = format!("{} {number}", self.name());
        let one = || std::iter::once(few);
        let wide = || many(size.customers);
        match self {
            Self::Readings | Self::Comparison => chain.readings(&name, one(), begun_ms),
            Self::Wide => chain.readings(&name, wide(), begun_ms),
            Self::Accelerometer => chain.motions(&name, &two_of_each(one(), begun_ms)),
            Self::WideAccelerometer => chain.motions(&name, &two_of_each(wide(), begun_ms)),
            Self::StepTrainer => chain.steps(&name, &two_of_each(one(), begun_ms)),
            Self::WideStepTrainer => chain.steps(&name, &two_of_each(wide(), begun_ms)),
            Self::Overlap => {
                let first = match size.spread {
                    Spread::ADay(objects) => (1 + number) * objects,
                    Spread::OneDay => 0,
                };
                let (begun_ms, ended_ms) =
                    (size.begun_ms(first), size.begun_ms(first + 2 * OVERLAPPED - 1));
                chain.motions(&name, &[(few, begun_ms), (few, ended_ms)]);
            }
            Self::Customer => {
                chain.customer(size.customers + number, update_ms, Some(FIRST_MS));
            }
            Self::Withdrawal | Self::WithdrawnComparison => {
                chain.customer(few, update_ms, None);
            }
            Self::Consent => chain.customer(few, update_ms + 1, Some(FIRST_MS)),
            Self::IdleComparison | Self::Compaction => {}
        }
    }
}

/// When one of the later days begins.
fn day_ms(number: usize) -> i64 {
    FIRST_MS + (1 + number as i64) * DAY_MS
}

fn many(customers: usize) -> impl Iterator<Item = usize> {
    (2 * FEW..customers).take(MANY)
}

/// What a change costs: the mean of some, each with the next one's customer.
///
/// The index of a stream's keys merges its runs now and then, and is read run by run: so one change
/// costs a little more or less than the next.
pub fn mean(chain: &Chain, change: Change, size: Size, count: usize) -> Counts {
    let mut sum = Counts::default();
    for number in 0..count {
        sum.add(&change.price(chain, size, number));
    }
    for calls in sum.calls.values_mut() {
        *calls = (*calls + count / 2) / count;
    }
    sum.catalog_calls = (sum.catalog_calls + count / 2) / count;
    sum.invocations = (sum.invocations + count / 2) / count;
    sum.waits = (sum.waits + count / 2) / count;
    sum.read_bytes /= count;
    sum.written_bytes /= count;
    sum
}

/// A lake of that size, at rest.
pub fn lake_of(size: Size) -> Chain {
    const RECORDS: usize = 20_000;
    let chain = Chain::new(size.parts);
    for (file, first) in (0..size.customers).step_by(RECORDS).enumerate() {
        let records = (first..size.customers.min(first + RECORDS)).map(|customer| {
            // Every other customer never consented: their objects are without rows.
            record(customer, FIRST_MS + 1, customer.is_multiple_of(2).then_some(FIRST_MS))
        });
        chain.land(&format!("landing/customer/{file}.json"), records);
    }
    chain.build_up();
    let pairs = size.objects / 2;
    for pair in 0..pairs {
        let begun_ms = size.begun_ms(pair);
        let name = pair.to_string();
        match pair.checked_sub(2 * FEW) {
            None => chain.readings(&name, std::iter::once(2 * (pair % FEW)), begun_ms),
            Some(0) => chain.readings(&name, many(size.customers), begun_ms),
            Some(other) => {
                let others = size.customers.saturating_sub(2 * FEW).max(1);
                let customer = (2 * FEW + other % others).min(size.customers - 1);
                chain.readings(&name, std::iter::once(customer), begun_ms);
            }
        }
    }
    chain.build_up();
    // So that the next comparison has one before.
    chain.compare();
    chain
}
