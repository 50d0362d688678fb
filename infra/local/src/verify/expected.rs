//! What the rules give, computed at once over whole tables.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use arrow_array::RecordBatch;
use customer_landing_to_trusted::{CustomerRegister, fold};
use lake::customer::Customer;
use lake::key::{ObjectKey, Revision, normal_email};
use lake::lake::Lake;
use lake::landing::{Piece, Records};
use lake::layout;
use lake::policy::{Consent, Identity, Pairing};
use lake::store::list_all;
use lake::tables::{Stream, Table};

use super::Bag;
use super::row::{Cell, Row, rows_of};
use crate::failure::Failure;

/// The five derived tables as they should be.
#[derive(Default)]
pub(crate) struct Expected {
    customer_trusted: Bag,
    accelerometer_trusted: Bag,
    customer_curated: Bag,
    step_trainer_trusted: Bag,
    machine_learning_curated: Bag,
    /// Records in the landing zone that the register does not know.
    pub(crate) problems: Vec<String>,
}

/// A customer, as far as the rules look at them.
struct Person {
    record: Customer,
    /// First time their consent covers, epoch milliseconds.
    from_ms: i64,
    row: Row,
}

type People = BTreeMap<String, Person>;

impl Expected {
    pub(crate) async fn compute(lake: &Lake) -> Result<Self, Failure> {
        let mut expected = Self::default();
        let trusted = expected.customers(lake).await?;
        let motions = expected.accelerometer(lake, &trusted).await?;
        let curated: People = {
            let present: BTreeSet<String> = motions.iter().map(|row| owner(row, 0)).collect();
            trusted.into_iter().filter(|(person, _)| present.contains(person)).collect()
        };
        expected.customer_curated = bag(curated.values().map(|person| person.row.clone()));
        let steps = expected.step_trainer(lake, &curated).await?;
        expected.machine_learning(lake, &curated, &steps, &motions);
        expected.accelerometer_trusted = bag(motions);
        expected.step_trainer_trusted = bag(steps);
        Ok(expected)
    }

    /// The rows a derived table should have.
    pub(crate) fn table(&self, table: &Table) -> &Bag {
        match table.name {
            "customer_trusted" => &self.customer_trusted,
            "accelerometer_trusted" => &self.accelerometer_trusted,
            "customer_curated" => &self.customer_curated,
            "step_trainer_trusted" => &self.step_trainer_trusted,
            _ => &self.machine_learning_curated,
        }
    }

    /// The people of the register who consent; notes what the landing zone has that is newer.
    async fn customers(&mut self, lake: &Lake) -> Result<People, Failure> {
        let mut registers = BTreeMap::new();
        for part in lake.settings.parts.all() {
            let key = layout::customer_register(part);
            if let Some(found) = lake.load::<CustomerRegister>(&key).await? {
                registers.insert(part, found.value);
            }
        }
        for object in list_all(lake.store.as_ref(), layout::landing(Stream::Customer)).await? {
            for record in read_customers(lake, &object.key).await? {
                let hash = lake.key.person(record.email());
                let register = registers.get(&hash.part(lake.settings.parts));
                let row = register.and_then(|register| register.people.get(&hash));
                if fold(row, &record, Revision(0)).is_some() {
                    self.problems.push(format!(
                        "{}: a record of {} is newer than the register's",
                        object.key,
                        record.email()
                    ));
                }
            }
        }
        let mut people = People::new();
        for row in registers.values().flat_map(|register| register.people.values()) {
            let Some(record) = &row.record else { continue };
            let Some(since_ms) = record.research_since_ms() else { continue };
            let batch = Customer::to_batch([record])
                .map_err(|error| Failure::Other(format!("recompute customers: {error}")))?;
            let Some(cells) = rows_of(&batch).pop() else { continue };
            *self.customer_trusted.entry(cells.clone()).or_default() += 1;
            let from_ms = match lake.settings.policies.consent {
                Consent::Any => i64::MIN,
                Consent::AsOf => since_ms,
            };
            let person = Person { record: record.clone(), from_ms, row: cells };
            people.insert(normal_email(record.email()), person);
        }
        Ok(people)
    }

    async fn accelerometer(&self, lake: &Lake, trusted: &People) -> Result<Vec<Row>, Failure> {
        let admitted = |row: &Row| {
            let person = trusted.get(&owner(row, 0));
            person.is_some_and(|person| integer(row, 1) >= Some(person.from_ms))
        };
        read_readings(lake, Stream::Accelerometer, admitted).await
    }

    async fn step_trainer(&self, lake: &Lake, curated: &People) -> Result<Vec<Row>, Failure> {
        let mut covered: HashMap<&str, i64> = HashMap::new();
        for person in curated.values() {
            if let Some(serial_number) = person.record.serial_number() {
                let from_ms = covered.entry(serial_number).or_insert(person.from_ms);
                *from_ms = person.from_ms.min(*from_ms);
            }
        }
        let admitted = |row: &Row| {
            let from_ms = text(row, 1).and_then(|serial_number| covered.get(serial_number));
            from_ms.is_some_and(|from_ms| integer(row, 0) >= Some(*from_ms))
        };
        read_readings(lake, Stream::StepTrainer, admitted).await
    }

    fn machine_learning(&mut self, lake: &Lake, curated: &People, steps: &[Row], motions: &[Row]) {
        let mut by_time: HashMap<Option<i64>, Vec<&Row>> = HashMap::new();
        for motion in motions {
            by_time.entry(integer(motion, 1)).or_default().push(motion);
        }
        let policies = lake.settings.policies;
        let mut pseudonyms: HashMap<(bool, String), Cell> = HashMap::new();
        let mut identified = |cell: &Cell, is_person: bool| match (policies.identity, cell.text()) {
            (Identity::Clear, _) => cell.clone(),
            (Identity::None, _) | (_, None) => Cell::Null,
            (Identity::Pseudonym, Some(text)) => pseudonyms
                .entry((is_person, text.to_owned()))
                .or_insert_with(|| {
                    Cell::Text(if is_person {
                        lake.key.person_pseudonym(text)
                    } else {
                        lake.key.device_pseudonym(text)
                    })
                })
                .clone(),
        };
        for step in steps {
            for motion in by_time.get(&integer(step, 0)).into_iter().flatten() {
                let same_person = || {
                    let person = curated.get(&owner(motion, 0));
                    person.and_then(|person| person.record.serial_number()) == text(step, 1)
                };
                if policies.pairing == Pairing::Timestamp || same_person() {
                    let mut cells = vec![
                        identified(&step.0[1], false),
                        step.0[0].clone(),
                        step.0[2].clone(),
                        identified(&motion.0[0], true),
                    ];
                    cells.extend_from_slice(&motion.0[1..]);
                    *self.machine_learning_curated.entry(Row(cells)).or_default() += 1;
                }
            }
        }
    }
}

fn bag(rows: impl IntoIterator<Item = Row>) -> Bag {
    let mut bag = Bag::new();
    for row in rows {
        *bag.entry(row).or_default() += 1;
    }
    bag
}

fn text(row: &Row, column: usize) -> Option<&str> {
    row.0.get(column)?.text()
}

fn integer(row: &Row, column: usize) -> Option<i64> {
    row.0.get(column)?.integer()
}

fn owner(row: &Row, column: usize) -> String {
    normal_email(text(row, column).unwrap_or_default())
}

async fn read_customers(lake: &Lake, key: &ObjectKey) -> Result<Vec<Customer>, Failure> {
    let mut customers = Vec::new();
    read(lake, Stream::Customer, key, |batch| customers.extend(Customer::from_batch(batch)))
        .await?;
    Ok(customers)
}

/// The readings of a feed that are to be kept, however many there are of others.
async fn read_readings(
    lake: &Lake,
    stream: Stream,
    keep: impl Fn(&Row) -> bool,
) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for object in list_all(lake.store.as_ref(), layout::landing(stream)).await? {
        let kept = |batch: &RecordBatch| rows.extend(rows_of(batch).into_iter().filter(&keep));
        read(lake, stream, &object.key, kept).await?;
    }
    Ok(rows)
}

async fn read(
    lake: &Lake,
    stream: Stream,
    key: &ObjectKey,
    mut take: impl FnMut(&RecordBatch),
) -> Result<(), Failure> {
    let Some(mut records) = Records::again(lake, stream, key).await? else { return Ok(()) };
    while let Some(piece) = records.next().await? {
        if let Piece::Batch(batch) = piece {
            take(&batch);
        }
    }
    Ok(())
}
