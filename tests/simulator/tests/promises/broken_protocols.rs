//! The test of the tester: protocols broken on purpose are caught, and by what they break.

use std::time::Duration;

use simulator::{Promise, Protocol, explore};

/// More than a minute's runs would be too many for CI.
const RUNS_MAX: u64 = 20_000;
const TIME_MAX: Duration = Duration::from_secs(60);

fn is_caught(protocol: Protocol) {
    let shown = |promise| {
        let shown = [Promise::Privacy, Promise::Tables, Promise::Leftovers, Promise::Catalog];
        shown.contains(&promise) || promise == Promise::Compaction
    };
    let (explored, failure) = explore(1, RUNS_MAX, TIME_MAX, protocol, shown);
    let Some(failure) = failure else { panic!("{protocol:?} is not caught: {explored:?}") };
    println!("{protocol:?}: {} after {explored:?}", failure.violation);
}

#[test]
fn a_blind_put_is_caught() {
    is_caught(Protocol::BlindPut);
}

#[test]
fn tags_of_rows_without_revisions_are_caught() {
    is_caught(Protocol::TagsOfRows);
}

#[test]
fn reading_the_register_before_the_manifest_is_published_is_caught() {
    is_caught(Protocol::RegisterBeforeManifest);
}

#[test]
fn applying_a_revision_before_the_work_is_done_is_caught() {
    is_caught(Protocol::AppliedBeforeWork);
}

#[test]
fn treating_a_deletion_event_as_the_truth_is_caught() {
    is_caught(Protocol::DeletionIsTruth);
}

#[test]
fn not_waiting_for_a_lost_builder_is_caught() {
    is_caught(Protocol::NoLease);
}

#[test]
fn removing_a_copy_before_its_partition_leads_elsewhere_is_caught() {
    is_caught(Protocol::RemovedFirst);
}
