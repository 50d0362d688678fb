//! The catalog over a database of the Glue Data Catalog.
//!
//! A table is compared as a whole with what would be sent, and nothing is sent where it is right
//! already. Updates name the version they were decided on (`VersionId`) and archive none
//! (`SkipArchive`: a table may have 100,000 versions). Partitions are asked for in batches, since
//! the answer for one says `EntityNotFoundException` for a missing table and a missing partition
//! alike, and only one of them is absence.

use std::collections::HashMap;
use std::error::Error as StdError;

use async_trait::async_trait;
use aws_sdk_glue::Client;
use aws_sdk_glue::error::{BuildError, ProvideErrorMetadata};
use aws_sdk_glue::types::{
    Column, Partition as GluePartition, PartitionInput, PartitionValueList, SerDeInfo,
    StorageDescriptor, Table as GlueTable, TableInput,
};
use lake::catalog::{
    Catalog, CatalogError, ColumnDefinition, Partition, RegisteredTable, TableDefinition,
};
use lake::layout::{self, ReadingDate};
use lake::tables::Table;

/// Parameter of a column that is personal data.
const PERSONAL: &str = "personal_data";

/// Stands for a table whose objects the catalog would read in some other way than they are written.
const OTHER_FORMAT: &str = "other";

/// A database of the Glue Data Catalog.
#[derive(Clone)]
pub struct GlueCatalog {
    client: Client,
    database: String,
    bucket: String,
}

/// How Athena, Spark and the others read a format.
struct Reading {
    format: &'static str,
    input: &'static str,
    output: &'static str,
    serde: &'static str,
    serde_parameters: &'static [(&'static str, &'static str)],
}

const JSON: Reading = Reading {
    format: "json",
    input: "org.apache.hadoop.mapred.TextInputFormat",
    output: "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat",
    serde: "org.openx.data.jsonserde.JsonSerDe",
    serde_parameters: &[("case.insensitive", "true"), ("ignore.malformed.json", "true")],
};
const PARQUET: Reading = Reading {
    format: "parquet",
    input: "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
    output: "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
    serde: "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
    serde_parameters: &[("serialization.format", "1")],
};

impl Reading {
    fn of(format: &str) -> &'static Self {
        if format == JSON.format { &JSON } else { &PARQUET }
    }

    fn parameters(&self) -> HashMap<String, String> {
        let pairs = self.serde_parameters.iter();
        pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn describes(&self, found: &StorageDescriptor) -> bool {
        let serde = found.serde_info.as_ref();
        found.input_format.as_deref() == Some(self.input)
            && found.output_format.as_deref() == Some(self.output)
            && serde.and_then(|serde| serde.serialization_library.as_deref()) == Some(self.serde)
            && serde.and_then(|serde| serde.parameters.as_ref()) == Some(&self.parameters())
    }
}

impl GlueCatalog {
    /// The tables of `database`, whose objects are in `bucket`.
    pub fn new(client: Client, database: impl Into<String>, bucket: impl Into<String>) -> Self {
        Self { client, database: database.into(), bucket: bucket.into() }
    }

    fn url(&self, prefix: &str) -> String {
        format!("s3://{}/{prefix}", self.bucket)
    }

    fn descriptor(
        &self,
        definition: &TableDefinition,
        location: &str,
    ) -> Result<StorageDescriptor, CatalogError> {
        let reading = Reading::of(&definition.format);
        let serde = SerDeInfo::builder()
            .serialization_library(reading.serde)
            .set_parameters(Some(reading.parameters()));
        Ok(StorageDescriptor::builder()
            .set_columns(Some(columns(&definition.name, &definition.columns)?))
            .location(self.url(location))
            .input_format(reading.input)
            .output_format(reading.output)
            .serde_info(serde.build())
            .build())
    }

    fn input(&self, definition: &TableDefinition) -> Result<TableInput, CatalogError> {
        TableInput::builder()
            .name(&definition.name)
            .description(&definition.comment)
            .table_type("EXTERNAL_TABLE")
            .parameters("EXTERNAL", "TRUE")
            .parameters("classification", &definition.format)
            .set_partition_keys(Some(columns(&definition.name, &definition.partition_keys)?))
            .storage_descriptor(self.descriptor(definition, &definition.location)?)
            .build()
            .map_err(|error: BuildError| unavailable("define table", &definition.name, error))
    }

    /// The definition of a table that is there, such that it equals the wanted one exactly if there
    /// is nothing to send.
    fn definition(&self, found: &GlueTable) -> TableDefinition {
        let empty = StorageDescriptor::builder().build();
        let descriptor = found.storage_descriptor.as_ref().unwrap_or(&empty);
        let parameter =
            |name: &str| found.parameters.as_ref()?.get(name).map(std::string::String::as_str);
        let classified = parameter("classification");
        let is_external = found.table_type.as_deref() == Some("EXTERNAL_TABLE")
            && parameter("EXTERNAL") == Some("TRUE");
        let format = [&JSON, &PARQUET].into_iter().find(|reading| {
            is_external && classified == Some(reading.format) && reading.describes(descriptor)
        });
        let location = descriptor.location.as_deref().unwrap_or_default();
        let within = location.strip_prefix(&self.url(""));
        TableDefinition {
            name: found.name.clone(),
            comment: found.description.clone().unwrap_or_default(),
            columns: descriptor.columns().iter().map(column_definition).collect(),
            partition_keys: found.partition_keys().iter().map(column_definition).collect(),
            location: within.unwrap_or(location).to_owned(),
            format: format.map_or(OTHER_FORMAT, |reading| reading.format).to_owned(),
        }
    }

    fn partition_at(
        &self,
        table: &Table,
        date: ReadingDate,
        location: &str,
    ) -> Result<PartitionInput, CatalogError> {
        let descriptor = self.descriptor(&TableDefinition::from(table), location)?;
        let input = PartitionInput::builder().values(date.to_string());
        Ok(input.storage_descriptor(descriptor).build())
    }

    /// A partition that is there; one outside of the bucket has its whole location.
    fn found(&self, date: ReadingDate, found: &GluePartition) -> Partition {
        let descriptor = found.storage_descriptor.as_ref();
        let location = descriptor.and_then(|d| d.location.as_deref()).unwrap_or_default();
        let within = location.strip_prefix(&self.url("")).unwrap_or(location);
        // Others write it without the slash at the end.
        let slash = if within.ends_with('/') { "" } else { "/" };
        Partition { date, location: format!("{within}{slash}") }
    }
}

#[async_trait]
impl Catalog for GlueCatalog {
    async fn table(&self, name: &str) -> Result<Option<RegisteredTable>, CatalogError> {
        let request = self.client.get_table().database_name(&self.database).name(name);
        let found = match request.send().await {
            Ok(answer) => answer.table,
            Err(error) if is(&error, "EntityNotFoundException") => None,
            Err(error) => return Err(unavailable("get table", name, error)),
        };
        Ok(found.map(|found| RegisteredTable {
            definition: self.definition(&found),
            version: found.version_id.unwrap_or_default(),
        }))
    }

    async fn create_table(&self, definition: &TableDefinition) -> Result<(), CatalogError> {
        let request = self.client.create_table().database_name(&self.database);
        match request.table_input(self.input(definition)?).send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(not_written("create table", &definition.name, error)),
        }
    }

    async fn update_table(
        &self,
        definition: &TableDefinition,
        version: &str,
    ) -> Result<(), CatalogError> {
        let request = self.client.update_table().database_name(&self.database);
        // A catalog that keeps no versions has none to compare with.
        let version = (!version.is_empty()).then(|| version.to_owned());
        let request = request.set_version_id(version).skip_archive(true);
        match request.table_input(self.input(definition)?).send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(not_written("update table", &definition.name, error)),
        }
    }

    async fn partition(
        &self,
        table: &str,
        date: ReadingDate,
    ) -> Result<Option<Partition>, CatalogError> {
        let mut wanted = vec![values("get partition", table, date)?];
        loop {
            let request = self.client.batch_get_partition().database_name(&self.database);
            let request = request.table_name(table).set_partitions_to_get(Some(wanted));
            let answer = request.send().await;
            let answer = answer.map_err(|error| unavailable("get partition", table, error))?;
            match answer.unprocessed_keys {
                Some(unprocessed) if !unprocessed.is_empty() => wanted = unprocessed,
                _ => {
                    let found = answer.partitions.into_iter().flatten().next();
                    return Ok(found.map(|found| self.found(date, &found)));
                }
            }
        }
    }

    async fn move_partition(
        &self,
        table: &str,
        date: ReadingDate,
        location: &str,
    ) -> Result<bool, CatalogError> {
        let operation = "move partition";
        let Some(known) = Table::named(table) else {
            return Err(unavailable(operation, table, UnknownTable));
        };
        let request = self.client.update_partition().database_name(&self.database);
        let request = request.table_name(table).partition_value_list(date.to_string());
        let input = self.partition_at(known, date, location)?;
        match request.partition_input(input).send().await {
            Ok(_) => Ok(true),
            // The table is missing, or the partition.
            Err(error) if is(&error, "EntityNotFoundException") => {
                match self.partition(table, date).await? {
                    None => Ok(false),
                    Some(_) => Err(unavailable(operation, table, error)),
                }
            }
            Err(error) => Err(unavailable(operation, table, error)),
        }
    }

    async fn create_partition(&self, table: &str, date: ReadingDate) -> Result<(), CatalogError> {
        let Some(known) = Table::named(table) else {
            return Err(unavailable("create partition", table, UnknownTable));
        };
        let request = self.client.batch_create_partition().database_name(&self.database);
        let input = self.partition_at(known, date, &layout::day(known.location, date))?;
        let answer = request.table_name(table).partition_input_list(input).send().await;
        let answer = answer.map_err(|error| unavailable("create partition", table, error))?;
        let errors = answer.errors.into_iter().flatten().filter_map(|error| error.error_detail);
        refused("create partition", table, errors, "AlreadyExistsException")
    }

    async fn delete_partition(&self, table: &str, date: ReadingDate) -> Result<(), CatalogError> {
        let request = self.client.batch_delete_partition().database_name(&self.database);
        let wanted = values("delete partition", table, date)?;
        let answer = request.table_name(table).partitions_to_delete(wanted).send().await;
        let answer = answer.map_err(|error| unavailable("delete partition", table, error))?;
        let errors = answer.errors.into_iter().flatten().filter_map(|error| error.error_detail);
        refused("delete partition", table, errors, "EntityNotFoundException")
    }

    async fn partitions(&self, table: &str) -> Result<Vec<Partition>, CatalogError> {
        let mut partitions = Vec::new();
        let mut token = None;
        loop {
            let request = self.client.get_partitions().database_name(&self.database);
            let request = request.table_name(table).exclude_column_schema(true);
            let answer = match request.set_next_token(token).send().await {
                Ok(answer) => answer,
                // A table that nobody registered yet has no partitions; any other absence is an error.
                Err(error) if is(&error, "EntityNotFoundException") => {
                    return match self.table(table).await? {
                        None => Ok(partitions),
                        Some(_) => Err(unavailable("get partitions", table, error)),
                    };
                }
                Err(error) => return Err(unavailable("get partitions", table, error)),
            };
            let found = answer.partitions.into_iter().flatten();
            partitions.extend(found.filter_map(|partition| {
                let date = ReadingDate::parse(partition.values.as_ref()?.first()?.as_str())?;
                Some(self.found(date, &partition))
            }));
            token = answer.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                partitions.sort_unstable_by_key(|partition| partition.date);
                return Ok(partitions);
            }
        }
    }
}

fn columns(table: &str, definitions: &[ColumnDefinition]) -> Result<Vec<Column>, CatalogError> {
    let column = |definition: &ColumnDefinition| {
        let personal = definition.personal.then(|| (PERSONAL.to_owned(), "true".to_owned()));
        Column::builder()
            .name(&definition.name)
            .r#type(&definition.kind)
            .comment(&definition.comment)
            .set_parameters(personal.map(|pair| HashMap::from([pair])))
            .build()
    };
    let built = definitions.iter().map(column).collect::<Result<_, BuildError>>();
    built.map_err(|error| unavailable("define table", table, error))
}

fn column_definition(found: &Column) -> ColumnDefinition {
    let parameter = found.parameters.as_ref().and_then(|parameters| parameters.get(PERSONAL));
    ColumnDefinition {
        name: found.name.clone(),
        kind: found.r#type.clone().unwrap_or_default(),
        comment: found.comment.clone().unwrap_or_default(),
        personal: parameter.is_some_and(|value| value == "true"),
    }
}

fn values(
    operation: &'static str,
    table: &str,
    date: ReadingDate,
) -> Result<PartitionValueList, CatalogError> {
    let list = PartitionValueList::builder().values(date.to_string()).build();
    list.map_err(|error: BuildError| unavailable(operation, table, error))
}

fn is<E: ProvideErrorMetadata>(error: &E, code: &str) -> bool {
    error.code() == Some(code)
}

/// Why a table was not written. Whatever says that somebody else did something to it means: look
/// again.
fn not_written<E>(operation: &'static str, table: &str, error: E) -> CatalogError
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    match error.code() {
        Some("AlreadyExistsException") => CatalogError::AlreadyExists { table: table.to_owned() },
        Some("ConcurrentModificationException" | "VersionMismatchException") => {
            CatalogError::Changed { table: table.to_owned() }
        }
        _ => unavailable(operation, table, error),
    }
}

/// An error of a batch, unless it is the one that says it was done already.
fn refused(
    operation: &'static str,
    table: &str,
    errors: impl Iterator<Item = aws_sdk_glue::types::ErrorDetail>,
    done_already: &str,
) -> Result<(), CatalogError> {
    let mut errors = errors.filter(|error| error.error_code.as_deref() != Some(done_already));
    errors.next().map_or(Ok(()), |error| {
        let code = error.error_code.unwrap_or_default();
        let message = error.error_message.unwrap_or_default();
        Err(unavailable(operation, table, Refused(format!("{code}: {message}"))))
    })
}

/// What a batch says of one of its entries.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(String);

/// A table that is not of the lake.
#[derive(Debug, thiserror::Error)]
#[error("it is none of the lake's tables")]
struct UnknownTable;

fn unavailable(
    operation: &'static str,
    table: &str,
    error: impl StdError + Send + Sync + 'static,
) -> CatalogError {
    let source = crate::failure::told(error);
    CatalogError::Unavailable { operation, table: table.to_owned(), source }
}
