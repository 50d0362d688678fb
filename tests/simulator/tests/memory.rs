//! What a comparison takes of memory for each landing object there is: a function of a GiB has room for
//! those of years.

use lake::key::Parts;
use peak_alloc::PeakAlloc;
use simulator::price::{Change, Size, Spread, lake_of, mean};

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// Landing objects of a sensor.
const OBJECTS: usize = 12_000;
/// Of each, and its share of whatever else there is.
const EACH_BYTES_MAX: usize = 150;

#[test]
fn a_comparison_takes_little_for_a_landing_object() {
    let parts = Parts::try_from(4).unwrap();
    let size = Size { objects: 2 * OBJECTS, customers: 64, parts, spread: Spread::ADay(25) };
    // It comes with what was remembered of a comparison before.
    let chain = lake_of(size);
    mean(&chain, Change::Readings, size, 1);

    let before = ALLOCATED.current_usage();
    ALLOCATED.reset_peak_usage();
    chain.compare();
    let each = (ALLOCATED.peak_usage() - before) / OBJECTS;
    println!("{each} bytes a landing object");
    assert!(each <= EACH_BYTES_MAX, "{each}");
}
