//! Accelerometer readings to pair with, of one object or of many, in the order of their times.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, UInt32Array};
use arrow_buffer::ScalarBuffer;
use arrow_schema::ArrowError;
use arrow_select::interleave::interleave;
use arrow_select::take::take;
use lake::search::before;

use crate::transform::times;

/// Time of an accelerometer reading, epoch milliseconds.
pub(crate) const MOTION_TIME: &str = "timestamp";

/// Accelerometer readings, sorted by time.
pub struct Motions {
    /// All of the same schema.
    batches: Vec<RecordBatch>,
    order: Order,
}

enum Order {
    /// Of the rows of the only batch: their times.
    OfOne(ScalarBuffer<i64>),
    OfMany(Vec<Place>),
}

/// Where a reading is.
struct Place {
    time_ms: i64,
    batch: u32,
    row: u32,
}

impl Motions {
    /// Those of a batch, which is sorted by time.
    pub fn of(batch: RecordBatch) -> Result<Self, ArrowError> {
        let times = times(&batch, MOTION_TIME)?.clone();
        Ok(Self { batches: vec![batch], order: Order::OfOne(times) })
    }

    /// Those of many batches, each of which is sorted by time.
    pub fn merged(batches: Vec<RecordBatch>) -> Result<Self, ArrowError> {
        let rows = batches.iter().map(RecordBatch::num_rows).sum();
        let mut places = Vec::with_capacity(rows);
        for (number, of_batch) in (0..).zip(&batches) {
            let times = times(of_batch, MOTION_TIME)?.iter().zip(0..);
            places.extend(times.map(|(time_ms, row)| Place {
                time_ms: *time_ms,
                batch: number,
                row,
            }));
        }
        // A stable sort merges what is sorted already.
        places.sort_by_key(|place| place.time_ms);
        Ok(Self { batches, order: Order::OfMany(places) })
    }

    /// Time of a reading; `None` after the last.
    pub(crate) fn time_ms(&self, reading: usize) -> Option<i64> {
        match &self.order {
            Order::OfOne(times) => times.get(reading).copied(),
            Order::OfMany(places) => places.get(reading).map(|place| place.time_ms),
        }
    }

    /// How many readings from `reading` on are before a time.
    pub(crate) fn before(&self, reading: usize, time_ms: i64) -> usize {
        match &self.order {
            Order::OfOne(times) => before(&times[reading..], |time| *time < time_ms),
            Order::OfMany(places) => before(&places[reading..], |place| place.time_ms < time_ms),
        }
    }

    /// A column of each batch.
    fn columns(&self, name: &str) -> Result<Vec<&dyn Array>, ArrowError> {
        let Some(first) = self.batches.first() else { return Ok(Vec::new()) };
        let column = first.schema_ref().index_of(name)?;
        Ok(self.batches.iter().map(|batch| batch.column(column).as_ref()).collect())
    }

    /// A column of texts, to be looked into.
    pub(crate) fn texts(&self, name: &str) -> Result<Texts<'_>, ArrowError> {
        let columns = self.columns(name)?.into_iter().map(|column| column.as_string()).collect();
        Ok(Texts { motions: self, columns })
    }

    /// The readings of these numbers, to be taken.
    pub(crate) fn chosen(&self, numbers: Vec<u32>) -> Chosen<'_> {
        let rows = match &self.order {
            Order::OfOne(_) => Rows::OfOne(numbers.into()),
            Order::OfMany(places) => {
                let place = |number: u32| {
                    let Place { batch, row, .. } = places[number as usize];
                    (batch as usize, row as usize)
                };
                Rows::OfMany(numbers.into_iter().map(place).collect())
            }
        };
        Chosen { motions: self, rows }
    }
}

/// A column of texts.
pub(crate) struct Texts<'a> {
    motions: &'a Motions,
    columns: Vec<&'a StringArray>,
}

impl<'a> Texts<'a> {
    /// What it says of a reading.
    pub(crate) fn value(&self, reading: usize) -> &'a str {
        match &self.motions.order {
            Order::OfOne(_) => self.columns[0].value(reading),
            Order::OfMany(places) => {
                let Place { batch, row, .. } = places[reading];
                self.columns[batch as usize].value(row as usize)
            }
        }
    }
}

/// Some of the readings.
pub(crate) struct Chosen<'a> {
    motions: &'a Motions,
    rows: Rows,
}

enum Rows {
    OfOne(UInt32Array),
    OfMany(Vec<(usize, usize)>),
}

impl Chosen<'_> {
    /// What a column says of them.
    pub(crate) fn column(&self, name: &str) -> Result<ArrayRef, ArrowError> {
        let columns = self.motions.columns(name)?;
        match &self.rows {
            Rows::OfOne(rows) => take(columns[0], rows, None),
            Rows::OfMany(rows) => interleave(&columns, rows),
        }
    }
}
