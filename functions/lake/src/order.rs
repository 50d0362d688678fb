//! Puts readings into an order that depends on the rows alone, and not on how they came: by time,
//! then by every other column.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt32Type};
use arrow_array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, UInt32Array,
};
use arrow_schema::{ArrowError, SchemaRef};

use crate::gather::{gathered_column, no_rows, of_numbers, of_texts, texts_of, value};

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

    fn at(&self) -> (usize, usize) {
        (self.batch as usize, self.row as usize)
    }
}

/// All rows of some batches, which may have numbers in place of texts, in order, in one.
pub fn in_order(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    time_column: &str,
) -> Result<RecordBatch, ArrowError> {
    let time = schema.index_of(time_column)?;
    let times =
        |batch: &RecordBatch| batch.column(time).as_primitive::<Int64Type>().values().clone();
    if let [batch] = batches
        && schema.contains(batch.schema_ref())
        && times(batch).is_sorted_by(|a, b| a < b)
    {
        return batch.clone().with_schema(schema.clone());
    }
    let mut places = Vec::with_capacity(batches.iter().map(RecordBatch::num_rows).sum());
    for (number, batch) in (0..).zip(batches) {
        places.extend(Place::all(number, &times(batch)));
    }
    these_in_order(schema, batches, places, time_column)
}

/// Some rows of some batches, in order, in one.
fn these_in_order(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    mut rows: Vec<Place>,
    time_column: &str,
) -> Result<RecordBatch, ArrowError> {
    put_in_order(schema, batches, &mut rows, time_column)?;
    copied(schema, batches, &rows)
}

/// Puts some rows of some batches in order, which may have numbers in place of texts.
///
/// By their times first: only rows of the same time are compared in full, and rows that come in order, as
/// they do as a rule, are left as they are. Only then are they [copied], once.
pub fn put_in_order(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    rows: &mut [Place],
    time_column: &str,
) -> Result<(), ArrowError> {
    if rows.is_sorted_by(|a, b| a.time_ms < b.time_ms) {
        return Ok(());
    }
    // Stable sorting takes what is sorted already, of many objects one after the other, as it is.
    rows.sort_by_key(|row| row.time_ms);
    let others: Vec<Column<'_>> = schema
        .fields()
        .iter()
        .filter(|field| field.name() != time_column)
        .map(|field| Column::of(batches, field.name()))
        .collect::<Result<_, _>>()?;
    for same in rows.chunk_by_mut(|a, b| a.time_ms == b.time_ms) {
        same.sort_unstable_by(|a, b| {
            let mut columns = others.iter().map(|column| column.compare(a.at(), b.at()));
            columns.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        });
    }
    Ok(())
}

/// Some rows of some batches, in one, with their texts.
pub fn copied(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    rows: &[Place],
) -> Result<RecordBatch, ArrowError> {
    if rows.is_empty() {
        return no_rows(schema);
    }
    let copied = |name: &str| -> Result<ArrayRef, ArrowError> {
        let columns = columns(batches, name)?;
        match Numbered::of(&columns) {
            Some(numbered) => Ok(Arc::new(numbered.texts(rows))),
            None => gathered_column(&columns, rows.iter().map(Place::at)),
        }
    };
    let columns = schema.fields().iter().map(|field| copied(field.name()));
    RecordBatch::try_new(schema.clone(), columns.collect::<Result<_, _>>()?)
}

/// The columns of that name, which all the batches have.
fn columns<'a>(
    batches: impl IntoIterator<Item = &'a RecordBatch>,
    name: &str,
) -> Result<Vec<&'a ArrayRef>, ArrowError> {
    let missing = || ArrowError::SchemaError(format!("there is no column {name}"));
    batches.into_iter().map(|it| it.column_by_name(name).ok_or_else(missing)).collect()
}

/// A column of texts in whose place there are numbers, each of the same text in all batches.
pub struct Numbered<'a> {
    numbers: Vec<&'a UInt32Array>,
    texts: &'a StringArray,
}

impl<'a> Numbered<'a> {
    fn of(columns: &[&'a ArrayRef]) -> Option<Self> {
        let of = |column: &&'a ArrayRef| column.as_dictionary_opt::<UInt32Type>();
        let columns = columns.iter().map(of).collect::<Option<Vec<_>>>()?;
        let texts = columns.first()?.values();
        let is_same = columns.iter().all(|column| Arc::ptr_eq(column.values(), texts));
        let numbers = columns.iter().map(|column| column.keys()).collect();
        is_same.then_some(Self { numbers, texts: texts.as_string_opt()? })
    }

    fn text(&self, number: u32) -> &'a str {
        self.texts.value(number as usize)
    }

    fn compare(&self, a: (usize, usize), b: (usize, usize)) -> Ordering {
        match (value(&self.numbers, a), value(&self.numbers, b)) {
            (Some(a), Some(b)) if a != b => self.text(a).cmp(self.text(b)),
            (a, b) => a.is_some().cmp(&b.is_some()),
        }
    }

    fn texts(&self, rows: &[Place]) -> StringArray {
        texts_of(rows.iter().map(|row| value(&self.numbers, row.at()).map(|it| self.text(it))))
    }
}

/// A column of some batches.
pub enum Column<'a> {
    /// Of texts, in the order of their bytes.
    Texts(Vec<&'a StringArray>),
    /// The same, with numbers in their place.
    Numbered(Numbered<'a>),
    /// Of numbers.
    Ints(Vec<&'a Int32Array>),
    /// Of numbers.
    Longs(Vec<&'a Int64Array>),
    /// Of numbers, in IEEE 754's total order.
    Doubles(Vec<&'a Float64Array>),
}

impl<'a> Column<'a> {
    /// The column of that name, which all the batches have, of one type.
    pub fn of(
        batches: impl IntoIterator<Item = &'a RecordBatch>,
        name: &str,
    ) -> Result<Self, ArrowError> {
        let columns = columns(batches, name)?;
        let column = of_texts(&columns).map(Self::Texts);
        let column = column.or_else(|| Numbered::of(&columns).map(Self::Numbered));
        let column = column.or_else(|| of_numbers(&columns).map(Self::Ints));
        let column = column.or_else(|| of_numbers(&columns).map(Self::Longs));
        let column = column.or_else(|| of_numbers(&columns).map(Self::Doubles));
        let other = || ArrowError::NotYetImplemented(format!("rows in the order of {name}"));
        column.ok_or_else(other)
    }

    /// Which of two rows comes first by this column, by the numbers of batch and row: one without a
    /// value before those with one.
    pub fn compare(&self, a: (usize, usize), b: (usize, usize)) -> Ordering {
        match self {
            Self::Texts(columns) => value(columns, a).cmp(&value(columns, b)),
            Self::Numbered(column) => column.compare(a, b),
            Self::Ints(columns) => value(columns, a).cmp(&value(columns, b)),
            Self::Longs(columns) => value(columns, a).cmp(&value(columns, b)),
            Self::Doubles(columns) => match (value(columns, a), value(columns, b)) {
                (Some(a), Some(b)) => a.total_cmp(&b),
                (a, b) => a.is_some().cmp(&b.is_some()),
            },
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use arrow_array::types::Float64Type;
    use arrow_array::{Array, BooleanArray, DictionaryArray};
    use arrow_ord::sort::{SortColumn, lexsort_to_indices};
    use arrow_select::concat::concat_batches;
    use arrow_select::filter::filter_record_batch;
    use arrow_select::take::take_record_batch;
    use proptest::prelude::*;

    use super::*;
    use crate::tables::Stream;

    /// Any of few values, or none; of numbers also those that are equal and yet not the same.
    fn axis() -> impl Strategy<Value = Option<f64>> {
        prop_oneof![
            prop::sample::select(vec![None, Some(0.0), Some(-0.0), Some(f64::NAN)]),
            any::<f64>().prop_map(Some),
        ]
    }

    /// Accelerometer readings, each with whether it is chosen.
    fn motions() -> impl Strategy<Value = (RecordBatch, Vec<bool>)> {
        let user = prop::sample::select(vec![None, Some("a"), Some("b")]);
        let rows = (user, 0..4_i64, [axis(), axis(), axis()], any::<bool>());
        prop::collection::vec(rows, 0..12).prop_map(|rows| {
            let axis = |axis: usize| -> ArrayRef {
                Arc::new(rows.iter().map(|row| row.2[axis]).collect::<Float64Array>())
            };
            let users: StringArray = rows.iter().map(|row| row.0).collect();
            let times: Int64Array = rows.iter().map(|row| row.1).collect();
            let columns: Vec<ArrayRef> =
                vec![Arc::new(users), Arc::new(times), axis(0), axis(1), axis(2)];
            let batch = RecordBatch::try_new(Stream::Accelerometer.schema(), columns).unwrap();
            (batch, rows.iter().map(|row| row.3).collect())
        })
    }

    fn steps() -> impl Strategy<Value = RecordBatch> {
        let rows = (0..4_i64, "[de]", prop::option::of(-1..2));
        prop::collection::vec(rows, 0..12).prop_map(|rows| {
            let times: Int64Array = rows.iter().map(|row| row.0).collect();
            let serials: StringArray = rows.iter().map(|row| Some(row.1.as_str())).collect();
            let distances: Int32Array = rows.iter().map(|row| row.2).collect();
            let columns: Vec<ArrayRef> =
                vec![Arc::new(times), Arc::new(serials), Arc::new(distances)];
            RecordBatch::try_new(Stream::StepTrainer.schema(), columns).unwrap()
        })
    }

    /// Accelerometer readings with numbers in place of their users.
    fn numbered(batches: &[RecordBatch]) -> Vec<RecordBatch> {
        let texts = ["b", "none", "a"];
        let values: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
        let numbered = |batch: &RecordBatch| {
            let users = batch.column(0).as_string::<i32>().iter();
            let number = |user| texts.iter().position(|text| *text == user).unwrap() as u32;
            let numbers: UInt32Array = users.map(|user| user.map(number)).collect();
            let users = DictionaryArray::try_new(numbers, Arc::clone(&values)).unwrap();
            let mut columns = batch.columns().to_vec();
            columns[0] = Arc::new(users);
            let names = batch.schema_ref().fields().iter().map(|field| field.name());
            let named = names.zip(columns).map(|(name, column)| (name, column, true));
            RecordBatch::try_from_iter_with_nullable(named).unwrap()
        };
        batches.iter().map(numbered).collect()
    }

    /// As arrow sorts them: by time, then by the other columns.
    fn expected(schema: &SchemaRef, batches: &[RecordBatch], time: &str) -> RecordBatch {
        let all = concat_batches(schema, batches).unwrap();
        let names = schema.fields().iter().map(|field| field.name().as_str());
        let names = std::iter::once(time).chain(names.filter(|name| *name != time));
        let columns = names.map(|name| SortColumn {
            values: Arc::clone(all.column_by_name(name).unwrap()),
            options: None,
        });
        let order = lexsort_to_indices(&columns.collect::<Vec<_>>(), None).unwrap();
        take_record_batch(&all, &order).unwrap()
    }

    /// What rows say, to the bit: no number is equal to itself that is none.
    pub(crate) fn said(batch: &RecordBatch) -> Vec<String> {
        let said = |column: &ArrayRef, row| match column.as_primitive_opt::<Float64Type>() {
            Some(axis) if !axis.is_null(row) => format!("{:x}", axis.value(row).to_bits()),
            _ => format!("{:?}", column.slice(row, 1)),
        };
        let row = |row| batch.columns().iter().map(|column| said(column, row)).collect();
        (0..batch.num_rows()).map(row).collect()
    }

    proptest! {
        #[test]
        fn rows_of_any_number_of_batches_are_in_the_order_arrow_has(
            motions in prop::collection::vec(motions(), 0..5),
            steps in prop::collection::vec(steps(), 0..5),
        ) {
            let (batches, chosen): (Vec<_>, Vec<_>) = motions.into_iter().unzip();
            let (schema, time) = (Stream::Accelerometer.schema(), "timestamp");
            let ordered = in_order(&schema, &batches, time).unwrap();
            prop_assert_eq!(said(&ordered), said(&expected(&schema, &batches, time)));
            let again = in_order(&schema, std::slice::from_ref(&ordered), time).unwrap();
            prop_assert_eq!(said(&again), said(&ordered));

            let (mut places, mut filtered) = (Vec::new(), Vec::new());
            for ((batch, chosen), number) in batches.iter().zip(chosen).zip(0..) {
                let times = batch.column_by_name(time).unwrap().as_primitive::<Int64Type>();
                let all = Place::all(number, times.values());
                places.extend(all.zip(&chosen).filter_map(|(place, is)| is.then_some(place)));
                filtered.push(filter_record_batch(batch, &BooleanArray::from(chosen)).unwrap());
            }
            let ordered = these_in_order(&schema, &batches, places.clone(), time).unwrap();
            prop_assert_eq!(said(&ordered), said(&expected(&schema, &filtered, time)));
            let numbered = these_in_order(&schema, &numbered(&batches), places, time).unwrap();
            prop_assert_eq!(said(&numbered), said(&ordered));

            let (schema, time) = (Stream::StepTrainer.schema(), "sensorreadingtime");
            let ordered = in_order(&schema, &steps, time).unwrap();
            prop_assert_eq!(said(&ordered), said(&expected(&schema, &steps, time)));
        }
    }
}
