//! What the benchmarks of the stages work on: the feeds as `infra/generate` makes them, and what
//! becomes of them.

pub mod checks;
pub mod feeds;
pub mod peers;
pub mod rows;
