//! The rule: which step readings and accelerometer readings make a row, and what it says of who
//! was measured.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, UInt32Array, new_null_array};
use arrow_buffer::ScalarBuffer;
use arrow_schema::{ArrowError, DataType};
use arrow_select::take::take;
use lake::key::{KeyHash, LakeKey};
use lake::layout::Span;
use lake::order::Column;
use lake::policy::Identity;
use lake::search::before;
use lake::tables::MACHINE_LEARNING_CURATED;

use crate::motions::{AXES, MOTION_TIME, Motions, Reading, USER};

/// Time of a step reading, epoch milliseconds.
pub(crate) const STEP_TIME: &str = "sensorreadingtime";
/// The device's.
const SERIAL: &str = "serialnumber";

/// The device of each curated person, by the hashes of both.
pub type Owners = BTreeMap<KeyHash, KeyHash>;

/// How readings are paired, and what is said of them.
#[derive(Clone, Copy)]
pub struct Pairing<'a> {
    /// Whose device is whose, where only readings of the same person are paired.
    pub owners: Option<&'a Owners>,
    /// What the rows say of who was measured.
    pub identity: Identity,
    /// The lake's.
    pub key: &'a LakeKey,
}

/// Step readings, sorted by time.
pub struct Steps {
    readings: RecordBatch,
    /// With what is said of whose they are, once it was asked for.
    said: OnceLock<RecordBatch>,
}

impl Steps {
    /// Those of a batch.
    pub fn of(readings: RecordBatch) -> Self {
        Self { readings, said: OnceLock::new() }
    }

    /// With what is said under a policy of whose they are: always the same one.
    fn said(&self, identity: Identity, key: &LakeKey) -> Result<&RecordBatch, ArrowError> {
        if let Some(said) = self.said.get() {
            return Ok(said);
        }
        let serial = self.readings.schema_ref().index_of(SERIAL)?;
        let mut columns = self.readings.columns().to_vec();
        let pseudonym = |text: &str| key.device_pseudonym(text);
        columns[serial] = identified(&columns[serial], identity, pseudonym);
        let said = RecordBatch::try_new(self.readings.schema(), columns)?;
        Ok(self.said.get_or_init(|| said))
    }
}

/// Pairs step readings with the accelerometer readings of the same time; with those of the same
/// person only, where the owners are given. Both are sorted by time.
pub struct Pairs<'a> {
    steps: &'a Steps,
    motions: &'a Motions,
    pairing: Pairing<'a>,
    step_times: &'a [i64],
    serials: &'a StringArray,
    devices: Hashes<'a>,
    /// The step reading that is being paired.
    step: usize,
    /// The first accelerometer reading that is not from before it.
    first: usize,
    /// The accelerometer reading that comes next.
    motion: usize,
}

/// A step reading, by its number, and an accelerometer reading of the same time.
///
/// As a copy: so they lie side by side in the order of the pairs, which are looked at more than once.
pub(crate) struct Pair {
    step: u32,
    motion: Reading,
}

impl<'a> Pairs<'a> {
    /// Begins to pair.
    pub fn new(
        steps: &'a Steps,
        motions: &'a Motions,
        pairing: Pairing<'a>,
    ) -> Result<Self, ArrowError> {
        let step_times = times(&steps.readings, STEP_TIME)?;
        let first = motions.before(0, step_times.first().copied().unwrap_or(i64::MIN));
        Ok(Self {
            steps,
            motions,
            pairing,
            step_times,
            serials: strings(&steps.readings, SERIAL)?,
            devices: Hashes::default(),
            step: 0,
            first,
            motion: first,
        })
    }

    /// The next rows, `rows_max` at the most; `None` when there are no more.
    pub fn next(&mut self, rows_max: usize) -> Result<Option<RecordBatch>, ArrowError> {
        let found = self.find(rows_max);
        if found.is_empty() { Ok(None) } else { self.rows(&found).map(Some) }
    }

    /// The next pairs, `pairs_max` at the most.
    pub(crate) fn find(&mut self, pairs_max: usize) -> Vec<Pair> {
        let mut found = Vec::new();
        while found.len() < pairs_max
            && let Some((step, motion)) = self.pair()
        {
            found.push(Pair { step: step as u32, motion: self.motions.reading(motion) });
        }
        found
    }

    /// The next step reading and accelerometer reading that make a row.
    fn pair(&mut self) -> Option<(usize, usize)> {
        loop {
            let time = self.step_times.get(self.step)?;
            if self.motions.time_ms(self.motion) == Some(*time) {
                let pair = (self.step, self.motion);
                self.motion += 1;
                if self.belong_together(pair.0, pair.1) {
                    return Some(pair);
                }
            } else {
                self.step += 1;
                self.leap();
            }
        }
    }

    /// Goes on to the next step reading of which there is an accelerometer reading of the same time.
    /// Each side leaps over what the other has none of, so that where one is much the denser, as
    /// where files of many devices overlap, the work follows the other.
    fn leap(&mut self) {
        while let Some(time) = self.step_times.get(self.step) {
            self.first += self.motions.before(self.first, *time);
            match self.motions.time_ms(self.first) {
                None => self.step = self.step_times.len(),
                Some(motion) if motion == *time => break,
                Some(motion) => {
                    self.step += before(&self.step_times[self.step..], |step| *step < motion);
                }
            }
        }
        self.motion = self.first;
    }

    fn belong_together(&mut self, step: usize, motion: usize) -> bool {
        let Pairing { owners, key, .. } = self.pairing;
        owners.is_none_or(|owners| {
            let person = self.motions.person(motion, key);
            let device = self.devices.of(self.serials.value(step), |text| key.device(text));
            owners.get(&person) == Some(&device)
        })
    }

    /// Puts pairs into the order of the rows they make ([`lake::order`]), so that these are made in it.
    pub(crate) fn sort(&self, found: &mut [Pair]) -> Result<(), ArrowError> {
        let Pairing { identity, key, .. } = self.pairing;
        let said = self.steps.said(identity, key)?;
        let column = |name| Column::of([said], name);
        let (serials, distances) = (column(SERIAL)?, column("distancefromobject")?);
        let steps = |a, b| {
            let (a, b) = ((0, a), (0, b));
            serials.compare(a, b).then_with(|| distances.compare(a, b))
        };
        let time = |pair: &Pair| self.step_times[pair.step as usize];
        for same in found.chunk_by_mut(|a, b| time(a) == time(b)) {
            same.sort_unstable_by(|a, b| {
                let steps = if a.step == b.step { Ordering::Equal } else { steps(a.step, b.step) };
                steps.then_with(|| self.motions.compare(&a.motion, &b.motion, identity, key))
            });
        }
        Ok(())
    }

    /// The rows that pairs make.
    pub(crate) fn rows(&self, found: &[Pair]) -> Result<RecordBatch, ArrowError> {
        let Pairing { identity, key, .. } = self.pairing;
        let steps: UInt32Array = found.iter().map(|pair| pair.step).collect();
        let motions = || found.iter().map(|pair| &pair.motion);
        let said = self.steps.said(identity, key)?;
        let schema = MACHINE_LEARNING_CURATED.schema();
        let columns = schema.fields().iter().map(|field| {
            let name = field.name().as_str();
            // Both were recorded at the same time.
            let of_steps = if name == MOTION_TIME { STEP_TIME } else { name };
            match (said.column_by_name(of_steps), AXES.iter().position(|it| *it == name)) {
                (Some(column), _) => take(column, &steps, None),
                (None, Some(axis)) => Ok(self.motions.axis(axis, motions())),
                (None, None) if name == USER => Ok(self.motions.users(motions(), identity, key)),
                (None, None) => Err(ArrowError::SchemaError(format!("neither has a {name}"))),
            }
        });
        RecordBatch::try_new(Arc::clone(&schema), columns.collect::<Result<_, _>>()?)
    }
}

/// First and last time of rows that are sorted by it; `None` without rows.
pub(crate) fn span_of(rows: &RecordBatch, time_column: &str) -> Result<Option<Span>, ArrowError> {
    let times = times(rows, time_column)?;
    Ok(times
        .first()
        .zip(times.last())
        .map(|(first, last)| Span { first_ms: *first, last_ms: *last }))
}

/// The devices of some step readings.
pub(crate) fn devices(steps: &RecordBatch, key: &LakeKey) -> Result<BTreeSet<KeyHash>, ArrowError> {
    let mut hashes = Hashes::default();
    let serials = strings(steps, SERIAL)?.iter().flatten();
    Ok(serials.map(|text| hashes.of(text, |text| key.device(text))).collect())
}

/// Remembers hashes of texts that come up again and again.
#[derive(Default)]
struct Hashes<'a>(HashMap<&'a str, KeyHash>);

impl<'a> Hashes<'a> {
    fn of(&mut self, text: &'a str, hash: impl FnOnce(&str) -> KeyHash) -> KeyHash {
        *self.0.entry(text).or_insert_with(|| hash(text))
    }
}

pub(crate) fn times<'a>(
    batch: &'a RecordBatch,
    name: &str,
) -> Result<&'a ScalarBuffer<i64>, ArrowError> {
    let column = batch.column(batch.schema().index_of(name)?);
    Ok(column.as_primitive::<Int64Type>().values())
}

pub(crate) fn strings<'a>(
    batch: &'a RecordBatch,
    name: &str,
) -> Result<&'a StringArray, ArrowError> {
    Ok(batch.column(batch.schema().index_of(name)?).as_string::<i32>())
}

/// What a column that names somebody says under a policy.
fn identified(
    column: &ArrayRef,
    identity: Identity,
    pseudonym: impl Fn(&str) -> String,
) -> ArrayRef {
    match identity {
        Identity::Clear => Arc::clone(column),
        Identity::None => new_null_array(&DataType::Utf8, column.len()),
        Identity::Pseudonym => {
            let mut known: HashMap<&str, String> = HashMap::new();
            let mut builder = StringBuilder::new();
            for text in column.as_string::<i32>() {
                builder.append_option(
                    text.map(|text| known.entry(text).or_insert_with(|| pseudonym(text)).as_str()),
                );
            }
            Arc::new(builder.finish())
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{Float64Array, Int32Array, Int64Array};
    use lake::derivation::sorted;
    use lake::order::in_order;
    use lake::tables::Stream;
    use proptest::prelude::*;

    use super::*;

    fn steps(rows: &[(i64, &str, i32)]) -> RecordBatch {
        let times: Int64Array = rows.iter().map(|row| row.0).collect();
        let serials: StringArray = rows.iter().map(|row| Some(row.1)).collect();
        let distances: Int32Array = rows.iter().map(|row| row.2).collect();
        let columns: Vec<ArrayRef> = vec![Arc::new(times), Arc::new(serials), Arc::new(distances)];
        RecordBatch::try_new(Stream::StepTrainer.schema(), columns).unwrap()
    }

    fn motions(rows: &[(&str, i64)]) -> RecordBatch {
        let rows: Vec<_> = rows.iter().map(|(user, time)| (*user, *time, [Some(1.0); 3])).collect();
        moved(&rows)
    }

    type Axes = [Option<f64>; 3];

    fn axis() -> impl Strategy<Value = Option<f64>> {
        prop::sample::select(vec![None, Some(-0.0), Some(0.0), Some(1.0)])
    }

    /// By user, time and axes.
    fn moved(rows: &[(&str, i64, Axes)]) -> RecordBatch {
        let users: StringArray = rows.iter().map(|row| Some(row.0)).collect();
        let times: Int64Array = rows.iter().map(|row| row.1).collect();
        let axes = [0, 1, 2].map(|axis| {
            Arc::new(rows.iter().map(|row| row.2[axis]).collect::<Float64Array>()) as ArrayRef
        });
        let mut columns: Vec<ArrayRef> = vec![Arc::new(users), Arc::new(times)];
        columns.extend(axes);
        RecordBatch::try_new(Stream::Accelerometer.schema(), columns).unwrap()
    }

    proptest! {
        #[test]
        fn pairs_in_order_make_rows_in_order(
            steps_of in prop::collection::vec((0..3_i64, "[de]", 0..2), 0..6),
            motions_of in prop::collection::vec(
                prop::collection::vec(("[aAb]", 0..3_i64, [axis(), axis(), axis()]), 0..5), 0..4,
            ),
        ) {
            let key = LakeKey::new(&[1; 16]).unwrap();
            let steps_of: Vec<_> =
                steps_of.iter().map(|(time, serial, far)| (*time, serial.as_str(), *far)).collect();
            let schema = Stream::StepTrainer.schema();
            let steps = in_order(&schema, &[steps(&steps_of)], STEP_TIME).unwrap();
            let object = |rows: &Vec<(String, i64, Axes)>| {
                let rows: Vec<_> =
                    rows.iter().map(|(user, time, axes)| (user.as_str(), *time, *axes)).collect();
                let schema = Stream::Accelerometer.schema();
                in_order(&schema, &[moved(&rows)], MOTION_TIME).unwrap()
            };
            let batches: Vec<_> = motions_of.iter().map(object).collect();
            let motions = Motions::merged(&batches).unwrap();
            for identity in [Identity::Clear, Identity::Pseudonym, Identity::None] {
                let pairing = Pairing { owners: None, identity, key: &key };
                let steps = Steps::of(steps.clone());
                let mut pairs = Pairs::new(&steps, &motions, pairing).unwrap();
                let mut found = pairs.find(usize::MAX);
                let unsorted = pairs.rows(&found).unwrap();
                pairs.sort(&mut found).unwrap();
                let expected = sorted(&MACHINE_LEARNING_CURATED, &[unsorted], STEP_TIME).unwrap();
                prop_assert_eq!(pairs.rows(&found).unwrap(), expected);
            }
        }
    }

    fn found(owners: Option<&Owners>, identity: Identity, key: &LakeKey) -> RecordBatch {
        let steps = steps(&[(1, "d", 10), (2, "d", 20), (2, "e", 30), (4, "e", 40)]);
        let (first, second) =
            (motions(&[("A", 2), ("b", 2), ("b", 3)]), motions(&[("a", 1), ("a", 4)]));
        let pairing = Pairing { owners, identity, key };
        let merged = Motions::merged(&[first.clone(), second.clone()]).unwrap();
        let span = span_of(&steps, STEP_TIME).unwrap().unwrap();
        let apart = [first, second].map(|batch| {
            let batch = in_order(&batch.schema(), &[batch], MOTION_TIME).unwrap();
            Motions::within(batch, span).unwrap()
        });
        let paired = |motions: &[Motions]| {
            let mut rows = Vec::new();
            for motions in motions {
                let steps = Steps::of(steps.clone());
                let mut pairs = Pairs::new(&steps, motions, pairing).unwrap();
                // One at a time: it goes on where it stopped.
                rows.extend(std::iter::from_fn(|| pairs.next(1).unwrap()));
            }
            sorted(&MACHINE_LEARNING_CURATED, &rows, STEP_TIME).unwrap()
        };
        let rows = paired(&apart);
        assert_eq!(paired(&[merged]), rows, "together or one after the other");
        rows
    }

    #[test]
    fn readings_of_the_same_time_are_paired_each_with_each() {
        let key = LakeKey::new(&[1; 16]).unwrap();
        let rows = found(None, Identity::Clear, &key);
        assert_eq!(times(&rows, MOTION_TIME).unwrap()[..], [1, 2, 2, 2, 2, 4]);
        assert_eq!(times(&rows, STEP_TIME).unwrap()[..], [1, 2, 2, 2, 2, 4]);
    }

    #[test]
    fn pairing_by_customer_keeps_those_of_the_same_person() {
        let key = LakeKey::new(&[1; 16]).unwrap();
        let owners = [(key.person("a"), key.device("d")), (key.person("b"), key.device("e"))];
        let rows = found(Some(&owners.into()), Identity::Clear, &key);
        let serials: Vec<_> = strings(&rows, "serialnumber").unwrap().iter().flatten().collect();
        let users: Vec<_> = strings(&rows, "user").unwrap().iter().flatten().collect();
        assert_eq!(serials, ["d", "d", "e"]);
        assert_eq!(users, ["a", "A", "b"]);
    }

    #[test]
    fn pseudonyms_group_a_person_however_they_write_their_email() {
        let key = LakeKey::new(&[1; 16]).unwrap();
        let rows = found(None, Identity::Pseudonym, &key);
        let users: Vec<_> = strings(&rows, "user").unwrap().iter().flatten().collect();
        assert_eq!(users.iter().collect::<std::collections::BTreeSet<_>>().len(), 2);
        assert!(users.iter().all(|user| user.len() == 64));
        let rows = found(None, Identity::None, &key);
        assert_eq!(strings(&rows, "user").unwrap().null_count(), rows.num_rows());
        assert_eq!(strings(&rows, "serialnumber").unwrap().null_count(), rows.num_rows());
    }
}
