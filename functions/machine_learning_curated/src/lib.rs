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
//! there is room for at once, and the pairs are made in the order of the rows: so they are encoded as
//! they come, however many they are. Else it goes object by object and row group by row group, so that
//! memory is bounded by a few objects and what may be held of the pairs.
//!
//! Why no slow write wins over a newer one: the target is noted before its inputs are read, carries
//! their versions, and those never come back, since they carry revisions themselves.

mod join;
mod motions;
mod transform;
mod unfinished;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::RecordBatch;
use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use lake::derivation::{Settled, Target};
use lake::error::Error;
use lake::function::{Function, Plan};
use lake::index::Index;
use lake::key::{ETag, KeyHash, ObjectKey, VersionDigest};
use lake::lake::{Lake, Room, Settings, Versioned};
use lake::landing::row_bytes;
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
pub use self::transform::{Naming, Owners, Pairs, Steps};

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

    /// The numbers of those that have an instant in common with `span`.
    fn overlapping(&self, span: Span) -> impl Iterator<Item = usize> {
        let objects = self.objects.iter().enumerate();
        let objects = objects.take_while(move |(_, (slice, _))| slice.first_ms <= span.last_ms);
        let overlapping = objects.filter(move |(_, (slice, _))| slice.span().overlaps(span));
        overlapping.map(|(number, _)| number)
    }

    /// What was listed of one.
    fn meta(&self, number: usize) -> &ObjectMeta {
        &self.objects[number].1
    }

    /// The accelerometer objects that a step trainer object of so many rows is joined with.
    fn motions(&self, slice: Slice, rows: u64) -> Vec<ObjectMeta> {
        if rows == 0 {
            return Vec::new();
        }
        self.overlapping(slice.span()).map(|number| self.meta(number).clone()).collect()
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
    let day = Arc::new(Day::list(lake, layout::TRUSTED_ACCELEROMETER, first.date, hull).await?);
    // One that cannot be derived does not cost its neighbours.
    let mut derived: Vec<(Slice, Result<Option<Report>, Error>)> = Vec::new();
    for Group { slices, inputs } in Group::all(lake, &day, noted) {
        let inputs = &inputs;
        let derive =
            |(slice, target)| async move { (slice, derive(lake, slice, target, inputs).await) };
        let slices = stream::iter(slices).map(derive).buffered(lake.bounds.concurrency);
        derived.extend(slices.collect::<Vec<_>>().await);
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

/// Slices of a day that are derived from readings which are put together once for all of them; or those
/// of which each has too many.
struct Group {
    slices: Vec<(Slice, Target)>,
    inputs: Inputs,
}

/// What slices of a day are derived from, as it was listed once for all of the day.
struct Inputs {
    day: Arc<Day>,
    /// Accelerometer objects that overlap any of the slices, by their numbers in the listing.
    objects: BTreeSet<usize>,
    /// Their size, bytes, if their readings may be put together: those of each slice then, and of all.
    size_bytes: Option<u64>,
    /// Their readings, if they could be.
    together: OnceCell<Option<Together>>,
}

impl Group {
    /// Slices in the order of their times, so that those that share objects are near each other.
    fn all(lake: &Lake, day: &Arc<Day>, slices: Vec<(Slice, Target)>) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for (slice, target) in slices {
            let own: Vec<usize> = day.overlapping(slice.span()).collect();
            let size_bytes = few_bytes(lake, own.iter().map(|number| day.meta(*number)));
            if let Some(group) = groups.last_mut()
                && group.inputs.take(lake, &own, size_bytes)
            {
                group.slices.push((slice, target));
                continue;
            }
            let inputs = Inputs {
                day: Arc::clone(day),
                objects: own.into_iter().collect(),
                size_bytes,
                together: OnceCell::new(),
            };
            groups.push(Self { slices: vec![(slice, target)], inputs });
        }
        groups
    }
}

impl Inputs {
    /// Takes those of another slice too, if all may be put together then; or if none may.
    fn take(&mut self, lake: &Lake, own: &[usize], own_bytes: Option<u64>) -> bool {
        match (self.size_bytes, own_bytes) {
            (Some(size_bytes), Some(_)) => {
                let others = own.iter().filter(|number| !self.objects.contains(number));
                let others_bytes: u64 = others.map(|it| self.day.meta(*it).size_bytes).sum();
                let size_bytes = size_bytes + others_bytes;
                if size_bytes > together_bytes_max(lake) {
                    return false;
                }
                self.size_bytes = Some(size_bytes);
                self.objects.extend(own);
                true
            }
            (None, None) => true,
            _ => false,
        }
    }

    /// The readings of all the slices' objects; whoever asks first puts them together. `None` if one of
    /// these moved, or cannot be read.
    async fn together(&self, lake: &Lake) -> Option<&Together> {
        let put_together = || async {
            let listed = self.objects.iter().map(|number| self.day.meta(*number).clone());
            match PutTogether::of(lake, listed.collect()).await {
                Ok(PutTogether::Done(together)) => Some(together),
                _ => None,
            }
        };
        self.together.get_or_init(put_together).await.as_ref()
    }
}

/// Of the memory for documents, the share that encoded readings may have which are put together:
/// decoded they take some fifteen times as much, and up to as much again in one order of time.
const TOGETHER_SHARE: u64 = 24;

/// Memory that a reading takes which is put together, bytes, about.
const MOTION_BYTES: u64 = 96;

fn together_bytes_max(lake: &Lake) -> u64 {
    lake.bounds.cache_bytes_max as u64 / TOGETHER_SHARE
}

/// The size of objects whose readings may be put together, bytes; `None` if these are too many.
fn few_bytes<'a>(lake: &Lake, listed: impl Iterator<Item = &'a ObjectMeta>) -> Option<u64> {
    let small = |meta: &ObjectMeta| {
        (meta.size_bytes <= lake.bounds.small_bytes_max).then_some(meta.size_bytes)
    };
    let size_bytes = listed.map(small).sum::<Option<u64>>()?;
    (size_bytes <= together_bytes_max(lake)).then_some(size_bytes)
}

/// Readings of some objects that were put together, and the room they take.
struct Together {
    motions: Motions,
    _room: Room,
}

/// What came of putting the readings of some objects together.
enum PutTogether {
    /// They are.
    Done(Together),
    /// One of the objects moved.
    Moved,
    /// There are too many.
    TooMany,
}

impl PutTogether {
    async fn of(lake: &Lake, listed: Vec<ObjectMeta>) -> Result<Self, Error> {
        let size_bytes = listed.iter().map(|meta| meta.size_bytes).sum();
        let room = lake.room_together(size_bytes, together_bytes_max(lake)).await;
        let opened: Vec<Option<Input>> = open_each(lake, listed).try_collect().await?;
        let opened: Option<Vec<Input>> = opened.into_iter().collect();
        let Some(opened) = opened else { return Ok(Self::Moved) };
        let bytes_max = lake.bounds.cache_bytes_max as u64;
        let rows: u64 = opened.iter().map(|input| input.opened.value.rows).sum();
        if rows * MOTION_BYTES > bytes_max {
            return Ok(Self::TooMany);
        }
        let (mut batches, mut bytes) = (Vec::with_capacity(opened.len()), 0);
        for input in &opened {
            match input.read_all(lake, bytes_max - bytes).await? {
                Read::All(read, size) => {
                    batches.extend(read);
                    bytes += size;
                }
                Read::Moved => return Ok(Self::Moved),
                Read::TooMuch => return Ok(Self::TooMany),
            }
        }
        let motions = Motions::merged(&batches, join::naming(lake)).map_err(join::failed)?;
        Ok(Self::Done(Together { motions, _room: room }))
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
///
/// In which way depends on these inputs alone, and not on what else is derived at the same time: row
/// groups begin elsewhere in the other.
async fn join_all(
    lake: &Lake,
    target: &Target,
    version: Version,
    steps: &Input,
    motions: Vec<ObjectMeta>,
    inputs: &Inputs,
    report: &mut Report,
) -> Result<Option<Settled>, Error> {
    if !motions.is_empty() && inputs.size_bytes.is_some() {
        let own;
        let together = match inputs.together(lake).await {
            Some(together) => Some(together),
            None => {
                own = PutTogether::of(lake, motions.clone()).await?;
                match &own {
                    PutTogether::Done(own) => Some(own),
                    PutTogether::Moved => return Ok(None),
                    PutTogether::TooMany => None,
                }
            }
        };
        if let Some(Together { motions, .. }) = together {
            match join::together(lake, target, version.clone(), steps, motions, report).await? {
                Joined::Settled(settled) => return Ok(Some(settled)),
                Joined::Moved => return Ok(None),
                Joined::TooMany => {}
            }
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

    /// All row groups, each of which is sorted by time, unless they take more than so much memory.
    async fn read_all(&self, lake: &Lake, bytes_max: u64) -> Result<Read, Error> {
        let (mut read, mut bytes) = (Vec::new(), 0);
        for group in 0..self.opened.value.groups() {
            let Some(batch) = self.read(lake, group).await? else { return Ok(Read::Moved) };
            bytes += row_bytes(&batch);
            if bytes > bytes_max {
                return Ok(Read::TooMuch);
            }
            read.push(batch);
        }
        Ok(Read::All(read, bytes))
    }
}

/// What came of reading an object whole.
enum Read {
    /// Its row groups, and the memory they take, bytes.
    All(Vec<RecordBatch>, u64),
    /// It moved.
    Moved,
    /// It takes too much memory.
    TooMuch,
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
