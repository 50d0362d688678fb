//! The rule: which devices' readings are admitted, and from when.

use std::collections::{BTreeMap, BTreeSet};

use lake::key::KeyHash;
use lake::policy::Consent;
use lake::readings::Coverage;
use lake::registers::OwnerRow;
use lake::registers::slim::{self, Half};

/// A device is covered while a curated customer has its serial number. Several may: then from the
/// earliest of their consents on, where the policy says so.
///
/// Whoever ever had the device is evidence, so that what is derived differs when they come or go.
pub fn covers(
    people: &BTreeMap<KeyHash, BTreeSet<Half>>,
    owners: &BTreeMap<KeyHash, OwnerRow>,
    policy: Consent,
) -> Coverage {
    let by_half: BTreeMap<Half, (&KeyHash, &OwnerRow)> =
        owners.iter().map(|(person, row)| (slim::half(person), (person, row))).collect();
    let mut coverage = Coverage::new();
    for (device, people) in people {
        for (person, row) in people.iter().filter_map(|half| by_half.get(half)) {
            let cover = coverage.entry(*device).or_default();
            cover.evidence.push((**person, row.revision));
            let owner = row.curated.filter(|owner| owner.device == Some(*device));
            let from_ms = owner.map(|owner| policy.covers_from(owner.since_ms));
            cover.from_ms = match (cover.from_ms, from_ms) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
    }
    coverage
}

#[cfg(test)]
mod tests {
    use lake::key::Revision;
    use lake::registers::Owner;

    use super::*;

    fn hash(digit: &str) -> KeyHash {
        KeyHash::parse(&digit.repeat(32)).unwrap()
    }

    fn had(device: &str, people: &[&str]) -> (KeyHash, BTreeSet<Half>) {
        (hash(device), people.iter().map(|person| slim::half(&hash(person))).collect())
    }

    fn owner(since_ms: i64, device: &str, curated: bool, revision: u64) -> OwnerRow {
        let owner = Owner { since_ms, device: Some(hash(device)) };
        OwnerRow { revision: Revision(revision), curated: curated.then_some(owner) }
    }

    #[test]
    fn a_shared_device_is_covered_from_the_earliest_consent_of_its_curated_owners() {
        let owners = BTreeMap::from([
            (hash("a"), owner(7, "d", true, 1)),
            (hash("b"), owner(5, "d", true, 2)),
            (hash("c"), owner(1, "d", false, 3)),
        ]);
        let people = BTreeMap::from([had("d", &["a", "b", "c"]), had("e", &[])]);
        let coverage = covers(&people, &owners, Consent::AsOf);
        assert_eq!(coverage[&hash("d")].from_ms, Some(5));
        assert_eq!(coverage[&hash("d")].evidence.len(), 3);
        assert!(!coverage.contains_key(&hash("e")));
        let any = covers(&people, &owners, Consent::Any);
        assert_eq!(any[&hash("d")].from_ms, Some(i64::MIN));
    }

    #[test]
    fn a_former_owner_is_evidence_but_admits_nothing() {
        let owners = BTreeMap::from([(hash("a"), owner(5, "e", true, 4))]);
        let coverage = covers(&BTreeMap::from([had("d", &["a"])]), &owners, Consent::Any);
        assert_eq!(coverage[&hash("d")].from_ms, None);
        assert_eq!(coverage[&hash("d")].evidence, [(hash("a"), Revision(4))]);
    }
}
