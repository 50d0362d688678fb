//! What one change costs does not grow with what it does not affect.
//!
//! The calls of the store, and the bytes they read and write, are counted while one change after
//! another goes through the chain: in a lake of 100 landing objects and in larger ones, with no
//! document in memory. `tests/bench/increment` counts instructions too, in lakes of any size.

use lake::key::Parts;
use simulator::price::{Chain, Change, Counts, FEW, FIRST_MS, Size, Spread, lake_of, mean};

const CUSTOMERS: usize = 64;

fn size(objects: usize, customers: usize, spread: Spread) -> Size {
    Size { objects, customers, parts: Parts::try_from(16).unwrap(), spread }
}

/// What some changes cost, one after another.
fn costs(size: Size) -> Vec<(Change, Counts)> {
    println!("{size:?}");
    let chain = lake_of(size);
    let cost = |change| {
        let counts = mean(&chain, change, size, FEW);
        let Counts { calls, read_bytes, written_bytes, .. } = &counts;
        let (name, all) = (Change::name(change), counts.calls());
        println!("  {name}: {all} {calls:?}, {read_bytes} bytes read, {written_bytes} written");
        (change, counts)
    };
    let changes = [Change::Readings, Change::Customer, Change::Withdrawal, Change::Consent];
    changes.map(cost).into()
}

/// In Lambda most of the time of an invocation is waiting: what does not need each other's answers is
/// asked at the same time.
#[test]
fn few_calls_are_waited_for_one_after_the_other() {
    const WAITS: [(Change, usize); 4] = [
        (Change::Readings, 27),
        (Change::Customer, 25),
        (Change::Withdrawal, 54),
        (Change::Consent, 58),
    ];
    let size = size(1_000, CUSTOMERS, Spread::ADay(25));
    let chain = lake_of(size).with_clock().unwrap();
    for (change, waits_max) in WAITS {
        let Counts { waits, calls, .. } = mean(&chain, change, size, FEW);
        println!("{}: {waits} waits, {calls:?}", change.name());
        assert!(waits <= waits_max, "{}: {waits} of {waits_max}", change.name());
        // They were counted: of several invocations each waits for something.
        assert!(waits >= 10, "{}: {waits}", change.name());
    }
}

/// A file of many days waits for about as many calls as one of a single day.
#[test]
fn the_days_of_a_landing_object_do_not_wait_for_each_other() {
    const DAYS: usize = 100;
    const APART_MS: i64 = 86_400_000;
    let waits = |days: usize| {
        let chain = Chain::new(Parts::try_from(16).unwrap()).with_clock().unwrap();
        chain.customer(0, FIRST_MS, Some(FIRST_MS));
        chain.come_to_rest();
        let times = (0..days).map(|day| (0, FIRST_MS + day as i64 * APART_MS));
        chain.motions("days", &times.collect::<Vec<_>>());
        let counts = chain.counted(|chain| chain.come_to_rest_in(1_000));
        println!("{days} days: {counts:?}");
        counts.waits
    };
    let (one, many) = (waits(1), waits(DAYS));
    // Ten days are written at once. For each something is put, looked for in the catalog, made there, and
    // looked at again; and each is announced to two functions.
    assert!(many <= one + 7 * DAYS / 10, "{one}, {many}");
}

/// Whether so much is within 1.2 times as much as in the small lake.
fn is_within(large: usize, small: usize) -> bool {
    10 * large <= 12 * small
}

/// The large lake against the small one.
fn is_flat(small: &[(Change, Counts)], large: &[(Change, Counts)]) {
    // Of a lookup: a run that was read whole when it was small is looked into.
    const LOOKUPS: usize = 4;
    const READ_BYTES: usize = 64 << 10;
    for ((change, small), (_, large)) in small.iter().zip(large) {
        let name = change.name();
        assert!(is_within(large.calls(), small.calls()), "{name}: {small:?}, {large:?}");
        assert!(
            is_within(large.written_bytes, small.written_bytes),
            "{name}: {small:?}, {large:?}"
        );
        let read_max = small.read_bytes + LOOKUPS * READ_BYTES;
        assert!(large.read_bytes <= read_max, "{name}: {small:?}, {large:?}");
    }
}

#[test]
fn one_change_costs_the_same_in_a_lake_of_a_hundred_times_the_objects() {
    let of = |objects| costs(size(objects, CUSTOMERS, Spread::ADay(25)));
    let small = of(100);
    is_flat(&small, &of(1_000));
    is_flat(&small, &of(10_000));
}

/// The worst case: everything is on the day of the changed customer's readings. The listings of
/// the day have more pages.
#[test]
fn one_change_costs_the_same_on_a_day_of_thirty_times_the_objects() {
    let of = |objects| costs(size(objects, CUSTOMERS, Spread::OneDay));
    let (small, mut large) = (of(100), of(3_000));
    for ((_, small), (_, large)) in small.iter().zip(&mut large) {
        let lists = small.calls.get("list").copied().unwrap_or_default();
        large.calls.insert("list", lists);
    }
    is_flat(&small, &large);
}

/// Whoever changes writes their part again: that has as many people in it in a lake of any size.
#[test]
fn one_change_costs_the_same_among_a_hundred_times_the_customers_if_there_are_parts_for_them() {
    const PEOPLE: usize = 32;
    let of = |parts: u16| {
        let customers = PEOPLE * usize::from(parts);
        let parts = Parts::try_from(parts).unwrap();
        costs(Size { objects: 200, customers, parts, spread: Spread::ADay(25) })
    };
    let (few, many) = (of(16), of(2_048));
    is_flat(&few, &many);
    let of_customer = |costs: Vec<(Change, Counts)>| {
        costs.into_iter().find(|(change, _)| *change == Change::Customer).unwrap().1
    };
    let (few, many) = (of_customer(few), of_customer(many));
    assert!(is_within(many.read_bytes, few.read_bytes), "{few:?}, {many:?}");
}

/// What is settled is listed, a thousand objects a call, and not looked at.
#[test]
fn a_comparison_of_everything_looks_only_at_what_changed() {
    const CHANGES: [Change; 2] = [Change::Comparison, Change::WithdrawnComparison];
    let of = |objects| {
        let size = size(objects, CUSTOMERS, Spread::ADay(25));
        let chain = lake_of(size);
        CHANGES.map(|change| {
            let mut counts = mean(&chain, change, size, 4);
            println!("{objects} objects, {}: {counts:?}", change.name());
            (counts.calls.remove("list").unwrap_or_default(), counts)
        })
    };
    for ((few_lists, few), (lists, many)) in of(100).into_iter().zip(of(6_000)) {
        assert!(is_within(many.calls(), few.calls()), "{few:?}, {many:?}");
        // Of what has an object for each landing object of a sensor one page became four: the landing
        // zones, the manifests (which two functions list), the trusted zones (two, too), the curated.
        const LISTINGS: usize = 10;
        assert!(lists <= few_lists + 3 * LISTINGS + 4, "{few_lists}, {lists}");
    }
}
