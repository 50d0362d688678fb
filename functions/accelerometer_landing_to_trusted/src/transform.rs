//! The rule: whose readings are admitted, and from when.

use std::collections::{BTreeMap, BTreeSet};

use lake::key::KeyHash;
use lake::policy::Consent;
use lake::readings::{Cover, Coverage};
use lake::registers::ConsentRow;

/// A user is covered while their own record consents; from the date of the consent on where the
/// policy says so.
pub fn covers(
    consents: &BTreeMap<KeyHash, ConsentRow>,
    users: &BTreeSet<KeyHash>,
    policy: Consent,
) -> Coverage {
    let cover = |user: &KeyHash| {
        let row = consents.get(user)?;
        let from_ms = row.since_ms.map(|since_ms| policy.covers_from(since_ms));
        Some((*user, Cover { from_ms, evidence: vec![(*user, row.revision)] }))
    };
    users.iter().filter_map(cover).collect()
}

#[cfg(test)]
mod tests {
    use lake::key::Revision;

    use super::*;

    #[test]
    fn only_those_who_consent_are_covered() {
        let hash = |digit: &str| KeyHash::parse(&digit.repeat(32)).unwrap();
        let (ada, bob, eve) = (hash("a"), hash("b"), hash("e"));
        let row = |since_ms, revision| ConsentRow { since_ms, revision: Revision(revision) };
        let consents = BTreeMap::from([(ada, row(Some(5), 1)), (bob, row(None, 2))]);
        let users = BTreeSet::from([ada, bob, eve]);

        let any = covers(&consents, &users, Consent::Any);
        assert_eq!(any[&ada].from_ms, Some(i64::MIN));
        assert_eq!(any[&bob], Cover { from_ms: None, evidence: vec![(bob, Revision(2))] });
        assert!(!any.contains_key(&eve), "nobody knows her");

        let as_of = covers(&consents, &users, Consent::AsOf);
        assert_eq!(as_of[&ada].from_ms, Some(5));
    }
}
