//! What is really there: the objects and the catalog, past and present, decoded once.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::FutureExt;
use lake::catalog::{Catalog, CatalogError, StoreCatalog};
use lake::key::{ETag, KeyHash, LakeKey, ObjectKey, Part, Parts};
use lake::layout::{self, ReadingDate, Slice};
use lake::registers::slim::{self, Slim, SlimRow};
use lake::store::{MemoryStore, Store, StoreError};
use serde::de::DeserializeOwned;

use crate::reference::SECRET;
use crate::store::{Call, Reply};
use crate::table::{Derived, Row};

/// The objects and the catalog.
pub(crate) struct Bucket {
    store: MemoryStore,
    catalog_store: Arc<MemoryStore>,
    catalog: StoreCatalog,
    /// Every object there is.
    pub(crate) objects: BTreeMap<ObjectKey, ETag>,
    versions: HashMap<ETag, Bytes>,
    decoded: Mutex<HashMap<ETag, Arc<Derived>>>,
    people: Mutex<HashMap<String, KeyHash>>,
    /// The secret of the lake.
    pub(crate) key: LakeKey,
    /// Parts of the registers.
    pub(crate) parts: Parts,
}

fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("memory does not wait")
}

impl Bucket {
    pub(crate) fn new(parts: u16, page_max: usize) -> Self {
        let catalog_store = Arc::new(MemoryStore::default());
        Self {
            store: MemoryStore::with_page_max(page_max),
            catalog: StoreCatalog::new(Arc::clone(&catalog_store) as Arc<dyn Store>),
            catalog_store,
            objects: BTreeMap::new(),
            versions: HashMap::new(),
            decoded: Mutex::default(),
            people: Mutex::default(),
            key: LakeKey::new(SECRET).expect("the secret is long enough"),
            parts: Parts::try_from(parts).expect("a power of two"),
        }
    }

    /// Does what a call asks.
    pub(crate) fn perform(&mut self, call: &Call) -> Reply {
        let store = |error: StoreError| Reply::StoreError(error);
        match call {
            Call::Head(key) => now(self.store.head(key)).map_or_else(store, Reply::Meta),
            Call::Get(key, range) => {
                now(self.store.get(key, range.clone())).map_or_else(store, Reply::Object)
            }
            Call::Stream(key) => {
                let all = lake::store::ByteRange::All;
                now(self.store.get(key, all)).map_or_else(store, Reply::Object)
            }
            Call::Put(key, bytes, when) => {
                match now(self.store.put(key, bytes.clone(), when.clone())) {
                    Ok(etag) => {
                        self.objects.insert(key.clone(), etag.clone());
                        self.versions.insert(etag.clone(), bytes.clone());
                        Reply::Put(etag)
                    }
                    Err(error) => store(error),
                }
            }
            Call::Upload(..) => Reply::Done,
            Call::Delete(key) => {
                self.objects.remove(key);
                now(self.store.delete(key)).map_or_else(store, |()| Reply::Done)
            }
            Call::List(prefix, after) => {
                now(self.store.list(prefix, after.as_ref())).map_or_else(store, Reply::Page)
            }
            _ => self.perform_in_catalog(call),
        }
    }

    fn perform_in_catalog(&self, call: &Call) -> Reply {
        let failed = |error: CatalogError| Reply::CatalogError(error);
        let done = |result: Result<(), CatalogError>| result.map_or_else(failed, |()| Reply::Done);
        match call {
            Call::Table(name) => now(self.catalog.table(name)).map_or_else(failed, Reply::Table),
            Call::CreateTable(table) => done(now(self.catalog.create_table(table))),
            Call::UpdateTable(table, version) => {
                done(now(self.catalog.update_table(table, version)))
            }
            Call::Partition(table, date) => {
                now(self.catalog.partition(table, *date)).map_or_else(failed, Reply::Partition)
            }
            Call::MovePartition(table, date, location) => {
                let moved = now(self.catalog.move_partition(table, *date, location));
                moved.map_or_else(failed, Reply::Moved)
            }
            Call::CreatePartition(table, date) => {
                done(now(self.catalog.create_partition(table, *date)))
            }
            Call::DeletePartition(table, date) => {
                done(now(self.catalog.delete_partition(table, *date)))
            }
            Call::Partitions(table) => {
                now(self.catalog.partitions(table)).map_or_else(failed, Reply::Partitions)
            }
            other => panic!("{other:?} is not for the catalog"),
        }
    }

    /// Where the partitions of a table lead.
    pub(crate) fn locations(&self, table: &str) -> BTreeMap<ReadingDate, String> {
        let partitions = now(self.catalog.partitions(table)).expect("memory does not fail");
        partitions.into_iter().map(|partition| (partition.date, partition.location)).collect()
    }

    /// The partitions of a table.
    pub(crate) fn partitions(&self, table: &str) -> Vec<ReadingDate> {
        self.locations(table).into_keys().collect()
    }

    /// The rows of the objects below a prefix, sorted.
    pub(crate) fn rows_below(&self, prefix: &str) -> Vec<Row> {
        let derived = self.derived_below(prefix);
        let mut rows: Vec<Row> = derived.iter().flat_map(|(_, d)| d.rows.clone()).collect();
        rows.sort();
        rows
    }

    /// Everything, to compare with later.
    pub(crate) fn snapshot(&self) -> BTreeMap<ObjectKey, (ETag, Bytes)> {
        let mut all = self.store.snapshot();
        let catalog = self.catalog_store.snapshot().into_iter();
        all.extend(catalog.map(|(key, object)| (ObjectKey::new(format!("catalog:{key}")), object)));
        all
    }

    /// The objects below a prefix.
    pub(crate) fn below<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a ObjectKey, &'a ETag)> {
        self.objects
            .range(ObjectKey::new(prefix)..)
            .take_while(move |(key, _)| key.as_str().starts_with(prefix))
    }

    /// The bytes of a version that was ever written.
    pub(crate) fn bytes(&self, etag: &ETag) -> &Bytes {
        &self.versions[etag]
    }

    /// A JSON document that was ever written.
    pub(crate) fn document<T: DeserializeOwned>(&self, etag: &ETag) -> T {
        serde_json::from_slice(self.bytes(etag)).expect("a document of the lake's own")
    }

    /// A slim part of a register that was ever written.
    pub(crate) fn slim<R: SlimRow>(&self, etag: &ETag) -> Slim<R> {
        Slim::of_bytes(self.bytes(etag)).expect("a slim part")
    }

    /// What a register said in the runs of such versions: of each person what stands.
    pub(crate) fn runs<'a, R: SlimRow>(
        &self,
        etags: impl Iterator<Item = &'a ETag>,
    ) -> BTreeMap<KeyHash, R> {
        let mut standing: BTreeMap<KeyHash, R> = BTreeMap::new();
        for etag in etags {
            for (person, row) in slim::rows_of_run::<R>(self.bytes(etag)).expect("a run") {
                let known = standing.get(&person).map(SlimRow::revision);
                if known.is_none_or(|known| known < row.revision()) {
                    standing.insert(person, row);
                }
            }
        }
        standing
    }

    /// The revision of such a part.
    pub(crate) fn slim_revision(&self, etag: &ETag) -> u64 {
        let revision = self.bytes(etag)[8..].first_chunk().expect("its second eight bytes");
        u64::from_be_bytes(*revision)
    }

    /// A JSON document as it is now.
    pub(crate) fn load<T: DeserializeOwned>(&self, key: &ObjectKey) -> Option<T> {
        self.objects.get(key).map(|etag| self.document(etag))
    }

    /// A derived object that was ever written.
    pub(crate) fn derived(&self, etag: &ETag) -> Arc<Derived> {
        let mut decoded = self.decoded.lock().expect("one thread");
        let bytes = &self.versions[etag];
        Arc::clone(
            decoded.entry(etag.clone()).or_insert_with(|| Arc::new(Derived::read(bytes.clone()))),
        )
    }

    /// The derived objects below a prefix.
    pub(crate) fn derived_below(&self, prefix: &str) -> Vec<(ObjectKey, Arc<Derived>)> {
        self.below(prefix).map(|(key, etag)| (key.clone(), self.derived(etag))).collect()
    }

    /// Hash of a person.
    pub(crate) fn person(&self, email: &str) -> KeyHash {
        let mut people = self.people.lock().expect("one thread");
        *people.entry(email.to_owned()).or_insert_with(|| self.key.person(email))
    }

    /// Every part of the registers.
    pub(crate) fn all_parts(&self) -> Vec<Part> {
        self.parts.all().collect()
    }
}

/// The reading tables past landing, with the zones they are in.
pub(crate) const READING_ZONES: [(&str, &str); 3] = [
    ("accelerometer_trusted", layout::TRUSTED_ACCELEROMETER),
    ("step_trainer_trusted", layout::TRUSTED_STEP_TRAINER),
    ("machine_learning_curated", layout::CURATED_MACHINE_LEARNING),
];

/// The table and the day of an object of readings.
pub(crate) fn day_of(key: &ObjectKey) -> Option<(&'static str, ReadingDate)> {
    let found = |(table, zone)| Slice::of_key(key, zone).map(|slice| (table, slice.date));
    READING_ZONES.into_iter().find_map(found)
}

/// The folder of a date of a table.
pub(crate) fn folder_of(table: &str, date: ReadingDate) -> String {
    let zone = READING_ZONES.into_iter().find(|(name, _)| *name == table);
    format!("{}reading_date={date}/", zone.expect("a table of readings").1)
}
