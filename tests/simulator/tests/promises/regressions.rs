//! What the simulator once found, by name: each workload under many schedules and settings.

use simulator::file::{CustomerEntry, Entry, File, Form, Person};
use simulator::workload::{Op, Scenario, Setting};
use simulator::{Promise, Protocol, run_scenario};

const SCHEDULES: u64 = 300;
const SCHEDULES_OF_A_TESTER: u64 = 10_000;

const NOON_MS: i64 = 1_687_050_000_000;
const LATER_MS: i64 = 1_687_200_000_000;

fn holds(ops: &[Op]) {
    holds_with(ops, |setting| setting);
}

fn holds_with(ops: &[Op], with: fn(Setting) -> Setting) {
    for seed in 0..SCHEDULES {
        let scenario = Scenario { setting: with(Setting::of_seed(seed)), ops: ops.to_vec() };
        let outcome = run_scenario(&scenario, seed, Protocol::Sound);
        if let Some(violation) = outcome.violation {
            panic!("schedule {seed}, {:?}: {violation}", scenario.setting);
        }
    }
}

/// The same of lakes in which the runs are read for anybody.
fn holds_by_runs(ops: &[Op]) {
    holds_with(ops, |setting| Setting { parts_looked_at: 0, ..setting });
}

fn file(entries: &[Entry]) -> File {
    File { entries: entries.to_vec(), form: Form::Lines, gzip: false, cut_off: false }
}

fn schedule() -> Op {
    Op::Schedule("2023-07-01T00:00:00Z".to_owned())
}

fn put(key: &str, entries: &[Entry]) -> Op {
    Op::Put(key.to_owned(), file(entries))
}

fn delete(key: &str) -> Op {
    Op::Delete(key.to_owned())
}

fn motion(person: Person, time_ms: i64) -> Entry {
    Entry::Motion { person, spelling: 1, time_ms, x: Some(0.5) }
}

fn customer(person: Person, updated_ms: i64, research_ms: Option<i64>) -> Entry {
    Entry::Customer(CustomerEntry {
        person,
        spelling: 2,
        name: "A".to_owned(),
        serial: Some("D-1".to_owned()),
        registered_ms: Some(NOON_MS),
        updated_ms: Some(updated_ms),
        research_ms,
    })
}

const CUSTOMER: &str = "landing/customer/a.json";
const MOTION: &str = "landing/accelerometer/a.json";
const OTHER_MOTION: &str = "landing/accelerometer/b.json";
const STEP: &str = "landing/step_trainer/a.json";

/// It had no slice by which to see that it was derived, and was unfinished for ever.
#[test]
fn a_landing_object_of_fragments_alone_comes_to_rest() {
    for key in [CUSTOMER, MOTION, STEP] {
        holds(&[put(key, &[Entry::Broken(0)])]);
    }
}

/// The reader published what it had read after the deletion was dealt with.
#[test]
fn a_customer_object_deleted_while_it_is_read_comes_to_rest() {
    holds(&[put(CUSTOMER, &[customer(Person::Ada, NOON_MS, Some(NOON_MS))]), delete(CUSTOMER)]);
}

/// The reader saw the first version, found it overwritten, and forgot what it had seen.
#[test]
fn a_customer_record_that_was_read_stands_though_it_is_overwritten() {
    holds(&[
        put(CUSTOMER, &[customer(Person::Ada, LATER_MS, None)]),
        put(CUSTOMER, &[customer(Person::Ada, NOON_MS, Some(NOON_MS))]),
        put(CUSTOMER, &[customer(Person::Bob, NOON_MS, Some(NOON_MS))]),
    ]);
}

/// A writer slower than the deletion brought the quarantine back and left it.
#[test]
fn a_quarantine_is_gone_with_its_landing_object() {
    for key in [CUSTOMER, MOTION, STEP] {
        let motions = [motion(Person::Ada, NOON_MS), Entry::Broken(0)];
        let entries = if key == MOTION { &motions[..] } else { &motions[1..] };
        holds(&[put(key, entries), delete(key)]);
        holds(&[put(key, entries), delete(key), put(key, entries), Op::Death { lossy: true }]);
    }
}

/// The invocation died between the fold and what follows from it, and the landing object that led
/// there was overwritten.
#[test]
fn a_withdrawal_that_was_folded_reaches_the_tables_after_a_death() {
    holds(&[
        put(MOTION, &[motion(Person::Ada, NOON_MS)]),
        put(CUSTOMER, &[customer(Person::Ada, NOON_MS, Some(NOON_MS))]),
        put(CUSTOMER, &[customer(Person::Ada, LATER_MS, None)]),
        put(CUSTOMER, &[customer(Person::Bob, NOON_MS, None)]),
        Op::Death { lossy: true },
    ]);
}

/// A writer with the manifest of the first A wrote over what was derived from the second.
#[test]
fn a_landing_object_that_goes_from_a_to_b_and_back_to_a_comes_to_rest() {
    let a = [motion(Person::Ada, NOON_MS), motion(Person::Bob, LATER_MS)];
    let b = [motion(Person::Ada, NOON_MS)];
    holds(&[
        put(CUSTOMER, &[customer(Person::Ada, NOON_MS, Some(NOON_MS))]),
        put(MOTION, &a),
        put(MOTION, &b),
        put(MOTION, &a),
        put(MOTION, &b),
        put(MOTION, &a),
    ]);
}

/// Two objects of a date are compacted while one of them changes, and comes back.
fn compacted_while_it_changes() -> Vec<Op> {
    let a = [motion(Person::Ada, NOON_MS)];
    let b = [motion(Person::Ada, NOON_MS), motion(Person::Ada, NOON_MS + 1)];
    vec![
        put(CUSTOMER, &[customer(Person::Ada, NOON_MS, Some(NOON_MS))]),
        put(MOTION, &a),
        put(OTHER_MOTION, &a),
        schedule(),
        put(MOTION, &b),
        schedule(),
        put(MOTION, &a),
        schedule(),
        put(MOTION, &b),
    ]
}

#[test]
fn a_date_that_changes_while_it_is_compacted_is_led_back() {
    holds(&compacted_while_it_changes());
}

/// The copy outlived the rows, or the partition led where nothing was left.
#[test]
fn a_withdrawal_reaches_the_copies() {
    let motions = [motion(Person::Ada, NOON_MS), motion(Person::Bob, NOON_MS + 1)];
    holds(&[
        put(
            CUSTOMER,
            &[
                customer(Person::Ada, NOON_MS, Some(NOON_MS)),
                customer(Person::Bob, NOON_MS, Some(NOON_MS)),
            ],
        ),
        put(MOTION, &motions),
        put(OTHER_MOTION, &motions),
        schedule(),
        put(CUSTOMER, &[customer(Person::Ada, LATER_MS, None)]),
        schedule(),
    ]);
}

/// The runs said that somebody is curated, or does not consent, when their readings went or others came,
/// while something else was decided of them.
#[test]
fn what_the_runs_say_may_be_out_of_date() {
    let ada = [motion(Person::Ada, NOON_MS), motion(Person::Ada, LATER_MS)];
    let consents =
        |updated_ms, since_ms| put(CUSTOMER, &[customer(Person::Ada, updated_ms, since_ms)]);
    let begun = [consents(NOON_MS, Some(NOON_MS)), put(MOTION, &ada)];
    let (withdrawn, back) = (consents(LATER_MS, None), consents(LATER_MS + 1, Some(NOON_MS)));
    let further: [&[Op]; 4] = [
        &[delete(MOTION), put(OTHER_MOTION, &ada)],
        &[withdrawn.clone(), delete(MOTION), back.clone()],
        &[withdrawn, delete(MOTION), back, put(OTHER_MOTION, &ada)],
        &[consents(LATER_MS, Some(NOON_MS + 1)), put(MOTION, &ada[..1])],
    ];
    for further in further {
        holds_by_runs(&[&begun, further].concat());
    }
}

/// The test of the tester, as in `broken_protocols.rs`; here, since other workloads come upon it too
/// rarely.
#[test]
fn compacting_without_a_second_look_is_caught() {
    let ops = compacted_while_it_changes();
    let found = (0..SCHEDULES_OF_A_TESTER).find_map(|seed| {
        let scenario = Scenario { setting: Setting::of_seed(seed), ops: ops.clone() };
        let violation = run_scenario(&scenario, seed, Protocol::ListedOnce).violation?;
        Some((seed, violation))
    });
    let (seed, violation) = found.expect("it is not caught");
    println!("ListedOnce: {violation} after {seed} schedules");
    assert_eq!(violation.promise, Promise::Compaction);
}
