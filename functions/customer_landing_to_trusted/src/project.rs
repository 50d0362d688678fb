//! What follows from the register: the consents, then the part of customer_trusted.

use futures::try_join;
use lake::comparison::{Comparison, Looked, Versions};
use lake::customer::Customer;
use lake::derivation::Target;
use lake::error::Error;
use lake::key::{ETag, Fingerprint, ObjectKey, Part, Revision};
use lake::lake::{Lake, Put};
use lake::layout;
use lake::object::{self, Ledger, Version};
use lake::registers::{ConsentRow, Consents, slim};
use lake::report::Report;
use lake::store::versions_below;
use lake::tables::CUSTOMER_TRUSTED;

use crate::register::CustomerRegister;

/// What follows from a part of the register, as it was noted before that was read.
pub(crate) struct Noted {
    target: Target,
    /// Version and revision of the consents.
    consents: Option<(ETag, Revision)>,
}

/// Notes what follows from a part of the register.
pub(crate) async fn note(lake: &Lake, part: Part) -> Result<Noted, Error> {
    let target = Target::note(lake, layout::customer_part(layout::TRUSTED_CUSTOMER, part));
    let consents = layout::consents(part);
    let (target, consents) = try_join!(target, slim::revision(lake, &consents))?;
    Ok(Noted { target, consents })
}

/// Brings the consents and the part of customer_trusted up to the register.
///
/// A revision has one content, since the register is only ever written over the version it was
/// read at; so the higher revision is the newer, and a slow writer finds it there and leaves it.
pub(crate) async fn project(lake: &Lake, part: Part, mut noted: Noted) -> Result<Report, Error> {
    let mut report = Report::default();
    for _ in 0..lake.bounds.attempts_max {
        let found = lake.load::<CustomerRegister>(&layout::customer_register(part)).await?;
        let Some(register) = found else { return Ok(report) };
        if attempt(lake, part, &noted, &register.value, &mut report).await? {
            return Ok(report);
        }
        report.conflicts += 1;
        noted = note(lake, part).await?;
    }
    Err(lake.contended(
        format!("project part {part} of the customer register"),
        "the register or what follows from it",
    ))
}

/// One attempt; `false` if what follows moved since it was noted, or is ahead of the register.
async fn attempt(
    lake: &Lake,
    part: Part,
    noted: &Noted,
    register: &CustomerRegister,
    report: &mut Report,
) -> Result<bool, Error> {
    let Noted { target, consents } = noted;
    if !project_consents(lake, part, consents.as_ref(), register).await? {
        return Ok(false);
    }
    let version = Version {
        rule: CUSTOMER_TRUSTED.name.to_owned(),
        policies: 0,
        source: register.revision.to_string(),
        digest: String::new(),
    };
    if target.is_from_after(&version.source) {
        return Ok(false);
    }
    let rows = || trusted_rows(register);
    Ok(target.write(lake, &CUSTOMER_TRUSTED, version, rows, report).await?.is_some())
}

/// The parts of customer_trusted that do not follow from the register as it is, or whose consents
/// do not: whoever folded into it died before it got here, and its landing object may be gone.
pub(crate) async fn behind(
    lake: &Lake,
    comparison: &mut Comparison,
) -> Result<Vec<ObjectKey>, Error> {
    let store = lake.store.as_ref();
    let (registers, consents, trusted) = try_join!(
        versions_below(store, layout::CUSTOMER_REGISTER),
        versions_below(store, layout::CONSENTS),
        versions_below(store, layout::TRUSTED_CUSTOMER),
    )?;
    let under = Versions::under(CUSTOMER_TRUSTED.name);
    let listed = |part| {
        // From a register that is not there nothing follows.
        let register = registers.get(&layout::customer_register(part))?;
        let consents = consents.get(&layout::consents(part));
        let trusted = trusted.get(&layout::customer_part(layout::TRUSTED_CUSTOMER, part));
        Some(versions(under, part, register, consents, trusted))
    };
    comparison.look_at_parts(lake, listed, |part| follows(lake, under, part)).await
}

fn versions(
    under: Versions,
    part: Part,
    register: &ETag,
    consents: Option<&ETag>,
    trusted: Option<&ETag>,
) -> Fingerprint {
    under
        .version(layout::customer_register(part).as_str(), Some(register))
        .version("consents", consents)
        .version("trusted", trusted)
        .fingerprint()
}

/// Whether everything follows from a part of the register; `None` if there is no such register.
async fn follows(lake: &Lake, under: Versions, part: Part) -> Result<Option<Looked>, Error> {
    let found = lake.load::<CustomerRegister>(&layout::customer_register(part)).await?;
    let Some(found) = found else { return Ok(None) };
    let revision = found.value.revision;
    let target = layout::customer_part(layout::TRUSTED_CUSTOMER, part);
    let consents = slim::revision(lake, &layout::consents(part)).await?;
    let trusted = object::note(lake, &target).await?;
    let follows = consents.as_ref().is_some_and(|(_, consents)| *consents == revision)
        && trusted
            .as_ref()
            .is_some_and(|noted| noted.footer.version.source == revision.to_string());
    if !follows {
        return Ok(Some(Looked::Unfinished(target)));
    }
    let consents = consents.as_ref().map(|(etag, _)| etag);
    let trusted = trusted.as_ref().map(|noted| &noted.etag);
    Ok(Some(Looked::Settled(versions(under, part, &found.etag, consents, trusted))))
}

/// Brings the consents up to the register, the runs of what changed first; `false` if they moved since
/// they were noted, or are ahead of it.
async fn project_consents(
    lake: &Lake,
    part: Part,
    noted: Option<&(ETag, Revision)>,
    register: &CustomerRegister,
) -> Result<bool, Error> {
    let key = layout::consents(part);
    let (etag, known) = noted.map_or((None, Revision(0)), |(etag, known)| (Some(etag), *known));
    if etag.is_some() && known >= register.revision {
        return Ok(known == register.revision);
    }
    let people = register.people.iter().map(|(person, row)| {
        let since_ms = row.record.as_ref().and_then(Customer::research_since_ms);
        (*person, ConsentRow { since_ms, revision: row.consent_revision })
    });
    let consents = Consents { revision: register.revision, people: people.collect() };
    let changed = consents.people.iter().filter(|(_, row)| row.revision > known);
    let changed = changed.map(|(person, row)| (person, *row));
    let save = slim::save(lake, &key, &consents, etag);
    Ok(slim::announce(lake, changed).await?.then(save).await? != Put::Moved)
}

fn trusted_rows(register: &CustomerRegister) -> Result<(arrow_array::RecordBatch, Ledger), Error> {
    let mut records: Vec<&Customer> =
        register.people.values().filter_map(|row| row.record.as_ref()).collect();
    records.sort_by_key(|record| record.email());
    let batch = Customer::to_batch(records.iter().copied());
    let batch = batch.map_err(|error| Error::encode(&CUSTOMER_TRUSTED, error))?;
    let (people, admitted) = (register.people.len() as u64, records.len() as u64);
    let ledger = Ledger {
        records: people,
        admitted,
        held_no_consent: people - admitted,
        held_before_consent: 0,
    };
    Ok((batch, ledger))
}
