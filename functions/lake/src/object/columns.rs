//! Rows as columns of Parquet, and back.
//!
//! The tables have columns of four types, none of them nested, and so they are written and read column by
//! column, as the Parquet crate has them. Its way from and to Arrow is for every type that Arrow has, which
//! is a third of the code of a function that has it, and makes what compresses anew for each column of each
//! row group.

use std::cell::RefCell;
use std::io::Write;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Float64Type, Int32Type, Int64Type, UInt32Type};
use arrow_array::{Array, ArrayRef, PrimitiveArray, RecordBatch, StringArray};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use parquet::basic::{CompressionCodec, LogicalType, Repetition, Type as PhysicalType};
use parquet::column::page::{CompressedPage, Page, PageWriteSpec, PageWriter};
use parquet::column::reader::ColumnReaderImpl;
use parquet::column::writer::{ColumnCloseResult, ColumnWriterImpl};
use parquet::data_type as stored;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::WriterPropertiesPtr;
use parquet::file::reader::ChunkReader;
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::file::writer::{SerializedFileWriter, SerializedPageWriter, TrackedWrite};
use parquet::schema::types::{ColumnDescPtr, Type, TypePtr};
use zstd::bulk::Compressor;

use super::ZSTD_LEVEL;

/// Values that are given at once to what writes them, or texts that are taken at once from what reads
/// them: each text is counted for itself meanwhile.
const AT_ONCE: usize = 1_024;

/// The schema of rows, as Parquet has it.
pub(super) fn described(schema: &Schema) -> Result<TypePtr, ParquetError> {
    let column = |field: &Arc<Field>| {
        let (physical, logical) = match field.data_type() {
            DataType::Utf8 => (PhysicalType::BYTE_ARRAY, Some(LogicalType::String)),
            DataType::Int32 => (PhysicalType::INT32, None),
            DataType::Int64 => (PhysicalType::INT64, None),
            DataType::Float64 => (PhysicalType::DOUBLE, None),
            other => return Err(unknown(field.name(), other)),
        };
        let column = Type::primitive_type_builder(field.name(), physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical);
        Ok(Arc::new(column.build()?))
    };
    let columns = schema.fields().iter().map(column).collect::<Result<_, _>>()?;
    Ok(Arc::new(Type::group_type_builder("schema").with_fields(columns).build()?))
}

/// The schema of an object's rows.
pub(super) fn schema(metadata: &ParquetMetaData) -> Result<SchemaRef, ParquetError> {
    let columns = metadata.file_metadata().schema_descr().columns().iter();
    let field = |column: &ColumnDescPtr| {
        let kind = match column.physical_type() {
            _ if column.max_rep_level() > 0 || column.max_def_level() > 1 => {
                return Err(unknown(column.name(), &"nested"));
            }
            PhysicalType::BYTE_ARRAY => DataType::Utf8,
            PhysicalType::INT32 => DataType::Int32,
            PhysicalType::INT64 => DataType::Int64,
            PhysicalType::DOUBLE => DataType::Float64,
            other => return Err(unknown(column.name(), &other)),
        };
        Ok(Field::new(column.name(), kind, true))
    };
    Ok(Arc::new(Schema::new(columns.map(field).collect::<Result<Vec<_>, _>>()?)))
}

fn unknown(column: &str, kind: &dyn std::fmt::Debug) -> ParquetError {
    ParquetError::NYI(format!("no table has a column such as {column}: {kind:?}"))
}

pub(super) fn external(error: ArrowError) -> ParquetError {
    ParquetError::External(error.into())
}

/// Writes rows as one row group.
pub(super) fn write<W: Write + Send>(
    to: &mut SerializedFileWriter<W>,
    rows: &RecordBatch,
) -> Result<(), ParquetError> {
    let properties = Arc::clone(to.properties());
    let described = to.schema_descr().columns().to_vec();
    let (wanted, found) = (described.len(), rows.num_columns());
    if wanted != found {
        return Err(ParquetError::General(format!("{found} columns instead of {wanted}")));
    }
    let mut group = to.next_row_group()?;
    for (column, described) in rows.columns().iter().zip(described) {
        let mut pages = TrackedWrite::new(Vec::new());
        let chunk = Chunk {
            described,
            properties: Arc::clone(&properties),
            rows: column.len(),
            nulls: column.logical_nulls().filter(|nulls| nulls.null_count() > 0),
            pages: &mut pages,
        };
        let closed = chunk.write(column)?;
        group.append_column(&Bytes::from(pages.into_inner()?), closed)?;
    }
    group.close().map(drop)
}

/// A column of a row group, to be written.
struct Chunk<'a> {
    described: ColumnDescPtr,
    properties: WriterPropertiesPtr,
    rows: usize,
    /// Which rows have a value, if not all of them have one.
    nulls: Option<NullBuffer>,
    pages: &'a mut TrackedWrite<Vec<u8>>,
}

impl Chunk<'_> {
    fn write(self, column: &ArrayRef) -> Result<ColumnCloseResult, ParquetError> {
        match column.data_type() {
            DataType::Utf8 => self.values::<stored::ByteArrayType>(texts(column.as_string())),
            DataType::Dictionary(..) => {
                let numbered = column.as_dictionary::<UInt32Type>();
                let (numbers, text) =
                    (numbered.keys().values(), texts(numbered.values().as_string()));
                self.values::<stored::ByteArrayType>(|row| text(numbers[row] as usize))
            }
            DataType::Int32 => {
                self.numbers::<_, stored::Int32Type>(column.as_primitive::<Int32Type>())
            }
            DataType::Int64 => {
                self.numbers::<_, stored::Int64Type>(column.as_primitive::<Int64Type>())
            }
            DataType::Float64 => {
                self.numbers::<_, stored::DoubleType>(column.as_primitive::<Float64Type>())
            }
            other => Err(unknown(self.described.name(), other)),
        }
    }

    fn numbers<A, P>(self, column: &PrimitiveArray<A>) -> Result<ColumnCloseResult, ParquetError>
    where
        A: ArrowPrimitiveType,
        P: stored::DataType<T = A::Native>,
    {
        let numbers = column.values();
        self.values::<P>(|row| numbers[row])
    }

    /// Writes what the rows say that have a value.
    fn values<T: stored::DataType>(
        self,
        value: impl Fn(usize) -> T::T,
    ) -> Result<ColumnCloseResult, ParquetError> {
        if T::get_physical_type() != self.described.physical_type() {
            return Err(unknown(self.described.name(), &T::get_physical_type()));
        }
        let pages = Box::new(Pages(SerializedPageWriter::new(self.pages)));
        let mut writer = ColumnWriterImpl::<T>::new(self.described, self.properties, pages);
        let (mut values, mut levels) = (Vec::new(), Vec::new());
        for from in (0..self.rows).step_by(AT_ONCE) {
            let rows = from..self.rows.min(from + AT_ONCE);
            levels.clear();
            values.clear();
            match &self.nulls {
                None => {
                    levels.resize(rows.len(), 1);
                    values.extend(rows.map(&value));
                }
                Some(nulls) => {
                    levels.extend(rows.clone().map(|row| i16::from(nulls.is_valid(row))));
                    values.extend(rows.filter(|row| nulls.is_valid(*row)).map(&value));
                }
            }
            writer.write_batch(&values, Some(&levels), None)?;
        }
        let closed = writer.close()?;
        let metadata = closed.metadata.into_builder().set_compression_codec(CompressionCodec::ZSTD);
        Ok(ColumnCloseResult { metadata: metadata.build()?, ..closed })
    }
}

/// The text of a row of a column, which is not copied.
fn texts(column: &StringArray) -> impl Fn(usize) -> ByteArray {
    let bytes = Bytes::from_owner(column.values().clone());
    let ends = column.value_offsets();
    move |row| ByteArray::from(bytes.slice(ends[row] as usize..ends[row + 1] as usize))
}

thread_local! {
    /// To make one takes as long as to compress a small page.
    static COMPRESSOR: RefCell<Compressor<'static>> = RefCell::default();
}

/// Compresses pages on their way out: a column writer does too, but makes a compressor for each column.
struct Pages<'a>(SerializedPageWriter<'a, Vec<u8>>);

impl PageWriter for Pages<'_> {
    fn write_page(&mut self, page: CompressedPage) -> Result<PageWriteSpec, ParquetError> {
        let mut compressed = page.compressed_page().clone();
        let buffer = match &mut compressed {
            Page::DataPage { buf, .. } | Page::DictionaryPage { buf, .. } => buf,
            // Of which only a part may be compressed.
            Page::DataPageV2 { .. } => {
                return Err(ParquetError::NYI("pages of version 2".to_owned()));
            }
        };
        let bytes = COMPRESSOR.with_borrow_mut(|compressor| {
            compressor.set_compression_level(ZSTD_LEVEL)?;
            compressor.compress(buffer)
        })?;
        *buffer = Bytes::from(bytes);
        self.0.write_page(CompressedPage::new(compressed, page.uncompressed_size()))
    }

    fn close(&mut self) -> Result<(), ParquetError> {
        self.0.close()
    }
}

/// An object, or the stretch of it that was fetched, whose rows are read.
pub(super) struct Source<'a, R> {
    pub(super) bytes: Arc<R>,
    pub(super) metadata: &'a ParquetMetaData,
}

/// Some rows of a row group.
struct Stretch {
    group: usize,
    rows: Range<usize>,
}

impl<R: ChunkReader + 'static> Source<'_, R> {
    /// All rows of some row groups: those columns that the schema names.
    pub(super) fn groups(
        &self,
        schema: &SchemaRef,
        groups: Range<usize>,
    ) -> Result<RecordBatch, ParquetError> {
        let all = |group| Ok(Stretch { group, rows: 0..self.rows(group)? });
        self.read(schema, &groups.map(all).collect::<Result<Vec<_>, ParquetError>>()?)
    }

    /// Some rows of a row group.
    pub(super) fn within(
        &self,
        schema: &SchemaRef,
        group: usize,
        rows: Range<usize>,
    ) -> Result<RecordBatch, ParquetError> {
        self.read(schema, &[Stretch { group, rows }])
    }

    fn rows(&self, group: usize) -> Result<usize, ParquetError> {
        Ok(usize::try_from(self.metadata.row_group(group).num_rows())?)
    }

    fn read(&self, schema: &SchemaRef, stretches: &[Stretch]) -> Result<RecordBatch, ParquetError> {
        let columns =
            || schema.fields().iter().map(|field| self.column(field, stretches)).collect();
        // The crate's decoders panic at some of what is no page.
        let columns = catch_unwind(AssertUnwindSafe(columns));
        let damaged = |_| Err(ParquetError::General("its pages are damaged".to_owned()));
        RecordBatch::try_new(Arc::clone(schema), columns.unwrap_or_else(damaged)?).map_err(external)
    }

    fn column(&self, field: &Field, stretches: &[Stretch]) -> Result<ArrayRef, ParquetError> {
        let all = self.metadata.file_metadata().schema_descr().columns();
        let number = all.iter().position(|column| column.name() == field.name());
        let missing = || ParquetError::General(format!("it has no column {}", field.name()));
        let number = number.ok_or_else(missing)?;
        match field.data_type() {
            DataType::Utf8 => self.texts(number, stretches),
            DataType::Int32 => self.numbers::<Int32Type, stored::Int32Type>(number, stretches),
            DataType::Int64 => self.numbers::<Int64Type, stored::Int64Type>(number, stretches),
            DataType::Float64 => self.numbers::<Float64Type, stored::DoubleType>(number, stretches),
            other => Err(unknown(field.name(), other)),
        }
    }

    /// Reads some rows of a column, so many at a time; what they say is added to what was read of those
    /// before: the values, and which rows have one.
    fn values<T: stored::DataType>(
        &self,
        column: usize,
        stretches: &[Stretch],
        at_once: usize,
        mut read: impl FnMut(&mut Vec<T::T>, &mut Vec<i16>) -> Result<(), ParquetError>,
    ) -> Result<(), ParquetError> {
        let (mut values, mut levels) = (Vec::new(), Vec::new());
        for Stretch { group, rows } in stretches {
            let (chunk, all) = (self.metadata.row_group(*group).column(column), self.rows(*group)?);
            let described = chunk.column_descr_ptr();
            let name = described.name();
            if usize::try_from(chunk.num_values())? != all {
                let found = chunk.num_values();
                return Err(ParquetError::General(format!("{name}: {found} of {all} rows")));
            }
            let bytes = Arc::clone(&self.bytes);
            let pages = SerializedPageReader::new(bytes, chunk, all, None)?;
            let mut reader = ColumnReaderImpl::<T>::new(Arc::clone(&described), Box::new(pages));
            reader.skip_records(rows.start)?;
            let mut left = rows.len();
            while left > 0 {
                let wanted = left.min(at_once);
                let (found, ..) =
                    reader.read_records(wanted, Some(&mut levels), None, &mut values)?;
                if found == 0 {
                    return Err(ParquetError::EOF(format!("{name}: {left} rows too few")));
                }
                if described.max_def_level() == 0 {
                    levels.resize(levels.len() + found, 1);
                }
                read(&mut values, &mut levels)?;
                left -= found;
            }
        }
        Ok(())
    }

    fn numbers<A, P>(&self, column: usize, stretches: &[Stretch]) -> Result<ArrayRef, ParquetError>
    where
        A: ArrowPrimitiveType,
        P: stored::DataType<T = A::Native>,
    {
        let (mut all, mut present) = (Vec::new(), Vec::new());
        self.values::<P>(column, stretches, usize::MAX, |values, levels| {
            all.append(values);
            present.append(levels);
            Ok(())
        })?;
        if all.len() == present.len() {
            return Ok(Arc::new(PrimitiveArray::<A>::new(all.into(), None)));
        }
        let mut all = all.into_iter();
        let value = |level| if level > 0 { all.next() } else { None };
        Ok(Arc::new(present.into_iter().map(value).collect::<PrimitiveArray<A>>()))
    }

    fn texts(&self, column: usize, stretches: &[Stretch]) -> Result<ArrayRef, ParquetError> {
        let (mut bytes, mut ends, mut present) = (Vec::new(), vec![0], Vec::new());
        self.values::<stored::ByteArrayType>(column, stretches, AT_ONCE, |values, levels| {
            let mut values = values.drain(..);
            for level in levels.drain(..) {
                let value = if level > 0 { values.next() } else { None };
                present.push(value.is_some());
                bytes.extend_from_slice(value.as_ref().map_or(&[], ByteArray::data));
                ends.push(i32::try_from(bytes.len())?);
            }
            Ok(())
        })?;
        bytes.shrink_to_fit();
        ends.shrink_to_fit();
        let nulls = Some(NullBuffer::from(present)).filter(|nulls| nulls.null_count() > 0);
        let texts = StringArray::try_new(OffsetBuffer::new(ends.into()), bytes.into(), nulls);
        Ok(Arc::new(texts.map_err(external)?))
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{DictionaryArray, Float64Array, Int32Array, Int64Array, UInt32Array};
    use proptest::prelude::*;

    use super::*;
    use crate::key::ObjectKey;
    use crate::object::{Footer, Ledger, Version, decode, encode};
    use crate::order::tests::said;
    use crate::tables::{MACHINE_LEARNING_CURATED, Table};

    const TABLE: &Table = &MACHINE_LEARNING_CURATED;
    const TEXTS: [Option<&str>; 4] = [Some("ada@test.com"), None, Some(""), Some("Łódź")];

    type Row = (usize, Option<i64>, Option<i32>, usize, Option<i64>, [Option<f64>; 3]);

    fn footer() -> Footer {
        let text = || "none".to_owned();
        let version = Version { rule: text(), policies: 0, source: text(), digest: text() };
        Footer { version, ledger: Ledger::default(), had_rows: true }
    }

    fn row() -> impl Strategy<Value = Row> {
        let time = || prop::option::weighted(0.9, any::<i64>());
        let axis = || prop::option::weighted(0.9, prop::num::f64::ANY);
        let distance = prop::option::weighted(0.9, any::<i32>());
        (0..TEXTS.len(), time(), distance, 0..TEXTS.len(), time(), [axis(), axis(), axis()])
    }

    /// With the texts in each row, or with numbers in their place.
    fn batch(rows: &[Row], is_numbered: bool) -> RecordBatch {
        let numbers = |number: fn(&Row) -> usize| -> ArrayRef {
            let numbers = rows.iter().map(number);
            match is_numbered {
                false => Arc::new(numbers.map(|number| TEXTS[number]).collect::<StringArray>()),
                true => {
                    let numbers: UInt32Array = numbers.map(|number| number as u32).collect();
                    let texts = StringArray::from_iter(TEXTS);
                    Arc::new(DictionaryArray::try_new(numbers, Arc::new(texts)).unwrap())
                }
            }
        };
        let axis = |axis: usize| -> ArrayRef {
            Arc::new(rows.iter().map(|row| row.5[axis]).collect::<Float64Array>())
        };
        let columns: Vec<ArrayRef> = vec![
            numbers(|row| row.0),
            Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|row| row.2).collect::<Int32Array>()),
            numbers(|row| row.3),
            Arc::new(rows.iter().map(|row| row.4).collect::<Int64Array>()),
            axis(0),
            axis(1),
            axis(2),
        ];
        let names = TABLE.columns.iter().map(|column| column.name);
        let columns = names.zip(columns).map(|(name, column)| (name, column, true));
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            rows in prop::collection::vec(row(), 0..40),
            row_group_rows in 1_usize..50,
            first in any::<prop::sample::Index>(),
            count in any::<prop::sample::Index>(),
        ) {
            let (key, plain) = (ObjectKey::new("object"), batch(&rows, false));
            let schema = TABLE.schema();
            let bytes = encode(&schema, std::slice::from_ref(&plain), &footer(), row_group_rows).unwrap();
            let numbered = encode(&schema, &[batch(&rows, true)], &footer(), row_group_rows);
            prop_assert_eq!(&numbered.unwrap(), &bytes);
            let read = decode(&key, bytes.clone()).unwrap();
            prop_assert_eq!(said(&read.batch), said(&plain));
            prop_assert_eq!(read.batch.schema(), schema.clone());
            prop_assert_eq!(read.footer, footer());

            // Some rows of each row group.
            let metadata = parquet::file::metadata::ParquetMetaDataReader::new();
            let metadata = metadata.parse_and_finish(&bytes).unwrap();
            let source = Source { bytes: Arc::new(bytes), metadata: &metadata };
            for group in 0..metadata.num_row_groups() {
                let of_group = source.rows(group).unwrap();
                let first = first.index(of_group);
                let some = first..first + count.index(of_group - first + 1);
                let read = source.within(&schema, group, some.clone()).unwrap();
                let from = group * row_group_rows + some.start;
                prop_assert_eq!(said(&read), said(&plain.slice(from, some.len())));
            }
        }
    }

    #[test]
    fn what_no_table_has_is_refused() {
        let field = Field::new("shares", DataType::Boolean, true);
        let refused = described(&Schema::new(vec![field])).unwrap_err().to_string();
        assert!(refused.contains("shares") && refused.contains("Boolean"), "{refused}");
    }

    /// Whichever bit is another, either all rows are read or the object is said to be unreadable.
    #[test]
    fn what_is_damaged_is_no_panic() {
        let row = (0, Some(1), Some(2), 3, Some(1), [Some(0.5), None, Some(1.5)]);
        let (key, rows) = (ObjectKey::new("object"), vec![row; 20]);
        let bytes = encode(&TABLE.schema(), &[batch(&rows, true)], &footer(), 12).unwrap();
        let mut unreadable = 0;
        for bit in (0..8 * bytes.len()).step_by(7) {
            let mut damaged = bytes.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            match decode(&key, damaged.into()) {
                Ok(read) => assert_eq!(read.batch.num_rows(), rows.len(), "bit {bit}"),
                Err(error) => {
                    unreadable += 1;
                    assert!(error.to_string().contains("object"), "{error}");
                }
            }
        }
        assert!(unreadable > bytes.len() / 7, "{unreadable} of {} bytes", bytes.len());
    }
}
