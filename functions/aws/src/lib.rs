//! The STEDI lake on AWS: its store is an S3 bucket, its catalog a database of the Glue Data
//! Catalog, its key a secret; its functions answer to Lambda.
//!
//! Each function's `main.rs` is one call of [`run`].

#![warn(missing_docs)]

mod clients;
mod failure;
pub mod glue;
mod lambda;
pub mod metrics;
pub mod s3;
pub mod secret;
pub mod settings;

pub use self::clients::Clients;
pub use self::lambda::run;
