//! How fast the reader is on given files, from bytes to batches, on one core:
//!
//! `cargo run --release -p lake --example reader_throughput -- accelerometer FILE…`

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "it measures, and says so"
)]

use std::time::Instant;

use arrow_array::RecordBatch;
use lake::reader::{Fragment, Limits, Reader, Sink, Summary};
use lake::tables::Stream;

struct Nowhere;

impl Sink for Nowhere {
    fn batch(&mut self, batch: RecordBatch) {
        std::hint::black_box(batch);
    }

    fn fragment(&mut self, fragment: Fragment) {
        std::hint::black_box(fragment);
    }
}

fn read(stream: Stream, bytes: &[u8]) -> Summary {
    let mut reader = Reader::new(stream, &Limits::default());
    bytes
        .chunks(64 << 10)
        .for_each(|chunk| reader.push(chunk, &mut Nowhere));
    reader.finish(&mut Nowhere)
}

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let Some(stream) = Stream::ALL.into_iter().find(|stream| stream.name() == name) else {
        println!("the first argument is a stream, the others are files");
        return Ok(());
    };
    for path in arguments {
        let bytes = std::fs::read(&path)?;
        let mut best = f64::INFINITY;
        let mut summary = Summary::default();
        for _ in 0..20 {
            let start = Instant::now();
            summary = read(stream, &bytes);
            best = best.min(start.elapsed().as_secs_f64());
        }
        let Summary {
            rows,
            fragments,
            source_bytes,
            ..
        } = summary;
        let rate = source_bytes as f64 / 1e6 / best;
        println!("{path}: {rate:.0} MB/s, {rows} rows, {fragments} fragments");
    }
    Ok(())
}
