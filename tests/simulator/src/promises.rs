//! What must hold after every step, as precisely as it can be checked.
//!
//! Privacy, of a function that admits readings by a register: (a) every row it writes is admitted
//! by a version of a slim part of the register, that the invocation read after it first saw the target as
//! it noted it, or by what its runs said together since then; whatever a part says, the runs say, or something
//! newer; (b) once the revision of a row of the register is settled (applied, and none of the replay
//! markers of its part left), no object holds rows that this row of the register does not admit,
//! whoever writes. Of the customer tables: rows come from a version read likewise, and the source never
//! goes back. Of machine_learning_curated: an object that is derived from its inputs as they are stays
//! so until they change.
//!
//! Of compacted copies: a partition is led to rows only that its date had at some time, all of them,
//! and nothing that a partition leads to changes.

use std::collections::BTreeMap;

use lake::key::{ETag, KeyHash, ObjectKey, Part, Revision, VersionDigest};
use lake::layout::{self, ReadingDate, Slice};
use lake::policy::{Consent, Pairing};
use lake::registers::slim::SlimRow;
use lake::registers::{ConsentRow, Consents, CuratedRegister, OwnerRow, Owners};
use lake::store::Precondition;
use serde_json::Value;

use crate::bucket::{READING_ZONES, day_of};
use crate::reference;
use crate::table::{Row, difference};
use crate::world::{Observed, Promise, Violation, World};

/// An object as it was before an effect.
pub(crate) struct Before {
    pub(crate) etag: ETag,
    pub(crate) is_fresh: bool,
}

/// A put that happened.
pub(crate) struct Put<'a> {
    pub(crate) key: &'a ObjectKey,
    pub(crate) etag: &'a ETag,
    pub(crate) when: &'a Precondition,
    pub(crate) before: Option<&'a Before>,
}

type Checked = Result<(), Violation>;

fn broken(promise: Promise, what: impl Into<String>) -> Checked {
    Err(Violation { promise, what: what.into() })
}

pub(crate) fn after_put(world: &World, put: &Put<'_>, observed: &Observed) -> Checked {
    let key = put.key;
    if key.after("state/").is_some() && !key.as_str().contains("/index/") {
        return after_state(world, put);
    }
    if key.after(layout::COMPACTED).is_some() {
        return stays_whole(world, key);
    }
    if layout::part_of_key(key, layout::TRUSTED_CUSTOMER).is_some() {
        trusted_customer(world, put, observed)?;
        return curated_follows(world);
    }
    if layout::part_of_key(key, layout::CURATED_CUSTOMER).is_some() {
        curated_customer(world, put, observed)?;
        return curated_follows(world);
    }
    if key.after(layout::TRUSTED_ACCELEROMETER).is_some() {
        accelerometer_put(world, put, observed)?;
        return accelerometer_settled(world);
    }
    if key.after(layout::TRUSTED_STEP_TRAINER).is_some() {
        step_trainer_put(world, put, observed)?;
        return step_trainer_settled(world);
    }
    if key.after(layout::CURATED_MACHINE_LEARNING).is_some() {
        return machine_learning_put(world, put);
    }
    Ok(())
}

pub(crate) fn after_delete(world: &World, key: &ObjectKey) -> Checked {
    if key.after(layout::REPLAY).is_some() {
        accelerometer_settled(world)?;
        step_trainer_settled(world)?;
    }
    if key.after(layout::COMPACTED).is_some() {
        stays_whole(world, key)?;
    }
    match day_of(key) {
        Some((table, date)) if world.bucket.partitions(table).contains(&date) => {
            partition_has_objects(world, table, date)
        }
        _ => Ok(()),
    }
}

fn after_state(world: &World, put: &Put<'_>) -> Checked {
    let bucket = &world.bucket;
    if let Some(before) = put.before
        && put.key.as_str().ends_with(".json")
    {
        let (old, new): (Value, Value) = (bucket.document(&before.etag), bucket.document(put.etag));
        for counter in ["revision", "sequence"] {
            if old[counter].as_u64() > new[counter].as_u64() {
                let (old, new) = (&old[counter], &new[counter]);
                let what = format!("the {counter} of {} went from {old} to {new}", put.key);
                return broken(Promise::Growth, what);
            }
        }
    }
    let key = put.key.as_str();
    if key.starts_with("state/accelerometer/applied/") {
        accelerometer_settled(world)?;
    }
    if key.starts_with("state/step_trainer/applied/") {
        step_trainer_settled(world)?;
    }
    if key.starts_with(layout::CURATED_REGISTER) {
        curated_follows(world)?;
    }
    Ok(())
}

/// A partition that is moved to a copy leads to rows that the date had at some time, all of them.
pub(crate) fn leads_to_the_whole(world: &World, location: &str) -> Checked {
    let Some(place) = location.strip_prefix(layout::COMPACTED) else { return Ok(()) };
    let rows = world.bucket.rows_below(location);
    let past = world
        .past
        .iter()
        .find(|((table, date), _)| place.starts_with(&format!("{table}/reading_date={date}/")));
    let is_whole = !rows.is_empty() && past.is_some_and(|(_, past)| past.contains(&rows));
    if !is_whole {
        let what = format!("a partition leads to {location}, which has {rows:?}");
        return broken(Promise::Compaction, what);
    }
    Ok(())
}

/// No partition leads to what changes.
fn stays_whole(world: &World, key: &ObjectKey) -> Checked {
    for (table, _) in READING_ZONES {
        for location in world.bucket.locations(table).values() {
            if key.as_str().starts_with(location) {
                let what = format!("{key} changed, and a partition leads there");
                return broken(Promise::Compaction, what);
            }
        }
    }
    Ok(())
}

fn covers(world: &World, since_ms: i64, time_ms: i64) -> bool {
    world.setting.policies.consent == Consent::Any || time_ms >= since_ms
}

/// The revision up to which a part is settled: what is applied, below the replay markers left.
fn settled(world: &World, stream: &str, part: Part) -> Revision {
    if world.policies_changed {
        return Revision(0);
    }
    let key = ObjectKey::new(format!("state/{stream}/applied/part-{part}.json"));
    let applied = world.bucket.load::<Value>(&key);
    let applied = applied.and_then(|applied| applied["revision"].as_u64()).unwrap_or(0);
    let prefix = format!("{}{part}.", layout::REPLAY);
    let landing = format!("landing/{stream}/");
    for (marker, _) in world.bucket.below(&prefix) {
        let rest = marker.after(&prefix).and_then(|rest| rest.split_once('/'));
        if let Some((revision, key)) = rest
            && key.starts_with(&landing)
            && revision.parse::<u64>().is_ok_and(|revision| revision <= applied)
        {
            return Revision(0);
        }
    }
    Revision(applied)
}

/// What consents say of a reading: `None` where they know nobody.
fn consented(
    world: &World,
    people: &BTreeMap<KeyHash, ConsentRow>,
    row: &Row,
) -> Option<(bool, Revision)> {
    let (email, time_ms) = (row[0].as_text()?, row[1].as_whole()?);
    let known = people.get(&world.bucket.person(email))?;
    let admits = known.since_ms.is_some_and(|since_ms| covers(world, since_ms, time_ms));
    Some((admits, known.revision))
}

fn part_of(world: &World, email: &str) -> Part {
    world.bucket.person(email).part(world.bucket.parts)
}

fn accelerometer_put(world: &World, put: &Put<'_>, observed: &Observed) -> Checked {
    let noted = observed.noted(put.key, put.when);
    for row in &world.bucket.derived(put.etag).rows {
        let part = part_of(world, row[0].as_text().unwrap_or_default());
        let consents = layout::consents(part);
        let mut read = observed.read_since(&consents, put.key, put.when);
        let admits = |people: &BTreeMap<KeyHash, ConsentRow>| {
            consented(world, people, row).is_some_and(|(admits, _)| admits)
        };
        let admitted = read.any(|etag| {
            let consents: Consents = world.bucket.slim(etag);
            admits(&consents.people)
        });
        let mut said = world.consents_said.stood_since(noted);
        if !admitted && !said.any(|(person, row)| admits(&[(*person, *row)].into())) {
            let what = format!("{} admits {row:?} against the consents it was derived by", put.key);
            return broken(Promise::Privacy, what);
        }
    }
    Ok(())
}

/// What the runs of a register say now, which is all that its slim parts say, or something newer.
fn said_in_runs<R: SlimRow>(
    world: &World,
    is_anything: fn(&R) -> bool,
) -> Result<BTreeMap<KeyHash, R>, Violation> {
    let bucket = &world.bucket;
    let runs = bucket.below(R::RUNS);
    let runs = runs.filter(|(key, _)| layout::run_generation(R::RUNS, key).is_some());
    let said = bucket.runs::<R>(runs.map(|(_, etag)| etag));
    for (key, etag) in bucket.below(R::PARTS) {
        for (person, row) in bucket.slim::<R>(etag).people {
            let known = said.get(&person);
            if known.map_or(is_anything(&row), |known| known.revision() < row.revision()) {
                broken(Promise::Privacy, format!("{key} says of {person:?} what no run does"))?;
            }
        }
    }
    Ok(said)
}

/// No object holds readings that a settled row of the consents does not admit.
fn accelerometer_settled(world: &World) -> Checked {
    let people = said_in_runs::<ConsentRow>(world, |_| true)?;
    let settled = |part| (part, settled(world, "accelerometer", part));
    let parts: BTreeMap<Part, Revision> =
        world.bucket.all_parts().into_iter().map(settled).collect();
    for (key, derived) in world.bucket.derived_below(layout::TRUSTED_ACCELEROMETER) {
        for row in &derived.rows {
            let settled = &parts[&part_of(world, row[0].as_text().unwrap_or_default())];
            let what = match consented(world, &people, row) {
                Some((false, revision)) if revision <= *settled => "whose withdrawal is settled",
                None => "of whom the lake has no record",
                Some(_) => continue,
            };
            return broken(Promise::Privacy, format!("{key} holds {row:?} {what}"));
        }
    }
    Ok(())
}

/// What a version of the curated register says of a step reading: who covers it, who had the
/// device.
fn owners<'a>(
    world: &'a World,
    register: &'a CuratedRegister,
    row: &'a Row,
) -> impl Iterator<Item = (bool, Revision)> + 'a {
    let time_ms = row[0].as_whole().unwrap_or_default();
    let device = world.bucket.key.device(row[1].as_text().unwrap_or_default());
    register.people.values().filter(move |owner| owner.devices.contains(&device)).map(
        move |owner| {
            let curated = owner.curated().filter(|trusted| trusted.device == Some(device));
            let admits = curated.is_some_and(|trusted| covers(world, trusted.since_ms, time_ms));
            (admits, owner.revision)
        },
    )
}

/// Whether a version of the owners admits a step reading for what it says of one of them.
fn admits(world: &World, owner: &OwnerRow, row: &Row) -> bool {
    let time_ms = row[0].as_whole().unwrap_or_default();
    let device = world.bucket.key.device(row[1].as_text().unwrap_or_default());
    let owner = owner.curated.filter(|owner| owner.device == Some(device));
    owner.is_some_and(|owner| covers(world, owner.since_ms, time_ms))
}

fn step_trainer_put(world: &World, put: &Put<'_>, observed: &Observed) -> Checked {
    let bucket = &world.bucket;
    let noted = observed.noted(put.key, put.when);
    for row in &bucket.derived(put.etag).rows {
        let admitted = bucket.all_parts().into_iter().any(|part| {
            observed.read_since(&layout::owners(part), put.key, put.when).any(|etag| {
                let owners: Owners = bucket.slim(etag);
                owners.people.values().any(|owner| admits(world, owner, row))
            })
        });
        let mut said = world.owners_said.stood_since(noted);
        if !admitted && !said.any(|(_, owner)| admits(world, owner, row)) {
            let what = format!("{} admits {row:?} against the register it was derived by", put.key);
            return broken(Promise::Privacy, what);
        }
    }
    Ok(())
}

/// No object holds readings of a device whose owners, former ones too, are all settled, and none
/// of whom admits them.
fn step_trainer_settled(world: &World) -> Checked {
    said_in_runs::<OwnerRow>(world, |row| row.curated.is_some())?;
    let mut parts: Vec<(CuratedRegister, Revision)> = Vec::new();
    for part in world.bucket.all_parts() {
        let register = world.bucket.load(&layout::curated_register(part)).unwrap_or_default();
        parts.push((register, settled(world, "step_trainer", part)));
    }
    for (key, derived) in world.bucket.derived_below(layout::TRUSTED_STEP_TRAINER) {
        for row in &derived.rows {
            let excused = parts.iter().any(|(register, settled)| {
                owners(world, register, row).any(|(admits, revision)| admits || revision > *settled)
            });
            if !excused {
                let what = format!("{key} holds {row:?}, whose owners are settled");
                return broken(Promise::Privacy, what);
            }
        }
    }
    Ok(())
}

fn grows(world: &World, put: &Put<'_>) -> Checked {
    let Some(before) = put.before else { return Ok(()) };
    let (old, new) = (world.bucket.derived(&before.etag), world.bucket.derived(put.etag));
    if old.source() > new.source() {
        let what = format!("{} went from {} back to {}", put.key, old.source(), new.source());
        return broken(Promise::Privacy, what);
    }
    Ok(())
}

fn trusted_customer(world: &World, put: &Put<'_>, observed: &Observed) -> Checked {
    grows(world, put)?;
    let part = layout::part_of_key(put.key, layout::TRUSTED_CUSTOMER).expect("it is one");
    let register = layout::customer_register(part);
    let rows = &world.bucket.derived(put.etag).rows;
    let follows = observed.read_since(&register, put.key, put.when).any(|etag| {
        let register: Value = world.bucket.document(etag);
        rows.iter().all(|row| {
            let person = world.bucket.person(row[1].as_text().unwrap_or_default());
            !register["people"][person.to_string()]["record"].is_null()
        })
    });
    if !follows {
        let what = format!("{} holds people whom the register it was read from does not", put.key);
        return broken(Promise::Privacy, what);
    }
    Ok(())
}

fn curated_customer(world: &World, put: &Put<'_>, observed: &Observed) -> Checked {
    grows(world, put)?;
    let part = layout::part_of_key(put.key, layout::CURATED_CUSTOMER).expect("it is one");
    let trusted = layout::customer_part(layout::TRUSTED_CUSTOMER, part);
    let rows = &world.bucket.derived(put.etag).rows;
    let follows = observed.reads.get(&trusted).into_iter().flatten().any(|(_, etag)| {
        let Some(etag) = actual(world, &trusted, etag) else { return false };
        let trusted = world.bucket.derived(&etag);
        rows.iter().all(|row| trusted.rows.contains(row))
    });
    if !follows && !rows.is_empty() {
        let what = format!("{} holds rows that no trusted part it was read from has", put.key);
        return broken(Promise::Privacy, what);
    }
    Ok(())
}

/// The version that a tag stands for, as the handlers see it.
fn actual(world: &World, key: &ObjectKey, etag: &ETag) -> Option<ETag> {
    if world.protocol == crate::broken::Protocol::TagsOfRows {
        return world.bucket.objects.get(key).cloned();
    }
    Some(etag.clone())
}

/// A part of customer_curated that is at the register, which is at the part of customer_trusted,
/// has its rows from there.
fn curated_follows(world: &World) -> Checked {
    let bucket = &world.bucket;
    for part in bucket.all_parts() {
        let trusted_key = layout::customer_part(layout::TRUSTED_CUSTOMER, part);
        let curated_key = layout::customer_part(layout::CURATED_CUSTOMER, part);
        let register: Option<CuratedRegister> = bucket.load(&layout::curated_register(part));
        let (Some(register), Some(trusted), Some(curated)) =
            (register, bucket.objects.get(&trusted_key), bucket.objects.get(&curated_key))
        else {
            continue;
        };
        let shown = world.protocol.shown(bucket, &trusted_key, trusted);
        let curated = bucket.derived(curated);
        let follows = register.trusted.as_ref().is_some_and(|followed| followed.etag == shown)
            && curated.source() == register.revision.to_string();
        let trusted = bucket.derived(trusted);
        if follows && curated.rows.iter().any(|row| !trusted.rows.contains(row)) {
            let what = format!("{curated_key} holds rows that {trusted_key} does not");
            return broken(Promise::Privacy, what);
        }
    }
    Ok(())
}

/// The inputs of an object of machine_learning_curated as they are.
struct Inputs {
    steps: ETag,
    motions: Vec<ETag>,
    digest: String,
}

fn inputs(world: &World, slice: Slice) -> Option<Inputs> {
    let bucket = &world.bucket;
    let steps_key = slice.key(layout::TRUSTED_STEP_TRAINER);
    let steps = bucket.objects.get(&steps_key)?.clone();
    let (mut motions, mut digest) = (Vec::new(), VersionDigest::new());
    if !bucket.derived(&steps).rows.is_empty() {
        let zone = layout::TRUSTED_ACCELEROMETER;
        for (key, etag) in bucket.below(&format!("{zone}reading_date={}/", slice.date)) {
            if Slice::of_key(key, zone).is_some_and(|other| other.span().overlaps(slice.span())) {
                digest.field(key.as_str().as_bytes());
                let shown = world.protocol.shown(bucket, key, etag);
                digest.field(shown.as_str().as_bytes());
                motions.push(etag.clone());
            }
        }
    }
    Some(Inputs { steps, motions, digest: digest.finish() })
}

/// Whether an object of machine_learning_curated is derived from its inputs as they are; `None` if
/// it is no such object.
pub(crate) fn is_fresh(world: &World, key: &ObjectKey) -> Option<bool> {
    let slice = Slice::of_key(key, layout::CURATED_MACHINE_LEARNING)?;
    let bucket = &world.bucket;
    let derived = bucket.derived(bucket.objects.get(key)?);
    let Some(inputs) = inputs(world, slice) else { return Some(false) };
    let steps =
        world.protocol.shown(bucket, &slice.key(layout::TRUSTED_STEP_TRAINER), &inputs.steps);
    Some(derived.source() == steps.as_str() && derived.digest() == inputs.digest)
}

fn machine_learning_put(world: &World, put: &Put<'_>) -> Checked {
    let is_fresh = is_fresh(world, put.key) == Some(true);
    if put.before.is_some_and(|before| before.is_fresh) && !is_fresh {
        let what = format!("{} was derived from its inputs as they are, and is not now", put.key);
        return broken(Promise::Privacy, what);
    }
    let Some(slice) = Slice::of_key(put.key, layout::CURATED_MACHINE_LEARNING) else {
        return Ok(());
    };
    let Some(inputs) = inputs(world, slice).filter(|_| is_fresh) else { return Ok(()) };
    let bucket = &world.bucket;
    let mut wanted = Vec::new();
    for step in &bucket.derived(&inputs.steps).rows {
        for motions in &inputs.motions {
            let motions = bucket.derived(motions);
            let same = motions.rows.iter().filter(|motion| motion[1] == step[0]);
            let identity = world.setting.policies.identity;
            wanted.extend(same.map(|motion| reference::pair(step, motion, identity)));
        }
    }
    let found = &bucket.derived(put.etag).rows;
    if world.setting.policies.pairing == Pairing::Timestamp {
        if let Some(difference) = difference(found, &wanted) {
            return broken(Promise::Tables, format!("{}: {difference}", put.key));
        }
    } else if found.iter().any(|row| !wanted.contains(row)) {
        return broken(Promise::Privacy, format!("{} holds rows its inputs do not", put.key));
    }
    Ok(())
}

/// There is no partition without an object.
pub(crate) fn partition_has_objects(world: &World, table: &str, date: ReadingDate) -> Checked {
    let zone = READING_ZONES.iter().find(|(name, _)| *name == table).map(|(_, zone)| zone);
    let Some(zone) = zone else { return Ok(()) };
    if world.bucket.below(&format!("{zone}reading_date={date}/")).next().is_none() {
        return broken(Promise::Catalog, format!("{table} has a partition {date} and no object"));
    }
    Ok(())
}

/// Whatever an invocation wrote that ended well is registered, unless somebody who removed the
/// partition has yet to look again.
pub(crate) fn after_invocation(world: &World, observed: &Observed) -> Checked {
    for (key, etag) in &observed.written {
        let Some((table, date)) = day_of(key) else { continue };
        let stands = world.bucket.objects.get(key) == Some(etag);
        if !stands || world.bucket.derived(etag).rows.is_empty() {
            continue;
        }
        let doubted = world
            .partition_doubts
            .get(&(table.to_owned(), date))
            .is_some_and(|doubts| !doubts.is_empty());
        if !doubted && !world.bucket.partitions(table).contains(&date) {
            let what = format!("{key} was left unregistered");
            return broken(Promise::Catalog, what);
        }
    }
    Ok(())
}
