//! What the settings of a Parquet writer cost and save: time and bytes of an object, setting by
//! setting, in turn so that what disturbs one disturbs all.
//!
//! `cargo run --release -- [repeats]` prints a table for each kind of rows.

#![expect(clippy::disallowed_methods, reason = "it measures")]

use std::sync::Arc;
use std::time::Instant;

use arrow_array::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{
    EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterVersion,
};
use parquet::schema::types::ColumnPath;
use stages::rows::{Rows, footer};

const SIZES: [usize; 3] = [600, 6_000, 30_000];
const TIMES: [&str; 2] = ["timestamp", "sensorreadingtime"];
const AXES: [&str; 3] = ["x", "y", "z"];

type Setting = (&'static str, fn(WriterPropertiesBuilder) -> WriterPropertiesBuilder);

/// The first is what all others differ from.
const SETTINGS: [Setting; 24] = [
    ("zstd 3", zstd::<3>),
    ("zstd 1", zstd::<1>),
    ("zstd -1", |p| p.set_compression(level(-1))),
    ("zstd 6", zstd::<6>),
    ("no compression", |p| p.set_compression(Compression::UNCOMPRESSED)),
    ("no dictionary of x, y, z", |p| plain(zstd::<3>(p), &AXES)),
    ("no dictionary of times", |p| plain(zstd::<3>(p), &TIMES)),
    ("no dictionary of times, zstd 1", |p| plain(zstd::<1>(p), &TIMES)),
    ("no dictionary of times, those of x, y, z to 16 KiB", |p| {
        short(plain(zstd::<3>(p), &TIMES), 16 << 10)
    }),
    ("no dictionary of times, those of x, y, z to 16 KiB, zstd 1", |p| {
        short(plain(zstd::<1>(p), &TIMES), 16 << 10)
    }),
    ("no dictionary of times, those of x, y, z to 64 KiB", |p| {
        short(plain(zstd::<3>(p), &TIMES), 64 << 10)
    }),
    ("no dictionary of times, those of x, y, z to 64 KiB, zstd 1", |p| {
        short(plain(zstd::<1>(p), &TIMES), 64 << 10)
    }),
    ("times DELTA_BINARY_PACKED", |p| delta(zstd::<3>(p))),
    ("times DELTA_BINARY_PACKED, zstd 1", |p| delta(zstd::<1>(p))),
    ("times DELTA_BINARY_PACKED, no compression", |p| {
        delta(p.set_compression(Compression::UNCOMPRESSED))
    }),
    ("times DELTA_BINARY_PACKED, these not compressed", |p| bare_times(delta(zstd::<3>(p)))),
    ("no dictionary at all", |p| zstd::<3>(p).set_dictionary_enabled(false)),
    ("dictionary pages to 64 KiB", |p| zstd::<3>(p).set_dictionary_page_size_limit(64 << 10)),
    ("dictionary pages to 16 KiB", |p| zstd::<3>(p).set_dictionary_page_size_limit(16 << 10)),
    ("data pages to 256 KiB", |p| zstd::<3>(p).set_data_page_size_limit(256 << 10)),
    ("statistics of chunks only", |p| {
        zstd::<3>(p).set_statistics_enabled(EnabledStatistics::Chunk)
    }),
    ("statistics of chunks only, no offset index", |p| {
        zstd::<3>(p)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_offset_index_disabled(true)
    }),
    ("no statistics", |p| zstd::<3>(p).set_statistics_enabled(EnabledStatistics::None)),
    ("data pages v2", |p| zstd::<3>(p).set_writer_version(WriterVersion::PARQUET_2_0)),
];

fn level(level: i32) -> Compression {
    Compression::ZSTD(ZstdLevel::try_new(level).expect("a level"))
}

fn zstd<const LEVEL: i32>(properties: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
    properties.set_compression(level(LEVEL))
}

fn plain(properties: WriterPropertiesBuilder, columns: &[&str]) -> WriterPropertiesBuilder {
    let plain = |properties: WriterPropertiesBuilder, column: &&str| {
        properties.set_column_dictionary_enabled(ColumnPath::from(*column), false)
    };
    columns.iter().fold(properties, plain)
}

fn short(properties: WriterPropertiesBuilder, bytes: usize) -> WriterPropertiesBuilder {
    AXES.iter().fold(properties, |properties, column| {
        properties.set_column_dictionary_page_size_limit(ColumnPath::from(*column), bytes)
    })
}

fn delta(properties: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
    TIMES.iter().fold(plain(properties, &TIMES), |properties, column| {
        properties.set_column_encoding(ColumnPath::from(*column), Encoding::DELTA_BINARY_PACKED)
    })
}

fn bare_times(properties: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
    TIMES.iter().fold(properties, |properties, column| {
        properties.set_column_compression(ColumnPath::from(*column), Compression::UNCOMPRESSED)
    })
}

/// As the crate writes rows of Arrow, with properties of which `lake::object` has some.
fn encode(batch: &RecordBatch, properties: WriterProperties) -> Vec<u8> {
    let mut bytes = Vec::new();
    let writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties));
    let mut writer = writer.expect("a writer");
    writer.write(batch).and_then(|()| writer.close()).expect("an object");
    bytes
}

fn properties(rows: Rows, batch: &RecordBatch, setting: Setting) -> WriterProperties {
    let footer = serde_json::to_string(&footer(rows.table(), batch.num_rows())).expect("JSON");
    setting.1(WriterProperties::builder())
        .set_created_by("stedi lake".to_owned())
        .set_key_value_metadata(Some(vec![KeyValue::new("stedi.footer".to_owned(), footer)]))
        .build()
}

/// Bytes of an object, and the best and the middle time of encoding and of decoding it, µs.
struct Cost {
    bytes: usize,
    encode_us: Vec<f64>,
    decode_us: Vec<f64>,
}

fn best(times: &[f64]) -> f64 {
    times.iter().copied().fold(f64::INFINITY, f64::min)
}

fn middle(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn timed<T>(times: &mut Vec<f64>, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let made = std::hint::black_box(work());
    times.push(start.elapsed().as_secs_f64() * 1e6);
    made
}

fn costs(rows: Rows, batch: &RecordBatch, repeats: usize) -> Vec<Cost> {
    let none = || Cost { bytes: 0, encode_us: Vec::new(), decode_us: Vec::new() };
    let mut costs: Vec<Cost> = SETTINGS.iter().map(|_| none()).collect();
    for _ in 0..repeats {
        for (cost, setting) in costs.iter_mut().zip(SETTINGS) {
            let object = timed(&mut cost.encode_us, || {
                encode(std::hint::black_box(batch), properties(rows, batch, setting))
            });
            cost.bytes = object.len();
            let object = bytes::Bytes::from(object);
            let read = timed(&mut cost.decode_us, || {
                let builder = ParquetRecordBatchReaderBuilder::try_new(object).expect("an object");
                let reader = builder.with_batch_size(batch.num_rows()).build().expect("a reader");
                reader.map(|batch| batch.expect("rows")).collect::<Vec<_>>()
            });
            assert_eq!(read[0].columns(), batch.columns());
        }
    }
    costs
}

fn main() {
    let repeats = std::env::args().nth(1).map_or(60, |repeats| repeats.parse().expect("a number"));
    for rows in Rows::ALL {
        let tables: Vec<_> =
            SIZES.iter().map(|size| costs(rows, &rows.make(*size), repeats)).collect();
        println!("\n{rows:?}: bytes, best (middle) µs to encode, best µs to decode\n");
        let sizes = SIZES.map(|size| format!(" {size} rows | | |")).concat();
        println!("| |{sizes}\n|---|{}", "---:|".repeat(3 * SIZES.len()));
        for (index, (name, _)) in SETTINGS.iter().enumerate() {
            let cells = tables.iter().map(|costs| {
                let encode_us = &mut costs[index].encode_us.clone();
                let (best_us, decode_us) = (best(encode_us), best(&costs[index].decode_us));
                let middle_us = middle(encode_us);
                format!(
                    " {} | {best_us:.0} ({middle_us:.0}) | {decode_us:.0} |",
                    costs[index].bytes
                )
            });
            println!("| {name} |{}", cells.collect::<String>());
        }
    }
    empty(repeats);
}

/// What an object costs whatever is in it.
fn empty(repeats: usize) {
    let rows = Rows::Accelerometer;
    let batch = RecordBatch::new_empty(Arc::clone(&rows.table().schema()));
    let (mut object, mut compressor, mut decompressor) = (Vec::new(), Vec::new(), Vec::new());
    let mut first = Vec::new();
    let page = vec![7_u8; 2_400];
    for _ in 0..repeats {
        timed(&mut object, || encode(&batch, properties(rows, &batch, SETTINGS[0])));
        let mut context = timed(&mut compressor, || zstd::bulk::Compressor::new(3)).expect("zstd");
        timed(&mut first, || context.compress(&page)).expect("a page");
        timed(&mut decompressor, zstd::bulk::Decompressor::new).expect("zstd");
    }
    println!("\nAn object without rows: {:.1} µs to encode.", best(&object));
    println!(
        "zstd: {:.1} µs for a compressor, {:.1} for its first page, {:.1} for a decompressor.",
        best(&compressor),
        best(&first),
        best(&decompressor)
    );
}
