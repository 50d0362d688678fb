//! Rows as values that can be counted and shown.

use std::fmt;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use lake::tables::Table;

/// A value of a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cell {
    Null,
    Text(String),
    Integer(i64),
    /// By its bits, so that every value is equal to itself.
    Double(u64),
}

impl Cell {
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(integer) => Some(*integer),
            _ => None,
        }
    }
}

/// A row of a table, in the order of its columns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row(pub(crate) Vec<Cell>);

impl Row {
    /// The time that decides on the row's partition, epoch milliseconds.
    pub(crate) fn time_ms(&self, table: &Table) -> Option<i64> {
        let names = ["timestamp", "sensorreadingtime"];
        let column = table.columns.iter().position(|column| names.contains(&column.name))?;
        self.0.get(column)?.integer()
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (column, cell) in self.0.iter().enumerate() {
            if column > 0 {
                f.write_str(", ")?;
            }
            match cell {
                Cell::Null => f.write_str("null")?,
                Cell::Text(text) => write!(f, "{text:?}")?,
                Cell::Integer(integer) => write!(f, "{integer}")?,
                Cell::Double(bits) => write!(f, "{:?}", f64::from_bits(*bits))?,
            }
        }
        Ok(())
    }
}

/// The rows of a batch.
pub(crate) fn rows_of(batch: &RecordBatch) -> Vec<Row> {
    (0..batch.num_rows())
        .map(|row| Row(batch.columns().iter().map(|column| cell(column.as_ref(), row)).collect()))
        .collect()
}

fn cell(column: &dyn Array, row: usize) -> Cell {
    if column.is_null(row) {
        return Cell::Null;
    }
    match column.data_type() {
        DataType::Utf8 => Cell::Text(column.as_string::<i32>().value(row).to_owned()),
        DataType::Int64 => Cell::Integer(column.as_primitive::<Int64Type>().value(row)),
        DataType::Int32 => Cell::Integer(column.as_primitive::<Int32Type>().value(row).into()),
        DataType::Float64 => {
            Cell::Double(column.as_primitive::<Float64Type>().value(row).to_bits())
        }
        _ => Cell::Null,
    }
}
