//! The readings of a landing object, sorted out: by day, and by whose they are.
//!
//! Those of an object that takes more memory than may be held are counted and let go; the object
//! passes again to derive its days.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatch, StringArray};
use arrow_schema::ArrowError;

use super::{Coverage, Rule};
use crate::error::Error;
use crate::key::{KeyHash, ObjectKey, Source};
use crate::lake::Lake;
use crate::landing::{Landed, Piece, Records, row_bytes};
use crate::layout::{DAY_MS, ReadingDate, Slice, Span};
use crate::manifest::{Content, Found};
use crate::object::Ledger;
use crate::order::{Place, these_in_order};
use crate::quarantine::Lines;

/// The readings of a landing object, sorted by day and key.
pub(super) struct Sorted {
    /// What was read.
    pub(super) landed: Landed,
    /// What there is to say of it in the manifest.
    pub(super) found: Found,
    /// The rows; `None` if they are too many to be held.
    held: Option<Vec<Chunk>>,
    owners: Owners,
    /// The time range of each owner's readings, by number.
    spans: Vec<Span>,
    days: BTreeMap<ReadingDate, Day>,
}

/// Whose the readings are.
#[derive(Default)]
pub(super) struct Owners {
    numbers: HashMap<String, u32>,
    hashes: Vec<KeyHash>,
}

/// Readings as they were decoded, with the number of each one's key.
struct Chunk {
    batch: RecordBatch,
    keys: Vec<u32>,
}

/// The readings of a day.
struct Day {
    span: Span,
    records: u64,
    /// Chunk and rows, in the order of the landing object.
    rows: Vec<(usize, Vec<u32>)>,
}

/// From when on each owner's readings are admitted, by number.
pub(super) type Admitted = Vec<Option<i64>>;

impl Ledger {
    /// Counts a reading that was recorded then, of somebody whose readings are admitted from then
    /// on; says whether it is.
    pub(super) fn judge(&mut self, time_ms: i64, from_ms: Option<i64>) -> bool {
        self.records += 1;
        match from_ms {
            None => self.held_no_consent += 1,
            Some(from_ms) if time_ms < from_ms => self.held_before_consent += 1,
            Some(_) => {
                self.admitted += 1;
                return true;
            }
        }
        false
    }
}

/// The columns of readings that the rules look at.
pub(super) fn keyed<R: Rule>(batch: &RecordBatch) -> Option<(&StringArray, &[i64])> {
    let owners = batch.column_by_name(R::KEY_COLUMN)?.as_string::<i32>();
    let times = batch.column_by_name(R::TIME_COLUMN)?.as_primitive::<Int64Type>();
    Some((owners, times.values()))
}

impl Owners {
    /// The number of each row's owner.
    pub(super) fn numbers<R: Rule>(&mut self, lake: &Lake, owners: &StringArray) -> Vec<u32> {
        let mut numbers = Vec::with_capacity(owners.len());
        let mut last: Option<(&str, u32)> = None;
        for row in 0..owners.len() {
            let owner = owners.value(row);
            let number = match last {
                Some((same, number)) if same == owner => number,
                _ => self.number::<R>(lake, owner),
            };
            last = Some((owner, number));
            numbers.push(number);
        }
        numbers
    }

    fn number<R: Rule>(&mut self, lake: &Lake, owner: &str) -> u32 {
        if let Some(number) = self.numbers.get(owner) {
            return *number;
        }
        let number = self.hashes.len() as u32;
        self.hashes.push(R::hash(&lake.key, owner));
        self.numbers.insert(owner.to_owned(), number);
        number
    }
}

impl Sorted {
    /// Reads a landing object of readings as it is now.
    pub(super) async fn read<R: Rule>(lake: &Lake, landing: &ObjectKey) -> Result<Self, Error> {
        let Some(mut records) = Records::open(lake, R::STREAM, landing).await? else {
            return Ok(Self::new());
        };
        loop {
            let mut sorted = Self::new();
            let mut lines = Lines::new(lake);
            let mut held_bytes = 0;
            let held_bytes_max = records.held_bytes_max(lake);
            let is_all = held_bytes_max >= lake.bounds.held_bytes_max;
            while let Some(piece) = records.next().await? {
                match piece {
                    Piece::Fragment(fragment) => lines.add(landing, &fragment)?,
                    Piece::Batch(batch) => {
                        held_bytes += row_bytes(&batch);
                        if held_bytes > held_bytes_max {
                            sorted.let_go();
                            if !is_all {
                                break;
                            }
                        }
                        sorted.add::<R>(lake, batch);
                    }
                }
            }
            if held_bytes > held_bytes_max && !is_all {
                // It was larger than it looked: compressed. Begin again when there is room.
                drop((records, sorted));
                let again = Records::open_large(lake, R::STREAM, landing).await?;
                let Some(again) = again else {
                    return Ok(Self::new());
                };
                records = again;
                continue;
            }
            sorted.find_keys();
            sorted.landed = records.landed(lines);
            sorted.found.content = Content::of(&sorted.landed);
            let source = Source::of(landing);
            let slices = sorted.days.iter().map(|(date, day)| day.slice(*date, source));
            sorted.found.slices = slices.collect();
            return Ok(sorted);
        }
    }

    fn new() -> Self {
        let landed = Landed::default();
        let content = Content::of(&landed);
        Self {
            found: Found { content, keys: BTreeMap::new(), slices: BTreeSet::new() },
            landed,
            held: Some(Vec::new()),
            owners: Owners::default(),
            spans: Vec::new(),
            days: BTreeMap::new(),
        }
    }

    /// Holds the rows no longer.
    fn let_go(&mut self) {
        if self.held.take().is_some() {
            self.days.values_mut().for_each(|day| day.rows = Vec::new());
        }
    }

    fn add<R: Rule>(&mut self, lake: &Lake, batch: RecordBatch) {
        let Some((owners, times)) = keyed::<R>(&batch) else { return };
        let keys = self.owners.numbers::<R>(lake, owners);
        let chunk = self.held.as_ref().map(Vec::len);
        let mut row = 0;
        // Readings come by day, as a rule.
        for same in times.chunk_by(|a, b| a.div_euclid(DAY_MS) == b.div_euclid(DAY_MS)) {
            let rows = row as u32..(row + same.len()) as u32;
            for (time_ms, number) in same.iter().copied().zip(&keys[row..]) {
                // They are numbered as they come.
                match self.spans.get_mut(*number as usize) {
                    Some(span) => span.include(time_ms),
                    None => self.spans.push(Span::at(time_ms)),
                }
            }
            row += same.len();
            let Some(date) = ReadingDate::of(same[0]) else { continue };
            let day = self.days.entry(date).or_insert_with(|| Day::at(same[0]));
            day.records += same.len() as u64;
            same.iter().for_each(|time_ms| day.span.include(*time_ms));
            if let Some(chunk) = chunk {
                day.add(chunk, rows);
            }
        }
        if let Some(held) = &mut self.held {
            held.push(Chunk { batch, keys });
        }
    }

    /// By whom the readings are found, once all were added. Texts that stand for one person have
    /// one hash.
    fn find_keys(&mut self) {
        for (hash, span) in self.owners.hashes.iter().zip(&self.spans) {
            let known = self.found.keys.entry(*hash).or_insert(*span);
            known.include(span.first_ms);
            known.include(span.last_ms);
        }
    }

    /// Whether the rows are held.
    pub(super) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Records of a day.
    pub(super) fn records(&self, date: ReadingDate) -> u64 {
        self.days.get(&date).map_or(0, |day| day.records)
    }

    /// From when on each owner's readings are admitted.
    pub(super) fn admitted(&self, coverage: &Coverage) -> Admitted {
        let from = |key| coverage.get(key).and_then(|cover| cover.from_ms);
        self.owners.hashes.iter().map(from).collect()
    }

    /// Whose the readings are.
    pub(super) fn owners(&mut self) -> &mut Owners {
        &mut self.owners
    }

    /// The admitted rows of a day, in an order that depends on the rows alone; none if the day, or
    /// the object, is gone.
    pub(super) fn admit<R: Rule>(
        readings: Option<&(Self, Admitted)>,
        date: ReadingDate,
    ) -> Result<(RecordBatch, Ledger), Error> {
        let none = || Ok((RecordBatch::new_empty(R::TABLE.schema()), Ledger::default()));
        let Some((readings, from)) = readings else { return none() };
        match (&readings.held, readings.days.get(&date)) {
            (Some(held), Some(day)) => Self::admit_day::<R>(held, day, from),
            _ => none(),
        }
    }

    fn admit_day<R: Rule>(
        held: &[Chunk],
        day: &Day,
        from: &Admitted,
    ) -> Result<(RecordBatch, Ledger), Error> {
        let failed = |error: ArrowError| Error::Encode {
            what: R::TABLE.name.to_owned(),
            source: error.into(),
        };
        let mut ledger = Ledger::default();
        let mut admitted = Vec::new();
        let mut batches: Vec<RecordBatch> = Vec::new();
        for (number, rows) in &day.rows {
            let (chunk, batch) = (&held[*number], batches.len() as u32);
            let Some((_, times)) = keyed::<R>(&chunk.batch) else { continue };
            admitted.extend(rows.iter().filter_map(|row| {
                let place = Place { time_ms: times[*row as usize], batch, row: *row };
                let from_ms = from[chunk.keys[*row as usize] as usize];
                ledger.judge(place.time_ms, from_ms).then_some(place)
            }));
            batches.push(chunk.batch.clone());
        }
        let rows = these_in_order(&R::TABLE.schema(), &batches, admitted, R::TIME_COLUMN);
        Ok((rows.map_err(failed)?, ledger))
    }
}

impl Day {
    fn at(time_ms: i64) -> Self {
        Self { span: Span::at(time_ms), records: 0, rows: Vec::new() }
    }

    fn add(&mut self, chunk: usize, added: Range<u32>) {
        match self.rows.last_mut() {
            Some((last, rows)) if *last == chunk => rows.extend(added),
            _ => self.rows.push((chunk, added.collect())),
        }
    }

    fn slice(&self, date: ReadingDate, source: Source) -> Slice {
        let Span { first_ms, last_ms } = self.span;
        Slice { date, first_ms, last_ms, source }
    }
}
