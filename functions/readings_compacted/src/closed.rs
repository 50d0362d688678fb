//! Which dates are to be compacted, and what was left unfinished: found by a listing of the zones,
//! of the copies and of the states, a look at each state, and one question to the catalog, for each
//! table.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;

use futures::stream::{self, StreamExt, TryStreamExt};
use lake::days::{Days, in_order};
use lake::error::Error;
use lake::key::ObjectKey;
use lake::lake::Lake;
use lake::layout::{self, DAY_MS, ReadingDate};
use lake::store::{ObjectMeta, StoreError, list_all};
use lake::tables::{READING_DATE, Table};

use crate::compaction::{Compaction, is_worth_it, name_in};
use crate::{COMPACTED, Day};

/// The keys by which the dates that ended so many days before `time_ms` are compacted.
pub(crate) async fn due(lake: &Lake, time_ms: i64) -> Result<Vec<ObjectKey>, Error> {
    let ended_ms = time_ms.saturating_sub(i64::from(lake.bounds.closed_after_days) * DAY_MS);
    match ReadingDate::of(ended_ms) {
        Some(before) => closed(lake, before).await,
        None => Ok(Vec::new()),
    }
}

/// The keys by which the dates before one are compacted that have enough objects with rows,
/// and are not.
pub async fn closed(lake: &Lake, before: ReadingDate) -> Result<Vec<ObjectKey>, Error> {
    let mut keys = Vec::new();
    for (table, (definition, _)) in COMPACTED.iter().enumerate() {
        let mut days = Days::below(lake.store.as_ref(), definition.location);
        // A table without objects may not be registered yet; one with objects is.
        if days.peek().await?.is_none() {
            continue;
        }
        let locations = locations(lake, definition).await?;
        for date in in_order(locations.keys().copied().filter(|date| *date < before)) {
            let day = Day { table, date };
            let in_folder = locations.get(&date).is_some_and(|at| *at == day.folder());
            if in_folder && is_worth_it(lake, day, &objects(&mut days, date).await?)? {
                keys.push(ObjectKey::new(day.compacted()));
            }
        }
    }
    Ok(keys)
}

/// Where the catalog has the dates of a table.
async fn locations(lake: &Lake, table: &Table) -> Result<BTreeMap<ReadingDate, String>, Error> {
    let partitions = lake.catalog.partitions(table.name).await?.into_iter();
    Ok(partitions.map(|partition| (partition.date, partition.location)).collect())
}

async fn objects(days: &mut Days<'_>, date: ReadingDate) -> Result<Vec<ObjectMeta>, StoreError> {
    Ok(days.take(date).await?.into_iter().map(|(_, object)| object).collect())
}

/// The generations that have objects, by date.
async fn copies_by_date(
    lake: &Lake,
    table: &Table,
) -> Result<BTreeMap<ReadingDate, BTreeSet<String>>, Error> {
    let prefix = layout::compacted(table.name);
    let mut copies: BTreeMap<ReadingDate, BTreeSet<String>> = BTreeMap::new();
    for copy in list_all(lake.store.as_ref(), &prefix).await? {
        let place = copy.key.after(&prefix).and_then(|rest| {
            let (date, rest) =
                rest.strip_prefix(READING_DATE)?.strip_prefix('=')?.split_once('/')?;
            Some((ReadingDate::parse(date)?, name_in(rest)))
        });
        if let Some((date, name)) = place {
            copies.entry(date).or_default().insert(name.to_owned());
        }
    }
    Ok(copies)
}

/// The states of dates whose compaction did not come to its end, or whose copies are not, or no
/// longer, what their partitions lead to.
pub(crate) async fn unfinished(lake: &Lake) -> Result<Vec<ObjectKey>, Error> {
    let store = lake.store.as_ref();
    let mut keys = Vec::new();
    for (table, (definition, _)) in COMPACTED.iter().enumerate() {
        let name = definition.name;
        let copies = copies_by_date(lake, definition).await?;
        let mut states = BTreeSet::new();
        for state in list_all(store, &layout::compactions(name)).await? {
            states.extend(Day::of_key(&state.key).map(|(day, _)| day.date));
        }
        if copies.is_empty() && states.is_empty() {
            continue;
        }
        let locations = locations(lake, definition).await?;
        let astray = locations.iter().filter(|(_, at)| at.starts_with(layout::COMPACTED));
        let dates =
            states.into_iter().chain(copies.keys().copied()).chain(astray.map(|(date, _)| *date));
        let mut days = Days::below(store, definition.location);
        let mut noted = pin!(
            stream::iter(in_order(dates))
                .map(|date| async move {
                    let noted = lake.load::<Compaction>(&Day { table, date }.state()).await?;
                    let noted = noted.map(|noted| Compaction::clone(&noted.value));
                    Ok::<_, Error>((date, noted.unwrap_or_default()))
                })
                .buffered(lake.bounds.looks_at_once)
        );
        while let Some((date, noted)) = noted.try_next().await? {
            let day = Day { table, date };
            let at = locations.get(&date).map(String::as_str);
            let is_right = match noted.name() {
                Some(_) => noted.stands(day, &objects(&mut days, date).await?, at),
                None => at.is_none_or(|at| at == day.folder()),
            };
            let named: BTreeSet<String> = noted.name().map(str::to_owned).into_iter().collect();
            let is_clean = copies.get(&date).is_none_or(|copies| *copies == named);
            if !is_right || !is_clean {
                keys.push(day.state());
            }
        }
    }
    Ok(keys)
}
