//! Deriving the days of a landing object that is too large to be held, as it passes again.
//!
//! Admitted rows wait in buckets, one for each stretch of a day; the largest becomes a row group
//! when what waits is as much as may be held. So a row group covers a stretch of time, though the
//! landing object be in any order, and machine_learning_curated reads few of them for each other.
//! What uploads hold is bounded too: days that do not fit wait for another pass.

use std::collections::BTreeMap;

use arrow_array::{RecordBatch, UInt32Array};
use arrow_select::take::take_record_batch;

use super::Rule;
use super::sorted::{Admitted, Sorted, keyed};
use crate::derivation::{Draft, Settled, Target, Waiting};
use crate::error::Error;
use crate::key::ObjectKey;
use crate::lake::Lake;
use crate::landing::{Piece, Records};
use crate::layout::{DAY_MS, ReadingDate, Span};
use crate::object::{Ledger, Version};
use crate::report::Report;

/// Buckets of one pass, about.
const BUCKETS: usize = 32;
/// Bytes that a row takes encoded, at most about: a time and three doubles that do not compress.
const ENCODED_ROW_BYTES: u64 = 40;

/// A day to derive.
pub(super) struct Wanted<'a> {
    pub(super) date: ReadingDate,
    pub(super) span: Span,
    pub(super) target: &'a Target,
}

/// Splits days into passes, so that the uploads of each take no more than they may.
pub(super) fn passes<'a>(
    lake: &Lake,
    sorted: &Sorted,
    days: Vec<Wanted<'a>>,
) -> Vec<Vec<Wanted<'a>>> {
    let mut passes: Vec<Vec<Wanted<'a>>> = Vec::new();
    let mut left = 0;
    for day in days {
        let upload = lake.bounds.upload_bytes_max + lake.bounds.piece_bytes as u64;
        let takes = upload.min(sorted.records(day.date) * ENCODED_ROW_BYTES);
        match passes.last_mut() {
            Some(pass) if takes <= left => {
                pass.push(day);
                left -= takes;
            }
            _ => {
                passes.push(vec![day]);
                left = lake.bounds.open_bytes_max.saturating_sub(takes);
            }
        }
    }
    passes
}

/// Derives days as the landing object passes; `None` if it, or a target, moved.
pub(super) async fn derive<R: Rule>(
    lake: &Lake,
    landing: &ObjectKey,
    sorted: &mut Sorted,
    from: &Admitted,
    version: &Version,
    days: Vec<Wanted<'_>>,
    report: &mut Report,
) -> Result<Option<Vec<Settled>>, Error> {
    let opened = Records::again(lake, R::STREAM, landing).await?;
    let noted = sorted.landed.version.clone();
    let Some(mut records) = opened.filter(|opened| Some(opened.version()) == noted.as_ref()) else {
        return Ok(None);
    };
    let mut pass = Pass::begin(lake, R::TIME_COLUMN, days, version, R::TABLE)?;
    while let Some(piece) = records.next().await? {
        let Piece::Batch(batch) = piece else { continue };
        let Some((owners, _)) = keyed::<R>(&batch) else { continue };
        let numbers = sorted.owners().numbers::<R>(lake, owners);
        // Whoever is in the object was numbered when it passed first.
        pass.admit::<R>(&batch, &numbers, from)?;
        pass.write(lake).await?;
    }
    pass.complete(lake, report).await
}

struct Pass<'a> {
    time_column: &'static str,
    days: Vec<Day<'a>>,
    /// Number of a day in `days`, by the number of the day in the calendar.
    numbers: BTreeMap<i64, usize>,
}

struct Day<'a> {
    span: Span,
    draft: Draft<'a>,
    buckets: Vec<Waiting>,
    ledger: Ledger,
}

impl Day<'_> {
    /// The stretch of the day a time falls into.
    fn bucket(&self, time_ms: i64) -> usize {
        let count = self.buckets.len() as i128;
        let Span { first_ms, last_ms } = self.span;
        let (at, length) = (i128::from(time_ms - first_ms), i128::from(last_ms - first_ms) + 1);
        (at * count / length).clamp(0, count - 1) as usize
    }
}

impl<'a> Pass<'a> {
    fn begin(
        lake: &Lake,
        time_column: &'static str,
        days: Vec<Wanted<'a>>,
        version: &Version,
        table: &'static crate::tables::Table,
    ) -> Result<Self, Error> {
        let buckets = (BUCKETS / days.len().max(1)).max(1);
        let numbers = days.iter().enumerate();
        let numbers = numbers.map(|(number, day)| (day.span.first_ms.div_euclid(DAY_MS), number));
        let numbers = numbers.collect();
        let days = days.into_iter().map(|Wanted { span, target, .. }| {
            let draft = Draft::new(lake, target, table, version.clone())?;
            let buckets = (0..buckets).map(|_| Waiting::default()).collect();
            Ok(Day { span, draft, buckets, ledger: Ledger::default() })
        });
        Ok(Self { time_column, days: days.collect::<Result<_, Error>>()?, numbers })
    }

    /// Puts the admitted rows of a batch into their buckets.
    fn admit<R: Rule>(
        &mut self,
        batch: &RecordBatch,
        owners: &[u32],
        from: &Admitted,
    ) -> Result<(), Error> {
        let Some((_, times)) = keyed::<R>(batch) else { return Ok(()) };
        let mut kept: BTreeMap<(usize, usize), Vec<u32>> = BTreeMap::new();
        for (row, (time_ms, owner)) in times.iter().copied().zip(owners).enumerate() {
            let number = self.numbers.get(&time_ms.div_euclid(DAY_MS));
            let Some((number, day)) = number.and_then(|n| Some((*n, self.days.get_mut(*n)?)))
            else {
                continue;
            };
            if day.ledger.judge(time_ms, from.get(*owner as usize).copied().flatten()) {
                kept.entry((number, day.bucket(time_ms))).or_default().push(row as u32);
            }
        }
        for ((number, bucket), rows) in kept {
            let rows = take_record_batch(batch, &UInt32Array::from(rows));
            let rows = rows.map_err(|error| Error::encode(R::TABLE, error))?;
            self.days[number].buckets[bucket].push(rows);
        }
        Ok(())
    }

    /// Writes the buckets that are full, and the largest ones until what waits may be held.
    async fn write(&mut self, lake: &Lake) -> Result<(), Error> {
        loop {
            let all = self.days.iter().enumerate().flat_map(|(number, day)| {
                day.buckets.iter().enumerate().map(move |(b, bucket)| (bucket, number, b))
            });
            let (mut bytes, mut largest) = (0, None::<((bool, u64), usize, usize)>);
            for (bucket, number, b) in all {
                bytes += bucket.bytes;
                let size = (bucket.is_full(lake), bucket.bytes);
                if largest.is_none_or(|(known, ..)| known < size) {
                    largest = Some((size, number, b));
                }
            }
            let Some(((is_full, size), number, bucket)) = largest else { return Ok(()) };
            if size == 0 || !(is_full || bytes > lake.bounds.held_bytes_max) {
                return Ok(());
            }
            let day = &mut self.days[number];
            let rows = std::mem::take(&mut day.buckets[bucket]);
            day.draft.row_group(rows.batches, self.time_column).await?;
        }
    }

    /// Writes what waits, and makes the targets what was written.
    async fn complete(
        self,
        lake: &Lake,
        report: &mut Report,
    ) -> Result<Option<Vec<Settled>>, Error> {
        let mut settled = Vec::new();
        let mut days = self.days.into_iter();
        for mut day in days.by_ref() {
            let mut rows = Waiting::default();
            day.buckets.into_iter().for_each(|bucket| rows.append(bucket));
            day.draft.row_groups(lake, rows, self.time_column).await?;
            match day.draft.complete(day.ledger, report).await? {
                Some(done) => settled.push(done),
                None => {
                    for day in days {
                        day.draft.abort().await?;
                    }
                    return Ok(None);
                }
            }
        }
        Ok(Some(settled))
    }
}
