//! Pairing: step trainer and accelerometer rows of one day to rows of machine_learning_curated.

use arrow_array::RecordBatch;
use divan::Bencher;
use divan::counter::ItemsCount;
use lake::policy::Identity;
use lake::tables::Stream;
use machine_learning_curated::{Motions, Naming, Pairs, Steps};
use stages::rows::{self, later, naming, readings};

fn main() {
    divan::main();
}

/// Rows that are joined at once, about as many as the lake does.
const ROWS_MAX: usize = 64 << 10;

fn pairs(bencher: Bencher<'_, '_>, steps: &RecordBatch, motions: &RecordBatch, how: Naming<'_>) {
    let all = || {
        let motions = Motions::of(divan::black_box(motions), how).expect("times");
        let steps = Steps::of(divan::black_box(steps).clone(), how).expect("serial numbers");
        let mut pairs = Pairs::new(&steps, &motions, None, how.key).expect("pairs");
        let mut rows = 0;
        while let Some(batch) = pairs.next(ROWS_MAX).expect("pairs") {
            rows += batch.num_rows();
            divan::black_box(batch);
        }
        rows
    };
    bencher.counter(ItemsCount::new(steps.num_rows() + motions.num_rows())).bench(all);
}

/// Two objects of the same walks: nearly every step has its three motions.
#[divan::bench(args = [600, 6_000, 30_000])]
fn dense(bencher: Bencher<'_, '_>, steps: usize) {
    let motions = readings(Stream::Accelerometer, 3 * steps);
    pairs(bencher, &readings(Stream::StepTrainer, steps), &motions, naming());
}

/// The same, in clear: without what pseudonyms cost.
#[divan::bench(args = [600, 6_000, 30_000])]
fn dense_in_clear(bencher: Bencher<'_, '_>, steps: usize) {
    let motions = readings(Stream::Accelerometer, 3 * steps);
    let how = Naming { identity: Identity::Clear, key: &rows::KEY };
    pairs(bencher, &readings(Stream::StepTrainer, steps), &motions, how);
}

/// Objects of which each has readings of all the time of the other, but hardly of an instant of it.
#[divan::bench(args = [600, 6_000, 30_000])]
fn sparse(bencher: Bencher<'_, '_>, steps: usize) {
    let motions = readings(Stream::Accelerometer, 3 * steps);
    let motions = later(&motions, "timestamp", 7);
    pairs(bencher, &readings(Stream::StepTrainer, steps), &motions, naming());
}

/// A few steps among very many motions.
#[divan::bench(args = [60, 600])]
fn few_among_many(bencher: Bencher<'_, '_>, steps: usize) {
    let motions = readings(Stream::Accelerometer, 90_000);
    let motions = later(&motions, "timestamp", 7);
    pairs(bencher, &readings(Stream::StepTrainer, steps), &motions, naming());
}
