//! The rule: which step readings and accelerometer readings make a row, and what it says of who
//! was measured.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, UInt32Array, new_null_array};
use arrow_schema::{ArrowError, DataType};
use arrow_select::interleave::interleave;
use arrow_select::take::take;
use lake::key::{KeyHash, LakeKey};
use lake::policy::Identity;
use lake::readings::sorted_by;
use lake::tables::MACHINE_LEARNING_CURATED;

/// The device of each curated person, by the hashes of both.
pub type Owners = BTreeMap<KeyHash, KeyHash>;

/// Pairs step readings with the accelerometer readings of the same time; with those of the same
/// person only, where the owners are given. Both are sorted by time.
pub fn pair(
    steps: &RecordBatch,
    motions: &[&RecordBatch],
    owners: Option<&Owners>,
    identity: Identity,
    key: &LakeKey,
) -> Result<RecordBatch, ArrowError> {
    let schema = MACHINE_LEARNING_CURATED.schema();
    let pairs = Pairs::find(steps, motions, owners, key)?;
    if pairs.steps.is_empty() {
        return Ok(RecordBatch::new_empty(schema));
    }
    let step_rows = UInt32Array::from(pairs.steps);
    let columns = schema.fields().iter().map(|field| {
        let name = field.name().as_str();
        let column = match steps.column_by_name(name) {
            Some(column) => take(column, &step_rows, None)?,
            None => interleave(&columns_of(motions, name)?, &pairs.motions)?,
        };
        match name {
            "serialnumber" => identified(column, identity, |text| key.device_pseudonym(text)),
            "user" => identified(column, identity, |text| key.person_pseudonym(text)),
            _ => Ok(column),
        }
    });
    let rows = RecordBatch::try_new(Arc::clone(&schema), columns.collect::<Result<_, _>>()?)?;
    sorted_by(&rows, "sensorreadingtime")
}

fn columns_of<'a>(
    batches: &[&'a RecordBatch],
    name: &str,
) -> Result<Vec<&'a dyn Array>, ArrowError> {
    batches.iter().map(|batch| Ok(batch.column(batch.schema().index_of(name)?).as_ref())).collect()
}

#[derive(Default)]
struct Pairs {
    /// Row of the step reading.
    steps: Vec<u32>,
    /// Batch and row of the accelerometer reading.
    motions: Vec<(usize, usize)>,
}

impl Pairs {
    fn find(
        steps: &RecordBatch,
        motions: &[&RecordBatch],
        owners: Option<&Owners>,
        key: &LakeKey,
    ) -> Result<Self, ArrowError> {
        let mut pairs = Self::default();
        let step_times = times(steps, "sensorreadingtime")?;
        let mut devices = Hashes::default();
        let mut people = Hashes::default();
        let serials = strings(steps, "serialnumber")?;
        for (number, batch) in motions.iter().enumerate() {
            let motion_times = times(batch, "timestamp")?;
            let users = strings(batch, "user")?;
            let mut first = 0;
            for (step, time) in step_times.iter().enumerate() {
                first += motion_times[first..].partition_point(|motion| motion < time);
                let same =
                    motion_times[first..].iter().take_while(|motion| *motion == time).count();
                for motion in first..first + same {
                    let together = owners.is_none_or(|owners| {
                        let person = people.of(users.value(motion), |text| key.person(text));
                        let device = devices.of(serials.value(step), |text| key.device(text));
                        owners.get(&person) == Some(&device)
                    });
                    if together {
                        pairs.steps.push(step as u32);
                        pairs.motions.push((number, motion));
                    }
                }
            }
        }
        Ok(pairs)
    }
}

/// Remembers hashes of texts that come up again and again.
#[derive(Default)]
struct Hashes<'a>(HashMap<&'a str, KeyHash>);

impl<'a> Hashes<'a> {
    fn of(&mut self, text: &'a str, hash: impl FnOnce(&str) -> KeyHash) -> KeyHash {
        *self.0.entry(text).or_insert_with(|| hash(text))
    }
}

fn times<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a [i64], ArrowError> {
    let column = batch.column(batch.schema().index_of(name)?);
    Ok(column.as_primitive::<Int64Type>().values().as_ref())
}

fn strings<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a StringArray, ArrowError> {
    Ok(batch.column(batch.schema().index_of(name)?).as_string::<i32>())
}

/// What a column that names somebody says under a policy.
fn identified(
    column: ArrayRef,
    identity: Identity,
    pseudonym: impl Fn(&str) -> String,
) -> Result<ArrayRef, ArrowError> {
    match identity {
        Identity::Clear => Ok(column),
        Identity::None => Ok(new_null_array(&DataType::Utf8, column.len())),
        Identity::Pseudonym => {
            let mut known: HashMap<&str, String> = HashMap::new();
            let mut builder = StringBuilder::new();
            for text in column.as_string::<i32>() {
                builder.append_option(
                    text.map(|text| known.entry(text).or_insert_with(|| pseudonym(text)).as_str()),
                );
            }
            Ok(Arc::new(builder.finish()))
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{Float64Array, Int32Array, Int64Array};
    use lake::tables::Stream;

    use super::*;

    fn steps(rows: &[(i64, &str, i32)]) -> RecordBatch {
        let times: Int64Array = rows.iter().map(|row| row.0).collect();
        let serials: StringArray = rows.iter().map(|row| Some(row.1)).collect();
        let distances: Int32Array = rows.iter().map(|row| row.2).collect();
        let columns: Vec<ArrayRef> = vec![Arc::new(times), Arc::new(serials), Arc::new(distances)];
        RecordBatch::try_new(Stream::StepTrainer.schema(), columns).unwrap()
    }

    fn motions(rows: &[(&str, i64)]) -> RecordBatch {
        let users: StringArray = rows.iter().map(|row| Some(row.0)).collect();
        let times: Int64Array = rows.iter().map(|row| row.1).collect();
        let axis: ArrayRef = Arc::new(rows.iter().map(|_| 1.0).collect::<Float64Array>());
        let columns: Vec<ArrayRef> =
            vec![Arc::new(users), Arc::new(times), axis.clone(), axis.clone(), axis];
        RecordBatch::try_new(Stream::Accelerometer.schema(), columns).unwrap()
    }

    fn found(owners: Option<&Owners>, identity: Identity, key: &LakeKey) -> RecordBatch {
        let steps = steps(&[(1, "d", 10), (2, "d", 20), (2, "e", 30), (4, "e", 40)]);
        let (first, second) =
            (motions(&[("A", 2), ("b", 2), ("b", 3)]), motions(&[("a", 1), ("a", 4)]));
        pair(&steps, &[&first, &second], owners, identity, key).unwrap()
    }

    #[test]
    fn readings_of_the_same_time_are_paired_each_with_each() {
        let key = LakeKey::new(&[1; 16]).unwrap();
        let rows = found(None, Identity::Clear, &key);
        assert_eq!(times(&rows, "timestamp").unwrap(), [1, 2, 2, 2, 2, 4]);
        assert_eq!(times(&rows, "sensorreadingtime").unwrap(), [1, 2, 2, 2, 2, 4]);
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
