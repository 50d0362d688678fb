//! What a comparison takes of memory for each landing object there is: a function of a GiB has room for
//! those of years.

use lake::key::Parts;
use peak_alloc::PeakAlloc;
use simulator::price::{Change, Size, Spread, lake_of, mean};

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// Landing objects of a sensor.
const OBJECTS: usize = 12_000;
/// For each of them, and whatever there is.
const EACH_BYTES_MAX: usize = 100;
const BYTES_MAX: usize = 1 << 20;

#[test]
fn a_comparison_takes_a_hundred_bytes_for_a_landing_object() {
    let parts = Parts::try_from(4).unwrap();
    let size = Size { objects: 2 * OBJECTS, customers: 64, parts, spread: Spread::ADay(25) };
    let chain = lake_of(size);
    chain.compare();
    mean(&chain, Change::Readings, size, 1);

    let before = ALLOCATED.current_usage();
    ALLOCATED.reset_peak_usage();
    chain.compare();
    let taken = ALLOCATED.peak_usage() - before;
    println!("{taken} bytes with {OBJECTS} landing objects of each sensor");
    assert!(taken <= BYTES_MAX + OBJECTS * EACH_BYTES_MAX, "{taken}");
}
