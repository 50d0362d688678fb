//! Whom of the very many people of a landing object something may have to be decided of: mostly, of
//! further readings of people who have some, nobody.
//!
//! The parts of the curated register are as many as the people, where there are many customers. So what
//! was said of them last is read at once ([`slim::rows_of_many`]), and only the others' parts are looked
//! at. Why that is enough, though it may be out of date:
//!
//! - **Whoever is curated**, and of whom the landing object has readings that their consent covers, stays
//!   curated because of these, whatever becomes of their witness. Who decides that they have no witness
//!   left says so before looking everywhere again, for this landing object too; and nothing is decided of
//!   people before what was decided of their part last is said ([`crate::curate`]).
//! - **Whoever does not consent** is not trusted. Should they ever consent, the readings are derived again,
//!   and that asks again.
//!
//! What somebody died at is not left in the middle: whoever is delivered again looks at everybody.

use futures::try_join;
use lake::error::Error;
use lake::events::Delivery;
use lake::key::KeyHash;
use lake::lake::Lake;
use lake::manifest::Manifest;
use lake::registers::{ConsentRow, OwnerRow, slim};

use crate::presence::shows;

/// The people a landing object ever named of whom something may have to be decided.
pub(crate) async fn to_decide(
    lake: &Lake,
    manifest: &Manifest,
    delivery: Delivery,
) -> Result<Vec<KeyHash>, Error> {
    let people = || manifest.keys.keys();
    if delivery == Delivery::Again {
        return Ok(people().copied().collect());
    }
    let (owners, consents) = try_join!(
        slim::rows_of_many::<OwnerRow>(lake, people()),
        slim::rows_of_many::<ConsentRow>(lake, people()),
    )?;
    let Some((owners, consents)) = owners.zip(consents) else {
        return Ok(people().copied().collect());
    };
    let is_curated = |person| {
        let owner = owners.get(person).and_then(|row| row.curated);
        owner.is_some_and(|owner| shows(lake, manifest, person, owner.since_ms))
    };
    let consents = |person| consents.get(person).is_some_and(|row| row.since_ms.is_some());
    Ok(people().filter(|person| consents(*person) && !is_curated(*person)).copied().collect())
}
