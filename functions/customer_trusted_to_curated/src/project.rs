//! What follows from the curated register: the owners that others read, then the part of
//! customer_curated.

use futures::try_join;
use lake::customer::Customer;
use lake::derivation::Target;
use lake::error::Error;
use lake::gather::gathered;
use lake::index::Index;
use lake::key::{ETag, KeyHash, Part, Revision};
use lake::lake::{Lake, Put};
use lake::layout;
use lake::object::{Ledger, Version};
use lake::registers::{CuratedRegister, OwnerRow, Owners, slim};
use lake::report::Report;
use lake::tables::CUSTOMER_CURATED;

use crate::trusted_part;

/// What follows from a part of the register, as it was noted before it is brought up to it.
pub(crate) struct Noted {
    /// The part of customer_curated.
    target: Target,
    /// Version and revision of the owners.
    owners: Option<(ETag, Revision)>,
}

impl Noted {
    /// The revision of the register up to which the owners say what follows.
    pub(crate) fn said(&self) -> Revision {
        self.owners.as_ref().map_or(Revision(0), |(_, revision)| *revision)
    }
}

/// Notes what follows from a part of the register. The revisions of that only grow, and the higher is the
/// newer: so the register is looked at before or after.
pub(crate) async fn note(lake: &Lake, part: Part) -> Result<Noted, Error> {
    let target = Target::note(lake, layout::customer_part(layout::CURATED_CUSTOMER, part));
    let owners = layout::owners(part);
    let (target, owners) = try_join!(target, slim::revision(lake, &owners))?;
    Ok(Noted { target, owners })
}

/// The version of the part of customer_curated that follows from the register.
pub(crate) fn version(lake: &Lake, register: &CuratedRegister) -> Version {
    Version {
        rule: format!("{} consent={}", CUSTOMER_CURATED.name, lake.settings.policies.consent),
        policies: lake.settings.changes.consent,
        source: register.revision.to_string(),
        digest: String::new(),
    }
}

/// Says in the runs of the owners what changed in the register above a revision.
pub(crate) async fn say(
    lake: &Lake,
    register: &CuratedRegister,
    above: Revision,
) -> Result<(), Error> {
    slim::announce(lake, changed(register, above)).await?.then(async { Ok(()) }).await
}

fn changed(
    register: &CuratedRegister,
    above: Revision,
) -> impl Iterator<Item = (&KeyHash, OwnerRow)> {
    let changed = register.people.iter().filter(move |(_, row)| row.revision > above);
    changed.map(|(person, row)| (person, row.owner()))
}

/// Brings the owners up to the register, the runs first; `false` if they moved since they were noted, or
/// are ahead of it.
///
/// Who ever had a device is said before: whoever looks for the owners of a device finds them all.
async fn project_owners(
    lake: &Lake,
    part: Part,
    noted: &Noted,
    register: &CuratedRegister,
) -> Result<bool, Error> {
    let key = layout::owners(part);
    let (etag, known) = (noted.owners.as_ref().map(|(etag, _)| etag), noted.said());
    if etag.is_some() && known >= register.revision {
        return Ok(known == register.revision);
    }
    let devices = register.people.iter().filter(|(_, row)| row.revision > known);
    let devices = devices
        .flat_map(|(person, row)| row.devices.iter().map(|device| (*device, slim::half(person))));
    let devices = Index::new(lake, layout::DEVICES).add(devices.collect());
    let people = register.people.iter().map(|(person, row)| (*person, row.owner()));
    let owners = Owners { revision: register.revision, people: people.collect() };
    let announced = slim::announce(lake, changed(register, known));
    let (devices, announced) = try_join!(devices, announced)?;
    let save = slim::save(lake, &key, &owners, etag);
    Ok(devices.then(announced.then(save)).await? != Put::Moved)
}

/// Brings the part of customer_curated up to the register, which is at this version of the part of
/// customer_trusted; the inner error says what moved.
pub(crate) async fn project(
    lake: &Lake,
    part: Part,
    noted: &Noted,
    register: &CuratedRegister,
) -> Result<Result<Report, &'static str>, Error> {
    let target = &noted.target;
    if !project_owners(lake, part, noted, register).await? {
        return Ok(Err("the owners"));
    }
    let version = version(lake, register);
    if target.is_from_after(&version.source) {
        return Ok(Err("the register"));
    }
    let mut report = Report::default();
    if target.is_at(&version) {
        report.objects_unchanged += 1;
        return Ok(Ok(report));
    }
    let Some(followed) = &register.trusted else { return Ok(Err("the trusted part")) };
    let trusted = trusted_part(lake, part, Some(&followed.etag)).await?;
    let Some(trusted) = trusted.filter(|trusted| trusted.etag == followed.etag) else {
        return Ok(Err("the trusted part"));
    };
    let batch = &trusted.value.batch;
    let records = Customer::from_batch(batch);
    let curated = records.iter().enumerate().filter(|(_, record)| {
        let row = register.people.get(&lake.key.person(record.email()));
        row.is_some_and(|row| row.curated().is_some())
    });
    let curated: Vec<_> = curated.map(|(row, _)| (0, row)).collect();
    let rows = || {
        let rows = gathered(std::slice::from_ref(batch), curated.iter().copied());
        let rows = rows.map_err(|error| Error::encode(&CUSTOMER_CURATED, error))?;
        let (records, admitted) = (batch.num_rows() as u64, rows.num_rows() as u64);
        Ok((rows, Ledger { records, admitted, ..Ledger::default() }))
    };
    let written = target.write(lake, &CUSTOMER_CURATED, version, rows, &mut report).await?;
    Ok(written.map(|_| report).ok_or("the curated part"))
}
