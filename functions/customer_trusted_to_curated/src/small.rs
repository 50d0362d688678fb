//! A lake of one part in memory, for tests.

use std::sync::Arc;

use futures::FutureExt;
use lake::catalog::StoreCatalog;
use lake::key::{LakeKey, Parts};
use lake::lake::Lake;
use lake::policy::Policies;
use lake::store::MemoryStore;

/// Nothing in memory ever waits.
pub(crate) fn done<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("it waits")
}

pub(crate) fn open(policies: Policies) -> Lake {
    let store = Arc::new(MemoryStore::default());
    let catalog = Arc::new(StoreCatalog::new(Arc::new(MemoryStore::default())));
    let key = LakeKey::new(&[1; 16]).expect("it is long enough");
    let parts = Parts::try_from(1).expect("a power of two");
    done(Lake::open(store, catalog, key, parts, policies)).expect("a lake")
}
