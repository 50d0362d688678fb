//! Deriving the days of a landing object that is too large to be held, as it passes again.
//!
//! Admitted rows wait in buckets, one for each stretch of a day, with numbers in place of texts; the
//! largest becomes a row group when what waits is as much as may be held beside the uploads. So a row
//! group covers a stretch of time, though the landing object be in any order, and
//! machine_learning_curated reads few of them for each other. What uploads hold is bounded too: days
//! that do not fit wait for another pass.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt32Type;
use arrow_array::{ArrayRef, RecordBatch, UInt32Array};

use super::Rule;
use super::sorted::{Admitted, Sorted, failed, keyed, text_bytes, with_owners, with_texts};
use crate::derivation::{Draft, Settled, Target, Waiting};
use crate::error::Error;
use crate::gather::gathered;
use crate::key::ObjectKey;
use crate::lake::{Bounds, Lake};
use crate::landing::{Piece, Records, row_bytes};
use crate::layout::{DAY_MS, ReadingDate, Span};
use crate::object::{Ledger, Version};
use crate::report::Report;

/// Buckets of one pass, about.
const BUCKETS: usize = 32;
/// Bytes that a row takes encoded, at most about: a time and three doubles that do not compress, and a
/// text that many others have.
const ENCODED_ROW_BYTES: u64 = 40;
/// Bytes that a day takes that is being written, whatever its rows: those of an encoder.
const DRAFT_BYTES: u64 = 24 << 10;

/// A day to derive.
pub(super) struct Wanted<'a> {
    pub(super) date: ReadingDate,
    pub(super) span: Span,
    /// `None` if it is right already: it passes with the others, so that their row groups end where they
    /// would without it being right, but is not written.
    pub(super) target: Option<&'a Target>,
}

/// Days that are derived in one pass.
pub(super) struct Together<'a> {
    pub(super) days: Vec<Wanted<'a>>,
    /// Number of the buckets of each.
    buckets: usize,
    /// What they take at the most while they are written.
    open_bytes: u64,
}

/// Splits days into passes, so that those of each take no more than they may. Where a row group ends
/// depends on which days pass together.
pub(super) fn passes<'a>(
    lake: &Lake,
    sorted: &Sorted,
    days: impl Iterator<Item = Wanted<'a>>,
) -> Vec<Together<'a>> {
    let mut passes: Vec<Together<'a>> = Vec::new();
    for day in days {
        let takes = open_bytes(lake, sorted, day.date);
        match passes.last_mut() {
            Some(pass) if pass.open_bytes + takes <= lake.bounds.open_bytes_max => {
                pass.days.push(day);
                pass.open_bytes += takes;
            }
            _ => passes.push(Together { days: vec![day], buckets: 0, open_bytes: takes }),
        }
    }
    passes.iter_mut().for_each(|pass| pass.buckets = (BUCKETS / pass.days.len()).max(1));
    passes
}

/// What a day takes at the most while it is written.
fn open_bytes(lake: &Lake, sorted: &Sorted, date: ReadingDate) -> u64 {
    let upload = lake.bounds.upload_bytes_max + lake.bounds.piece_bytes as u64;
    upload.min(sorted.records(date) * ENCODED_ROW_BYTES) + DRAFT_BYTES
}

/// Derives days as the landing object passes, those that are not right; `None` if it, or a target, moved.
pub(super) async fn derive<R: Rule>(
    lake: &Lake,
    landing: &ObjectKey,
    sorted: &mut Sorted,
    from: &Admitted,
    version: &Version,
    together: Together<'_>,
    report: &mut Report,
) -> Result<Option<Vec<Settled>>, Error> {
    let opened = Records::again(lake, R::STREAM, landing).await?;
    let noted = sorted.landed.version.clone();
    let Some(mut records) = opened.filter(|opened| Some(opened.version()) == noted.as_ref()) else {
        return Ok(None);
    };
    let mut pass = Pass::begin::<R>(lake, sorted, together, version)?;
    while let Some(piece) = records.next().await? {
        let Piece::Batch(batch) = piece else { continue };
        let Some((owners, _)) = keyed::<R>(&batch) else { continue };
        let numbers = sorted.owners().numbers::<R>(lake, owners);
        // Whoever is in the object was numbered when it passed first.
        pass.admit::<R>(lake, &batch, numbers, from)?;
        pass.write::<R>(lake).await?;
    }
    pass.complete::<R>(lake, report).await
}

/// What the texts of the owners of some readings take, each for itself.
fn texts_bytes<R: Rule>(texts: &ArrayRef, rows: &RecordBatch) -> u64 {
    let numbers = rows.column_by_name(R::KEY_COLUMN);
    let numbers = numbers.and_then(|numbers| numbers.as_primitive_opt::<UInt32Type>());
    let of = |number: &u32| text_bytes(texts, *number);
    numbers.map_or(0, |numbers| numbers.values().iter().map(of).sum())
}

struct Pass<'a> {
    /// What the numbers of owners stand for.
    texts: ArrayRef,
    /// How much may wait, bytes, whatever the uploads leave at least as much as is held of other rows. In
    /// pieces it takes half as much again.
    waiting_bytes_max: u64,
    days: Vec<Day<'a>>,
    /// Readings with numbers in place of their owners' texts.
    undealt: Vec<RecordBatch>,
    /// What they would take with the texts.
    undealt_bytes: u64,
    /// Numbers of those that are admitted, by batch and row, for each day and bucket.
    kept: BTreeMap<(usize, usize), Vec<(usize, usize)>>,
    /// Number of a day in `days`, by the number of the day in the calendar.
    numbers: BTreeMap<i64, usize>,
}

struct Day<'a> {
    span: Span,
    /// `None` if it is right already.
    draft: Option<Draft<'a>>,
    buckets: Vec<Waiting>,
    ledger: Ledger,
}

impl Day<'_> {
    async fn row_group<R: Rule>(&mut self, rows: Waiting, texts: &ArrayRef) -> Result<(), Error> {
        let Some(draft) = &mut self.draft else { return Ok(()) };
        let named = rows.batches.iter().map(|batch| with_texts::<R>(batch, texts));
        draft.row_group(named.collect::<Result<_, _>>()?, R::TIME_COLUMN).await
    }

    /// The stretch of the day a time falls into.
    fn bucket(&self, time_ms: i64) -> usize {
        let count = self.buckets.len() as i128;
        let Span { first_ms, last_ms } = self.span;
        let (at, length) = (i128::from(time_ms - first_ms), i128::from(last_ms - first_ms) + 1);
        (at * count / length).clamp(0, count - 1) as usize
    }
}

impl<'a> Pass<'a> {
    fn begin<R: Rule>(
        lake: &Lake,
        sorted: &Sorted,
        Together { days, buckets, open_bytes }: Together<'a>,
        version: &Version,
    ) -> Result<Self, Error> {
        let Bounds { held_bytes_max, held_readings_bytes_max, .. } = lake.bounds;
        let waiting_bytes_max = 2 * held_readings_bytes_max.saturating_sub(open_bytes) / 3;
        let numbers = days.iter().enumerate();
        let numbers = numbers.map(|(number, day)| (day.span.first_ms.div_euclid(DAY_MS), number));
        let numbers = numbers.collect();
        let days = days.into_iter().map(|Wanted { span, target, .. }| {
            let draft = target.map(|target| Draft::new(lake, target, R::TABLE, version.clone()));
            let draft = draft.transpose()?;
            let buckets = (0..buckets).map(|_| Waiting::default()).collect();
            Ok(Day { span, draft, buckets, ledger: Ledger::default() })
        });
        Ok(Self {
            texts: sorted.texts(),
            waiting_bytes_max: waiting_bytes_max.max(held_bytes_max),
            days: days.collect::<Result<_, Error>>()?,
            undealt: Vec::new(),
            undealt_bytes: 0,
            kept: BTreeMap::new(),
            numbers,
        })
    }

    /// Adds the admitted rows of a batch. They are dealt out when they are many: beside its rows, what a
    /// bucket is dealt takes as much as some thirty of them.
    fn admit<R: Rule>(
        &mut self,
        lake: &Lake,
        batch: &RecordBatch,
        owners: Vec<u32>,
        from: &Admitted,
    ) -> Result<(), Error> {
        let Some((_, times)) = keyed::<R>(batch) else { return Ok(()) };
        for (row, (time_ms, owner)) in times.iter().copied().zip(&owners).enumerate() {
            let number = self.numbers.get(&time_ms.div_euclid(DAY_MS));
            let Some((number, day)) = number.and_then(|n| Some((*n, self.days.get_mut(*n)?)))
            else {
                continue;
            };
            if day.ledger.judge(time_ms, from.get(*owner as usize).copied().flatten()) {
                let kept = self.kept.entry((number, day.bucket(time_ms))).or_default();
                kept.push((self.undealt.len(), row));
            }
        }
        if self.kept.is_empty() {
            return Ok(());
        }
        self.undealt.push(with_owners::<R>(batch, Arc::new(UInt32Array::from(owners)))?);
        self.undealt_bytes += row_bytes(batch);
        match self.undealt_bytes > lake.bounds.held_bytes_max / 4 {
            true => self.deal::<R>(),
            false => Ok(()),
        }
    }

    /// Puts the rows that were added into their buckets.
    fn deal<R: Rule>(&mut self) -> Result<(), Error> {
        let undealt = std::mem::take(&mut self.undealt);
        self.undealt_bytes = 0;
        for ((number, bucket), rows) in std::mem::take(&mut self.kept) {
            let rows = gathered(&undealt, rows.iter().copied()).map_err(failed::<R>)?;
            let text_bytes = texts_bytes::<R>(&self.texts, &rows);
            self.days[number].buckets[bucket].push_numbered(rows, text_bytes);
        }
        Ok(())
    }

    /// Writes the buckets that are full, and the largest ones until what waits may be held.
    async fn write<R: Rule>(&mut self, lake: &Lake) -> Result<(), Error> {
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
            if size == 0 || !(is_full || bytes > self.waiting_bytes_max) {
                return Ok(());
            }
            let day = &mut self.days[number];
            let rows = std::mem::take(&mut day.buckets[bucket]);
            day.row_group::<R>(rows, &self.texts).await?;
        }
    }

    /// Writes what waits, and makes the targets what was written.
    async fn complete<R: Rule>(
        mut self,
        lake: &Lake,
        report: &mut Report,
    ) -> Result<Option<Vec<Settled>>, Error> {
        self.deal::<R>()?;
        let mut settled = Vec::new();
        let mut days = self.days.into_iter();
        for mut day in days.by_ref() {
            let mut group = Waiting::default();
            for rows in std::mem::take(&mut day.buckets) {
                for batch in rows.batches {
                    let text_bytes = texts_bytes::<R>(&self.texts, &batch);
                    group.push_numbered(batch, text_bytes);
                    if group.is_full(lake) {
                        day.row_group::<R>(std::mem::take(&mut group), &self.texts).await?;
                    }
                }
            }
            day.row_group::<R>(group, &self.texts).await?;
            let Some(draft) = day.draft else { continue };
            match draft.complete(day.ledger, report).await? {
                Some(done) => settled.push(done),
                None => {
                    for draft in days.filter_map(|day| day.draft) {
                        draft.abort().await?;
                    }
                    return Ok(None);
                }
            }
        }
        Ok(Some(settled))
    }
}
