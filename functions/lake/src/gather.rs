//! Copies rows of batches into one: of columns of the types that the tables have, and numbers that stand
//! for texts.

use std::iter;
use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Float64Type, Int32Type, Int64Type, UInt32Type};
use arrow_array::{Array, ArrayAccessor, ArrayRef, PrimitiveArray, RecordBatch, StringArray};
use arrow_schema::{ArrowError, DataType, FieldRef, SchemaRef};

/// Some rows of batches of one schema, by the numbers of batch and row.
pub fn gathered(
    batches: &[RecordBatch],
    rows: impl Iterator<Item = (usize, usize)> + Clone,
) -> Result<RecordBatch, ArrowError> {
    let first = batches.first().ok_or_else(|| ArrowError::SchemaError("no batch".to_owned()))?;
    let column = |column: usize| {
        let columns: Vec<_> = batches.iter().map(|batch| batch.column(column)).collect();
        gathered_column(&columns, rows.clone())
    };
    let columns = (0..first.num_columns()).map(column).collect::<Result<_, _>>()?;
    RecordBatch::try_new(first.schema(), columns)
}

/// Some rows of columns of one type, by the numbers of column and row.
pub fn gathered_column(
    columns: &[&ArrayRef],
    rows: impl Iterator<Item = (usize, usize)> + Clone,
) -> Result<ArrayRef, ArrowError> {
    let kind = columns.first().map_or(&DataType::Null, |column| column.data_type());
    gathered_of(kind, columns, rows)
}

/// No rows. `RecordBatch::new_empty` knows how to make every type of Arrow: a function is larger for it.
pub fn no_rows(schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let none = |field: &FieldRef| gathered_of(field.data_type(), &[], iter::empty());
    let columns = schema.fields().iter().map(none).collect::<Result<_, _>>()?;
    RecordBatch::try_new(schema.clone(), columns)
}

fn gathered_of(
    kind: &DataType,
    columns: &[&ArrayRef],
    rows: impl Iterator<Item = (usize, usize)> + Clone,
) -> Result<ArrayRef, ArrowError> {
    let gathered = match kind {
        DataType::Utf8 => texts(columns, rows),
        DataType::Int32 => numbers::<Int32Type>(columns, rows),
        DataType::Int64 => numbers::<Int64Type>(columns, rows),
        DataType::UInt32 => numbers::<UInt32Type>(columns, rows),
        DataType::Float64 => numbers::<Float64Type>(columns, rows),
        _ => None,
    };
    gathered.ok_or_else(|| ArrowError::NotYetImplemented(format!("copies of rows of {kind}")))
}

fn numbers<T: ArrowPrimitiveType>(
    columns: &[&ArrayRef],
    rows: impl Iterator<Item = (usize, usize)>,
) -> Option<ArrayRef> {
    let columns: Vec<&PrimitiveArray<T>> = of_numbers(columns)?;
    Some(Arc::new(if columns.iter().any(|column| column.null_count() > 0) {
        rows.map(|at| value(&columns, at)).collect()
    } else {
        let values: Vec<&[T::Native]> =
            columns.iter().map(|column| column.values().as_ref()).collect();
        PrimitiveArray::<T>::from_iter_values(rows.map(|(column, row)| values[column][row]))
    }))
}

fn texts(
    columns: &[&ArrayRef],
    rows: impl Iterator<Item = (usize, usize)> + Clone,
) -> Option<ArrayRef> {
    let columns = of_texts(columns)?;
    Some(Arc::new(texts_of(rows.map(|at| value(&columns, at)))))
}

/// A column of texts.
pub fn texts_of<'a>(texts: impl Iterator<Item = Option<&'a str>> + Clone) -> StringArray {
    let (mut rows, mut bytes) = (0, 0);
    for text in texts.clone() {
        (rows, bytes) = (rows + 1, bytes + text.map_or(0, str::len));
    }
    let mut builder = StringBuilder::with_capacity(rows, bytes);
    texts.for_each(|text| builder.append_option(text));
    builder.finish()
}

/// The columns, if all of them are of this type.
pub(crate) fn of_numbers<'a, T: ArrowPrimitiveType>(
    columns: &[&'a ArrayRef],
) -> Option<Vec<&'a PrimitiveArray<T>>> {
    columns.iter().map(|column| column.as_primitive_opt()).collect()
}

/// The columns, if all of them are of texts.
pub(crate) fn of_texts<'a>(columns: &[&'a ArrayRef]) -> Option<Vec<&'a StringArray>> {
    columns.iter().map(|column| column.as_string_opt()).collect()
}

/// What a row says.
pub(crate) fn value<T: ArrayAccessor + Copy>(
    columns: &[T],
    (column, row): (usize, usize),
) -> Option<T::Item> {
    let column = columns[column];
    (!column.is_null(row)).then(|| column.value(row))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::TABLES;

    #[test]
    fn every_table_can_be_without_rows() {
        for table in TABLES {
            let schema = table.schema();
            let none = no_rows(&schema).unwrap_or_else(|error| panic!("{}: {error}", table.name));
            assert_eq!(none, RecordBatch::new_empty(schema));
        }
    }
}
