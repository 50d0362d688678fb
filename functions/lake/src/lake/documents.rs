//! The documents of a lake: its own objects, as they are read, written, and kept in memory.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, Weak};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Lake, Put, Versioned};
use crate::error::Error;
use crate::key::{ETag, ObjectKey};
use crate::store::{ByteRange, Object, ObjectMeta, Precondition};

#[derive(Default)]
pub(super) struct Cache {
    documents: BTreeMap<ObjectKey, Cached>,
    bytes: usize,
}

struct Cached {
    etag: ETag,
    bytes: usize,
    value: Arc<dyn Any + Send + Sync>,
}

impl Lake {
    /// Reads an object of the lake's own through `decode`, which also says how much memory it
    /// takes, bytes; unchanged ones come from memory. `range` is what `decode` wants to see of it.
    pub async fn read<T: Send + Sync + 'static>(
        &self,
        key: &ObjectKey,
        range: ByteRange,
        decode: impl FnOnce(Object) -> Result<(T, usize), Error>,
    ) -> Result<Option<Versioned<T>>, Error> {
        let known = self.cached::<T>(key);
        if let Some(known) = known {
            let current = self.store.head(key).await?;
            match current {
                None => return Ok(None),
                Some(meta) if meta.etag == known.etag => return Ok(Some(known)),
                Some(_) => {}
            }
        }
        self.read_anew(key, range, decode).await
    }

    /// Reads an object of the lake's own that was just listed. If it comes from memory, nobody asks
    /// the store whether it is still there.
    pub async fn read_listed<T: Send + Sync + 'static>(
        &self,
        listed: &ObjectMeta,
        range: ByteRange,
        decode: impl FnOnce(Object) -> Result<(T, usize), Error>,
    ) -> Result<Option<Versioned<T>>, Error> {
        self.read_known(&listed.key, &listed.etag, range, decode).await
    }

    /// Reads an object of the lake's own of which a version is known. If that comes from memory, nobody
    /// asks the store whether it is still there; who reads it at the same time waits for it to be there.
    pub async fn read_known<T: Send + Sync + 'static>(
        &self,
        key: &ObjectKey,
        known: &ETag,
        range: ByteRange,
        decode: impl FnOnce(Object) -> Result<(T, usize), Error>,
    ) -> Result<Option<Versioned<T>>, Error> {
        let cached = || self.cached::<T>(key).filter(|cached| cached.etag == *known);
        if let Some(cached) = cached() {
            return Ok(Some(cached));
        }
        let reading = self.reading(key);
        let _alone = reading.lock().await;
        match cached() {
            Some(cached) => Ok(Some(cached)),
            None => self.read_anew(key, range, decode).await,
        }
    }

    /// What is held by whoever reads an object.
    fn reading(&self, key: &ObjectKey) -> Arc<tokio::sync::Mutex<()>> {
        const FORGOTTEN_FROM: usize = 256;
        let mut all = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reading) = all.get(key).and_then(Weak::upgrade) {
            return reading;
        }
        if all.len() >= FORGOTTEN_FROM {
            all.retain(|_, reading| reading.strong_count() > 0);
        }
        let reading = Arc::default();
        all.insert(key.clone(), Arc::downgrade(&reading));
        reading
    }

    /// Reads an object of the lake's own from the store.
    pub(crate) async fn read_anew<T: Send + Sync + 'static>(
        &self,
        key: &ObjectKey,
        range: ByteRange,
        decode: impl FnOnce(Object) -> Result<(T, usize), Error>,
    ) -> Result<Option<Versioned<T>>, Error> {
        let mut bytes = 0;
        let decode = |object| {
            let (value, taken) = decode(object)?;
            bytes = taken;
            Ok((value, taken))
        };
        let read = self.read_once(key, range, decode).await?;
        if let Some(read) = &read {
            self.keep(key, read, bytes);
        }
        Ok(read)
    }

    /// The same of an object that is not read again: it is not kept in memory.
    pub async fn read_once<T>(
        &self,
        key: &ObjectKey,
        range: ByteRange,
        decode: impl FnOnce(Object) -> Result<(T, usize), Error>,
    ) -> Result<Option<Versioned<T>>, Error> {
        let Some(object) = self.store.get(key, range).await? else { return Ok(None) };
        let etag = object.meta.etag.clone();
        let (value, _) = decode(object)?;
        Ok(Some(Versioned { etag, value: Arc::new(value) }))
    }

    /// Reads a JSON document of the lake's own.
    pub async fn load<T: DeserializeOwned + Send + Sync + 'static>(
        &self,
        key: &ObjectKey,
    ) -> Result<Option<Versioned<T>>, Error> {
        let decode = |object: Object| Ok((parse(key, &object.bytes)?, parsed_bytes(&object.bytes)));
        self.read(key, ByteRange::All, decode).await
    }

    /// Writes a JSON document of the lake's own, if it is still as it was noted. It is kept in
    /// memory: what was just written is read soon, as a rule.
    pub async fn save<T: Serialize + Clone + Send + Sync + 'static>(
        &self,
        key: &ObjectKey,
        document: &T,
        noted: Option<&ETag>,
    ) -> Result<Put, Error> {
        let bytes = json(key, document)?;
        let taken = parsed_bytes(&bytes);
        let put = self.put(key, bytes, Precondition::unchanged(noted)).await?;
        if let Put::Done(etag) = &put {
            let written = Versioned { etag: etag.clone(), value: Arc::new(document.clone()) };
            self.keep(key, &written, taken);
        }
        Ok(put)
    }

    fn cached<T: Send + Sync + 'static>(&self, key: &ObjectKey) -> Option<Versioned<T>> {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let cached = cache.documents.get(key)?;
        let value = Arc::clone(&cached.value).downcast::<T>().ok()?;
        Some(Versioned { etag: cached.etag.clone(), value })
    }

    /// Keeps an object in memory, of which it takes so many bytes.
    pub(crate) fn keep<T: Send + Sync + 'static>(
        &self,
        key: &ObjectKey,
        object: &Versioned<T>,
        bytes: usize,
    ) {
        let value = Arc::clone(&object.value);
        let cached = Cached { etag: object.etag.clone(), bytes, value };
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.bytes += cached.bytes;
        if let Some(before) = cache.documents.insert(key.clone(), cached) {
            cache.bytes -= before.bytes;
        }
        while cache.bytes > self.bounds.cache_bytes_max {
            let Some((_, evicted)) = cache.documents.pop_first() else { break };
            cache.bytes -= evicted.bytes;
        }
    }
}

/// A document as it is written.
pub(crate) fn json<T: Serialize>(key: &ObjectKey, document: &T) -> Result<Bytes, Error> {
    let encoded = serde_json::to_vec(document)
        .map_err(|error| Error::Encode { what: key.to_string(), source: error.into() })?;
    Ok(encoded.into())
}

/// Memory that a document takes: about twice that of its text.
fn parsed_bytes(text: &[u8]) -> usize {
    2 * text.len()
}

pub(super) fn parse<T: DeserializeOwned>(key: &ObjectKey, bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::Unreadable { key: key.clone(), reason: error.to_string() })
}
