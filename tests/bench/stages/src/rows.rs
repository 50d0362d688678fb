//! Rows of the derived tables, as objects of so many rows have them.

use std::sync::LazyLock;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Float64Array, RecordBatch};
use lake::derivation::sorted;
use lake::key::LakeKey;
use lake::object::{Footer, Ledger, Version};
use lake::order::in_order;
use lake::policy::Identity;
use lake::tables::{
    ACCELEROMETER_TRUSTED, MACHINE_LEARNING_CURATED, STEP_TRAINER_TRUSTED, Stream, Table,
};
use machine_learning_curated::{Motions, Naming, Pairs, Steps};

use crate::{feeds, peers};

/// The key of the benchmarks' lake.
pub static KEY: LazyLock<LakeKey> =
    LazyLock::new(|| LakeKey::new(&[7; 32]).expect("a key long enough"));

/// A table's rows, by what they are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// accelerometer_trusted, with the few values of x, y and z the app sends.
    Accelerometer,
    /// The same, with another value each time, as another sensor might send.
    Noisy,
    /// step_trainer_trusted.
    StepTrainer,
    /// machine_learning_curated, with pseudonyms.
    MachineLearning,
}

impl Rows {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::Accelerometer, Self::Noisy, Self::StepTrainer, Self::MachineLearning];

    /// The table.
    pub fn table(self) -> &'static Table {
        match self {
            Self::Accelerometer | Self::Noisy => &ACCELEROMETER_TRUSTED,
            Self::StepTrainer => &STEP_TRAINER_TRUSTED,
            Self::MachineLearning => &MACHINE_LEARNING_CURATED,
        }
    }

    /// So many rows, in the order a derived object has them.
    pub fn make(self, rows: usize) -> RecordBatch {
        match self {
            Self::Accelerometer => readings(Stream::Accelerometer, rows),
            Self::Noisy => noisy(&readings(Stream::Accelerometer, rows)),
            Self::StepTrainer => readings(Stream::StepTrainer, rows),
            Self::MachineLearning => {
                let steps = Steps::of(readings(Stream::StepTrainer, rows / 2), naming());
                let motions = Motions::of(&readings(Stream::Accelerometer, 2 * rows), naming());
                let (steps, motions) = (steps.expect("serial numbers"), motions.expect("times"));
                let mut pairs = Pairs::new(&steps, &motions, None, &KEY).expect("pairs");
                let pairs = pairs.next(rows).expect("pairs").expect("some");
                assert_eq!(pairs.num_rows(), rows);
                sorted(self.table(), &[pairs], "sensorreadingtime").expect("rows")
            }
        }
    }
}

/// Readings of one feed, sorted by time as a derived object has them.
pub fn readings(stream: Stream, rows: usize) -> RecordBatch {
    let batches = peers::lake(stream, feeds::first_lines(stream, rows));
    in_order(&stream.schema(), &batches, time_column(stream)).expect("rows in order")
}

/// The column of a feed's times.
pub fn time_column(stream: Stream) -> &'static str {
    match stream {
        Stream::Customer => "registrationdate",
        Stream::Accelerometer => "timestamp",
        Stream::StepTrainer => "sensorreadingtime",
    }
}

/// By time alone, with pseudonyms: the default.
pub fn naming() -> Naming<'static> {
    Naming { identity: Identity::Pseudonym, key: &KEY }
}

/// x, y and z with 53 bits of chance each.
fn noisy(batch: &RecordBatch) -> RecordBatch {
    let mut state = 1_u64;
    let mut next = |_| {
        // Knuth's linear congruential generator.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64 * 4.0 - 2.0
    };
    let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
    for column in &mut columns[2..] {
        *column =
            std::sync::Arc::new((0..batch.num_rows()).map(&mut next).collect::<Float64Array>());
    }
    RecordBatch::try_new(batch.schema(), columns).expect("the same columns")
}

/// Moves every time by so many milliseconds.
pub fn later(batch: &RecordBatch, column: &str, by_ms: i64) -> RecordBatch {
    let index = batch.schema().index_of(column).expect("a column of times");
    let times =
        batch.column(index).as_primitive::<Int64Type>().unary::<_, Int64Type>(|t| t + by_ms);
    let mut columns = batch.columns().to_vec();
    columns[index] = std::sync::Arc::new(times);
    RecordBatch::try_new(batch.schema(), columns).expect("the same columns")
}

/// A footer as a derived object has it.
pub fn footer(table: &Table, rows: usize) -> Footer {
    let rows = rows as u64;
    let version = Version {
        rule: format!("{} consent=any", table.name),
        policies: 0,
        source: format!("{:012}", 1),
        digest: "0".repeat(64),
    };
    let ledger =
        Ledger { records: 2 * rows, admitted: rows, held_no_consent: rows, ..Ledger::default() };
    Footer { version, ledger, had_rows: rows > 0 }
}
