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

use super::passing::{self, Wanted};
use super::sorted::{Admitted, Ordered, Sorted};
use super::{Coverage, Rule, rule_of};
use crate::derivation::{Settled, Target};
use crate::error::Error;
use crate::key::{ETag, KeyHash, ObjectKey, Revision, Source, VersionDigest};
use crate::lake::{Lake, Put};
use crate::layout::ReadingDate;
use crate::manifest::{self, Manifest};
use crate::object::Version;
use crate::report::Report;
use crate::{partitions, quarantine};

/// Derives everything that follows from a landing object as it is now.
pub(super) async fn derive<R: Rule>(lake: &Lake, landing: &ObjectKey) -> Result<Report, Error> {
    let mut moved = "";
    let mut report = Report::default();
    for _ in 0..lake.bounds.attempts_max {
        match attempt::<R>(lake, landing, &mut report).await? {
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
    report: &mut Report,
) -> Result<Attempt, Error> {
    let Some((manifest, mut readings)) = look::<R>(lake, landing, report).await? else {
        return Ok(Attempt::Moved("the manifest"));
    };
    let mut targets = Vec::new();
    for (slice, wanted) in &manifest.slices {
        let target = Target::note(lake, slice.key(R::TABLE.location)).await?;
        targets.push((*slice, *wanted, target));
    }
    if version_of(lake, landing).await? != manifest.content.version {
        return Ok(Attempt::Moved("the landing object"));
    }
    let source = manifest.sequence.to_string();
    if targets.iter().any(|(_, _, target)| target.is_from_after(&source)) {
        return Ok(Attempt::Moved("the manifest"));
    }
    let keys = manifest.current_keys();
    let coverage = R::coverage(lake, &keys).await?;
    let version = Version {
        rule: rule_of::<R>(lake),
        policies: lake.settings.changes.consent,
        source,
        digest: digest(&keys, &coverage),
    };
    let stale = targets.iter().any(|(_, _, target)| !target.is_at(&version));
    if readings.is_none() && (stale || !is_quarantined::<R>(lake, &manifest).await?) {
        let read = read::<R>(lake, landing, report).await?;
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
    let mut passing = Vec::new();
    for (slice, wanted, target) in &targets {
        let day = readings.as_ref().filter(|_| *wanted);
        if day.is_some_and(|(day, _)| !day.is_held()) && !target.is_at(&version) {
            passing.push(Wanted { date: slice.date, span: slice.span(), target });
            continue;
        }
        let written = write::<R>(lake, target, version.clone(), day, slice.date, report).await?;
        let Some(settled) = written else { return Ok(Attempt::Moved("the target")) };
        settle::<R>(lake, slice.date, target, &settled, report).await?;
    }
    let Some((readings, admitted)) = &mut readings else { return Ok(Attempt::Done) };
    for days in passing::passes(lake, readings, passing) {
        let noted: Vec<_> = days.iter().map(|day| (day.date, day.target)).collect();
        let derived =
            passing::derive::<R>(lake, landing, readings, admitted, &version, days, report);
        let Some(derived) = derived.await? else {
            return Ok(Attempt::Moved("the landing object or a target"));
        };
        for ((date, target), settled) in noted.into_iter().zip(derived) {
            settle::<R>(lake, date, target, &settled, report).await?;
        }
    }
    Ok(Attempt::Done)
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
    let row_group_rows = lake.bounds.row_group_rows;
    let is_long = day.is_some_and(|(day, _)| day.records(date) > row_group_rows as u64);
    if is_long && !target.is_at(&version) {
        let ordered = Ordered::admit::<R>(day, date)?;
        let (groups, ledger) = (ordered.row_groups::<R>(row_group_rows), ordered.ledger);
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

/// The manifest of a landing object as it is now, and its readings if they had to be read for it;
/// `None` if somebody else published another meanwhile.
async fn look<R: Rule>(
    lake: &Lake,
    landing: &ObjectKey,
    report: &mut Report,
) -> Result<Option<(Arc<Manifest>, Option<Sorted>)>, Error> {
    let version = version_of(lake, landing).await?;
    let known = manifest::load(lake, R::STREAM, Source::of(landing)).await?;
    if let Some(known) = known
        && known.value.content.version == version
    {
        return Ok(Some((known.value, None)));
    }
    let readings = read::<R>(lake, landing, report).await?;
    let published = manifest::publish(lake, R::STREAM, landing, &readings.found).await?;
    Ok(published.map(|manifest| (Arc::new(manifest), Some(readings))))
}

async fn read<R: Rule>(
    lake: &Lake,
    landing: &ObjectKey,
    report: &mut Report,
) -> Result<Sorted, Error> {
    let sorted = Sorted::read::<R>(lake, landing).await?;
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
