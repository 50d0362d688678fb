//! The rule: who of the trusted is curated, and what the register remembers of them.

use std::collections::{BTreeMap, BTreeSet};

use lake::key::{KeyHash, Source};
use lake::policy::Consent;
use lake::registers::{CuratedRegister, CuratedRow, TrustedPart, TrustedRow};

use crate::presence::Witnesses;

/// Trusted people whose presence is to be decided.
pub(crate) type Doubts = BTreeMap<KeyHash, Doubt>;

/// What there is to follow: the trusted as they are now, and whose presence is to be decided.
pub(crate) struct Follow {
    /// The policy presence is decided under.
    consent: Consent,
    /// A version of the part of customer_trusted that the register does not know yet.
    changed: Option<(TrustedPart, BTreeMap<KeyHash, TrustedRow>)>,
    /// Whose presence is to be decided.
    pub(crate) doubts: Doubts,
}

/// Why somebody's presence is to be decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Doubt {
    /// Since when they share their data for research, epoch milliseconds.
    pub(crate) since_ms: i64,
    /// The landing object that was witness before.
    pub(crate) witness: Option<Source>,
    /// Landing objects with readings of theirs that changed.
    pub(crate) changed: BTreeSet<Source>,
    /// Whether any landing object may be a witness that none was before: their consent changed.
    pub(crate) anywhere: bool,
}

impl Follow {
    /// Compares the trusted with the register. To be decided on are those who are new or whose
    /// consent changed, those whom an earlier write left unconfirmed, everybody where the policy
    /// changed; and of those who were asked for, with the landing object that changed, whoever has
    /// no other witness.
    pub(crate) fn new(
        before: &CuratedRegister,
        changed: Option<(TrustedPart, BTreeMap<KeyHash, TrustedRow>)>,
        asked: &BTreeMap<KeyHash, BTreeSet<Source>>,
        consent: Consent,
    ) -> Self {
        let everybody = before.consent != consent;
        let doubt = |person: &KeyHash, since_ms: i64| {
            let row = before.people.get(person);
            let known = row.and_then(|row| row.trusted.as_ref());
            let anywhere = everybody
                || before.unconfirmed.contains(person)
                || known.is_none_or(|known| known.since_ms != since_ms);
            let witness = row.and_then(|row| row.witness);
            let sources = asked.get(person);
            let asked = sources.filter(|sources| {
                witness.is_none_or(|witness| anywhere || sources.contains(&witness))
            });
            let changed = asked.cloned().unwrap_or_default();
            let doubt = Doubt { since_ms, witness, changed, anywhere };
            (anywhere || asked.is_some()).then_some((*person, doubt))
        };
        let doubts = match &changed {
            Some((_, rows)) => {
                rows.iter().filter_map(|(person, row)| doubt(person, row.since_ms)).collect()
            }
            None => {
                let trusted = |person: &KeyHash| {
                    let row = before.people.get(person)?.trusted.as_ref()?;
                    doubt(person, row.since_ms)
                };
                let few = asked.keys().chain(&before.unconfirmed);
                match everybody {
                    true => before.people.keys().filter_map(trusted).collect(),
                    false => few.filter_map(trusted).collect(),
                }
            }
        };
        Self { consent, changed, doubts }
    }
}

/// The register that follows, with the witnesses that were found: equal to the one before where
/// nothing changed.
pub(crate) fn follow(
    before: &CuratedRegister,
    follow: Follow,
    witnesses: &Witnesses,
) -> CuratedRegister {
    let mut after = before.clone();
    after.unconfirmed.clear();
    after.consent = follow.consent;
    if let Some((version, rows)) = follow.changed {
        after.trusted = Some(version);
        for (person, row) in &mut after.people {
            if !rows.contains_key(person) {
                row.trusted = None;
                row.witness = None;
            }
        }
        for (person, trusted) in rows {
            let row = after.people.entry(person).or_insert_with(|| CuratedRow {
                trusted: None,
                witness: None,
                devices: BTreeSet::new(),
                revision: before.revision,
            });
            row.trusted = Some(trusted);
        }
    }
    for person in follow.doubts.keys() {
        if let Some(row) = after.people.get_mut(person) {
            row.witness = witnesses.get(person).copied().filter(|_| row.trusted.is_some());
        }
    }
    let next = before.revision.next();
    for (person, row) in &mut after.people {
        let known = before.people.get(person);
        if known == Some(row) {
            continue;
        }
        after.revision = next;
        let had = known.and_then(|known| known.witness);
        if row.trusted.is_some() && had != row.witness {
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

/// Whether somebody who is trusted has no witness any more.
pub(crate) fn has_lost(register: &CuratedRegister) -> bool {
    let is_without =
        |person: &KeyHash| register.people.get(person).is_some_and(|row| row.witness.is_none());
    register.unconfirmed.iter().any(is_without)
}

/// The unconfirmed who are trusted.
pub(crate) fn doubted(register: &CuratedRegister) -> Doubts {
    let trusted = |person: &KeyHash| {
        let row = register.people.get(person)?;
        let (since_ms, witness) = (row.trusted.as_ref()?.since_ms, row.witness);
        Some((*person, Doubt { since_ms, witness, changed: BTreeSet::new(), anywhere: true }))
    };
    register.unconfirmed.iter().filter_map(trusted).collect()
}

#[cfg(test)]
mod tests {
    use lake::key::{ETag, Revision};

    use super::*;

    fn hash(digit: &str) -> KeyHash {
        KeyHash::parse(&digit.repeat(32)).unwrap()
    }

    fn source(digit: &str) -> Source {
        Source::parse(&digit.repeat(16)).unwrap()
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
        let seen = Follow::new(before, Some((part, rows)), &BTreeMap::new(), Consent::Any);
        let witness = present.then(|| source("a"));
        let decided = seen.doubts.keys().filter_map(|person| Some((*person, witness?))).collect();
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

    #[test]
    fn another_landing_object_of_somebody_with_a_witness_is_not_looked_at() {
        let first = after(&CuratedRegister::default(), "1", &[("a", trusted("d", 5))], true);
        let confirmed = CuratedRegister { unconfirmed: BTreeSet::new(), ..first };
        let doubts = |changed: &str| {
            let asked = BTreeMap::from([(hash("a"), BTreeSet::from([source(changed)]))]);
            Follow::new(&confirmed, None, &asked, Consent::Any).doubts
        };
        assert!(doubts("b").is_empty());
        let (witness, changed) = (Some(source("a")), BTreeSet::from([source("a")]));
        let doubt = Doubt { since_ms: 5, witness, changed, anywhere: false };
        assert_eq!(doubts("a"), BTreeMap::from([(hash("a"), doubt)]), "the witness itself");
    }
}
