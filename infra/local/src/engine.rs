//! Runs the chain: hands out what waits in the queues to the functions until nothing waits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use chain::FunctionName;
use lake::error::Error;
use lake::events;
use lake::key::ObjectKey;
use lake::lake::Lake;
use lake::report::Report;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::failure::Failure;
use crate::queues::{Batch, Queues};

/// How often a key is delivered before it is given up.
const DELIVERIES_MAX: u32 = 5;
const BUCKET: &str = "local";

/// The chain over a lake.
pub(crate) struct Engine {
    pub(crate) lake: Arc<Lake>,
    pub(crate) queues: Arc<Queues>,
    pub(crate) workers: usize,
}

/// What it took to come to rest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Effort {
    /// Invocations, by function.
    pub(crate) invocations: BTreeMap<&'static str, u64>,
    /// What they counted.
    pub(crate) report: Report,
    /// What was given up, with the reason.
    pub(crate) dead_letters: Vec<(ObjectKey, String)>,
}

impl Effort {
    /// An error, if anything was given up.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match self.dead_letters.first() {
            None => Ok(()),
            Some((key, reason)) => Err(Failure::DeadLetters {
                count: self.dead_letters.len(),
                first: format!("{key}: {reason}"),
            }),
        }
    }
}

impl Engine {
    /// Queues whatever was added, replaced, deleted or left unfinished while nobody was looking.
    pub(crate) async fn reconcile(&self) -> Result<(), Error> {
        for function in FunctionName::ALL {
            for key in function.unfinished(&self.lake).await? {
                self.queues.ask(function, key);
            }
        }
        Ok(())
    }

    /// Works until nothing waits.
    pub(crate) async fn come_to_rest(&self) -> Result<Effort, Failure> {
        let effort = Arc::new(Mutex::new(Effort::default()));
        let mut workers = JoinSet::new();
        for _ in 0..self.workers {
            let (lake, queues) = (Arc::clone(&self.lake), Arc::clone(&self.queues));
            let (effort, count) = (Arc::clone(&effort), self.workers);
            let work = async move {
                while let Some(batch) = queues.next(count).await {
                    invoke(&lake, &queues, &batch, &effort).await;
                }
            };
            // A thread of its own for each: an invocation seldom waits, and as a task of the runtime
            // it would keep another that it woke from every other thread (tokio's LIFO slot).
            let runtime = Handle::current();
            workers.spawn_blocking(move || runtime.block_on(work));
        }
        while let Some(ended) = workers.join_next().await {
            ended.map_err(|error| Failure::Other(format!("a worker ended: {error}")))?;
        }
        Ok(std::mem::take(&mut *effort.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Delivers a batch as the account does: EventBridge events in SQS messages.
async fn invoke(lake: &Lake, queues: &Queues, batch: &Batch, effort: &Mutex<Effort>) {
    let function = batch.function();
    let keys: Vec<&ObjectKey> = batch.keys.keys().collect();
    let bodies: Vec<(String, Value, u32)> = batch
        .keys
        .iter()
        .enumerate()
        .map(|(id, (key, asked))| {
            let deliveries = asked.deliveries.max(asked.is_begun.into());
            (id.to_string(), events::object_event(BUCKET, key, true), deliveries)
        })
        .collect();
    let messages = bodies.iter().map(|(id, body, deliveries)| (id.as_str(), body, *deliveries));
    let event = events::sqs_batch(messages);
    let outcome = function.invoke(lake, &event).await;

    let mut effort = effort.lock().unwrap_or_else(PoisonError::into_inner);
    *effort.invocations.entry(function.as_str()).or_default() += 1;
    let failed: Vec<(usize, String)> = match outcome {
        Ok(outcome) => {
            effort.report += outcome.report;
            let failures = outcome.response.batch_item_failures.into_iter();
            let reasons = outcome.errors.iter().map(ToString::to_string);
            failures
                .zip(reasons)
                .filter_map(|(failure, reason)| {
                    Some((failure.item_identifier.parse().ok()?, reason))
                })
                .collect()
        }
        Err(error) => (0..keys.len()).map(|id| (id, error.to_string())).collect(),
    };
    for (id, reason) in failed {
        let Some(key) = keys.get(id) else { continue };
        let deliveries = batch.keys.get(*key).map_or(0, |asked| asked.deliveries) + 1;
        if deliveries < DELIVERIES_MAX {
            queues.deliver_again(batch, (*key).clone(), deliveries);
        } else {
            effort.dead_letters.push(((*key).clone(), reason));
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lake::catalog::StoreCatalog;
    use lake::key::{LakeKey, Parts};
    use lake::policy::Policies;
    use lake::store::{MemoryStore, Precondition};

    use super::*;
    use crate::queues::AnnouncingStore;

    const WELL: &str = "landing/customer/well.json";
    const PANICS: &str = "landing/customer/panics.json";

    #[tokio::test]
    async fn a_panic_gives_up_its_key_and_the_chain_comes_to_rest() {
        let queues = Arc::new(Queues::new(None));
        let store = Arc::new(MemoryStore::default().before(|call, key| {
            assert!(call != "stream" || key.as_str() != PANICS, "this one");
            Ok(())
        }));
        let store = Arc::new(AnnouncingStore { store, queues: Arc::clone(&queues) });
        let catalog = Arc::new(StoreCatalog::new(Arc::new(MemoryStore::default())));
        let key = LakeKey::new(b"a secret of the engine test").unwrap();
        let parts = Parts::try_from(16).unwrap();
        let lake = Lake::open(store, catalog, key, parts, Policies::default()).await.unwrap();
        let lake = Arc::new(lake);
        let record = r#"{"email":"a@test.com","serialNumber":"s","registrationDate":1,
            "shareWithResearchAsOfDate":1}"#;
        for key in [WELL, PANICS] {
            let bytes = Bytes::from_static(record.as_bytes());
            lake.store.put(&ObjectKey::new(key), bytes, Precondition::None).await.unwrap();
        }

        let effort = Engine { lake, queues, workers: 2 }.come_to_rest().await.unwrap();

        let [(key, reason)] = effort.dead_letters.as_slice() else {
            panic!("{:?}", effort.dead_letters)
        };
        assert_eq!(key.as_str(), PANICS);
        assert!(reason.contains("this one"), "{reason}");
        assert_eq!(effort.report.records, 1, "of the other");
    }
}
