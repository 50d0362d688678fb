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

use super::sorted::Sorted;
use super::{Coverage, Rule, contended, rule_of};
use crate::derivation::Target;
use crate::error::Error;
use crate::key::{ETag, KeyHash, ObjectKey, Revision, Source, VersionDigest};
use crate::lake::{Lake, Put};
use crate::landing;
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
    Err(contended(lake, format!("derive {} from {landing}", R::TABLE.name), moved))
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
        targets.push((slice.date, *wanted, target));
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
    let version = Version { rule: rule_of::<R>(lake), source, digest: digest(&keys, &coverage) };
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
    for (date, wanted, target) in &targets {
        let day = readings.as_ref().filter(|_| *wanted);
        let rows = || Sorted::admit::<R>(day, *date, &coverage);
        let written = target.write(lake, R::TABLE, version.clone(), rows, report).await?;
        let Some(settled) = written else { return Ok(Attempt::Moved("the target")) };
        report.count(&settled.ledger);
        partitions::settle(lake, R::TABLE, *date, &target.key, settled.occupancy).await?;
    }
    Ok(Attempt::Done)
}

/// Whether the quarantine is the one wanted. A writer that was slow may have brought back an older
/// one, and whoever finds the landing object moved after that comes here.
async fn is_quarantined<R: Rule>(lake: &Lake, manifest: &Manifest) -> Result<bool, Error> {
    if !manifest.had_fragments {
        return Ok(true);
    }
    let wanted = manifest.content.quarantine.as_deref();
    quarantine::is_at(lake, R::STREAM, &manifest.landing, wanted).await
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
    let landed = landing::read(lake, R::STREAM, landing).await?;
    report.records += landed.summary.rows + landed.summary.fragments;
    report.source_bytes += landed.summary.source_bytes;
    report.quarantined += landed.summary.fragments;
    Ok(Sorted::of::<R>(lake, landing, landed))
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
