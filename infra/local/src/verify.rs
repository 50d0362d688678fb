//! `stedi verify`: recomputes every table by the rules, from the readings in the landing zone and
//! the customer records, and compares row by row.
//!
//! Nothing of the protocol is used for it: whole tables at once, in memory, from the raw files. Of
//! the lake's own state only the customer register is read, since a customer record outlives its
//! object; no record in the landing zone may be newer than the register's. Where a partition of the
//! catalog leads to a compacted copy, that has to have the rows of the date's folder.

mod expected;
mod row;

use std::collections::{BTreeMap, BTreeSet};

use lake::catalog::{Catalog, Partition};
use lake::key::ObjectKey;
use lake::lake::Lake;
use lake::layout::{self, ReadingDate, Slice};
use lake::object;
use lake::store::list_all;
use lake::tables::{Format, TABLES, Table};

use self::expected::Expected;
use self::row::{Row, rows_of};
use crate::args::VerifyArgs;
use crate::failure::Failure;
use crate::home::Home;
use crate::output::Output;
use crate::status::block_on;

/// Differences shown of each table.
const SHOWN_MAX: usize = 5;

/// Rows of a table, each with how often it is there.
pub(crate) type Bag = BTreeMap<Row, i64>;

pub(crate) fn verify(args: &VerifyArgs, output: &mut Output) -> Result<(), Failure> {
    let home = Home::visit(&args.lake)?;
    let mut report = Vec::new();
    let verdict = block_on(compare(&home, &mut report));
    let shown = report.iter().try_for_each(|line| writeln!(output, "{line}"));
    // Also where nobody reads what it rests on.
    verdict.and(shown)
}

/// Compares every table, and reports on each in lines.
async fn compare(home: &Home, report: &mut Vec<String>) -> Result<(), Failure> {
    let lake = home.look().await?;
    let expected = Expected::compute(&lake).await?;
    let mut differing = Vec::new();
    for problem in &expected.problems {
        report.push(problem.clone());
        differing.push("customer_landing");
    }
    for table in TABLES.into_iter().filter(|table| table.format == Format::Parquet) {
        let wanted = expected.table(table);
        let differences = difference(&lake, table, wanted).await?;
        let rows: i64 = wanted.values().sum();
        if differences.is_empty() {
            report.push(format!("{}: {rows} rows, as the rules have them", table.name));
            continue;
        }
        differing.push(table.name);
        report.push(format!("{}: {} differences", table.name, differences.len()));
        let shown = differences.iter().take(SHOWN_MAX);
        report.extend(shown.map(|line| format!("  {line}")));
    }
    if differing.is_empty() {
        return Ok(());
    }
    differing.dedup();
    Err(Failure::Differs(differing.join(", ")))
}

/// How a table differs from what the rules give, in its rows and its partitions.
async fn difference(
    lake: &Lake,
    table: &'static Table,
    wanted: &Bag,
) -> Result<Vec<String>, Failure> {
    let mut differences = Vec::new();
    let mut balance = wanted.clone();
    let mut occupied = BTreeSet::new();
    for listed in list_all(lake.store.as_ref(), table.location).await? {
        let slice = Slice::of_key(&listed.key, table.location);
        let rows = read(lake, &listed.key, |row| {
            if let Some(slice) = slice
                && row.time_ms(table).and_then(ReadingDate::of) != Some(slice.date)
            {
                differences.push(format!("{}: holds a row of another day: {row}", listed.key));
            }
            *balance.entry(row).or_default() -= 1;
        });
        let rows = rows.await?;
        occupied.extend(slice.filter(|_| rows > 0).map(|slice| slice.date));
    }
    differences.extend(unbalanced(balance));
    if table.partitioned {
        differences.extend(partitions(lake.catalog.as_ref(), table, &occupied).await?);
        differences.extend(copies(lake, table).await?);
    }
    Ok(differences)
}

/// Reads the rows of an object, and says how many they are.
async fn read(lake: &Lake, key: &ObjectKey, mut take: impl FnMut(Row)) -> Result<u64, Failure> {
    let Some(opened) = object::open_once(lake, key).await? else { return Ok(0) };
    for group in 0..opened.value.groups() {
        let rows = object::read_group(lake, key, &opened, group).await?;
        let moved = || Failure::Other(format!("{key} moved while it was read"));
        rows_of(&rows.ok_or_else(moved)?).into_iter().for_each(&mut take);
    }
    Ok(opened.value.rows)
}

fn unbalanced(balance: Bag) -> impl Iterator<Item = String> {
    balance.into_iter().filter_map(|(row, count)| match count {
        0 => None,
        1.. => Some(format!("missing {count} times: {row}")),
        _ => Some(format!("{} times too many: {row}", -count)),
    })
}

/// How the rows that the partitions of a table lead to differ from those of its folder.
async fn copies(lake: &Lake, table: &Table) -> Result<Vec<String>, Failure> {
    let mut differences = Vec::new();
    for Partition { date, location } in lake.catalog.partitions(table.name).await? {
        let folder = layout::day(table.location, date);
        if location == folder {
            continue;
        }
        let mut balance = Bag::new();
        for (prefix, weight) in [(&folder, 1), (&location, -1)] {
            for listed in list_all(lake.store.as_ref(), prefix).await? {
                let count = |row| *balance.entry(row).or_default() += weight;
                read(lake, &listed.key, count).await?;
            }
        }
        let led = unbalanced(balance);
        differences.extend(led.map(|line| format!("{location}, where {date} is led: {line}")));
    }
    Ok(differences)
}

async fn partitions(
    catalog: &dyn Catalog,
    table: &Table,
    occupied: &BTreeSet<ReadingDate>,
) -> Result<Vec<String>, Failure> {
    let registered = catalog.partitions(table.name).await?.into_iter();
    let registered: BTreeSet<ReadingDate> = registered.map(|partition| partition.date).collect();
    let missing = occupied.difference(&registered);
    let extra = registered.difference(occupied);
    Ok(missing
        .map(|date| format!("partition {date} is not in the catalog"))
        .chain(extra.map(|date| format!("partition {date} is in the catalog and has no rows")))
        .collect())
}
