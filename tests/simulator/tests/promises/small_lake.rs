//! A lake of a few records in memory, and how it comes to rest.

use std::sync::Arc;

use chain::FunctionName;
use futures::executor::block_on;
use lake::catalog::StoreCatalog;
use lake::events::Message;
use lake::key::{LakeKey, ObjectKey, Parts};
use lake::lake::Lake;
use lake::policy::Policies;
use lake::store::{MemoryStore, Precondition, Store, list_all};

pub(crate) fn open(store: &MemoryStore, policies: Policies) -> Lake {
    open_with(store, policies, 1)
}

pub(crate) fn open_with(store: &MemoryStore, policies: Policies, parts: u16) -> Lake {
    let catalog = Arc::new(StoreCatalog::new(Arc::new(MemoryStore::default())));
    let parts = Parts::try_from(parts).unwrap();
    block_on(Lake::open(Arc::new(store.clone()), catalog, key(), parts, policies)).unwrap()
}

pub(crate) fn key() -> LakeKey {
    LakeKey::new(b"a secret of a small lake").unwrap()
}

pub(crate) fn put(store: &MemoryStore, key: &str, text: String) {
    block_on(store.put(&ObjectKey::new(key), text.into(), Precondition::None)).unwrap();
}

pub(crate) fn keys(store: &MemoryStore, prefix: &str) -> Vec<ObjectKey> {
    block_on(list_all(store, prefix)).unwrap().into_iter().map(|object| object.key).collect()
}

/// Has some functions, one after the other, do what they left undone.
pub(crate) fn finish(lake: &Lake, functions: &[FunctionName]) {
    for function in functions {
        let left = || block_on(function.unfinished(lake)).unwrap();
        while let keys = left()
            && !keys.is_empty()
        {
            let outcome =
                block_on(function.invoke_messages(lake, vec![Message::to_look_at(&keys)]));
            assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
        }
    }
}
