//! A comparison looks at many small things at once, and at large ones one after the other; and readings
//! that are put together have room at once only as far as there is.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::cell::Cell;
use std::sync::Arc;

use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use lake::catalog::StoreCatalog;
use lake::key::{LakeKey, ObjectKey, Parts};
use lake::lake::Lake;
use lake::policy::Policies;
use lake::store::{MemoryStore, Precondition, Store, list_all};

const SMALL: usize = 100;
const LARGE: usize = 5;

async fn open(store: Arc<MemoryStore>) -> Lake {
    let catalog = Arc::new(StoreCatalog::new(Arc::new(MemoryStore::default())));
    let key = LakeKey::new(b"a secret of the looks test").unwrap();
    let parts = Parts::try_from(16).unwrap();
    Lake::open(store, catalog, key, parts, Policies::default()).await.unwrap()
}

#[tokio::test]
async fn readings_of_many_days_are_put_together_only_as_far_as_there_is_room() {
    const ALL: u64 = 4 << 10;
    let lake = open(Arc::default()).await;
    let one = lake.room_together(3 << 10, ALL).await;
    let small = lake.room_together(1 << 10, ALL).await;
    assert!(lake.room_together(1 << 10, ALL).now_or_never().is_none(), "there is no more");
    drop(one);
    assert!(lake.room_together(u64::MAX, ALL).now_or_never().is_none(), "not beside another");
    drop(small);
    assert!(lake.room_together(u64::MAX, ALL).now_or_never().is_some(), "alone");
    assert!(lake.room(u64::MAX).now_or_never().is_some(), "it is another room");
}

#[tokio::test]
async fn small_objects_are_looked_at_together_and_large_ones_alone() {
    let store = Arc::new(MemoryStore::default());
    let mut lake = open(store.clone()).await;
    lake.bounds.small_bytes_max = 10;
    for number in 0..SMALL + LARGE {
        let bytes = Bytes::from(vec![0; if number.is_multiple_of(21) { 11 } else { 10 }]);
        let key = ObjectKey::new(format!("looked-at/{number}"));
        store.put(&key, bytes, Precondition::None).await.unwrap();
    }

    let (going_on, most, most_large) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let look = |key: ObjectKey| {
        let (going_on, most, most_large, store) = (&going_on, &most, &most_large, &store);
        async move {
            going_on.set(going_on.get() + 1);
            tokio::task::yield_now().await;
            let is_large = store.head(&key).await.unwrap().unwrap().size_bytes > 10;
            let most = if is_large { most_large } else { most };
            most.set(most.get().max(going_on.get()));
            tokio::task::yield_now().await;
            going_on.set(going_on.get() - 1);
            key
        }
    };
    let listed = list_all(store.as_ref(), "looked-at/").await.unwrap();
    let sized = listed.iter().map(|object| (object.key.clone(), object.size_bytes)).collect();
    let mut seen: Vec<ObjectKey> = lake.look_at_each(sized, look).collect().await;

    seen.sort();
    assert!(seen.iter().eq(listed.iter().map(|object| &object.key)), "each once");
    assert_eq!((most.get(), most_large.get()), (lake.bounds.looks_at_once, 1));
}
