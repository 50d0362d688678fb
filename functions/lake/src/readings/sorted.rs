//! The readings of a landing object, sorted out: by day, and by whose they are.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{RecordBatch, UInt32Array};
use arrow_ord::sort::{SortColumn, lexsort_to_indices};
use arrow_schema::ArrowError;
use arrow_select::concat::concat_batches;
use arrow_select::take::take_record_batch;

use super::{Coverage, Rule};
use crate::error::Error;
use crate::key::{KeyHash, ObjectKey, Source};
use crate::lake::Lake;
use crate::landing::Landed;
use crate::layout::{ReadingDate, Slice, Span};
use crate::manifest::{Content, Found};
use crate::object::Ledger;

/// The readings of a landing object, sorted by day and key.
pub(super) struct Sorted {
    /// What was read.
    pub(super) landed: Landed,
    /// What there is to say of it in the manifest.
    pub(super) found: Found,
    chunks: Vec<Chunk>,
    keys: Vec<KeyHash>,
    days: BTreeMap<ReadingDate, Day>,
}

/// Readings as they were decoded, with the number of each one's key.
struct Chunk {
    batch: RecordBatch,
    keys: Vec<u32>,
}

/// The readings of a day.
struct Day {
    span: Span,
    /// Chunk and rows, in the order of the landing object.
    rows: Vec<(usize, Vec<u32>)>,
}

impl Sorted {
    pub(super) fn of<R: Rule>(lake: &Lake, landing: &ObjectKey, mut landed: Landed) -> Self {
        let batches = std::mem::take(&mut landed.batches);
        let mut sorted = Self {
            found: Found {
                content: Content::of(&landed),
                keys: BTreeMap::new(),
                slices: BTreeSet::new(),
            },
            landed,
            chunks: Vec::new(),
            keys: Vec::new(),
            days: BTreeMap::new(),
        };
        let mut numbers: HashMap<String, u32> = HashMap::new();
        for batch in batches {
            sorted.add::<R>(lake, batch, &mut numbers);
        }
        let source = Source::of(landing);
        sorted.found.slices =
            sorted.days.iter().map(|(date, day)| day.slice(*date, source)).collect();
        sorted
    }

    fn add<R: Rule>(
        &mut self,
        lake: &Lake,
        batch: RecordBatch,
        numbers: &mut HashMap<String, u32>,
    ) {
        let (Some(owners), Some(times)) =
            (batch.column_by_name(R::KEY_COLUMN), batch.column_by_name(R::TIME_COLUMN))
        else {
            return;
        };
        let (owners, times) = (owners.as_string::<i32>(), times.as_primitive::<Int64Type>());
        let chunk_number = self.chunks.len();
        let mut keys = Vec::with_capacity(batch.num_rows());
        let mut last: Option<(&str, u32)> = None;
        for (row, time_ms) in times.values().iter().copied().enumerate() {
            let owner = owners.value(row);
            let number = match last {
                Some((same, number)) if same == owner => number,
                _ => self.number::<R>(lake, owner, numbers),
            };
            last = Some((owner, number));
            keys.push(number);
            let hash = self.keys[number as usize];
            self.found.keys.entry(hash).or_insert(Span::at(time_ms)).include(time_ms);
            let Some(date) = ReadingDate::of(time_ms) else { continue };
            let day = self
                .days
                .entry(date)
                .or_insert_with(|| Day { span: Span::at(time_ms), rows: Vec::new() });
            day.add(chunk_number, row as u32, time_ms);
        }
        self.chunks.push(Chunk { batch, keys });
    }

    fn number<R: Rule>(
        &mut self,
        lake: &Lake,
        owner: &str,
        numbers: &mut HashMap<String, u32>,
    ) -> u32 {
        if let Some(number) = numbers.get(owner) {
            return *number;
        }
        let number = self.keys.len() as u32;
        self.keys.push(R::hash(&lake.key, owner));
        numbers.insert(owner.to_owned(), number);
        number
    }

    /// The admitted rows of a day, in an order that depends on the rows alone; none if the day, or
    /// the object, is gone.
    pub(super) fn admit<R: Rule>(
        readings: Option<&Self>,
        date: ReadingDate,
        coverage: &Coverage,
    ) -> Result<(RecordBatch, Ledger), Error> {
        match readings.and_then(|readings| Some((readings, readings.days.get(&date)?))) {
            Some((readings, day)) => readings.admit_day::<R>(day, coverage),
            None => Ok((RecordBatch::new_empty(R::TABLE.schema()), Ledger::default())),
        }
    }

    fn admit_day<R: Rule>(
        &self,
        day: &Day,
        coverage: &Coverage,
    ) -> Result<(RecordBatch, Ledger), Error> {
        let failed = |error: ArrowError| Error::Encode {
            what: R::TABLE.name.to_owned(),
            source: error.into(),
        };
        let from: Vec<Option<i64>> =
            self.keys.iter().map(|key| coverage.get(key).and_then(|cover| cover.from_ms)).collect();
        let mut ledger = Ledger::default();
        let mut admitted = Vec::new();
        for (number, rows) in &day.rows {
            let chunk = &self.chunks[*number];
            let Some(times) = chunk.batch.column_by_name(R::TIME_COLUMN) else { continue };
            let times = times.as_primitive::<Int64Type>();
            let kept: UInt32Array = rows
                .iter()
                .copied()
                .filter(|row| match from[chunk.keys[*row as usize] as usize] {
                    None => {
                        ledger.held_no_consent += 1;
                        false
                    }
                    Some(from_ms) if times.value(*row as usize) < from_ms => {
                        ledger.held_before_consent += 1;
                        false
                    }
                    Some(_) => true,
                })
                .collect();
            ledger.records += rows.len() as u64;
            ledger.admitted += kept.len() as u64;
            admitted.push(take_record_batch(&chunk.batch, &kept).map_err(failed)?);
        }
        let batch = concat_batches(&R::TABLE.schema(), &admitted).map_err(failed)?;
        Ok((sorted_by(&batch, R::TIME_COLUMN).map_err(failed)?, ledger))
    }
}

impl Day {
    fn add(&mut self, chunk: usize, row: u32, time_ms: i64) {
        self.span.include(time_ms);
        match self.rows.last_mut() {
            Some((last, rows)) if *last == chunk => rows.push(row),
            _ => self.rows.push((chunk, vec![row])),
        }
    }

    fn slice(&self, date: ReadingDate, source: Source) -> Slice {
        let Span { first_ms, last_ms } = self.span;
        Slice { date, first_ms, last_ms, source }
    }
}

/// Sorts rows by time, then by every other column: an order that does not depend on how they came.
pub fn sorted_by(batch: &RecordBatch, time_column: &str) -> Result<RecordBatch, ArrowError> {
    let time = batch.schema().index_of(time_column)?;
    let others = (0..batch.num_columns()).filter(|column| *column != time);
    let columns: Vec<SortColumn> = std::iter::once(time)
        .chain(others)
        .map(|column| SortColumn { values: batch.column(column).clone(), options: None })
        .collect();
    take_record_batch(batch, &lexsort_to_indices(&columns, None)?)
}
