//! The objects of a zone of readings, listed a day at a time: so that whoever goes through all of
//! them has one day of them in memory.

use std::collections::VecDeque;

use crate::layout::{ReadingDate, Slice};
use crate::store::{ObjectMeta, Pages, Store, StoreError};

/// A zone of readings that is listed.
pub struct Days<'a> {
    zone: &'static str,
    pages: Pages<'a>,
    /// What was listed and not taken yet.
    listed: VecDeque<(Slice, ObjectMeta)>,
}

impl<'a> Days<'a> {
    /// Begins with the first day of `zone`.
    pub fn below(store: &'a dyn Store, zone: &'static str) -> Self {
        Self { zone, pages: Pages::below(store, zone), listed: VecDeque::new() }
    }

    /// The first day of which no objects were taken yet.
    pub async fn peek(&mut self) -> Result<Option<ReadingDate>, StoreError> {
        while self.listed.is_empty() {
            let Some(page) = self.pages.next().await? else { return Ok(None) };
            let zone = self.zone;
            let sliced =
                page.into_iter().filter_map(|meta| Some((Slice::of_key(&meta.key, zone)?, meta)));
            self.listed.extend(sliced);
        }
        Ok(self.listed.front().map(|(slice, _)| slice.date))
    }

    /// Takes the objects of a day, in the order of their keys, and passes over all days before it. Days
    /// are asked for as they are listed: see [`in_order`].
    pub async fn take(
        &mut self,
        date: ReadingDate,
    ) -> Result<Vec<(Slice, ObjectMeta)>, StoreError> {
        let (mut objects, name) = (Vec::new(), date.to_string());
        while let Some(next) = self.peek().await? {
            if next == date {
                let of_day = self.listed.iter().take_while(|(slice, _)| slice.date == date).count();
                objects.extend(self.listed.drain(..of_day));
            } else if next.to_string() < name {
                self.listed.pop_front();
            } else {
                break;
            }
        }
        Ok(objects)
    }
}

/// Some days in the order in which they are listed: that of their names, which is that of time but for
/// years of more than four digits.
pub fn in_order(dates: impl IntoIterator<Item = ReadingDate>) -> Vec<ReadingDate> {
    let mut dates: Vec<ReadingDate> = dates.into_iter().collect();
    dates.sort_by_cached_key(ToString::to_string);
    dates.dedup();
    dates
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::key::ObjectKey;
    use crate::store::{MemoryStore, Precondition};

    const ZONE: &str = "trusted/accelerometer/";
    const DAY_MS: i64 = 86_400_000;
    /// The year 9999 ends here.
    const FIVE_DIGITS_MS: i64 = 253_402_300_800_000;

    #[tokio::test]
    async fn each_day_is_listed_whole_however_the_pages_fall() {
        let begin = [0, DAY_MS, 3 * DAY_MS, FIVE_DIGITS_MS, FIVE_DIGITS_MS - DAY_MS];
        for page_max in 1..8 {
            let store = MemoryStore::with_page_max(page_max);
            for (day, begin_ms) in begin.iter().enumerate() {
                for number in 0..=day as i64 {
                    let (date, first_ms) = (ReadingDate::of(*begin_ms).unwrap(), begin_ms + number);
                    let source = crate::key::Source::of(&ObjectKey::new(number.to_string()));
                    let slice = Slice { date, first_ms, last_ms: first_ms, source };
                    for key in [slice.key(ZONE), ObjectKey::new(format!("{ZONE}{date}/{number}"))] {
                        store.put(&key, Bytes::new(), Precondition::None).await.unwrap();
                    }
                }
            }
            let dates = begin.map(|begin_ms| ReadingDate::of(begin_ms).unwrap());
            let (mut one, mut other) = (Days::below(&store, ZONE), Days::below(&store, ZONE));
            let mut listed = Vec::new();
            while let Some(date) = one.peek().await.unwrap() {
                listed.push((date, one.take(date).await.unwrap().len()));
            }
            let wanted = in_order(dates);
            assert_eq!(listed.len(), wanted.len(), "{page_max}");
            for ((date, count), wanted) in listed.iter().zip(&wanted) {
                let day = dates.iter().position(|other| other == date).unwrap();
                assert_eq!((date, *count), (wanted, day + 1), "{page_max}");
            }
            // Every other day, and some that are not there.
            for date in in_order(dates.into_iter().step_by(2).chain(ReadingDate::of(2 * DAY_MS))) {
                let day = dates.iter().position(|other| *other == date);
                let taken = other.take(date).await.unwrap();
                assert_eq!(taken.len(), day.map_or(0, |day| day + 1), "{date} {page_max}");
                assert!(taken.iter().all(|(slice, _)| slice.date == date));
            }
        }
    }
}
