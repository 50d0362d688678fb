//! Whom of the very many people of a landing object something may have to be decided of: mostly, of
//! further readings of people who have some, nobody.
//!
//! The parts of the curated register are as many as the people, where there are many customers. So what
//! was said of them last is read at once ([`slim::rows_of_runs`]), and only the others' parts are looked
//! at. Why that is enough, though it may be out of date:
//!
//! - **Whoever is curated**, and of whom the landing object has readings that their consent covers, stays
//!   curated because of these, whatever becomes of their witness. Who decides that they have no witness
//!   left says so before looking everywhere again, for this landing object too; and nothing is decided of
//!   people before what was decided of their part last is said ([`crate::curate`]). The consent is said
//!   before anybody follows it: where it is of another date than the one they are curated with, that is
//!   being followed, maybe with what the landing object held before.
//! - **Whoever does not consent**, and of whom the landing object has readings, is not trusted. Should they
//!   ever consent, the readings are derived again, and that asks again. But of whom it has none any more,
//!   nothing would be.
//!
//! What somebody died at is not left in the middle: whoever is delivered again looks at everybody.

use futures::try_join;
use lake::error::Error;
use lake::events::Delivery;
use lake::key::KeyHash;
use lake::lake::Lake;
use lake::layout::Span;
use lake::manifest::Manifest;
use lake::registers::{ConsentRow, OwnerRow, slim};

use crate::presence::shows;

/// The people a landing object ever named of whom something may have to be decided.
pub(crate) async fn to_decide(
    lake: &Lake,
    manifest: &Manifest,
    delivery: Delivery,
) -> Result<Vec<KeyHash>, Error> {
    let people = || manifest.keys.keys().map(slim::half);
    if delivery == Delivery::Again || !slim::are_many(lake, people()) {
        return Ok(manifest.keys.keys().copied().collect());
    }
    let (owners, consents) = try_join!(
        slim::rows_of_runs::<OwnerRow>(lake, people()),
        slim::rows_of_runs::<ConsentRow>(lake, people()),
    )?;
    let is_certain = |(person, span): (&KeyHash, &Option<Span>)| {
        let since_ms = consents.get(person).and_then(|row| row.since_ms);
        let Some(since_ms) = since_ms else { return span.is_some() };
        let owner = owners.get(person).and_then(|row| row.curated);
        let is_followed = owner.is_some_and(|owner| owner.since_ms == since_ms);
        is_followed && shows(lake, manifest, person, since_ms)
    };
    let uncertain = manifest.keys.iter().filter(|named| !is_certain(*named));
    Ok(uncertain.map(|(person, _)| *person).collect())
}

#[cfg(test)]
mod tests {
    use lake::key::{ObjectKey, Revision};
    use lake::manifest::Content;
    use lake::policy::{Consent, Policies};
    use lake::registers::Owner;

    use super::*;
    use crate::small::{self, done};

    fn open() -> Lake {
        let policies = Policies { consent: Consent::AsOf, ..Policies::default() };
        let mut lake = small::open(policies);
        (lake.bounds.parts_looked_at, lake.bounds.parts_per_look) = (0, usize::MAX);
        lake
    }

    /// Whether something may have to be decided of somebody who consents and is curated since these dates,
    /// and whose last reading in the landing object is of that time.
    fn is_asked(
        consents: Option<i64>,
        curated: Option<i64>,
        last_ms: Option<i64>,
        delivery: Delivery,
    ) -> bool {
        let (lake, revision) = (open(), Revision(1));
        let person = lake.key.person("ada@test.com");
        let consent = ConsentRow { since_ms: consents, revision };
        let owner = curated.map(|since_ms| Owner { since_ms, device: None });
        let owner = OwnerRow { revision, curated: owner };
        let _ = done(slim::announce(&lake, [(&person, consent)])).unwrap();
        let _ = done(slim::announce(&lake, [(&person, owner)])).unwrap();
        let manifest = Manifest {
            sequence: revision,
            landing: ObjectKey::new("landing/accelerometer/a.json"),
            content: Content::default(),
            keys: [(person, last_ms.map(Span::at))].into(),
            slices: std::collections::BTreeMap::new(),
            had_fragments: false,
        };
        !done(to_decide(&lake, &manifest, delivery)).unwrap().is_empty()
    }

    #[test]
    fn who_is_curated_and_has_readings_that_the_consent_covers_is_not_asked_for() {
        let is_asked =
            |consents, curated, last_ms| is_asked(consents, curated, last_ms, Delivery::First);
        assert!(!is_asked(Some(5), Some(5), Some(7)));
        assert!(is_asked(Some(5), Some(5), Some(3)), "the consent does not cover them");
        assert!(is_asked(Some(5), Some(5), None), "they are gone");
        assert!(is_asked(Some(5), None, Some(7)), "these may be the first");
        assert!(is_asked(Some(5), Some(4), Some(7)), "the consent changed, and is being followed");
    }

    #[test]
    fn who_does_not_consent_is_asked_for_if_their_readings_are_gone() {
        for curated in [None, Some(5)] {
            assert!(!is_asked(None, curated, Some(7), Delivery::First));
            // Should they consent again, nothing would be derived again.
            assert!(is_asked(None, curated, None, Delivery::First));
        }
    }

    #[test]
    fn everybody_is_asked_for_when_somebody_may_have_died() {
        assert!(is_asked(Some(5), Some(5), Some(7), Delivery::Again));
        assert!(is_asked(None, None, Some(7), Delivery::Again));
    }
}
