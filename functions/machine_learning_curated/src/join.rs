//! Joins the row groups of a step trainer object with those of accelerometer objects that overlap.

use lake::derivation::{Draft, Settled, Target, Waiting, sorted};
use lake::error::Error;
use lake::lake::Lake;
use lake::layout::Span;
use lake::object::{Ledger, Version};
use lake::policy;
use lake::report::Report;
use lake::tables::MACHINE_LEARNING_CURATED;

use crate::transform::{Owners, Pairing, Pairs, devices, span_of};
use crate::{Input, owners};

const STEP_TIME: &str = "sensorreadingtime";
const MOTION_TIME: &str = "timestamp";
/// Pairs made at once.
const PAIRS_MAX: usize = 16 << 10;

/// Writes the target; `None` if it, or an input, moved.
///
/// The register is read after the step trainer object. That object is written again whenever an
/// owner of its devices changes, so that its version stands for what is read here.
pub(crate) async fn derive(
    lake: &Lake,
    target: &Target,
    version: Version,
    steps: &Input,
    motions: &[Input],
    report: &mut Report,
) -> Result<Option<Settled>, Error> {
    let inputs = motions.iter().chain([steps]);
    let large = inputs.clone().any(|input| input.opened.value.is_large());
    let rows: u64 = inputs.map(|input| input.opened.value.rows).sum();
    let bytes = if large { u64::MAX } else { rows * ROW_BYTES };
    let room = match bytes > lake.bounds.small_bytes_max {
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
    let ledger = Ledger { records: pairs, admitted: pairs, ..Ledger::default() };
    let settled = if draft.is_empty() {
        let rows = || Ok((sorted(&MACHINE_LEARNING_CURATED, waiting.batches, STEP_TIME)?, ledger));
        target.write(lake, &MACHINE_LEARNING_CURATED, version, rows, report).await?
    } else {
        draft.row_groups(lake, waiting, STEP_TIME).await?;
        draft.complete(ledger, report).await?
    };
    drop(room);
    Ok(settled)
}

/// Memory that a row of the inputs takes, with the pairs made of it, bytes, about.
const ROW_BYTES: u64 = 128;

struct Join<'a> {
    lake: &'a Lake,
    draft: Draft<'a>,
    waiting: Waiting,
    pairs: u64,
}

impl Join<'_> {
    /// Pairs everything; `false` if an input moved.
    async fn all(&mut self, steps: &Input, motions: &[Input]) -> Result<bool, Error> {
        for group in 0..steps.opened.value.groups() {
            let Some(batch) = steps.read(self.lake, group).await? else { return Ok(false) };
            let Some(span) = span_of(&batch, STEP_TIME).map_err(failed)? else { continue };
            let owners = match self.lake.settings.policies.pairing {
                policy::Pairing::Timestamp => None,
                policy::Pairing::Customer => {
                    let devices = devices(&batch, &self.lake.key).map_err(failed)?;
                    Some(owners(self.lake, &devices).await?)
                }
            };
            for motion in motions {
                if !self.with(&batch, span, owners.as_ref(), motion).await? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Pairs step readings with those of an accelerometer object; `false` if that moved.
    async fn with(
        &mut self,
        steps: &arrow_array::RecordBatch,
        span: Span,
        owners: Option<&Owners>,
        motion: &Input,
    ) -> Result<bool, Error> {
        let opened = &motion.opened.value;
        for group in 0..opened.groups() {
            if opened.span(group, MOTION_TIME).is_some_and(|other| !other.overlaps(span)) {
                continue;
            }
            let Some(motions) = motion.read(self.lake, group).await? else { return Ok(false) };
            let pairing = Pairing {
                owners,
                identity: self.lake.settings.policies.identity,
                key: &self.lake.key,
            };
            let mut pairs = Pairs::new(steps, &motions, pairing).map_err(failed)?;
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

fn failed(error: arrow_schema::ArrowError) -> Error {
    Error::Encode { what: MACHINE_LEARNING_CURATED.name.to_owned(), source: error.into() }
}
