//! The rule: which step readings and accelerometer readings make a row, and what it says of who
//! was measured.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt32Type};
use arrow_array::{Array, ArrayRef, DictionaryArray, RecordBatch, StringArray};
use arrow_buffer::ScalarBuffer;
use arrow_schema::{ArrowError, Field, FieldRef, Schema};
use lake::gather::{gathered, gathered_column, texts_of};
use lake::key::{KeyHash, LakeKey};
use lake::order::Column;
use lake::policy::Identity;
use lake::search::before;
use lake::tables::MACHINE_LEARNING_CURATED;

use crate::motions::{AXES, MOTION_TIME, Motions, USER};

/// Time of a step reading, epoch milliseconds.
pub(crate) const STEP_TIME: &str = "sensorreadingtime";
/// The device's.
const SERIAL: &str = "serialnumber";
/// How far from it something was.
const DISTANCE: &str = "distancefromobject";

/// The device of each curated person, by the hashes of both.
pub type Owners = BTreeMap<KeyHash, KeyHash>;

/// What is said of who was measured.
#[derive(Clone, Copy)]
pub struct Naming<'a> {
    /// How.
    pub identity: Identity,
    /// The lake's.
    pub key: &'a LakeKey,
}

/// Step readings, sorted by time.
pub struct Steps {
    readings: RecordBatch,
    /// With what is said of whose they are.
    said: RecordBatch,
    /// That, each text once.
    serials: DictionaryArray<UInt32Type>,
}

impl Steps {
    /// Those of a batch.
    pub fn of(readings: RecordBatch, naming: Naming<'_>) -> Result<Self, ArrowError> {
        let serial = readings.schema_ref().index_of(SERIAL)?;
        let mut columns = readings.columns().to_vec();
        let pseudonym = |text: &str| naming.key.device_pseudonym(text);
        columns[serial] = identified(&columns[serial], naming.identity, pseudonym);
        let serials = numbered(columns[serial].as_string())?;
        let said = RecordBatch::try_new(readings.schema(), columns)?;
        Ok(Self { readings, said, serials })
    }
}

/// Pairs step readings with the accelerometer readings of the same time, in the order of the rows they
/// make ([`lake::order`]); with those of the same person only, where the owners are given. Both are
/// sorted by time.
pub struct Pairs<'a> {
    steps: &'a Steps,
    motions: &'a Motions,
    owners: Option<&'a Owners>,
    key: &'a LakeKey,
    step_times: &'a [i64],
    serials: &'a StringArray,
    devices: Hashes<'a>,
    /// What step readings of one time are put in order by.
    order: [Column<'a>; 2],
    /// The first step reading of the time that comes next.
    step: usize,
    /// The step readings of the time that is being paired, in order.
    same: Vec<u32>,
    /// Which of those are being paired: those of which the same is said, each accelerometer reading with
    /// all of them.
    alike: Range<usize>,
    /// The first accelerometer reading of that time.
    first: usize,
    /// The accelerometer reading that comes next, and with which step reading.
    motion: usize,
    with: usize,
}

/// Memory that a row takes beside its texts, bytes: two times, a distance, three axes and where the texts
/// are.
const NUMBERS_BYTES: u64 = 2 * 8 + 4 + 3 * 8 + 2 * 4;

/// A step reading and an accelerometer reading of the same time, by their numbers.
#[derive(Clone, Copy)]
pub(crate) struct Pair {
    step: u32,
    motion: u32,
}

impl<'a> Pairs<'a> {
    /// Begins to pair.
    pub fn new(
        steps: &'a Steps,
        motions: &'a Motions,
        owners: Option<&'a Owners>,
        key: &'a LakeKey,
    ) -> Result<Self, ArrowError> {
        let column = |name| Column::of([&steps.said], name);
        Ok(Self {
            steps,
            motions,
            owners,
            key,
            step_times: times(&steps.readings, STEP_TIME)?,
            serials: strings(&steps.readings, SERIAL)?,
            devices: Hashes::default(),
            order: [column(SERIAL)?, column(DISTANCE)?],
            step: 0,
            same: Vec::new(),
            alike: 0..0,
            first: 0,
            motion: 0,
            with: 0,
        })
    }

    /// The next rows, `rows_max` at the most; `None` when there are no more.
    pub fn next(&mut self, rows_max: usize) -> Result<Option<RecordBatch>, ArrowError> {
        let found = self.find(rows_max);
        if found.is_empty() { Ok(None) } else { plain(&self.rows(&found)?).map(Some) }
    }

    /// The next pairs, `pairs_max` at the most.
    pub(crate) fn find(&mut self, pairs_max: usize) -> Vec<Pair> {
        std::iter::from_fn(|| self.pair()).take(pairs_max).collect()
    }

    /// The next pairs, until the rows they make take so many bytes with the texts in each of them, and how
    /// many they take: so that it depends on the rows alone how many they are. One at the least, if there
    /// is one.
    pub(crate) fn find_bytes(&mut self, bytes_max: u64) -> (Vec<Pair>, u64) {
        let (mut found, mut bytes) = (Vec::new(), 0);
        while (bytes < bytes_max || found.is_empty())
            && let Some(pair) = self.pair()
        {
            let serial = text_bytes(&self.steps.serials, pair.step as usize);
            bytes += NUMBERS_BYTES + serial + self.motions.user_bytes(pair.motion as usize);
            found.push(pair);
        }
        (found, bytes)
    }

    /// The next step reading and accelerometer reading that make a row.
    fn pair(&mut self) -> Option<Pair> {
        loop {
            let Some(step) = self.same.get(self.with).copied() else {
                self.next_time()?;
                continue;
            };
            if self.motions.time_ms(self.motion) != Some(self.step_times[step as usize]) {
                self.pair_from(self.alike.end);
            } else if self.belong_together(step as usize, self.motion) {
                let pair = Pair { step, motion: self.motion as u32 };
                self.advance();
                return Some(pair);
            } else {
                self.advance();
            }
        }
    }

    fn advance(&mut self) {
        self.with += 1;
        if self.with == self.alike.end {
            (self.with, self.motion) = (self.alike.start, self.motion + 1);
        }
    }

    /// Begins with those that say the same as one of this time.
    fn pair_from(&mut self, first: usize) {
        let rest = self.same.get(first..).unwrap_or_default();
        let alike = rest.chunk_by(|a, b| self.compare(*a, *b).is_eq()).next().map_or(0, <[_]>::len);
        (self.alike, self.with, self.motion) = (first..first + alike, first, self.first);
    }

    /// Which of two step readings of one time comes first.
    fn compare(&self, a: u32, b: u32) -> Ordering {
        let mut columns =
            self.order.iter().map(|column| column.compare((0, a as usize), (0, b as usize)));
        columns.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }

    /// Goes on to the next time of which there are readings of both; `None` if there is none.
    ///
    /// Each side leaps over what the other has none of, so that where one is much the denser, as
    /// where files of many devices overlap, the work follows the other.
    fn next_time(&mut self) -> Option<()> {
        let time = loop {
            let time = *self.step_times.get(self.step)?;
            self.first += self.motions.before(self.first, time);
            let motion = self.motions.time_ms(self.first)?;
            if motion == time {
                break time;
            }
            self.step += before(&self.step_times[self.step..], |step| *step < motion);
        };
        let rest = &self.step_times[self.step..];
        let end = self.step + rest.iter().take_while(|step| **step == time).count();
        let mut same = std::mem::take(&mut self.same);
        same.clear();
        same.extend(self.step as u32..end as u32);
        same.sort_unstable_by(|a, b| self.compare(*a, *b));
        (self.same, self.step) = (same, end);
        self.pair_from(0);
        Some(())
    }

    fn belong_together(&mut self, step: usize, motion: usize) -> bool {
        let Some(owners) = self.owners else { return true };
        let person = self.motions.person(motion, self.key);
        let device = self.devices.of(self.serials.value(step), |text| self.key.device(text));
        owners.get(&person) == Some(&device)
    }

    /// The rows that pairs make, to be encoded: a text is a number in them, and each text is there once. So
    /// the same ones are not copied for each row, only to be told apart again when they are encoded.
    pub(crate) fn rows(&self, found: &[Pair]) -> Result<RecordBatch, ArrowError> {
        let steps = |column: &ArrayRef| {
            gathered_column(&[column], found.iter().map(|pair| (0, pair.step as usize)))
        };
        let motions = || found.iter().map(|pair| pair.motion as usize);
        let said = &self.steps.said;
        let column = |field: &FieldRef| {
            let name = field.name().as_str();
            // Both were recorded at the same time.
            let of_steps = if name == MOTION_TIME { STEP_TIME } else { name };
            match (said.column_by_name(of_steps), AXES.iter().position(|it| *it == name)) {
                (Some(_), _) if name == SERIAL => {
                    let numbers: ArrayRef = Arc::new(self.steps.serials.keys().clone());
                    let numbers = steps(&numbers)?.as_primitive::<UInt32Type>().clone();
                    let texts = Arc::clone(self.steps.serials.values());
                    Ok(Arc::new(DictionaryArray::try_new(numbers, texts)?) as ArrayRef)
                }
                (Some(column), _) => steps(column),
                (None, Some(axis)) => Ok(self.motions.axis(axis, motions())),
                (None, None) if name == USER => Ok(self.motions.users(motions())?),
                (None, None) => Err(ArrowError::SchemaError(format!("neither has a {name}"))),
            }
        };
        let schema = MACHINE_LEARNING_CURATED.schema();
        let columns: Vec<ArrayRef> =
            schema.fields().iter().map(column).collect::<Result<_, _>>()?;
        let as_it_is = |(field, column): (&FieldRef, &ArrayRef)| {
            field.as_ref().clone().with_data_type(column.data_type().clone())
        };
        let fields: Vec<Field> = schema.fields().iter().zip(&columns).map(as_it_is).collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
    }
}

/// Size of the text of a row, bytes.
fn text_bytes(texts: &DictionaryArray<UInt32Type>, row: usize) -> u64 {
    let values = texts.values().as_string::<i32>();
    texts.key(row).map_or(0, |key| values.value_length(key) as u64)
}

/// Rows with the texts in each of them.
pub(crate) fn plain(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let plain = |column: &ArrayRef| match column.as_dictionary_opt::<UInt32Type>() {
        None => Arc::clone(column),
        Some(numbered) => Arc::new(texts(numbered)) as ArrayRef,
    };
    let columns = rows.columns().iter().map(plain).collect();
    RecordBatch::try_new(MACHINE_LEARNING_CURATED.schema(), columns)
}

/// Each text once. Arrow's builder of these knows every type of Arrow ([`lake::gather::no_rows`]).
fn numbered(texts: &StringArray) -> Result<DictionaryArray<UInt32Type>, ArrowError> {
    let mut known = HashMap::new();
    let mut once = Vec::new();
    let mut number = |text| {
        *known.entry(text).or_insert_with(|| {
            once.push(text);
            once.len() as u32 - 1
        })
    };
    let numbers = texts.iter().map(|text| text.map(&mut number)).collect();
    DictionaryArray::try_new(numbers, Arc::new(StringArray::from_iter_values(once)))
}

/// The text of each row.
fn texts(numbered: &DictionaryArray<UInt32Type>) -> StringArray {
    let texts = numbered.values().as_string::<i32>();
    let text = |number: u32| texts.is_valid(number as usize).then(|| texts.value(number as usize));
    texts_of(numbered.keys().iter().map(|number| number.and_then(text)))
}

/// The rows that are of some times, both in order.
pub(crate) fn of_times(
    rows: &RecordBatch,
    time_column: &str,
    mut of: &[i64],
) -> Result<RecordBatch, ArrowError> {
    let mut kept = Vec::new();
    for (row, time_ms) in (0..).zip(times(rows, time_column)?) {
        of = &of[before(of, |other| other < time_ms)..];
        if of.first() == Some(time_ms) {
            kept.push(row);
        }
    }
    gathered(std::slice::from_ref(rows), kept.iter().map(|row| (0, *row)))
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
pub(crate) fn identified(
    column: &ArrayRef,
    identity: Identity,
    pseudonym: impl Fn(&str) -> String,
) -> ArrayRef {
    match identity {
        Identity::Clear => Arc::clone(column),
        Identity::None => Arc::new(StringArray::new_null(column.len())),
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
pub(crate) mod tests {
    use arrow_array::{Float64Array, Int32Array, Int64Array};
    use arrow_select::concat::concat_batches;
    use lake::derivation::sorted;
    use lake::order::in_order;
    use lake::tables::Stream;
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn steps(rows: &[(i64, &str, i32)]) -> RecordBatch {
        let times: Int64Array = rows.iter().map(|row| row.0).collect();
        let serials: StringArray = rows.iter().map(|row| Some(row.1)).collect();
        let distances: Int32Array = rows.iter().map(|row| row.2).collect();
        let columns: Vec<ArrayRef> = vec![Arc::new(times), Arc::new(serials), Arc::new(distances)];
        RecordBatch::try_new(Stream::StepTrainer.schema(), columns).unwrap()
    }

    pub(crate) fn motions(rows: &[(&str, i64)]) -> RecordBatch {
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
            let owners = [(key.person("a"), key.device("d")), (key.person("b"), key.device("e"))];
            let owners = Owners::from(owners);
            for (identity, owners) in [Identity::Clear, Identity::Pseudonym, Identity::None]
                .into_iter()
                .flat_map(|identity| [(identity, None), (identity, Some(&owners))])
            {
                let belong_together = |(serial, user): (&str, &str)| {
                    let device = owners.and_then(|owners| owners.get(&key.person(user)));
                    owners.is_none() || device == Some(&key.device(serial))
                };
                let expected = steps_of.iter().flat_map(|step| {
                    let motions = motions_of.iter().flatten().filter(|motion| motion.1 == step.0);
                    motions.map(|motion| (step.1, motion.0.as_str()))
                });
                let mut expected: Vec<(&str, &str)> =
                    expected.filter(|both| belong_together(*both)).collect();
                expected.sort_unstable();

                let naming = Naming { identity, key: &key };
                let motions = Motions::merged(&batches, naming).unwrap();
                let steps = Steps::of(steps.clone(), naming).unwrap();
                let mut pairs = Pairs::new(&steps, &motions, owners, &key).unwrap();
                let all = pairs.find(usize::MAX);
                prop_assert_eq!(all.len(), expected.len());
                prop_assert!(pairs.find(1).is_empty());
                let rows = plain(&pairs.rows(&all).unwrap()).unwrap();
                if identity == Identity::Clear {
                    let texts = |name| strings(&rows, name).unwrap().iter().flatten();
                    let mut said: Vec<_> = texts(SERIAL).zip(texts(USER)).collect();
                    said.sort_unstable();
                    prop_assert_eq!(said, expected);
                }
                let table = &MACHINE_LEARNING_CURATED;
                let expected = sorted(table, std::slice::from_ref(&rows), STEP_TIME).unwrap();
                prop_assert_eq!(&rows, &expected);
                // However few are asked for at once.
                let mut pairs = Pairs::new(&steps, &motions, owners, &key).unwrap();
                let few: Vec<RecordBatch> = std::iter::from_fn(|| pairs.next(2).unwrap()).collect();
                prop_assert_eq!(&concat_batches(&table.schema(), &few).unwrap(), &rows);
                let mut pairs = Pairs::new(&steps, &motions, owners, &key).unwrap();
                let found = std::iter::from_fn(|| Some(pairs.find_bytes(200).0)).take_while(|it| !it.is_empty());
                let found: Vec<Pair> = found.flatten().collect();
                prop_assert_eq!(plain(&pairs.rows(&found).unwrap()).unwrap(), rows);
            }
        }
    }

    fn found(owners: Option<&Owners>, identity: Identity, key: &LakeKey) -> RecordBatch {
        let steps = steps(&[(1, "d", 10), (2, "d", 20), (2, "e", 30), (4, "e", 40)]);
        let (first, second) =
            (motions(&[("A", 2), ("b", 2), ("b", 3)]), motions(&[("a", 1), ("a", 4)]));
        let naming = Naming { identity, key };
        let merged = Motions::merged(&[first.clone(), second.clone()], naming).unwrap();
        let apart = [first, second].map(|batch| {
            let batch = in_order(&batch.schema(), &[batch], MOTION_TIME).unwrap();
            Motions::of(&batch, naming).unwrap()
        });
        let paired = |motions: &[Motions]| {
            let mut rows = Vec::new();
            for motions in motions {
                let steps = Steps::of(steps.clone(), naming).unwrap();
                let mut pairs = Pairs::new(&steps, motions, owners, key).unwrap();
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
