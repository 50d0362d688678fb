//! A short way for records of the shape of the one before.
//!
//! A feed writes its records alike: the same keys in the same order with the same spaces, so that
//! only the values differ. When a record was read the long way and became a row, what stands between
//! its values is remembered. Of the next, each such piece is compared as a whole, and each value goes
//! straight into its column. A value that is no plain text or short number, or does not meet every
//! expectation, ends that: the record is read the long way, which alone says what is wrong with one.
//!
//! It comes to the same: these very bytes stood between values of the same kinds in a record that was
//! scanned strictly, so this one is whole too, and its keys name the same columns.

use super::column::{Column, Seen};
use super::record::{COLUMNS_MAX, Kind, Record};

/// Words that a piece between two values may have.
const WORDS_MAX: usize = 5;

/// What a try in vain costs, and the most that others can save up for it: where shapes change often
/// the short way is left alone for a while.
const COST: i32 = 8;
const SAVED_MAX: i32 = 64;

/// What stands between the values of a record.
#[derive(Debug, Default)]
pub(super) struct Shape {
    /// The columns in the order of their values, each with what stands before the value.
    values: Vec<(Piece, usize)>,
    /// What follows the last value.
    tail: Piece,
    /// The columns that have no value.
    absent: Vec<usize>,
    /// Below zero the short way is not tried.
    saved: i32,
}

/// Bytes to be compared as words; those of the last word beyond the piece are masked.
#[derive(Clone, Copy, Debug, Default)]
struct Piece {
    length: usize,
    words: [u64; WORDS_MAX],
    mask: u64,
}

impl Piece {
    /// None if it is empty or too long.
    fn of(bytes: &[u8]) -> Option<Self> {
        let mut padded = [0; 8 * WORDS_MAX];
        padded.get_mut(..bytes.len())?.copy_from_slice(bytes);
        let mut words = [0; WORDS_MAX];
        for (word, bytes) in words.iter_mut().zip(padded.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        let beyond = bytes.len().next_multiple_of(8) - bytes.len();
        let piece = Self { length: bytes.len(), words, mask: u64::MAX >> (8 * beyond) };
        (!bytes.is_empty()).then_some(piece)
    }

    /// The place after the piece, if it stands at `i`. Where the view ends before its last word does,
    /// it is not looked for.
    #[inline(always)]
    fn after(&self, view: &[u8], i: usize) -> Option<usize> {
        let bytes = view.get(i..i + self.length.next_multiple_of(8))?;
        let (last, before) = bytes.as_chunks().0.split_last()?;
        let same = |(there, word): (&[u8; 8], &u64)| u64::from_le_bytes(*there) == *word;
        let differ = u64::from_le_bytes(*last) ^ self.words.get(before.len())?;
        let stands = before.iter().zip(&self.words).all(same) && differ & self.mask == 0;
        stands.then_some(i + self.length)
    }
}

impl Shape {
    /// A shape that is never tried.
    #[cfg(test)]
    pub(super) fn never() -> Self {
        Self { saved: i32::MIN, ..Self::default() }
    }

    /// Whether the short way is worth a try.
    #[inline]
    pub(super) fn is_known(&self) -> bool {
        self.saved >= 0 && !self.values.is_empty()
    }

    /// Appends the values of the record at the first byte of `view` to their columns, if it has this
    /// shape, and says how long it is. Otherwise some of them may have been appended.
    #[inline(always)]
    pub(super) fn take(
        &self,
        view: &[u8],
        columns: &mut [Column],
        seen: &mut Seen,
    ) -> Option<usize> {
        let mut i = 0;
        for (before, column) in &self.values {
            i = before.after(view, i)?;
            i = columns.get_mut(*column)?.take(view, i, seen)?;
        }
        for column in &self.absent {
            columns.get_mut(*column)?.push_null(seen);
        }
        self.tail.after(view, i)
    }

    /// Notes whether a try was of use.
    #[inline]
    pub(super) fn note(&mut self, taken: bool) {
        let saved = if taken { self.saved + 1 } else { self.saved - COST };
        self.saved = saved.min(SAVED_MAX);
    }

    /// Remembers the shape of a record that was read the long way and became a row.
    pub(super) fn learn(&mut self, view: &[u8], record: &Record, columns: &[Column]) {
        if self.saved < 0 {
            self.saved += 1;
        } else if self.remember(view, record, columns).is_none() {
            self.values.clear();
        }
    }

    /// None if the record has no shape that could come again.
    fn remember(&mut self, view: &[u8], record: &Record, columns: &[Column]) -> Option<()> {
        self.values.clear();
        self.absent.clear();
        if !record.is_plain() {
            return None;
        }
        let mut order = [(usize::MAX, 0); COLUMNS_MAX];
        for (column, token) in record.columns[..columns.len()].iter().enumerate() {
            match token.kind {
                Kind::Absent => self.absent.push(column),
                kind if columns[column].is_native(kind) => order[column] = (token.start(), column),
                _ => return None,
            }
        }
        order.sort_unstable();
        let mut end = 0;
        for (start, column) in order.into_iter().take_while(|(start, _)| *start < view.len()) {
            self.values.push((Piece::of(&view[end..start])?, column));
            end = record.columns[column].place().end;
        }
        self.tail = Piece::of(&view[end..])?;
        Some(())
    }
}
