//! Readings from landing to trusted: what accelerometer and step trainer have in common.
//!
//! For each landing object: read it, publish its manifest, look up whom the register covers, and
//! write one object a day with the rows admitted. The rule itself, whom it covers and from when,
//! is the function's.
//!
//! The rows of a landing object are held in memory up to a bound, with numbers in place of texts. A
//! larger one passes twice or more: first it is counted and its manifest published; then its days are
//! written row group by row group, as they pass.

mod derive;
mod passing;
mod sorted;
mod unfinished;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use futures::stream::{self, StreamExt, TryStreamExt};
use futures::try_join;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::events::Delivery;
use crate::function::{Function, Plan};
use crate::key::{ETag, KeyHash, LakeKey, ObjectKey, Part, Revision};
use crate::lake::{Lake, Put};
use crate::layout;
use crate::manifest;
use crate::report::Report;
use crate::tables::{Stream, Table};

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
    /// Prefix of the slim parts in which the register says what the rule depends on.
    const ANNOUNCED: &'static str;

    /// What a look at a part of the register finds.
    type Announced: Send;

    /// Hash of a key, as the register has it.
    fn hash(key: &LakeKey, text: &str) -> KeyHash;

    /// Whom the register covers now, and from when; of `keys` at least.
    fn coverage(
        lake: &Lake,
        keys: &BTreeSet<KeyHash>,
    ) -> impl Future<Output = Result<Coverage, Error>> + Send;

    /// Looks at a part of the register.
    fn announced(
        lake: &Lake,
        part: Part,
    ) -> impl Future<Output = Result<Self::Announced, Error>> + Send;

    /// The keys that changed in a part of the register above a revision, and the part's revision.
    fn changed(
        lake: &Lake,
        part: Part,
        announced: Self::Announced,
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
    /// The part of the register was applied up to this revision; what was recorded of it before has
    /// this version.
    Applied(Part, Revision, Option<ETag>),
    /// The marker's landing object was looked at.
    Replayed(ObjectKey),
}

/// A function that admits readings by a rule.
pub struct Readings<R>(pub R);

/// An event says that the landing object itself changed: so that it has to be read, as a rule, and is
/// opened at once.
#[derive(Clone, Copy, Debug)]
pub struct Landed;

impl<R: Rule> Function for Readings<R> {
    type Unit = ObjectKey;
    type Detail = Landed;
    type Settle = Settle;

    fn name(&self) -> &'static str {
        R::NAME
    }

    async fn plan(
        &self,
        lake: &Lake,
        key: &ObjectKey,
        _: Delivery,
    ) -> Result<Plan<ObjectKey, Landed, Settle>, Error> {
        if key.after(layout::landing(R::STREAM)).is_some() {
            return Ok(Plan { units: vec![(key.clone(), vec![Landed])], ..Plan::nothing() });
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

    async fn work(
        &self,
        lake: &Lake,
        landing: &ObjectKey,
        landed: Vec<Landed>,
    ) -> Result<Report, Error> {
        derive::derive::<R>(lake, landing, landed.last().copied()).await
    }

    async fn unfinished(&self, lake: &Lake) -> Result<Vec<ObjectKey>, Error> {
        unfinished::find::<R>(lake).await
    }

    async fn settle(&self, lake: &Lake, settle: Settle) -> Result<(), Error> {
        match settle {
            Settle::Applied(part, revision, noted) => apply::<R>(lake, part, revision, noted).await,
            Settle::Replayed(marker) => remove_marker(lake, &marker).await,
        }
    }
}

/// The tables that a rule's function registers.
fn tables_of<R: Rule>() -> [&'static Table; 2] {
    [R::TABLE, landing_table(R::STREAM)]
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
async fn catch_up<R: Rule>(
    lake: &Lake,
    part: Part,
) -> Result<Plan<ObjectKey, Landed, Settle>, Error> {
    let applied = layout::applied(R::STREAM, part);
    let applied = lake.load::<Applied>(&applied);
    let (applied, announced) = try_join!(applied, R::announced(lake, part))?;
    let above = applied.as_ref().map_or(Revision(0), |applied| applied.value.revision);
    let (revision, keys) = R::changed(lake, part, announced, above).await?;
    let landings = manifest::naming(lake, R::STREAM, &keys).await?;
    let mut plan = Plan::nothing();
    if revision > above {
        plan.settle = Some(Settle::Applied(part, revision, applied.map(|applied| applied.etag)));
    }
    if landings.len() <= lake.bounds.inline_max {
        plan.units = landings.into_iter().map(|landing| (landing, Vec::new())).collect();
        return Ok(plan);
    }
    plan.report.replays = landings.len() as u64;
    stream::iter(landings)
        .map(|landing| async move { lake.mark(&layout::replay(part, revision, &landing)).await })
        .buffer_unordered(lake.bounds.looks_at_once)
        .try_collect::<()>()
        .await?;
    Ok(plan)
}

async fn apply<R: Rule>(
    lake: &Lake,
    part: Part,
    revision: Revision,
    mut noted: Option<ETag>,
) -> Result<(), Error> {
    let key = layout::applied(R::STREAM, part);
    for _ in 0..lake.bounds.attempts_max {
        if let Put::Done(_) = lake.save(&key, &Applied { revision }, noted.as_ref()).await? {
            return Ok(());
        }
        let found = lake.load::<Applied>(&key).await?;
        if found.as_ref().is_some_and(|found| found.value.revision >= revision) {
            return Ok(());
        }
        noted = found.map(|found| found.etag);
    }
    Err(lake.contended(format!("record {key}"), "the applied revision"))
}

/// The table, and the policy its rule depends on.
fn rule_of<R: Rule>(lake: &Lake) -> String {
    format!("{} consent={}", R::TABLE.name, lake.settings.policies.consent)
}

/// A deletion is an event too, in a versioned bucket also that of what is not there: whoever comes
/// here for that must not delete again, or it would never end.
async fn remove_marker(lake: &Lake, marker: &ObjectKey) -> Result<(), Error> {
    if lake.store.head(marker).await?.is_some() {
        lake.store.delete(marker).await?;
    }
    Ok(())
}
