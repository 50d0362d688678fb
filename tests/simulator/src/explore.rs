//! Many runs, on all cores, and what is left of a failing one when everything is taken away that
//! it does not need.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::broken::Protocol;
use crate::choices::Choices;
use crate::run::{Outcome, run};
use crate::workload::Scenario;
use crate::world::{Promise, Violation};

/// A run that broke a promise.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Where it follows from.
    pub seed: u64,
    /// What was broken.
    pub violation: Violation,
    /// The run.
    pub found: Found,
}

/// A run, to be played back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Found {
    /// What happens.
    pub scenario: Scenario,
    /// The decisions of the scheduler.
    pub choices: Vec<u16>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, violation, found } = self;
        writeln!(f, "SIM_SEED={seed}: {violation}")?;
        writeln!(f, "{:#?}", found.scenario.setting)?;
        for op in &found.scenario.ops {
            writeln!(f, "    {op:?}")?;
        }
        let json = serde_json::to_string(found).expect("a run is JSON");
        writeln!(f, "{json}")
    }
}

fn caught(work: impl FnOnce() -> Outcome) -> Outcome {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let what = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_default();
        let what = format!("panicked: {what}");
        let violation = Some(Violation { promise: Promise::Progress, what });
        Outcome { violation, choices: Vec::new(), calls: 0, trace: Vec::new() }
    })
}

/// Runs what follows from a seed.
pub fn run_seed(seed: u64, protocol: Protocol, traced: bool) -> Outcome {
    let scenario = Scenario::of_seed(seed);
    caught(|| run(&scenario, Choices::drawn(seed), protocol, traced))
}

/// Runs a workload under the schedule of a seed.
pub fn run_scenario(scenario: &Scenario, seed: u64, protocol: Protocol) -> Outcome {
    caught(|| run(scenario, Choices::drawn(seed), protocol, false))
}

/// Plays a run back.
pub fn replay_scenario(found: &Found, protocol: Protocol, traced: bool) -> Outcome {
    let choices = Choices::given(found.choices.clone());
    caught(|| run(&found.scenario, choices, protocol, traced))
}

/// How many runs and calls an exploration took.
#[derive(Debug, Default)]
pub struct Explored {
    /// Runs.
    pub runs: u64,
    /// Calls of the store and the catalog.
    pub calls: u64,
    /// How long it took.
    pub took: Duration,
}

/// How long to go on is told in time; no run depends on it.
#[expect(clippy::disallowed_methods, reason = "bounds the exploration, not the runs")]
fn now() -> Instant {
    Instant::now()
}

/// Runs seed after seed from `first` on, on all cores, until one fails or the time is up (or so
/// many runs are done). Only what `matters` is a failure.
pub fn explore(
    first: u64,
    runs_max: u64,
    time_max: Duration,
    protocol: Protocol,
    matters: fn(Promise) -> bool,
) -> (Explored, Option<Failure>) {
    let (next, calls, runs) = (AtomicU64::new(first), AtomicU64::new(0), AtomicU64::new(0));
    let (stop, failure) = (AtomicBool::new(false), Mutex::new(None::<Failure>));
    let begun = now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) && begun.elapsed() < time_max {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed - first >= runs_max {
                        return;
                    }
                    let scenario = Scenario::of_seed(seed);
                    let choices = Choices::drawn(seed);
                    let outcome = caught(|| run(&scenario, choices, protocol, false));
                    runs.fetch_add(1, Ordering::Relaxed);
                    calls.fetch_add(outcome.calls, Ordering::Relaxed);
                    if let Some(violation) = outcome.violation
                        && matters(violation.promise)
                    {
                        stop.store(true, Ordering::Relaxed);
                        let found = Found { scenario, choices: outcome.choices };
                        let mut failure = failure.lock().expect("nobody panicked");
                        failure.get_or_insert(Failure { seed, violation, found });
                    }
                }
            });
        }
    });
    let explored =
        Explored { runs: runs.into_inner(), calls: calls.into_inner(), took: begun.elapsed() };
    (explored, failure.into_inner().expect("nobody panicked"))
}

impl Failure {
    /// Takes away operations and decisions while the same promise is still broken.
    pub fn shrunk(self, protocol: Protocol, time_max: Duration) -> Self {
        let begun = now();
        let promise = self.violation.promise;
        let mut best = self;
        let try_with = |found: Found| -> Option<(Violation, Found)> {
            if begun.elapsed() > time_max {
                return None;
            }
            let outcome = replay_scenario(&found, protocol, false);
            let violation = outcome.violation.filter(|violation| violation.promise == promise)?;
            Some((violation, Found { scenario: found.scenario, choices: outcome.choices }))
        };
        loop {
            let before = best.size();
            best.shrink_ops(&try_with, protocol);
            best.shrink_choices(&try_with);
            if best.size() >= before || begun.elapsed() > time_max {
                return best;
            }
        }
    }

    fn size(&self) -> (usize, usize, usize) {
        let decisions = self.found.choices.iter().filter(|choice| **choice != 0).count();
        (self.found.scenario.ops.len(), decisions, self.found.choices.len())
    }

    fn accept(&mut self, (violation, found): (Violation, Found)) {
        self.violation = violation;
        self.found = found;
    }

    fn shrink_ops(
        &mut self,
        try_with: &dyn Fn(Found) -> Option<(Violation, Found)>,
        protocol: Protocol,
    ) {
        let mut at = self.found.scenario.ops.len();
        while at > 0 {
            at -= 1;
            let mut scenario = self.found.scenario.clone();
            scenario.ops.remove(at);
            let same = Found { scenario: scenario.clone(), choices: self.found.choices.clone() };
            if let Some(smaller) = try_with(same) {
                self.accept(smaller);
                continue;
            }
            // Without the operation the decisions fall out of step: try a few other schedules.
            for seed in 0..40 {
                let outcome = caught(|| run(&scenario, Choices::drawn(seed), protocol, false));
                let same = |violation: &Violation| violation.promise == self.violation.promise;
                if outcome.violation.as_ref().is_some_and(same) {
                    let found = Found { scenario: scenario.clone(), choices: outcome.choices };
                    if let Some(smaller) = try_with(found) {
                        self.accept(smaller);
                        break;
                    }
                }
            }
        }
    }

    fn shrink_choices(&mut self, try_with: &dyn Fn(Found) -> Option<(Violation, Found)>) {
        let mut length = self.found.choices.len().next_power_of_two();
        while length > 0 {
            let mut at = 0;
            while at < self.found.choices.len() {
                let until = (at + length).min(self.found.choices.len());
                if self.found.choices[at..until].iter().any(|choice| *choice != 0) {
                    let mut harmless = self.found.clone();
                    harmless.choices[at..until].fill(0);
                    let mut shorter = self.found.clone();
                    shorter.choices.drain(at..until);
                    if let Some(smaller) = try_with(shorter).or_else(|| try_with(harmless)) {
                        self.accept(smaller);
                    }
                }
                at += length;
            }
            length /= 2;
        }
    }
}
