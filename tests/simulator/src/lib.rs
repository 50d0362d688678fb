//! The simulator: the real handlers, over a store and a catalog whose every call is a point where
//! a seeded scheduler may run another invocation, fail the call before or after its effect, or
//! crash the invocation. Events are what the effects cause, routed as deployed, delivered at least
//! once, in any order, in batches. What must hold after every step and at rest is checked against
//! a reference model that shares no code with the lake.
//!
//! A run is its scenario and the list of its decisions. Both follow from a seed; both can be
//! played back, and made smaller while the run still fails.

mod broken;
mod bucket;
pub mod choices;
mod crowd;
mod envelope;
mod explore;
pub mod file;
pub mod price;
mod promises;
pub mod reference;
mod rest;
mod run;
mod said;
mod store;
pub mod table;
pub mod workload;
mod world;

pub use broken::Protocol;
pub use crowd::{Fared, Turns, crowd};
pub use explore::{Failure, Found, explore, replay_scenario, run_scenario, run_seed};
pub use run::{Outcome, run};
pub use world::{Promise, Violation};
