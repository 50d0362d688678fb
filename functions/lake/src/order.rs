//! Puts readings into an order that depends on the rows alone, and not on how they came: by time,
//! then by every other column.

use std::cmp::Ordering;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type};
use arrow_array::{
    Array, ArrayAccessor, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    UInt32Array,
};
use arrow_schema::{ArrowError, DataType, SchemaRef};
use arrow_select::interleave::interleave_record_batch;
use arrow_select::take::take_record_batch;

/// Where a reading is among some batches.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its time, epoch milliseconds.
    pub time_ms: i64,
    /// The number of the batch.
    pub batch: u32,
    /// The number of the row in it.
    pub row: u32,
}

impl Place {
    /// The places of all rows of a batch, of which these are the times.
    pub fn all(batch: u32, times: &[i64]) -> impl Iterator<Item = Self> {
        times.iter().zip(0..).map(move |(time_ms, row)| Self { time_ms: *time_ms, batch, row })
    }
}

/// All rows of some batches, in order, in one.
pub fn in_order(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    time_column: &str,
) -> Result<RecordBatch, ArrowError> {
    let time = schema.index_of(time_column)?;
    let times =
        |batch: &RecordBatch| batch.column(time).as_primitive::<Int64Type>().values().clone();
    if let [batch] = batches
        && times(batch).is_sorted_by(|a, b| a < b)
    {
        return Ok(batch.clone());
    }
    let mut places = Vec::with_capacity(batches.iter().map(RecordBatch::num_rows).sum());
    for (number, batch) in (0..).zip(batches) {
        places.extend(Place::all(number, &times(batch)));
    }
    these_in_order(schema, batches, places, time_column)
}

/// Some rows of some batches, in order, in one.
///
/// Numbers first: only rows of the same time are compared in full, and rows that come in order, as
/// they do as a rule, are left as they are. Only then are they copied, once.
pub fn these_in_order(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    mut rows: Vec<Place>,
    time_column: &str,
) -> Result<RecordBatch, ArrowError> {
    if !rows.is_sorted_by(|a, b| a.time_ms < b.time_ms) {
        // Stable sorting takes what is sorted already, of many objects one after the other, as it is.
        rows.sort_by_key(|row| row.time_ms);
        let others: Vec<Columns<'_>> = schema
            .fields()
            .iter()
            .filter(|field| field.name() != time_column)
            .map(|field| Columns::of(batches, field.name()))
            .collect::<Result<_, _>>()?;
        for same in rows.chunk_by_mut(|a, b| a.time_ms == b.time_ms) {
            same.sort_unstable_by(|a, b| {
                let mut columns = others.iter().map(|column| column.compare(a, b));
                columns.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
            });
        }
    }
    let copied = match batches {
        _ if rows.is_empty() => return Ok(RecordBatch::new_empty(schema.clone())),
        [batch] if is_whole(batch, &rows) => batch.clone(),
        [batch] => {
            let rows: UInt32Array = rows.iter().map(|row| row.row).collect();
            take_record_batch(batch, &rows)?
        }
        _ => {
            let batches: Vec<&RecordBatch> = batches.iter().collect();
            let rows: Vec<_> =
                rows.iter().map(|row| (row.batch as usize, row.row as usize)).collect();
            interleave_record_batch(&batches, &rows)?
        }
    };
    copied.with_schema(schema.clone())
}

/// Whether these are the rows of a batch, as they are in it.
fn is_whole(batch: &RecordBatch, rows: &[Place]) -> bool {
    rows.len() == batch.num_rows() && rows.iter().zip(0..).all(|(row, number)| row.row == number)
}

/// A column of some batches.
pub enum Columns<'a> {
    /// Of texts, in the order of their bytes.
    Texts(Vec<&'a StringArray>),
    /// Of numbers.
    Ints(Vec<&'a Int32Array>),
    /// Of numbers.
    Longs(Vec<&'a Int64Array>),
    /// Of numbers, in IEEE 754's total order.
    Doubles(Vec<&'a Float64Array>),
}

impl<'a> Columns<'a> {
    /// The column of that name, which all the batches have.
    pub fn of(
        batches: impl IntoIterator<Item = &'a RecordBatch>,
        name: &str,
    ) -> Result<Self, ArrowError> {
        let columns = batches.into_iter().map(|batch| {
            let unknown = || ArrowError::SchemaError(format!("there is no column {name}"));
            batch.column_by_name(name).ok_or_else(unknown)
        });
        let columns: Vec<_> = columns.collect::<Result<_, _>>()?;
        let columns = || columns.iter().copied();
        match columns().next().map_or(&DataType::Utf8, |first| first.data_type()) {
            DataType::Utf8 => Ok(Self::Texts(columns().map(AsArray::as_string).collect())),
            DataType::Int32 => {
                Ok(Self::Ints(columns().map(AsArray::as_primitive::<Int32Type>).collect()))
            }
            DataType::Int64 => {
                Ok(Self::Longs(columns().map(AsArray::as_primitive::<Int64Type>).collect()))
            }
            DataType::Float64 => {
                Ok(Self::Doubles(columns().map(AsArray::as_primitive::<Float64Type>).collect()))
            }
            other => Err(ArrowError::NotYetImplemented(format!("rows in the order of {other}"))),
        }
    }

    /// Which of two rows comes first by this column: one without a value before those with one.
    pub fn compare(&self, a: &Place, b: &Place) -> Ordering {
        match self {
            Self::Texts(columns) => value(columns, a).cmp(&value(columns, b)),
            Self::Ints(columns) => value(columns, a).cmp(&value(columns, b)),
            Self::Longs(columns) => value(columns, a).cmp(&value(columns, b)),
            Self::Doubles(columns) => match (value(columns, a), value(columns, b)) {
                (Some(a), Some(b)) => a.total_cmp(&b),
                (a, b) => a.is_some().cmp(&b.is_some()),
            },
        }
    }
}

fn value<T: ArrayAccessor + Copy>(columns: &[T], place: &Place) -> Option<T::Item> {
    let (column, row) = (columns[place.batch as usize], place.row as usize);
    (!column.is_null(row)).then(|| column.value(row))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::ArrayRef;
    use arrow_ord::sort::{SortColumn, lexsort_to_indices};
    use arrow_select::concat::concat_batches;
    use proptest::prelude::*;

    use super::*;
    use crate::tables::Stream;

    type Reading = (String, i64, Option<f64>, Option<f64>);

    fn reading() -> impl Strategy<Value = Reading> {
        let axis = || {
            prop_oneof![Just(None), Just(Some(0.0)), Just(Some(-0.0)), any::<f64>().prop_map(Some)]
        };
        ("[ab]", 0..4_i64, axis(), axis())
    }

    fn batch(readings: &[Reading]) -> RecordBatch {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(readings.iter().map(|it| Some(it.0.as_str())).collect::<StringArray>()),
            Arc::new(readings.iter().map(|it| it.1).collect::<Int64Array>()),
            Arc::new(readings.iter().map(|it| it.2).collect::<Float64Array>()),
            Arc::new(readings.iter().map(|it| it.3).collect::<Float64Array>()),
            Arc::new(readings.iter().map(|it| it.2).collect::<Float64Array>()),
        ];
        RecordBatch::try_new(Stream::Accelerometer.schema(), columns).unwrap()
    }

    /// As arrow sorts them.
    fn expected(batches: &[RecordBatch]) -> RecordBatch {
        let all = concat_batches(&Stream::Accelerometer.schema(), batches).unwrap();
        let column = |name| SortColumn {
            values: Arc::clone(all.column_by_name(name).unwrap()),
            options: None,
        };
        let order = ["timestamp", "user", "x", "y", "z"].map(column);
        take_record_batch(&all, &lexsort_to_indices(&order, None).unwrap()).unwrap()
    }

    /// What a row says, with the bits of its numbers.
    fn said(batch: &RecordBatch) -> Vec<(String, i64, [Option<u64>; 3])> {
        let axis = |name| batch.column_by_name(name).unwrap().as_primitive::<Float64Type>();
        let users = batch.column(0).as_string::<i32>();
        let times = batch.column(1).as_primitive::<Int64Type>();
        let bits =
            |axis: &Float64Array, row| (!axis.is_null(row)).then(|| axis.value(row).to_bits());
        let row = |row| {
            let axes = [axis("x"), axis("y"), axis("z")];
            (users.value(row).to_owned(), times.value(row), axes.map(|axis| bits(axis, row)))
        };
        (0..batch.num_rows()).map(row).collect()
    }

    proptest! {
        #[test]
        fn rows_of_any_number_of_batches_are_in_the_order_arrow_has(
            batches in prop::collection::vec(prop::collection::vec(reading(), 0..12), 0..5),
        ) {
            let batches: Vec<_> = batches.iter().map(|readings| batch(readings)).collect();
            let schema = Stream::Accelerometer.schema();
            let ordered = in_order(&schema, &batches, "timestamp").unwrap();
            prop_assert_eq!(said(&ordered), said(&expected(&batches)));
            let again = in_order(&schema, std::slice::from_ref(&ordered), "timestamp").unwrap();
            prop_assert_eq!(said(&again), said(&ordered));
        }
    }
}
