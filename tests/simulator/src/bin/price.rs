//! Prices of changes, for `tests/bench/increment/run`.
//!
//! `price build FILE OBJECTS CUSTOMERS PARTS` saves a lake at rest; 0 parts: as many as suit it.
//! `price change FILE OBJECTS CUSTOMERS CHANGE COUNT` opens it, makes a change so many times, and
//! prints what one costs as JSON: calls by kind, calls of the catalog, invocations, bytes read, bytes
//! written. `price waits …` does the same by a clock, and says how many calls were waited for one after
//! the other; a profiler would count the clock, too.

use std::error::Error;
use std::path::Path;

use lake::key::Parts;
use serde_json::json;
use simulator::price::{Chain, Change, Size, Spread, lake_of, mean};

/// Landing objects of each sensor that come in a day.
const A_DAY: usize = 25;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["build", file, objects, customers, parts] => {
            let mut size = size(objects, customers)?;
            if *parts != "0" {
                size.parts = parts.parse()?;
            }
            lake_of(size).save(Path::new(file))?;
            println!("{}", u16::from(size.parts));
        }
        [counted @ ("change" | "waits"), file, objects, customers, change, count] => {
            let named = |known: &Change| known.name() == *change;
            let change = Change::ALL.into_iter().find(named).ok_or("no such change")?;
            let mut chain = Chain::open(Path::new(file))?;
            if *counted == "waits" {
                chain = chain.with_clock()?;
            }
            let costs = mean(&chain, change, size(objects, customers)?, count.parse()?);
            let costs = json!({
                "calls": costs.calls,
                "catalog_calls": costs.catalog_calls,
                "invocations": costs.invocations,
                "read_bytes": costs.read_bytes,
                "written_bytes": costs.written_bytes,
                "waits": costs.waits,
            });
            println!("{costs}");
        }
        _ => return Err("want build or change; see the head of this file".into()),
    }
    Ok(())
}

fn size(objects: &str, customers: &str) -> Result<Size, Box<dyn Error>> {
    let customers = customers.parse()?;
    let parts = Parts::for_people(customers as u64);
    Ok(Size { objects: objects.parse()?, customers, parts, spread: Spread::ADay(A_DAY) })
}
