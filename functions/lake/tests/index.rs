//! The key index beside a plain map.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use lake::catalog::StoreCatalog;
use lake::index::{Index, Value};
use lake::key::{ETag, KeyHash, LakeKey, ObjectKey, Parts};
use lake::lake::Lake;
use lake::layout;
use lake::policy::Policies;
use lake::store::{
    ByteRange, MemoryStore, Object, ObjectMeta, ObjectStream, Page, Precondition, Store,
    StoreError, Upload, list_all,
};

const PREFIX: &str = "state/accelerometer/index/";

async fn open(small_bytes_max: u64) -> Lake {
    let mut lake = open_in(MemoryStore::default()).await;
    lake.bounds.small_bytes_max = small_bytes_max;
    lake
}

async fn open_in(store: impl Store + 'static) -> Lake {
    let catalog = Arc::new(StoreCatalog::new(Arc::new(MemoryStore::default())));
    let key = LakeKey::new(b"a secret of the index test").unwrap();
    let parts = Parts::try_from(16).unwrap();
    Lake::open(Arc::new(store), catalog, key, parts, Policies::default()).await.unwrap()
}

fn source(number: usize) -> Value {
    (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()
}

fn person(lake: &Lake, number: usize) -> KeyHash {
    lake.key.person(&format!("{number}@test.com"))
}

/// An index of so many landing objects, each of which holds the people that `holds` says.
async fn indexed(
    lake: &Lake,
    objects: usize,
    holds: impl Fn(usize) -> Vec<usize>,
) -> BTreeMap<KeyHash, BTreeSet<Value>> {
    let mut expected: BTreeMap<KeyHash, BTreeSet<Value>> = BTreeMap::new();
    for object in 0..objects {
        let keys: Vec<KeyHash> = holds(object).into_iter().map(|it| person(lake, it)).collect();
        let pairs = keys.iter().map(|key| (*key, source(object)));
        let added = index(lake).add(pairs.collect()).await.unwrap();
        added.then(async { Ok(()) }).await.unwrap();
        for key in keys {
            expected.entry(key).or_default().insert(source(object));
        }
    }
    expected
}

fn index(lake: &Lake) -> Index<'_> {
    Index::new(lake, PREFIX)
}

async fn runs(lake: &Lake) -> usize {
    list_all(lake.store.as_ref(), PREFIX).await.unwrap().len()
}

/// How many runs have keys beside them; of no other run there are keys.
async fn runs_with_keys(lake: &Lake) -> usize {
    let listed = list_all(lake.store.as_ref(), PREFIX).await.unwrap();
    let listed: BTreeSet<ObjectKey> = listed.into_iter().map(|object| object.key).collect();
    let runs = listed.iter().filter_map(|key| layout::run_of_keys(PREFIX, key));
    runs.inspect(|run| assert!(listed.contains(run), "{run} is gone, its keys are not")).count()
}

#[tokio::test]
async fn every_landing_object_of_a_key_is_found_however_much_is_read_at_once() {
    for small_bytes_max in [u64::MAX, 1 << 10, 0] {
        let lake = open(small_bytes_max).await;
        let holds =
            |object: usize| (0..object % 40).map(|it| (object * 7 + it * it) % 300).collect();
        let expected = indexed(&lake, 1_500, holds).await;
        let keys = expected.keys().copied().collect();
        assert_eq!(index(&lake).find(&keys).await.unwrap(), expected);
        for (key, sources) in expected.iter().step_by(17) {
            let found = index(&lake).find(&[*key].into()).await.unwrap();
            assert_eq!(found, [(*key, sources.clone())].into());
        }
        assert!(runs_with_keys(&lake).await > 0);
        let nobody = person(&lake, 1_000_000);
        let found = index(&lake).find(&[nobody].into()).await.unwrap();
        assert_eq!(found, [(nobody, BTreeSet::new())].into());
    }
}

#[tokio::test]
async fn keys_with_far_more_entries_than_others_are_found_and_do_not_hide_them() {
    let lake = open(0).await;
    // Four people are in every object, as testers are; the others each in one.
    let holds = |object: usize| vec![0, 1, 2, 3, 10 + object];
    let expected = indexed(&lake, 20_000, holds).await;
    for number in [0, 1, 2, 3, 10, 5_000, 20_009] {
        let key = person(&lake, number);
        let found = index(&lake).find(&[key].into()).await.unwrap();
        assert_eq!(found[&key], expected[&key], "{number}");
    }
}

#[tokio::test]
async fn keys_of_another_run_hide_nothing_and_those_of_none_are_removed() {
    let lake = open(0).await;
    let mut expected = indexed(&lake, 1_500, |object| vec![object % 30, 30 + object % 7]).await;
    let listed = list_all(lake.store.as_ref(), PREFIX).await.unwrap();
    let listed = listed.into_iter().map(|object| object.key);
    let keys: Vec<_> = listed.filter(|key| layout::run_of_keys(PREFIX, key).is_some()).collect();
    assert!(!keys.is_empty());
    let mut as_written = BTreeMap::new();
    for key in &keys {
        let object = lake.store.get(key, ByteRange::All).await.unwrap().unwrap();
        as_written.insert(key, object.bytes);
    }
    // Of the first entry of each key, and of how many it has.
    for (first_off, count_off) in [(1, 0), (1 << 40, 0), (0, 1), (1, -1), (0, -1)] {
        for key in &keys {
            let mut rows = as_written[key].to_vec();
            for [_, first, count] in rows.as_chunks_mut().0.as_chunks_mut().0 {
                *first = u64::from_be_bytes(*first).wrapping_add_signed(first_off).to_be_bytes();
                *count = u64::from_be_bytes(*count).wrapping_add_signed(count_off).to_be_bytes();
            }
            lake.store.put(key, rows.into(), Precondition::None).await.unwrap();
        }
        for (key, sources) in &expected {
            let found = index(&lake).find(&[*key].into()).await.unwrap();
            assert_eq!(found[key], *sources, "off by {first_off} and {count_off}");
        }
    }
    let of_none = layout::run_keys(PREFIX, &layout::run(PREFIX, 7, &[7; 16]));
    lake.store.put(&of_none, vec![0; 24].into(), Precondition::None).await.unwrap();
    let more = indexed(&lake, 1_600, |object| vec![object % 30]).await;
    more.into_iter().for_each(|(key, more)| expected.entry(key).or_default().extend(more));
    assert!(lake.store.head(&of_none).await.unwrap().is_none());
    assert!(runs_with_keys(&lake).await > 0);
    assert_eq!(index(&lake).find(&expected.keys().copied().collect()).await.unwrap(), expected);
}

#[tokio::test]
async fn what_cannot_be_merged_within_an_invocation_is_left_and_found() {
    const MERGED_BYTES_MAX: u64 = 16 << 10;
    let mut lake = open(0).await;
    lake.bounds.merged_bytes_max = MERGED_BYTES_MAX;
    let expected = indexed(&lake, 4_000, |object| (object..object + 4).collect()).await;
    let listed = list_all(lake.store.as_ref(), PREFIX).await.unwrap();
    let runs = listed.iter().filter(|object| layout::run_generation(PREFIX, &object.key).is_some());
    let sizes: Vec<u64> = runs.map(|run| run.size_bytes).collect();
    assert!(sizes.iter().all(|size| *size <= MERGED_BYTES_MAX), "{sizes:?}");
    // Each takes more than half of what it may, but for the few that are merged yet.
    let entries: usize = expected.values().map(BTreeSet::len).sum();
    let large = (entries * 16) as u64 / (MERGED_BYTES_MAX / 2);
    assert!(sizes.len() as u64 <= large + 5 * lake.bounds.runs_max as u64, "{}", sizes.len());
    assert_eq!(index(&lake).find(&expected.keys().copied().collect()).await.unwrap(), expected);
}

/// A store that does not say what it has below the runs.
struct Unlisted(MemoryStore);

#[async_trait]
impl Store for Unlisted {
    async fn head(&self, key: &ObjectKey) -> Result<Option<ObjectMeta>, StoreError> {
        self.0.head(key).await
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> Result<Option<Object>, StoreError> {
        self.0.get(key, range).await
    }

    async fn stream(&self, key: &ObjectKey) -> Result<Option<ObjectStream>, StoreError> {
        self.0.stream(key).await
    }

    async fn put(
        &self,
        key: &ObjectKey,
        bytes: Bytes,
        when: Precondition,
    ) -> Result<ETag, StoreError> {
        self.0.put(key, bytes, when).await
    }

    async fn upload(&self, key: &ObjectKey) -> Result<Box<dyn Upload>, StoreError> {
        self.0.upload(key).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.0.delete(key).await
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Page, StoreError> {
        if prefix == PREFIX {
            let (operation, source) = ("list", "there are too many requests".into());
            let key = ObjectKey::new(prefix);
            return Err(StoreError::Unavailable { operation, key, source });
        }
        self.0.list(prefix, after).await
    }
}

#[tokio::test]
async fn what_follows_from_an_addition_does_not_wait_for_a_merge_that_fails() {
    let store = MemoryStore::default();
    let mut lake = open_in(Unlisted(store.clone())).await;
    let expected = indexed(&lake, 50, |object| vec![object]).await;
    lake.store = Arc::new(store);
    assert_eq!(index(&lake).find(&expected.keys().copied().collect()).await.unwrap(), expected);
}

#[tokio::test]
async fn there_are_few_runs_however_many_landing_objects() {
    let lake = open(0).await;
    indexed(&lake, 20_000, |object| vec![object, object + 1]).await;
    assert_eq!(runs_with_keys(&lake).await, 0, "its keys have few entries each");
    let runs = runs(&lake).await;
    assert!(runs <= 5 * lake.bounds.runs_max, "{runs} runs");
}
