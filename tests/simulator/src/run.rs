//! One run: the scheduler, on one thread, without a clock.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use chain::FunctionName;
use lake::catalog::Catalog;
use lake::error::Error;
use lake::key::{LakeKey, ObjectKey, Parts};
use lake::lake::{Bounds, Lake};
use lake::layout;
use lake::store::Store;
use lake::tables::Stream;

use crate::broken::Protocol;
use crate::choices::{Choices, Random};
use crate::envelope::Envelope;
use crate::promises;
use crate::reference::SECRET;
use crate::rest;
use crate::store::{Call, Remote, Reply};
use crate::workload::{ALL_CLOSED, Memory, Op, Scenario, Setting};
use crate::world::{Pending, Promise, Queued, Shared, Violation, World};

const STEPS_MAX: u64 = 60_000;
/// `Bounds::compacted_objects_min`: few dates of the small workloads have several objects with rows.
pub(crate) const COMPACTED_OBJECTS_MIN: usize = 1;
/// Longer than any lease.
const A_LONG_TIME_MS: i64 = 3_600_000;
const DELIVERIES_MAX: usize = 60;
const ROUNDS_MAX: usize = 24;

/// How a run went.
#[derive(Debug)]
pub struct Outcome {
    /// What was broken, if anything.
    pub violation: Option<Violation>,
    /// The decisions, to be played back.
    pub choices: Vec<u16>,
    /// Calls of the store and the catalog.
    pub calls: u64,
    /// Every step, if that was asked for.
    pub trace: Vec<String>,
}

/// Runs a scenario.
pub fn run(scenario: &Scenario, choices: Choices, protocol: Protocol, traced: bool) -> Outcome {
    let world = World::new(scenario.setting.clone(), protocol, choices, traced);
    let mut run = Run {
        world: Arc::new(Mutex::new(world)),
        setting: scenario.setting.clone(),
        protocol,
        invocations: BTreeMap::new(),
        next: 1,
        last: 0,
        warm: Vec::new(),
        woken: Woken::default(),
        has_died: false,
    };
    if let Err(violation) = run.go(&scenario.ops) {
        run.world().violated(violation.promise, violation.what);
    }
    run.invocations.clear();
    let mut world = run.world.lock().expect("one thread");
    world.pending.clear();
    Outcome {
        violation: world.violation.take(),
        choices: world.choices.taken(),
        calls: world.clock,
        trace: world.trace.take().unwrap_or_default(),
    }
}

type Work = Pin<Box<dyn Future<Output = Ended> + Send>>;

enum Ended {
    /// The lake could not be opened.
    Unopened,
    /// The lake it worked with, and the messages that failed.
    Answered(Arc<Lake>, BTreeSet<usize>, Vec<String>),
}

struct Invocation {
    function: FunctionName,
    messages: Vec<Queued>,
    /// `None` once it crashed: its calls may still arrive.
    work: Option<Work>,
    lake: Option<Arc<Lake>>,
    weight: u64,
}

struct Run {
    world: Shared,
    setting: Setting,
    protocol: Protocol,
    invocations: BTreeMap<usize, Invocation>,
    next: usize,
    last: usize,
    warm: Vec<Arc<Lake>>,
    woken: Woken,
    has_died: bool,
}

/// The invocations that were woken and not polled since.
type Woken = Arc<Mutex<BTreeSet<usize>>>;

/// Wakes an invocation: those that share a warm lake wait for one another's memory.
struct Alarm {
    id: usize,
    woken: Woken,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.woken.lock().expect("one thread").insert(self.id);
    }
}

#[derive(Clone, Copy)]
enum Step {
    Call(usize),
    Deliver(FunctionName),
    Op,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    FailBefore,
    FailAfter,
    CrashBefore,
    CrashAfter,
}

const FAULTS: [Fault; 5] =
    [Fault::None, Fault::FailBefore, Fault::FailAfter, Fault::CrashBefore, Fault::CrashAfter];

fn weight(random: &mut Random) -> u64 {
    *random.one(&[1, 1, 100, 1000, 1000, 3000])
}

impl Run {
    fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.world.lock().expect("one thread")
    }

    fn go(&mut self, ops: &[Op]) -> Result<(), Violation> {
        let mut ops = ops.iter().collect::<std::collections::VecDeque<_>>();
        for round in 0.. {
            self.until_rest(&mut ops)?;
            if !self.has_died {
                rest::led(&self.world())?;
            }
            self.come_round()?;
            let unfinished = self.ask_unfinished()?;
            if unfinished == 0 {
                self.world().policies_changed = false;
                break;
            }
            if !self.has_died || round == ROUNDS_MAX {
                if self.protocol != Protocol::Sound {
                    // Of course something is: what counts is what became of the tables.
                    self.world().queues.values_mut().for_each(Vec::clear);
                    break;
                }
                let world = self.world();
                let left: Vec<_> =
                    world.queues.iter().filter(|(_, queue)| !queue.is_empty()).collect();
                let what = format!("at rest, yet unfinished is {left:?}");
                return Err(Violation { promise: Promise::Unfinished, what });
            }
        }
        rest::check(&mut self.world())?;
        self.duplicates()
    }

    fn until_rest(&mut self, ops: &mut std::collections::VecDeque<&Op>) -> Result<(), Violation> {
        loop {
            if let Some(violation) = self.world().violation.clone() {
                return Err(violation);
            }
            if self.world().clock > STEPS_MAX {
                let what = format!("{STEPS_MAX} calls and no rest");
                return Err(Violation { promise: Promise::Progress, what });
            }
            self.poll_woken()?;
            self.drop_abandoned();
            match self.choose(ops.len()) {
                None => return Ok(()),
                Some(Step::Call(at)) => self.resolve(at)?,
                Some(Step::Deliver(function)) => self.deliver(function)?,
                Some(Step::Op) => {
                    if let Some(op) = ops.pop_front() {
                        self.happen(op)?;
                    }
                }
            }
        }
    }

    /// The schedule comes round once everything is at rest, with every date closed.
    fn come_round(&mut self) -> Result<(), Violation> {
        let mut world = self.world();
        let faults = std::mem::take(&mut world.faults_left);
        world.schedule(ALL_CLOSED);
        drop(world);
        self.until_rest(&mut std::collections::VecDeque::new())?;
        self.world().faults_left = faults;
        Ok(())
    }

    /// Lets those get on who waited for another invocation.
    fn poll_woken(&mut self) -> Result<(), Violation> {
        loop {
            let woken = self.woken.lock().expect("one thread").pop_first();
            let Some(id) = woken else { return Ok(()) };
            if self.invocations.get(&id).is_some_and(|invocation| invocation.work.is_some()) {
                self.poll(id)?;
            }
        }
    }

    /// A call that its own invocation no longer waits for may still arrive, or not.
    fn drop_abandoned(&mut self) {
        let mut world = self.world();
        let abandoned = world.pending.iter().position(|pending| {
            let alive = |invocation: &Invocation| invocation.work.is_some();
            Arc::strong_count(&pending.slot) == 1
                && self.invocations.get(&pending.invocation).is_some_and(alive)
        });
        if let Some(at) = abandoned {
            let pending = world.pending.remove(at);
            if pending.call.writes() && world.choices.happens(500) {
                world.perform(pending.invocation, &pending.call);
            }
        }
    }

    fn choose(&self, ops: usize) -> Option<Step> {
        let mut world = self.world();
        let mut calls: Vec<usize> = (0..world.pending.len()).collect();
        calls.sort_by_key(|at| (world.pending[*at].invocation != self.last, *at));
        let mut steps: Vec<Step> = calls.iter().copied().map(Step::Call).collect();
        let mut weights: Vec<u64> = calls
            .iter()
            .map(|at| {
                let Pending { invocation, call, .. } = &world.pending[*at];
                let weight = self.invocations[invocation].weight;
                // Where a catalog is slow is where compactions are in danger: in every other
                // invocation it is.
                let is_slow = matches!(call, Call::MovePartition(..)) && invocation % 2 == 0;
                if is_slow { 1 } else { weight }
            })
            .collect();
        let running: u64 = weights.iter().sum();
        let waiting: Vec<(FunctionName, u64)> = world
            .queues
            .iter()
            .filter(|(_, queue)| !queue.is_empty())
            .map(|(function, queue)| (*function, queue.len() as u64))
            .collect();
        if self.invocations.len() < self.setting.invocations_max {
            let total: u64 = waiting.iter().map(|(_, count)| count).sum();
            for (function, count) in waiting {
                steps.push(Step::Deliver(function));
                weights.push((running / 6).max(6) * count / total.max(1) + 1);
            }
        }
        if ops > 0 {
            steps.push(Step::Op);
            weights.push(if self.setting.unhurried { 3 } else { running / 40 + 3 });
        }
        if steps.is_empty() {
            return None;
        }
        let picked = world.choices.pick(steps.len(), |random| random.weighted(&weights));
        Some(steps[picked])
    }

    /// Answers a call, unless something goes wrong.
    fn resolve(&mut self, at: usize) -> Result<(), Violation> {
        let mut world = self.world.lock().expect("one thread");
        let pending = world.pending.remove(at);
        let id = pending.invocation;
        if self.invocations[&id].work.is_none() {
            let arrives = world.choices.happens(500);
            world.note(|| format!("#{id} ghost ({arrives}) {}", pending.call.line()));
            if arrives {
                world.perform(id, &pending.call);
            }
            drop(world);
            return self.bury(id);
        }
        let rate = if world.faults_left > 0 { self.setting.faults_of_a_thousand } else { 0 };
        let fault = world.choices.pick(FAULTS.len(), |random| {
            if random.chance(rate) { 1 + random.below(FAULTS.len() - 1) } else { 0 }
        });
        let fault = FAULTS[fault];
        if fault != Fault::None {
            world.faults_left = world.faults_left.saturating_sub(1);
        }
        let reply = match fault {
            Fault::None => world.perform(id, &pending.call),
            Fault::FailBefore => pending.call.unavailable(),
            Fault::FailAfter => match world.perform(id, &pending.call) {
                Reply::Object(Some(object)) if matches!(pending.call, Call::Stream(_)) => {
                    let arrive = object.bytes.len() / 2;
                    Reply::Broken(object, arrive)
                }
                _ => pending.call.unavailable(),
            },
            Fault::CrashBefore | Fault::CrashAfter => {
                if fault == Fault::CrashAfter {
                    world.perform(id, &pending.call);
                }
                world.note(|| format!("#{id} CRASH at {}", pending.call.line()));
                drop(world);
                return self.crash(id);
            }
        };
        world.note(|| {
            let failed = if fault == Fault::None { "" } else { "FAIL " };
            format!("#{id} {failed}{} -> {}", pending.call.line(), brief(&reply))
        });
        let mut slot = pending.slot.lock().expect("one thread");
        slot.reply = Some(reply);
        if let Some(waker) = slot.waker.take() {
            waker.wake();
        }
        drop(slot);
        if world.choices.random.chance(25) {
            let weight = weight(&mut world.choices.random);
            self.invocations.get_mut(&id).expect("it runs").weight = weight;
        }
        drop(world);
        self.last = id;
        self.poll(id)
    }

    fn poll(&mut self, id: usize) -> Result<(), Violation> {
        self.world().current = id;
        self.woken.lock().expect("one thread").remove(&id);
        let waker = Waker::from(Arc::new(Alarm { id, woken: Arc::clone(&self.woken) }));
        let invocation = self.invocations.get_mut(&id).expect("it runs");
        let work = invocation.work.as_mut().expect("it did not crash");
        let ended = match work.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => return Ok(()),
            Poll::Ready(ended) => ended,
        };
        let invocation = self.invocations.remove(&id).expect("it runs");
        let mut world = self.world.lock().expect("one thread");
        world.pending.retain(|pending| pending.invocation != id);
        let (lake, failed, errors) = match ended {
            Ended::Unopened => (None, (0..invocation.messages.len()).collect(), Vec::new()),
            Ended::Answered(lake, failed, errors) => (Some(lake), failed, errors),
        };
        world.note(|| format!("#{id} ended, failed {failed:?} {errors:?}"));
        let answered: BTreeSet<ObjectKey> = (invocation.messages.iter().enumerate())
            .filter(|(index, _)| !failed.contains(index))
            .map(|(_, message)| message.key.clone())
            .collect();
        world.count_delivered(id, &answered);
        if failed.is_empty() {
            for doubts in world.partition_doubts.values_mut() {
                doubts.remove(&id);
            }
            let observed = world.observed.remove(&id).unwrap_or_default();
            promises::after_invocation(&world, &observed)?;
        }
        world.observed.remove(&id);
        let mut stuck = None;
        for (index, mut message) in invocation.messages.into_iter().enumerate() {
            if !failed.contains(&index) {
                continue;
            }
            message.deliveries += 1;
            if message.deliveries > DELIVERIES_MAX {
                stuck = Some(format!("{} fails again and again: {errors:?}", message.key));
            }
            world.queues.entry(invocation.function).or_default().push(message);
        }
        drop(world);
        if let Some(what) = stuck {
            return Err(Violation { promise: Promise::Progress, what });
        }
        if let Some(lake) = lake
            && !self.warm.iter().any(|warm| Arc::ptr_eq(warm, &lake))
        {
            self.warm.push(lake);
            if self.warm.len() > 3 {
                self.warm.remove(0);
            }
        }
        Ok(())
    }

    /// An invocation dies. What it was asking for may still arrive, before its messages are
    /// delivered again.
    fn crash(&mut self, id: usize) -> Result<(), Violation> {
        let invocation = self.invocations.get_mut(&id).expect("it runs");
        invocation.work = None;
        if let Some(lake) = invocation.lake.take() {
            self.warm.retain(|warm| !Arc::ptr_eq(warm, &lake));
        }
        let mut world = self.world();
        world.pending.retain(|pending| pending.invocation != id || pending.call.writes());
        drop(world);
        self.bury(id)
    }

    fn bury(&mut self, id: usize) -> Result<(), Violation> {
        let mut world = self.world.lock().expect("one thread");
        if world.pending.iter().any(|pending| pending.invocation == id) {
            return Ok(());
        }
        let invocation = self.invocations.remove(&id).expect("it crashed");
        world.count_delivered(id, &BTreeSet::new());
        world.observed.remove(&id);
        let again = invocation
            .messages
            .into_iter()
            .map(|message| Queued { deliveries: message.deliveries + 1, ..message });
        world.queues.entry(invocation.function).or_default().extend(again);
        Ok(())
    }

    /// Starts an invocation with some messages of a function's queue.
    fn deliver(&mut self, function: FunctionName) -> Result<(), Violation> {
        let mut guard = self.world.lock().expect("one thread");
        let world = &mut *guard;
        let waiting = world.queues[&function].len();
        let count = 1 + world.choices.pick(waiting.min(10), |random| {
            if random.chance(600) { 0 } else { random.below(waiting.min(4)) }
        });
        let envelope = world.choices.pick(Envelope::ALL.len(), |random| {
            if random.chance(500) { 0 } else { random.below(Envelope::ALL.len()) }
        });
        let envelope = Envelope::ALL[envelope];
        let mut messages = Vec::new();
        for _ in 0..envelope.takes(count) {
            let queue = world.queues.entry(function).or_default();
            let at = world.choices.pick(queue.len(), |random| random.below(queue.len()));
            messages.push(queue.remove(at));
        }
        let rate = self.setting.warm_of_a_thousand;
        let warm = world.choices.pick(1 + self.warm.len(), |random| {
            if random.chance(rate) { random.below(1 + self.warm.len()) } else { 0 }
        });
        let lake = warm.checked_sub(1).map(|warm| Arc::clone(&self.warm[warm]));
        let weight = weight(&mut world.choices.random);
        let (event, count) = (envelope.wrap(&messages), messages.len());
        let is_alone = |invocation: &Invocation| invocation.function != function;
        if function == FunctionName::ReadingsCompacted && self.invocations.values().all(is_alone) {
            world.now_ms += A_LONG_TIME_MS;
        }
        let id = self.next;
        self.next += 1;
        world.note(|| {
            let keys: Vec<_> = messages.iter().map(|message| message.key.as_str()).collect();
            format!("#{id} START {} {envelope:?} {keys:?}", function.as_str())
        });
        let observed = world.observed.entry(id).or_default();
        observed.delusion.compacts = function == FunctionName::ReadingsCompacted;
        let deleted = messages.iter().filter(|message| !message.created);
        observed.delusion.deleted = deleted.map(|message| message.key.clone()).collect();
        let (remote, setting, warm) =
            (Remote(Arc::clone(&self.world)), self.setting.clone(), lake.clone());
        let work = async move {
            let lake = match warm {
                Some(lake) => lake,
                None => match open(remote, &setting).await {
                    Some(lake) => Arc::new(lake),
                    None => return Ended::Unopened,
                },
            };
            let outcome = function.invoke(&lake, &event).await.expect("the envelope is known");
            let panicked = |error: &&Arc<Error>| matches!(***error, Error::Panicked { .. });
            if let Some(error) = outcome.errors.iter().find(panicked) {
                // Not to be hidden by the next delivery.
                panic!("{error}");
            }
            let errors = outcome.errors.iter().map(ToString::to_string).collect();
            Ended::Answered(lake, envelope.failed(count, outcome), errors)
        };
        let work: Work = Box::pin(work);
        self.invocations
            .insert(id, Invocation { function, messages, work: Some(work), lake, weight });
        drop(guard);
        self.last = id;
        self.poll(id)
    }

    fn happen(&mut self, op: &Op) -> Result<(), Violation> {
        match op {
            Op::Put(key, file) => {
                let key_of = ObjectKey::new(key.as_str());
                let is_of = |stream: &Stream| key_of.after(layout::landing(*stream)).is_some();
                let stream = Stream::ALL.into_iter().find(is_of).expect("a landing key");
                let (bytes, _) = file.render(stream);
                let mut world = self.world();
                let etag = world.write(key, bytes.into());
                world.files.insert(etag, (stream, file.clone()));
            }
            Op::Delete(key) => self.world().delete(key),
            Op::Schedule(time) => self.world().schedule(time),
            Op::Replay(key) => {
                let marker = format!("{}operator/{key}", layout::REPLAY);
                self.world().write(&marker, bytes::Bytes::new());
            }
            Op::Death { lossy } => {
                self.die();
                self.world().lossy = *lossy;
                return self.ask_unfinished().map(drop);
            }
            Op::Policies(policies) => {
                self.die();
                let remote = Remote(Arc::clone(&self.world));
                let key = LakeKey::new(SECRET).expect("the secret is long enough");
                let parts = Parts::try_from(self.setting.parts).expect("a power of two");
                let changing = Lake::change_policies(&remote, &key, parts, *policies);
                let changed = self.undisturbed(changing);
                changed.expect("nothing fails");
                self.setting.policies = *policies;
                let mut world = self.world();
                world.note(|| format!("POLICIES {policies}"));
                world.setting.policies = *policies;
                world.policies_changed = true;
                drop(world);
                return self.ask_unfinished().map(drop);
            }
        }
        Ok(())
    }

    /// Everything that runs and waits is lost.
    fn die(&mut self) {
        let mut world = self.world.lock().expect("one thread");
        world.note(|| "DEATH".to_owned());
        let running: Vec<usize> = self.invocations.keys().copied().collect();
        for id in running {
            world.count_delivered(id, &BTreeSet::new());
        }
        world.pending.clear();
        world.observed.clear();
        world.queues.values_mut().for_each(Vec::clear);
        drop(world);
        self.invocations.clear();
        self.warm.clear();
        self.has_died = true;
    }

    /// Queues what every function finds unfinished, undisturbed; says how many keys that is.
    fn ask_unfinished(&mut self) -> Result<usize, Violation> {
        let mut found = 0;
        for function in FunctionName::ALL {
            let (remote, setting) = (Remote(Arc::clone(&self.world)), self.setting.clone());
            let asked = self.undisturbed(async move {
                let lake = open(remote, &setting).await.expect("nothing fails");
                function.unfinished(&lake).await
            });
            let keys = asked.map_err(|error| Violation {
                promise: Promise::Unfinished,
                what: error.to_string(),
            })?;
            found += keys.len();
            let mut world = self.world();
            world.note(|| format!("unfinished of {}: {keys:?}", function.as_str()));
            for key in keys {
                world.events.insert((function, key.clone(), true));
                let queued = Queued { key, created: true, deliveries: 1 };
                world.queues.entry(function).or_default().push(queued);
            }
        }
        Ok(found)
    }

    fn undisturbed<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = Box::pin(work);
        self.world().current = 0;
        loop {
            if let Poll::Ready(done) = work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                self.world().observed.remove(&0);
                return done;
            }
            let mut world = self.world();
            let at = world.pending.iter().position(|pending| pending.invocation == 0);
            let pending = world.pending.remove(at.expect("it waits for something"));
            let reply = world.perform(0, &pending.call);
            let mut slot = pending.slot.lock().expect("one thread");
            slot.reply = Some(reply);
            if let Some(waker) = slot.waker.take() {
                waker.wake();
            }
        }
    }

    /// Every event there ever was is delivered once more: not one byte may change.
    fn duplicates(&mut self) -> Result<(), Violation> {
        let events = std::mem::take(&mut self.world().events);
        let before = self.world().bucket.snapshot();
        for function in FunctionName::ALL {
            let of_it = events.iter().filter(|(name, ..)| *name == function);
            let messages: Vec<Queued> = of_it
                .map(|(_, key, created)| Queued {
                    key: key.clone(),
                    created: *created,
                    deliveries: 0,
                })
                .collect();
            for batch in messages.chunks(10) {
                let event = Envelope::Bridged.wrap(batch);
                let (remote, setting) = (Remote(Arc::clone(&self.world)), self.setting.clone());
                let outcome = self.undisturbed(async move {
                    let lake = open(remote, &setting).await.expect("nothing fails");
                    function.invoke(&lake, &event).await.expect("the envelope is known")
                });
                if let Some(error) = outcome.errors.first() {
                    let what = format!("a duplicate failed: {error}");
                    return Err(Violation { promise: Promise::Duplicates, what });
                }
            }
        }
        let world = self.world();
        if let Some(violation) = world.violation.clone() {
            return Err(violation);
        }
        let after = world.bucket.snapshot();
        let changed: Vec<_> = (after.iter().filter(|(key, now)| before.get(*key) != Some(*now)))
            .map(|(key, _)| key)
            .chain(before.keys().filter(|key| !after.contains_key(*key)))
            // A table whose first event was lost with the process is registered by the next one.
            .filter(|key| !(self.has_died && is_table(key)))
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        let what = format!("duplicates changed {changed:?}");
        Err(Violation { promise: Promise::Duplicates, what })
    }
}

pub(crate) async fn open(remote: Remote, setting: &Setting) -> Option<Lake> {
    let world = Arc::clone(&remote.0);
    let clock = Arc::new(move || world.lock().expect("one thread").time());
    let store: Arc<dyn Store> = Arc::new(remote.clone());
    let catalog: Arc<dyn Catalog> = Arc::new(remote);
    let key = LakeKey::new(SECRET).expect("the secret is long enough");
    let parts = Parts::try_from(setting.parts).expect("a power of two");
    let mut lake = Lake::open(store, catalog, key, parts, setting.policies).await.ok()?;
    lake.bounds.attempts_max = setting.attempts_max;
    lake.bounds.runs_max = setting.runs_max;
    lake.bounds.parts_looked_at = setting.parts_looked_at;
    lake.bounds.inline_max = setting.inline_max;
    lake.bounds.concurrency = setting.concurrency;
    // Few parts are enough to be listed.
    lake.bounds.looks_per_page = 1;
    lake.bounds.compacted_objects_min = COMPACTED_OBJECTS_MIN;
    lake.clock = clock;
    limit(&mut lake.bounds, setting.memory);
    Some(lake)
}

fn limit(bounds: &mut Bounds, memory: Memory) {
    if memory == Memory::Ample {
        return;
    }
    bounds.compacted_bytes = 1;
    bounds.small_bytes_max = if memory == Memory::Pairs { bounds.small_bytes_max } else { 1 };
    match memory {
        Memory::Ample | Memory::OneAtATime => {}
        Memory::Pairs => {
            bounds.held_bytes_max = 600;
            bounds.held_readings_bytes_max = 600;
            bounds.piece_bytes = 700;
        }
        Memory::Rows => {
            bounds.held_bytes_max = 120;
            bounds.held_readings_bytes_max = 180;
            bounds.row_group_rows = 2;
            bounds.piece_bytes = 700;
        }
        Memory::Nothing => {
            bounds.cache_bytes_max = 0;
            bounds.held_bytes_max = 0;
            bounds.held_readings_bytes_max = 0;
            bounds.row_group_rows = 1;
            bounds.open_bytes_max = 1;
            bounds.piece_bytes = 1;
        }
    }
}

fn is_table(key: &ObjectKey) -> bool {
    key.after("catalog:").is_some_and(|name| name.ends_with(".json"))
}

fn brief(reply: &Reply) -> String {
    let short = |etag: &lake::key::ETag| etag.as_str().chars().take(6).collect::<String>();
    match reply {
        Reply::Meta(meta) => format!("{:?}", meta.as_ref().map(|meta| short(&meta.etag))),
        Reply::Object(object) => {
            format!("{:?}", object.as_ref().map(|object| short(&object.meta.etag)))
        }
        Reply::Broken(..) => "breaks off".to_owned(),
        Reply::Put(etag) => short(etag),
        Reply::Page(page) => {
            let keys: Vec<_> = page.objects.iter().map(|object| object.key.as_str()).collect();
            format!("{keys:?}{}", if page.more { " and more" } else { "" })
        }
        Reply::Table(table) => format!("{}", table.is_some()),
        other => format!("{other:?}"),
    }
}
