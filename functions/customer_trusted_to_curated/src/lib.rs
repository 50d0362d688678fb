//! customer_trusted → customer_curated.
//!
//! ```sql
//! -- trusted customers who have accelerometer data.
//! select c.* from customer_trusted c
//! where exists (select 1 from accelerometer_trusted a where key(a.user) = key(c.email))
//! ```
//!
//! Whether a person has accelerometer data is read from the manifests of the accelerometer's
//! landing objects: they say whose readings each holds, and from when to when.

mod presence;
mod project;
mod transform;
mod unfinished;

use std::collections::{BTreeMap, BTreeSet};

use lake::customer::Customer;
use lake::error::Error;
use lake::function::{Function, Plan};
use lake::key::{ETag, KeyHash, ObjectKey, Part, Source};
use lake::lake::{Lake, Put, Versioned};
use lake::landing::row_bytes;
use lake::layout::{self, Slice};
use lake::manifest;
use lake::object::{self, Rows};
use lake::registers::{CuratedRegister, TrustedPart, TrustedRow};
use lake::report::Report;
use lake::store::{ByteRange, Object};
use lake::tables::{CUSTOMER_CURATED, Stream};

pub use self::transform::{Doubt, Follow, follow};

/// The function.
pub struct CustomerTrustedToCurated;

/// Why a part is looked at.
#[derive(Clone, Copy, Debug)]
pub enum Asked {
    /// The part of customer_trusted changed.
    Whole,
    /// A landing object with readings of that person did.
    Person(KeyHash, Source),
}

impl Function for CustomerTrustedToCurated {
    type Unit = Part;
    type Detail = Asked;
    type Settle = ();

    fn name(&self) -> &'static str {
        env!("CARGO_PKG_NAME")
    }

    /// A part of customer_trusted is followed whole; an accelerometer object asks again for every
    /// person its source ever named, not only for those still in it.
    async fn plan(&self, lake: &Lake, key: &ObjectKey) -> Result<Plan<Part, Asked, ()>, Error> {
        if let Some(part) = layout::part_of_key(key, layout::TRUSTED_CUSTOMER) {
            return Ok(Plan { units: vec![(part, vec![Asked::Whole])], ..Plan::nothing() });
        }
        let Some(slice) = Slice::of_key(key, layout::TRUSTED_ACCELEROMETER) else {
            return Ok(Plan::nothing());
        };
        let manifest = manifest::load(lake, Stream::Accelerometer, slice.source).await?;
        let mut parts: BTreeMap<Part, Vec<Asked>> = BTreeMap::new();
        for person in manifest.iter().flat_map(|manifest| manifest.value.keys.keys()) {
            let asked = parts.entry(person.part(lake.settings.parts)).or_default();
            asked.push(Asked::Person(*person, slice.source));
        }
        Ok(Plan { units: parts.into_iter().collect(), ..Plan::nothing() })
    }

    async fn work(&self, lake: &Lake, part: &Part, reasons: Vec<Asked>) -> Result<Report, Error> {
        lake.register(&CUSTOMER_CURATED).await?;
        let mut asked: BTreeMap<KeyHash, BTreeSet<Source>> = BTreeMap::new();
        let mut whole = false;
        for reason in reasons {
            match reason {
                Asked::Whole => whole = true,
                Asked::Person(person, source) => {
                    asked.entry(person).or_default().insert(source);
                }
            }
        }
        if !whole && is_decided(lake, *part, &asked).await? {
            return Ok(Report::default());
        }
        let mut moved = "";
        for attempt in 0..lake.bounds.attempts_max {
            match attempt_curate(lake, *part, &asked).await? {
                Ok(mut report) => {
                    report.conflicts = attempt as u64;
                    return Ok(report);
                }
                Err(what) => moved = what,
            }
        }
        Err(lake.contended(format!("curate part {part}"), moved))
    }

    async fn unfinished(&self, lake: &Lake) -> Result<Vec<ObjectKey>, Error> {
        unfinished::find(lake).await
    }

    async fn settle(&self, _: &Lake, (): ()) -> Result<(), Error> {
        Ok(())
    }
}

/// Whether nothing of what is asked needs a decision: they are not trusted, or another landing object
/// is witness. That is what further readings come to, and a look at the register tells.
///
/// Not where the register is behind customer_trusted: whoever brings it up may have looked for
/// witnesses before there were these readings. Whoever made it what it is brings what follows from it
/// up to it, and is delivered again if it died before.
async fn is_decided(
    lake: &Lake,
    part: Part,
    asked: &BTreeMap<KeyHash, BTreeSet<Source>>,
) -> Result<bool, Error> {
    let found = lake.load::<CuratedRegister>(&layout::curated_register(part)).await?;
    let Some(register) = found.map(|found| found.value) else { return Ok(false) };
    let consent = lake.settings.policies.consent;
    if !register.unconfirmed.is_empty()
        || register.consent != consent
        || !Follow::new(&register, None, asked, consent).doubts.is_empty()
    {
        return Ok(false);
    }
    let trusted = layout::customer_part(layout::TRUSTED_CUSTOMER, part);
    let trusted = lake.store.head(&trusted).await?.map(|meta| meta.etag);
    Ok(trusted.as_ref() == register.trusted.as_ref().map(|trusted| &trusted.etag))
}

/// One attempt; the inner error says what moved.
///
/// Everything that was decided on is compared with the register as it was noted *before*; so a
/// slow invocation either finds the register moved, or has read what is newer. One case is left:
/// others found nothing to change while this one, having read something older, did. Therefore what
/// a write decided on presence is unconfirmed until it was decided again after the write; who dies
/// in between leaves that to whoever comes next.
async fn attempt_curate(
    lake: &Lake,
    part: Part,
    asked: &BTreeMap<KeyHash, BTreeSet<Source>>,
) -> Result<Result<Report, &'static str>, Error> {
    let key = layout::curated_register(part);
    let target = project::note(lake, part).await?;
    let noted = lake.load::<CuratedRegister>(&key).await?;
    let before =
        noted.as_ref().map_or_else(CuratedRegister::default, |noted| (*noted.value).clone());
    let Some(follow) = read_trusted(lake, part, &before, asked).await? else {
        return Ok(Ok(Report::default()));
    };
    let decided = presence::decide(lake, &before, &follow.doubts).await?;
    let mut after = transform::follow(&before, follow, &decided);
    let mut etag = noted.map(|noted| noted.etag);
    if after != before {
        match lake.save(&key, &after, etag.as_ref()).await? {
            Put::Done(put) => etag = Some(put),
            Put::Moved => return Ok(Err("the register")),
        }
    }
    if !after.unconfirmed.is_empty() {
        let doubted = transform::doubted(&after);
        if presence::decide(lake, &after, &doubted).await? != transform::decisions(&after, &doubted)
        {
            return Ok(Err("the accelerometer's manifests"));
        }
        after.unconfirmed.clear();
        if lake.save(&key, &after, etag.as_ref()).await? == Put::Moved {
            return Ok(Err("the register"));
        }
    }
    project::project(lake, part, &target, &after).await
}

/// What the part of customer_trusted says now, beside the register; `None` if there is neither.
async fn read_trusted(
    lake: &Lake,
    part: Part,
    before: &CuratedRegister,
    asked: &BTreeMap<KeyHash, BTreeSet<Source>>,
) -> Result<Option<Follow>, Error> {
    let key = layout::customer_part(layout::TRUSTED_CUSTOMER, part);
    let followed = before.trusted.as_ref().map(|trusted| &trusted.etag);
    let current: Option<ETag> = lake.store.head(&key).await?.map(|meta| meta.etag);
    let changed = if current.as_ref() == followed {
        None
    } else {
        let Some(found) = trusted_part(lake, part).await? else { return Ok(None) };
        let records = Customer::from_batch(&found.value.batch);
        let rows = records.iter().filter_map(|record| trusted_row(lake, record));
        let etag = found.etag.clone();
        let revision = found.value.footer.version.source.clone();
        Some((TrustedPart { etag, revision }, rows.collect()))
    };
    if current.is_none() {
        return Ok(None);
    }
    Ok(Some(Follow::new(before, changed, asked, lake.settings.policies.consent)))
}

/// Reads a part of customer_trusted.
pub(crate) async fn trusted_part(
    lake: &Lake,
    part: Part,
) -> Result<Option<Versioned<Rows>>, Error> {
    let key = layout::customer_part(layout::TRUSTED_CUSTOMER, part);
    let decode = |object: Object| {
        let rows = object::decode(&key, object.bytes)?;
        let bytes = row_bytes(&rows.batch) as usize;
        Ok((rows, bytes))
    };
    lake.read(&key, ByteRange::All, decode).await
}

fn trusted_row(lake: &Lake, record: &Customer) -> Option<(KeyHash, TrustedRow)> {
    let bytes = serde_json::to_vec(record).ok()?;
    let row = TrustedRow {
        digest: lake.key.record(&bytes),
        since_ms: record.research_since_ms()?,
        device: record.serial_number().map(|serial_number| lake.key.device(serial_number)),
    };
    Some((lake.key.person(record.email()), row))
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};

    use lake::catalog::StoreCatalog;
    use lake::key::{LakeKey, Parts, Revision};
    use lake::policy::Policies;
    use lake::registers::CuratedRow;
    use lake::store::{MemoryStore, Precondition};

    use super::*;

    /// Nothing in memory ever waits.
    fn done<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => done,
            Poll::Pending => panic!("it waits"),
        }
    }

    #[test]
    fn readings_of_somebody_unknown_are_decided_once_the_register_is_not_behind() {
        let store = Arc::new(MemoryStore::default());
        let catalog = Arc::new(StoreCatalog::new(Arc::new(MemoryStore::default())));
        let key = LakeKey::new(&[1; 16]).unwrap();
        let parts = Parts::try_from(1).unwrap();
        let lake = done(Lake::open(store, catalog, key, parts, Policies::default())).unwrap();
        let (person, source) = (lake.key.person("ada@test.com"), Source::parse(&"a".repeat(16)));
        let asked = BTreeMap::from([(person, source.into_iter().collect())]);
        let part = person.part(parts);
        let decided = || done(is_decided(&lake, part, &asked)).unwrap();
        assert!(!decided(), "there is no register");

        let trusted = layout::customer_part(layout::TRUSTED_CUSTOMER, part);
        let put = |bytes: &'static str| {
            done(lake.put(&trusted, bytes.into(), Precondition::None)).unwrap()
        };
        let Put::Done(etag) = put("before") else { panic!("it moved") };
        let follows = TrustedPart { etag, revision: "1".to_owned() };
        let mut register = CuratedRegister { trusted: Some(follows), ..Default::default() };
        let register_key = layout::curated_register(part);
        let Put::Done(etag) = done(lake.save(&register_key, &register, None)).unwrap() else {
            panic!("it moved")
        };
        assert!(decided(), "they are not trusted");

        let _ = put("Ada may be in this one");
        assert!(!decided(), "the register is behind");
        let _ = put("before");
        assert!(decided());
        let row = CuratedRow {
            trusted: Some(TrustedRow { digest: person, since_ms: 0, device: None }),
            witness: None,
            devices: BTreeSet::new(),
            revision: Revision(1),
        };
        register.people.insert(person, row);
        assert_ne!(done(lake.save(&register_key, &register, Some(&etag))).unwrap(), Put::Moved);
        assert!(!decided(), "they are trusted and have no witness");
    }
}
