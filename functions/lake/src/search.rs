//! Finds rows of a fixed width by their key in objects too large to be read for it.
//!
//! The rows are sorted, and their keys begin with keyed hashes, evenly spread: so the place of a key
//! is computed from the number of rows. One range read finds it as a rule; where one key has many
//! more rows than others, a few more (interpolation search; Perl, Itai, Avni 1978).

use std::ops::Range;

use bytes::Bytes;

use crate::error::Error;
use crate::key::ObjectKey;
use crate::lake::Lake;
use crate::store::ByteRange;

/// Rows that keys have, on average, up to which their places are computed among the rows.
pub(crate) const FEW_OF_A_KEY: usize = 4;
/// Bytes that one range read looks at where a computed place is, at the most.
pub(crate) const WINDOW_BYTES: u64 = 16 << 10;
/// Bytes of a part up to which it is read at once, however few rows are wanted.
pub(crate) const SMALL_BYTES: u64 = 64 << 10;
/// Bytes that are read at once of what is read on and on.
pub(crate) const SCANNED_BYTES: u64 = 256 << 10;

/// What comes of a read of an object that may be gone or another by now: then `None`, and whoever
/// reads it begins again.
pub(crate) type Unmoved<T> = Result<Option<T>, Error>;

/// Sorted rows of a fixed width in an object.
pub(crate) trait Rows: Sync {
    /// Bytes of a row; the first 8 are what it is sorted and looked up by, most significant first.
    const WIDTH: usize;

    /// Number of rows.
    fn count(&self) -> u64;

    /// How many rows one range read looks at.
    fn window_rows(&self) -> u64 {
        near(self.count(), FEW_OF_A_KEY as u64).min(WINDOW_BYTES / Self::WIDTH as u64).max(2)
    }

    /// The rows from `first` up to `end`.
    fn read(
        &self,
        lake: &Lake,
        first: u64,
        end: u64,
    ) -> impl Future<Output = Unmoved<Bytes>> + Send;
}

/// The rows from `first` up to `end` of an object that has nothing else.
pub(crate) async fn read(
    lake: &Lake,
    key: &ObjectKey,
    width: usize,
    first: u64,
    end: u64,
) -> Unmoved<Bytes> {
    let place = |row: u64| row * width as u64;
    let range = ByteRange::Bounded(place(first)..place(end));
    Ok(lake.store.get(key, range).await?.map(|object| object.bytes))
}

/// What rows are looked up by.
pub(crate) fn leading(row: &[u8]) -> u64 {
    row.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// How many of what is sorted are before something: looked for near the front first, where it is as
/// a rule.
pub fn before<T>(sorted: &[T], is_before: impl Fn(&T) -> bool) -> usize {
    let mut bound = 1;
    while sorted.get(bound - 1).is_some_and(&is_before) {
        bound *= 2;
    }
    let known = bound / 2;
    known + sorted[known..(bound - 1).min(sorted.len())].partition_point(is_before)
}

/// Those of some sorted rows that have a key, one after another.
pub(crate) fn among(rows: &[u8], width: usize, key: u64) -> &[u8] {
    let Range { start, end } = range_of(rows, width, key);
    &rows[start * width..end * width]
}

/// Where in some sorted rows those are that have a key.
pub(crate) fn range_of(rows: &[u8], width: usize, key: u64) -> Range<usize> {
    let first = first_of(rows, width, key);
    let rows = rows[first * width..].chunks_exact(width);
    first..first + rows.take_while(|row| leading(row) == key).count()
}

/// Number of the sorted rows that come before a key.
fn first_of(rows: &[u8], width: usize, key: u64) -> usize {
    let key_of = |row: usize| leading(&rows[row * width..]);
    let Some(last) = (rows.len() / width).checked_sub(1) else { return 0 };
    let (mut low, mut high) = (key_of(0), key_of(last));
    if key <= low {
        return 0;
    }
    if key > high {
        return last + 1;
    }
    // The first comes before the key, the last does not.
    let (mut first, mut end) = (0, last);
    let mut probes = 0_u32;
    while end - first > 1 {
        // Every third probe halves, should the keys lie unevenly.
        let place = if probes % 3 == 2 {
            first.midpoint(end)
        } else {
            let share = (key - low) as f64 / (high - low) as f64;
            first + ((share * (end - first) as f64) as usize).clamp(1, end - first - 1)
        };
        probes += 1;
        let found = key_of(place);
        if found < key { (first, low) = (place, found) } else { (end, high) = (place, found) }
    }
    end
}

/// How many rows are to be looked at around a computed place among so many. It is off by half of the
/// square root of the number of keys, times the rows of a key, or less: four times that to both sides.
pub(crate) fn near(count: u64, of_a_key: u64) -> u64 {
    8 * ((count * of_a_key).isqrt() / 2 + 1)
}

/// The rows that have a key; some may come twice.
pub(crate) async fn look_up<R: Rows>(lake: &Lake, rows: &R, key: u64) -> Unmoved<Vec<u8>> {
    let window_rows = rows.window_rows();
    let mut found = Vec::new();
    // Rows of the key that were not found yet lie between these two.
    let (mut first, mut end) = (0, rows.count());
    let (mut first_key, mut end_key) = (0, u64::MAX);
    let mut probes = 0_u32;
    while first < end {
        let between = end - first;
        // Every other probe halves, should the keys lie unevenly.
        let place = if probes < 2 || probes.is_multiple_of(2) {
            let share = u128::from(key.saturating_sub(first_key)) * u128::from(between);
            (share / u128::from(end_key.saturating_sub(first_key).max(1))) as u64
        } else {
            between / 2
        };
        probes += 1;
        let from = (first + place.min(between)).saturating_sub(window_rows / 2).max(first);
        let to = (from + window_rows).min(end);
        let Some(window) = rows.read(lake, from, to).await? else { return Ok(None) };
        let Some(last) = window.len().checked_sub(R::WIDTH) else { return Ok(None) };
        let (lowest, highest) = (leading(&window), leading(&window[last..]));
        found.extend_from_slice(among(&window, R::WIDTH, key));
        match (lowest >= key, highest <= key) {
            (false, false) => break,
            // All of it is of the key: there may be more on both sides.
            (true, true) => {
                let Some(more) = around(lake, rows, key, from, to).await? else { return Ok(None) };
                found.extend(more);
                break;
            }
            (true, false) => (end, end_key) = (from, lowest),
            (false, true) => (first, first_key) = (to, highest),
        }
    }
    Ok(Some(found))
}

/// The rows of a key before `from` and from `to` on, where those between are all of the key.
async fn around<R: Rows>(lake: &Lake, rows: &R, key: u64, from: u64, to: u64) -> Unmoved<Vec<u8>> {
    let scanned_rows = SCANNED_BYTES / R::WIDTH as u64;
    let mut found = Vec::new();
    let (mut begin, mut end) = (from, to);
    while begin > 0 {
        let first = begin.saturating_sub(scanned_rows);
        let Some(is_all) = scan(lake, rows, key, first..begin, &mut found).await? else {
            return Ok(None);
        };
        begin = if is_all { first } else { 0 };
    }
    while end < rows.count() {
        let last = (end + scanned_rows).min(rows.count());
        let Some(is_all) = scan(lake, rows, key, end..last, &mut found).await? else {
            return Ok(None);
        };
        end = if is_all { last } else { rows.count() };
    }
    Ok(Some(found))
}

/// Adds those of some rows that are of a key; says whether all are.
async fn scan<R: Rows>(
    lake: &Lake,
    rows: &R,
    key: u64,
    scanned: Range<u64>,
    found: &mut Vec<u8>,
) -> Unmoved<bool> {
    let Some(window) = rows.read(lake, scanned.start, scanned.end).await? else { return Ok(None) };
    let of_key = among(&window, R::WIDTH, key);
    found.extend_from_slice(of_key);
    Ok(Some(of_key.len() == window.len()))
}

#[cfg(test)]
mod tests {
    use super::{among, leading};

    #[test]
    fn the_rows_of_a_key_are_found_however_unevenly_the_keys_lie() {
        let spread = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let squeezed = |number: u64| if number < 50 { number / 4 } else { u64::MAX - number / 9 };
        for count in [0, 1, 2, 3, 100] {
            for key_of in [spread, squeezed, |_| 7] {
                let mut keys: Vec<u64> = (0..count).map(key_of).collect();
                keys.sort_unstable();
                let rows: Vec<u8> =
                    keys.iter().flat_map(|key| [key.to_be_bytes(), [1; 8]].concat()).collect();
                let near = |key: &u64| [key.saturating_sub(1), *key, key.saturating_add(1)];
                for key in keys.iter().flat_map(near).chain([0, 7, u64::MAX]) {
                    let found: Vec<u64> =
                        among(&rows, 16, key).chunks_exact(16).map(leading).collect();
                    let wanted: Vec<u64> =
                        keys.iter().copied().filter(|other| *other == key).collect();
                    assert_eq!(found, wanted, "{key} in {keys:?}");
                }
            }
        }
    }

    #[test]
    fn those_before_a_time_are_counted_wherever_it_is() {
        for length in 0..40_i64 {
            let times: Vec<i64> = (0..length).map(|time| time / 3 * 2).collect();
            for time in -1..32 {
                let wanted = times.iter().filter(|other| **other < time).count();
                assert_eq!(
                    super::before(&times, |other| *other < time),
                    wanted,
                    "{time} in {times:?}"
                );
            }
        }
    }
}
