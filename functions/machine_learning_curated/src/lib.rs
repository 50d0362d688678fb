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

mod join;
mod motions;
mod rows;
mod stretches;
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
use lake::object::{self, Ledger, Opened, Version};
use lake::partitions;
use lake::registers::{OwnerRow, slim};
use lake::report::Report;
use lake::store::{ObjectMeta, Pages};
use lake::tables::MACHINE_LEARNING_CURATED;
use tokio::sync::OnceCell;

use self::motions::MOTION_TIME;
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

    /// The time range of one.
    fn span(&self, number: usize) -> Span {
        self.objects[number].0.span()
    }

    /// The first stretch of a span of which the objects have so many bytes, if their readings lie evenly
    /// in their time ranges: a millisecond at the least.
    fn stretch(&self, all: Span, bytes_max: u64) -> Span {
        first_stretch(all, bytes_max, |stretch| {
            self.overlapping(stretch).map(|number| self.bytes_within(number, stretch)).sum()
        })
    }

    /// The share that a stretch has of the bytes of one.
    fn bytes_within(&self, number: usize, stretch: Span) -> u64 {
        share(self.meta(number).size_bytes, self.span(number), stretch)
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

/// The first stretch of a span that has so many of something: a millisecond at the least.
fn first_stretch(all: Span, max: u64, of: impl Fn(Span) -> u64) -> Span {
    let until = |last_ms| Span { last_ms, ..all };
    let mut last = all;
    while let Some([first, second]) = last.halves() {
        last = if of(until(second.first_ms)) > max { first } else { second };
    }
    until(last.first_ms)
}

/// The share that a stretch has of what lies evenly in a span.
fn share(count: u64, span: Span, stretch: Span) -> u64 {
    let Some(common) = span.common(stretch) else { return 0 };
    let share = u128::from(count) * u128::from(common.length_ms());
    u64::try_from(share / u128::from(span.length_ms())).unwrap_or(count)
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

/// Slices of a day that are derived from readings which are put together once for all of them: at once,
/// or stretch by stretch where each of them has too many.
struct Group {
    slices: Vec<(Slice, Target)>,
    inputs: Inputs,
}

/// What slices of a day are derived from, as it was listed once for all of the day.
struct Inputs {
    day: Arc<Day>,
    /// Accelerometer objects that overlap any of the slices, by their numbers in the listing.
    objects: BTreeSet<usize>,
    size: Size,
    /// Their readings, if they could be put together at once.
    together: OnceCell<Option<Together>>,
}

/// How large accelerometer objects are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    /// Their readings may be put together at once.
    Few { bytes: u64 },
    /// They are too many, of small objects, or of some that are not.
    Many { are_small: bool },
}

impl Size {
    fn of<'a>(lake: &Lake, listed: impl Iterator<Item = &'a ObjectMeta>) -> Self {
        let (mut bytes, mut are_small) = (0, true);
        for meta in listed {
            bytes += meta.size_bytes;
            are_small &= meta.size_bytes <= lake.bounds.small_bytes_max;
        }
        match are_small && bytes <= together_bytes_max(lake) {
            true => Self::Few { bytes },
            false => Self::Many { are_small },
        }
    }
}

impl Group {
    /// Slices in the order of their times, so that those that share objects are near each other.
    fn all(lake: &Lake, day: &Arc<Day>, slices: Vec<(Slice, Target)>) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for (slice, target) in slices {
            let own: Vec<usize> = day.overlapping(slice.span()).collect();
            let size = Size::of(lake, own.iter().map(|number| day.meta(*number)));
            if let Some(group) = groups.last_mut()
                && group.inputs.take(lake, &own, size)
            {
                group.slices.push((slice, target));
                continue;
            }
            let inputs = Inputs {
                day: Arc::clone(day),
                objects: own.into_iter().collect(),
                size,
                together: OnceCell::new(),
            };
            groups.push(Self { slices: vec![(slice, target)], inputs });
        }
        groups
    }
}

impl Inputs {
    /// Takes those of another slice too, if all may be put together then; or if none may.
    fn take(&mut self, lake: &Lake, own: &[usize], own_size: Size) -> bool {
        let (Size::Few { bytes }, Size::Few { .. }) = (self.size, own_size) else {
            return self.size == own_size;
        };
        let others = own.iter().filter(|number| !self.objects.contains(number));
        let others_bytes: u64 = others.map(|number| self.day.meta(*number).size_bytes).sum();
        let bytes = bytes + others_bytes;
        if bytes > together_bytes_max(lake) {
            return false;
        }
        self.size = Size::Few { bytes };
        self.objects.extend(own);
        true
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

/// Memory that a reading takes which is put in order, bytes, about.
const READING_BYTES: u64 = 96;

fn together_bytes_max(lake: &Lake) -> u64 {
    lake.bounds.cache_bytes_max as u64 / TOGETHER_SHARE
}

/// All times there are.
const ALWAYS: Span = Span { first_ms: i64::MIN, last_ms: i64::MAX };

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
        if rows * READING_BYTES > bytes_max {
            return Ok(Self::TooMany);
        }
        let (mut batches, mut bytes) = (Vec::with_capacity(opened.len()), 0);
        for input in &opened {
            match input.within(lake, MOTION_TIME, ALWAYS, bytes_max - bytes).await? {
                Read::All(read, size) => {
                    batches.extend(read);
                    bytes += size;
                }
                Read::Moved => return Ok(Self::Moved),
                Read::TooMuch => return Ok(Self::TooMany),
            }
        }
        let motions = Motions::merged(&batches, join::naming(lake)).map_err(rows::failed)?;
        Ok(Self::Done(Together { motions, _room: room }))
    }
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
    let Some(steps) = object::note(lake, &key).await? else {
        return Ok(Asked::Settled(Report::default()));
    };
    let motions = day.motions(slice, steps.rows);
    let version = version(lake, &steps.etag, &motions);
    let mut report = Report::default();
    let mut settled = target.settled(&version, &mut report);
    if settled.is_none() && motions.is_empty() {
        // Nothing is read for it, and nothing that cannot be read keeps it as it was.
        let table = &MACHINE_LEARNING_CURATED;
        let rows = || Ok((RecordBatch::new_empty(table.schema()), Ledger::default()));
        settled = target.write(lake, table, version.clone(), rows, &mut report).await?;
        if settled.is_none() {
            return Ok(Asked::Moved);
        }
    }
    if settled.is_some() {
        let settled = settle(lake, slice, target, settled, report).await?;
        return Ok(settled.map_or(Asked::Moved, Asked::Settled));
    }
    let steps = Input::open(lake, steps.meta(key)).await?;
    Ok(steps.map_or(Asked::Moved, |steps| Asked::Join { steps, version }))
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

    /// The row groups that may have rows of a time within a span.
    fn groups_within(&self, column: &str, span: Span) -> Vec<usize> {
        let opened = &self.opened.value;
        let within =
            |group: &usize| opened.span(*group, column).is_none_or(|known| known.overlaps(span));
        (0..opened.groups()).filter(within).collect()
    }

    /// The rows of a row group, which is sorted by a column of times, whose times lie in a span; `None`
    /// if the object moved.
    async fn group_within(
        &self,
        lake: &Lake,
        group: usize,
        column: &str,
        span: Span,
    ) -> Result<Option<RecordBatch>, Error> {
        object::read_within(lake, &self.key, &self.opened, group, column, span).await
    }

    /// The rows whose times lie in a span, unless they take more than so much memory: those of each row
    /// group, in the order of time.
    async fn within(
        &self,
        lake: &Lake,
        column: &str,
        span: Span,
        bytes_max: u64,
    ) -> Result<Read, Error> {
        // What the footer tells of row groups that are all within it is looked at first.
        let opened = &self.opened.value;
        let is_within =
            |group: &usize| opened.span(*group, column).is_some_and(|known| span.contains(known));
        let known: u64 =
            (0..opened.groups()).filter(is_within).map(|group| opened.group_rows(group)).sum();
        if known * READING_BYTES > bytes_max {
            return Ok(Read::TooMuch);
        }
        let (mut read, mut bytes) = (Vec::new(), 0);
        for group in self.groups_within(column, span) {
            let Some(batch) = self.group_within(lake, group, column, span).await? else {
                return Ok(Read::Moved);
            };
            if batch.num_rows() == 0 {
                continue;
            }
            bytes += row_bytes(&batch).max(batch.num_rows() as u64 * READING_BYTES);
            if bytes > bytes_max {
                return Ok(Read::TooMuch);
            }
            read.push(batch);
        }
        Ok(Read::All(read, bytes))
    }

    /// Those of them that are of some times, which are in order.
    async fn of_times(
        &self,
        lake: &Lake,
        column: &str,
        span: Span,
        times: &[i64],
        bytes_max: u64,
    ) -> Result<Read, Error> {
        let (mut read, mut bytes) = (Vec::new(), 0);
        for group in self.groups_within(column, span) {
            let Some(batch) = self.group_within(lake, group, column, span).await? else {
                return Ok(Read::Moved);
            };
            let batch = transform::of_times(&batch, column, times).map_err(rows::failed)?;
            if batch.num_rows() == 0 {
                continue;
            }
            bytes += row_bytes(&batch).max(batch.num_rows() as u64 * READING_BYTES);
            if bytes > bytes_max {
                return Ok(Read::TooMuch);
            }
            read.push(batch);
        }
        Ok(Read::All(read, bytes))
    }
}

/// What came of reading rows of an object.
enum Read {
    /// They, and the memory they take in order, bytes.
    All(Vec<RecordBatch>, u64),
    /// The object moved.
    Moved,
    /// They take too much memory.
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

#[cfg(test)]
mod tests {
    use lake::key::Source;

    use super::*;

    const FIRST_MS: i64 = 1_687_046_400_000;

    fn object(number: u64, first_ms: i64, last_ms: i64, size_bytes: u64) -> (Slice, ObjectMeta) {
        let source = Source::of(&ObjectKey::new(number.to_string()));
        let (first_ms, last_ms) = (FIRST_MS + first_ms, FIRST_MS + last_ms);
        let date = ReadingDate::of(FIRST_MS).unwrap();
        let slice = Slice { date, first_ms, last_ms, source };
        let key = slice.key(layout::TRUSTED_ACCELEROMETER);
        (slice, ObjectMeta { key, etag: ETag::new("e"), size_bytes })
    }

    #[test]
    fn a_stretch_is_as_long_as_there_is_room_for_its_readings() {
        let objects = vec![object(0, 0, 999, 1_000), object(1, 500, 999, 1_500)];
        let day = Day { objects };
        let stretch = |first_ms, last_ms, bytes_max| {
            let (first_ms, last_ms) = (FIRST_MS + first_ms, FIRST_MS + last_ms);
            day.stretch(Span { first_ms, last_ms }, bytes_max).last_ms - FIRST_MS
        };
        // A byte a millisecond, and from the middle on three more.
        assert_eq!(stretch(0, 2_000, 100), 99);
        assert_eq!(stretch(400, 2_000, 100), 499);
        assert_eq!(stretch(450, 2_000, 100), 511);
        assert_eq!(stretch(600, 2_000, 100), 624);
        assert_eq!(stretch(950, 2_000, 200), 2_000);
        assert_eq!(stretch(600, 610, 100), 610);
        assert_eq!(stretch(600, 2_000, 0), 600, "a millisecond at the least");
        assert_eq!(stretch(1_000, 2_000, 0), 2_000, "of which no object has one");
    }
}
