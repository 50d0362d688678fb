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

mod curate;
mod look;
mod presence;
mod project;
#[cfg(test)]
mod small;
mod transform;
mod unfinished;
mod wide;

use std::collections::BTreeMap;

use lake::error::Error;
use lake::events::Delivery;
use lake::function::{Done, Function, Plan};
use lake::key::{ETag, KeyHash, ObjectKey, Part, Source};
use lake::lake::{Lake, Versioned};
use lake::landing::row_bytes;
use lake::layout::{self, Slice};
use lake::manifest;
use lake::object::{self, Rows};
use lake::report::Report;
use lake::store::{ByteRange, Object};
use lake::tables::Stream;
use tracing::warn;

use self::curate::curate;
use self::look::{Looked, look};

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

    /// A part of customer_trusted is followed whole; the first accelerometer object of a landing object
    /// asks again for every person its source ever named, not only for those still in it, of whom
    /// something may have to be decided. The others would ask the same: of a landing object with hundreds
    /// of days, hundreds of times.
    async fn plan(
        &self,
        lake: &Lake,
        key: &ObjectKey,
        delivery: Delivery,
    ) -> Result<Plan<Part, Asked, ()>, Error> {
        if let Some(part) = layout::part_of_key(key, layout::TRUSTED_CUSTOMER) {
            return Ok(Plan { units: vec![(part, vec![Asked::Whole])], ..Plan::nothing() });
        }
        let Some(slice) = Slice::of_key(key, layout::TRUSTED_ACCELEROMETER) else {
            return Ok(Plan::nothing());
        };
        let manifest = manifest::load(lake, Stream::Accelerometer, slice.source).await?;
        let Some(manifest) = manifest else { return Ok(Plan::nothing()) };
        // Delivered again, another may have come first since it was delivered for the first time.
        if delivery == Delivery::First && manifest.value.lead() != Some(slice) {
            return Ok(Plan::nothing());
        }
        let mut parts: BTreeMap<Part, Vec<Asked>> = BTreeMap::new();
        for person in wide::to_decide(lake, &manifest.value, delivery).await? {
            let asked = parts.entry(person.part(lake.settings.parts)).or_default();
            asked.push(Asked::Person(person, slice.source));
        }
        Ok(Plan { units: parts.into_iter().collect(), ..Plan::nothing() })
    }

    async fn work(&self, lake: &Lake, part: &Part, reasons: Vec<Asked>) -> Result<Report, Error> {
        let Looked { mut done, undecided } = look(lake, [(part, &reasons)]).await?;
        done.extend(curate(lake, undecided).await?);
        let report = done.into_iter().map(|(_, report)| report).next();
        report.unwrap_or_else(|| Err(lake.contended(format!("curate part {part}"), "")))
    }

    /// Parts are curated together; where what they share fails, each alone.
    async fn work_together(
        &self,
        lake: &Lake,
        parts: &BTreeMap<Part, Vec<Asked>>,
    ) -> Vec<Done<Part>> {
        let looked = look(lake, parts).await.unwrap_or_else(|error| {
            warn!("each part alone: {error}");
            Looked::default()
        });
        let mut done = looked.done;
        let undecided: Vec<_> = looked.undecided.into_iter().collect();
        for together in undecided.chunks(lake.parts_at_once()) {
            match curate(lake, together.iter().cloned().collect()).await {
                Ok(curated) => done.extend(curated),
                Err(error) => warn!("each part alone: {error}"),
            }
        }
        done
    }

    async fn unfinished(&self, lake: &Lake) -> Result<Vec<ObjectKey>, Error> {
        unfinished::find(lake).await
    }

    async fn settle(&self, _: &Lake, (): ()) -> Result<(), Error> {
        Ok(())
    }
}

/// Reads a part of customer_trusted; where this version of it is in memory, nobody asks whether it is
/// still there.
pub(crate) async fn trusted_part(
    lake: &Lake,
    part: Part,
    known: Option<&ETag>,
) -> Result<Option<Versioned<Rows>>, Error> {
    let key = layout::customer_part(layout::TRUSTED_CUSTOMER, part);
    let decode = |object: Object| {
        let rows = object::decode(&key, object.bytes)?;
        let bytes = row_bytes(&rows.batch) as usize;
        Ok((rows, bytes))
    };
    match known {
        Some(known) => lake.read_known(&key, known, ByteRange::All, decode).await,
        None => lake.read(&key, ByteRange::All, decode).await,
    }
}
