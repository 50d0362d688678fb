//! Joins the step readings of a slice with accelerometer readings that are in memory.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::RecordBatch;
use lake::derivation::{Settled, Target};
use lake::error::Error;
use lake::key::KeyHash;
use lake::lake::{Lake, Room};
use lake::layout::Span;
use lake::object::Version;
use lake::order::in_order;
use lake::policy::Pairing;
use lake::report::Report;
use lake::tables::Stream;

use crate::input::{Input, Read};
use crate::motions::Motions;
use crate::owners;
use crate::rows::{PAIR_BYTES, Rows, failed};
use crate::transform::{Naming, Owners, Pairs, STEP_TIME, Steps, devices, times};

/// Pairs all of a slice with readings that were put together, and writes the target; `None` if that, or
/// the step trainer object, moved.
pub(crate) async fn together(
    lake: &Lake,
    target: &Target,
    version: Version,
    steps: Input,
    span: Span,
    motions: &Motions,
    report: &mut Report,
) -> Result<Option<Settled>, Error> {
    let room = match steps.opened.value.is_large() {
        true => Some(Arc::new(lake.room(u64::MAX).await)),
        false => None,
    };
    let mut join = Join::begin(lake, target, version, steps, room);
    if !join.pair(span, motions, false).await? {
        join.abort().await?;
        return Ok(None);
    }
    join.complete(report).await
}

/// How readings are named.
pub(crate) fn naming(lake: &Lake) -> Naming<'_> {
    Naming { identity: lake.settings.policies.identity, key: &lake.key }
}

/// A slice whose step readings are paired, stretch of time by stretch of time.
pub(crate) struct Join<'a> {
    lake: &'a Lake,
    steps: Input,
    owners: Known,
    rows: Rows<'a>,
}

/// Whose devices are, of those that were asked for.
#[derive(Default)]
struct Known {
    owners: Owners,
    devices: BTreeSet<KeyHash>,
}

impl<'a> Join<'a> {
    /// Begins to write a target. Where there is no room for many rows, it is waited for once it is needed.
    pub(crate) fn begin(
        lake: &'a Lake,
        target: &'a Target,
        version: Version,
        steps: Input,
        room: Option<Arc<Room>>,
    ) -> Self {
        let rows = Rows::new(lake, target, version, room);
        Self { lake, steps, owners: Known::default(), rows }
    }

    /// Pairs the step readings of a stretch of time, later than those before, with all accelerometer
    /// readings of it; or with another part of those of a single time. `false` if the object moved.
    pub(crate) async fn pair(
        &mut self,
        stretch: Span,
        motions: &Motions,
        is_part: bool,
    ) -> Result<bool, Error> {
        let bytes_max = 2 * self.lake.bounds.held_bytes_max;
        let mut rest = vec![stretch];
        while let Some(stretch) = rest.pop() {
            match self.steps.within(self.lake, STEP_TIME, stretch, None, bytes_max).await? {
                Read::All(readings, _) => self.pair_these(readings, motions, is_part).await?,
                Read::Moved => return Ok(false),
                Read::TooMuch => match stretch.halves() {
                    Some([first, second]) => rest.extend([second, first]),
                    None if self.pair_by_groups(stretch, motions).await? => {}
                    None => return Ok(false),
                },
            }
        }
        Ok(true)
    }

    /// How many step readings there are.
    pub(crate) fn steps(&self) -> u64 {
        self.steps.opened.value.rows
    }

    /// Adds the times of the step readings of a stretch; `false` if the object moved.
    pub(crate) async fn add_times(
        &mut self,
        stretch: Span,
        added: &mut Vec<i64>,
    ) -> Result<bool, Error> {
        for group in self.steps.groups_within(STEP_TIME, stretch) {
            let readings = self.steps.group_within(self.lake, group, STEP_TIME, stretch).await?;
            let Some(readings) = readings else { return Ok(false) };
            added.extend(times(&readings, STEP_TIME).map_err(failed)?.iter());
        }
        Ok(true)
    }

    /// Pairs step readings of a single time of which there are too many to be held; `false` if the
    /// object moved.
    async fn pair_by_groups(&mut self, time: Span, motions: &Motions) -> Result<bool, Error> {
        for group in self.steps.groups_within(STEP_TIME, time) {
            match self.steps.group_within(self.lake, group, STEP_TIME, time).await? {
                Some(readings) => self.pair_these(vec![readings], motions, true).await?,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    async fn pair_these(
        &mut self,
        readings: Vec<RecordBatch>,
        motions: &Motions,
        is_part: bool,
    ) -> Result<(), Error> {
        let readings = match <[RecordBatch; 1]>::try_from(readings) {
            Ok([readings]) => readings,
            Err(none) if none.is_empty() => return Ok(()),
            Err(groups) => {
                in_order(&Stream::StepTrainer.schema(), &groups, STEP_TIME).map_err(failed)?
            }
        };
        let lake = self.lake;
        let owners = self.owners.of(lake, &readings).await?;
        let steps = Steps::of(readings, naming(lake)).map_err(failed)?;
        let mut pairs = Pairs::new(&steps, motions, owners, &lake.key).map_err(failed)?;
        self.rows.add(&mut pairs, is_part).await
    }

    /// Memory that it takes, bytes, at most about.
    pub(crate) fn held_bytes(&self) -> u64 {
        let steps = &self.steps.opened.value;
        let own = if steps.is_large() { 0 } else { steps.rows * PAIR_BYTES };
        self.rows.held_bytes(steps.is_large()) + own
    }

    /// Makes the target what was paired; `None` if it moved.
    pub(crate) async fn complete(self, report: &mut Report) -> Result<Option<Settled>, Error> {
        self.rows.complete(report).await
    }

    /// Gives it up.
    pub(crate) async fn abort(self) -> Result<(), Error> {
        self.rows.abort().await
    }
}

impl Known {
    /// Whose the devices of some step readings are, where only readings of the same person are paired.
    ///
    /// The register is read after the step trainer object, where it is never older than what that was
    /// derived from. That object is written again whenever an owner of its devices changes, so that its
    /// version stands for what is read here.
    async fn of(&mut self, lake: &Lake, steps: &RecordBatch) -> Result<Option<&Owners>, Error> {
        if lake.settings.policies.pairing == Pairing::Timestamp {
            return Ok(None);
        }
        let mut unknown = devices(steps, &lake.key).map_err(failed)?;
        unknown.retain(|device| !self.devices.contains(device));
        if !unknown.is_empty() {
            self.owners.extend(owners(lake, &unknown).await?);
            self.devices.extend(unknown);
        }
        Ok(Some(&self.owners))
    }
}
