//! Derived objects: Parquet, with a footer that says what they were derived from.
//!
//! S3's ETag is a hash of the content, so a target that went from A to B and back to A would look
//! as if it had never moved. The footer carries revisions that only grow, so that it never does.
//!
//! Objects of any size are written row group by row group ([`Encoder`]), and read so ([`open`]).

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{RecordBatch, RecordBatchReader, UInt32Array};
use arrow_schema::{DataType, Schema, SchemaRef};
use arrow_select::concat::concat_batches;
use arrow_select::take::take_record_batch;
use bytes::{Buf, Bytes};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnPath;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::key::{ETag, ObjectKey};
use crate::lake::{Lake, Versioned};
use crate::landing::row_bytes;
use crate::layout::Span;
use crate::store::{ByteRange, Object, ObjectMeta, Store};
use crate::tables::Table;

const FOOTER: &str = "stedi.footer";
/// Enough for the metadata of an object of a few row groups.
const FOOTER_BYTES: u64 = 16 << 10;
const ZSTD_LEVEL: i32 = 3;
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
    schema: &SchemaRef,
    batches: &[RecordBatch],
    footer: &Footer,
    row_group_rows: usize,
) -> Result<Bytes, Error> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Encode {
        what: footer.version.rule.clone(),
        source,
    };
    let mut bytes = Vec::new();
    let mut write = || -> Result<(), ParquetError> {
        let properties = properties(schema)?
            .set_max_row_group_row_count(Some(row_group_rows))
            .set_key_value_metadata(Some(vec![pair(footer)?]))
            .build();
        let mut writer = ArrowWriter::try_new(&mut bytes, Arc::clone(schema), Some(properties))?;
        for batch in batches {
            writer.write(batch)?;
        }
        writer.close()?;
        Ok(())
    };
    write().map_err(|error| failed(error.into()))?;
    Ok(bytes.into())
}

/// How objects are written. Times are nearly all different and in order: zstd makes less of them as
/// they are than of places in a dictionary, in no more time. So are the texts of a customer, and
/// nearly all of what writing a part of a customer table takes is by the page. Encodings are those
/// every reader of Parquet has: DELTA_BINARY_PACKED would make less yet of step trainer readings, and is not.
fn properties(schema: &Schema) -> Result<WriterPropertiesBuilder, ParquetError> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_created_by(concat!("stedi lake ", env!("CARGO_PKG_VERSION")).to_owned());
    let of_customers = schema.index_of(CUSTOMER_COLUMN).is_ok();
    Ok(schema.fields().iter().fold(properties, |properties, field| {
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
    }))
}

fn pair(footer: &Footer) -> Result<KeyValue, ParquetError> {
    let json = serde_json::to_string(footer);
    let json = json.map_err(|error| ParquetError::External(error.into()))?;
    Ok(KeyValue::new(FOOTER.to_owned(), json))
}

/// Encodes an object row group by row group: of what is encoded it keeps the places only.
pub struct Encoder {
    rule: String,
    writer: ArrowWriter<Vec<u8>>,
}

impl Encoder {
    /// An object of `rule` without rows yet.
    pub fn new(schema: &SchemaRef, rule: &str) -> Result<Self, Error> {
        let writer = properties(schema).and_then(|properties| {
            let properties = properties.set_max_row_group_row_count(None).build();
            ArrowWriter::try_new(Vec::new(), Arc::clone(schema), Some(properties))
        });
        let rule = rule.to_owned();
        match writer {
            Ok(writer) => Ok(Self { rule, writer }),
            Err(error) => Err(Error::Encode { what: rule, source: error.into() }),
        }
    }

    /// Encodes rows as one row group; returns what is to be written.
    pub fn row_group(&mut self, rows: &RecordBatch) -> Result<Vec<u8>, Error> {
        let encoded = self.writer.write(rows).and_then(|()| self.writer.flush());
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
        let synced = outcome.and_then(|()| Ok(self.writer.sync()?));
        synced.map_err(|error| Error::Encode { what: self.rule.clone(), source: error.into() })?;
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
        let builder = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
        let footer = footer(builder.metadata())?;
        let rows = builder.metadata().file_metadata().num_rows();
        Ok(Rows { footer, batch: read_rows(builder, rows)? })
    };
    read().map_err(|error| unreadable(key, &error))
}

/// Reads so many rows into one batch, whose schema has no metadata.
fn read_rows<T: ChunkReader + 'static>(
    builder: ParquetRecordBatchReaderBuilder<T>,
    rows: i64,
) -> Result<RecordBatch, ParquetError> {
    let rows = usize::try_from(rows).unwrap_or(0).max(1);
    let reader = builder.with_batch_size(rows).build()?;
    let schema = Arc::new(Schema::new(reader.schema().fields().clone()));
    let batches = reader.map(|batch| {
        let batch = batch?;
        batch.with_schema(Arc::clone(&schema))
    });
    Ok(concat_batches(&schema, &batches.collect::<Result<Vec<_>, _>>()?)?)
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

/// A derived object that was opened, to be read row group by row group.
pub struct Opened {
    /// What it says of itself.
    pub footer: Footer,
    /// Its rows.
    pub rows: u64,
    parts: Parts,
}

enum Parts {
    /// A small object of one row group was read at once.
    Whole(RecordBatch),
    /// Only within each are the rows sorted by time.
    Groups(ArrowReaderMetadata),
}

/// Opens a derived object that was just listed; a small one is read at once, and kept. What is
/// opened may be a later version: compare its tag.
pub async fn open(lake: &Lake, listed: &ObjectMeta) -> Result<Option<Versioned<Opened>>, Error> {
    open_how(lake, &listed.key, Opening::Listed(&listed.etag)).await
}

/// Opens a derived object as it is now; a small one is read at once, and kept.
pub async fn open_now(lake: &Lake, key: &ObjectKey) -> Result<Option<Versioned<Opened>>, Error> {
    open_how(lake, key, Opening::Now).await
}

/// Opens a derived object that is read once; a small one is read at once, and not kept.
pub async fn open_once(lake: &Lake, key: &ObjectKey) -> Result<Option<Versioned<Opened>>, Error> {
    open_how(lake, key, Opening::Once).await
}

/// How an object is opened.
#[derive(Clone, Copy)]
enum Opening<'a> {
    /// From memory, if it is this version that is there.
    Listed(&'a ETag),
    /// From memory, if the store says that it has not moved since.
    Now,
    /// From the store, to be read once.
    Once,
}

async fn open_how(
    lake: &Lake,
    key: &ObjectKey,
    how: Opening<'_>,
) -> Result<Option<Versioned<Opened>>, Error> {
    let mut wanted = lake.bounds.small_bytes_max.max(FOOTER_BYTES);
    loop {
        let mut more = None;
        let decode = |object: Object| {
            let is_small = object.meta.size_bytes <= lake.bounds.small_bytes_max;
            match open_object(key, object, is_small) {
                Err(ParquetError::NeedMoreData(needed)) => {
                    more = Some(needed as u64);
                    Err(unreadable(key, &ParquetError::NeedMoreData(needed)))
                }
                opened => opened.map_err(|error| unreadable(key, &error)),
            }
        };
        let range = ByteRange::Suffix(wanted);
        let opened = match how {
            Opening::Listed(etag) => lake.read_known(key, etag, range, decode).await,
            Opening::Now => lake.read(key, range, decode).await,
            Opening::Once => lake.read_once(key, range, decode).await,
        };
        match (opened, more) {
            (Err(_), Some(needed)) if needed > wanted => wanted = needed,
            (opened, _) => return opened,
        }
    }
}

/// Opens an object of which at least the metadata was read, or all of it where it is small.
fn open_object(
    key: &ObjectKey,
    object: Object,
    is_small: bool,
) -> Result<(Opened, usize), ParquetError> {
    let mut reader = ParquetMetaDataReader::new();
    reader.try_parse_sized(&object.bytes, object.meta.size_bytes)?;
    let metadata = Arc::new(reader.finish()?);
    let (footer, count) = (footer(&metadata)?, metadata.file_metadata().num_rows());
    let rows = u64::try_from(count)
        .map_err(|_| ParquetError::General(format!("{key} has {count} rows")))?;
    let metadata = ArrowReaderMetadata::try_new(metadata, ArrowReaderOptions::default())?;
    if is_small && metadata.metadata().num_row_groups() <= 1 {
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(object.bytes, metadata);
        let batch = read_rows(builder, count)?;
        let bytes = row_bytes(&batch) as usize;
        return Ok((Opened { footer, rows, parts: Parts::Whole(batch) }, bytes));
    }
    let weight = metadata.metadata().memory_size();
    Ok((Opened { footer, rows, parts: Parts::Groups(metadata) }, weight))
}

/// Keeps rows that were just written, as [`open`] would read them.
pub(crate) fn keep(lake: &Lake, key: &ObjectKey, etag: ETag, footer: Footer, batch: RecordBatch) {
    let bytes = row_bytes(&batch) as usize;
    let opened = Opened { footer, rows: batch.num_rows() as u64, parts: Parts::Whole(batch) };
    lake.keep(key, &Versioned { etag, value: Arc::new(opened) }, bytes);
}

impl Opened {
    /// Row groups, each of which is sorted.
    pub fn groups(&self) -> usize {
        match &self.parts {
            Parts::Whole(_) => 1,
            Parts::Groups(metadata) => metadata.metadata().num_row_groups(),
        }
    }

    /// Whether it takes the room of a large object, and has more than one row group as a rule.
    pub fn is_large(&self) -> bool {
        matches!(self.parts, Parts::Groups(_))
    }

    /// First and last value of a column of times in a row group, as far as that is known without
    /// reading it.
    pub fn span(&self, group: usize, column: &str) -> Option<Span> {
        match &self.parts {
            Parts::Whole(_) => None,
            Parts::Groups(metadata) => span_of(metadata, group, column),
        }
    }

    /// Bytes that are fetched for a row group.
    pub fn group_bytes(&self, group: usize) -> u64 {
        match &self.parts {
            Parts::Whole(_) => 0,
            Parts::Groups(metadata) => {
                let Range { start, end } = place_of(metadata, group);
                end - start
            }
        }
    }

    /// Rows of a row group.
    pub fn group_rows(&self, group: usize) -> u64 {
        match &self.parts {
            Parts::Whole(batch) => batch.num_rows() as u64,
            Parts::Groups(metadata) => {
                u64::try_from(metadata.metadata().row_group(group).num_rows()).unwrap_or(0)
            }
        }
    }
}

/// Reads a row group of an object; `None` if the object moved since it was opened.
pub async fn read_group(
    lake: &Lake,
    key: &ObjectKey,
    opened: &Versioned<Opened>,
    group: usize,
) -> Result<Option<RecordBatch>, Error> {
    let fetched = fetch(lake, key, opened, group).await?;
    fetched.map(|fetched| fetched.rows(key)).transpose()
}

/// A row group as it was fetched, and not decoded yet.
#[derive(Clone)]
pub struct Fetched(Encoded);

#[derive(Clone)]
enum Encoded {
    /// Of a small object, which was decoded when it was opened.
    Not(RecordBatch),
    Group {
        window: Window,
        metadata: ArrowReaderMetadata,
        group: usize,
    },
}

/// Fetches a row group of an object; `None` if the object moved since it was opened.
pub async fn fetch(
    lake: &Lake,
    key: &ObjectKey,
    opened: &Versioned<Opened>,
    group: usize,
) -> Result<Option<Fetched>, Error> {
    match &opened.value.parts {
        Parts::Whole(batch) => Ok(Some(Fetched(Encoded::Not(batch.clone())))),
        Parts::Groups(metadata) => {
            let window = window(lake, key, &opened.etag, metadata, group).await?;
            let metadata = metadata.clone();
            Ok(window.map(|window| Fetched(Encoded::Group { window, metadata, group })))
        }
    }
}

impl Fetched {
    /// Memory it takes as it was fetched, bytes.
    pub fn bytes(&self) -> u64 {
        match &self.0 {
            Encoded::Not(_) => 0,
            Encoded::Group { window, .. } => window.bytes.len() as u64,
        }
    }

    /// Its rows.
    pub fn rows(&self, key: &ObjectKey) -> Result<RecordBatch, Error> {
        let rows = match &self.0 {
            Encoded::Not(batch) => Ok(batch.clone()),
            Encoded::Group { window, metadata, group } => {
                let rows = metadata.metadata().row_group(*group).num_rows();
                read_rows(window.clone().group(metadata, *group), rows)
            }
        };
        rows.map_err(|error| unreadable(key, &error))
    }

    /// Those of its rows whose times, by which it is sorted, lie in a span. Nothing else is kept in
    /// memory for them.
    pub fn within(&self, key: &ObjectKey, column: &str, span: Span) -> Result<RecordBatch, Error> {
        let rows = match &self.0 {
            Encoded::Not(batch) => copy_within(batch, column, span),
            Encoded::Group { window, metadata, group } => {
                if span_of(metadata, *group, column).is_some_and(|all| span.contains(all)) {
                    return self.rows(key);
                }
                window.clone().rows_within(metadata, *group, column, span)
            }
        };
        rows.map_err(|error| unreadable(key, &error))
    }
}

/// The numbers of the rows, which are sorted by a column of times, whose times lie in a span.
fn range_within(
    rows: &RecordBatch,
    column: &str,
    span: Span,
) -> Result<Range<usize>, ParquetError> {
    let times = rows.column(rows.schema_ref().index_of(column)?).as_primitive::<Int64Type>();
    let first = times.values().partition_point(|time| *time < span.first_ms);
    let end = times.values().partition_point(|time| *time <= span.last_ms);
    Ok(first..end.max(first))
}

fn copy_within(rows: &RecordBatch, column: &str, span: Span) -> Result<RecordBatch, ParquetError> {
    let Range { start, end } = range_within(rows, column, span)?;
    if (start, end) == (0, rows.num_rows()) {
        return Ok(rows.clone());
    }
    Ok(take_record_batch(rows, &UInt32Array::from_iter_values(start as u32..end as u32))?)
}

fn span_of(metadata: &ArrowReaderMetadata, group: usize, column: &str) -> Option<Span> {
    let column = metadata.schema().index_of(column).ok()?;
    let statistics = metadata.metadata().row_group(group).column(column).statistics()?;
    let Statistics::Int64(times) = statistics else { return None };
    Some(Span { first_ms: *times.min_opt()?, last_ms: *times.max_opt()? })
}

/// Where in its object a row group is.
fn place_of(metadata: &ArrowReaderMetadata, group: usize) -> Range<u64> {
    let columns = metadata.metadata().row_group(group).columns().iter();
    let ranges: Vec<(u64, u64)> = columns.map(|column| column.byte_range()).collect();
    let start = ranges.iter().map(|(start, _)| *start).min().unwrap_or(0);
    let end = ranges.iter().map(|(start, length)| start + length).max().unwrap_or(0);
    start..end
}

/// Fetches a row group; `None` if the object is not this version of it any more.
async fn window(
    lake: &Lake,
    key: &ObjectKey,
    etag: &ETag,
    metadata: &ArrowReaderMetadata,
    group: usize,
) -> Result<Option<Window>, Error> {
    let place = place_of(metadata, group);
    let start = place.start;
    let object = lake.store.get(key, ByteRange::Bounded(place)).await?;
    let unmoved = object.filter(|object| object.meta.etag == *etag);
    Ok(unmoved.map(|Object { meta, bytes }| Window { start, bytes, size: meta.size_bytes }))
}

/// A stretch of an object, at its place.
#[derive(Clone)]
struct Window {
    start: u64,
    bytes: Bytes,
    size: u64,
}

impl Window {
    fn group(
        self,
        metadata: &ArrowReaderMetadata,
        group: usize,
    ) -> ParquetRecordBatchReaderBuilder<Self> {
        ParquetRecordBatchReaderBuilder::new_with_metadata(self, metadata.clone())
            .with_row_groups(vec![group])
    }

    /// Rows of the row group it is of: first the times are read, then pages that have some of them.
    fn rows_within(
        self,
        metadata: &ArrowReaderMetadata,
        group: usize,
        column: &str,
        span: Span,
    ) -> Result<RecordBatch, ParquetError> {
        let all = metadata.metadata().row_group(group).num_rows();
        let times = ProjectionMask::columns(metadata.parquet_schema(), [column]);
        let times = read_rows(self.clone().group(metadata, group).with_projection(times), all)?;
        let Range { start, end } = range_within(&times, column, span)?;
        drop(times);
        let rows = self.group(metadata, group).with_offset(start).with_limit(end - start);
        read_rows(rows, (end - start) as i64)
    }

    fn slice(&self, start: u64, length: Option<usize>) -> Result<Bytes, ParquetError> {
        let from = start.checked_sub(self.start).and_then(|from| usize::try_from(from).ok());
        let slice = from.and_then(|from| {
            let to = length.map_or(Some(self.bytes.len()), |length| from.checked_add(length))?;
            (from <= to && to <= self.bytes.len()).then(|| self.bytes.slice(from..to))
        });
        slice.ok_or_else(|| ParquetError::EOF(format!("byte {start} was not read")))
    }
}

impl Length for Window {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for Window {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.slice(start, None)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.slice(start, Some(length))
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
