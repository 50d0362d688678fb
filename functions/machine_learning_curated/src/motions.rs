//! Accelerometer readings to pair with, of one object or of many, in the order of their times.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, UInt32Array};
use arrow_buffer::ScalarBuffer;
use arrow_schema::ArrowError;
use arrow_select::interleave::interleave;
use arrow_select::take::take;

use crate::transform::times;

/// Time of an accelerometer reading, epoch milliseconds.
pub(crate) const MOTION_TIME: &str = "timestamp";

/// Accelerometer readings, sorted by time.
pub struct Motions {
    /// All of the same schema.
    batches: Vec<RecordBatch>,
    times: ScalarBuffer<i64>,
    /// Batch and row of each; where there is none, they are the rows of the only batch.
    places: Option<Vec<Place>>,
}

/// Number of a batch, and of a row in it.
type Place = (u32, u32);

impl Motions {
    /// Those of a batch, which is sorted by time.
    pub fn of(batch: RecordBatch) -> Result<Self, ArrowError> {
        let times = times(&batch, MOTION_TIME)?.clone();
        Ok(Self { batches: vec![batch], times, places: None })
    }

    /// Those of many batches, each of which is sorted by time.
    pub fn merged(batches: Vec<RecordBatch>) -> Result<Self, ArrowError> {
        let rows = batches.iter().map(RecordBatch::num_rows).sum();
        let mut sorted: Vec<(i64, Place)> = Vec::with_capacity(rows);
        for (number, batch) in (0..).zip(&batches) {
            let times = times(batch, MOTION_TIME)?.iter().copied();
            sorted.extend(times.zip((0..).map(|row| (number, row))));
        }
        // A stable sort merges what is sorted already.
        sorted.sort_by_key(|(time_ms, _)| *time_ms);
        let times = sorted.iter().map(|(time_ms, _)| *time_ms).collect();
        let places = sorted.into_iter().map(|(_, place)| place).collect();
        Ok(Self { batches, times, places: Some(places) })
    }

    pub(crate) fn times(&self) -> &[i64] {
        &self.times
    }

    fn place(&self, reading: usize) -> Place {
        self.places.as_ref().map_or((0, reading as u32), |places| places[reading])
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
        let rows = match &self.places {
            None => Rows::OfOne(numbers.into()),
            Some(places) => {
                let place = |number: u32| {
                    let (batch, row) = places[number as usize];
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
        let (batch, row) = self.motions.place(reading);
        self.columns[batch as usize].value(row as usize)
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
