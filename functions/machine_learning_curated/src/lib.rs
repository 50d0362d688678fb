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
//! accelerometer_trusted of that day whose time range overlaps. Where the readings of these are few
//! enough to be kept in memory, they are put together in one order of time, for as many neighbours as
//! there is room for at once; else those of a stretch of time after the other are, for all neighbours at
//! once. Pairs are made in the order of the rows, so that they are encoded as they come, however many
//! they are, and a row group ends by their bytes: which way it was shows in none of them.
//!
//! Why no slow write wins over a newer one: the target is noted before its inputs are read, carries
//! their versions, and those never come back, since they carry revisions themselves.

mod day;
mod input;
mod join;
mod motions;
mod objects;
mod rows;
mod stretches;
mod together;
mod transform;
mod unfinished;

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};
use futures::try_join;
use lake::derivation::{Settled, Target};
use lake::error::Error;
use lake::events::Delivery;
use lake::function::{Function, Plan};
use lake::gather::no_rows;
use lake::index::Index;
use lake::key::{ETag, KeyHash, ObjectKey, VersionDigest};
use lake::lake::{Lake, Settings};
use lake::layout::{self, ReadingDate, Slice, Span};
use lake::object::{self, Ledger, Version};
use lake::partitions;
use lake::registers::{OwnerRow, slim};
use lake::report::Report;
use lake::store::ObjectMeta;
use lake::tables::{MACHINE_LEARNING_CURATED, Table};

use self::day::Day;
use self::input::Input;
pub use self::motions::Motions;
use self::rows::failed;
use self::together::{Group, Inputs, PutTogether, Size};
pub use self::transform::{Naming, Owners, Pairs, Steps};

/// The tables it registers.
const TABLES: [&Table; 1] = [&MACHINE_LEARNING_CURATED];

/// The function.
pub struct MachineLearningCurated;

/// What a changed object asks for, of its day.
#[derive(Clone, Copy, Debug)]
pub enum Changed {
    /// A step trainer object: its slice.
    Steps(Slice),
    /// An accelerometer object: the slices of the step trainer objects whose time range it overlaps.
    Motions(Span),
}

impl Function for MachineLearningCurated {
    /// A day: what is listed of it is listed once for all that changed.
    type Unit = ReadingDate;
    type Detail = Changed;
    type Settle = ();

    fn name(&self) -> &'static str {
        env!("CARGO_PKG_NAME")
    }

    async fn plan(
        &self,
        _: &Lake,
        key: &ObjectKey,
        _: Delivery,
    ) -> Result<Plan<ReadingDate, Changed, ()>, Error> {
        let steps = Slice::of_key(key, layout::TRUSTED_STEP_TRAINER);
        let motions = Slice::of_key(key, layout::TRUSTED_ACCELEROMETER);
        let changed = match (steps, motions) {
            (Some(steps), _) => Some((steps.date, vec![Changed::Steps(steps)])),
            (_, Some(motions)) => Some((motions.date, vec![Changed::Motions(motions.span())])),
            _ => None,
        };
        Ok(Plan { units: changed.into_iter().collect(), ..Plan::nothing() })
    }

    async fn work(
        &self,
        lake: &Lake,
        date: &ReadingDate,
        changed: Vec<Changed>,
    ) -> Result<Report, Error> {
        let mut slices = slices(lake, *date, &changed).await?;
        let mut report = Report::default();
        for _ in 0..lake.bounds.attempts_max {
            if slices.is_empty() {
                return Ok(report);
            }
            let (derived, moved) = attempt_derive(lake, slices).await?;
            report += derived;
            report.conflicts += moved.len() as u64;
            slices = moved;
        }
        Err(lake.contended(
            format!("derive {} of {date}", MACHINE_LEARNING_CURATED.name),
            "a target or an input",
        ))
    }

    async fn unfinished(&self, lake: &Lake) -> Result<Vec<ObjectKey>, Error> {
        unfinished::find(lake).await
    }

    async fn settle(&self, _: &Lake, (): ()) -> Result<(), Error> {
        Ok(())
    }
}

/// The slices of a day to derive.
async fn slices(
    lake: &Lake,
    date: ReadingDate,
    changed: &[Changed],
) -> Result<BTreeSet<Slice>, Error> {
    let mut slices = BTreeSet::new();
    let mut spans = Vec::new();
    for changed in changed {
        match changed {
            Changed::Steps(slice) => drop(slices.insert(*slice)),
            Changed::Motions(span) => spans.push(*span),
        }
    }
    if let Some(hull) = Span::hull(spans.iter().copied()) {
        let steps = Day::list(lake, layout::TRUSTED_STEP_TRAINER, date, hull).await?;
        let listed = steps.objects.iter().map(|(slice, _)| slice);
        let overlaps = |slice: &&Slice| spans.iter().any(|span| span.overlaps(slice.span()));
        slices.extend(listed.filter(overlaps));
    }
    Ok(slices)
}

/// What came of a slice: nothing yet where something moved.
type Derived = Result<Option<Report>, Error>;

/// One attempt at some slices of a day; returns those of which something moved.
///
/// All targets are noted before the accelerometer objects are listed, once for all of them.
async fn attempt_derive(
    lake: &Lake,
    slices: BTreeSet<Slice>,
) -> Result<(Report, BTreeSet<Slice>), Error> {
    let hull = Span::hull(slices.iter().map(Slice::span));
    let (Some(first), Some(hull)) = (slices.first().copied(), hull) else {
        return Ok((Report::default(), BTreeSet::new()));
    };
    let noted = stream::iter(slices)
        .map(|slice| async move {
            let target = Target::note(lake, slice.key(layout::CURATED_MACHINE_LEARNING)).await?;
            Ok::<_, Error>((slice, target))
        })
        .buffered(lake.bounds.looks_at_once)
        .try_collect();
    let ((), noted): ((), Vec<(Slice, Target)>) = try_join!(lake.register(&TABLES), noted)?;
    let day = Arc::new(Day::list(lake, layout::TRUSTED_ACCELEROMETER, first.date, hull).await?);
    // One that cannot be derived does not cost its neighbours.
    let mut derived: Vec<(Slice, Derived)> = Vec::new();
    for Group { slices, inputs } in Group::all(lake, &day, noted) {
        derived.extend(match inputs.size {
            Size::Few { .. } => derive_together(lake, slices, &inputs).await,
            Size::Many { are_small } => stretches::derive(lake, &day, are_small, &slices).await,
        });
    }
    let mut report = Report::default();
    let mut moved = BTreeSet::new();
    for (slice, derived) in derived {
        match derived? {
            Some(derived) => report += derived,
            None => drop(moved.insert(slice)),
        }
    }
    Ok((report, moved))
}

/// Derives slices whose readings are put together at once, a few slices at a time.
async fn derive_together(
    lake: &Lake,
    slices: Vec<(Slice, Target)>,
    inputs: &Inputs,
) -> Vec<(Slice, Derived)> {
    let derive = |of: (Slice, Target)| async move { (of.0, derive(lake, of, inputs).await) };
    stream::iter(slices).map(derive).buffered(lake.bounds.concurrency).collect().await
}

/// What there is to do for a slice.
enum Asked {
    /// Nothing more.
    Settled(Report),
    /// To start over.
    Moved,
    /// To join its step readings.
    Join { steps: Input, version: Version },
}

/// Asks what there is to do for a slice.
async fn ask(lake: &Lake, slice: Slice, target: &Target, day: &Day) -> Result<Asked, Error> {
    let key = slice.key(layout::TRUSTED_STEP_TRAINER);
    let mut report = Report::default();
    let settled = if day.overlapping(slice.span()).next().is_none() {
        // Nothing is read for it, and nothing that cannot be read keeps it as it was.
        let Some(steps) = object::note(lake, &key).await? else {
            return Ok(Asked::Settled(report));
        };
        write_empty(lake, target, version(lake, &steps.etag, &[]), &mut report).await?
    } else {
        let Some(steps) = Input::of(lake, key).await? else { return Ok(Asked::Settled(report)) };
        let motions = day.motions(slice, steps.opened.value.rows);
        let version = version(lake, &steps.opened.etag, &motions);
        match target.settled(&version, &mut report) {
            None if motions.is_empty() => write_empty(lake, target, version, &mut report).await?,
            None => return Ok(Asked::Join { steps, version }),
            settled => settled,
        }
    };
    let settled = settle(lake, slice, target, settled, report).await?;
    Ok(settled.map_or(Asked::Moved, Asked::Settled))
}

/// Writes a target without rows, unless it is right; `None` if it moved.
async fn write_empty(
    lake: &Lake,
    target: &Target,
    version: Version,
    report: &mut Report,
) -> Result<Option<Settled>, Error> {
    let table = &MACHINE_LEARNING_CURATED;
    let rows = || Ok((no_rows(&table.schema()).map_err(failed)?, Ledger::default()));
    target.write(lake, table, version, rows, report).await
}

/// Adds the partition of a target that is right; `None` if it is not.
async fn settle(
    lake: &Lake,
    slice: Slice,
    target: &Target,
    settled: Option<Settled>,
    report: Report,
) -> Derived {
    let Some(settled) = settled else { return Ok(None) };
    let table = &MACHINE_LEARNING_CURATED;
    partitions::settle(lake, table, slice.date, &target.key, settled.occupancy).await?;
    Ok(Some(report))
}

/// Derives a slice from readings that are put together; if those of its group cannot be, from its own.
async fn derive(lake: &Lake, of: (Slice, Target), inputs: &Inputs) -> Derived {
    let (slice, target) = &of;
    let (steps, version) = match ask(lake, *slice, target, &inputs.day).await? {
        Asked::Settled(report) => return Ok(Some(report)),
        Asked::Moved => return Ok(None),
        Asked::Join { steps, version } => (steps, version),
    };
    let own;
    let together = match inputs.together(lake).await {
        Some(together) => together,
        None => {
            let listed = inputs.day.motions(*slice, steps.opened.value.rows);
            own = PutTogether::of(lake, listed).await?;
            match &own {
                PutTogether::Done(own) => own,
                PutTogether::Moved => return Ok(None),
                PutTogether::TooMany => {
                    drop(steps);
                    let derived = stretches::derive(lake, &inputs.day, true, &[of]).await;
                    return derived.into_iter().next().map_or(Ok(None), |(_, derived)| derived);
                }
            }
        }
    };
    let (mut report, motions) = (Report::default(), &together.motions);
    let settled =
        join::together(lake, target, version, steps, slice.span(), motions, &mut report).await?;
    settle(lake, *slice, target, settled, report).await
}

/// The device of each curated person who ever had one of some devices. It is read where it is never older
/// than what the step trainer objects were derived from.
async fn owners(lake: &Lake, devices: &BTreeSet<KeyHash>) -> Result<Owners, Error> {
    let people = Index::new(lake, layout::DEVICES).find(devices).await?;
    let wanted = people.into_values().flatten();
    let owners = slim::rows_of_runs::<OwnerRow>(lake, wanted).await?;
    let device = |row: OwnerRow| row.curated.and_then(|owner| owner.device);
    Ok(owners.into_iter().filter_map(|(person, row)| Some((person, device(row)?))).collect())
}

fn version(lake: &Lake, steps: &ETag, motions: &[ObjectMeta]) -> Version {
    let Settings { policies, changes, .. } = &lake.settings;
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
        policies: changes.pairing.max(changes.identity),
        source: steps.as_str().to_owned(),
        digest: digest.finish(),
    }
}
