//! Many invocations on one part of the customer register all get on.

use simulator::{Turns, crowd};

/// What SQS is set to before a message is given up, or less.
const DELIVERIES_MAX: usize = 3;

#[test]
fn sixty_four_invocations_on_one_part_get_on_in_lockstep() {
    let fared = crowd(64, Turns::Lockstep);
    println!("lockstep: {fared:?}");
    assert!(fared.deliveries_max <= DELIVERIES_MAX, "{fared:?}");
}

#[test]
fn sixty_four_invocations_on_one_part_get_on_at_random() {
    for seed in 0..20 {
        let fared = crowd(64, Turns::Random(seed));
        println!("seed {seed}: {fared:?}");
        assert!(fared.deliveries_max <= DELIVERIES_MAX, "seed {seed}: {fared:?}");
    }
}
