//! Reading by the lake's reader and by libraries: the same bytes in, the same columns out.
//!
//! A library here stops at the first record that is not as expected: it quarantines nothing, finds
//! no next record after a broken one, takes keys in one case only and numbers in one way only,
//! counts no unknown keys or unmet expectations. Texts are borrowed from the object; only in a
//! customer's name may there be escapes, elsewhere they would stop it too.

use std::borrow::Cow;

use arrow_array::RecordBatch;
use arrow_array::builder::{Float64Builder, Int32Builder, Int64Builder, StringBuilder};
use lake::reader::{Fragment, Limits, Reader, Sink};
use lake::tables::Stream;
use serde::Deserialize;
use serde_json::Value;
use sonic_rs::{JsonValueTrait, LazyValue, PointerTree};

/// What the lake gives the reader at once, bytes.
const SIP_BYTES: usize = 16 << 10;
/// As the reader's.
const BATCH_ROWS: usize = 8192;

/// Bytes of a landing object to the columns of its rows.
pub type Read = fn(Stream, &[u8]) -> Vec<RecordBatch>;

/// The libraries, each the way it is fastest with lines, or by another interface.
pub const PEERS: [(&str, Read); 6] = [
    ("serde_json, struct", serde_json_struct),
    ("serde_json, Value", serde_json_value),
    ("simd-json, struct", simd_json_struct),
    ("sonic-rs, struct, stream", sonic_stream),
    ("sonic-rs, struct, line by line", sonic_lines),
    ("sonic-rs, lazy get", sonic_lazy),
];

/// Those that read an array.
pub const ARRAY_PEERS: [(&str, Read); 3] = [
    ("serde_json, array", serde_json_array),
    ("simd-json, array", simd_json_array),
    ("sonic-rs, array", sonic_array),
];

#[derive(Default)]
struct Found(Vec<RecordBatch>);

impl Sink for Found {
    fn batch(&mut self, batch: RecordBatch) {
        self.0.push(batch);
    }

    fn fragment(&mut self, fragment: Fragment) {
        panic!("the feeds are sound, but for {fragment:?}");
    }
}

/// By the lake's reader.
pub fn lake(stream: Stream, bytes: &[u8]) -> Vec<RecordBatch> {
    let mut found = Found::default();
    let mut reader = Reader::new(stream, &Limits::default());
    bytes.chunks(SIP_BYTES).for_each(|sip| reader.push(sip, &mut found));
    reader.finish(&mut found);
    found.0
}

/// What is told apart by feed.
trait Feed {
    /// A record, with texts borrowed from its bytes.
    type Row<'de>: Deserialize<'de>;
    /// Columns in the making.
    type Columns: Default;
    const KEYS: &'static [&'static str];
    fn push(columns: &mut Self::Columns, row: Self::Row<'_>);
    fn push_value(columns: &mut Self::Columns, value: &Value);
    fn push_lazy(columns: &mut Self::Columns, values: &[Option<LazyValue<'_>>]);
    fn rows(columns: &Self::Columns) -> usize;
    fn finish(columns: &mut Self::Columns) -> RecordBatch;
}

/// A text that may have escapes, and is borrowed where it has none.
#[derive(Deserialize)]
struct Name<'text>(#[serde(borrow)] Cow<'text, str>);

impl AsRef<str> for Name<'_> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Rows as batches of the reader's size.
struct Batches<F: Feed> {
    columns: F::Columns,
    batches: Vec<RecordBatch>,
}

impl<F: Feed> Batches<F> {
    fn new() -> Self {
        Self { columns: F::Columns::default(), batches: Vec::new() }
    }

    fn add(&mut self, push: impl FnOnce(&mut F::Columns)) {
        push(&mut self.columns);
        if F::rows(&self.columns) == BATCH_ROWS {
            self.batches.push(F::finish(&mut self.columns));
        }
    }

    fn finish(mut self) -> Vec<RecordBatch> {
        if F::rows(&self.columns) > 0 {
            self.batches.push(F::finish(&mut self.columns));
        }
        self.batches
    }
}

macro_rules! feed {
    (@row Text, $de:lifetime) => { Option<&$de str> };
    (@row Name, $de:lifetime) => { Option<Name<$de>> };
    (@row Long, $de:lifetime) => { Option<i64> };
    (@row Int, $de:lifetime) => { Option<i32> };
    (@row Double, $de:lifetime) => { Option<f64> };
    (@builder Text) => { StringBuilder };
    (@builder Name) => { StringBuilder };
    (@builder Long) => { Int64Builder };
    (@builder Int) => { Int32Builder };
    (@builder Double) => { Float64Builder };
    (@of $value:expr, Text) => { $value.and_then(|value| value.as_str()) };
    (@of $value:expr, Name) => { $value.and_then(|value| value.as_str()) };
    (@of $value:expr, Long) => { $value.and_then(|value| value.as_i64()) };
    (@of $value:expr, Int) => { $value.and_then(|value| value.as_i64()).map(|int| int as i32) };
    (@of $value:expr, Double) => { $value.and_then(|value| value.as_f64()) };
    ($module:ident, $stream:expr, $first:ident,
     $($(#[$borrow:meta])? $column:ident $key:literal $kind:tt),+) => {
        mod $module {
            use super::*;

            pub struct Records;

            #[derive(Deserialize)]
            pub struct Row<'text> {
                $(#[serde(rename = $key)]
                $(#[$borrow])?
                $column: feed!(@row $kind, 'text),)+
            }

            #[derive(Default)]
            pub struct Columns { $($column: feed!(@builder $kind)),+ }

            impl Feed for Records {
                type Row<'de> = Row<'de>;
                type Columns = Columns;
                const KEYS: &'static [&'static str] = &[$($key),+];

                fn push(columns: &mut Columns, row: Row<'_>) {
                    $(columns.$column.append_option(row.$column);)+
                }

                fn push_value(columns: &mut Columns, value: &Value) {
                    $(columns.$column.append_option(feed!(@of value.get($key), $kind));)+
                }

                fn push_lazy(columns: &mut Columns, values: &[Option<LazyValue<'_>>]) {
                    let mut values = values.iter();
                    $(columns.$column.append_option(
                        feed!(@of values.next().and_then(Option::as_ref), $kind),
                    );)+
                }

                fn rows(columns: &Columns) -> usize {
                    arrow_array::builder::ArrayBuilder::len(&columns.$first)
                }

                fn finish(columns: &mut Columns) -> RecordBatch {
                    let arrays: Vec<arrow_array::ArrayRef> =
                        vec![$(std::sync::Arc::new(columns.$column.finish())),+];
                    RecordBatch::try_new($stream.schema(), arrays).expect("the feed's schema")
                }
            }
        }
    };
}

feed!(customer, Stream::Customer, name,
    #[serde(borrow)] name "customerName" Name,
    #[serde(borrow)] email "email" Text,
    #[serde(borrow)] phone "phone" Text,
    #[serde(borrow)] birth_day "birthDay" Text,
    #[serde(borrow)] serial_number "serialNumber" Text,
    registration "registrationDate" Long,
    update "lastUpdateDate" Long,
    research "shareWithResearchAsOfDate" Long,
    public "shareWithPublicAsOfDate" Long,
    friends "shareWithFriendsAsOfDate" Long);

feed!(accelerometer, Stream::Accelerometer, user,
    #[serde(borrow)] user "user" Text,
    timestamp "timestamp" Long,
    x "x" Double,
    y "y" Double,
    z "z" Double);

feed!(step_trainer, Stream::StepTrainer, time,
    time "sensorReadingTime" Long,
    #[serde(borrow)] serial_number "serialNumber" Text,
    distance "distanceFromObject" Int);

macro_rules! by_feed {
    ($($(#[$doc:meta])* $name:ident => $read:ident),+ $(,)?) => {
        $($(#[$doc])*
        pub fn $name(stream: Stream, bytes: &[u8]) -> Vec<RecordBatch> {
            match stream {
                Stream::Customer => $read::<customer::Records>(bytes),
                Stream::Accelerometer => $read::<accelerometer::Records>(bytes),
                Stream::StepTrainer => $read::<step_trainer::Records>(bytes),
            }
        })+
    };
}

by_feed! {
    /// Lines by serde_json's stream of structs.
    serde_json_struct => by_serde_json,
    /// Lines by serde_json's stream of values of any kind.
    serde_json_value => by_serde_json_value,
    /// Lines by simd-json, one after another, in a copy it may write to.
    simd_json_struct => by_simd_json,
    /// Lines by sonic-rs's stream of structs.
    sonic_stream => by_sonic_stream,
    /// Lines by sonic-rs, one after another.
    sonic_lines => by_sonic_lines,
    /// Lines by sonic-rs, which looks for the keys and parses their values only.
    sonic_lazy => by_sonic_lazy,
    /// An array by serde_json, at once.
    serde_json_array => by_serde_json_array,
    /// An array by simd-json, at once, in a copy it may write to.
    simd_json_array => by_simd_json_array,
    /// An array by sonic-rs, at once.
    sonic_array => by_sonic_array,
}

fn by_serde_json<F: Feed>(bytes: &[u8]) -> Vec<RecordBatch> {
    let mut batches = Batches::<F>::new();
    for row in serde_json::Deserializer::from_slice(bytes).into_iter::<F::Row<'_>>() {
        let row = row.expect("a record");
        batches.add(|columns| F::push(columns, row));
    }
    batches.finish()
}

fn by_serde_json_value<F: Feed>(bytes: &[u8]) -> Vec<RecordBatch> {
    let mut batches = Batches::<F>::new();
    for value in serde_json::Deserializer::from_slice(bytes).into_iter::<Value>() {
        let value = value.expect("a record");
        batches.add(|columns| F::push_value(columns, &value));
    }
    batches.finish()
}

fn by_simd_json<F: Feed>(bytes: &[u8]) -> Vec<RecordBatch> {
    let mut batches = Batches::<F>::new();
    let mut buffers = simd_json::Buffers::new(1 << 10);
    let mut copy = bytes.to_vec();
    let mut rest = copy.as_mut_slice();
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let (line, after) = rest.split_at_mut(end + 1);
        let row = simd_json::serde::from_slice_with_buffers(&mut line[..end], &mut buffers);
        batches.add(|columns| F::push(columns, row.expect("a record")));
        rest = after;
    }
    batches.finish()
}

fn by_sonic_stream<F: Feed>(bytes: &[u8]) -> Vec<RecordBatch> {
    let mut batches = Batches::<F>::new();
    for row in sonic_rs::Deserializer::from_slice(bytes).into_stream::<F::Row<'_>>() {
        // It ends with an error, that there is no more.
        let row = match row {
            Err(error) if error.is_eof() => break,
            row => row.expect("a record"),
        };
        batches.add(|columns| F::push(columns, row));
    }
    batches.finish()
}

fn by_sonic_lines<F: Feed>(bytes: &[u8]) -> Vec<RecordBatch> {
    let mut batches = Batches::<F>::new();
    for line in lines(bytes) {
        let row = sonic_rs::from_slice(line).expect("a record");
        batches.add(|columns| F::push(columns, row));
    }
    batches.finish()
}

fn by_sonic_lazy<F: Feed>(bytes: &[u8]) -> Vec<RecordBatch> {
    let mut batches = Batches::<F>::new();
    let mut keys = PointerTree::new();
    F::KEYS.iter().for_each(|key| keys.add_path([*key].iter()));
    for line in lines(bytes) {
        let values = sonic_rs::get_many(line, &keys).expect("a record");
        batches.add(|columns| F::push_lazy(columns, &values));
    }
    batches.finish()
}

fn by_serde_json_array<F: Feed>(bytes: &[u8]) -> Vec<RecordBatch> {
    of_rows::<F>(serde_json::from_slice(bytes).expect("an array of records"))
}

fn by_simd_json_array<F: Feed>(bytes: &[u8]) -> Vec<RecordBatch> {
    let mut copy = bytes.to_vec();
    of_rows::<F>(simd_json::serde::from_slice(&mut copy).expect("an array of records"))
}

fn by_sonic_array<F: Feed>(bytes: &[u8]) -> Vec<RecordBatch> {
    of_rows::<F>(sonic_rs::from_slice(bytes).expect("an array of records"))
}

fn of_rows<F: Feed>(rows: Vec<F::Row<'_>>) -> Vec<RecordBatch> {
    let mut batches = Batches::<F>::new();
    rows.into_iter().for_each(|row| batches.add(|columns| F::push(columns, row)));
    batches.finish()
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    memchr::memchr_iter(b'\n', bytes).map(move |end| {
        let line = &bytes[start..end];
        start = end + 1;
        line
    })
}
