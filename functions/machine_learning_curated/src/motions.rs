//! Accelerometer readings to pair with, of one object or of many, in one order of time.
//!
//! They are copied, so that all there is to say of those of one time lies side by side. A step trainer
//! object pairs with a few readings of many objects at a time: to fetch each value of each from its
//! column was to wait for memory (ten copies of the real data a day: 3 % of a bulk load on one core, 6 on
//! two).

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{
    Array, ArrayRef, DictionaryArray, Float64Array, RecordBatch, StringArray, UInt32Array,
};
use arrow_schema::ArrowError;
use lake::key::{KeyHash, LakeKey};
use lake::order::Place;
use lake::search::before;

use crate::transform::{Naming, identified, strings, times};

/// Time of an accelerometer reading, epoch milliseconds.
pub(crate) const MOTION_TIME: &str = "timestamp";
/// Whose it is.
pub(crate) const USER: &str = "user";
/// What it measured.
pub(crate) const AXES: [&str; 3] = ["x", "y", "z"];

/// Accelerometer readings, sorted by time, and those of one time by what is said of whose they are, then
/// by what they say.
pub struct Motions {
    times: Vec<i64>,
    stretches: Stretches,
    readings: Vec<Reading>,
    /// Of which axes any of them says nothing.
    absent: [bool; 3],
    /// Users, as the readings have them; and what is said of each.
    users: ArrayRef,
    said: ArrayRef,
    /// Who they are, once it was asked for.
    people: Vec<OnceLock<KeyHash>>,
}

/// An accelerometer reading, but for its time.
struct Reading {
    axes: [f64; 3],
    /// Of which axes it says nothing; these are 0.
    absent: [bool; 3],
    /// The number of the user.
    user: u32,
}

impl Motions {
    /// Those of a batch, which is sorted by time.
    pub fn of(batch: &RecordBatch, naming: Naming<'_>) -> Result<Self, ArrowError> {
        Self::merged(std::slice::from_ref(batch), naming)
    }

    /// Those of many batches, each of which is sorted by time.
    pub fn merged(batches: &[RecordBatch], naming: Naming<'_>) -> Result<Self, ArrowError> {
        let mut places = Vec::with_capacity(batches.iter().map(RecordBatch::num_rows).sum());
        let mut numbers = HashMap::new();
        let mut sources = Vec::with_capacity(batches.len());
        for (batch, number) in batches.iter().zip(0..) {
            places.extend(Place::all(number, times(batch, MOTION_TIME)?));
            sources.push(Readings::of(batch, &mut numbers)?);
        }
        // A stable sort merges what is sorted already.
        places.sort_by_key(|place| place.time_ms);
        let reading = |place: &Place| sources[place.batch as usize].reading(place.row as usize);
        let readings = places.iter().map(reading).collect();
        let absent = [0, 1, 2].map(|axis| sources.iter().any(|it| it.axes[axis].null_count() > 0));
        let times: Vec<i64> = places.iter().map(|place| place.time_ms).collect();
        drop(places);
        let mut users: Vec<(&str, u32)> = numbers.into_iter().collect();
        users.sort_unstable_by_key(|(_, number)| *number);
        let users = StringArray::from_iter_values(users.into_iter().map(|(text, _)| text));
        let users: ArrayRef = Arc::new(users);
        let said = identified(&users, naming.identity, |text| naming.key.person_pseudonym(text));
        let people = vec![OnceLock::new(); users.len()];
        let stretches = Stretches::of(&times);
        let mut motions = Self { times, stretches, readings, absent, users, said, people };
        motions.put_in_order();
        Ok(motions)
    }

    /// Puts those of one time in order.
    fn put_in_order(&mut self) {
        let ranks = ranks(self.said.as_string());
        let mut rest = self.readings.as_mut_slice();
        for same in self.times.chunk_by(|a, b| a == b) {
            let readings;
            (readings, rest) = rest.split_at_mut(same.len());
            readings.sort_unstable_by(|a, b| {
                let users = ranks[a.user as usize].cmp(&ranks[b.user as usize]);
                let axes = a.axes.iter().zip(&a.absent).zip(b.axes.iter().zip(&b.absent));
                axes.fold(users, |order, ((a, a_absent), (b, b_absent))| {
                    order.then_with(|| b_absent.cmp(a_absent)).then_with(|| a.total_cmp(b))
                })
            });
        }
    }

    /// Time of a reading; `None` after the last.
    pub(crate) fn time_ms(&self, reading: usize) -> Option<i64> {
        self.times.get(reading).copied()
    }

    /// How many readings from `reading` on are before a time.
    pub(crate) fn before(&self, reading: usize, time_ms: i64) -> usize {
        self.stretches.before(&self.times, reading, time_ms)
    }

    /// Whose a reading is.
    pub(crate) fn person(&self, reading: usize, key: &LakeKey) -> KeyHash {
        let user = self.readings[reading].user as usize;
        *self.people[user].get_or_init(|| key.person(self.users.as_string::<i32>().value(user)))
    }

    /// What some readings say of an axis.
    pub(crate) fn axis(&self, axis: usize, readings: impl Iterator<Item = usize>) -> ArrayRef {
        let readings = readings.map(|reading| &self.readings[reading]);
        Arc::new(if self.absent[axis] {
            readings.map(|it| (!it.absent[axis]).then_some(it.axes[axis])).collect()
        } else {
            Float64Array::from_iter_values(readings.map(|it| it.axes[axis]))
        })
    }

    /// Size of what is said of whose a reading is, bytes.
    pub(crate) fn user_bytes(&self, reading: usize) -> u64 {
        self.said.as_string::<i32>().value_length(self.readings[reading].user as usize) as u64
    }

    /// What is said of whose some readings are.
    pub(crate) fn users(
        &self,
        readings: impl Iterator<Item = usize>,
    ) -> Result<ArrayRef, ArrowError> {
        let number = |reading: usize| self.readings[reading].user;
        let numbers = match self.said.null_count() {
            0 => UInt32Array::from_iter_values(readings.map(number)),
            // Of nobody anything is said.
            _ => UInt32Array::new_null(readings.count()),
        };
        Ok(Arc::new(DictionaryArray::try_new(numbers, Arc::clone(&self.said))?))
    }
}

/// For each user the first place of those of whom the same is said, in the order of what is said.
fn ranks(said: &StringArray) -> Vec<u32> {
    let of = |user: u32| said.is_valid(user as usize).then(|| said.value(user as usize));
    let mut order: Vec<u32> = (0..said.len() as u32).collect();
    order.sort_unstable_by(|a, b| of(*a).cmp(&of(*b)));
    let mut ranks = vec![0; said.len()];
    let mut first = 0;
    for (place, user) in (0..).zip(&order) {
        if of(order[first as usize]) != of(*user) {
            first = place;
        }
        ranks[*user as usize] = first;
    }
    ranks
}

/// The columns of a batch, with the number of each row's user.
struct Readings<'a> {
    axes: [&'a Float64Array; 3],
    users: Vec<u32>,
}

impl<'a> Readings<'a> {
    fn of(batch: &'a RecordBatch, numbers: &mut HashMap<&'a str, u32>) -> Result<Self, ArrowError> {
        let mut number = |user| {
            let next = numbers.len() as u32;
            *numbers.entry(user).or_insert(next)
        };
        // Each has one: a record without is quarantined.
        let users = strings(batch, USER)?;
        let users = (0..users.len()).map(|row| number(users.value(row))).collect();
        let [x, y, z] = AXES.map(|name| batch.schema_ref().index_of(name));
        let axis = |column| batch.column(column).as_primitive::<Float64Type>();
        Ok(Self { axes: [axis(x?), axis(y?), axis(z?)], users })
    }

    fn reading(&self, row: usize) -> Reading {
        Reading {
            axes: self.axes.map(|axis| if axis.is_null(row) { 0.0 } else { axis.value(row) }),
            absent: self.axes.map(|axis| axis.is_null(row)),
            user: self.users[row],
        }
    }
}

/// The first reading of each stretch of time, so that a leap over many looks at few of them.
struct Stretches {
    firsts: Vec<u32>,
    /// Where the first stretch begins, and how long each is.
    begin_ms: i64,
    stretch_ms: u64,
}

/// How many readings a stretch has on average.
const OF_STRETCH: usize = 16;

impl Stretches {
    /// Those of sorted times.
    fn of(times: &[i64]) -> Self {
        let begin_ms = times.first().copied().unwrap_or_default();
        let whole_ms = times.last().map_or(0, |last| last.abs_diff(begin_ms));
        let stretches = (times.len() / OF_STRETCH).max(1);
        let stretch_ms = (whole_ms / stretches as u64).saturating_add(1);
        let mut firsts = Vec::with_capacity(stretches);
        let mut next_ms = 0_u64;
        for (number, time_ms) in (0..).zip(times) {
            while firsts.len() < stretches && time_ms.abs_diff(begin_ms) >= next_ms {
                firsts.push(number);
                next_ms = next_ms.saturating_add(stretch_ms);
            }
        }
        Self { firsts, begin_ms, stretch_ms }
    }

    /// How many of the times from `reading` on are before another.
    fn before(&self, times: &[i64], reading: usize, time_ms: i64) -> usize {
        let is_before = |time: &i64| *time < time_ms;
        let rest = &times[reading..];
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
                let mut times: Vec<i64> = (0..count).map(time_of).collect();
                times.sort_unstable();
                let stretches = Stretches::of(&times);
                let near = times
                    .iter()
                    .flat_map(|time| [time.saturating_sub(1), *time, time.saturating_add(1)]);
                for time_ms in near.chain([i64::MIN, 0, i64::MAX]) {
                    for reading in [0, 1, 20, 300].into_iter().filter(|it| *it <= times.len()) {
                        let rest = &times[reading..];
                        let wanted = rest.iter().filter(|time| **time < time_ms).count();
                        let found = stretches.before(&times, reading, time_ms);
                        assert_eq!(found, wanted, "{time_ms} from {reading} on in {times:?}");
                    }
                }
            }
        }
    }
}
