//! `stedi catalog`: what is registered, and the Athena statements for it.

use lake::catalog::Catalog;
use lake::ddl;
use lake::tables::TABLES;

use crate::args::CatalogArgs;
use crate::failure::Failure;
use crate::home::Home;
use crate::status::block_on;

pub(crate) fn catalog(args: &CatalogArgs) -> Result<(), Failure> {
    let home = Home::visit(&args.lake)?;
    let catalog = home.catalog()?;
    if args.ddl {
        for table in TABLES {
            println!("{}", ddl::create_table(table));
        }
        return Ok(());
    }
    block_on(print(&catalog))
}

async fn print(catalog: &dyn Catalog) -> Result<(), Failure> {
    for table in TABLES {
        let Some(registered) = catalog.table(table.name).await? else {
            println!("{}: not registered yet\n", table.name);
            continue;
        };
        let definition = registered.definition;
        println!("{} ({}, {})", definition.name, definition.format, definition.location);
        println!("  {}", definition.comment);
        for column in definition.columns.iter().chain(&definition.partition_keys) {
            let personal = if column.personal { " [personal]" } else { "" };
            println!("  {:<26}{:<8}{}{personal}", column.name, column.kind, column.comment);
        }
        for date in catalog.partitions(table.name).await? {
            println!("  partition reading_date={date}");
        }
        println!();
    }
    Ok(())
}
