//! customer_landing → customer_trusted.
//!
//! ```sql
//! -- a customer is the newest record of an e-mail; it counts if it consents.
//! select <columns> from (
//!   select *, row_number() over (partition by key(email) order by <newest first>) as n
//!   from customer_landing) where n = 1 and sharewithresearchasofdate is not null
//! ```
//!
//! Records are folded into the customer register, where each stands until a newer one of the same
//! person, also when its landing object is overwritten or deleted: a withdrawal must outlive its
//! file. From the register follow, in this order, the consents that others read and the part of
//! customer_trusted. Both are compared at every invocation, also when the fold changed nothing:
//! that makes a crash between the writes harmless.

mod project;
mod register;
mod transform;

use std::collections::{BTreeMap, BTreeSet};

use lake::customer::Customer;
use lake::error::Error;
use lake::function::{Function, Plan};
use lake::key::{ETag, KeyHash, ObjectKey, Part, Source};
use lake::lake::{Lake, Put};
use lake::landing;
use lake::layout;
use lake::quarantine;
use lake::report::Report;
use lake::tables::{CUSTOMER_LANDING, CUSTOMER_TRUSTED, Stream};

pub use self::register::{CustomerManifest, CustomerRegister, RegisterRow};
pub use self::transform::fold;

/// The function.
pub struct CustomerLandingToTrusted;

/// A version of a landing object whose records are folded.
#[derive(Clone, Debug)]
pub struct Folded {
    landing: ObjectKey,
    version: Option<ETag>,
}

impl Function for CustomerLandingToTrusted {
    type Unit = Part;
    type Detail = Customer;
    type Settle = Folded;

    fn name(&self) -> &'static str {
        env!("CARGO_PKG_NAME")
    }

    /// Reads a landing object. Its parts are worked on once for all landing objects of a batch.
    /// The key of a part of customer_trusted asks to bring that up to the register: no event does,
    /// but what is found unfinished.
    async fn plan(
        &self,
        lake: &Lake,
        key: &ObjectKey,
    ) -> Result<Plan<Part, Customer, Folded>, Error> {
        if let Some(part) = layout::part_of_key(key, layout::TRUSTED_CUSTOMER) {
            return Ok(Plan::unit(part));
        }
        if key.after(layout::landing(Stream::Customer)).is_none() {
            return Ok(Plan::nothing());
        }
        let mut moved = "";
        let mut people = BTreeMap::new();
        for attempt in 0..lake.bounds.attempts_max {
            match attempt_plan(lake, key, &mut people).await? {
                Ok(mut plan) => {
                    plan.report.conflicts = attempt as u64;
                    return Ok(plan);
                }
                Err(what) => moved = what,
            }
        }
        Err(Error::Contended {
            what: format!("read {key}"),
            moved: moved.to_owned(),
            attempts: lake.bounds.attempts_max,
        })
    }

    async fn work(
        &self,
        lake: &Lake,
        part: &Part,
        records: Vec<Customer>,
    ) -> Result<Report, Error> {
        lake.register(&CUSTOMER_LANDING).await?;
        lake.register(&CUSTOMER_TRUSTED).await?;
        register::fold_into(lake, *part, records).await?;
        project::project(lake, *part).await
    }

    async fn unfinished(&self, lake: &Lake) -> Result<Vec<ObjectKey>, Error> {
        let mut keys = register::unfolded(lake).await?;
        keys.extend(project::behind(lake).await?);
        Ok(keys)
    }

    async fn settle(&self, lake: &Lake, folded: Folded) -> Result<(), Error> {
        register::record_folded(lake, &folded.landing, folded.version.as_ref()).await
    }
}

/// One attempt; the inner error says what moved. The records that were read are kept whatever
/// moves: they were delivered, and nobody else may ever see them again.
async fn attempt_plan(
    lake: &Lake,
    key: &ObjectKey,
    people: &mut BTreeMap<KeyHash, Customer>,
) -> Result<Result<Plan<Part, Customer, Folded>, &'static str>, Error> {
    let landed = landing::read(lake, Stream::Customer, key).await?;
    for record in landed.batches.iter().flat_map(Customer::from_batch) {
        transform::keep_newest(people, lake.key.person(record.email()), record);
    }
    let mut parts = split(lake, people);
    let source = Source::of(key);
    let named: BTreeSet<Part> = parts.keys().copied().collect();
    let Some(manifest) = register::publish(lake, key, source, &landed, &named).await? else {
        return Ok(Err("the manifest"));
    };
    if manifest.had_fragments
        && quarantine::derive(lake, Stream::Customer, key, &landed).await? == Put::Moved
    {
        return Ok(Err("the quarantine"));
    }
    if lake.store.head(key).await?.map(|meta| meta.etag) != landed.version {
        return Ok(Err("the landing object"));
    }
    let units = manifest.parts().map(|part| (part, parts.remove(&part).unwrap_or_default()));
    let units = units.collect();
    let report = Report {
        records: landed.summary.rows + landed.summary.fragments,
        source_bytes: landed.summary.source_bytes,
        quarantined: landed.summary.fragments,
        ..Report::default()
    };
    let settle = Some(Folded { landing: key.clone(), version: landed.version });
    Ok(Ok(Plan { units, settle, report }))
}

/// The newest record of each person, by part of the register.
fn split(lake: &Lake, people: &BTreeMap<KeyHash, Customer>) -> BTreeMap<Part, Vec<Customer>> {
    let mut parts: BTreeMap<Part, Vec<Customer>> = BTreeMap::new();
    for (person, record) in people {
        parts.entry(person.part(lake.settings.parts)).or_default().push(record.clone());
    }
    parts
}
