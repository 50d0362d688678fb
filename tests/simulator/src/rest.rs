//! What must hold at rest: once nothing runs and nothing waits.

use std::collections::{BTreeMap, BTreeSet};

use lake::key::{ETag, ObjectKey, Source};
use lake::layout::{self, ReadingDate, Slice};
use lake::tables::Stream;
use serde_json::Value;

use crate::bucket::{READING_ZONES, day_of, folder_of};
use crate::file::{File, Fragment, Person};
use crate::reference::{self, Reference, Standing, Verdict, candidates, customer_row};
use crate::run::COMPACTED_OBJECTS_MIN;
use crate::table::{Row, difference};
use crate::world::{Promise, Violation, World};

type Checked = Result<(), Violation>;

fn broken(promise: Promise, what: impl Into<String>) -> Checked {
    Err(Violation { promise, what: what.into() })
}

/// The landing objects of a stream, as the workload described them.
fn landed(world: &World, stream: Stream) -> Vec<(ObjectKey, ETag, File)> {
    let below = world.bucket.below(layout::landing(stream));
    below.map(|(key, etag)| (key.clone(), etag.clone(), world.files[etag].1.clone())).collect()
}

/// Checks everything but what takes another invocation.
pub(crate) fn check(world: &mut World) -> Checked {
    for (_, etag, _) in landed(world, Stream::Customer) {
        world.deliver(&etag, true);
    }
    let standing = standing(world)?;
    let motions = landed(world, Stream::Accelerometer);
    let steps = landed(world, Stream::StepTrainer);
    let reference = Reference {
        policies: world.setting.policies,
        standing: &standing,
        motions: motions.iter().flat_map(|(_, _, file)| reference::motions(file)).collect(),
        steps: steps.iter().flat_map(|(_, _, file)| reference::steps(file)).collect(),
    };
    tables(world, &reference)?;
    catalog(world)?;
    led(world)?;
    compaction(world)?;
    let motions = accounts(&motions, reference::motions, |motion| {
        (motion.time_ms(), reference.motion_verdict(motion))
    });
    let steps =
        accounts(&steps, reference::steps, |step| (step.time_ms(), reference.step_verdict(step)));
    ledger(world, layout::TRUSTED_ACCELEROMETER, &motions)?;
    ledger(world, layout::TRUSTED_STEP_TRAINER, &steps)?;
    leftovers(world, &motions, &steps)?;
    quarantine(world)
}

/// The record of each person that stands. Where a record was perhaps delivered, customer_trusted
/// says whether it was.
fn standing(world: &World) -> Result<Standing, Violation> {
    let trusted = rows_below(world, layout::TRUSTED_CUSTOMER);
    let mut standing = Standing::new();
    for person in Person::ALL {
        let none = Vec::new();
        let surely = world.delivered.surely.get(&person).unwrap_or(&none);
        let perhaps = world.delivered.perhaps.get(&person).unwrap_or(&none);
        let found: Vec<&Row> = trusted
            .iter()
            .filter(|row| row[1].as_text().and_then(Person::of_email) == Some(person))
            .collect();
        let candidates = candidates(surely, perhaps);
        let fits = |candidate: &&Option<&crate::file::CustomerEntry>| {
            let wanted = candidate.filter(|record| record.research_ms.is_some()).map(customer_row);
            found.iter().copied().cloned().collect::<Vec<_>>()
                == wanted.into_iter().collect::<Vec<_>>()
        };
        match candidates.iter().find(fits) {
            Some(Some(record)) => drop(standing.insert(person, (*record).clone())),
            Some(None) => {}
            None => {
                let what = format!("customer_trusted has {found:?}, not one of {candidates:?}");
                return Err(Violation { promise: Promise::Tables, what });
            }
        }
    }
    Ok(standing)
}

fn rows_below(world: &World, prefix: &str) -> Vec<Row> {
    let derived = world.bucket.derived_below(prefix);
    derived.iter().flat_map(|(_, derived)| derived.rows.clone()).collect()
}

fn tables(world: &World, reference: &Reference<'_>) -> Checked {
    for (table, zone, wanted) in [
        ("customer_trusted", layout::TRUSTED_CUSTOMER, reference.customer_trusted()),
        ("accelerometer_trusted", layout::TRUSTED_ACCELEROMETER, reference.accelerometer_trusted()),
        ("customer_curated", layout::CURATED_CUSTOMER, reference.customer_curated()),
        ("step_trainer_trusted", layout::TRUSTED_STEP_TRAINER, reference.step_trainer_trusted()),
        (
            "machine_learning_curated",
            layout::CURATED_MACHINE_LEARNING,
            reference.machine_learning_curated(),
        ),
    ] {
        if let Some(difference) = difference(&rows_below(world, zone), &wanted) {
            return broken(Promise::Tables, format!("{table} has {difference}"));
        }
    }
    Ok(())
}

fn catalog(world: &World) -> Checked {
    for (table, zone) in READING_ZONES {
        let mut wanted = BTreeSet::new();
        for (key, derived) in world.bucket.derived_below(zone) {
            let Some((_, date)) = day_of(&key) else { continue };
            if !derived.rows.is_empty() {
                wanted.insert(date);
            }
        }
        let found: BTreeSet<ReadingDate> = world.bucket.partitions(table).into_iter().collect();
        if found != wanted {
            let what = format!("{table} has the partitions {found:?}, wanted are {wanted:?}");
            return broken(Promise::Catalog, what);
        }
    }
    Ok(())
}

/// Through the catalog every table has the rows of its folders.
pub(crate) fn led(world: &World) -> Checked {
    for (table, _) in READING_ZONES {
        for (date, location) in world.bucket.locations(table) {
            let wanted = world.bucket.rows_below(&folder_of(table, date));
            let found = world.bucket.rows_below(&location);
            if let Some(difference) = difference(&found, &wanted) {
                let what = format!("the partition {date} of {table} leads to {difference}");
                return broken(Promise::Compaction, what);
            }
        }
    }
    Ok(())
}

/// After a schedule that finds every date closed, each date with rows is
/// compacted, and there is no object of a copy that no partition leads to.
fn compaction(world: &World) -> Checked {
    let mut led_to = Vec::new();
    for (table, _) in READING_ZONES {
        for (date, location) in world.bucket.locations(table) {
            let objects = world.bucket.derived_below(&folder_of(table, date));
            let occupied = objects.iter().filter(|(_, derived)| !derived.rows.is_empty()).count();
            let compacted = location.starts_with(layout::COMPACTED);
            if occupied >= COMPACTED_OBJECTS_MIN && !compacted {
                let what = format!("{date} of {table} has {occupied} objects, and no copy");
                return broken(Promise::Compaction, what);
            }
            led_to.extend(compacted.then_some(location));
        }
    }
    for (key, _) in world.bucket.below(layout::COMPACTED) {
        if !led_to.iter().any(|location| key.as_str().starts_with(location)) {
            return broken(Promise::Compaction, format!("{key} is left, and nothing leads there"));
        }
    }
    Ok(())
}

/// The records of a slice, by verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Account {
    admitted: u64,
    no_consent: u64,
    before_consent: u64,
}

/// What every landing object has to account for, by the slice its readings fall into.
fn accounts<R>(
    landed: &[(ObjectKey, ETag, File)],
    readings: impl Fn(&File) -> Vec<R>,
    verdict: impl Fn(&R) -> (i64, Verdict),
) -> BTreeMap<Slice, Account> {
    let mut accounts = BTreeMap::new();
    for (key, _, file) in landed {
        let mut days: BTreeMap<ReadingDate, (i64, i64, Account)> = BTreeMap::new();
        for reading in readings(file) {
            let (time_ms, verdict) = verdict(&reading);
            let date = ReadingDate::of(time_ms).expect("a day of the calendar");
            let (first_ms, last_ms, account) =
                days.entry(date).or_insert((time_ms, time_ms, Account::default()));
            *first_ms = time_ms.min(*first_ms);
            *last_ms = time_ms.max(*last_ms);
            match verdict {
                Verdict::Admitted => account.admitted += 1,
                Verdict::NoConsent => account.no_consent += 1,
                Verdict::BeforeConsent => account.before_consent += 1,
            }
        }
        for (date, (first_ms, last_ms, account)) in days {
            let slice = Slice { date, first_ms, last_ms, source: Source::of(key) };
            accounts.insert(slice, account);
        }
    }
    accounts
}

fn ledger(world: &World, zone: &str, accounts: &BTreeMap<Slice, Account>) -> Checked {
    for (slice, account) in accounts {
        let key = slice.key(zone);
        let Some(etag) = world.bucket.objects.get(&key) else {
            return broken(Promise::Leftovers, format!("{key} is missing"));
        };
        let derived = world.bucket.derived(etag);
        let said = |name: &str| derived.footer["ledger"][name].as_u64().unwrap_or(u64::MAX);
        let found = Account {
            admitted: said("admitted"),
            no_consent: said("held_no_consent"),
            before_consent: said("held_before_consent"),
        };
        let records = account.admitted + account.no_consent + account.before_consent;
        if found != *account || said("records") != records {
            let what = format!("{key} accounts for {found:?}, not {account:?}");
            return broken(Promise::Ledger, what);
        }
    }
    Ok(())
}

fn leftovers(
    world: &World,
    motions: &BTreeMap<Slice, Account>,
    steps: &BTreeMap<Slice, Account>,
) -> Checked {
    for (zone, wanted) in [
        (layout::TRUSTED_ACCELEROMETER, motions),
        (layout::TRUSTED_STEP_TRAINER, steps),
        (layout::CURATED_MACHINE_LEARNING, steps),
    ] {
        for slice in wanted.keys() {
            if !world.bucket.objects.contains_key(&slice.key(zone)) {
                return broken(Promise::Leftovers, format!("{} is missing", slice.key(zone)));
            }
        }
        for (key, derived) in world.bucket.derived_below(zone) {
            let slice = Slice::of_key(&key, zone);
            if !slice.is_some_and(|slice| wanted.contains_key(&slice)) && !derived.rows.is_empty() {
                return broken(Promise::Leftovers, format!("{key} is left, with rows"));
            }
        }
    }
    let known = ["landing/", "trusted/", "curated/", "compacted/", "quarantine/", "state/"];
    for key in world.bucket.objects.keys() {
        if !known.iter().any(|prefix| key.after(prefix).is_some()) {
            return broken(Promise::Leftovers, format!("{key} is left"));
        }
    }
    Ok(())
}

fn quarantine(world: &World) -> Checked {
    let mut wanted: BTreeMap<ObjectKey, Vec<Fragment>> = BTreeMap::new();
    for stream in Stream::ALL {
        for (key, _, file) in landed(world, stream) {
            let (_, fragments) = file.render(stream);
            let records = file.entries.len() as u64 + u64::from(file.cut_off);
            counted(world, stream, &key, records, fragments.len() as u64)?;
            if !fragments.is_empty() {
                wanted.insert(layout::quarantine(stream, &key), fragments);
            }
        }
    }
    let mut found: BTreeMap<ObjectKey, Vec<Fragment>> = BTreeMap::new();
    for (key, etag) in world.bucket.below("quarantine/") {
        let lines = world.bucket.bytes(etag).split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.is_empty());
        let fragments = lines.map(|line| serde_json::from_slice(line).expect("a line of JSON"));
        found.insert(key.clone(), fragments.collect());
    }
    if found != wanted {
        let what = format!("found {found:?}, wanted {wanted:?}");
        return broken(Promise::Quarantine, what);
    }
    Ok(())
}

/// The manifest of a landing object counts its records.
fn counted(
    world: &World,
    stream: Stream,
    key: &ObjectKey,
    records: u64,
    fragments: u64,
) -> Checked {
    let manifest: Option<Value> = world.bucket.load(&layout::manifest(stream, Source::of(key)));
    let content = manifest.map(|manifest| manifest["content"].clone()).unwrap_or_default();
    let rows = content["rows"].as_u64().unwrap_or(0);
    let reasons = content["fragments"].as_object().into_iter().flatten();
    let said: u64 = reasons.filter_map(|(_, count)| count.as_u64()).sum();
    if rows + said != records || said != fragments {
        let what = format!("{key} has {records} records, the manifest counts {content}");
        return broken(Promise::Ledger, what);
    }
    Ok(())
}
