//! A lake: its store, its catalog, its settings, and how its own documents are read and written.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use bytes::Bytes;
use futures::future::try_join_all;
use futures::stream::{self, Stream, StreamExt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::catalog::{Catalog, register_table};
use crate::error::{Error, SettingsError};
use crate::key::{ETag, LakeKey, ObjectKey, Parts};
use crate::layout::{LAYOUT_VERSION, SETTINGS};
use crate::policy::{Changes, Policies};
use crate::reader;
use crate::store::{
    ByteRange, Object, ObjectMeta, Precondition, Store, StoreError, UPLOAD_BYTES_MAX, Upload,
};
use crate::tables::Table;

/// What a lake records of itself when it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Version of the layout.
    pub layout_version: u32,
    /// Number of parts of every register.
    pub parts: Parts,
    /// What its tables were derived under.
    pub policies: Policies,
    /// When these were last changed.
    #[serde(default)]
    pub changes: Changes,
    /// Which key its hashes and pseudonyms were made with.
    pub key_fingerprint: String,
}

impl Settings {
    /// Those of a new lake.
    fn wanted(key: &LakeKey, parts: Parts, policies: Policies) -> Self {
        Self {
            layout_version: LAYOUT_VERSION,
            parts,
            policies,
            changes: Changes::default(),
            key_fingerprint: key.fingerprint(),
        }
    }

    /// Refuses to go on where these settings differ from those of a lake.
    fn agree_with(&self, found: &Self) -> Result<(), SettingsError> {
        if found.layout_version != self.layout_version {
            return Err(SettingsError::LayoutVersion {
                found: found.layout_version,
                known: self.layout_version,
            });
        }
        if found.parts != self.parts {
            return Err(SettingsError::Parts {
                found: found.parts.into(),
                wanted: self.parts.into(),
            });
        }
        if found.key_fingerprint != self.key_fingerprint {
            return Err(SettingsError::Key);
        }
        if found.policies != self.policies {
            return Err(SettingsError::Policies {
                found: found.policies.to_string(),
                wanted: self.policies.to_string(),
            });
        }
        Ok(())
    }
}

/// Bounds of the work.
///
/// # Memory
///
/// However large the objects of one invocation, they take no more than about
///
/// - `concurrency` times a few `small_bytes_max` for the small ones, and
/// - `large_max` times four times `held_bytes_max` for the large ones, of all invocations of the
///   process together: what is held, the same in order, the same encoded, and the numbers it is
///   put in order by; of readings `held_readings_bytes_max`, and what a row group of them takes. What
///   takes more is read again and written row group by row group, sorted within each; then there are
///   `open_bytes_max` for the uploads that are open, or for customer records that wait to be folded
///   with those of other objects (and `small_bytes_max` more at the most for each further object of
///   the batch, which one write of a part for all of them is worth);
///
/// beside `cache_bytes_max` (in machine_learning_curated `large_max` times as much again at the most, for
/// the readings of small objects that are put together; of others, those of a stretch of time, of about
/// `held_bytes_max` and of twice that at the most), the reader (a batch, the longest record and a few
/// hundred KiB), and what grows with the people, not with their readings: the register parts, and 150
/// bytes or so for each distinct key of a landing object.
///
/// What is held and where a row group ends depend on the rows and these bounds alone, never on how they
/// arrived: so that derived objects stay pure functions, down to the byte.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// How often a piece of work starts over because its inputs or its target moved.
    pub attempts_max: usize,
    /// How many runs may have been added to an index before they are merged.
    pub runs_max: usize,
    /// Up to how many landing objects a changed register part derives within its own invocation;
    /// beyond, the work fans out through replay markers.
    pub inline_max: usize,
    /// How many pieces of work of one invocation go on at once: as many as Lambda hands out messages, so
    /// that none waits for the others.
    pub concurrency: usize,
    /// How many looks at small documents go on at once: each takes little memory, and most of its
    /// time is waiting.
    pub looks_at_once: usize,
    /// How many looks at single objects a page of a listing is worth: S3 charges 12.5 times as much
    /// for it.
    pub looks_per_page: usize,
    /// From how much on that a comparison found settled the next one lists manifests in stretches: a
    /// sixteenth of them is a few pages then.
    pub many_settled: usize,
    /// When a comparison found so much more settled, at the least, it records that, for whoever has to
    /// begin again.
    pub looks_recorded: usize,
    /// How many people a comparison looks for in manifests at once, or some more: those of the parts that
    /// are read at once.
    pub people_at_once: usize,
    /// Memory the lake's documents may keep between invocations, bytes.
    pub cache_bytes_max: usize,
    /// Tables of which the rows of a small object are kept there too when it is written: for who
    /// reads them next in the same process.
    pub kept_when_written: &'static [&'static Table],
    /// Rows of a Parquet row group.
    pub row_group_rows: usize,
    /// Size of an object, and memory of what is held of it, up to which it is small: as many as
    /// `concurrency` are worked on at once. Bytes.
    pub small_bytes_max: u64,
    /// Memory that the rows of one object may take while it is derived, bytes; beyond, they are dealt
    /// with as they pass.
    pub held_bytes_max: u64,
    /// The same of readings, with their places in order: they are held with numbers in place of texts,
    /// and where a day has more than a row group of them, they are copied a row group at a time.
    pub held_readings_bytes_max: u64,
    /// How many of the largest objects may be held at once.
    pub large_max: usize,
    /// Memory that all uploads of one pass over an object may take, bytes; what does not fit is
    /// left to another pass. Where nothing is uploaded so, what customer records may take that wait.
    pub open_bytes_max: u64,
    /// What the store holds back of an upload at the most, beside the piece it is given, bytes.
    pub upload_bytes_max: u64,
    /// Bytes that an upload is given at once.
    pub piece_bytes: usize,
    /// For how many days after its end a date is left alone before it is compacted.
    pub closed_after_days: u32,
    /// From how many objects with rows on a closed date is compacted.
    pub compacted_objects_min: usize,
    /// Size from which on an object of a compacted date is full, bytes, encoded.
    pub compacted_bytes: u64,
    /// Largest date that is compacted, bytes of its objects. One core rewrites about 15 MiB a second,
    /// and Lambda gives a function of 1 GiB half of one: this many within a third of two minutes.
    pub compacted_date_bytes_max: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            attempts_max: 64,
            runs_max: 8,
            inline_max: 32,
            concurrency: 10,
            looks_at_once: 32,
            looks_per_page: 16,
            many_settled: 1 << 16,
            looks_recorded: 4096,
            people_at_once: 1 << 16,
            cache_bytes_max: 48 << 20,
            kept_when_written: &[],
            row_group_rows: 128 << 10,
            small_bytes_max: 1 << 20,
            held_bytes_max: 12 << 20,
            held_readings_bytes_max: 54 << 20,
            large_max: 1,
            open_bytes_max: 64 << 20,
            upload_bytes_max: UPLOAD_BYTES_MAX,
            piece_bytes: 1 << 20,
            closed_after_days: 2,
            compacted_objects_min: 2,
            compacted_bytes: 128 << 20,
            compacted_date_bytes_max: 256 << 20,
        }
    }
}

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
    /// Held by whoever merges runs of a key index: once is enough.
    pub(crate) merging: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Cache {
    documents: BTreeMap<ObjectKey, Cached>,
    bytes: usize,
}

struct Cached {
    etag: ETag,
    bytes: usize,
    value: Arc<dyn Any + Send + Sync>,
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

    /// Whether an object of the lake's own is in memory, be it up to date or not.
    pub(crate) fn keeps(&self, key: &ObjectKey) -> bool {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.documents.contains_key(key)
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

fn parse<T: DeserializeOwned>(key: &ObjectKey, bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::Unreadable { key: key.clone(), reason: error.to_string() })
}
