//! Readings from landing to trusted: what accelerometer and step trainer have in common.
//!
//! For each landing object: read it, publish its manifest, look up whom the register covers, and
//! write one object a day with the rows admitted. The rule itself, whom it covers and from when,
//! is the function's.
//!
//! Why no write brings back what a newer one took away: the target is noted before the landing
//! object is looked at again and before the register is read, and it carries the manifest's
//! sequence and the revisions it was derived from. Both only grow. So whoever writes over a target
//! has read inputs at least as new as those the target was derived from, or the write fails.

mod unfinished;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{RecordBatch, UInt32Array};
use arrow_ord::sort::{SortColumn, lexsort_to_indices};
use arrow_schema::ArrowError;
use arrow_select::concat::concat_batches;
use arrow_select::take::take_record_batch;
use serde::{Deserialize, Serialize};

use crate::derivation::Target;
use crate::error::Error;
use crate::function::{Function, Plan};
use crate::key::{KeyHash, LakeKey, ObjectKey, Part, Revision, Source, VersionDigest};
use crate::lake::{Lake, Put};
use crate::landing::{self, Landed};
use crate::layout::{self, ReadingDate, Slice, Span};
use crate::manifest::{self, Content, Found};
use crate::object::{Ledger, Version};
use crate::report::Report;
use crate::tables::{Stream, Table};
use crate::{partitions, quarantine};

/// What a function says of the readings it admits.
pub trait Rule: Send + Sync {
    /// Name of the function.
    const NAME: &'static str;
    /// The feed it reads.
    const STREAM: Stream;
    /// The table it writes.
    const TABLE: &'static Table;
    /// Column that says whose reading it is.
    const KEY_COLUMN: &'static str;
    /// Column that says when it was recorded, epoch milliseconds.
    const TIME_COLUMN: &'static str;
    /// Zone of the customer table whose parts announce changes of the register.
    const REGISTER_ZONE: &'static str;

    /// Hash of a key, as the register has it.
    fn hash(key: &LakeKey, text: &str) -> KeyHash;

    /// What the rule's outcome depends on beside the data, for the version of what it writes.
    fn policies(lake: &Lake) -> String;

    /// Whom the register covers now, and from when; of `keys` at least.
    fn coverage(
        lake: &Lake,
        keys: &BTreeSet<KeyHash>,
    ) -> impl Future<Output = Result<Coverage, Error>> + Send;

    /// The keys that changed in a part of the register above a revision, and the part's revision.
    fn changed(
        lake: &Lake,
        part: Part,
        above: Revision,
    ) -> impl Future<Output = Result<(Revision, BTreeSet<KeyHash>), Error>> + Send;
}

/// Whose readings are admitted, and from when.
pub type Coverage = BTreeMap<KeyHash, Cover>;

/// What the register says of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cover {
    /// Readings recorded at or after this time are admitted, epoch milliseconds; `None`: none are.
    pub from_ms: Option<i64>,
    /// The register's rows that say so, with their revisions; empty where it knows nothing.
    pub evidence: Vec<(KeyHash, Revision)>,
}

/// Up to which revision of a register part everything is derived, or has a replay marker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Of the register part.
    pub revision: Revision,
}

/// What to record after the work.
#[derive(Clone, Debug)]
pub enum Settle {
    /// The part of the register was applied up to this revision.
    Applied(Part, Revision),
    /// The marker's landing object was looked at.
    Replayed(ObjectKey),
}

/// A function that admits readings by a rule.
pub struct Readings<R>(pub R);

impl<R: Rule> Function for Readings<R> {
    type Unit = ObjectKey;
    type Detail = ();
    type Settle = Settle;

    fn name(&self) -> &'static str {
        R::NAME
    }

    async fn plan(
        &self,
        lake: &Lake,
        key: &ObjectKey,
    ) -> Result<Plan<ObjectKey, (), Settle>, Error> {
        if key.after(layout::landing(R::STREAM)).is_some() {
            return Ok(Plan::unit(key.clone()));
        }
        if let Some(landing) = layout::replayed(key) {
            if landing.after(layout::landing(R::STREAM)).is_none() {
                return Ok(Plan::nothing());
            }
            let settle = Some(Settle::Replayed(key.clone()));
            return Ok(Plan { settle, ..Plan::unit(landing) });
        }
        match layout::part_of_key(key, R::REGISTER_ZONE) {
            Some(part) => catch_up::<R>(lake, part).await,
            None => Ok(Plan::nothing()),
        }
    }

    async fn work(&self, lake: &Lake, landing: &ObjectKey, _: Vec<()>) -> Result<Report, Error> {
        lake.register(R::TABLE).await?;
        lake.register(landing_table(R::STREAM)).await?;
        derive::<R>(lake, landing).await
    }

    async fn unfinished(&self, lake: &Lake) -> Result<Vec<ObjectKey>, Error> {
        unfinished::find::<R>(lake).await
    }

    async fn settle(&self, lake: &Lake, settle: Settle) -> Result<(), Error> {
        match settle {
            Settle::Applied(part, revision) => apply::<R>(lake, part, revision).await,
            Settle::Replayed(marker) => Ok(lake.store.delete(&marker).await?),
        }
    }
}

/// The table over a stream's landing zone.
pub fn landing_table(stream: Stream) -> &'static Table {
    match stream {
        Stream::Customer => &crate::tables::CUSTOMER_LANDING,
        Stream::Accelerometer => &crate::tables::ACCELEROMETER_LANDING,
        Stream::StepTrainer => &crate::tables::STEP_TRAINER_LANDING,
    }
}

/// A part of the register changed: finds the landing objects with the keys that did. Few are
/// derived at once; for many, markers fan the work out.
async fn catch_up<R: Rule>(lake: &Lake, part: Part) -> Result<Plan<ObjectKey, (), Settle>, Error> {
    let applied = lake.load::<Applied>(&layout::applied(R::STREAM, part)).await?;
    let above = applied.map_or(Revision(0), |applied| applied.value.revision);
    let (revision, keys) = R::changed(lake, part, above).await?;
    let manifests = manifest::naming(lake, R::STREAM, &keys).await?;
    let mut plan = Plan::nothing();
    if revision > above {
        plan.settle = Some(Settle::Applied(part, revision));
    }
    let landings = manifests.values().map(|manifest| &manifest.value.landing);
    if manifests.len() <= lake.bounds.inline_max {
        plan.units = landings.map(|landing| (landing.clone(), Vec::new())).collect();
        return Ok(plan);
    }
    for landing in landings {
        lake.mark(&layout::replay(part, revision, landing)).await?;
        plan.report.replays += 1;
    }
    Ok(plan)
}

async fn apply<R: Rule>(lake: &Lake, part: Part, revision: Revision) -> Result<(), Error> {
    let key = layout::applied(R::STREAM, part);
    for _ in 0..lake.bounds.attempts_max {
        let noted = lake.load::<Applied>(&key).await?;
        if noted.as_ref().is_some_and(|noted| noted.value.revision >= revision) {
            return Ok(());
        }
        let etag = noted.as_ref().map(|noted| &noted.etag);
        if let Put::Done(_) = lake.save(&key, &Applied { revision }, etag).await? {
            return Ok(());
        }
    }
    Err(contended(lake, format!("record {key}"), "the applied revision"))
}

fn contended(lake: &Lake, what: String, moved: &str) -> Error {
    Error::Contended { what, moved: moved.to_owned(), attempts: lake.bounds.attempts_max }
}

/// Derives everything that follows from a landing object as it is now, be it there or gone.
async fn derive<R: Rule>(lake: &Lake, landing: &ObjectKey) -> Result<Report, Error> {
    let mut moved = "";
    for attempt in 0..lake.bounds.attempts_max {
        match attempt_derive::<R>(lake, landing).await? {
            Ok(mut report) => {
                report.conflicts = attempt as u64;
                return Ok(report);
            }
            Err(what) => moved = what,
        }
    }
    Err(contended(lake, format!("derive {} from {landing}", R::TABLE.name), moved))
}

/// One attempt; the inner error says what moved.
async fn attempt_derive<R: Rule>(
    lake: &Lake,
    landing: &ObjectKey,
) -> Result<Result<Report, &'static str>, Error> {
    let landed = landing::read(lake, R::STREAM, landing).await?;
    let readings = Sorted::of::<R>(lake, landing, &landed)?;
    let Some(manifest) = manifest::publish(lake, R::STREAM, landing, &readings.found).await? else {
        return Ok(Err("the manifest"));
    };
    let mut targets = Vec::new();
    for (slice, wanted) in &manifest.slices {
        let target = Target::note(lake, slice.key(R::TABLE.location)).await?;
        let day = readings.days.get(&slice.date).filter(|_| *wanted);
        targets.push((slice.date, target, day));
    }
    if lake.store.head(landing).await?.map(|meta| meta.etag) != landed.version {
        return Ok(Err("the landing object"));
    }
    if manifest.had_fragments
        && quarantine::derive(lake, R::STREAM, landing, &landed).await? == Put::Moved
    {
        return Ok(Err("the quarantine"));
    }
    let coverage = R::coverage(lake, &readings.found.keys.keys().copied().collect()).await?;

    let mut report = Report {
        records: landed.summary.rows + landed.summary.fragments,
        source_bytes: landed.summary.source_bytes,
        quarantined: landed.summary.fragments,
        ..Report::default()
    };
    for (date, target, day) in &targets {
        let version = Version {
            rule: format!("{} {}", R::TABLE.name, R::policies(lake)),
            source: manifest.sequence.to_string(),
            digest: day.map_or_else(String::new, |day| readings.digest(day, &coverage)),
        };
        let rows = || match day {
            Some(day) => readings.admit::<R>(day, &coverage),
            None => Ok((RecordBatch::new_empty(R::TABLE.schema()), Ledger::default())),
        };
        let written = target.write(lake, R::TABLE, version, rows, &mut report).await?;
        let Some(settled) = written else { return Ok(Err("the target")) };
        report.count(&settled.ledger);
        partitions::settle(lake, R::TABLE, *date, &target.key, settled.occupancy).await?;
    }
    Ok(Ok(report))
}

/// The readings of a landing object, sorted by day and key.
struct Sorted {
    found: Found,
    chunks: Vec<Chunk>,
    keys: Vec<KeyHash>,
    days: BTreeMap<ReadingDate, Day>,
}

/// Readings as they were decoded, with the number of each one's key.
struct Chunk {
    batch: RecordBatch,
    keys: Vec<u32>,
}

/// The readings of a day.
struct Day {
    span: Span,
    keys: BTreeSet<KeyHash>,
    /// Chunk and rows, in the order of the landing object.
    rows: Vec<(usize, Vec<u32>)>,
}

impl Sorted {
    fn of<R: Rule>(lake: &Lake, landing: &ObjectKey, landed: &Landed) -> Result<Self, Error> {
        let mut sorted = Self {
            found: Found {
                content: Content::of(landed),
                keys: BTreeMap::new(),
                slices: BTreeSet::new(),
            },
            chunks: Vec::new(),
            keys: Vec::new(),
            days: BTreeMap::new(),
        };
        let mut numbers: HashMap<String, u32> = HashMap::new();
        for batch in &landed.batches {
            sorted.add::<R>(lake, batch, &mut numbers);
        }
        let source = Source::of(landing);
        sorted.found.slices =
            sorted.days.iter().map(|(date, day)| day.slice(*date, source)).collect();
        Ok(sorted)
    }

    fn add<R: Rule>(
        &mut self,
        lake: &Lake,
        batch: &RecordBatch,
        numbers: &mut HashMap<String, u32>,
    ) {
        let (Some(owners), Some(times)) =
            (batch.column_by_name(R::KEY_COLUMN), batch.column_by_name(R::TIME_COLUMN))
        else {
            return;
        };
        let (owners, times) = (owners.as_string::<i32>(), times.as_primitive::<Int64Type>());
        let chunk_number = self.chunks.len();
        let mut keys = Vec::with_capacity(batch.num_rows());
        let mut last: Option<(&str, u32)> = None;
        for (row, time_ms) in times.values().iter().copied().enumerate() {
            let owner = owners.value(row);
            let number = match last {
                Some((same, number)) if same == owner => number,
                _ => self.number::<R>(lake, owner, numbers),
            };
            last = Some((owner, number));
            keys.push(number);
            let hash = self.keys[number as usize];
            self.found.keys.entry(hash).or_insert(Span::at(time_ms)).include(time_ms);
            let Some(date) = ReadingDate::of(time_ms) else { continue };
            let day = self.days.entry(date).or_insert_with(|| Day {
                span: Span::at(time_ms),
                keys: BTreeSet::new(),
                rows: Vec::new(),
            });
            day.add(chunk_number, row as u32, time_ms, hash);
        }
        self.chunks.push(Chunk { batch: batch.clone(), keys });
    }

    fn number<R: Rule>(
        &mut self,
        lake: &Lake,
        owner: &str,
        numbers: &mut HashMap<String, u32>,
    ) -> u32 {
        if let Some(number) = numbers.get(owner) {
            return *number;
        }
        let number = self.keys.len() as u32;
        self.keys.push(R::hash(&lake.key, owner));
        numbers.insert(owner.to_owned(), number);
        number
    }

    /// Digest of what the register says of the keys of a day.
    fn digest(&self, day: &Day, coverage: &Coverage) -> String {
        let mut digest = VersionDigest::new();
        for key in &day.keys {
            digest.revision(key, Revision(0));
            for (row, revision) in coverage.get(key).into_iter().flat_map(|cover| &cover.evidence) {
                digest.revision(row, *revision);
            }
        }
        digest.finish()
    }

    /// The admitted rows of a day, in an order that depends on the rows alone.
    fn admit<R: Rule>(
        &self,
        day: &Day,
        coverage: &Coverage,
    ) -> Result<(RecordBatch, Ledger), Error> {
        let failed = |error: ArrowError| Error::Encode {
            what: R::TABLE.name.to_owned(),
            source: error.into(),
        };
        let from: Vec<Option<i64>> =
            self.keys.iter().map(|key| coverage.get(key).and_then(|cover| cover.from_ms)).collect();
        let mut ledger = Ledger::default();
        let mut admitted = Vec::new();
        for (number, rows) in &day.rows {
            let chunk = &self.chunks[*number];
            let Some(times) = chunk.batch.column_by_name(R::TIME_COLUMN) else { continue };
            let times = times.as_primitive::<Int64Type>();
            let kept: UInt32Array = rows
                .iter()
                .copied()
                .filter(|row| match from[chunk.keys[*row as usize] as usize] {
                    None => {
                        ledger.held_no_consent += 1;
                        false
                    }
                    Some(from_ms) if times.value(*row as usize) < from_ms => {
                        ledger.held_before_consent += 1;
                        false
                    }
                    Some(_) => true,
                })
                .collect();
            ledger.records += rows.len() as u64;
            ledger.admitted += kept.len() as u64;
            admitted.push(take_record_batch(&chunk.batch, &kept).map_err(failed)?);
        }
        let batch = concat_batches(&R::TABLE.schema(), &admitted).map_err(failed)?;
        Ok((sorted_by(&batch, R::TIME_COLUMN).map_err(failed)?, ledger))
    }
}

impl Day {
    fn add(&mut self, chunk: usize, row: u32, time_ms: i64, key: KeyHash) {
        self.span.include(time_ms);
        self.keys.insert(key);
        match self.rows.last_mut() {
            Some((last, rows)) if *last == chunk => rows.push(row),
            _ => self.rows.push((chunk, vec![row])),
        }
    }

    fn slice(&self, date: ReadingDate, source: Source) -> Slice {
        let Span { first_ms, last_ms } = self.span;
        Slice { date, first_ms, last_ms, source }
    }
}

/// Sorts rows by time, then by every other column: an order that does not depend on how they came.
pub fn sorted_by(batch: &RecordBatch, time_column: &str) -> Result<RecordBatch, ArrowError> {
    let time = batch.schema().index_of(time_column)?;
    let others = (0..batch.num_columns()).filter(|column| *column != time);
    let columns: Vec<SortColumn> = std::iter::once(time)
        .chain(others)
        .map(|column| SortColumn { values: batch.column(column).clone(), options: None })
        .collect();
    take_record_batch(batch, &lexsort_to_indices(&columns, None)?)
}
