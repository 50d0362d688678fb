//! step_trainer_trusted, accelerometer_trusted → machine_learning_curated.
//!
//! ```sql
//! -- each step reading with the accelerometer readings of the same time.
//! select s.*, a.* from step_trainer_trusted s
//! join accelerometer_trusted a on a.timestamp = s.sensorreadingtime
//! [CUSTOMER: join customer_curated c on c.serialnumber = s.serialnumber and key(c.email) = key(a.user)]
//! ```
//!
//! One object for each object of step_trainer_trusted, joined with the objects of
//! accelerometer_trusted of that day whose time range overlaps: row group by row group, so that
//! memory is bounded by a row group of each and what may be held of the pairs.
//!
//! Why no slow write wins over a newer one: the target is noted before its inputs are read, carries
//! their versions, and those never come back, since they carry revisions themselves.

mod join;
mod transform;
mod unfinished;

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use futures::stream::{self, StreamExt, TryStreamExt};
use lake::derivation::Target;
use lake::error::Error;
use lake::function::{Function, Plan};
use lake::key::{ETag, KeyHash, ObjectKey, VersionDigest};
use lake::lake::{Lake, Versioned};
use lake::layout::{self, ReadingDate, Slice, Span};
use lake::object::{self, Opened, Version};
use lake::partitions;
use lake::registers::{CuratedRegister, load_parts};
use lake::report::Report;
use lake::store::{ObjectMeta, list_all};
use lake::tables::{MACHINE_LEARNING_CURATED, READING_DATE};

pub use self::transform::{Owners, Pairing, Pairs};

/// The function.
pub struct MachineLearningCurated;

impl Function for MachineLearningCurated {
    type Unit = Slice;
    type Detail = ();
    type Settle = ();

    fn name(&self) -> &'static str {
        env!("CARGO_PKG_NAME")
    }

    /// A step trainer object is derived; an accelerometer object asks for the step trainer objects
    /// whose time range it overlaps.
    async fn plan(&self, lake: &Lake, key: &ObjectKey) -> Result<Plan<Slice, (), ()>, Error> {
        if let Some(slice) = Slice::of_key(key, layout::TRUSTED_STEP_TRAINER) {
            return Ok(Plan::unit(slice));
        }
        let Some(moved) = Slice::of_key(key, layout::TRUSTED_ACCELEROMETER) else {
            return Ok(Plan::nothing());
        };
        let zone = layout::TRUSTED_STEP_TRAINER;
        let overlapping = overlapping(lake, zone, moved.date, moved.span()).await?;
        let slices = overlapping.iter().filter_map(|step| Slice::of_key(&step.key, zone));
        Ok(Plan { units: slices.map(|slice| (slice, Vec::new())).collect(), ..Plan::nothing() })
    }

    async fn work(&self, lake: &Lake, slice: &Slice, _: Vec<()>) -> Result<Report, Error> {
        lake.register(&MACHINE_LEARNING_CURATED).await?;
        for attempt in 0..lake.bounds.attempts_max {
            if let Some(mut report) = attempt_derive(lake, *slice).await? {
                report.conflicts = attempt as u64;
                return Ok(report);
            }
        }
        Err(Error::Contended {
            what: format!("derive {}", slice.key(layout::CURATED_MACHINE_LEARNING)),
            moved: "the target or an input".to_owned(),
            attempts: lake.bounds.attempts_max,
        })
    }

    async fn unfinished(&self, lake: &Lake) -> Result<Vec<ObjectKey>, Error> {
        unfinished::find(lake).await
    }

    async fn settle(&self, _: &Lake, (): ()) -> Result<(), Error> {
        Ok(())
    }
}

/// The objects of a day below `zone` whose time range has an instant in common with `span`.
async fn overlapping(
    lake: &Lake,
    zone: &str,
    date: ReadingDate,
    span: Span,
) -> Result<Vec<ObjectMeta>, Error> {
    let prefix = format!("{zone}{READING_DATE}={date}/");
    let mut objects = list_all(lake.store.as_ref(), &prefix).await?;
    objects.retain(|object| {
        Slice::of_key(&object.key, zone).is_some_and(|slice| slice.span().overlaps(span))
    });
    Ok(objects)
}

/// The accelerometer objects a step trainer object of so many rows is joined with.
async fn motions(lake: &Lake, slice: Slice, rows: usize) -> Result<Vec<ObjectMeta>, Error> {
    if rows == 0 {
        return Ok(Vec::new());
    }
    overlapping(lake, layout::TRUSTED_ACCELEROMETER, slice.date, slice.span()).await
}

/// The version the object of a slice has once it is derived from what there is now.
async fn current_version(lake: &Lake, slice: Slice) -> Result<Option<Version>, Error> {
    let noted = object::note(lake, &slice.key(layout::TRUSTED_STEP_TRAINER)).await?;
    let Some(noted) = noted else { return Ok(None) };
    let rows = usize::try_from(noted.rows).unwrap_or(usize::MAX);
    Ok(Some(version(lake, &noted.etag, &motions(lake, slice, rows).await?)))
}

/// One attempt; `None` if something moved.
async fn attempt_derive(lake: &Lake, slice: Slice) -> Result<Option<Report>, Error> {
    let target = Target::note(lake, slice.key(layout::CURATED_MACHINE_LEARNING)).await?;
    let Some(steps) = Input::open(lake, slice.key(layout::TRUSTED_STEP_TRAINER)).await? else {
        return Ok(Some(Report::default()));
    };
    let rows = usize::try_from(steps.opened.value.rows).unwrap_or(usize::MAX);
    let motions = motions(lake, slice, rows).await?;
    let version = version(lake, &steps.opened.etag, &motions);
    let mut report = Report::default();
    let settled = match target.settled(&version, &mut report) {
        Some(settled) => Some(settled),
        None => {
            let Some(motions) = open_all(lake, motions).await? else { return Ok(None) };
            join::derive(lake, &target, version, &steps, &motions, &mut report).await?
        }
    };
    let Some(settled) = settled else { return Ok(None) };
    let table = &MACHINE_LEARNING_CURATED;
    partitions::settle(lake, table, slice.date, &target.key, settled.occupancy).await?;
    Ok(Some(report))
}

/// An object the rows are made of.
struct Input {
    key: ObjectKey,
    opened: Versioned<Opened>,
}

impl Input {
    async fn open(lake: &Lake, key: ObjectKey) -> Result<Option<Self>, Error> {
        let opened = object::open(lake, &key).await?;
        Ok(opened.map(|opened| Self { key, opened }))
    }

    /// A row group; `None` if the object moved.
    async fn read(&self, lake: &Lake, group: usize) -> Result<Option<RecordBatch>, Error> {
        object::read_group(lake, &self.key, &self.opened, group).await
    }
}

/// Opens the accelerometer objects of a listing; `None` if one moved since.
async fn open_all(lake: &Lake, motions: Vec<ObjectMeta>) -> Result<Option<Vec<Input>>, Error> {
    let opened: Vec<Option<Input>> = stream::iter(motions)
        .map(|listed| async move {
            let found = Input::open(lake, listed.key).await?;
            Ok::<_, Error>(found.filter(|found| found.opened.etag == listed.etag))
        })
        .buffered(lake.bounds.concurrency)
        .try_collect()
        .await?;
    Ok(opened.into_iter().collect())
}

/// The device of each curated person.
async fn owners(lake: &Lake) -> Result<Owners, Error> {
    let parts = lake.settings.parts.all();
    let register = load_parts::<CuratedRegister>(lake, parts, layout::curated_register).await?;
    let mut owners: BTreeMap<KeyHash, KeyHash> = BTreeMap::new();
    for part in register.values() {
        for (person, row) in &part.value.people {
            owners.extend(row.curated().and_then(|row| row.device).map(|device| (*person, device)));
        }
    }
    Ok(owners)
}

fn version(lake: &Lake, steps: &ETag, motions: &[ObjectMeta]) -> Version {
    let policies = lake.settings.policies;
    let mut digest = VersionDigest::new();
    for motion in motions {
        digest.field(motion.key.as_str().as_bytes());
        digest.field(motion.etag.as_str().as_bytes());
    }
    Version {
        rule: format!(
            "{} pairing={} identity={}",
            MACHINE_LEARNING_CURATED.name, policies.pairing, policies.identity
        ),
        source: steps.as_str().to_owned(),
        digest: digest.finish(),
    }
}
