//! accelerometer_trusted, step_trainer_trusted, machine_learning_curated → the same rows of a closed
//! date in few large objects.
//!
//! ```sql
//! -- what the partition of a compacted date leads to:
//! select * from <table> where reading_date = <date> order by <time>, <every column>
//! ```
//!
//! The small objects stay: they are what the chain derives from, and the folder of a table
//! (`trusted/…`, `curated/…`) holds every row once, as before. Beside them lies
//! `compacted/<table>/reading_date=YYYY-MM-DD/<generation>/part-NNNN.parquet`, and the partition of
//! the date in the catalog leads there, by one update of its location. Who reads a table
//!
//! - through the catalog, reads each date where its partition leads: each row once;
//! - by its folder, reads each row once, and must not read `compacted/` as well.
//!
//! A schedule compacts the dates that ended some days ago ([`closed()`]). The event of an object of a
//! date that is compacted, and not of the rows there are now, leads its partition back to the folder
//! and removes the copy: late readings are seen at once, rows of people who withdrew are gone with
//! those of the small objects, and a later schedule compacts the date again. Nothing depends on a
//! date being closed.
//!
//! Why no reader finds a copy half-written or half-gone, and why none is left: see `compaction.rs`.
//! What a reader may meet: one who asked the catalog just before a partition was led back, and looks
//! at the objects just after, finds none of them. Withdrawn rows go at once; the copy does not wait
//! for readers.

mod closed;
mod compaction;
mod merge;

use lake::error::Error;
use lake::events::Delivery;
use lake::function::{Function, Plan};
use lake::key::ObjectKey;
use lake::lake::Lake;
use lake::layout::{self, ReadingDate, Slice};
use lake::report::Report;
use lake::tables::{
    ACCELEROMETER_TRUSTED, MACHINE_LEARNING_CURATED, READING_DATE, STEP_TRAINER_TRUSTED, Table,
};

pub use self::closed::closed;

/// The function.
pub struct ReadingsCompacted;

/// The tables whose dates are compacted, with the column of the time by which their rows are sorted.
const COMPACTED: [(&Table, &str); 3] = [
    (&ACCELEROMETER_TRUSTED, "timestamp"),
    (&STEP_TRAINER_TRUSTED, "sensorreadingtime"),
    (&MACHINE_LEARNING_CURATED, "sensorreadingtime"),
];

/// A date of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day {
    /// Which of [`COMPACTED`].
    table: usize,
    date: ReadingDate,
}

impl Day {
    fn table(self) -> &'static Table {
        COMPACTED[self.table].0
    }

    fn time_column(self) -> &'static str {
        COMPACTED[self.table].1
    }

    /// Where its objects are.
    fn folder(self) -> String {
        layout::day(self.table().location, self.date)
    }

    /// Where its compacted copies are.
    fn compacted(self) -> String {
        layout::day(&layout::compacted(self.table().name), self.date)
    }

    /// Of the state of its compaction.
    fn state(self) -> ObjectKey {
        layout::compaction(self.table().name, self.date)
    }

    /// What `key` is of, and what it asks for.
    fn of_key(key: &ObjectKey) -> Option<(Self, Vec<Wanted>)> {
        (0..COMPACTED.len()).find_map(|table| {
            let (zone, name) = (COMPACTED[table].0.location, COMPACTED[table].0.name);
            if let Some(slice) = Slice::of_key(key, zone) {
                return Some((Self { table, date: slice.date }, Vec::new()));
            }
            let state = key
                .after(&layout::compactions(name))
                .and_then(|rest| Some((rest.strip_suffix(".json")?, Wanted::Checked)));
            let copies = || {
                let date = key.after(&layout::compacted(name))?.strip_prefix(READING_DATE)?;
                Some((date.strip_prefix('=')?.strip_suffix('/')?, Wanted::Compacted))
            };
            let (date, wanted) = state.or_else(copies)?;
            Some((Self { table, date: ReadingDate::parse(date)? }, vec![wanted]))
        })
    }
}

/// What is wanted of a date, beside that nothing stale is left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// That it is looked at, though it may never have been compacted.
    Checked,
    /// That it is compacted.
    Compacted,
}

impl Function for ReadingsCompacted {
    type Unit = Day;
    type Detail = Wanted;
    type Settle = ();

    fn name(&self) -> &'static str {
        env!("CARGO_PKG_NAME")
    }

    /// An object of a date asks whether its copy is stale; the state of a compaction, whether it was
    /// left unfinished; the folder of the copies, for one.
    async fn plan(
        &self,
        _: &Lake,
        key: &ObjectKey,
        _: Delivery,
    ) -> Result<Plan<Day, Wanted, ()>, Error> {
        let units = Day::of_key(key).into_iter().collect();
        Ok(Plan { units, ..Plan::nothing() })
    }

    async fn work(&self, lake: &Lake, day: &Day, wanted: Vec<Wanted>) -> Result<Report, Error> {
        let mut report = Report::default();
        if wanted.contains(&Wanted::Compacted) {
            compaction::compact(lake, *day, &mut report).await?;
        } else {
            compaction::settle(lake, *day, !wanted.is_empty(), &mut report).await?;
        }
        Ok(report)
    }

    async fn unfinished(&self, lake: &Lake) -> Result<Vec<ObjectKey>, Error> {
        closed::unfinished(lake).await
    }

    async fn due(&self, lake: &Lake, time_ms: i64) -> Result<Vec<ObjectKey>, Error> {
        closed::due(lake, time_ms).await
    }

    async fn settle(&self, _: &Lake, (): ()) -> Result<(), Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(key: &str) -> Option<(String, Vec<Wanted>)> {
        let (day, wanted) = Day::of_key(&ObjectKey::new(key))?;
        Some((format!("{} {}", day.table().name, day.date), wanted))
    }

    #[test]
    fn a_key_says_which_date_of_which_table_and_what_for() {
        let object = "trusted/step_trainer/reading_date=2022-06-18/0000000000001-0000000000002-0011223344556677.parquet";
        assert_eq!(of(object), Some(("step_trainer_trusted 2022-06-18".to_owned(), vec![])));
        let day = Day { table: 2, date: ReadingDate::parse("2022-06-18").unwrap() };
        let named = "machine_learning_curated 2022-06-18".to_owned();
        assert_eq!(of(day.state().as_str()), Some((named.clone(), vec![Wanted::Checked])));
        assert_eq!(of(&day.compacted()), Some((named, vec![Wanted::Compacted])));
        for other in ["trusted/customer/part-00.parquet", "compacted/x/", "state/lake.json"] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
