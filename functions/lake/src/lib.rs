//! The STEDI lake: layout, events, tables, readers, store, catalog, derivation.
//!
//! The data's way through this code is one direction: event → key → inputs → rows → rows → object
//! → catalog. A store never knows a table, and a rule never does I/O.
#![warn(missing_docs)]

pub mod catalog;
pub mod comparison;
pub mod customer;
pub mod days;
pub mod ddl;
pub mod derivation;
pub mod error;
pub mod events;
pub mod function;
pub mod gather;
pub mod index;
pub mod key;
pub mod lake;
pub mod landing;
pub mod layout;
pub mod manifest;
pub mod object;
pub mod order;
pub mod partitions;
pub mod policy;
pub mod quarantine;
pub mod reader;
pub mod readings;
pub mod registers;
pub mod report;
pub mod runs;
pub mod search;
pub mod store;
pub mod tables;
