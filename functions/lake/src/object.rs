//! Derived objects: Parquet, with a footer that says what they were derived from.
//!
//! S3's ETag is a hash of the content, so a target that went from A to B and back to A would look
//! as if it had never moved. The footer carries revisions that only grow, so that it never does.
//!
//! Objects of any size are written row group by row group ([`Encoder`]), and read so ([`open`]).

mod columns;
mod opened;

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Schema};
use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;
use serde::{Deserialize, Serialize};

use self::columns::Source;
pub(crate) use self::opened::keep;
pub use self::opened::{Fetched, Opened, fetch, open, open_now, open_once, read_group};
use crate::error::Error;
use crate::key::{ETag, ObjectKey};
use crate::lake::Lake;
use crate::store::{ByteRange, ObjectMeta, Store};
use crate::tables::Table;

const FOOTER: &str = "stedi.footer";
/// Enough for the metadata of an object of a few row groups.
const FOOTER_BYTES: u64 = 16 << 10;
const ZSTD_LEVEL: i32 = 3;
const _: () = assert!(ZSTD_LEVEL <= 3, ".cargo/config.toml leaves out what higher levels need");
/// Room for what a sensor of three decimals says, seldom for one whose every value is another.
const DOUBLES_DICTIONARY_BYTES_MAX: usize = 64 << 10;
/// What only the tables of customers have.
const CUSTOMER_COLUMN: &str = "email";
/// Of what a rule says beside the name of its table, and of a version or a digest.
const RULE_BYTES_MAX: usize = 40;
const VERSION_BYTES_MAX: usize = 64;

/// What a derived object was derived from. Equal versions, equal rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The table, and the policies its rule depends on.
    pub rule: String,
    /// The number of the [change](crate::policy::Changes) these policies are from.
    #[serde(default)]
    pub policies: u32,
    /// Version of the object or register part it follows from.
    pub source: String,
    /// Digest of the versions of whatever else its rows depend on.
    pub digest: String,
}

/// How the records that fall into an object were decided on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Records that were looked at.
    pub records: u64,
    /// Those that became rows.
    pub admitted: u64,
    /// Those of people who do not consent, or whom nobody knows.
    pub held_no_consent: u64,
    /// Those from before the consent.
    pub held_before_consent: u64,
}

impl std::ops::AddAssign for Ledger {
    fn add_assign(&mut self, other: Self) {
        self.records += other.records;
        self.admitted += other.admitted;
        self.held_no_consent += other.held_no_consent;
        self.held_before_consent += other.held_before_consent;
    }
}

/// What a derived object says of itself, beside its rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footer {
    /// What it was derived from.
    pub version: Version,
    /// How its records were decided on.
    pub ledger: Ledger,
    /// Whether it ever had rows: only then may its partition have to go when it has none.
    pub had_rows: bool,
}

/// A derived object as it was seen.
#[derive(Clone, Debug)]
pub struct Noted {
    /// Its version in the store.
    pub etag: ETag,
    /// Its size, bytes.
    pub size_bytes: u64,
    /// What it says of itself.
    pub footer: Footer,
    /// Its rows.
    pub rows: u64,
}

/// Whether an object has rows, or had any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occupancy {
    /// It has rows.
    Some,
    /// It has none, but had some: its partition may have to go.
    NoneNow,
    /// It never had any.
    NeverAny,
}

impl Occupancy {
    /// Of an object with so many rows, that had or never had any before.
    pub fn new(rows: usize, had_rows: bool) -> Self {
        match (rows, had_rows) {
            (1.., _) => Self::Some,
            (0, true) => Self::NoneNow,
            (0, false) => Self::NeverAny,
        }
    }
}

impl Noted {
    /// What a listing says of it.
    pub fn meta(&self, key: ObjectKey) -> ObjectMeta {
        ObjectMeta { key, etag: self.etag.clone(), size_bytes: self.size_bytes }
    }

    /// Whether it has rows, or had any.
    pub fn occupancy(&self) -> Occupancy {
        Occupancy::new(usize::try_from(self.rows).unwrap_or(usize::MAX), self.footer.had_rows)
    }
}

/// Rows of a table that were read back.
pub struct Rows {
    /// What the object says of itself.
    pub footer: Footer,
    /// Its rows, in one batch.
    pub batch: RecordBatch,
}

/// Encodes rows, in the order given, with the footer.
pub fn encode(
    schema: &Schema,
    batches: &[RecordBatch],
    footer: &Footer,
    row_group_rows: usize,
) -> Result<Bytes, Error> {
    let mut encoder = Encoder::new(schema, &footer.version.rule)?;
    let mut bytes = Vec::new();
    for batch in batches {
        for from in (0..batch.num_rows()).step_by(row_group_rows.max(1)) {
            let rows = batch.slice(from, row_group_rows.min(batch.num_rows() - from));
            bytes.append(&mut encoder.row_group(&rows)?);
        }
    }
    bytes.append(&mut encoder.finish(footer)?);
    Ok(bytes.into())
}

/// How objects are written. Times are nearly all different and in order: zstd makes less of them as
/// they are than of places in a dictionary, in no more time. So are the texts of a customer, and
/// nearly all of what writing a part of a customer table takes is by the page. Encodings are those
/// every reader of Parquet has: DELTA_BINARY_PACKED would make less yet of step trainer readings, and is not.
///
/// Pages are [compressed](columns) as they are written.
fn properties(schema: &Schema) -> WriterProperties {
    let properties = WriterProperties::builder()
        .set_created_by(concat!("stedi lake ", env!("CARGO_PKG_VERSION")).to_owned());
    let of_customers = schema.index_of(CUSTOMER_COLUMN).is_ok();
    let properties = schema.fields().iter().fold(properties, |properties, field| {
        let column = ColumnPath::from(field.name().as_str());
        match field.data_type() {
            DataType::Utf8 if of_customers => {
                properties.set_column_dictionary_enabled(column, false)
            }
            DataType::Int64 => properties.set_column_dictionary_enabled(column, false),
            DataType::Float64 => properties
                .set_column_dictionary_page_size_limit(column, DOUBLES_DICTIONARY_BYTES_MAX),
            _ => properties,
        }
    });
    properties.build()
}

fn pair(footer: &Footer) -> Result<KeyValue, ParquetError> {
    let json = serde_json::to_string(footer);
    let json = json.map_err(|error| ParquetError::External(error.into()))?;
    Ok(KeyValue::new(FOOTER.to_owned(), json))
}

/// Encodes an object row group by row group: of what is encoded it keeps what the footer says of it.
pub struct Encoder {
    rule: String,
    writer: SerializedFileWriter<Vec<u8>>,
}

impl Encoder {
    /// An object of `rule` without rows yet.
    pub fn new(schema: &Schema, rule: &str) -> Result<Self, Error> {
        let writer = columns::described(schema).and_then(|described| {
            SerializedFileWriter::new(Vec::new(), described, Arc::new(properties(schema)))
        });
        let rule = rule.to_owned();
        match writer {
            Ok(writer) => Ok(Self { rule, writer }),
            Err(error) => Err(Error::Encode { what: rule, source: error.into() }),
        }
    }

    /// Encodes rows as one row group; returns what is to be written.
    pub fn row_group(&mut self, rows: &RecordBatch) -> Result<Vec<u8>, Error> {
        let encoded = columns::write(&mut self.writer, rows);
        self.encoded(encoded)
    }

    /// Ends the object with its footer; returns what is left to be written.
    pub fn finish(mut self, footer: &Footer) -> Result<Vec<u8>, Error> {
        let finished = pair(footer).and_then(|pair| {
            self.writer.append_key_value_metadata(pair);
            self.writer.finish().map(drop)
        });
        self.encoded(finished)
    }

    fn encoded(&mut self, outcome: Result<(), ParquetError>) -> Result<Vec<u8>, Error> {
        let flushed = outcome.and_then(|()| Ok(self.writer.flush()?));
        flushed.map_err(|error| Error::Encode { what: self.rule.clone(), source: error.into() })?;
        Ok(std::mem::take(self.writer.inner_mut()))
    }
}

/// Most bytes that an object of a table takes without rows: a larger one has some. So a listing
/// tells whether a day has rows, however many objects of it have none.
pub fn bytes_max_without_rows(table: &Table) -> Result<u64, Error> {
    let counts = Ledger {
        records: u64::MAX,
        admitted: u64::MAX,
        held_no_consent: u64::MAX,
        held_before_consent: u64::MAX,
    };
    let version = Version {
        rule: format!("{}{:RULE_BYTES_MAX$}", table.name, ""),
        policies: u32::MAX,
        source: format!("{:VERSION_BYTES_MAX$}", ""),
        digest: format!("{:VERSION_BYTES_MAX$}", ""),
    };
    let footer = Footer { version, ledger: counts, had_rows: false };
    Ok(encode(&table.schema(), &[], &footer, 1)?.len() as u64)
}

/// Decodes an object that [`encode`] made.
pub fn decode(key: &ObjectKey, bytes: Bytes) -> Result<Rows, Error> {
    let read = || -> Result<Rows, ParquetError> {
        let metadata = ParquetMetaDataReader::new().parse_and_finish(&bytes)?;
        let footer = footer(&metadata)?;
        let schema = columns::schema(&metadata)?;
        let source = Source { bytes: Arc::new(bytes), metadata: &metadata };
        Ok(Rows { footer, batch: source.groups(&schema, 0..metadata.num_row_groups())? })
    };
    read().map_err(|error| unreadable(key, &error))
}

/// Looks at a derived object without reading its rows; `None` if there is none.
pub async fn note(lake: &Lake, key: &ObjectKey) -> Result<Option<Noted>, Error> {
    note_in(lake.store.as_ref(), key).await
}

/// Looks at a derived object of a store without reading its rows; `None` if there is none.
pub async fn note_in(store: &dyn Store, key: &ObjectKey) -> Result<Option<Noted>, Error> {
    let mut wanted = FOOTER_BYTES;
    loop {
        let Some(object) = store.get(key, ByteRange::Suffix(wanted)).await? else {
            return Ok(None);
        };
        let size = object.meta.size_bytes;
        let mut reader = ParquetMetaDataReader::new();
        match reader.try_parse_sized(&object.bytes, size) {
            Ok(()) => {}
            Err(ParquetError::NeedMoreData(needed))
                if (needed as u64) > wanted && wanted < size =>
            {
                wanted = needed as u64;
                continue;
            }
            Err(error) => return Err(unreadable(key, &error)),
        }
        let metadata = reader.finish().map_err(|error| unreadable(key, &error))?;
        return Ok(Some(Noted {
            etag: object.meta.etag,
            size_bytes: size,
            footer: footer(&metadata).map_err(|error| unreadable(key, &error))?,
            rows: u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0),
        }));
    }
}

fn footer(metadata: &ParquetMetaData) -> Result<Footer, ParquetError> {
    let missing = || ParquetError::General(format!("its footer has no {FOOTER}"));
    let pairs = metadata.file_metadata().key_value_metadata().ok_or_else(missing)?;
    let pair = pairs.iter().find(|pair| pair.key == FOOTER).ok_or_else(missing)?;
    let json = pair.value.as_deref().ok_or_else(missing)?;
    serde_json::from_str(json).map_err(|error| ParquetError::External(error.into()))
}

fn unreadable(key: &ObjectKey, error: &ParquetError) -> Error {
    Error::Unreadable { key: key.clone(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, new_null_array};

    use super::*;
    use crate::tables::{ACCELEROMETER_TRUSTED, MACHINE_LEARNING_CURATED, STEP_TRAINER_TRUSTED};

    #[test]
    fn the_smallest_object_with_a_row_is_larger_than_the_largest_without() {
        for table in [&ACCELEROMETER_TRUSTED, &STEP_TRAINER_TRUSTED, &MACHINE_LEARNING_CURATED] {
            let schema = table.schema();
            let nulls = |field: &arrow_schema::FieldRef| new_null_array(field.data_type(), 1);
            let columns: Vec<ArrayRef> = schema.fields().iter().map(nulls).collect();
            let row = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
            let version = Version {
                rule: format!("{} consent=any", table.name),
                policies: 0,
                source: "1".repeat(12),
                digest: String::new(),
            };
            let footer = Footer { version, ledger: Ledger::default(), had_rows: true };
            let smallest = encode(&schema, &[row], &footer, 1).unwrap().len() as u64;
            let largest = bytes_max_without_rows(table).unwrap();
            assert!(smallest > largest, "{}: {smallest} <= {largest}", table.name);
        }
    }
}
