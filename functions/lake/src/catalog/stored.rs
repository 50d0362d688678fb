//! A catalog kept as small objects in a store: the embedded catalog of the local environment.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Catalog, CatalogError, Partition, RegisteredTable, TableDefinition};
use crate::key::{ETag, ObjectKey};
use crate::layout::{self, ReadingDate};
use crate::store::{ByteRange, Precondition, Store, StoreError, list_all};
use crate::tables::Table;

/// A catalog over a store: `<table>.json`, and `<table>/<reading_date>` for each partition, which
/// holds its location, or nothing where that is the day's folder of the table.
pub struct StoreCatalog {
    store: Arc<dyn Store>,
}

impl StoreCatalog {
    /// Keeps the catalog in `store`, which holds nothing else.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// A partition, with the version of its object.
    async fn found(
        &self,
        table: &str,
        date: ReadingDate,
    ) -> Result<Option<(Partition, ETag)>, CatalogError> {
        let failed = |error: StoreError| unavailable("get partition", table, error);
        let object = self.store.get(&partition_key(table, date), ByteRange::All).await;
        let Some(object) = object.map_err(failed)? else { return Ok(None) };
        let location = match std::str::from_utf8(&object.bytes) {
            Ok("") => folder(table, date),
            Ok(location) => location.to_owned(),
            Err(error) => return Err(unavailable("get partition", table, error)),
        };
        Ok(Some((Partition { date, location }, object.meta.etag)))
    }

    async fn write(
        &self,
        definition: &TableDefinition,
        when: Precondition,
    ) -> Result<bool, CatalogError> {
        let operation = "write table";
        let json = serde_json::to_vec_pretty(definition)
            .map_err(|error| unavailable(operation, &definition.name, error))?;
        match self.store.put(&table_key(&definition.name), json.into(), when).await {
            Ok(_) => Ok(true),
            Err(StoreError::Precondition { .. }) => Ok(false),
            Err(error) => Err(unavailable(operation, &definition.name, error)),
        }
    }
}

fn table_key(name: &str) -> ObjectKey {
    ObjectKey::new(format!("{name}.json"))
}

fn partition_key(name: &str, date: ReadingDate) -> ObjectKey {
    ObjectKey::new(format!("{name}/{date}"))
}

/// Where a partition is unless it was moved.
fn folder(table: &str, date: ReadingDate) -> String {
    let zone = Table::named(table).map_or(table, |table| table.location);
    layout::day(zone, date)
}

fn unavailable(
    operation: &'static str,
    table: &str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> CatalogError {
    CatalogError::Unavailable { operation, table: table.to_owned(), source: source.into() }
}

#[async_trait]
impl Catalog for StoreCatalog {
    async fn table(&self, name: &str) -> Result<Option<RegisteredTable>, CatalogError> {
        let failed = |error: StoreError| unavailable("get table", name, error);
        let object = self.store.get(&table_key(name), ByteRange::All).await.map_err(failed)?;
        object
            .map(|object| {
                let definition = serde_json::from_slice(&object.bytes)
                    .map_err(|error| unavailable("get table", name, error))?;
                Ok(RegisteredTable { definition, version: object.meta.etag.as_str().to_owned() })
            })
            .transpose()
    }

    async fn create_table(&self, definition: &TableDefinition) -> Result<(), CatalogError> {
        let created = self.write(definition, Precondition::IfAbsent).await?;
        let table = definition.name.clone();
        created.then_some(()).ok_or(CatalogError::AlreadyExists { table })
    }

    async fn update_table(
        &self,
        definition: &TableDefinition,
        version: &str,
    ) -> Result<(), CatalogError> {
        let updated = self.write(definition, Precondition::IfMatch(ETag::new(version))).await?;
        let table = definition.name.clone();
        updated.then_some(()).ok_or(CatalogError::Changed { table })
    }

    async fn partition(
        &self,
        table: &str,
        date: ReadingDate,
    ) -> Result<Option<Partition>, CatalogError> {
        Ok(self.found(table, date).await?.map(|(partition, _)| partition))
    }

    async fn move_partition(
        &self,
        table: &str,
        date: ReadingDate,
        location: &str,
    ) -> Result<bool, CatalogError> {
        loop {
            let Some((_, etag)) = self.found(table, date).await? else { return Ok(false) };
            let (key, bytes) = (partition_key(table, date), Bytes::from(location.to_owned()));
            match self.store.put(&key, bytes, Precondition::IfMatch(etag)).await {
                Ok(_) => return Ok(true),
                // Somebody else changed it, so that somebody gets on.
                Err(StoreError::Precondition { .. }) => {}
                Err(error) => return Err(unavailable("move partition", table, error)),
            }
        }
    }

    async fn create_partition(&self, table: &str, date: ReadingDate) -> Result<(), CatalogError> {
        let key = partition_key(table, date);
        match self.store.put(&key, Bytes::new(), Precondition::IfAbsent).await {
            Ok(_) | Err(StoreError::Precondition { .. }) => Ok(()),
            Err(error) => Err(unavailable("create partition", table, error)),
        }
    }

    async fn delete_partition(&self, table: &str, date: ReadingDate) -> Result<(), CatalogError> {
        let failed = |error: StoreError| unavailable("delete partition", table, error);
        self.store.delete(&partition_key(table, date)).await.map_err(failed)
    }

    async fn partitions(&self, table: &str) -> Result<Vec<Partition>, CatalogError> {
        let prefix = format!("{table}/");
        let failed = |error: StoreError| unavailable("get partitions", table, error);
        let mut partitions = Vec::new();
        for object in list_all(self.store.as_ref(), &prefix).await.map_err(failed)? {
            let Some(date) = object.key.after(&prefix).and_then(ReadingDate::parse) else {
                continue;
            };
            if object.size_bytes == 0 {
                partitions.push(Partition { date, location: folder(table, date) });
            } else if let Some((partition, _)) = self.found(table, date).await? {
                partitions.push(partition);
            }
        }
        Ok(partitions)
    }
}
