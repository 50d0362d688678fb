//! `stedi catalog`: what is registered, and the Athena statements for it.

use lake::catalog::{Catalog, Partition};
use lake::ddl;
use lake::key::ObjectKey;
use lake::layout::COMPACTED;
use lake::readings::landing_table;
use lake::store::Store;
use lake::tables::{Stream, TABLES, Table};

use crate::args::CatalogArgs;
use crate::failure::Failure;
use crate::home::Home;
use crate::output::Output;
use crate::status::{block_on, manifests};

pub(crate) fn catalog(args: &CatalogArgs, output: &mut Output) -> Result<(), Failure> {
    let home = Home::visit(&args.lake)?;
    let catalog = home.catalog()?;
    if args.ddl {
        for table in TABLES {
            writeln!(output, "{}", ddl::create_table(table))?;
        }
        return Ok(());
    }
    let store = home.store()?;
    block_on(print(&catalog, &store, output))
}

async fn print(
    catalog: &dyn Catalog,
    store: &dyn Store,
    output: &mut Output,
) -> Result<(), Failure> {
    for table in TABLES {
        let Some(registered) = catalog.table(table.name).await? else {
            writeln!(output, "{}: not registered yet\n", table.name)?;
            continue;
        };
        let definition = registered.definition;
        writeln!(output, "{} ({}, {})", definition.name, definition.format, definition.location)?;
        writeln!(output, "  {}", definition.comment)?;
        for column in definition.columns.iter().chain(&definition.partition_keys) {
            let personal = if column.personal { " [personal]" } else { "" };
            writeln!(
                output,
                "  {:<26}{:<8}{}{personal}",
                column.name, column.kind, column.comment
            )?;
        }
        for Partition { date, location } in catalog.partitions(table.name).await? {
            let copy = if location.starts_with(COMPACTED) { &location } else { "" };
            writeln!(output, "{}", format!("  partition reading_date={date} {copy}").trim_end())?;
        }
        for key in unreadable(store, table).await? {
            writeln!(output, "  Athena cannot read {key} as it is: not one object a line")?;
        }
        writeln!(output)?;
    }
    Ok(())
}

/// The landing objects of a table that the JSON SerDe does not read as they are.
async fn unreadable(store: &dyn Store, table: &Table) -> Result<Vec<ObjectKey>, Failure> {
    let mut keys = Vec::new();
    for stream in Stream::ALL.into_iter().filter(|stream| landing_table(*stream).name == table.name)
    {
        let manifests = manifests(store, stream).await?.into_iter();
        let unreadable = manifests.filter(|manifest| {
            manifest.content.version.is_some() && !manifest.content.newline_delimited
        });
        keys.extend(unreadable.map(|manifest| manifest.landing));
    }
    Ok(keys)
}
