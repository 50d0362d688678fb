//! The readings of a landing object, sorted out: by day, and by whose they are.
//!
//! Those of an object that takes more memory than may be held are counted and let go; the object
//! passes again to derive its days.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt32Type};
use arrow_array::{Array, ArrayRef, DictionaryArray, RecordBatch, StringArray, UInt32Array};
use arrow_schema::{ArrowError, Field, Schema};

use super::{Coverage, Rule};
use crate::error::Error;
use crate::key::{KeyHash, ObjectKey, Source};
use crate::lake::{Bounds, Lake};
use crate::landing::{Landed, Piece, Records, row_bytes};
use crate::layout::{DAY_MS, ReadingDate, Slice, Span};
use crate::manifest::{Content, Found};
use crate::object::Ledger;
use crate::order::{Place, copied, put_in_order};
use crate::quarantine::Lines;

/// The readings of a landing object, sorted by day and key.
pub(super) struct Sorted {
    /// What was read.
    pub(super) landed: Landed,
    /// What there is to say of it in the manifest.
    pub(super) found: Found,
    /// The rows as they were decoded, with the number of each one's owner in place of the text; `None`
    /// if they are too many to be held.
    held: Option<Vec<RecordBatch>>,
    owners: Owners,
    /// The time range of each owner's readings, by number.
    spans: Vec<Span>,
    days: BTreeMap<ReadingDate, Day>,
}

/// Memory that a reading takes beside its values, bytes: its number among those of its day, and its
/// place when these are put in order.
const PLACE_BYTES: u64 = (size_of::<u32>() + size_of::<Place>()) as u64;

/// Whose the readings are.
#[derive(Default)]
pub(super) struct Owners {
    numbers: HashMap<String, u32>,
    hashes: Vec<KeyHash>,
}

/// The readings of a day.
struct Day {
    span: Span,
    records: u64,
    /// What the texts of their owners take, each for itself.
    text_bytes: u64,
    /// Numbers of a batch and of rows of it, in the order of the landing object.
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

    /// The owners, by number.
    fn texts(&self) -> ArrayRef {
        let mut texts: Vec<(&str, u32)> =
            self.numbers.iter().map(|(text, number)| (text.as_str(), *number)).collect();
        texts.sort_unstable_by_key(|(_, number)| *number);
        Arc::new(StringArray::from_iter_values(texts.into_iter().map(|(text, _)| text)))
    }
}

impl Sorted {
    /// Reads the records of a landing object of readings, if there is one.
    pub(super) async fn read<R: Rule>(
        lake: &Lake,
        landing: &ObjectKey,
        records: Option<Records>,
    ) -> Result<Self, Error> {
        let Some(mut records) = records else { return Ok(Self::new()) };
        loop {
            let mut sorted = Self::new();
            let mut lines = Lines::new(lake);
            let mut held_bytes = 0;
            let room_bytes = records.held_bytes_max(lake);
            let is_all = room_bytes >= lake.bounds.held_bytes_max;
            let (held_bytes_max, place_bytes) = match is_all {
                true => (lake.bounds.held_readings_bytes_max, PLACE_BYTES),
                false => (room_bytes, 0),
            };
            while let Some(piece) = records.next().await? {
                match piece {
                    Piece::Fragment(fragment) => lines.add(landing, &fragment)?,
                    Piece::Batch(batch) => {
                        held_bytes += sorted.add::<R>(lake, &batch)?;
                        held_bytes += batch.num_rows() as u64 * place_bytes;
                        if held_bytes > held_bytes_max {
                            sorted.let_go();
                            if !is_all {
                                break;
                            }
                        }
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
            sorted.name_owners::<R>()?;
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

    /// Adds readings; returns the memory they take that are held, bytes.
    fn add<R: Rule>(&mut self, lake: &Lake, batch: &RecordBatch) -> Result<u64, Error> {
        let Some((owners, times)) = keyed::<R>(batch) else { return Ok(0) };
        let numbers = self.owners.numbers::<R>(lake, owners);
        let held = self.held.as_ref().map(Vec::len);
        let mut row = 0;
        // Readings come by day, as a rule.
        for same in times.chunk_by(|a, b| a.div_euclid(DAY_MS) == b.div_euclid(DAY_MS)) {
            let rows = row as u32..(row + same.len()) as u32;
            for (time_ms, number) in same.iter().copied().zip(&numbers[row..]) {
                // They are numbered as they come.
                match self.spans.get_mut(*number as usize) {
                    Some(span) => span.include(time_ms),
                    None => self.spans.push(Span::at(time_ms)),
                }
            }
            let offsets = &owners.value_offsets()[row..];
            row += same.len();
            let Some(date) = ReadingDate::of(same[0]) else { continue };
            let day = self.days.entry(date).or_insert_with(|| Day::at(same[0]));
            day.records += same.len() as u64;
            day.text_bytes += u64::from((offsets[same.len()] - offsets[0]).unsigned_abs());
            same.iter().for_each(|time_ms| day.span.include(*time_ms));
            if let Some(held) = held {
                day.add(held, rows);
            }
        }
        let Some(held) = &mut self.held else { return Ok(0) };
        let numbered = with_owners::<R>(batch, Arc::new(UInt32Array::from(numbers)))?;
        let bytes = row_bytes(&numbered);
        held.push(numbered);
        Ok(bytes)
    }

    /// Says what the numbers of owners stand for.
    fn name_owners<R: Rule>(&mut self) -> Result<(), Error> {
        let Some(held) = &mut self.held else { return Ok(()) };
        let texts = self.owners.texts();
        held.iter_mut().try_for_each(|batch| {
            *batch = with_texts::<R>(batch, &texts)?;
            Ok(())
        })
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

    /// Whether a day is written row group by row group: it has more rows than one, or long texts.
    pub(super) fn is_long(&self, lake: &Lake, date: ReadingDate) -> bool {
        self.days.get(&date).is_some_and(|day| {
            day.records > lake.bounds.row_group_rows as u64
                || day.text_bytes > lake.bounds.held_bytes_max
        })
    }

    /// From when on each owner's readings are admitted.
    pub(super) fn admitted(&self, coverage: &Coverage) -> Admitted {
        let from = |key| coverage.get(key).and_then(|cover| cover.from_ms);
        self.owners.hashes.iter().map(from).collect()
    }

    /// What the numbers of owners stand for.
    pub(super) fn texts(&self) -> ArrayRef {
        self.owners.texts()
    }

    /// Whose the readings are.
    pub(super) fn owners(&mut self) -> &mut Owners {
        &mut self.owners
    }
}

/// The admitted rows of a day, in an order that depends on the rows alone.
pub(super) struct Ordered {
    batches: Vec<RecordBatch>,
    places: Vec<Place>,
    /// How the readings of the day were decided on.
    pub(super) ledger: Ledger,
}

impl Ordered {
    /// None if the day, or the object, is gone.
    pub(super) fn admit<R: Rule>(
        readings: Option<&(Sorted, Admitted)>,
        date: ReadingDate,
    ) -> Result<Self, Error> {
        let none = Self { batches: Vec::new(), places: Vec::new(), ledger: Ledger::default() };
        let Some((readings, from)) = readings else { return Ok(none) };
        match (&readings.held, readings.days.get(&date)) {
            (Some(held), Some(day)) => Self::of_day::<R>(held, day, from).map_err(failed::<R>),
            _ => Ok(none),
        }
    }

    fn of_day<R: Rule>(
        held: &[RecordBatch],
        day: &Day,
        from: &Admitted,
    ) -> Result<Self, ArrowError> {
        let (mut ledger, mut places) = (Ledger::default(), Vec::new());
        let mut batches: Vec<RecordBatch> = Vec::new();
        for (number, rows) in &day.rows {
            let (readings, batch) = (&held[*number], batches.len() as u32);
            let schema = readings.schema_ref();
            let times = readings.column(schema.index_of(R::TIME_COLUMN)?);
            let times = times.as_primitive::<Int64Type>().values();
            let owners = readings.column(schema.index_of(R::KEY_COLUMN)?);
            let owners = owners.as_dictionary::<UInt32Type>().keys().values();
            places.extend(rows.iter().filter_map(|row| {
                let place = Place { time_ms: times[*row as usize], batch, row: *row };
                let from_ms = from[owners[*row as usize] as usize];
                ledger.judge(place.time_ms, from_ms).then_some(place)
            }));
            batches.push(readings.clone());
        }
        put_in_order(&R::TABLE.schema(), &batches, &mut places, R::TIME_COLUMN)?;
        Ok(Self { batches, places, ledger })
    }

    /// All of them.
    pub(super) fn rows<R: Rule>(&self) -> Result<RecordBatch, Error> {
        copied(&R::TABLE.schema(), &self.batches, &self.places).map_err(failed::<R>)
    }

    /// As many at a time as a row group has, or texts of them may be held.
    pub(super) fn row_groups<R: Rule>(
        &self,
        lake: &Lake,
    ) -> impl Iterator<Item = Result<RecordBatch, Error>> {
        let Bounds { row_group_rows, held_bytes_max, .. } = lake.bounds;
        let mut left = self.places.as_slice();
        std::iter::from_fn(move || {
            let mut text_bytes = 0;
            let fits = left.iter().take(row_group_rows.max(1)).take_while(|place| {
                text_bytes += self.text_bytes::<R>(place);
                text_bytes <= held_bytes_max
            });
            let (group, rest) = left.split_at_checked(fits.count().max(1))?;
            left = rest;
            Some(copied(&R::TABLE.schema(), &self.batches, group).map_err(failed::<R>))
        })
    }

    /// What the text of a reading's owner takes.
    fn text_bytes<R: Rule>(&self, place: &Place) -> u64 {
        let owners = self.batches[place.batch as usize].column_by_name(R::KEY_COLUMN);
        let owners = owners.and_then(|owners| owners.as_dictionary_opt::<UInt32Type>());
        owners.map_or(0, |owners| {
            let number = owners.keys().value(place.row as usize);
            text_bytes(owners.values(), number)
        })
    }
}

/// What a text takes.
pub(super) fn text_bytes(texts: &ArrayRef, number: u32) -> u64 {
    let length = texts.as_string::<i32>().value_length(number as usize);
    u64::from(length.unsigned_abs())
}

/// Readings that have the numbers of their owners, with the texts that these stand for.
pub(super) fn with_texts<R: Rule>(
    readings: &RecordBatch,
    texts: &ArrayRef,
) -> Result<RecordBatch, Error> {
    let numbers = readings.column_by_name(R::KEY_COLUMN).and_then(|it| it.as_primitive_opt());
    let Some(numbers) = numbers.cloned() else { return Ok(readings.clone()) };
    let owners = DictionaryArray::<UInt32Type>::try_new(numbers, Arc::clone(texts));
    with_owners::<R>(readings, Arc::new(owners.map_err(failed::<R>)?))
}

/// Readings with something else in place of their owners' texts.
pub(super) fn with_owners<R: Rule>(
    readings: &RecordBatch,
    owners: ArrayRef,
) -> Result<RecordBatch, Error> {
    let is_owner = |field: &Field| field.name() == R::KEY_COLUMN;
    let field = |field: &Arc<Field>| match is_owner(field) {
        true => Arc::new(field.as_ref().clone().with_data_type(owners.data_type().clone())),
        false => Arc::clone(field),
    };
    let schema = readings.schema_ref();
    let fields: Vec<_> = schema.fields().iter().map(field).collect();
    let columns = schema.fields().iter().zip(readings.columns());
    let columns = columns.map(|(field, column)| match is_owner(field) {
        true => Arc::clone(&owners),
        false => Arc::clone(column),
    });
    let replaced = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.collect());
    replaced.map_err(failed::<R>)
}

pub(super) fn failed<R: Rule>(error: ArrowError) -> Error {
    Error::encode(R::TABLE, error)
}

impl Day {
    fn at(time_ms: i64) -> Self {
        Self { span: Span::at(time_ms), records: 0, text_bytes: 0, rows: Vec::new() }
    }

    fn add(&mut self, batch: usize, added: Range<u32>) {
        match self.rows.last_mut() {
            Some((last, rows)) if *last == batch => rows.extend(added),
            _ => self.rows.push((batch, added.collect())),
        }
    }

    fn slice(&self, date: ReadingDate, source: Source) -> Slice {
        let Span { first_ms, last_ms } = self.span;
        Slice { date, first_ms, last_ms, source }
    }
}
