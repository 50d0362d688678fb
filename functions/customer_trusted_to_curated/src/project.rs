//! What follows from the curated register: the part of customer_curated.

use arrow_array::BooleanArray;
use arrow_select::filter::filter_record_batch;
use lake::customer::Customer;
use lake::derivation::Target;
use lake::error::Error;
use lake::key::Part;
use lake::lake::Lake;
use lake::layout;
use lake::object::{Ledger, Version};
use lake::registers::CuratedRegister;
use lake::report::Report;
use lake::tables::CUSTOMER_CURATED;

use crate::trusted_part;

/// Notes the part of customer_curated.
pub(crate) async fn note(lake: &Lake, part: Part) -> Result<Target, Error> {
    Target::note(lake, layout::customer_part(layout::CURATED_CUSTOMER, part)).await
}

/// The version of the part of customer_curated that follows from the register.
pub(crate) fn version(lake: &Lake, register: &CuratedRegister) -> Version {
    Version {
        rule: format!("{} consent={}", CUSTOMER_CURATED.name, lake.settings.policies.consent),
        source: register.revision.to_string(),
        digest: String::new(),
    }
}

/// Brings the part of customer_curated up to the register, which is at this version of the part of
/// customer_trusted; the inner error says what moved.
pub(crate) async fn project(
    lake: &Lake,
    part: Part,
    target: &Target,
    register: &CuratedRegister,
) -> Result<Result<Report, &'static str>, Error> {
    let version = version(lake, register);
    if target.is_from_after(&version.source) {
        return Ok(Err("the register"));
    }
    let mut report = Report::default();
    if target.is_at(&version) {
        report.objects_unchanged += 1;
        return Ok(Ok(report));
    }
    let Some(trusted) = trusted_part(lake, part).await? else { return Ok(Err("the trusted part")) };
    if register.trusted.as_ref().is_none_or(|followed| followed.etag != trusted.etag) {
        return Ok(Err("the trusted part"));
    }
    let batch = &trusted.value.batch;
    let curated: BooleanArray = Customer::from_batch(batch)
        .iter()
        .map(|record| {
            let row = register.people.get(&lake.key.person(record.email()));
            Some(row.is_some_and(|row| row.curated().is_some()))
        })
        .collect();
    let rows = || {
        let rows = filter_record_batch(batch, &curated).map_err(|error| Error::Encode {
            what: CUSTOMER_CURATED.name.to_owned(),
            source: error.into(),
        })?;
        let (records, admitted) = (batch.num_rows() as u64, rows.num_rows() as u64);
        Ok((rows, Ledger { records, admitted, ..Ledger::default() }))
    };
    let written = target.write(lake, &CUSTOMER_CURATED, version, rows, &mut report).await?;
    Ok(written.map(|_| report).ok_or("the curated part"))
}
