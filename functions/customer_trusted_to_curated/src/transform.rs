//! The rule: who of the trusted is curated, and what the register remembers of them.

use std::collections::{BTreeMap, BTreeSet};

use lake::key::KeyHash;
use lake::policy::Consent;
use lake::registers::{CuratedRegister, CuratedRow, TrustedPart, TrustedRow};

/// What there is to follow: the trusted as they are now, and whose presence is to be decided.
pub struct Follow {
    /// The policy presence is decided under.
    consent: Consent,
    /// A version of the part of customer_trusted that the register does not know yet.
    changed: Option<(TrustedPart, BTreeMap<KeyHash, TrustedRow>)>,
    /// Trusted people whose presence is to be decided, with the date of their consent.
    pub to_decide: BTreeMap<KeyHash, i64>,
}

impl Follow {
    /// Compares the trusted with the register. To be decided on are those who are new or whose
    /// consent changed, those who were asked for, those whom an earlier write left unconfirmed,
    /// and everybody where the policy changed.
    pub fn new(
        before: &CuratedRegister,
        changed: Option<(TrustedPart, BTreeMap<KeyHash, TrustedRow>)>,
        asked: &BTreeSet<KeyHash>,
        consent: Consent,
    ) -> Self {
        let known = |person: &KeyHash| before.people.get(person)?.trusted.as_ref();
        let everybody = before.consent != consent;
        let doubted = |person: &KeyHash| {
            everybody || asked.contains(person) || before.unconfirmed.contains(person)
        };
        let to_decide = match &changed {
            Some((_, rows)) => rows
                .iter()
                .filter(|(person, row)| {
                    doubted(person)
                        || known(person).is_none_or(|known| known.since_ms != row.since_ms)
                })
                .map(|(person, row)| (*person, row.since_ms))
                .collect(),
            None => before
                .people
                .keys()
                .filter(|person| doubted(person))
                .filter_map(|person| Some((*person, known(person)?.since_ms)))
                .collect(),
        };
        Self { consent, changed, to_decide }
    }
}

/// The register that follows: equal to the one before where nothing changed.
pub fn follow(
    before: &CuratedRegister,
    follow: Follow,
    present: &BTreeMap<KeyHash, bool>,
) -> CuratedRegister {
    let mut after = before.clone();
    after.unconfirmed.clear();
    after.consent = follow.consent;
    if let Some((version, rows)) = follow.changed {
        after.trusted = Some(version);
        for (person, row) in &mut after.people {
            if !rows.contains_key(person) {
                row.trusted = None;
                row.present = false;
            }
        }
        for (person, trusted) in rows {
            let row = after.people.entry(person).or_insert_with(|| CuratedRow {
                trusted: None,
                present: false,
                devices: BTreeSet::new(),
                revision: before.revision,
            });
            row.trusted = Some(trusted);
        }
    }
    for (person, present) in present {
        if let Some(row) = after.people.get_mut(person) {
            row.present = *present && row.trusted.is_some();
        }
    }
    let next = before.revision.next();
    for (person, row) in &mut after.people {
        let known = before.people.get(person);
        if known == Some(row) {
            continue;
        }
        after.revision = next;
        let was_present = known.is_some_and(|known| known.present);
        if row.trusted.is_some() && was_present != row.present {
            after.unconfirmed.insert(*person);
        }
        if matters(known) != matters(Some(row)) {
            row.revision = next;
            row.devices.extend(row.curated().and_then(|trusted| trusted.device));
        }
    }
    after.unconfirmed.extend(
        before
            .unconfirmed
            .iter()
            .filter(|person| after.people.get(person).is_some_and(|row| row.trusted.is_some())),
    );
    after
}

/// What matters to readings of a person who is curated.
fn matters(row: Option<&CuratedRow>) -> Option<(i64, Option<KeyHash>)> {
    row?.curated().map(|trusted| (trusted.since_ms, trusted.device))
}

/// The unconfirmed who are trusted, with the date of their consent.
pub(crate) fn doubted(register: &CuratedRegister) -> BTreeMap<KeyHash, i64> {
    let trusted = |person: &KeyHash| {
        let row = register.people.get(person)?.trusted.as_ref()?;
        Some((*person, row.since_ms))
    };
    register.unconfirmed.iter().filter_map(trusted).collect()
}

/// What the register says of people's presence.
pub(crate) fn decisions(
    register: &CuratedRegister,
    people: &BTreeMap<KeyHash, i64>,
) -> BTreeMap<KeyHash, bool> {
    let present = |person| register.people.get(person).is_some_and(|row| row.present);
    people.keys().map(|person| (*person, present(person))).collect()
}

#[cfg(test)]
mod tests {
    use lake::key::{ETag, Revision};

    use super::*;

    fn hash(digit: &str) -> KeyHash {
        KeyHash::parse(&digit.repeat(32)).unwrap()
    }

    fn trusted(device: &str, since_ms: i64) -> TrustedRow {
        TrustedRow { digest: hash("0"), since_ms, device: Some(hash(device)) }
    }

    fn after(
        before: &CuratedRegister,
        version: &str,
        rows: &[(&str, TrustedRow)],
        present: bool,
    ) -> CuratedRegister {
        let rows = rows.iter().map(|(person, row)| (hash(person), row.clone())).collect();
        let part = TrustedPart { etag: ETag::new(version), revision: version.to_owned() };
        let seen = Follow::new(before, Some((part, rows)), &BTreeSet::new(), Consent::Any);
        let decided = seen.to_decide.keys().map(|person| (*person, present)).collect();
        follow(before, seen, &decided)
    }

    #[test]
    fn a_person_is_curated_once_they_have_data() {
        let empty = CuratedRegister::default();
        let without = after(&empty, "1", &[("a", trusted("d", 5))], false);
        assert!(without.people[&hash("a")].curated().is_none());
        assert!(without.people[&hash("a")].devices.is_empty(), "no reading depends on them");
        let with = after(&empty, "1", &[("a", trusted("d", 5))], true);
        assert!(with.people[&hash("a")].curated().is_some());
        assert_eq!(with.unconfirmed, [hash("a")].into());
        assert_eq!(with.people[&hash("a")].revision, Revision(1));
    }

    #[test]
    fn former_devices_are_remembered() {
        let empty = CuratedRegister::default();
        let first = after(&empty, "1", &[("a", trusted("d", 5))], true);
        let moved = after(&first, "2", &[("a", trusted("e", 5))], true);
        assert_eq!(moved.people[&hash("a")].devices, [hash("d"), hash("e")].into());
        let gone = after(&moved, "3", &[], true);
        assert_eq!(gone.people[&hash("a")].devices, [hash("d"), hash("e")].into());
        assert!(gone.people[&hash("a")].curated().is_none());
        assert_eq!(gone.people[&hash("a")].revision, Revision(3));
    }

    #[test]
    fn a_record_that_changed_in_nothing_that_matters_moves_the_part_but_not_the_row() {
        let first = after(&CuratedRegister::default(), "1", &[("a", trusted("d", 5))], true);
        let renamed = TrustedRow { digest: hash("1"), ..trusted("d", 5) };
        let second = after(&first, "2", &[("a", renamed)], true);
        assert_eq!(second.revision, Revision(2));
        assert_eq!(second.people[&hash("a")].revision, Revision(1));
    }
}
