//! The compaction of a date, and its undoing.
//!
//! The catalog cannot be written under a condition: an update of a partition's location that was sent
//! arrives, however slow, and whatever became of the lake in between. So a generation (a copy of a
//! date, under a name that no other ever has) goes through three phases, noted in a document of the
//! date that is written under a condition:
//!
//! - *building*: its objects are being written. Nothing leads to them, and whoever finds it stale
//!   strikes it; its builder then cannot go on, and removes what it wrote.
//! - *switching*: it is whole, and was made of the objects as they were listed again. Its builder,
//!   and nobody else, sends one update, once. **Until that update has surely arrived or surely never
//!   will, the objects stay**: the builder knows by the answer; whoever sees the partition at the
//!   generation knows that it arrived; and if the builder died in between, nobody knows before
//!   [`LEASE_MS`] is over, which no invocation outlives.
//! - *switched*: the update arrived. Then the objects of the date are listed once more: what changed
//!   before that is seen here, what changes after it has its own event.
//!
//! A generation that is stale goes in this order: the partition is led back, the generation is struck
//! from the document, and its objects are removed, as is whatever the document does not name. A crash
//! at any place leaves what the same steps find, when the message is delivered again or a schedule
//! comes round.

use futures::stream::{self, StreamExt, TryStreamExt};
use lake::error::Error;
use lake::key::{ETag, VersionDigest};
use lake::lake::{Lake, Put};
use lake::layout::{self, Slice};
use lake::object;
use lake::report::Report;
use lake::store::{ObjectMeta, list_all};
use serde::{Deserialize, Serialize};
use tracing::info;

use crate::{Day, merge};

/// For how long a builder that is not heard of may still send its update: longer than Lambda lets an
/// invocation live (15 minutes), shorter than from one schedule to the next. Milliseconds.
const LEASE_MS: i64 = 30 * 60 * 1000;

/// Hex digits of a generation's name.
const NAME_DIGITS: usize = 32;

/// What a compaction of a date is doing, or has done.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Compaction {
    /// Number of the last generation. It only grows, so that no name comes back.
    sequence: u64,
    /// The generation there is.
    generation: Option<Generation>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Generation {
    name: String,
    phase: Phase,
    /// When it came to this phase, epoch milliseconds.
    noted_ms: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Phase {
    Building,
    Switching,
    Switched,
}

/// What is to become of a generation.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Stays,
    Switched,
    Goes,
}

impl Compaction {
    /// The name of the last generation, were it made of these objects.
    fn name_of(&self, objects: &[ObjectMeta]) -> String {
        let mut digest = VersionDigest::new();
        digest.field(&self.sequence.to_le_bytes());
        for object in objects {
            digest.field(object.key.as_str().as_bytes());
            digest.field(object.etag.as_str().as_bytes());
        }
        let mut name = digest.finish();
        name.truncate(NAME_DIGITS);
        name
    }

    /// The name of the generation there is.
    pub(crate) fn name(&self) -> Option<&str> {
        self.generation.as_ref().map(|generation| generation.name.as_str())
    }

    /// Where the generation is that there is.
    fn location(&self, day: Day) -> Option<String> {
        self.name().map(|name| location(day, name))
    }

    fn at(&self, name: String, phase: Phase, lake: &Lake) -> Self {
        let generation = Generation { name, phase, noted_ms: (lake.clock)() };
        Self { sequence: self.sequence, generation: Some(generation) }
    }

    fn struck(&self) -> Self {
        Self { sequence: self.sequence, generation: None }
    }

    /// Whether it is a compaction that came to its end, of the objects there are, with the partition
    /// leading to it.
    pub(crate) fn stands(&self, day: Day, objects: &[ObjectMeta], at: Option<&str>) -> bool {
        let Some(generation) = &self.generation else { return false };
        generation.phase == Phase::Switched
            && Some(location(day, &generation.name).as_str()) == at
            && generation.name == self.name_of(objects)
    }
}

impl Generation {
    /// What is to become of it, if the partition leads here or not, and its objects are of the date
    /// as it is now or not.
    fn verdict(&self, is_here: bool, is_fresh: bool, now_ms: i64) -> Verdict {
        let is_lost = now_ms.saturating_sub(self.noted_ms) >= LEASE_MS;
        match self.phase {
            Phase::Building if is_fresh && !is_lost => Verdict::Stays,
            Phase::Building => Verdict::Goes,
            Phase::Switching if is_here && is_fresh => Verdict::Switched,
            Phase::Switching if is_here || is_lost => Verdict::Goes,
            Phase::Switching => Verdict::Stays,
            Phase::Switched if is_here && is_fresh => Verdict::Stays,
            Phase::Switched => Verdict::Goes,
        }
    }
}

fn location(day: Day, name: &str) -> String {
    format!("{}{name}/", day.compacted())
}

/// The name of the generation that a key below the compacted copies of a day is of.
pub(crate) fn name_in(day_and_rest: &str) -> &str {
    day_and_rest.split('/').next().unwrap_or_default()
}

async fn objects(lake: &Lake, day: Day) -> Result<Vec<ObjectMeta>, Error> {
    let mut objects = list_all(lake.store.as_ref(), &day.folder()).await?;
    objects.retain(|object| Slice::of_key(&object.key, day.table().location).is_some());
    Ok(objects)
}

async fn load(lake: &Lake, day: Day) -> Result<Option<(Compaction, ETag)>, Error> {
    let found = lake.load::<Compaction>(&day.state()).await?;
    Ok(found.map(|found| (Compaction::clone(&found.value), found.etag)))
}

/// Sees to it that nothing stale is left of a date. One that was never compacted is only looked at
/// if it is `suspect`.
pub(crate) async fn settle(
    lake: &Lake,
    day: Day,
    suspect: bool,
    report: &mut Report,
) -> Result<(), Error> {
    for attempt in 0..lake.bounds.attempts_max {
        report.conflicts += u64::from(attempt > 0);
        let found = load(lake, day).await?;
        if found.is_none() && !suspect {
            return Ok(());
        }
        if attempt_settle(lake, day, found).await? {
            return remove_unnamed(lake, day).await;
        }
    }
    let what = format!("settle the compaction of {} {}", day.table().name, day.date);
    Err(lake.contended(what, day.state().as_str()))
}

/// One attempt; `false` if something moved.
async fn attempt_settle(
    lake: &Lake,
    day: Day,
    found: Option<(Compaction, ETag)>,
) -> Result<bool, Error> {
    let (noted, etag) = found.map_or((Compaction::default(), None), |(c, etag)| (c, Some(etag)));
    let table = day.table().name;
    let partition = lake.catalog.partition(table, day.date).await?;
    let at = partition.map(|partition| partition.location);
    let is_here = at.is_some() && at == noted.location(day);
    let astray = at.is_some_and(|at| at.starts_with(layout::COMPACTED)) && !is_here;
    if astray {
        // It leads to a generation that the document does not name, unless that moved since.
        if load(lake, day).await?.map(|(_, etag)| etag) != etag {
            return Ok(false);
        }
        lake.catalog.move_partition(table, day.date, &day.folder()).await?;
        return Ok(false);
    }
    let Some(generation) = &noted.generation else { return Ok(true) };
    let is_fresh = generation.name == noted.name_of(&objects(lake, day).await?);
    let next = match generation.verdict(is_here, is_fresh, (lake.clock)()) {
        Verdict::Stays => return Ok(true),
        Verdict::Switched => noted.at(generation.name.clone(), Phase::Switched, lake),
        Verdict::Goes => {
            if is_here {
                lake.catalog.move_partition(table, day.date, &day.folder()).await?;
            }
            noted.struck()
        }
    };
    Ok(lake.save(&day.state(), &next, etag.as_ref()).await? != Put::Moved)
}

/// Removes the objects of generations that the document does not name: nothing leads to them, and
/// never will.
///
/// The document is read after the listing: a generation is named before it has objects, so that one
/// that is listed and not named was struck.
async fn remove_unnamed(lake: &Lake, day: Day) -> Result<(), Error> {
    let prefix = day.compacted();
    let copies = list_all(lake.store.as_ref(), &prefix).await?;
    if copies.is_empty() {
        return Ok(());
    }
    let noted = load(lake, day).await?.map(|(noted, _)| noted).unwrap_or_default();
    let is_named = |copy: &ObjectMeta| copy.key.after(&prefix).map(name_in) == noted.name();
    stream::iter(copies.into_iter().filter(|copy| !is_named(copy)))
        .map(|copy| async move { lake.store.delete(&copy.key).await })
        .buffered(lake.bounds.concurrency)
        .try_collect::<()>()
        .await?;
    Ok(())
}

/// Compacts a date, if it has enough objects with rows and is not compacted.
pub(crate) async fn compact(lake: &Lake, day: Day, report: &mut Report) -> Result<(), Error> {
    settle(lake, day, true, report).await?;
    let noted = load(lake, day).await?;
    let (noted, etag) = noted.map_or((Compaction::default(), None), |(c, etag)| (c, Some(etag)));
    let listed = objects(lake, day).await?;
    let worth = is_worth_it(lake, day, &listed)?;
    // Somebody else is at it, or was and is not yet known to be lost.
    let is_taken = noted.generation.is_some();
    if is_taken || !worth || lake.catalog.partition(day.table().name, day.date).await?.is_none() {
        return Ok(());
    }
    let next = Compaction { sequence: noted.sequence + 1, generation: None };
    let name = next.name_of(&listed);
    let building = next.at(name.clone(), Phase::Building, lake);
    let Put::Done(etag) = lake.save(&day.state(), &building, etag.as_ref()).await? else {
        return Ok(());
    };
    let written = match merge::write(lake, day, &location(day, &name), listed).await {
        Ok(written) => written,
        Err(error) => {
            // So that it begins again when the message is delivered again. If this fails, too, it
            // begins again once the lease is over.
            let _ = lake.save(&day.state(), &next, Some(&etag)).await;
            return Err(error);
        }
    };
    let is_fresh = written.is_some() && next.name_of(&objects(lake, day).await?) == name;
    let Some(written) = written.filter(|_| is_fresh) else {
        // Whoever struck it first did the same.
        let _ = lake.save(&day.state(), &next, Some(&etag)).await?;
        return remove_unnamed(lake, day).await;
    };
    let switching = next.at(name.clone(), Phase::Switching, lake);
    let Put::Done(etag) = lake.save(&day.state(), &switching, Some(&etag)).await? else {
        return remove_unnamed(lake, day).await;
    };
    let moved =
        lake.catalog.move_partition(day.table().name, day.date, &location(day, &name)).await?;
    let after = if moved { next.at(name, Phase::Switched, lake) } else { next.struck() };
    // Who took it from here, because it was seen to arrive, has taken it further.
    let _ = lake.save(&day.state(), &after, Some(&etag)).await?;
    report.objects_written += written.objects;
    let (table, date) = (day.table().name, day.date);
    info!(table, %date, moved, objects = written.objects, rows = written.rows, "compacted");
    settle(lake, day, true, report).await
}

/// Whether these objects are enough to be compacted, and not too much.
pub(crate) fn is_worth_it(lake: &Lake, day: Day, objects: &[ObjectMeta]) -> Result<bool, Error> {
    let without_max = object::bytes_max_without_rows(day.table())?;
    let occupied = objects.iter().filter(|object| object.size_bytes > without_max);
    let bytes: u64 = objects.iter().map(|object| object.size_bytes).sum();
    let many = occupied.count() >= lake.bounds.compacted_objects_min;
    Ok(many && bytes <= lake.bounds.compacted_date_bytes_max)
}
