//! The catalog: what the lake needs of the Glue Data Catalog, and no more.

mod stored;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use self::stored::StoreCatalog;
use crate::error::Error;
use crate::layout::ReadingDate;
use crate::tables::{Format, READING_DATE, READING_DATE_COMMENT, READING_DATE_TYPE, Table};

/// A column as the catalog has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnDefinition {
    /// Its name.
    pub name: String,
    /// Its Hive type.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it means.
    pub comment: String,
    /// Whether it is personal data.
    pub personal: bool,
}

/// A table as the catalog has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableDefinition {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub comment: String,
    /// Its columns, without the partition keys.
    pub columns: Vec<ColumnDefinition>,
    /// Its partition keys.
    pub partition_keys: Vec<ColumnDefinition>,
    /// Prefix of its objects within the bucket.
    pub location: String,
    /// `json` or `parquet`.
    pub format: String,
}

impl From<&Table> for TableDefinition {
    fn from(table: &Table) -> Self {
        let columns = table.columns.iter().map(|column| ColumnDefinition {
            name: column.name.to_owned(),
            kind: column.kind.name().to_owned(),
            comment: column.comment.to_owned(),
            personal: column.personal,
        });
        let reading_date = ColumnDefinition {
            name: READING_DATE.to_owned(),
            kind: READING_DATE_TYPE.to_owned(),
            comment: READING_DATE_COMMENT.to_owned(),
            personal: false,
        };
        Self {
            name: table.name.to_owned(),
            comment: table.comment.to_owned(),
            columns: columns.collect(),
            partition_keys: table.partitioned.then_some(reading_date).into_iter().collect(),
            location: table.location.to_owned(),
            format: match table.format {
                Format::Json => "json".to_owned(),
                Format::Parquet => "parquet".to_owned(),
            },
        }
    }
}

/// A partition in the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its day.
    pub date: ReadingDate,
    /// Prefix of its objects within the bucket.
    pub location: String,
}

/// A table in the catalog, with the version an update must name.
#[derive(Clone, Debug)]
pub struct RegisteredTable {
    /// The definition.
    pub definition: TableDefinition,
    /// Changes with every update.
    pub version: String,
}

/// Why a catalog did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// Somebody else registered the table first.
    #[error("create table {table}: it already exists")]
    AlreadyExists {
        /// The table.
        table: String,
    },
    /// Somebody else changed the table since it was looked at.
    #[error("update table {table}: it was changed concurrently")]
    Changed {
        /// The table.
        table: String,
    },
    /// Anything else. Unknown errors are worth another try, and are never absence.
    #[error("{operation} {table}: {source}")]
    Unavailable {
        /// What was asked.
        operation: &'static str,
        /// The table.
        table: String,
        /// What the catalog said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl CatalogError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        true
    }
}

/// A catalog of tables and partitions.
#[async_trait]
pub trait Catalog: Send + Sync {
    /// The table of that name; `None` if there is none.
    async fn table(&self, name: &str) -> Result<Option<RegisteredTable>, CatalogError>;

    /// Registers a table; [`CatalogError::AlreadyExists`] if there is one.
    async fn create_table(&self, definition: &TableDefinition) -> Result<(), CatalogError>;

    /// Replaces a table that is still at `version`; otherwise [`CatalogError::Changed`].
    async fn update_table(
        &self,
        definition: &TableDefinition,
        version: &str,
    ) -> Result<(), CatalogError>;

    /// The partition of a day; `None` if none is registered.
    async fn partition(
        &self,
        table: &str,
        date: ReadingDate,
    ) -> Result<Option<Partition>, CatalogError>;

    /// Registers a partition at the day's folder of the table; it is no error if there is one,
    /// wherever that is.
    async fn create_partition(&self, table: &str, date: ReadingDate) -> Result<(), CatalogError>;

    /// Points a partition elsewhere, in one update; `false` if none is registered. Whoever looks
    /// sees the old location or the new one. There is no condition on the old one: Glue knows none.
    async fn move_partition(
        &self,
        table: &str,
        date: ReadingDate,
        location: &str,
    ) -> Result<bool, CatalogError>;

    /// Removes a partition; it is no error if there is none.
    async fn delete_partition(&self, table: &str, date: ReadingDate) -> Result<(), CatalogError>;

    /// The partitions of a table, in order.
    async fn partitions(&self, table: &str) -> Result<Vec<Partition>, CatalogError>;
}

/// Registers a table, whoever else is doing so; touches nothing if its definition is right already.
pub async fn register_table(
    catalog: &dyn Catalog,
    table: &Table,
    attempts_max: usize,
) -> Result<(), Error> {
    let definition = TableDefinition::from(table);
    for _ in 0..attempts_max {
        let outcome = match catalog.table(table.name).await? {
            Some(registered) if registered.definition == definition => return Ok(()),
            Some(registered) => catalog.update_table(&definition, &registered.version).await,
            None => catalog.create_table(&definition).await,
        };
        match outcome {
            Ok(()) => return Ok(()),
            Err(CatalogError::AlreadyExists { .. } | CatalogError::Changed { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Contended {
        what: format!("register table {}", table.name),
        moved: "its definition".to_owned(),
        attempts: attempts_max,
    })
}
