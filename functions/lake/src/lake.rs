//! A lake: its store, its catalog, its settings, and how its own documents are read and written.

mod bounds;
mod documents;
mod settings;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use bytes::Bytes;
use futures::future::try_join_all;
use futures::stream::{self, Stream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use self::bounds::Bounds;
pub(crate) use self::documents::json;
use self::documents::{Cache, parse};
pub use self::settings::Settings;
use crate::catalog::{Catalog, register_table};
use crate::error::Error;
use crate::key::{ETag, LakeKey, ObjectKey, Parts};
use crate::layout::SETTINGS;
use crate::policy::Policies;
use crate::reader;
use crate::store::{ByteRange, Precondition, Store, StoreError, Upload};
use crate::tables::Table;

/// An object that was decoded, with its version.
pub struct Versioned<T> {
    /// Of the object.
    pub etag: ETag,
    /// What it says.
    pub value: Arc<T>,
}

/// The outcome of a conditional write.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Put {
    /// It happened; this is the new version.
    Done(ETag),
    /// The object had moved; look again.
    Moved,
}

impl Put {
    fn of(written: Result<ETag, StoreError>) -> Result<Self, Error> {
        match written {
            Ok(etag) => Ok(Self::Done(etag)),
            Err(StoreError::Precondition { .. }) => Ok(Self::Moved),
            Err(error) => Err(error.into()),
        }
    }
}

/// Room for a large object in memory, until it is dropped.
#[derive(Debug)]
pub struct Room {
    bytes: u64,
    _permit: Option<OwnedSemaphorePermit>,
}

/// Objects of a page of a listing, as S3 has it.
const PAGE_OBJECTS: usize = 1_000;

/// Unit in which room is given.
const ROOM_BYTES: u64 = 1 << 10;

impl Room {
    /// How much it is.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// An object that is being written, in pieces of a size that suits the store: one that is no larger
/// than a piece is put whole.
pub struct Pieces {
    store: Arc<dyn Store>,
    key: ObjectKey,
    upload: Option<Box<dyn Upload>>,
    waiting: Vec<u8>,
    piece_bytes: usize,
}

impl Pieces {
    /// Adds the next bytes.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= self.piece_bytes {
            let upload = match &mut self.upload {
                Some(upload) => upload,
                none => none.insert(self.store.upload(&self.key).await?),
            };
            upload.write(std::mem::take(&mut self.waiting).into()).await?;
        }
        Ok(())
    }

    /// Makes the object what was written, under a precondition.
    pub async fn complete(self, when: Precondition) -> Result<Put, Error> {
        let Self { store, key, upload, waiting, .. } = self;
        let Some(mut upload) = upload else {
            return Put::of(store.put(&key, waiting.into(), when).await);
        };
        if !waiting.is_empty() {
            upload.write(waiting.into()).await?;
        }
        Put::of(upload.complete(when).await)
    }

    /// Gives it up.
    pub async fn abort(self) -> Result<(), Error> {
        match self.upload {
            Some(upload) => Ok(upload.abort().await?),
            None => Ok(()),
        }
    }
}

/// What tells the time, epoch milliseconds.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// A lake.
pub struct Lake {
    /// Where its objects are.
    pub store: Arc<dyn Store>,
    /// Where its tables are registered.
    pub catalog: Arc<dyn Catalog>,
    /// What it records of itself.
    pub settings: Settings,
    /// Its secret.
    pub key: LakeKey,
    /// Bounds of the work.
    pub bounds: Bounds,
    /// Bounds of the reader.
    pub limits: reader::Limits,
    /// What tells for how long a lost invocation has been lost; nothing that is derived depends on
    /// it. It stands still unless it is set: then what such a one may still do is always waited for.
    pub clock: Clock,
    cache: Mutex<Cache>,
    /// Of objects that are read now, what is held by whoever does: once is enough.
    reading: Mutex<BTreeMap<ObjectKey, Weak<tokio::sync::Mutex<()>>>>,
    /// Held by whoever registers tables: once is enough.
    registered: tokio::sync::Mutex<BTreeSet<&'static str>>,
    large: OnceLock<Arc<Semaphore>>,
    waiting: OnceLock<Arc<Semaphore>>,
    together: OnceLock<Arc<Semaphore>>,
    /// Held by whoever merges runs: once is enough in this process.
    pub(crate) merging: tokio::sync::Mutex<()>,
}

impl Lake {
    /// Opens the lake in `store`, or makes it there if there is none.
    pub async fn open(
        store: Arc<dyn Store>,
        catalog: Arc<dyn Catalog>,
        key: LakeKey,
        parts: Parts,
        policies: Policies,
    ) -> Result<Self, Error> {
        let recorded = Self::recorded_settings(store.as_ref()).await?;
        Self::open_recorded(store, catalog, key, parts, policies, recorded).await
    }

    /// Opens the lake in `store`, of which this was [recorded](Self::recorded_settings); or makes it.
    pub async fn open_recorded(
        store: Arc<dyn Store>,
        catalog: Arc<dyn Catalog>,
        key: LakeKey,
        parts: Parts,
        policies: Policies,
        recorded: Option<Settings>,
    ) -> Result<Self, Error> {
        let wanted = Settings::wanted(&key, parts, policies);
        let found = match recorded {
            Some(found) => found,
            None => Self::record(store.as_ref(), &wanted).await?,
        };
        wanted.agree_with(&found)?;
        Ok(Self {
            store,
            catalog,
            settings: found,
            key,
            bounds: Bounds::default(),
            limits: reader::Limits::default(),
            clock: Arc::new(|| 0),
            cache: Mutex::default(),
            reading: Mutex::default(),
            registered: tokio::sync::Mutex::default(),
            large: OnceLock::new(),
            waiting: OnceLock::new(),
            together: OnceLock::new(),
            merging: tokio::sync::Mutex::default(),
        })
    }

    /// Records the settings of a new lake; returns those of whoever recorded first.
    async fn record(store: &dyn Store, wanted: &Settings) -> Result<Settings, Error> {
        let key = ObjectKey::new(SETTINGS);
        let found =
            match Put::of(store.put(&key, json(&key, wanted)?, Precondition::IfAbsent).await)? {
                Put::Done(_) => None,
                Put::Moved => Self::recorded_settings(store).await?,
            };
        Ok(found.unwrap_or_else(|| wanted.clone()))
    }

    /// Changes the policies of the lake in `store`, if it would be opened but for them. Whatever was
    /// derived under others is unfinished from then on.
    pub async fn change_policies(
        store: &dyn Store,
        key: &LakeKey,
        parts: Parts,
        policies: Policies,
    ) -> Result<(), Error> {
        let at = ObjectKey::new(SETTINGS);
        let Some(object) = store.get(&at, ByteRange::All).await? else { return Ok(()) };
        let settings: Settings = parse(&at, &object.bytes)?;
        Settings::wanted(key, parts, settings.policies).agree_with(&settings)?;
        if settings.policies != policies {
            let changes = settings.changes.and(settings.policies, policies);
            let changed = Settings { policies, changes, ..settings };
            let unchanged = Precondition::IfMatch(object.meta.etag);
            store.put(&at, json(&at, &changed)?, unchanged).await?;
        }
        Ok(())
    }

    /// What the lake in `store` recorded of itself; `None` if there is no lake.
    pub async fn recorded_settings(store: &dyn Store) -> Result<Option<Settings>, Error> {
        let key = ObjectKey::new(SETTINGS);
        let object = store.get(&key, ByteRange::All).await?;
        object.map(|object| parse(&key, &object.bytes)).transpose()
    }

    /// Waits until there is room in memory for so many bytes of a large object, or for as many as
    /// there ever are.
    ///
    /// Who has room never asks for more before it is given back: so nobody waits for ever.
    pub async fn room(&self, bytes: u64) -> Room {
        self.room_of(&self.large, bytes, self.bounds.held_bytes_max).await
    }

    /// Waits until there is room for readings that are put together, of so many bytes encoded: `bytes_max`
    /// of them, which is always the same, have room at once, or one that has more.
    ///
    /// Who has such room may ask for [`room`](Self::room), and never the other way round.
    pub async fn room_together(&self, bytes: u64, bytes_max: u64) -> Room {
        self.room_of(&self.together, bytes, bytes_max).await
    }

    /// Room for so many bytes, of `large_max` times `bytes_max`; or for `bytes_max`.
    async fn room_of(&self, all: &OnceLock<Arc<Semaphore>>, bytes: u64, bytes_max: u64) -> Room {
        let bytes = bytes.min(bytes_max);
        let units = |bytes: u64| u32::try_from(bytes / ROOM_BYTES).unwrap_or(u32::MAX).max(1);
        let most = units(bytes_max) as usize * self.bounds.large_max.max(1);
        let room = Arc::clone(all.get_or_init(|| Arc::new(Semaphore::new(most))));
        // It is never closed, so that there is a permit in the end.
        Room { bytes, _permit: room.acquire_many_owned(units(bytes)).await.ok() }
    }

    /// Room for records that wait for others of their batch, if there is any left: nobody waits for
    /// it, so that nobody waits for ever.
    pub fn room_to_wait(&self, bytes: u64) -> Option<Room> {
        let units = |bytes: u64| u32::try_from(bytes.div_ceil(ROOM_BYTES)).unwrap_or(u32::MAX);
        let most = self.bounds.open_bytes_max / ROOM_BYTES;
        let all = || Arc::new(Semaphore::new(usize::try_from(most).unwrap_or(0)));
        let room = Arc::clone(self.waiting.get_or_init(all));
        let permit = room.try_acquire_many_owned(units(bytes)).ok()?;
        Some(Room { bytes, _permit: Some(permit) })
    }

    /// Begins to write an object piece by piece.
    pub fn pieces(&self, key: ObjectKey) -> Pieces {
        let (store, piece_bytes) = (Arc::clone(&self.store), self.bounds.piece_bytes);
        Pieces { store, key, upload: None, waiting: Vec::new(), piece_bytes }
    }

    /// Writes an object under a precondition.
    pub async fn put(
        &self,
        key: &ObjectKey,
        bytes: Bytes,
        when: Precondition,
    ) -> Result<Put, Error> {
        Put::of(self.store.put(key, bytes, when).await)
    }

    /// Writes an empty marker, whether or not it is there.
    pub async fn mark(&self, key: &ObjectKey) -> Result<(), Error> {
        self.store.put(key, Bytes::new(), Precondition::None).await?;
        Ok(())
    }

    /// Registers tables when this process first needs them.
    pub async fn register(&self, tables: &[&'static Table]) -> Result<(), Error> {
        let mut registered = self.registered.lock().await;
        let (catalog, attempts_max) = (self.catalog.as_ref(), self.bounds.attempts_max);
        let new = tables.iter().filter(|table| !registered.contains(table.name));
        try_join_all(new.map(|table| register_table(catalog, table, attempts_max))).await?;
        registered.extend(tables.iter().map(|table| table.name));
        Ok(())
    }

    /// Looks at each of some objects of which the bytes are known, at many at once; at those that are
    /// not small, one after the other.
    pub fn look_at_each<'a, T: 'a, L: Future + 'a>(
        &self,
        objects: Vec<(T, u64)>,
        look: impl Fn(T) -> L + Copy + 'a,
    ) -> impl Stream<Item = L::Output> + 'a {
        let is_small = |(_, bytes): &(T, u64)| *bytes <= self.bounds.small_bytes_max;
        let (small, large): (Vec<_>, Vec<_>) = objects.into_iter().partition(is_small);
        let looks = move |objects: Vec<(T, u64)>, at_once| {
            stream::iter(objects).map(move |(object, _)| look(object)).buffered(at_once)
        };
        looks(small, self.bounds.looks_at_once).chain(looks(large, 1))
    }

    /// How many parts of a register are held at once, where all are compared or several are decided
    /// on together: where there are few, each may be large.
    pub fn parts_at_once(&self) -> usize {
        let parts = usize::from(u16::from(self.settings.parts));
        (parts / 16).min(self.bounds.looks_at_once).max(self.bounds.concurrency)
    }

    /// How many looks at single parts of a register cost as much as a listing of all its parts.
    pub fn looks_per_listing(&self) -> usize {
        let pages = usize::from(u16::from(self.settings.parts)).div_ceil(PAGE_OBJECTS);
        pages.saturating_mul(self.bounds.looks_per_page)
    }

    /// The failure of work whose inputs or target moved at every attempt.
    pub fn contended(&self, what: String, moved: &str) -> Error {
        Error::Contended { what, moved: moved.to_owned(), attempts: self.bounds.attempts_max }
    }
}
