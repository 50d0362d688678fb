//! The store and the catalog as the handlers see them: every call waits for the scheduler.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use lake::catalog::{Catalog, CatalogError, Partition, RegisteredTable, TableDefinition};
use lake::key::{ETag, ObjectKey};
use lake::layout::ReadingDate;
use lake::store::{
    ByteRange, Object, ObjectMeta, ObjectStream, Page, Precondition, Store, StoreError, Upload,
};

use crate::world::Shared;

/// What a handler asks of the store or the catalog.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Head(ObjectKey),
    Get(ObjectKey, ByteRange),
    Stream(ObjectKey),
    Put(ObjectKey, Bytes, Precondition),
    /// The beginning of an upload, or so many more bytes of it: nobody sees anything of them before
    /// it is complete, which is a put.
    Upload(ObjectKey, usize),
    Delete(ObjectKey),
    List(String, Option<ObjectKey>),
    Table(String),
    CreateTable(TableDefinition),
    UpdateTable(TableDefinition, String),
    Partition(String, ReadingDate),
    MovePartition(String, ReadingDate, String),
    CreatePartition(String, ReadingDate),
    DeletePartition(String, ReadingDate),
    Partitions(String),
}

impl Call {
    /// Whether it changes anything.
    pub(crate) fn writes(&self) -> bool {
        matches!(
            self,
            Self::Put(..)
                | Self::Delete(_)
                | Self::CreateTable(_)
                | Self::UpdateTable(..)
                | Self::CreatePartition(..)
                | Self::MovePartition(..)
                | Self::DeletePartition(..)
        )
    }

    /// The call on one line, for a trace.
    pub(crate) fn line(&self) -> String {
        match self {
            Self::Head(key) => format!("head {key}"),
            Self::Get(key, range) => format!("get {key} {range:?}"),
            Self::Stream(key) => format!("stream {key}"),
            Self::Put(key, bytes, when) => format!("put {key} {} bytes {when:?}", bytes.len()),
            Self::Upload(key, length) => format!("upload {key} {length} bytes"),
            Self::Delete(key) => format!("delete {key}"),
            Self::List(prefix, after) => format!("list {prefix} after {after:?}"),
            Self::Table(name) => format!("table {name}"),
            Self::CreateTable(table) => format!("create table {}", table.name),
            Self::UpdateTable(table, _) => format!("update table {}", table.name),
            Self::Partition(table, date) => format!("partition {table} {date}"),
            Self::MovePartition(table, date, location) => {
                format!("move partition {table} {date} to {location}")
            }
            Self::CreatePartition(table, date) => format!("create partition {table} {date}"),
            Self::DeletePartition(table, date) => format!("delete partition {table} {date}"),
            Self::Partitions(table) => format!("partitions {table}"),
        }
    }

    /// The answer of a store or catalog that could not be reached, or whose answer was lost.
    pub(crate) fn unavailable(&self) -> Reply {
        let lost = "the simulator lost the call or its answer";
        let failed = |operation, key: &ObjectKey| {
            let key = key.clone();
            Reply::StoreError(StoreError::Unavailable { operation, key, source: lost.into() })
        };
        match self {
            Self::Head(key) => failed("head", key),
            Self::Get(key, _) | Self::Stream(key) => failed("get", key),
            Self::Put(key, ..) | Self::Upload(key, _) => failed("put", key),
            Self::Delete(key) => failed("delete", key),
            Self::List(prefix, _) => failed("list", &ObjectKey::new(prefix.as_str())),
            catalog => Reply::CatalogError(CatalogError::Unavailable {
                operation: "call",
                table: catalog.line(),
                source: lost.into(),
            }),
        }
    }
}

/// The answer to a [`Call`].
#[derive(Debug)]
pub(crate) enum Reply {
    Meta(Option<ObjectMeta>),
    Object(Option<Object>),
    /// An object whose bytes break off: so many arrive.
    Broken(Object, usize),
    Put(ETag),
    Done,
    Page(Page),
    Table(Option<RegisteredTable>),
    Partition(Option<Partition>),
    Moved(bool),
    Partitions(Vec<Partition>),
    StoreError(StoreError),
    CatalogError(CatalogError),
}

/// Where an answer is left, and who waits for it.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    pub(crate) reply: Option<Reply>,
    pub(crate) waker: Option<Waker>,
}

/// A call that waits for its answer.
pub(crate) struct Ask(pub(crate) Arc<Mutex<Slot>>);

impl Future for Ask {
    type Output = Reply;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Reply> {
        let mut slot = self.0.lock().expect("one thread");
        match slot.reply.take() {
            Some(reply) => Poll::Ready(reply),
            None => {
                slot.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// The store and the catalog of a simulated world.
#[derive(Clone)]
pub(crate) struct Remote(pub(crate) Shared);

impl Remote {
    fn ask(&self, call: Call) -> Ask {
        self.0.lock().expect("one thread").ask(call)
    }
}

fn unexpected<T>(reply: Reply) -> Result<T, StoreError> {
    match reply {
        Reply::StoreError(error) => Err(error),
        other => panic!("{other:?} answers another call"),
    }
}

fn unexpected_of_catalog<T>(reply: Reply) -> Result<T, CatalogError> {
    match reply {
        Reply::CatalogError(error) => Err(error),
        other => panic!("{other:?} answers another call"),
    }
}

#[async_trait]
impl Store for Remote {
    async fn head(&self, key: &ObjectKey) -> Result<Option<ObjectMeta>, StoreError> {
        match self.ask(Call::Head(key.clone())).await {
            Reply::Meta(meta) => Ok(meta),
            other => unexpected(other),
        }
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> Result<Option<Object>, StoreError> {
        match self.ask(Call::Get(key.clone(), range)).await {
            Reply::Object(object) => Ok(object),
            other => unexpected(other),
        }
    }

    async fn stream(&self, key: &ObjectKey) -> Result<Option<ObjectStream>, StoreError> {
        let call = Call::Stream(key.clone());
        match self.ask(call.clone()).await {
            Reply::Object(object) => Ok(object.map(|Object { meta, bytes }| {
                let chunk = (bytes.len() / 2).max(1);
                let chunks = bytes.chunks(chunk).map(|chunk| Ok(Bytes::copy_from_slice(chunk)));
                let chunks = futures::stream::iter(chunks.collect::<Vec<_>>());
                let (world, key, etag) = (Arc::clone(&self.0), meta.key.clone(), meta.etag.clone());
                let end = futures::stream::poll_fn(move |_| {
                    world.lock().expect("one thread").read_whole(&key, &etag);
                    Poll::Ready(None)
                });
                ObjectStream { meta, chunks: chunks.chain(end).boxed() }
            })),
            Reply::Broken(Object { meta, bytes }, arrive) => {
                let lost = match call.unavailable() {
                    Reply::StoreError(error) => error,
                    other => panic!("{other:?} answers another call"),
                };
                let chunks = vec![Ok(bytes.slice(..arrive)), Err(lost)];
                Ok(Some(ObjectStream { meta, chunks: futures::stream::iter(chunks).boxed() }))
            }
            other => unexpected(other),
        }
    }

    async fn put(
        &self,
        key: &ObjectKey,
        bytes: Bytes,
        when: Precondition,
    ) -> Result<ETag, StoreError> {
        match self.ask(Call::Put(key.clone(), bytes, when)).await {
            Reply::Put(etag) => Ok(etag),
            other => unexpected(other),
        }
    }

    async fn upload(&self, key: &ObjectKey) -> Result<Box<dyn Upload>, StoreError> {
        let mut upload =
            RemoteUpload { remote: self.clone(), key: key.clone(), bytes: BytesMut::new() };
        upload.write(Bytes::new()).await?;
        Ok(Box::new(upload))
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        match self.ask(Call::Delete(key.clone())).await {
            Reply::Done => Ok(()),
            other => unexpected(other),
        }
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Page, StoreError> {
        match self.ask(Call::List(prefix.to_owned(), after.cloned())).await {
            Reply::Page(page) => Ok(page),
            other => unexpected(other),
        }
    }
}

struct RemoteUpload {
    remote: Remote,
    key: ObjectKey,
    bytes: BytesMut,
}

#[async_trait]
impl Upload for RemoteUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        match self.remote.ask(Call::Upload(self.key.clone(), bytes.len())).await {
            Reply::Done => {
                self.bytes.extend_from_slice(&bytes);
                Ok(())
            }
            other => unexpected(other),
        }
    }

    async fn complete(self: Box<Self>, when: Precondition) -> Result<ETag, StoreError> {
        self.remote.put(&self.key, self.bytes.freeze(), when).await
    }

    async fn abort(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl Catalog for Remote {
    async fn table(&self, name: &str) -> Result<Option<RegisteredTable>, CatalogError> {
        match self.ask(Call::Table(name.to_owned())).await {
            Reply::Table(table) => Ok(table),
            other => unexpected_of_catalog(other),
        }
    }

    async fn create_table(&self, definition: &TableDefinition) -> Result<(), CatalogError> {
        match self.ask(Call::CreateTable(definition.clone())).await {
            Reply::Done => Ok(()),
            other => unexpected_of_catalog(other),
        }
    }

    async fn update_table(
        &self,
        definition: &TableDefinition,
        version: &str,
    ) -> Result<(), CatalogError> {
        match self.ask(Call::UpdateTable(definition.clone(), version.to_owned())).await {
            Reply::Done => Ok(()),
            other => unexpected_of_catalog(other),
        }
    }

    async fn partition(
        &self,
        table: &str,
        date: ReadingDate,
    ) -> Result<Option<Partition>, CatalogError> {
        match self.ask(Call::Partition(table.to_owned(), date)).await {
            Reply::Partition(partition) => Ok(partition),
            other => unexpected_of_catalog(other),
        }
    }

    async fn move_partition(
        &self,
        table: &str,
        date: ReadingDate,
        location: &str,
    ) -> Result<bool, CatalogError> {
        let call = Call::MovePartition(table.to_owned(), date, location.to_owned());
        match self.ask(call).await {
            Reply::Moved(moved) => Ok(moved),
            other => unexpected_of_catalog(other),
        }
    }

    async fn create_partition(&self, table: &str, date: ReadingDate) -> Result<(), CatalogError> {
        match self.ask(Call::CreatePartition(table.to_owned(), date)).await {
            Reply::Done => Ok(()),
            other => unexpected_of_catalog(other),
        }
    }

    async fn delete_partition(&self, table: &str, date: ReadingDate) -> Result<(), CatalogError> {
        match self.ask(Call::DeletePartition(table.to_owned(), date)).await {
            Reply::Done => Ok(()),
            other => unexpected_of_catalog(other),
        }
    }

    async fn partitions(&self, table: &str) -> Result<Vec<Partition>, CatalogError> {
        match self.ask(Call::Partitions(table.to_owned())).await {
            Reply::Partitions(partitions) => Ok(partitions),
            other => unexpected_of_catalog(other),
        }
    }
}
