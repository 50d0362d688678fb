//! What a message asks for fails alone, whatever it fails of.

use std::collections::BTreeMap;
use std::sync::Arc;

use lake::catalog::StoreCatalog;
use lake::error::Error;
use lake::events::{Delivery, Message};
use lake::function::{self, Done, Function, Outcome, Plan, PlanOf};
use lake::key::{LakeKey, ObjectKey, Parts};
use lake::lake::Lake;
use lake::policy::Policies;
use lake::report::Report;
use lake::store::MemoryStore;

/// Panics at what its key names.
struct Panics;

impl Panics {
    fn at(step: &str, key: &ObjectKey) {
        assert_ne!(key.as_str(), step, "the {step} of a key that makes a panic");
    }
}

impl Function for Panics {
    type Unit = ObjectKey;
    type Detail = ();
    type Settle = ObjectKey;

    fn name(&self) -> &'static str {
        "panics"
    }

    async fn plan(&self, _: &Lake, key: &ObjectKey, _: Delivery) -> Result<PlanOf<Self>, Error> {
        Self::at("plan", key);
        Ok(Plan { settle: Some(key.clone()), ..Plan::unit(key.clone()) })
    }

    async fn work(&self, _: &Lake, key: &ObjectKey, _: Vec<()>) -> Result<Report, Error> {
        Self::at("work", key);
        Ok(Report { objects_written: 1, ..Report::default() })
    }

    /// Of the first of them only.
    async fn work_together(
        &self,
        _: &Lake,
        keys: &BTreeMap<ObjectKey, Vec<()>>,
    ) -> Vec<Done<ObjectKey>> {
        keys.keys().for_each(|key| Self::at("together", key));
        let report = Report { objects_written: 1, ..Report::default() };
        keys.keys().take(1).map(|key| (key.clone(), Ok(report))).collect()
    }

    async fn unfinished(&self, _: &Lake) -> Result<Vec<ObjectKey>, Error> {
        Ok(Vec::new())
    }

    async fn settle(&self, _: &Lake, key: ObjectKey) -> Result<(), Error> {
        Self::at("settle", &key);
        Ok(())
    }
}

#[expect(clippy::unwrap_used, reason = "a part of the tests")]
async fn handle(keys: &[&str]) -> Outcome {
    let store = Arc::new(MemoryStore::default());
    let catalog = Arc::new(StoreCatalog::new(Arc::new(MemoryStore::default())));
    let key = LakeKey::new(b"a secret of the function test").unwrap();
    let parts = Parts::try_from(16).unwrap();
    let lake = Lake::open(store, catalog, key, parts, Policies::default()).await.unwrap();
    let messages = keys.iter().map(|key| {
        let looks = Message::to_look_at(&[ObjectKey::new(*key)]);
        Message { id: Some((*key).to_owned()), ..looks }
    });
    function::handle_messages(&lake, &Panics, messages.collect(), &|| true).await
}

#[tokio::test]
async fn a_panic_fails_the_message_that_made_it_and_no_other() {
    let outcome = handle(&["before", "plan", "settle", "work", "z"]).await;
    let failures = outcome.response.batch_item_failures.iter();
    let failed: Vec<&str> = failures.map(|failure| failure.item_identifier.as_str()).collect();
    assert_eq!(failed, ["plan", "settle", "work"]);
    for (error, step) in outcome.errors.iter().zip(failed) {
        let Error::Panicked { reason } = error.as_ref() else { panic!("{error}") };
        assert!(reason.contains(step), "{reason}");
    }
    assert_eq!(outcome.report.objects_written, 3, "those before, after and at `settle`, once each");
}

#[tokio::test]
async fn what_makes_a_panic_together_is_done_alone() {
    let outcome = handle(&["before", "together", "z"]).await;
    assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
    assert_eq!(outcome.report.objects_written, 3);
}
