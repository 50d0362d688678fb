//! Partitions in the catalog: those with rows, and no others.
//!
//! Any of several invocations may add or remove a partition at the same time, and any may be lost
//! in the middle. So each compares what is with what should be, mends it, and compares again until
//! nothing is to be mended; and a delivery again does all of that again.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::TryFutureExt;
use futures::try_join;

use crate::error::Error;
use crate::key::ObjectKey;
use crate::lake::Lake;
use crate::layout::{self, ReadingDate};
use crate::object::{self, Occupancy};
use crate::store::Pages;
use crate::tables::Table;

/// Settles the partition of an object that was just derived, or found to be right, as `seen`.
pub async fn settle(
    lake: &Lake,
    table: &'static Table,
    date: ReadingDate,
    target: &ObjectKey,
    seen: Occupancy,
) -> Result<(), Error> {
    if seen == Occupancy::NeverAny {
        return Ok(());
    }
    let mut seen = Some(seen);
    for _ in 0..lake.bounds.attempts_max {
        // After it was mended the object is looked at again.
        let wanted = is_wanted(lake, table, date, target, seen.take());
        let registered = lake.catalog.partition(table.name, date).map_err(Error::from);
        let (wanted, registered) = try_join!(wanted, registered)?;
        match (wanted, registered.is_some()) {
            (Some(true), false) => lake.catalog.create_partition(table.name, date).await?,
            (Some(false), true) => lake.catalog.delete_partition(table.name, date).await?,
            (None, _) | (Some(true), true) | (Some(false), false) => return Ok(()),
        }
    }
    Err(lake
        .contended(format!("settle partition {date} of {}", table.name), "the rows of its objects"))
}

/// Whether there should be a partition, by an object as it was seen, or is; `None` where it is not for
/// this object to say.
async fn is_wanted(
    lake: &Lake,
    table: &Table,
    date: ReadingDate,
    target: &ObjectKey,
    seen: Option<Occupancy>,
) -> Result<Option<bool>, Error> {
    let seen = match seen {
        Some(seen) => seen,
        None => {
            object::note(lake, target).await?.map_or(Occupancy::NoneNow, |noted| noted.occupancy())
        }
    };
    match seen {
        Occupancy::Some => Ok(Some(true)),
        Occupancy::NoneNow => has_rows(lake, table, date).await.map(Some),
        Occupancy::NeverAny => Ok(None),
    }
}

/// Whether any object of a day has rows, as their sizes tell: no object is read for it.
async fn has_rows(lake: &Lake, table: &Table, date: ReadingDate) -> Result<bool, Error> {
    let prefix = layout::day(table.location, date);
    let without_max = object::bytes_max_without_rows(table)?;
    let mut pages = Pages::below(lake.store.as_ref(), prefix);
    while let Some(page) = pages.next().await? {
        if page.iter().any(|object| object.size_bytes > without_max) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The days of a table as its objects have them, to be compared with the catalog; each with what
/// leads to it.
#[derive(Debug)]
pub struct Occupied<L>(BTreeMap<ReadingDate, (Occupancy, L)>);

impl<L> Default for Occupied<L> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<L: Ord> Occupied<L> {
    /// Adds an object, with what leads to it. In whatever order they are added, the same leads to a
    /// day.
    pub fn add(&mut self, date: ReadingDate, occupancy: Occupancy, lead: L) {
        let known = self.0.get(&date);
        let is_first = known.is_none_or(|(_, first)| lead < *first);
        let leads = match (occupancy, known.map(|(known, _)| *known)) {
            (Occupancy::NeverAny, _) | (Occupancy::NoneNow, Some(Occupancy::Some)) => false,
            (Occupancy::Some, Some(Occupancy::NoneNow)) => true,
            (Occupancy::Some | Occupancy::NoneNow, _) => is_first,
        };
        if leads {
            self.0.insert(date, (occupancy, lead));
        }
    }

    /// What leads to the days that the catalog has otherwise.
    pub async fn unsettled(self, lake: &Lake, table: &Table) -> Result<Vec<L>, Error> {
        let registered = lake.catalog.partitions(table.name).await?;
        let registered: BTreeSet<ReadingDate> =
            registered.into_iter().map(|partition| partition.date).collect();
        let differs = |date: &ReadingDate, occupancy: Occupancy| {
            registered.contains(date) != (occupancy == Occupancy::Some)
        };
        let days = self.0.into_iter();
        let unsettled = days.filter(|(date, (occupancy, _))| differs(date, *occupancy));
        Ok(unsettled.map(|(_, (_, lead))| lead).collect())
    }
}
