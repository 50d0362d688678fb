//! Encoding and decoding: rows of a derived object to its bytes, and back.

use divan::Bencher;
use divan::counter::BytesCount;
use lake::key::ObjectKey;
use lake::landing::row_bytes;
use lake::object;
use stages::rows::{Rows, footer};

fn main() {
    divan::main();
}

/// As the lake has it.
const ROW_GROUP_ROWS: usize = 128 << 10;

#[divan::bench(args = Rows::ALL, consts = [600, 6_000, 30_000])]
fn encode<const ROWS: usize>(bencher: Bencher<'_, '_>, rows: Rows) {
    let (table, batch) = (rows.table(), [rows.make(ROWS)]);
    let footer = footer(table, ROWS);
    bencher.counter(BytesCount::new(row_bytes(&batch[0]))).bench(|| {
        object::encode(&table.schema(), divan::black_box(&batch), &footer, ROW_GROUP_ROWS)
            .expect("an object")
    });
}

#[divan::bench(args = Rows::ALL, consts = [600, 6_000, 30_000])]
fn decode<const ROWS: usize>(bencher: Bencher<'_, '_>, rows: Rows) {
    let (table, batch) = (rows.table(), rows.make(ROWS));
    let bytes = row_bytes(&batch);
    let object = object::encode(&table.schema(), &[batch], &footer(table, ROWS), ROW_GROUP_ROWS)
        .expect("an object");
    let key = ObjectKey::new("object");
    bencher
        .counter(BytesCount::new(bytes))
        .bench(|| object::decode(&key, divan::black_box(&object).clone()).expect("rows").batch);
}
