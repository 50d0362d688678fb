//! Joins the row groups of a step trainer object with those of accelerometer objects that overlap.

use std::pin::pin;

use arrow_array::RecordBatch;
use futures::stream::TryStreamExt;
use lake::derivation::{Draft, Settled, Target, Waiting, sorted};
use lake::error::Error;
use lake::lake::Lake;
use lake::layout::{self, Slice, Span};
use lake::object::{Ledger, Version};
use lake::order::in_order;
use lake::policy;
use lake::report::Report;
use lake::store::ObjectMeta;
use lake::tables::{MACHINE_LEARNING_CURATED, Stream};

use crate::motions::{MOTION_TIME, Motions};
use crate::transform::{Naming, Owners, Pairs, STEP_TIME, Steps, devices, span_of};
use crate::{Input, Read, open_each, owners};

/// Pairs made at once.
const PAIRS_MAX: usize = 16 << 10;

/// What came of a join with readings that were put together.
pub(crate) enum Joined {
    /// The target is right.
    Settled(Settled),
    /// It moved, or an input did.
    Moved,
    /// The step readings are too many to be held.
    TooMany,
}

/// Pairs the rows of a small object with readings that were put together, and writes the target: whole
/// if the pairs are few, and else so many of them at once as a row group, in one order all through.
///
/// The register is read after the step trainer object. That object is written again whenever an
/// owner of its devices changes, so that its version stands for what is read here.
pub(crate) async fn together(
    lake: &Lake,
    target: &Target,
    version: Version,
    steps: &Input,
    motions: &Motions,
    report: &mut Report,
) -> Result<Joined, Error> {
    let all_room = match steps.opened.value.is_large() {
        true => Some(lake.room(u64::MAX).await),
        false => None,
    };
    let readings = match steps.read_all(lake, 2 * lake.bounds.held_bytes_max).await? {
        Read::All(readings, _) => readings,
        Read::Moved => return Ok(Joined::Moved),
        Read::TooMuch => return Ok(Joined::TooMany),
    };
    let readings = match <[RecordBatch; 1]>::try_from(readings) {
        Ok([readings]) => readings,
        Err(groups) => {
            in_order(&Stream::StepTrainer.schema(), &groups, STEP_TIME).map_err(failed)?
        }
    };
    let owners = owners_of(lake, &readings).await?;
    let steps = Steps::of(readings, naming(lake)).map_err(failed)?;
    let pairs = Pairs::new(&steps, motions, owners.as_ref(), &lake.key);
    let mut pairs = pairs.map_err(failed)?;
    let bytes_max = lake.bounds.held_bytes_max / 2;
    let mut found = pairs.find_bytes(bytes_max);
    let bytes = found.len() as u64 * PAIR_BYTES;
    let _room = match all_room {
        None if bytes > lake.bounds.small_bytes_max => Some(lake.room(bytes).await),
        all_room => all_room,
    };
    let table = &MACHINE_LEARNING_CURATED;
    if pairs.are_all_found() {
        let rows = pairs.rows(&found).map_err(failed)?;
        let rows = || Ok((rows, ledger(found.len() as u64)));
        let settled = target.write(lake, table, version, rows, report).await?;
        return Ok(settled.map_or(Joined::Moved, Joined::Settled));
    }
    let mut draft = Draft::new(lake, target, table, version)?;
    let mut count = 0;
    while !found.is_empty() {
        count += found.len() as u64;
        let rows = pairs.rows(&found).map_err(failed)?;
        draft.sorted_row_group(rows).await?;
        found = pairs.find_bytes(bytes_max);
    }
    let settled = draft.complete(ledger(count), report).await?;
    Ok(settled.map_or(Joined::Moved, Joined::Settled))
}

/// Pairs object by object and row group by row group, and writes what is too much to be held as it
/// passes; `None` if the target, or an input, moved. The register is read as in [`together`].
pub(crate) async fn apart(
    lake: &Lake,
    target: &Target,
    version: Version,
    steps: &Input,
    motions: &[ObjectMeta],
    report: &mut Report,
) -> Result<Option<Settled>, Error> {
    let is_large = |motion: &ObjectMeta| motion.size_bytes > lake.bounds.small_bytes_max;
    let encoded: u64 = motions.iter().map(|motion| motion.size_bytes).sum();
    let bytes = match steps.opened.value.is_large() || motions.iter().any(is_large) {
        true => u64::MAX,
        false => steps.opened.value.rows * PAIR_BYTES + encoded * DECODED,
    };
    let _room = match bytes > lake.bounds.small_bytes_max {
        true => Some(lake.room(bytes).await),
        false => None,
    };
    let draft = Draft::new(lake, target, &MACHINE_LEARNING_CURATED, version.clone())?;
    let mut join = Join { lake, draft, waiting: Waiting::default(), pairs: 0 };
    if !join.all(steps, motions).await? {
        join.draft.abort().await?;
        return Ok(None);
    }
    let Join { mut draft, waiting, pairs, .. } = join;
    if draft.is_empty() {
        let table = &MACHINE_LEARNING_CURATED;
        let rows = || Ok((sorted(table, &waiting.batches, STEP_TIME)?, ledger(pairs)));
        return target.write(lake, table, version, rows, report).await;
    }
    draft.row_groups(lake, waiting, STEP_TIME).await?;
    draft.complete(ledger(pairs), report).await
}

fn ledger(pairs: u64) -> Ledger {
    Ledger { records: pairs, admitted: pairs, ..Ledger::default() }
}

pub(crate) fn naming(lake: &Lake) -> Naming<'_> {
    Naming { identity: lake.settings.policies.identity, key: &lake.key }
}

/// Whose the devices of some step readings are, where only readings of the same person are paired.
async fn owners_of(lake: &Lake, steps: &RecordBatch) -> Result<Option<Owners>, Error> {
    match lake.settings.policies.pairing {
        policy::Pairing::Timestamp => Ok(None),
        policy::Pairing::Customer => {
            let devices = devices(steps, &lake.key).map_err(failed)?;
            Ok(Some(owners(lake, &devices).await?))
        }
    }
}

/// Memory that a row of the step trainer takes, with the pairs made of it, bytes, about.
const PAIR_BYTES: u64 = 128;
/// How many times as much memory as their bytes in Parquet accelerometer readings take, about.
const DECODED: u64 = 15;

/// Whether an accelerometer object has an instant in common with these step readings.
fn overlaps(motion: &ObjectMeta, span: Span) -> bool {
    let slice = Slice::of_key(&motion.key, layout::TRUSTED_ACCELEROMETER);
    slice.is_none_or(|slice| slice.span().overlaps(span))
}

struct Join<'a> {
    lake: &'a Lake,
    draft: Draft<'a>,
    waiting: Waiting,
    pairs: u64,
}

impl Join<'_> {
    /// Pairs everything; `false` if an input moved. Of the accelerometer objects, of which there may be
    /// very many, no more are held than are opened at once.
    async fn all(&mut self, steps: &Input, motions: &[ObjectMeta]) -> Result<bool, Error> {
        for group in 0..steps.opened.value.groups() {
            let Some(readings) = steps.read(self.lake, group).await? else { return Ok(false) };
            let Some(span) = span_of(&readings, STEP_TIME).map_err(failed)? else { continue };
            let owners = owners_of(self.lake, &readings).await?;
            let steps = Steps::of(readings, naming(self.lake)).map_err(failed)?;
            let overlapping = motions.iter().filter(|motion| overlaps(motion, span));
            let mut opened = pin!(open_each(self.lake, overlapping.cloned().collect()));
            while let Some(motion) = opened.try_next().await? {
                let Some(motion) = motion else { return Ok(false) };
                if !self.with(&steps, span, owners.as_ref(), &motion).await? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Pairs step readings with those of an accelerometer object; `false` if that moved.
    async fn with(
        &mut self,
        steps: &Steps,
        span: Span,
        owners: Option<&Owners>,
        motion: &Input,
    ) -> Result<bool, Error> {
        let opened = &motion.opened.value;
        for group in 0..opened.groups() {
            if opened.span(group, MOTION_TIME).is_some_and(|other| !other.overlaps(span)) {
                continue;
            }
            let Some(readings) = motion.read(self.lake, group).await? else { return Ok(false) };
            let motions = Motions::within(readings, span, naming(self.lake)).map_err(failed)?;
            let pairs = Pairs::new(steps, &motions, owners, &self.lake.key);
            let mut pairs = pairs.map_err(failed)?;
            while let Some(rows) = pairs.next(PAIRS_MAX).map_err(failed)? {
                self.pairs += rows.num_rows() as u64;
                self.waiting.push(rows);
                if self.waiting.bytes > self.lake.bounds.held_bytes_max {
                    let rows = std::mem::take(&mut self.waiting);
                    self.draft.row_groups(self.lake, rows, STEP_TIME).await?;
                }
            }
        }
        Ok(true)
    }
}

pub(crate) fn failed(error: arrow_schema::ArrowError) -> Error {
    Error::Encode { what: MACHINE_LEARNING_CURATED.name.to_owned(), source: error.into() }
}
