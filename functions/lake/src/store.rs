//! The store: what the lake needs of an object store, and no more.
//!
//! An implementation keeps five promises, which the conformance suite checks: a read sees the last
//! completed write; a conditional write is atomic; an upload is seen whole or not at all; a listing
//! is complete and in key order; an error is never reported as absence.

mod folder;
mod memory;

use std::collections::BTreeMap;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

pub use self::folder::FolderStore;
pub use self::memory::MemoryStore;
use crate::key::{ETag, ObjectKey};

/// What a listing or a look says of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// The object's key.
    pub key: ObjectKey,
    /// Its version.
    pub etag: ETag,
    /// Its size, bytes.
    pub size_bytes: u64,
}

/// An object, or a range of one.
#[derive(Clone, Debug)]
pub struct Object {
    /// Of the whole object.
    pub meta: ObjectMeta,
    /// The bytes that were asked for.
    pub bytes: Bytes,
}

/// Which bytes of an object are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// All of them.
    All,
    /// Those at these offsets, as far as the object goes.
    Bounded(Range<u64>),
    /// The last ones, as many as there are.
    Suffix(u64),
}

/// An object whose bytes arrive in chunks, all of one version.
pub struct ObjectStream {
    /// Of the whole object.
    pub meta: ObjectMeta,
    /// Its bytes, in order.
    pub chunks: BoxStream<'static, Result<Bytes, StoreError>>,
}

/// What must hold for a write to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing.
    None,
    /// The object is still at this version.
    IfMatch(ETag),
    /// There is no such object.
    IfAbsent,
}

impl Precondition {
    /// The object is as it was noted: at that version, or absent.
    pub fn unchanged(noted: Option<&ETag>) -> Self {
        noted.map_or(Self::IfAbsent, |etag| Self::IfMatch(etag.clone()))
    }
}

/// A page of a listing.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// In key order.
    pub objects: Vec<ObjectMeta>,
    /// Whether more follow the last of them; there is one then.
    pub more: bool,
}

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The object moved between the look and the write; look again.
    #[error("put {key}: precondition failed")]
    Precondition {
        /// Of the object.
        key: ObjectKey,
    },
    /// The key cannot name an object of this store.
    #[error("{operation} {key}: {reason}")]
    InvalidKey {
        /// What was asked.
        operation: &'static str,
        /// Of the object.
        key: ObjectKey,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Anything else. Unknown errors are worth another try, and are never absence.
    #[error("{operation} {key}: {source}")]
    Unavailable {
        /// What was asked.
        operation: &'static str,
        /// The object, or the prefix.
        key: ObjectKey,
        /// What the store said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::InvalidKey { .. })
    }
}

/// An object store.
#[async_trait]
pub trait Store: Send + Sync {
    /// Looks at an object; `None` if there is none.
    async fn head(&self, key: &ObjectKey) -> Result<Option<ObjectMeta>, StoreError>;

    /// Reads an object or a range of it; `None` if there is none.
    async fn get(&self, key: &ObjectKey, range: ByteRange) -> Result<Option<Object>, StoreError>;

    /// Reads an object chunk by chunk; `None` if there is none.
    async fn stream(&self, key: &ObjectKey) -> Result<Option<ObjectStream>, StoreError>;

    /// Writes an object whole, if the precondition holds; otherwise [`StoreError::Precondition`].
    async fn put(
        &self,
        key: &ObjectKey,
        bytes: Bytes,
        when: Precondition,
    ) -> Result<ETag, StoreError>;

    /// Begins writing an object piece by piece; nothing is seen of it before it is complete.
    async fn upload(&self, key: &ObjectKey) -> Result<Box<dyn Upload>, StoreError>;

    /// Removes an object; it is no error if there is none.
    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError>;

    /// A page of the objects whose key begins with `prefix` and comes after `after`.
    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Page, StoreError>;
}

/// Most bytes that a store holds back of an upload, beside the piece it is given: a part, as S3
/// takes them.
pub const UPLOAD_BYTES_MAX: u64 = 8 << 20;

/// An object that is being written piece by piece. Dropping it gives it up, as [`abort`] does, as
/// far as that can be done without waiting: in S3, what was uploaded stays until the bucket's lifecycle
/// removes it, and is never seen.
///
/// [`abort`]: Upload::abort
#[async_trait]
pub trait Upload: Send {
    /// Adds the next bytes, of any number. The store may hold some back,
    /// [`UPLOAD_BYTES_MAX`] at the most.
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError>;

    /// Makes the object what was written, if the precondition holds; otherwise
    /// [`StoreError::Precondition`].
    async fn complete(self: Box<Self>, when: Precondition) -> Result<ETag, StoreError>;

    /// Gives it up; nothing of it remains.
    async fn abort(self: Box<Self>) -> Result<(), StoreError>;
}

/// The objects below a prefix, in key order, listed a page at a time as they are wanted.
pub struct Pages<'a> {
    store: &'a dyn Store,
    prefix: String,
    after: Option<ObjectKey>,
    more: bool,
}

impl<'a> Pages<'a> {
    /// Begins with the first object whose key begins with `prefix`.
    pub fn below(store: &'a dyn Store, prefix: impl Into<String>) -> Self {
        Self { store, prefix: prefix.into(), after: None, more: true }
    }

    /// The next page; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Vec<ObjectMeta>>, StoreError> {
        if !self.more {
            return Ok(None);
        }
        let page = self.store.list(&self.prefix, self.after.as_ref()).await?;
        self.after = page.objects.last().map(|last| last.key.clone());
        self.more = page.more && self.after.is_some();
        Ok(Some(page.objects))
    }
}

/// Every object whose key begins with `prefix`, in key order.
pub async fn list_all(store: &dyn Store, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
    let mut pages = Pages::below(store, prefix);
    let mut objects = Vec::new();
    while let Some(page) = pages.next().await? {
        objects.extend(page);
    }
    Ok(objects)
}

/// The versions of all objects whose key begins with `prefix`.
pub async fn versions_below(
    store: &dyn Store,
    prefix: &str,
) -> Result<BTreeMap<ObjectKey, ETag>, StoreError> {
    let listed = list_all(store, prefix).await?;
    Ok(listed.into_iter().map(|object| (object.key, object.etag)).collect())
}
