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
use lake::policy::{Consent, Identity, Pairing, Policies};
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

/// A lake into which nothing but some feeds landed.
fn landed(feeds: &[(&str, Bytes)], policies: Policies, chunk_bytes: usize) -> (MemoryStore, Lake) {
    let store = MemoryStore::default();
    for (key, bytes) in feeds {
        let bytes = bytes.clone();
        block_on(store.put(&ObjectKey::new(*key), bytes, Precondition::None)).unwrap();
    }
    let catalog = Arc::new(StoreCatalog::new(Arc::new(MemoryStore::default())));
    let key = LakeKey::new(b"a secret of the passes").unwrap();
    let chunked = Arc::new(Chunked { store: store.clone(), chunk_bytes });
    let parts = Parts::try_from(2).unwrap();
    let lake = block_on(Lake::open(chunked, catalog, key, parts, policies)).unwrap();
    (store, lake)
}

/// Lets a function look at some keys, so many of them at once; returns how many it failed at.
fn invoke(lake: &Lake, function: FunctionName, keys: &[ObjectKey], at_once: usize) -> usize {
    let mut failed = 0;
    for keys in keys.chunks(at_once) {
        let events = keys.iter().enumerate();
        let events: Vec<_> =
            events.map(|(id, key)| (id.to_string(), object_event("b", key, true))).collect();
        let event = sqs_batch(events.iter().map(|(id, event)| (id.as_str(), event, 0)));
        failed += block_on(function.invoke(lake, &event)).unwrap().errors.len();
    }
    failed
}

/// What is derived from the feeds.
fn derived(policies: Policies, bounds: &Bounds, chunk_bytes: usize) -> Objects {
    let (store, mut lake) = landed(&feeds(), policies, chunk_bytes);
    lake.bounds = bounds.clone();
    for function in FunctionName::ALL {
        while let unfinished = block_on(function.unfinished(&lake)).unwrap()
            && !unfinished.is_empty()
        {
            assert_eq!(invoke(&lake, function, &unfinished, usize::MAX), 0);
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
        let passing = |held_bytes_max, piece_bytes, small_bytes_max| Bounds {
            small_bytes_max,
            held_bytes_max,
            held_readings_bytes_max: held_bytes_max,
            open_bytes_max: 1,
            piece_bytes,
            ..Bounds::default()
        };
        // And where long days are written row group by row group.
        let of_long_days = Bounds {
            held_readings_bytes_max: 1 << 20,
            row_group_rows: 20,
            ..passing(4_000, 1_000, 200)
        };
        for bounds in [
            passing(4_000, 1_000, 200),
            passing(600, 1, 200),
            passing(4_000, 1_000, small),
            of_long_days,
        ] {
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

/// A day that has to be derived again, alone, has the bytes that it had of the pass with the others.
#[test]
fn which_days_are_right_already_does_not_show_in_the_others() {
    let (store, mut lake) = landed(&feeds(), Policies::default(), usize::MAX);
    lake.bounds = Bounds {
        held_bytes_max: 4_000,
        held_readings_bytes_max: 6_000,
        row_group_rows: 40,
        upload_bytes_max: 0,
        piece_bytes: 100,
        ..Bounds::default()
    };
    let derive = |function, key| assert_eq!(invoke(&lake, function, &[ObjectKey::new(key)], 1), 0);
    let derive_readings =
        || derive(FunctionName::AccelerometerLandingToTrusted, "landing/accelerometer/a.json");
    derive(FunctionName::CustomerLandingToTrusted, "landing/customer/a.json");
    derive_readings();
    let all = store.snapshot();
    let days = all.keys().filter(|key| key.after("trusted/accelerometer/").is_some());
    let days: Vec<_> = days.collect();
    assert_eq!(days.len(), 3);
    for day in days {
        block_on(store.delete(day)).unwrap();
        derive_readings();
        let again = store.snapshot();
        assert!(again.get(day) == all.get(day), "{day} has other bytes");
    }
}

/// Four objects of each sensor on one day, each of which overlaps its neighbours; of each millisecond
/// there are some readings.
fn overlapping() -> Vec<(&'static str, Bytes)> {
    let [customers, ..] = feeds();
    let times = |object: i64| {
        (0..120_i64).map(move |k| (k % PEOPLE, FIRST_MS + DAY_MS / 2 + object * 60 + k))
    };
    let motions = |object| {
        lines(times(object).map(|(person, time_ms)| {
            let user = format!("{person}@test.com");
            json!({"user": user, "timestamp": time_ms, "x": 0.5, "y": time_ms % 3, "z": -0.5})
        }))
    };
    let steps = |object| {
        lines(times(object).map(|(person, time_ms)| {
            let serial = format!("D-{person}");
            json!({"sensorReadingTime": time_ms, "serialNumber": serial, "distanceFromObject": 1})
        }))
    };
    vec![
        customers,
        ("landing/accelerometer/0.json", motions(0)),
        ("landing/accelerometer/1.json", motions(1)),
        ("landing/accelerometer/2.json", motions(2)),
        ("landing/accelerometer/3.json", motions(3)),
        ("landing/step_trainer/0.json", steps(0)),
        ("landing/step_trainer/1.json", steps(1)),
        ("landing/step_trainer/2.json", steps(2)),
        ("landing/step_trainer/3.json", steps(3)),
    ]
}

/// The same, and on top of them many readings of one millisecond, in two objects of each sensor.
fn crowded() -> Vec<(&'static str, Bytes)> {
    let time_ms = FIRST_MS + DAY_MS / 2 + 100;
    let motions = |from: i64| {
        lines((from..from + 75).map(|k| {
            let user = format!("{}@test.com", k % PEOPLE);
            json!({"user": user, "timestamp": time_ms, "x": 0.5, "y": k * 37 % 150, "z": 1})
        }))
    };
    let steps = |count: i64| {
        lines((0..count).map(|k| {
            let serial = format!("D-{}", k % PEOPLE);
            json!({"sensorReadingTime": time_ms, "serialNumber": serial, "distanceFromObject": k})
        }))
    };
    let mut feeds = overlapping();
    feeds.push(("landing/accelerometer/4.json", motions(0)));
    feeds.push(("landing/accelerometer/5.json", motions(75)));
    feeds.push(("landing/step_trainer/4.json", steps(3)));
    feeds.push(("landing/step_trainer/5.json", steps(150)));
    feeds
}

/// How much may be held when the objects of a day are joined, and how many are asked for at once.
#[derive(Clone, Copy, Debug)]
struct How {
    /// Of the objects that are joined while they are derived.
    inputs_held_bytes_max: u64,
    /// Enough for three of them where it is not said.
    cache_bytes_max: Option<usize>,
    small_bytes_max: u64,
    open_bytes_max: u64,
    at_once: usize,
    is_damaged: bool,
}

impl How {
    /// All readings of a day may be put together at once.
    fn together(inputs_held_bytes_max: u64) -> Self {
        let Bounds { small_bytes_max, open_bytes_max, .. } = Bounds::default();
        Self {
            inputs_held_bytes_max,
            cache_bytes_max: Some(1 << 30),
            small_bytes_max,
            open_bytes_max,
            at_once: usize::MAX,
            is_damaged: false,
        }
    }

    /// No more may be put together than some eighty.
    fn by_stretches(self) -> Self {
        Self { cache_bytes_max: Some(0), ..self }
    }
}

/// What is joined of some feeds.
fn joined(feeds: &[(&str, Bytes)], policies: Policies, how: How) -> Objects {
    const FUNCTION: FunctionName = FunctionName::MachineLearningCurated;
    let (store, mut lake) = landed(feeds, policies, usize::MAX);
    lake.bounds.held_bytes_max = how.inputs_held_bytes_max;
    lake.bounds.held_readings_bytes_max = how.inputs_held_bytes_max;
    for function in FunctionName::ALL.into_iter().filter(|function| *function < FUNCTION) {
        while let unfinished = block_on(function.unfinished(&lake)).unwrap()
            && !unfinished.is_empty()
        {
            assert_eq!(invoke(&lake, function, &unfinished, usize::MAX), 0);
        }
    }
    let motions = store.snapshot().into_iter();
    let motions = motions.filter(|(key, _)| key.after("trusted/accelerometer/").is_some());
    let sizes: Vec<usize> = motions.map(|(_, (_, bytes))| bytes.len()).collect();
    lake.bounds.held_bytes_max = 4_000;
    lake.bounds.small_bytes_max = how.small_bytes_max;
    lake.bounds.open_bytes_max = how.open_bytes_max;
    lake.bounds.cache_bytes_max = how
        .cache_bytes_max
        .unwrap_or_else(|| 24 * 3 * sizes.iter().max().copied().unwrap_or_default());
    let keys: Vec<ObjectKey> = block_on(FUNCTION.unfinished(&lake)).unwrap();
    assert_eq!((2 * sizes.len(), keys.len()), (feeds.len() - 1, feeds.len() / 2));
    if how.is_damaged {
        let last = store.snapshot().into_keys();
        let last = last.filter(|key| key.after("trusted/accelerometer/").is_some()).last();
        let bytes = Bytes::from_static(b"no Parquet");
        block_on(store.put(&last.unwrap(), bytes, Precondition::None)).unwrap();
    }
    let errors = invoke(&lake, FUNCTION, &keys, how.at_once);
    // All of a day are asked for again.
    assert_eq!(errors, if how.is_damaged { keys.len() } else { 0 });
    let mut objects = store.snapshot();
    objects.retain(|key, _| key.after("curated/machine_learning/").is_some());
    objects
}

/// Objects of a day whose inputs are put together once for all of them, for some, or for each alone, at
/// once or by stretches of time: it shows in no byte, also where they have several row groups.
#[test]
fn what_else_is_derived_of_a_day_shows_in_no_byte() {
    let others =
        Policies { pairing: Pairing::Customer, identity: Identity::None, ..Policies::default() };
    for policies in [Policies::default(), others] {
        for inputs_held_bytes_max in [Bounds::default().held_bytes_max, 1_000] {
            shows_in_no_byte(policies, How::together(inputs_held_bytes_max));
        }
    }
}

fn shows_in_no_byte(policies: Policies, how: How) {
    let derived = |how| joined(&overlapping(), policies, how);
    let together = derived(how);
    assert!(row_groups(&together) > 1, "it does not pass");
    assert!(rows(&together).values().map(Vec::len).sum::<usize>() > 300);
    let stretches = how.by_stretches();
    let same = [
        How { at_once: 1, ..how },
        // Three neighbours have room at once.
        How { cache_bytes_max: None, ..how },
        stretches,
        How { at_once: 1, ..stretches },
        How { open_bytes_max: 1, ..stretches },
        // Where there is room for one and a piece of another, that is put off.
        How { open_bytes_max: 30_000, ..stretches },
        How { small_bytes_max: 1, ..how },
        How { small_bytes_max: 1, at_once: 1, ..how },
    ];
    for how in same {
        assert!(derived(how) == together, "{how:?}");
    }
    let others: Objects = together.into_iter().take(2).collect();
    for how in [how, stretches, How { small_bytes_max: 1, ..how }] {
        let how = How { is_damaged: true, ..how };
        assert!(derived(how) == others, "beside one that cannot be read, {how:?}");
    }
}

/// Of a millisecond with more readings than may be held the rows come in parts. Which they are depends on
/// the objects that have some of them.
#[test]
fn a_crowded_millisecond_is_joined_part_by_part() {
    let derived = |how| joined(&crowded(), Policies::default(), how);
    for inputs_held_bytes_max in [Bounds::default().held_bytes_max, 1_000] {
        let how = How::together(inputs_held_bytes_max);
        let together = derived(how);
        let stretches = derived(how.by_stretches());
        assert!(stretches != together, "there is no crowd, {how:?}");
        assert!(rows(&stretches) == rows(&together), "{how:?}");
        assert!(are_in_order(&stretches), "{how:?}");
        for how in [
            How { at_once: 1, ..how.by_stretches() },
            How { open_bytes_max: 1, ..how.by_stretches() },
            How { small_bytes_max: 1, ..how },
        ] {
            assert!(derived(how) == stretches, "{how:?}");
        }
    }
}

/// Whether the rows of each row group are in order: by time, then by the other columns.
fn are_in_order(objects: &Objects) -> bool {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::RowAccessor;
    objects.values().all(|(_, bytes)| {
        let reader = SerializedFileReader::new(bytes.clone()).unwrap();
        (0..reader.num_row_groups()).all(|group| {
            let group = reader.get_row_group(group).unwrap();
            let rows = group.get_row_iter(None).unwrap();
            let rows = rows.map(|row| {
                let row = row.unwrap();
                let double = |column| row.get_double(column).unwrap().to_bits();
                let text = |column| row.get_string(column).unwrap().clone();
                let (time, distance) = (row.get_long(1).unwrap(), row.get_int(2).unwrap());
                (time, text(0), distance, text(3), [double(5), double(6)])
            });
            rows.collect::<Vec<_>>().is_sorted()
        })
    })
}
