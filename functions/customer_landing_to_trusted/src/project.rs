//! What follows from the register: the consents, then the part of customer_trusted.

use futures::stream::{self, StreamExt, TryStreamExt};
use lake::customer::Customer;
use lake::derivation::Target;
use lake::error::Error;
use lake::key::{ObjectKey, Part};
use lake::lake::{Lake, Put};
use lake::layout;
use lake::object::{self, Ledger, Version};
use lake::registers::{ConsentRow, Consents, slim};
use lake::report::Report;
use lake::tables::CUSTOMER_TRUSTED;

use crate::register::CustomerRegister;

/// Brings the consents and the part of customer_trusted up to the register.
///
/// A revision has one content, since the register is only ever written over the version it was
/// read at; so the higher revision is the newer, and a slow writer finds it there and leaves it.
pub(crate) async fn project(lake: &Lake, part: Part) -> Result<Report, Error> {
    let mut report = Report::default();
    for _ in 0..lake.bounds.attempts_max {
        let target =
            Target::note(lake, layout::customer_part(layout::TRUSTED_CUSTOMER, part)).await?;
        let found = lake.load::<CustomerRegister>(&layout::customer_register(part)).await?;
        let Some(register) = found else { return Ok(report) };
        let register = register.value;
        if !project_consents(lake, part, &register).await? {
            report.conflicts += 1;
            continue;
        }
        let version = Version {
            rule: CUSTOMER_TRUSTED.name.to_owned(),
            policies: 0,
            source: register.revision.to_string(),
            digest: String::new(),
        };
        if target.is_from_after(&version.source) {
            report.conflicts += 1;
            continue;
        }
        let rows = || trusted_rows(&register);
        if target.write(lake, &CUSTOMER_TRUSTED, version, rows, &mut report).await?.is_some() {
            return Ok(report);
        }
        report.conflicts += 1;
    }
    Err(lake.contended(
        format!("project part {part} of the customer register"),
        "the register or what follows from it",
    ))
}

/// The parts of customer_trusted that do not follow from the register as it is, or whose consents
/// do not: whoever folded into it died before it got here, and its landing object may be gone.
pub(crate) async fn behind(lake: &Lake) -> Result<Vec<ObjectKey>, Error> {
    let behind: Vec<Option<ObjectKey>> = stream::iter(lake.settings.parts.all())
        .map(|part| async move {
            let target = layout::customer_part(layout::TRUSTED_CUSTOMER, part);
            Ok::<_, Error>((!follows(lake, part, &target).await?).then_some(target))
        })
        .buffered(lake.parts_at_once())
        .try_collect()
        .await?;
    Ok(behind.into_iter().flatten().collect())
}

async fn follows(lake: &Lake, part: Part, target: &ObjectKey) -> Result<bool, Error> {
    let found = lake.load::<CustomerRegister>(&layout::customer_register(part)).await?;
    let Some(revision) = found.map(|found| found.value.revision) else { return Ok(true) };
    let consents = slim::revision(lake, &layout::consents(part)).await?;
    let trusted = object::note(lake, target).await?;
    Ok(consents.is_some_and(|(_, consents)| consents == revision)
        && trusted.is_some_and(|noted| noted.footer.version.source == revision.to_string()))
}

/// Brings the consents up to the register; `false` if they moved, or are ahead of it.
async fn project_consents(
    lake: &Lake,
    part: Part,
    register: &CustomerRegister,
) -> Result<bool, Error> {
    let key = layout::consents(part);
    let found = slim::revision(lake, &key).await?;
    if let Some((_, revision)) = found
        && revision >= register.revision
    {
        return Ok(revision == register.revision);
    }
    let people = register.people.iter().map(|(person, row)| {
        let since_ms = row.record.as_ref().and_then(Customer::research_since_ms);
        (*person, ConsentRow { since_ms, revision: row.consent_revision })
    });
    let consents = Consents { revision: register.revision, people: people.collect() };
    let etag = found.as_ref().map(|(etag, _)| etag);
    Ok(slim::save(lake, &key, &consents, etag).await? != Put::Moved)
}

fn trusted_rows(register: &CustomerRegister) -> Result<(arrow_array::RecordBatch, Ledger), Error> {
    let mut records: Vec<&Customer> =
        register.people.values().filter_map(|row| row.record.as_ref()).collect();
    records.sort_by_key(|record| record.email());
    let batch = Customer::to_batch(records.iter().copied()).map_err(|error| Error::Encode {
        what: CUSTOMER_TRUSTED.name.to_owned(),
        source: error.into(),
    })?;
    let (people, admitted) = (register.people.len() as u64, records.len() as u64);
    let ledger = Ledger {
        records: people,
        admitted,
        held_no_consent: people - admitted,
        held_before_consent: 0,
    };
    Ok((batch, ledger))
}
