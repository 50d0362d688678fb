//! Thousands of runs, each from a seed.
//!
//!     cargo test --release -p simulator --test promises seeds -- --nocapture
//!
//! `SIM_SECONDS=600` runs for that long; `SIM_FIRST=1000000` begins elsewhere;
//! `SIM_SEED=17` runs that seed alone and prints every step; `SIM_RUN=FILE` the run in that file
//! (the last line of what a failure prints).

#![expect(clippy::disallowed_methods, reason = "a test takes its seed from the environment")]

use std::time::Duration;

use simulator::{Protocol, explore, replay_scenario, run_seed};

fn set(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn every_promise_holds_under_every_schedule() {
    if let Some(seed) = set("SIM_SEED") {
        let outcome = run_seed(seed, Protocol::Sound, true);
        println!("{}", outcome.trace.join("\n"));
        assert!(outcome.violation.is_none(), "SIM_SEED={seed}: {}", outcome.violation.unwrap());
        return;
    }
    if let Ok(path) = std::env::var("SIM_RUN") {
        let found = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let outcome = replay_scenario(&found, Protocol::Sound, true);
        println!("{}", outcome.trace.join("\n"));
        assert!(outcome.violation.is_none(), "{}", outcome.violation.unwrap());
        return;
    }
    let seconds = set("SIM_SECONDS").unwrap_or(30);
    let first = set("SIM_FIRST").unwrap_or(1);
    let (explored, failure) =
        explore(first, u64::MAX, Duration::from_secs(seconds), Protocol::Sound, |_| true);
    println!("{explored:?}");
    if let Some(failure) = failure {
        let seed = failure.seed;
        let shrunk = failure.shrunk(Protocol::Sound, Duration::from_secs(60));
        panic!("replay it with SIM_SEED={seed}; shrunk it is\n{shrunk}");
    }
}
