//! The rule: which devices' readings are admitted, and from when.

use std::collections::BTreeSet;

use lake::key::KeyHash;
use lake::policy::Consent;
use lake::readings::Coverage;
use lake::registers::CuratedRegister;

/// A device is covered while a curated customer has its serial number. Several may: then from the
/// earliest of their consents on, where the policy says so.
///
/// Whoever ever had the device is evidence, so that what is derived differs when they come or go.
pub fn covers<'a>(
    register: impl IntoIterator<Item = &'a CuratedRegister>,
    devices: &BTreeSet<KeyHash>,
    policy: Consent,
) -> Coverage {
    let mut coverage = Coverage::new();
    for part in register {
        for device in devices {
            for (person, row) in part.people_with(device) {
                let cover = coverage.entry(*device).or_default();
                cover.evidence.push((*person, row.revision));
                let owner = row.curated().filter(|trusted| trusted.device == Some(*device));
                let from_ms = owner.map(|trusted| policy.covers_from(trusted.since_ms));
                cover.from_ms = match (cover.from_ms, from_ms) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
            }
        }
    }
    coverage
}

#[cfg(test)]
mod tests {
    use lake::key::{ObjectKey, Revision, Source};
    use lake::registers::{CuratedRow, TrustedRow};

    use super::*;

    fn hash(digit: &str) -> KeyHash {
        KeyHash::parse(&digit.repeat(32)).unwrap()
    }

    fn owner(since_ms: i64, device: &str, present: bool, revision: u64) -> CuratedRow {
        let trusted = TrustedRow { digest: hash("0"), since_ms, device: Some(hash(device)) };
        CuratedRow {
            trusted: Some(trusted),
            witness: present.then(|| Source::of(&ObjectKey::new("landing/accelerometer/a.json"))),
            devices: [hash(device)].into(),
            revision: Revision(revision),
        }
    }

    #[test]
    fn a_shared_device_is_covered_from_the_earliest_consent_of_its_curated_owners() {
        let register = CuratedRegister {
            people: [
                (hash("a"), owner(7, "d", true, 1)),
                (hash("b"), owner(5, "d", true, 2)),
                (hash("c"), owner(1, "d", false, 3)),
            ]
            .into(),
            ..CuratedRegister::default()
        };
        let devices = BTreeSet::from([hash("d"), hash("e")]);
        let coverage = covers([&register], &devices, Consent::AsOf);
        assert_eq!(coverage[&hash("d")].from_ms, Some(5));
        assert_eq!(coverage[&hash("d")].evidence.len(), 3);
        assert!(!coverage.contains_key(&hash("e")));
        let any = covers([&register], &devices, Consent::Any);
        assert_eq!(any[&hash("d")].from_ms, Some(i64::MIN));
    }

    #[test]
    fn a_former_owner_is_evidence_but_admits_nothing() {
        let mut moved = owner(5, "e", true, 4);
        moved.devices.insert(hash("d"));
        let register =
            CuratedRegister { people: [(hash("a"), moved)].into(), ..CuratedRegister::default() };
        let coverage = covers([&register], &[hash("d")].into(), Consent::Any);
        assert_eq!(coverage[&hash("d")].from_ms, None);
        assert_eq!(coverage[&hash("d")].evidence, [(hash("a"), Revision(4))]);
    }
}
