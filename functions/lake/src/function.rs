//! What the functions have in common: an event is decoded, its keys become pieces of work,
//! each piece is done once however many messages ask for it, and every message is answered for
//! itself.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::future::FutureExt;
use futures::stream::{self, StreamExt};
use serde::Serialize;
use tracing::{Instrument, error, info_span, warn};

use crate::error::Error;
use crate::events::{self, Ask, Delivery, EventError, Message};
use crate::key::ObjectKey;
use crate::lake::Lake;
use crate::report::Report;

/// What a key asks for.
pub struct Plan<U, D, S> {
    /// Pieces of work, each with the details this key adds to it.
    pub units: Vec<(U, Vec<D>)>,
    /// What to record once they are all done.
    pub settle: Option<S>,
    /// What was counted while planning.
    pub report: Report,
}

impl<U, D, S> Plan<U, D, S> {
    /// Nothing to do.
    pub fn nothing() -> Self {
        Self { units: Vec::new(), settle: None, report: Report::default() }
    }

    /// One piece of work.
    pub fn unit(unit: U) -> Self {
        Self { units: vec![(unit, Vec::new())], ..Self::nothing() }
    }
}

/// What a key asks of a function.
pub type PlanOf<F> = Plan<<F as Function>::Unit, <F as Function>::Detail, <F as Function>::Settle>;

/// A piece of work and what came of it.
pub type Done<U> = (U, Result<Report, Error>);

/// One transformation, as it is driven by events.
pub trait Function: Send + Sync {
    /// A piece of work; equal pieces of a batch are done once.
    type Unit: Ord + Clone + Debug + Send + Sync;
    /// What a key adds to a piece of work.
    type Detail: Clone + Send + Sync;
    /// What is recorded after the work.
    type Settle: Clone + Send + Sync;

    /// Name of the function, and of its crate and Lambda.
    fn name(&self) -> &'static str;

    /// What a changed key asks for. A key of no concern asks for nothing.
    ///
    /// Where the event is not delivered for the first time, nothing may be taken for done because it was
    /// begun.
    fn plan(
        &self,
        lake: &Lake,
        key: &ObjectKey,
        delivery: Delivery,
    ) -> impl Future<Output = Result<PlanOf<Self>, Error>> + Send;

    /// Does a piece of work.
    fn work(
        &self,
        lake: &Lake,
        unit: &Self::Unit,
        details: Vec<Self::Detail>,
    ) -> impl Future<Output = Result<Report, Error>> + Send;

    /// Does pieces of work that have inputs in common, and looks at those once. Returns what came of
    /// them; each of which nothing is returned is done for itself.
    fn work_together(
        &self,
        lake: &Lake,
        units: &BTreeMap<Self::Unit, Vec<Self::Detail>>,
    ) -> impl Future<Output = Vec<Done<Self::Unit>>> + Send {
        let _ = (lake, units);
        async { Vec::new() }
    }

    /// The keys to look at because something under them was added, replaced, deleted or left
    /// unfinished while no event of it was delivered: what the lake is, compared with what this
    /// function should have made of it.
    fn unfinished(&self, lake: &Lake)
    -> impl Future<Output = Result<Vec<ObjectKey>, Error>> + Send;

    /// The keys to look at because time has made them due, at this time, epoch milliseconds; none
    /// where the work does not depend on time.
    fn due(
        &self,
        lake: &Lake,
        time_ms: i64,
    ) -> impl Future<Output = Result<Vec<ObjectKey>, Error>> + Send {
        let _ = (lake, time_ms);
        async { Ok(Vec::new()) }
    }

    /// Records that the work of a key is done.
    fn settle(
        &self,
        lake: &Lake,
        settle: Self::Settle,
    ) -> impl Future<Output = Result<(), Error>> + Send;
}

/// The answer to a batch of SQS messages: those that must be delivered again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchResponse {
    /// The failed messages.
    pub batch_item_failures: Vec<BatchItemFailure>,
}

/// A message that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchItemFailure {
    /// Its `messageId`.
    pub item_identifier: String,
}

/// What came of an event.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The messages to deliver again.
    pub response: BatchResponse,
    /// What was counted.
    pub report: Report,
    /// Failures, one for each message that had one; all were logged.
    pub errors: Vec<Arc<Error>>,
}

impl Outcome {
    /// The answer for Lambda: a partial batch response, or an error where the event as a whole
    /// succeeds or fails.
    pub fn answer(self) -> Result<BatchResponse, Arc<Error>> {
        let identified = self.response.batch_item_failures.len();
        match self.errors.into_iter().nth(identified) {
            Some(error) => Err(error),
            None => Ok(self.response),
        }
    }

    /// Adds the failure of a message.
    fn fail(&mut self, id: Option<String>, error: Arc<Error>) {
        match id {
            Some(item_identifier) => {
                // Errors of identified messages come first.
                self.errors.insert(self.response.batch_item_failures.len(), error);
                self.response.batch_item_failures.push(BatchItemFailure { item_identifier });
            }
            None => self.errors.push(error),
        }
    }
}

/// How many keys a reconciliation works on before it looks at the time again.
const RECONCILED_AT_ONCE: usize = 64;

/// Handles an event, whatever envelope it comes in.
pub async fn handle<F: Function>(
    lake: &Lake,
    function: &F,
    event: &serde_json::Value,
) -> Result<Outcome, EventError> {
    let messages = events::decode_value(event)?;
    Ok(handle_messages(lake, function, messages, &|| true).await)
}

/// Handles messages that were decoded already. What a reconciliation cannot finish while
/// `has_time` is left to the next.
pub async fn handle_messages<F: Function>(
    lake: &Lake,
    function: &F,
    messages: Vec<Message>,
    has_time: &(dyn Fn() -> bool + Sync),
) -> Outcome {
    let asks_to_reconcile = |message: &Message| matches!(message.ask, Ok(Ask::Reconcile { .. }));
    let (reconciliations, looks): (Vec<_>, Vec<_>) =
        messages.into_iter().partition(asks_to_reconcile);
    let mut outcome = look(lake, function, looks).await;
    if reconciliations.is_empty() {
        return outcome;
    }
    // Once is enough, however many ask.
    let times = reconciliations.iter().filter_map(|message| match &message.ask {
        Ok(Ask::Reconcile { time_ms }) => *time_ms,
        _ => None,
    });
    let (report, failure) = reconcile(lake, function, times.max(), has_time).await;
    outcome.report += report;
    if let Some(failure) = failure {
        for message in reconciliations {
            outcome.fail(message.id, Arc::clone(&failure));
        }
    }
    outcome
}

async fn look<F: Function>(lake: &Lake, function: &F, messages: Vec<Message>) -> Outcome {
    let mut batch = Batch::new(messages);
    batch.plan(lake, function).await;
    batch.work(lake, function).await;
    batch.settle(lake, function).await;
    batch.outcome(function)
}

/// Finds what was left unfinished, and what is due, and works on it; returns the first failure,
/// too.
async fn reconcile<F: Function>(
    lake: &Lake,
    function: &F,
    time_ms: Option<i64>,
    has_time: &(dyn Fn() -> bool + Sync),
) -> (Report, Option<Arc<Error>>) {
    let mut report = Report::default();
    let mut failure = None;
    let unfinished = function.unfinished(lake).await;
    report.unfinished = unfinished.as_ref().map_or(0, |keys| keys.len() as u64);
    work_off(lake, function, unfinished, RECONCILED_AT_ONCE, has_time, (&mut report, &mut failure))
        .await;
    if let Some(time_ms) = time_ms {
        // What is due may be much work: one key at a time, so that no more is begun than there is
        // time for.
        let due = function.due(lake, time_ms).await;
        work_off(lake, function, due, 1, has_time, (&mut report, &mut failure)).await;
    }
    (report, failure)
}

/// Works on keys, so many at once, while there is time.
async fn work_off<F: Function>(
    lake: &Lake,
    function: &F,
    keys: Result<Vec<ObjectKey>, Error>,
    at_once: usize,
    has_time: &(dyn Fn() -> bool + Sync),
    (report, failure): (&mut Report, &mut Option<Arc<Error>>),
) {
    let keys = match keys {
        Ok(keys) => keys,
        Err(error) => {
            error!(function = function.name(), "find what is to be done: {error}");
            failure.get_or_insert(Arc::new(error));
            return;
        }
    };
    let mut left = keys.len();
    for keys in keys.chunks(at_once) {
        if !has_time() {
            warn!(function = function.name(), left, "out of time: what is left is found again");
            break;
        }
        left -= keys.len();
        // Each for itself: what one fails at does not keep the others from being settled.
        let messages = keys.iter().map(|key| Message::to_look_at(std::slice::from_ref(key)));
        let looked = look(lake, function, messages.collect()).await;
        *report += looked.report;
        if let Some(error) = looked.errors.into_iter().next() {
            failure.get_or_insert(error);
        }
    }
}

#[cfg(not(panic = "unwind"))]
compile_error!("what panics would take its whole batch with it: build with `panic = \"unwind\"`");

/// A panic is the failure of what was being done, and not of what else is in the batch: an object
/// that makes one is given up alone. Nothing that outlives the work is left half changed: the lake
/// keeps only whole documents.
async fn guarded<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let done = AssertUnwindSafe(work).catch_unwind().await;
    done.unwrap_or_else(|panic| Err(Error::Panicked { reason: said(panic.as_ref()) }))
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> String {
    let literal = panic.downcast_ref::<&str>().map(|said| (*said).to_owned());
    literal.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

struct Batch<F: Function> {
    messages: Vec<(Option<String>, Delivery, Vec<ObjectKey>)>,
    units: BTreeMap<F::Unit, Asked<F>>,
    /// Of each key, with the messages that ask for it.
    settles: Vec<(Vec<usize>, F::Settle)>,
    failures: BTreeMap<usize, Arc<Error>>,
    report: Report,
}

struct Asked<F: Function> {
    details: Vec<F::Detail>,
    messages: Vec<usize>,
}

impl<F: Function> Batch<F> {
    fn new(messages: Vec<Message>) -> Self {
        let mut failures = BTreeMap::new();
        let keyed = messages.into_iter().enumerate().map(|(index, message)| {
            let keys = message.changes().iter().map(|change| change.key.clone()).collect();
            if let Err(error) = message.ask {
                failures.insert(index, Arc::new(error.into()));
            }
            (message.id, message.delivery, keys)
        });
        let messages = keyed.collect();
        Self {
            messages,
            units: BTreeMap::new(),
            settles: Vec::new(),
            failures,
            report: Report::default(),
        }
    }

    async fn plan(&mut self, lake: &Lake, function: &F) {
        let mut asked: BTreeMap<ObjectKey, (Delivery, Vec<usize>)> = BTreeMap::new();
        for (index, (_, delivery, keys)) in self.messages.iter().enumerate() {
            for key in keys {
                let asked = asked.entry(key.clone()).or_insert((*delivery, Vec::new()));
                asked.0 = asked.0.max(*delivery);
                asked.1.push(index);
            }
        }
        let plans: Vec<_> = stream::iter(asked)
            .map(|(key, (delivery, indices))| async move {
                let span = info_span!("plan", function = function.name(), %key);
                let plan = function.plan(lake, &key, delivery);
                (guarded(plan).instrument(span).await, indices)
            })
            .buffered(lake.bounds.concurrency)
            .collect()
            .await;
        for (plan, indices) in plans {
            match plan {
                Ok(plan) => self.add(plan, &indices),
                Err(error) => self.fail(&indices, error),
            }
        }
    }

    fn add(&mut self, plan: Plan<F::Unit, F::Detail, F::Settle>, indices: &[usize]) {
        self.report += plan.report;
        for (unit, details) in plan.units {
            let asked = self
                .units
                .entry(unit)
                .or_insert_with(|| Asked { details: Vec::new(), messages: Vec::new() });
            asked.details.extend(details);
            asked.messages.extend(indices);
        }
        self.settles.extend(plan.settle.map(|settle| (indices.to_vec(), settle)));
    }

    async fn work(&mut self, lake: &Lake, function: &F) {
        let mut messages = BTreeMap::new();
        let mut units = BTreeMap::new();
        for (unit, asked) in std::mem::take(&mut self.units) {
            messages.insert(unit.clone(), asked.messages);
            units.insert(unit, asked.details);
        }
        let together = async { Ok(function.work_together(lake, &units).await) };
        let span = info_span!("work together", function = function.name());
        let mut done = guarded(together).instrument(span).await.unwrap_or_else(|error| {
            warn!(function = function.name(), "each for itself: {error}");
            Vec::new()
        });
        for (unit, _) in &done {
            units.remove(unit);
        }
        let alone = stream::iter(units)
            .map(|(unit, details)| async move {
                let span = info_span!("work", function = function.name(), ?unit);
                let result = guarded(function.work(lake, &unit, details)).instrument(span).await;
                (unit, result)
            })
            .buffered(lake.bounds.concurrency);
        done.extend(alone.collect::<Vec<_>>().await);
        for (unit, result) in done {
            let indices = messages.remove(&unit).unwrap_or_default();
            match result {
                Ok(report) => self.report += report,
                Err(error) => self.fail(&indices, error),
            }
        }
    }

    /// Records what is done, for the messages of which nothing failed.
    async fn settle(&mut self, lake: &Lake, function: &F) {
        let mut done = std::mem::take(&mut self.settles);
        done.retain(|(indices, _)| indices.iter().any(|index| !self.failures.contains_key(index)));
        let settled: Vec<_> = stream::iter(done)
            .map(|(indices, settle)| async move {
                (indices, guarded(function.settle(lake, settle)).await)
            })
            .buffered(lake.bounds.looks_at_once)
            .collect()
            .await;
        for (indices, settled) in settled {
            if let Err(error) = settled {
                self.fail(&indices, error);
            }
        }
    }

    fn fail(&mut self, indices: &[usize], error: Error) {
        let error = Arc::new(error);
        for index in indices {
            self.failures.entry(*index).or_insert_with(|| Arc::clone(&error));
        }
    }

    fn outcome(self, function: &F) -> Outcome {
        let mut outcome = Outcome { report: self.report, ..Outcome::default() };
        for (index, failure) in self.failures {
            let (id, _, keys) = &self.messages[index];
            error!(
                function = function.name(),
                message_id = id.as_deref(),
                ?keys,
                retryable = failure.is_retryable(),
                "{failure}"
            );
            outcome.fail(id.clone(), failure);
        }
        outcome
    }
}
