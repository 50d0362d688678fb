//! The rule: which record of a person stands.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use lake::customer::Customer;
use lake::key::{KeyHash, Revision};

use crate::register::RegisterRow;

/// Time of a record, epoch milliseconds: of its last change, or of the registration where that is
/// absent.
pub(crate) fn record_time_ms(record: &Customer) -> i64 {
    record.last_update_ms().or(record.registration_ms()).unwrap_or(i64::MIN)
}

/// Orders two records of a person, the one that stands first: the newer; of the same time one
/// without research consent (privacy wins), then ascending by the columns in their order, nulls
/// first.
pub(crate) fn standing_first(a: &Customer, b: &Customer) -> Ordering {
    record_time_ms(b)
        .cmp(&record_time_ms(a))
        .then_with(|| a.research_since_ms().is_some().cmp(&b.research_since_ms().is_some()))
        .then_with(|| (a.texts(), a.times()).cmp(&(b.texts(), b.times())))
}

/// Keeps the record of a person that stands.
pub(crate) fn keep_newest(
    people: &mut BTreeMap<KeyHash, Customer>,
    person: KeyHash,
    record: Customer,
) {
    match people.entry(person) {
        Entry::Vacant(entry) => {
            entry.insert(record);
        }
        Entry::Occupied(mut entry) => {
            if standing_first(&record, entry.get()) == Ordering::Less {
                entry.insert(record);
            }
        }
    }
}

/// Folds a record into what the register says of a person; `None` if that stands.
///
/// Idempotent, commutative and associative: the outcome is that of the record that stands among all
/// that were ever folded. Of a record without consent only its time is kept.
pub fn fold(row: Option<&RegisterRow>, record: &Customer, next: Revision) -> Option<RegisterRow> {
    let time_ms = record_time_ms(record);
    let consents = record.research_since_ms();
    if let Some(row) = row {
        let stands = match time_ms.cmp(&row.time_ms) {
            Ordering::Less => true,
            Ordering::Greater => false,
            Ordering::Equal => row.record.as_ref().is_none_or(|standing| {
                consents.is_some() && standing_first(standing, record) != Ordering::Greater
            }),
        };
        if stands {
            return None;
        }
    }
    let before = row.and_then(|row| row.record.as_ref()).and_then(Customer::research_since_ms);
    let consent_revision = match row {
        Some(row) if before == consents => row.consent_revision,
        _ => next,
    };
    let record = consents.map(|_| record.clone());
    Some(RegisterRow { time_ms, record, revision: next, consent_revision })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str, updated_ms: Option<i64>, consent_ms: Option<i64>) -> Customer {
        let json = serde_json::json!({
            "texts": [name, "ada@test.com", null, null, null],
            "times": [1, updated_ms, consent_ms, null, null],
        });
        serde_json::from_value(json).unwrap()
    }

    fn folded(records: &[&Customer]) -> (i64, Option<Customer>) {
        let mut row = None;
        for (step, record) in records.iter().enumerate() {
            if let Some(changed) = fold(row.as_ref(), record, Revision(step as u64 + 1)) {
                row = Some(changed);
            }
        }
        row.map(|row| (row.time_ms, row.record)).unwrap()
    }

    #[test]
    fn the_order_of_records_does_not_show() {
        let records = [
            record("a", Some(5), Some(2)),
            record("b", Some(5), None),
            record("c", Some(7), Some(3)),
            record("b", Some(7), Some(3)),
            record("d", None, Some(9)),
        ];
        let wanted = (7, Some(records[3].clone()));
        for first in 0..records.len() {
            for second in 0..records.len() {
                let mut order: Vec<&Customer> = records.iter().collect();
                order.swap(0, first);
                order.swap(1, second);
                assert_eq!(folded(&order), wanted, "{first} {second}");
                order.extend(records.iter());
                assert_eq!(folded(&order), wanted, "delivered twice");
            }
        }
    }

    #[test]
    fn of_the_same_time_privacy_wins() {
        let (with, without) = (record("a", Some(5), Some(2)), record("b", Some(5), None));
        assert_eq!(folded(&[&with, &without]), (5, None));
        assert_eq!(folded(&[&without, &with]), (5, None));
    }

    #[test]
    fn a_change_that_leaves_the_consent_alone_leaves_its_revision() {
        let first = fold(None, &record("a", Some(5), Some(2)), Revision(1)).unwrap();
        let renamed = fold(Some(&first), &record("b", Some(6), Some(2)), Revision(2)).unwrap();
        assert_eq!((renamed.revision, renamed.consent_revision), (Revision(2), Revision(1)));
        let withdrawn = fold(Some(&renamed), &record("b", Some(7), None), Revision(3)).unwrap();
        assert_eq!(withdrawn.consent_revision, Revision(3));
    }
}
