//! Derived objects that are read row group by row group.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_schema::SchemaRef;
use bytes::{Buf, Bytes};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::statistics::Statistics;

use super::columns::{self, Source, external};
use super::{FOOTER_BYTES, Footer, footer, unreadable};
use crate::error::Error;
use crate::gather::gathered;
use crate::key::{ETag, ObjectKey};
use crate::lake::{Lake, Versioned};
use crate::landing::row_bytes;
use crate::layout::Span;
use crate::store::{ByteRange, Object, ObjectMeta};

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
    Groups(Described),
}

/// What an object says of its row groups.
#[derive(Clone)]
struct Described {
    metadata: Arc<ParquetMetaData>,
    schema: SchemaRef,
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
    let metadata = reader.finish()?;
    let (footer, count) = (footer(&metadata)?, metadata.file_metadata().num_rows());
    let rows = u64::try_from(count)
        .map_err(|_| ParquetError::General(format!("{key} has {count} rows")))?;
    let schema = columns::schema(&metadata)?;
    if is_small && metadata.num_row_groups() <= 1 {
        let source = Source { bytes: Arc::new(object.bytes), metadata: &metadata };
        let batch = source.groups(&schema, 0..metadata.num_row_groups())?;
        let bytes = row_bytes(&batch) as usize;
        return Ok((Opened { footer, rows, parts: Parts::Whole(batch) }, bytes));
    }
    let weight = metadata.memory_size();
    let described = Described { metadata: Arc::new(metadata), schema };
    Ok((Opened { footer, rows, parts: Parts::Groups(described) }, weight))
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
            Parts::Groups(described) => described.metadata.num_row_groups(),
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
            Parts::Groups(described) => span_of(described, group, column),
        }
    }

    /// Bytes that are fetched for a row group.
    pub fn group_bytes(&self, group: usize) -> u64 {
        match &self.parts {
            Parts::Whole(_) => 0,
            Parts::Groups(described) => {
                let Range { start, end } = place_of(described, group);
                end - start
            }
        }
    }

    /// Rows of a row group.
    pub fn group_rows(&self, group: usize) -> u64 {
        match &self.parts {
            Parts::Whole(batch) => batch.num_rows() as u64,
            Parts::Groups(described) => {
                u64::try_from(described.metadata.row_group(group).num_rows()).unwrap_or(0)
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
pub struct Fetched(Encoded);

enum Encoded {
    /// Of a small object, which was decoded when it was opened.
    Not(RecordBatch),
    Group {
        window: Window,
        described: Described,
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
        Parts::Groups(described) => {
            let window = window(lake, key, &opened.etag, described, group).await?;
            let described = described.clone();
            Ok(window.map(|window| Fetched(Encoded::Group { window, described, group })))
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
            Encoded::Group { window, described, group } => {
                let source = window.source(described);
                source.groups(&described.schema, *group..*group + 1)
            }
        };
        rows.map_err(|error| unreadable(key, &error))
    }

    /// Those of its rows whose times, by which it is sorted, lie in a span. Nothing else is kept in
    /// memory for them.
    pub fn within(&self, key: &ObjectKey, column: &str, span: Span) -> Result<RecordBatch, Error> {
        let rows = match &self.0 {
            Encoded::Not(batch) => copy_within(batch, column, span),
            Encoded::Group { window, described, group } => {
                if span_of(described, *group, column).is_some_and(|all| span.contains(all)) {
                    return self.rows(key);
                }
                window.rows_within(described, *group, column, span)
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
    let times = rows
        .column(rows.schema_ref().index_of(column).map_err(external)?)
        .as_primitive::<Int64Type>();
    let first = times.values().partition_point(|time| *time < span.first_ms);
    let end = times.values().partition_point(|time| *time <= span.last_ms);
    Ok(first..end.max(first))
}

fn copy_within(rows: &RecordBatch, column: &str, span: Span) -> Result<RecordBatch, ParquetError> {
    let Range { start, end } = range_within(rows, column, span)?;
    if (start, end) == (0, rows.num_rows()) {
        return Ok(rows.clone());
    }
    gathered(std::slice::from_ref(rows), (start..end).map(|row| (0, row))).map_err(external)
}

fn span_of(described: &Described, group: usize, column: &str) -> Option<Span> {
    let column = described.schema.index_of(column).ok()?;
    let statistics = described.metadata.row_group(group).column(column).statistics()?;
    let Statistics::Int64(times) = statistics else { return None };
    Some(Span { first_ms: *times.min_opt()?, last_ms: *times.max_opt()? })
}

/// Where in its object a row group is.
fn place_of(described: &Described, group: usize) -> Range<u64> {
    let columns = described.metadata.row_group(group).columns().iter();
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
    described: &Described,
    group: usize,
) -> Result<Option<Window>, Error> {
    let place = place_of(described, group);
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
    fn source<'a>(&self, described: &'a Described) -> Source<'a, Self> {
        Source { bytes: Arc::new(self.clone()), metadata: &described.metadata }
    }

    /// Rows of the row group it is of: first the times are read, then pages that have some of them.
    fn rows_within(
        &self,
        described: &Described,
        group: usize,
        column: &str,
        span: Span,
    ) -> Result<RecordBatch, ParquetError> {
        let (source, schema) = (self.source(described), &described.schema);
        let times = schema.index_of(column).and_then(|times| schema.project(&[times]));
        let times = times.map_err(external)?;
        let times = source.groups(&Arc::new(times), group..group + 1)?;
        let rows = range_within(&times, column, span)?;
        drop(times);
        source.within(schema, group, rows)
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
