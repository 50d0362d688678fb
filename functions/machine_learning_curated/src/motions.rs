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
    OfMany(Places),
}

/// Readings of many batches, by time; with the first of each stretch of time, so that a leap over
/// many looks at few of them.
struct Places {
    places: Vec<Place>,
    firsts: Vec<u32>,
    /// Where the first stretch begins, and how long each is.
    begin_ms: i64,
    stretch_ms: u64,
}

/// How many readings a stretch has on average.
const OF_STRETCH: usize = 16;

impl Places {
    fn of(mut places: Vec<Place>) -> Self {
        // A stable sort merges what is sorted already.
        places.sort_by_key(|place| place.time_ms);
        let begin_ms = places.first().map_or(0, |place| place.time_ms);
        let whole_ms = places.last().map_or(0, |place| place.time_ms.abs_diff(begin_ms));
        let stretches = (places.len() / OF_STRETCH).max(1);
        let stretch_ms = (whole_ms / stretches as u64).saturating_add(1);
        let mut firsts = Vec::with_capacity(stretches);
        let mut next_ms = 0_u64;
        for (number, place) in (0..).zip(&places) {
            while firsts.len() < stretches && place.time_ms.abs_diff(begin_ms) >= next_ms {
                firsts.push(number);
                next_ms = next_ms.saturating_add(stretch_ms);
            }
        }
        Self { places, firsts, begin_ms, stretch_ms }
    }

    /// How many readings from `reading` on are before a time.
    fn before(&self, reading: usize, time_ms: i64) -> usize {
        let is_before = |place: &Place| place.time_ms < time_ms;
        let rest = &self.places[reading..];
        let near = before(&rest[..rest.len().min(OF_STRETCH)], is_before);
        if near < OF_STRETCH {
            return near;
        }
        // It is after the first of all: there are some before it.
        let stretch = time_ms.abs_diff(self.begin_ms) / self.stretch_ms;
        let first = usize::try_from(stretch).ok().and_then(|stretch| self.firsts.get(stretch));
        let first = first.or(self.firsts.last()).map_or(0, |first| *first as usize);
        let known = first.saturating_sub(reading).max(near);
        known + before(&rest[known..], is_before)
    }
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
        Ok(Self { batches, order: Order::OfMany(Places::of(places)) })
    }

    /// Time of a reading; `None` after the last.
    pub(crate) fn time_ms(&self, reading: usize) -> Option<i64> {
        match &self.order {
            Order::OfOne(times) => times.get(reading).copied(),
            Order::OfMany(of) => of.places.get(reading).map(|place| place.time_ms),
        }
    }

    /// How many readings from `reading` on are before a time.
    pub(crate) fn before(&self, reading: usize, time_ms: i64) -> usize {
        match &self.order {
            Order::OfOne(times) => before(&times[reading..], |time| *time < time_ms),
            Order::OfMany(of) => of.before(reading, time_ms),
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
            Order::OfMany(of) => {
                let place = |number: u32| {
                    let Place { batch, row, .. } = of.places[number as usize];
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
            Order::OfMany(of) => {
                let Place { batch, row, .. } = of.places[reading];
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_before_a_time_are_counted_however_the_times_lie() {
        let even = |number: i64| number * 3;
        let bursts = |number: i64| number / 40 * 1_000 + number % 4;
        let extremes = |number: i64| if number % 2 == 0 { i64::MIN + number } else { i64::MAX };
        for time_of in [even, bursts, extremes, |_| 7] {
            for count in [0, 1, 15, 16, 17, 500] {
                let place = |number| Place { time_ms: time_of(number), batch: 0, row: 0 };
                let places = Places::of((0..count).map(place).collect());
                let times: Vec<i64> = places.places.iter().map(|place| place.time_ms).collect();
                let near = times
                    .iter()
                    .flat_map(|time| [time.saturating_sub(1), *time, time.saturating_add(1)]);
                for time_ms in near.chain([i64::MIN, 0, i64::MAX]) {
                    for reading in [0, 1, 20, 300].into_iter().filter(|it| *it <= times.len()) {
                        let rest = &times[reading..];
                        let wanted = rest.iter().filter(|time| **time < time_ms).count();
                        let found = places.before(reading, time_ms);
                        assert_eq!(found, wanted, "{time_ms} from {reading} on in {times:?}");
                    }
                }
            }
        }
    }
}
