//! Many invocations of customer_landing_to_trusted at once, on one part of the register.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use chain::FunctionName;
use lake::key::ObjectKey;
use lake::policy::Policies;
use lake::store::StoreError;

use crate::broken::Protocol;
use crate::choices::{Choices, Random};
use crate::envelope::Envelope;
use crate::file::{CustomerEntry, Entry, File, Form, Person};
use crate::run::open;
use crate::store::{Remote, Reply};
use crate::workload::{Memory, Setting};
use crate::world::{Queued, World};

/// In which order the invocations get on.
#[derive(Clone, Copy, Debug)]
pub enum Turns {
    /// Each a call in turn: as much in one another's way as can be.
    Lockstep,
    /// At random, from a seed.
    Random(u64),
}

/// How a crowd fared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fared {
    /// Deliveries that the unluckiest message took.
    pub deliveries_max: usize,
    /// Conditional writes that the unluckiest invocation lost.
    pub lost_max: usize,
    /// Conditional writes that were lost by all together.
    pub lost: usize,
    /// Calls of all together.
    pub calls: u64,
}

/// Lets `count` invocations, each with a landing object of its own, work on one part until every
/// message is answered for.
pub fn crowd(count: usize, turns: Turns) -> Fared {
    let setting = Setting {
        parts: 1,
        policies: Policies::default(),
        runs_max: 256,
        parts_looked_at: 12,
        inline_max: 32,
        concurrency: 8,
        attempts_max: lake::lake::Bounds::default().attempts_max,
        memory: Memory::Ample,
        page_max: 1000,
        invocations_max: count,
        faults_of_a_thousand: 0,
        faults_max: 0,
        duplicates_of_a_thousand: 0,
        unhurried: false,
        warm_of_a_thousand: 0,
    };
    let choices = Choices::given(Vec::new());
    let world = World::new(setting.clone(), Protocol::Sound, choices, false);
    let world = Arc::new(Mutex::new(world));
    for number in 0..count {
        let (bytes, _) = file(number).render(lake::tables::Stream::Customer);
        world.lock().expect("one thread").write(&key(number), bytes.into());
    }
    let mut fared = Fared::default();
    let mut waiting: Vec<usize> = (0..count).collect();
    while !waiting.is_empty() {
        fared.deliveries_max += 1;
        assert!(fared.deliveries_max < 100, "{waiting:?} never get on");
        waiting = round(&world, &setting, &waiting, turns, &mut fared);
    }
    fared.calls = world.lock().expect("one thread").clock;
    fared
}

fn key(number: usize) -> String {
    format!("landing/customer/{number:04}.json")
}

/// Everybody writes of the same person, each at a later time: every fold changes the register.
fn file(number: usize) -> File {
    let entry = Entry::Customer(CustomerEntry {
        person: Person::ALL[number % Person::ALL.len()],
        spelling: 0,
        name: format!("{number}"),
        serial: None,
        registered_ms: Some(1_687_050_000_000 + number as i64),
        updated_ms: None,
        research_ms: (!number.is_multiple_of(3)).then_some(1_687_050_000_000),
    });
    File { entries: vec![entry], form: Form::Lines, gzip: false, cut_off: false }
}

type Work = Pin<Box<dyn Future<Output = bool> + Send>>;

/// Delivers these messages at once, each to an invocation of its own; those that failed remain.
fn round(
    world: &Arc<Mutex<World>>,
    setting: &Setting,
    waiting: &[usize],
    turns: Turns,
    fared: &mut Fared,
) -> Vec<usize> {
    let mut running: Vec<(usize, Work)> = Vec::new();
    for number in waiting {
        let queued = Queued { key: ObjectKey::new(key(*number)), created: true, deliveries: 0 };
        let event = Envelope::Bridged.wrap(&[queued]);
        let (remote, setting) = (Remote(Arc::clone(world)), setting.clone());
        let work = async move {
            let Some(lake) = open(remote, &setting).await else { return false };
            let function = FunctionName::CustomerLandingToTrusted;
            let outcome = function.invoke(&lake, &event).await.expect("the envelope is known");
            outcome.errors.is_empty()
        };
        running.push((*number, Box::pin(work)));
    }
    let mut lost: BTreeMap<usize, usize> = BTreeMap::new();
    let mut failed = Vec::new();
    let mut random = Random::new(if let Turns::Random(seed) = turns { seed } else { 0 });
    let mut turn = 0;
    for (number, work) in &mut running {
        let done = poll(world, *number, work);
        assert!(done.is_none(), "it waits for its first call");
    }
    while !running.is_empty() {
        turn = match turns {
            Turns::Lockstep => (turn + 1) % running.len(),
            Turns::Random(_) => random.below(running.len()),
        };
        let (number, work) = &mut running[turn];
        if answer(world, *number) {
            *lost.entry(*number).or_default() += 1;
        }
        if let Some(done) = poll(world, *number, work) {
            if !done {
                failed.push(*number);
            }
            drop(running.remove(turn));
            turn = turn.saturating_sub(1);
        }
    }
    fared.lost += lost.values().sum::<usize>();
    fared.lost_max = fared.lost_max.max(lost.values().copied().max().unwrap_or(0));
    failed
}

fn poll(world: &Arc<Mutex<World>>, number: usize, work: &mut Work) -> Option<bool> {
    world.lock().expect("one thread").current = number + 1;
    match work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

/// Answers a call of an invocation; says whether that lost a conditional write.
fn answer(world: &Arc<Mutex<World>>, number: usize) -> bool {
    let mut world = world.lock().expect("one thread");
    let at = world.pending.iter().position(|pending| pending.invocation == number + 1);
    let pending = world.pending.remove(at.expect("it waits for something"));
    let reply = world.perform(number + 1, &pending.call);
    let is_settings = matches!(&pending.call, crate::store::Call::Put(key, ..)
        if key.as_str() == lake::layout::SETTINGS);
    let lost = matches!(reply, Reply::StoreError(StoreError::Precondition { .. })) && !is_settings;
    let mut slot = pending.slot.lock().expect("one thread");
    slot.reply = Some(reply);
    if let Some(waker) = slot.waker.take() {
        waker.wake();
    }
    lost
}
