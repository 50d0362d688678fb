//! A store in memory, for tests. Its tags are hashes of the content, as those of S3 are.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};

use super::{
    ByteRange, Object, ObjectMeta, ObjectStream, Page, Precondition, Store, StoreError, Upload,
};
use crate::key::{ETag, ObjectKey};

/// What a call of an object does first, by its name.
type Before = dyn Fn(&'static str, &ObjectKey) -> Result<(), StoreError> + Send + Sync;

/// A store in memory. Its clones share their objects.
#[derive(Clone)]
pub struct MemoryStore {
    objects: Arc<Mutex<BTreeMap<ObjectKey, (ETag, Bytes)>>>,
    page_max: usize,
    before: Option<Arc<Before>>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::with_page_max(1000)
    }
}

impl MemoryStore {
    /// A store whose listings come in pages of at most `page_max` objects.
    pub fn with_page_max(page_max: usize) -> Self {
        Self { objects: Arc::default(), page_max, before: None }
    }

    /// A store that holds these objects, with their versions.
    pub fn of(objects: BTreeMap<ObjectKey, (ETag, Bytes)>) -> Self {
        Self { objects: Arc::new(Mutex::new(objects)), ..Self::default() }
    }

    /// The same objects, of which a call first does this: it may fail, or panic.
    #[must_use]
    pub fn before(
        &self,
        before: impl Fn(&'static str, &ObjectKey) -> Result<(), StoreError> + Send + Sync + 'static,
    ) -> Self {
        Self { before: Some(Arc::new(before)), ..self.clone() }
    }

    fn begin(&self, call: &'static str, key: &ObjectKey) -> Result<(), StoreError> {
        self.before.as_ref().map_or(Ok(()), |before| before(call, key))
    }

    /// Every object, for checks that must not count as calls.
    pub fn snapshot(&self) -> BTreeMap<ObjectKey, (ETag, Bytes)> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<ObjectKey, (ETag, Bytes)>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn meta(key: &ObjectKey, etag: &ETag, bytes: &Bytes) -> ObjectMeta {
    ObjectMeta { key: key.clone(), etag: etag.clone(), size_bytes: bytes.len() as u64 }
}

#[async_trait]
impl Store for MemoryStore {
    async fn head(&self, key: &ObjectKey) -> Result<Option<ObjectMeta>, StoreError> {
        self.begin("head", key)?;
        Ok(self.lock().get(key).map(|(etag, bytes)| meta(key, etag, bytes)))
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> Result<Option<Object>, StoreError> {
        self.begin("get", key)?;
        Ok(self.lock().get(key).map(|(etag, bytes)| {
            let size = bytes.len();
            let at = |offset: u64| usize::try_from(offset).unwrap_or(size).min(size);
            let wanted = match range {
                ByteRange::All => bytes.clone(),
                ByteRange::Bounded(range) => bytes.slice(at(range.start)..at(range.end)),
                ByteRange::Suffix(length) => bytes.slice(size - at(length)..),
            };
            Object { meta: meta(key, etag, bytes), bytes: wanted }
        }))
    }

    async fn stream(&self, key: &ObjectKey) -> Result<Option<ObjectStream>, StoreError> {
        self.begin("stream", key)?;
        let object = self.get(key, ByteRange::All).await?;
        Ok(object.map(|Object { meta, bytes }| ObjectStream {
            meta,
            chunks: Box::pin(futures::stream::once(async move { Ok(bytes) })),
        }))
    }

    async fn put(
        &self,
        key: &ObjectKey,
        bytes: Bytes,
        when: Precondition,
    ) -> Result<ETag, StoreError> {
        self.begin("put", key)?;
        let etag = ETag::new(hex::encode(&Sha256::digest(&bytes)[..16]));
        let mut objects = self.lock();
        let current = objects.get(key).map(|(etag, _)| etag);
        let holds = match &when {
            Precondition::None => true,
            Precondition::IfAbsent => current.is_none(),
            Precondition::IfMatch(noted) => current == Some(noted),
        };
        if !holds {
            return Err(StoreError::Precondition { key: key.clone() });
        }
        objects.insert(key.clone(), (etag.clone(), bytes));
        Ok(etag)
    }

    async fn upload(&self, key: &ObjectKey) -> Result<Box<dyn Upload>, StoreError> {
        self.begin("upload", key)?;
        Ok(Box::new(Pieces { store: self.clone(), key: key.clone(), bytes: BytesMut::new() }))
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.begin("delete", key)?;
        self.lock().remove(key);
        Ok(())
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Page, StoreError> {
        let prefix_key = ObjectKey::new(prefix);
        self.begin("list", &prefix_key)?;
        let objects = self.lock();
        let start = match after {
            Some(after) if *after >= prefix_key => Bound::Excluded(after.clone()),
            _ => Bound::Included(prefix_key),
        };
        let mut matching = objects
            .range((start, Bound::Unbounded))
            .take_while(|(key, _)| key.as_str().starts_with(prefix))
            .map(|(key, (etag, bytes))| meta(key, etag, bytes));
        let page = matching.by_ref().take(self.page_max).collect();
        Ok(Page { objects: page, more: matching.next().is_some() })
    }
}

struct Pieces {
    store: MemoryStore,
    key: ObjectKey,
    bytes: BytesMut,
}

#[async_trait]
impl Upload for Pieces {
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    async fn complete(self: Box<Self>, when: Precondition) -> Result<ETag, StoreError> {
        self.store.put(&self.key, self.bytes.freeze(), when).await
    }

    async fn abort(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}
