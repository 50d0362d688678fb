//! Deriving what follows from one landing object, be it there or gone.
//!
//! Why no write brings back what a newer one took away: the target is noted before the landing
//! object is looked at again and before the register is read, and it carries the manifest's
//! sequence and the revisions it was derived from. Both only grow: a target from a later sequence
//! than the manifest that was read is left alone, also where the landing object went from A to B
//! and back to A meanwhile. So whoever writes over a target has read inputs at least as new as
//! those the target was derived from, or the write fails.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::stream::{self, StreamExt, TryStreamExt};
use futures::try_join;

use super::passing::{self, Wanted};
use super::sorted::{Admitted, Ordered, Sorted};
use super::{Coverage, Landed, Rule, rule_of, tables_of};
use crate::derivation::{Settled, Target};
use crate::error::Error;
use crate::key::{ETag, KeyHash, ObjectKey, Revision, Source, VersionDigest};
use crate::lake::{Lake, Put};
use crate::landing::{Opened, Records};
use crate::layout::{ReadingDate, Slice};
use crate::manifest::{self, Manifest};
use crate::object::Version;
use crate::report::Report;
use crate::{partitions, quarantine};

/// Derives everything that follows from a landing object as it is now.
pub(super) async fn derive<R: Rule>(
    lake: &Lake,
    landing: &ObjectKey,
    mut landed: Option<Landed>,
) -> Result<Report, Error> {
    let mut moved = "";
    let mut report = Report::default();
    for _ in 0..lake.bounds.attempts_max {
        match attempt::<R>(lake, landing, landed.take(), &mut report).await? {
            Attempt::Done => return Ok(report),
            Attempt::Moved(what) => moved = what,
        }
        report.conflicts += 1;
    }
    Err(lake.contended(format!("derive {} from {landing}", R::TABLE.name), moved))
}

enum Attempt {
    Done,
    Moved(&'static str),
}

async fn attempt<R: Rule>(
    lake: &Lake,
    landing: &ObjectKey,
    landed: Option<Landed>,
    report: &mut Report,
) -> Result<Attempt, Error> {
    let tables = tables_of::<R>();
    let registered = lake.register(&tables);
    let ((), looked) = try_join!(registered, look::<R>(lake, landing, landed, report))?;
    let Some(Looked { manifest, mut readings, targets }) = looked else {
        return Ok(Attempt::Moved("the manifest"));
    };
    let source = manifest.sequence.to_string();
    if targets.iter().any(|day| day.target.is_from_after(&source)) {
        return Ok(Attempt::Moved("the manifest"));
    }
    let keys = manifest.current_keys();
    let (landed, coverage) = try_join!(version_of(lake, landing), R::coverage(lake, &keys))?;
    if landed != manifest.content.version {
        return Ok(Attempt::Moved("the landing object"));
    }
    let version = Version {
        rule: rule_of::<R>(lake),
        policies: lake.settings.changes.consent,
        source,
        digest: digest(&keys, &coverage),
    };
    let stale = targets.iter().any(|day| !day.target.is_at(&version));
    if readings.is_none() && (stale || !is_quarantined::<R>(lake, &manifest).await?) {
        let records = Records::open(lake, R::STREAM, landing).await?;
        let read = read::<R>(lake, landing, records, report).await?;
        if read.landed.version != manifest.content.version {
            return Ok(Attempt::Moved("the landing object"));
        }
        readings = Some(read);
    }
    if let Some(readings) = readings.as_ref().filter(|_| manifest.had_fragments)
        && quarantine::derive(lake, R::STREAM, landing, &readings.landed).await? == Put::Moved
    {
        return Ok(Attempt::Moved("the quarantine"));
    }
    let mut readings = readings.map(|readings| {
        let admitted = readings.admitted(&coverage);
        (readings, admitted)
    });
    let is_held = readings.as_ref().is_none_or(|(readings, _)| readings.is_held());
    let passes = |day: &&Day| day.is_wanted && !is_held;
    let is_right = |day: &&Day| day.target.is_at(&version);
    let days = targets.iter().filter(|day| !passes(day) || is_right(day)).collect();
    if !write_days::<R>(lake, &version, readings.as_ref(), days, report).await? {
        return Ok(Attempt::Moved("a target"));
    }
    let Some((readings, admitted)) = &mut readings else { return Ok(Attempt::Done) };
    let passing = targets.iter().filter(passes).map(|day| Wanted {
        date: day.slice.date,
        span: day.slice.span(),
        target: Some(&day.target).filter(|_| !is_right(&day)),
    });
    for together in passing::passes(lake, readings, passing) {
        let noted = together.days.iter().filter_map(|day| Some((day.date, day.target?)));
        let noted: Vec<_> = noted.collect();
        if noted.is_empty() {
            continue;
        }
        let derived =
            passing::derive::<R>(lake, landing, readings, admitted, &version, together, report);
        let Some(derived) = derived.await? else {
            return Ok(Attempt::Moved("the landing object or a target"));
        };
        for ((date, target), settled) in noted.into_iter().zip(derived) {
            settle::<R>(lake, date, target, &settled, report).await?;
        }
    }
    Ok(Attempt::Done)
}

/// Writes days of readings that are held, or of none: as many at a time as are no more than a row group,
/// if they were as long as the longest. `false` if a target moved.
async fn write_days<R: Rule>(
    lake: &Lake,
    version: &Version,
    readings: Option<&(Sorted, Admitted)>,
    days: Vec<&Day>,
    report: &mut Report,
) -> Result<bool, Error> {
    let of = |day: &Day| readings.filter(|_| day.is_wanted);
    let records = |day: &&Day| of(day).map_or(0, |(readings, _)| readings.records(day.slice.date));
    let longest = days.iter().map(records).max().unwrap_or(0).max(1);
    let at_once = lake.bounds.row_group_rows as u64 / longest;
    let at_once = at_once.clamp(1, lake.bounds.concurrency as u64) as usize;
    // Those that have begun are ended, whatever comes of one; no others are begun then.
    let is_over = &AtomicBool::new(false);
    let written = days.into_iter().map(|day| {
        let (version, of) = (version.clone(), of(day));
        async move {
            if is_over.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let written = write_day::<R>(lake, day, version, of).await;
            is_over.fetch_or(!matches!(written, Ok(Some(_))), Ordering::Relaxed);
            written
        }
    });
    let written: Vec<_> = written.collect();
    let written: Vec<_> = stream::iter(written).buffered(at_once).collect().await;
    let mut have_moved = false;
    for written in written {
        match written? {
            Some(written) => *report += written,
            None => have_moved = true,
        }
    }
    Ok(!have_moved)
}

/// Writes a day, and settles its partition; `None` if the target moved.
async fn write_day<R: Rule>(
    lake: &Lake,
    Day { slice, target, .. }: &Day,
    version: Version,
    readings: Option<&(Sorted, Admitted)>,
) -> Result<Option<Report>, Error> {
    let mut report = Report::default();
    let written = write::<R>(lake, target, version, readings, slice.date, &mut report).await?;
    let Some(settled) = written else { return Ok(None) };
    settle::<R>(lake, slice.date, target, &settled, &mut report).await?;
    Ok(Some(report))
}

/// Writes a day of readings that are held, a long one row group by row group; `None` if the target
/// moved.
async fn write<R: Rule>(
    lake: &Lake,
    target: &Target,
    version: Version,
    day: Option<&(Sorted, Admitted)>,
    date: ReadingDate,
    report: &mut Report,
) -> Result<Option<Settled>, Error> {
    let is_long = day.is_some_and(|(day, _)| day.is_long(lake, date));
    if is_long && !target.is_at(&version) {
        let ordered = Ordered::admit::<R>(day, date)?;
        let (groups, ledger) = (ordered.row_groups::<R>(lake), ordered.ledger);
        return target.write_each(lake, R::TABLE, version, groups, ledger, report).await;
    }
    let rows = || {
        let ordered = Ordered::admit::<R>(day, date)?;
        Ok((ordered.rows::<R>()?, ordered.ledger))
    };
    target.write(lake, R::TABLE, version, rows, report).await
}

async fn settle<R: Rule>(
    lake: &Lake,
    date: ReadingDate,
    target: &Target,
    settled: &Settled,
    report: &mut Report,
) -> Result<(), Error> {
    report.count(&settled.ledger);
    partitions::settle(lake, R::TABLE, date, &target.key, settled.occupancy).await
}

/// Whether the quarantine is the one wanted. A writer that was slow may have brought back an older
/// one, and whoever finds the landing object moved after that comes here.
async fn is_quarantined<R: Rule>(lake: &Lake, manifest: &Manifest) -> Result<bool, Error> {
    if !manifest.had_fragments {
        return Ok(true);
    }
    let found = quarantine::find(lake, R::STREAM, &manifest.landing).await?;
    Ok(found.digest == manifest.content.quarantine)
}

async fn version_of(lake: &Lake, landing: &ObjectKey) -> Result<Option<ETag>, Error> {
    Ok(lake.store.head(landing).await?.map(|meta| meta.etag))
}

/// A landing object as it was looked at.
struct Looked {
    /// Its manifest as it is now.
    manifest: Arc<Manifest>,
    /// Its readings, if they had to be read for it.
    readings: Option<Sorted>,
    targets: Vec<Day>,
}

/// A day that is derived from a landing object.
struct Day {
    slice: Slice,
    /// Whether the landing object has readings of it now.
    is_wanted: bool,
    target: Target,
}

/// A landing object as it is now.
enum Now {
    Opened(Option<Opened>),
    Seen(Option<ETag>),
}

impl Now {
    /// Its version; `None` if there is none.
    fn version(&self) -> Option<&ETag> {
        match self {
            Self::Opened(opened) => opened.as_ref().map(Opened::version),
            Self::Seen(version) => version.as_ref(),
        }
    }
}

/// Looks at a landing object, brings its manifest up to it, and notes the targets; `None` if somebody
/// else published another manifest meanwhile.
async fn look<R: Rule>(
    lake: &Lake,
    landing: &ObjectKey,
    landed: Option<Landed>,
    report: &mut Report,
) -> Result<Option<Looked>, Error> {
    let known = manifest::load(lake, R::STREAM, Source::of(landing));
    let now = async {
        Ok(match landed {
            Some(Landed) => Now::Opened(Opened::now(lake, landing).await?),
            None => Now::Seen(version_of(lake, landing).await?),
        })
    };
    let (now, known) = try_join!(now, known)?;
    if let Some(known) = &known
        && known.value.content.version.as_ref() == now.version()
    {
        // Not while the store's answer waits to be read.
        drop(now);
        let (manifest, targets) = (Arc::clone(&known.value), note::<R>(lake, &known.value).await?);
        return Ok(Some(Looked { manifest, readings: None, targets }));
    }
    let records = match now {
        Now::Opened(Some(opened)) => opened.records(lake, R::STREAM).await?,
        Now::Opened(None) | Now::Seen(None) => None,
        Now::Seen(Some(_)) => Records::open(lake, R::STREAM, landing).await?,
    };
    let readings = read::<R>(lake, landing, records, report).await?;
    let before = known.as_ref().map(|known| known.value.as_ref());
    let manifest = Manifest::following(before, landing, &readings.found);
    let published = manifest::publish(lake, R::STREAM, known.as_ref(), &manifest);
    let (is_published, targets) = try_join!(published, note::<R>(lake, &manifest))?;
    let (manifest, readings) = (Arc::new(manifest), Some(readings));
    Ok(is_published.then_some(Looked { manifest, readings, targets }))
}

/// Notes all that was ever derived from a landing object.
async fn note<R: Rule>(lake: &Lake, manifest: &Manifest) -> Result<Vec<Day>, Error> {
    let note = |(slice, is_wanted): (&Slice, &bool)| {
        let (slice, is_wanted) = (*slice, *is_wanted);
        async move {
            let target = Target::note(lake, slice.key(R::TABLE.location)).await?;
            Ok(Day { slice, is_wanted, target })
        }
    };
    stream::iter(&manifest.slices).map(note).buffered(lake.bounds.looks_at_once).try_collect().await
}

async fn read<R: Rule>(
    lake: &Lake,
    landing: &ObjectKey,
    records: Option<Records>,
    report: &mut Report,
) -> Result<Sorted, Error> {
    let sorted = Sorted::read::<R>(lake, landing, records).await?;
    let summary = &sorted.landed.summary;
    report.records += summary.rows + summary.fragments;
    report.source_bytes += summary.source_bytes;
    report.quarantined += summary.fragments;
    Ok(sorted)
}

/// Digest of what the register says of some keys.
fn digest(keys: &BTreeSet<KeyHash>, coverage: &Coverage) -> String {
    let mut digest = VersionDigest::new();
    for key in keys {
        digest.revision(key, Revision(0));
        for (row, revision) in coverage.get(key).into_iter().flat_map(|cover| &cover.evidence) {
            digest.revision(row, *revision);
        }
    }
    digest.finish()
}
