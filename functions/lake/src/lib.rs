//! The STEDI lake: layout, events, tables, readers, store, catalog, derivation.
#![warn(missing_docs)]

pub mod reader;
pub mod tables;
