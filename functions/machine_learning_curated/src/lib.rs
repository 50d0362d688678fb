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
//! accelerometer_trusted of that day whose time range overlaps: with their readings in one order of
//! time, put together once for all that is derived of the day, where these are few enough to be kept
//! in memory; else object by object and row group by row group, so that memory is bounded by a few
//! objects and what may be held of the pairs.
//!
//! Why no slow write wins over a newer one: the target is noted before its inputs are read, carries
//! their versions, and those never come back, since they carry revisions themselves.

mod join;
mod motions;
mod transform;
mod unfinished;

use std::collections::BTreeSet;

use arrow_array::RecordBatch;
use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use lake::derivation::{Settled, Target};
use lake::error::Error;
use lake::function::{Function, Plan};
use lake::index::Index;
use lake::key::{ETag, KeyHash, ObjectKey, VersionDigest};
use lake::lake::{Lake, Settings, Versioned};
use lake::layout::{self, ReadingDate, Slice, Span};
use lake::object::{self, Opened, Version};
use lake::partitions;
use lake::registers::{OwnerRow, slim};
use lake::report::Report;
use lake::store::{ObjectMeta, Pages};
use lake::tables::MACHINE_LEARNING_CURATED;
use tokio::sync::OnceCell;

use self::join::Joined;
pub use self::motions::Motions;
pub use self::transform::{Owners, Pairing, Pairs, Steps};

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
        if slices.is_empty() {
            return Ok(Report::default());
        }
        lake.register(&[&MACHINE_LEARNING_CURATED]).await?;
        let mut report = Report::default();
        for _ in 0..lake.bounds.attempts_max {
            let (derived, moved) = attempt_derive(lake, slices).await?;
            report += derived;
            if moved.is_empty() {
                return Ok(report);
            }
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

/// Objects of a day, as they were listed.
struct Day {
    objects: Vec<(Slice, ObjectMeta)>,
}

impl Day {
    /// The objects of a day below `zone` whose time range has an instant in common with `span`.
    async fn list(lake: &Lake, zone: &str, date: ReadingDate, span: Span) -> Result<Self, Error> {
        let mut pages = Pages::below(lake.store.as_ref(), layout::day(zone, date));
        let mut objects: Vec<(Slice, ObjectMeta)> = Vec::new();
        // They are in the order of their first times.
        let passed = |(slice, _): &(Slice, ObjectMeta)| slice.first_ms > span.last_ms;
        while !objects.last().is_some_and(passed)
            && let Some(page) = pages.next().await?
        {
            let slices =
                page.into_iter().filter_map(|meta| Some((Slice::of_key(&meta.key, zone)?, meta)));
            objects.extend(slices);
        }
        objects.retain(|(slice, _)| slice.span().overlaps(span));
        Ok(Self { objects })
    }

    /// Those that have an instant in common with `span`.
    fn overlapping(&self, span: Span) -> Vec<ObjectMeta> {
        let objects = self.objects.iter().take_while(|(slice, _)| slice.first_ms <= span.last_ms);
        let overlapping = objects.filter(|(slice, _)| slice.span().overlaps(span));
        overlapping.map(|(_, meta)| meta.clone()).collect()
    }

    /// The accelerometer objects that a step trainer object of so many rows is joined with.
    fn motions(&self, slice: Slice, rows: u64) -> Vec<ObjectMeta> {
        if rows == 0 { Vec::new() } else { self.overlapping(slice.span()) }
    }
}

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
    let noted: Vec<(Slice, Target)> = stream::iter(slices)
        .map(|slice| async move {
            let target = Target::note(lake, slice.key(layout::CURATED_MACHINE_LEARNING)).await?;
            Ok::<_, Error>((slice, target))
        })
        .buffered(lake.bounds.concurrency)
        .try_collect()
        .await?;
    let day = Day::list(lake, layout::TRUSTED_ACCELEROMETER, first.date, hull).await?;
    let inputs = &Inputs {
        spans: noted.iter().map(|(slice, _)| slice.span()).collect(),
        day,
        together: OnceCell::new(),
    };
    // One that cannot be derived does not cost its neighbours.
    let derived: Vec<(Slice, Result<Option<Report>, Error>)> = stream::iter(noted)
        .map(|(slice, target)| async move { (slice, derive(lake, slice, target, inputs).await) })
        .buffered(lake.bounds.concurrency)
        .collect()
        .await;
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

/// What the slices of a day are derived from, as it was listed once for all of them.
struct Inputs {
    /// Of the slices.
    spans: Vec<Span>,
    /// The accelerometer objects.
    day: Day,
    /// The readings of those that overlap any of the slices; `None` if they are too many, if one
    /// moved, or if one cannot be read: whoever needs that one reads it again, and says so.
    together: OnceCell<Option<Motions>>,
}

/// Of the memory for documents, the share that encoded readings may have which are put together:
/// decoded they take some fifteen times as much, and up to as much again in one order of time.
const TOGETHER_SHARE: u64 = 24;

impl Inputs {
    /// The accelerometer readings of the day; whoever asks first puts them together.
    async fn together(&self, lake: &Lake) -> Option<&Motions> {
        let put_together = || async { self.put_together(lake).await.ok().flatten() };
        self.together.get_or_init(put_together).await.as_ref()
    }

    async fn put_together(&self, lake: &Lake) -> Result<Option<Motions>, Error> {
        let overlaps = |slice: &Slice| self.spans.iter().any(|span| span.overlaps(slice.span()));
        let objects = self.day.objects.iter().filter(|(slice, _)| overlaps(slice));
        let listed: Vec<ObjectMeta> = objects.map(|(_, meta)| meta.clone()).collect();
        let size_bytes: u64 = listed.iter().map(|meta| meta.size_bytes).sum();
        let is_small = |meta: &ObjectMeta| meta.size_bytes <= lake.bounds.small_bytes_max;
        if TOGETHER_SHARE * size_bytes > lake.bounds.cache_bytes_max as u64
            || !listed.iter().all(is_small)
        {
            return Ok(None);
        }
        let opened: Vec<Option<Input>> = open_each(lake, listed).try_collect().await?;
        let opened: Option<Vec<Input>> = opened.into_iter().collect();
        let Some(opened) = opened else { return Ok(None) };
        if opened.iter().any(|input| input.opened.value.is_large()) {
            return Ok(None);
        }
        let mut batches = Vec::with_capacity(opened.len());
        for input in &opened {
            let Some(batch) = input.read(lake, 0).await? else { return Ok(None) };
            batches.push(batch);
        }
        Motions::merged(&batches).map(Some).map_err(join::failed)
    }
}

/// Derives a slice; `None` if something moved.
async fn derive(
    lake: &Lake,
    slice: Slice,
    target: Target,
    inputs: &Inputs,
) -> Result<Option<Report>, Error> {
    let key = slice.key(layout::TRUSTED_STEP_TRAINER);
    let Some(steps) = object::note(lake, &key).await? else {
        return Ok(Some(Report::default()));
    };
    let motions = inputs.day.motions(slice, steps.rows);
    let version = version(lake, &steps.etag, &motions);
    let mut report = Report::default();
    let settled = match target.settled(&version, &mut report) {
        Some(settled) => Some(settled),
        None => {
            let Some(steps) = Input::open(lake, steps.meta(key)).await? else { return Ok(None) };
            join_all(lake, &target, version, &steps, motions, inputs, &mut report).await?
        }
    };
    let Some(settled) = settled else { return Ok(None) };
    let table = &MACHINE_LEARNING_CURATED;
    partitions::settle(lake, table, slice.date, &target.key, settled.occupancy).await?;
    Ok(Some(report))
}

/// Writes a target from its inputs; `None` if it, or one of them, moved.
async fn join_all(
    lake: &Lake,
    target: &Target,
    version: Version,
    steps: &Input,
    motions: Vec<ObjectMeta>,
    inputs: &Inputs,
    report: &mut Report,
) -> Result<Option<Settled>, Error> {
    if !motions.is_empty()
        && let Some(together) = inputs.together(lake).await
    {
        match join::together(lake, target, version.clone(), steps, together, report).await? {
            Joined::Settled(settled) => return Ok(Some(settled)),
            Joined::Moved => return Ok(None),
            Joined::TooMany => {}
        }
    }
    join::apart(lake, target, version, steps, &motions, report).await
}

/// An object the rows are made of.
struct Input {
    key: ObjectKey,
    opened: Versioned<Opened>,
}

impl Input {
    /// Opens an object that was listed; `None` if it moved since.
    async fn open(lake: &Lake, listed: ObjectMeta) -> Result<Option<Self>, Error> {
        let opened = object::open(lake, &listed).await?;
        let unmoved = opened.filter(|opened| opened.etag == listed.etag);
        Ok(unmoved.map(|opened| Self { key: listed.key, opened }))
    }

    /// A row group; `None` if the object moved.
    async fn read(&self, lake: &Lake, group: usize) -> Result<Option<RecordBatch>, Error> {
        object::read_group(lake, &self.key, &self.opened, group).await
    }
}

/// Opens accelerometer objects of a listing, a few at a time; `None` for one that moved since.
fn open_each(
    lake: &Lake,
    motions: Vec<ObjectMeta>,
) -> impl Stream<Item = Result<Option<Input>, Error>> {
    stream::iter(motions).map(|listed| Input::open(lake, listed)).buffered(lake.bounds.concurrency)
}

/// The device of each curated person who ever had one of some devices.
async fn owners(lake: &Lake, devices: &BTreeSet<KeyHash>) -> Result<Owners, Error> {
    let people = Index::new(lake, layout::DEVICES).find(devices).await?;
    let wanted = people.into_values().flatten();
    let owners = slim::rows::<OwnerRow>(lake, layout::owners, wanted).await?;
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
