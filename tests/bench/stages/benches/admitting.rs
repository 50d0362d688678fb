//! Admitting: a landing object in a lake in memory to its object of accelerometer_trusted, end to
//! end, beside the parts of it that can be had alone. What is left is finding whose readings they
//! are and of what day, the manifest, and the choice of the rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use accelerometer_landing_to_trusted::FUNCTION;
use customer_landing_to_trusted::CustomerLandingToTrusted;
use divan::Bencher;
use divan::counter::ItemsCount;
use lake::catalog::StoreCatalog;
use lake::events::Delivery;
use lake::function::Function;
use lake::key::ObjectKey;
use lake::lake::Lake;
use lake::object;
use lake::order::in_order;
use lake::policy::Policies;
use lake::store::{MemoryStore, Precondition};
use lake::tables::{ACCELEROMETER_TRUSTED, Stream};
use stages::{feeds, peers, rows};
use tokio::runtime::Runtime;

const ROWS: [usize; 2] = [600, 6_000];

fn main() {
    divan::main();
}

/// A lake that knows the customers, and the objects that land in it.
struct Landing {
    runtime: Runtime,
    lake: Lake,
    objects: AtomicU64,
}

impl Landing {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let store = Arc::new(MemoryStore::default());
        let catalog = Arc::new(StoreCatalog::new(store.clone()));
        let parts = 16.try_into().expect("a power of two");
        let key = rows::KEY.clone();
        let lake = runtime.block_on(Lake::open(store, catalog, key, parts, Policies::default()));
        let landing = Self { runtime, lake: lake.expect("a lake"), objects: AtomicU64::new(0) };
        let customers = landing.land("landing/customer/", feeds::lines(Stream::Customer));
        landing.runtime.block_on(async {
            let lake = &landing.lake;
            let plan = CustomerLandingToTrusted.plan(lake, &customers, Delivery::First);
            let plan = plan.await.expect("a plan");
            for (part, details) in plan.units {
                CustomerLandingToTrusted.work(lake, &part, details).await.expect("a part");
            }
        });
        landing
    }

    /// Another object below a prefix.
    fn land(&self, prefix: &str, bytes: &'static [u8]) -> ObjectKey {
        let key = ObjectKey::new(format!(
            "{prefix}{}.json",
            self.objects.fetch_add(1, Ordering::Relaxed)
        ));
        let put = self.lake.store.put(&key, bytes.into(), Precondition::None);
        self.runtime.block_on(put).expect("a landing object");
        key
    }
}

/// All of it: another object each time, in a process that has seen others.
#[divan::bench(args = ROWS)]
fn end_to_end(bencher: Bencher<'_, '_>, rows: usize) {
    let landing = Landing::new();
    bencher
        .counter(ItemsCount::new(rows))
        .with_inputs(|| {
            let lines = feeds::first_lines(Stream::Accelerometer, rows);
            landing.land("landing/accelerometer/", lines)
        })
        .bench_local_values(|key| {
            let work = FUNCTION.work(&landing.lake, &key, Vec::new());
            let report = landing.runtime.block_on(work).expect("a derivation");
            assert!(report.objects_written > 0);
        });
}

#[divan::bench(args = ROWS)]
fn of_it_reading(bencher: Bencher<'_, '_>, rows: usize) {
    let lines = feeds::first_lines(Stream::Accelerometer, rows);
    bencher
        .counter(ItemsCount::new(rows))
        .bench(|| peers::lake(Stream::Accelerometer, divan::black_box(lines)));
}

/// Of half of the rows: about so many are admitted.
#[divan::bench(args = ROWS)]
fn of_it_sorting(bencher: Bencher<'_, '_>, rows: usize) {
    let stream = Stream::Accelerometer;
    let lines = feeds::first_lines(stream, rows / 2);
    let (schema, batches) = (stream.schema(), peers::lake(stream, lines));
    bencher.counter(ItemsCount::new(rows)).bench(|| {
        in_order(&schema, divan::black_box(&batches), "timestamp").expect("rows in order")
    });
}

/// Of half of the rows: about so many are admitted.
#[divan::bench(args = ROWS)]
fn of_it_encoding(bencher: Bencher<'_, '_>, rows: usize) {
    let batch = [rows::Rows::Accelerometer.make(rows / 2)];
    let table = &ACCELEROMETER_TRUSTED;
    let footer = rows::footer(table, rows / 2);
    bencher.counter(ItemsCount::new(rows)).bench(|| {
        object::encode(&table.schema(), divan::black_box(&batch), &footer, 128 << 10)
            .expect("an object")
    });
}
