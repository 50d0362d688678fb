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
use std::sync::Arc;

use futures::{join, try_join};
use lake::comparison::Comparison;
use lake::customer::Customer;
use lake::error::Error;
use lake::events::Delivery;
use lake::function::{Function, Plan};
use lake::key::{ETag, KeyHash, ObjectKey, Part};
use lake::lake::{Lake, Put, Room};
use lake::landing::{Landed, Piece, Records};
use lake::layout;
use lake::quarantine::{self, Lines};
use lake::report::Report;
use lake::tables::{CUSTOMER_LANDING, CUSTOMER_TRUSTED, Stream, Table};

use self::register::Published;
pub use self::register::{CustomerManifest, CustomerRegister, RegisterRow};
pub use self::transform::fold;

/// The tables it registers.
const TABLES: [&Table; 2] = [&CUSTOMER_LANDING, &CUSTOMER_TRUSTED];

/// The function.
pub struct CustomerLandingToTrusted;

/// A version of a landing object whose records are folded.
#[derive(Clone, Debug)]
pub struct Folded {
    landing: ObjectKey,
    version: Option<ETag>,
    /// Its manifest, as it was published before.
    manifest: Published,
    /// What its records took until they were.
    _room: Option<Arc<Room>>,
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
        _: Delivery,
    ) -> Result<Plan<Part, Customer, Folded>, Error> {
        if let Some(part) = layout::part_of_key(key, layout::TRUSTED_CUSTOMER) {
            return Ok(Plan::unit(part));
        }
        if key.after(layout::landing(Stream::Customer)).is_none() {
            return Ok(Plan::nothing());
        }
        let mut moved = "";
        let mut people = People::default();
        for attempt in 0..lake.bounds.attempts_max {
            match attempt_plan(lake, key, &mut people).await? {
                Ok(mut plan) => {
                    plan.report.conflicts = attempt as u64;
                    return Ok(plan);
                }
                Err(what) => moved = what,
            }
        }
        Err(lake.contended(format!("read {key}"), moved))
    }

    async fn work(
        &self,
        lake: &Lake,
        part: &Part,
        records: Vec<Customer>,
    ) -> Result<Report, Error> {
        let (registered, noted, folded) = join!(
            lake.register(&TABLES),
            project::note(lake, *part),
            register::fold_into(lake, *part, records),
        );
        // What was delivered is folded, whatever else fails: its landing object may be gone next time.
        folded.and(registered)?;
        project::project(lake, *part, noted?).await
    }

    async fn unfinished(&self, lake: &Lake) -> Result<Vec<ObjectKey>, Error> {
        let mut comparison = Comparison::begin(lake, self.name()).await;
        let mut keys = register::unfolded(lake, &mut comparison).await?;
        keys.extend(project::behind(lake, &mut comparison).await?);
        comparison.register(lake, &TABLES).await?;
        comparison.end(lake).await;
        Ok(keys)
    }

    async fn settle(&self, lake: &Lake, folded: Folded) -> Result<(), Error> {
        register::record_folded(lake, &folded.landing, folded.version.as_ref(), folded.manifest)
            .await
    }
}

/// One attempt; the inner error says what moved. The records that were read are kept whatever
/// moves: they were delivered, and nobody else may ever see them again.
async fn attempt_plan(
    lake: &Lake,
    key: &ObjectKey,
    people: &mut People,
) -> Result<Result<Plan<Part, Customer, Folded>, &'static str>, Error> {
    let (known, landed) = try_join!(register::manifest(lake, key), read(lake, key, people))?;
    let named = people.parts(lake);
    let published = register::publish(lake, key, known, &landed, &named).await?;
    let manifest = &published.manifest;
    if manifest.had_fragments
        && quarantine::derive(lake, Stream::Customer, key, &landed).await? == Put::Moved
    {
        return Ok(Err("the quarantine"));
    }
    if lake.store.head(key).await?.map(|meta| meta.etag) != landed.version {
        return Ok(Err("the landing object"));
    }
    let people = std::mem::take(people);
    let _room = people.room.clone();
    let mut parts = people.split(lake);
    let units = manifest.parts().map(|part| (part, parts.remove(&part).unwrap_or_default()));
    let units = units.collect();
    let report = Report {
        records: landed.summary.rows + landed.summary.fragments,
        source_bytes: landed.summary.source_bytes,
        quarantined: landed.summary.fragments,
        ..Report::default()
    };
    let (landing, version) = (key.clone(), landed.version);
    let settle = Some(Folded { landing, version, manifest: published, _room });
    Ok(Ok(Plan { units, settle, report }))
}

/// Reads a landing object. The records of one that has more people than may be held are folded as
/// they pass.
async fn read(lake: &Lake, key: &ObjectKey, people: &mut People) -> Result<Landed, Error> {
    let Some(mut records) = Records::open(lake, Stream::Customer, key).await? else {
        return Ok(Landed::default());
    };
    let mut lines = Lines::new(lake);
    let held_bytes_max = records.held_bytes_max(lake);
    while let Some(piece) = records.next().await? {
        match piece {
            Piece::Fragment(fragment) => lines.add(key, &fragment)?,
            Piece::Batch(batch) => {
                for record in Customer::from_batch(&batch) {
                    people.keep(lake.key.person(record.email()), record);
                }
                if people.bytes > held_bytes_max {
                    fold_early(lake, key, people).await?;
                }
            }
        }
    }
    // What is left waits, with that of other landing objects, until the parts are worked on: so that
    // a part is written once for all of them.
    people.room = lake.room_to_wait(people.bytes).map(Arc::new);
    if people.room.is_none() && people.bytes > lake.bounds.small_bytes_max {
        fold_early(lake, key, people).await?;
    }
    Ok(records.landed(lines))
}

/// Folds the people into the register before the whole landing object was read. Its manifest names
/// their parts before: whoever looks at it again brings those to rest.
async fn fold_early(lake: &Lake, key: &ObjectKey, people: &mut People) -> Result<(), Error> {
    register::name_parts(lake, key, &people.parts(lake)).await?;
    for (part, records) in std::mem::take(people).split(lake) {
        register::fold_into(lake, part, records).await?;
    }
    Ok(())
}

/// The newest record of each person.
#[derive(Default)]
struct People {
    newest: BTreeMap<KeyHash, Customer>,
    /// Memory they take, about.
    bytes: u64,
    /// In which they wait.
    room: Option<Arc<Room>>,
}

impl People {
    fn keep(&mut self, person: KeyHash, record: Customer) {
        let before = self.newest.get(&person).map_or(0, Customer::memory_bytes);
        transform::keep_newest(&mut self.newest, person, record);
        let after = self.newest.get(&person).map_or(0, Customer::memory_bytes);
        self.bytes = (self.bytes + after).saturating_sub(before);
    }

    /// The parts of the register they fall into.
    fn parts(&self, lake: &Lake) -> BTreeSet<Part> {
        self.newest.keys().map(|person| person.part(lake.settings.parts)).collect()
    }

    /// By part of the register.
    fn split(self, lake: &Lake) -> BTreeMap<Part, Vec<Customer>> {
        let mut parts: BTreeMap<Part, Vec<Customer>> = BTreeMap::new();
        for (person, record) in self.newest {
            parts.entry(person.part(lake.settings.parts)).or_default().push(record);
        }
        parts
    }
}
