//! The queues between the bucket and the functions, one for each function, as the template wires
//! them; and the store that fills them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use chain::{FunctionName, ranked};
use lake::key::{ETag, ObjectKey};
use lake::layout::{self, ReadingDate, Slice};
use lake::store::{
    ByteRange, Object, ObjectMeta, ObjectStream, Page, Precondition, Store, StoreError, Upload,
};
use lake::tables::Stream;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tokio::sync::Notify;

/// A function's keys wait in the order of the patterns of its rule: a function, and the number of
/// the pattern.
type Stage = (FunctionName, usize);
type Keys = BTreeMap<ObjectKey, Asked>;

/// What is known of a key that waits.
#[derive(Clone, Copy, Default)]
pub(crate) struct Asked {
    /// How often it was delivered before, since it was announced.
    pub(crate) deliveries: u32,
    /// Whether somebody may have begun it, and died.
    pub(crate) is_begun: bool,
    /// Of its object, as it was written; 0 if that is not known.
    bytes: u64,
}

/// Keys that wait to be looked at.
pub(crate) struct Queues {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    waiting: BTreeMap<Stage, Keys>,
    /// Draws what comes next, where events are to be delivered out of order.
    chaos: Option<ChaCha8Rng>,
    running: BTreeMap<Stage, usize>,
    /// How often keys of one day, or few, were handed out of a stage since it last had none.
    handed_out: BTreeMap<Stage, usize>,
    /// Keys that were ever queued.
    queued: u64,
    /// Keys that were worked on.
    done: u64,
}

/// Keys for one invocation; until it is dropped they count as being worked on.
pub(crate) struct Batch {
    queues: Arc<Queues>,
    stage: Stage,
    pub(crate) keys: Keys,
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.queues.ended(self.stage, self.keys.len());
    }
}

impl Batch {
    /// Whom to invoke.
    pub(crate) fn function(&self) -> FunctionName {
        self.stage.0
    }
}

/// Keys are to come: until it is dropped they count as being worked on. So the chain is not at rest,
/// and nothing that comes after them in the chain is begun, only to be done again.
pub(crate) struct Coming {
    queues: Arc<Queues>,
    stage: Stage,
}

impl Coming {
    /// `None` if these keys wake nobody.
    pub(crate) fn to<'a>(
        queues: &Arc<Queues>,
        keys: impl IntoIterator<Item = &'a ObjectKey>,
    ) -> Option<Self> {
        let stage = keys.into_iter().flat_map(ranked).min()?;
        *queues.state().running.entry(stage).or_default() += 1;
        Some(Self { queues: Arc::clone(queues), stage })
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.queues.ended(self.stage, 0);
    }
}

/// How far the chain is.
#[derive(Clone, Copy)]
pub(crate) struct Progress {
    /// Keys that were ever queued.
    pub(crate) queued: u64,
    /// Keys that were worked on.
    pub(crate) done: u64,
}

impl Queues {
    /// Queues; delivered shuffled, duplicated and concurrently by the seed, if there is one.
    pub(crate) fn new(chaos: Option<u64>) -> Self {
        let state = State { chaos: chaos.map(ChaCha8Rng::seed_from_u64), ..State::default() };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    /// Queues the key of an object of so many bytes for every function it wakes.
    pub(crate) fn announce(&self, key: &ObjectKey, bytes: u64) {
        for stage in ranked(key) {
            self.push(stage, key.clone(), Asked { bytes, ..Asked::default() });
        }
    }

    /// Queues a key for one function that found it unfinished: somebody may have begun it.
    pub(crate) fn ask(&self, function: FunctionName, key: ObjectKey) {
        let ranked = ranked(&key);
        let stage = ranked.into_iter().find(|(woken, _)| *woken == function);
        let asked = Asked { is_begun: true, ..Asked::default() };
        self.push(stage.unwrap_or((function, 0)), key, asked);
    }

    /// Puts a key back that could not be worked on.
    pub(crate) fn deliver_again(&self, batch: &Batch, key: ObjectKey, deliveries: u32) {
        self.push(batch.stage, key, Asked { deliveries, is_begun: true, bytes: 0 });
    }

    fn push(&self, stage: Stage, key: ObjectKey, asked: Asked) {
        let mut state = self.state();
        let waiting = state.waiting.entry(stage).or_default();
        let known = waiting.get(&key).copied();
        let is_begun = asked.is_begun || known.is_some_and(|known| known.is_begun);
        waiting.insert(key, Asked { is_begun, ..asked });
        state.queued += u64::from(known.is_none());
        drop(state);
        self.changed.notify_waiters();
    }

    /// The next keys to work on; `None` once the chain is at rest.
    ///
    /// What comes first in the chain is worked on first, so that little is derived twice: a batch
    /// is handed out only when nothing before it waits or runs.
    pub(crate) async fn next(self: &Arc<Self>, workers: usize) -> Option<Batch> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut state = self.state();
                state.waiting.retain(|_, keys| !keys.is_empty());
                state.running.retain(|_, running| *running > 0);
                let State { waiting, running, handed_out, .. } = &mut *state;
                handed_out
                    .retain(|stage, _| waiting.contains_key(stage) || running.contains_key(stage));
                let first = state.waiting.keys().next().copied();
                let ahead = state.running.keys().next().copied();
                let drawn = match (first, ahead) {
                    (None, None) => return None,
                    (Some(_), _) if state.chaos.is_some() => state.draw(),
                    (Some(stage), ahead) if ahead.is_none_or(|ahead| stage <= ahead) => {
                        Some((stage, state.take(stage, workers)))
                    }
                    _ => None,
                };
                if let Some((stage, keys)) = drawn {
                    *state.running.entry(stage).or_default() += 1;
                    return Some(Batch { queues: Arc::clone(self), stage, keys });
                }
            }
            changed.await;
        }
    }

    fn ended(&self, stage: Stage, keys: usize) {
        let mut state = self.state();
        state.done += keys as u64;
        if let Some(running) = state.running.get_mut(&stage) {
            *running -= 1;
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Waits until something is queued.
    pub(crate) async fn queued(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.state().waiting.values().any(|keys| !keys.is_empty()) {
                return;
            }
            changed.await;
        }
    }

    pub(crate) fn progress(&self) -> Progress {
        let state = self.state();
        Progress { queued: state.queued, done: state.done }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the keys of a stage are shared out.
enum Sharing {
    /// Not at all: what is made of them falls into parts of a register, into all of them as a rule, and
    /// each part would be written by every worker, over and over.
    All,
    /// By days: keys of a day ask for the same work, as they do where their times overlap, and it would be
    /// looked at, and done, by every worker.
    Days,
    /// In few pieces: keys of a day have inputs in common, which are read and put in order for each.
    Pieces,
    /// In many: the keys have nothing in common, and differ.
    Crumbs,
    /// As it comes.
    Any,
}

impl Sharing {
    fn of(function: FunctionName, key: &ObjectKey) -> Self {
        let lands = |stream| key.after(layout::landing(stream)).is_some();
        match function {
            FunctionName::CustomerTrustedToCurated
                if layout::part_of_key(key, layout::TRUSTED_CUSTOMER).is_some() =>
            {
                Self::Any
            }
            FunctionName::CustomerLandingToTrusted | FunctionName::CustomerTrustedToCurated => {
                Self::All
            }
            FunctionName::MachineLearningCurated
                if key.after(layout::TRUSTED_ACCELEROMETER).is_some() =>
            {
                Self::Days
            }
            FunctionName::MachineLearningCurated => Self::Pieces,
            FunctionName::AccelerometerLandingToTrusted if lands(Stream::Accelerometer) => {
                Self::Crumbs
            }
            FunctionName::StepTrainerLandingToTrusted if lands(Stream::StepTrainer) => Self::Crumbs,
            // Parts and markers of some people may ask for the same landing object.
            FunctionName::AccelerometerLandingToTrusted
            | FunctionName::StepTrainerLandingToTrusted
            | FunctionName::ReadingsCompacted => Self::Any,
        }
    }
}

/// The day of a key of readings.
fn day_of(key: &ObjectKey) -> Option<ReadingDate> {
    let zones = [layout::TRUSTED_ACCELEROMETER, layout::TRUSTED_STEP_TRAINER];
    zones.into_iter().find_map(|zone| Slice::of_key(key, zone)).map(|slice| slice.date)
}

impl State {
    /// Any stage's keys, any of them; some stay, to be delivered a second time.
    fn draw(&mut self) -> Option<(Stage, Keys)> {
        const AGAIN: f64 = 0.2;
        let chaos = self.chaos.as_mut()?;
        let stages: Vec<Stage> = self.waiting.keys().copied().collect();
        let stage = *stages.get(chaos.random_range(0..stages.len()))?;
        let waiting = self.waiting.get_mut(&stage)?;
        let mut keys = BTreeMap::new();
        let wanted = chaos.random_range(1..=waiting.len());
        for _ in 0..wanted {
            let drawn = waiting.keys().nth(chaos.random_range(0..waiting.len())).cloned()?;
            let asked = waiting.remove(&drawn)?;
            keys.insert(drawn, asked);
            if waiting.is_empty() {
                break;
            }
        }
        let again = keys.iter().filter(|_| chaos.random_bool(AGAIN));
        waiting.extend(again.map(|(key, asked)| (key.clone(), *asked)));
        Some((stage, keys))
    }

    /// A fair share of a stage's keys, so that every worker has some; of many two thirds of it, since
    /// what they take differs, and whoever took a whole share may be the last by far. Of those with inputs
    /// in common whole days, unless that is much more; and of few, or the last day, what there is shared out
    /// at once, by their bytes, and never one by one. Never more than `BATCH_MAX`.
    fn take(&mut self, stage: Stage, workers: usize) -> Keys {
        const BATCH_MAX: usize = 4096;
        const FEW_MAX: usize = 64;
        const IN_COMMON_MIN: usize = 8;
        let others =
            workers.saturating_sub(self.handed_out.get(&stage).copied().unwrap_or_default());
        let waiting = self.waiting.entry(stage).or_default();
        let ends = waiting.first_key_value().zip(waiting.last_key_value());
        let Some(((first, _), (last, _))) = ends else { return Keys::new() };
        let is_one_day = day_of(first) == day_of(last);
        let fair = waiting.len().div_ceil(workers);
        let most = if fair > FEW_MAX { (2 * fair).div_ceil(3) } else { fair };
        // And up to how many, if that completes a day.
        let (share, whole_max) = match Sharing::of(stage.0, first) {
            Sharing::All => (waiting.len(), 0),
            _ if workers == 1 => (waiting.len(), 0),
            Sharing::Pieces if is_one_day || fair <= FEW_MAX => {
                *self.handed_out.entry(stage).or_default() += 1;
                match others {
                    0 => (fair.max(IN_COMMON_MIN), 0),
                    _ => (first_share(waiting, others), 0),
                }
            }
            Sharing::Pieces => (most, fair + fair / 2),
            Sharing::Days => (most, usize::MAX),
            Sharing::Crumbs => (fair.div_ceil(4), 0),
            Sharing::Any => (most, 0),
        };
        let day = waiting.keys().nth(share.saturating_sub(1)).and_then(day_of);
        let rest = waiting.keys().skip(share);
        let whole = share + rest.take_while(|key| whole_max > 0 && day_of(key) == day).count();
        let share = if whole <= whole_max { whole } else { share }.min(BATCH_MAX);
        let rest = waiting.keys().nth(share).cloned();
        let rest = rest.map(|key| waiting.split_off(&key)).unwrap_or_default();
        std::mem::replace(waiting, rest)
    }
}

/// How many of some keys are the first of so many shares, by the bytes of their objects.
fn first_share(keys: &Keys, shares: usize) -> usize {
    let bytes = |asked: &Asked| asked.bytes.max(1);
    let fair = keys.values().map(bytes).sum::<u64>() / shares as u64;
    let mut before = 0;
    let is_in = |asked: &&Asked| {
        let middle = before + bytes(asked) / 2;
        before += bytes(asked);
        middle < fair
    };
    keys.values().take_while(is_in).count().max(1)
}

/// A store that announces what is written and deleted in it, as the bucket does.
pub(crate) struct AnnouncingStore {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) queues: Arc<Queues>,
}

#[async_trait]
impl Store for AnnouncingStore {
    async fn head(&self, key: &ObjectKey) -> Result<Option<ObjectMeta>, StoreError> {
        self.store.head(key).await
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> Result<Option<Object>, StoreError> {
        self.store.get(key, range).await
    }

    async fn stream(&self, key: &ObjectKey) -> Result<Option<ObjectStream>, StoreError> {
        self.store.stream(key).await
    }

    async fn put(
        &self,
        key: &ObjectKey,
        bytes: Bytes,
        when: Precondition,
    ) -> Result<ETag, StoreError> {
        let size_bytes = bytes.len() as u64;
        let etag = self.store.put(key, bytes, when).await?;
        self.queues.announce(key, size_bytes);
        Ok(etag)
    }

    async fn upload(&self, key: &ObjectKey) -> Result<Box<dyn Upload>, StoreError> {
        let (queues, key) = (Arc::clone(&self.queues), key.clone());
        let upload = self.store.upload(&key).await?;
        Ok(Box::new(AnnouncingUpload { queues, key, upload, size_bytes: 0 }))
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.store.delete(key).await?;
        self.queues.announce(key, 0);
        Ok(())
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Page, StoreError> {
        self.store.list(prefix, after).await
    }
}

/// An upload that is announced once it is complete.
struct AnnouncingUpload {
    queues: Arc<Queues>,
    key: ObjectKey,
    upload: Box<dyn Upload>,
    size_bytes: u64,
}

#[async_trait]
impl Upload for AnnouncingUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        self.size_bytes += bytes.len() as u64;
        self.upload.write(bytes).await
    }

    async fn complete(self: Box<Self>, when: Precondition) -> Result<ETag, StoreError> {
        let etag = self.upload.complete(when).await?;
        self.queues.announce(&self.key, self.size_bytes);
        Ok(etag)
    }

    async fn abort(self: Box<Self>) -> Result<(), StoreError> {
        self.upload.abort().await
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use lake::key::{Part, Source};

    use super::*;

    /// The keys of some objects of a day.
    fn announce(queues: &Queues, zone: &str, day: i64, numbers: std::ops::Range<i64>) {
        for number in numbers {
            let first_ms = 1_769_731_200_000 + day * 86_400_000 + number;
            let date = ReadingDate::of(first_ms).unwrap();
            let source = Source::of(&ObjectKey::new(number.to_string()));
            queues.announce(&Slice { date, first_ms, last_ms: first_ms, source }.key(zone), 1_000);
        }
    }

    fn next(queues: &Arc<Queues>, workers: usize) -> Batch {
        let mut context = Context::from_waker(Waker::noop());
        match pin!(queues.next(workers)).poll(&mut context) {
            Poll::Ready(Some(batch)) => batch,
            _ => panic!("no keys are handed out"),
        }
    }

    #[test]
    fn few_keys_with_inputs_in_common_are_shared_out_at_once() {
        let queues = Arc::new(Queues::new(None));
        announce(&queues, layout::TRUSTED_STEP_TRAINER, 0, 0..30);
        let (one, other) = (next(&queues, 2), next(&queues, 2));
        assert_eq!([one.keys.len(), other.keys.len()], [15, 15]);
        announce(&queues, layout::TRUSTED_STEP_TRAINER, 0, 30..42);
        let late = next(&queues, 2);
        assert_eq!(late.keys.len(), 8, "the others are at work");
        drop((one, other, late));
        let rest = next(&queues, 2);
        assert_eq!(rest.keys.len(), 4);
        assert_eq!(rest.function(), FunctionName::MachineLearningCurated);
    }

    #[test]
    fn many_keys_with_inputs_in_common_are_handed_out_by_days_and_the_last_day_at_once() {
        let queues = Arc::new(Queues::new(None));
        announce(&queues, layout::TRUSTED_STEP_TRAINER, 0, 0..150);
        announce(&queues, layout::TRUSTED_STEP_TRAINER, 1, 0..150);
        let batches = [next(&queues, 2), next(&queues, 2), next(&queues, 2)];
        assert_eq!(batches.each_ref().map(|batch| batch.keys.len()), [150, 75, 75]);

        let queues = Arc::new(Queues::new(None));
        announce(&queues, layout::TRUSTED_STEP_TRAINER, 0, 0..400);
        announce(&queues, layout::TRUSTED_STEP_TRAINER, 1, 0..112);
        let batches = [next(&queues, 2), next(&queues, 2), next(&queues, 2)];
        assert_eq!(batches.each_ref().map(|batch| batch.keys.len()), [171, 229, 56]);

        // Of one day that is larger than the others nobody takes all.
        let queues = Arc::new(Queues::new(None));
        announce(&queues, layout::TRUSTED_STEP_TRAINER, 0, 0..512);
        announce(&queues, layout::TRUSTED_STEP_TRAINER, 1, 0..1);
        let batches = [next(&queues, 8), next(&queues, 8)];
        assert_eq!(batches.each_ref().map(|batch| batch.keys.len()), [44, 59]);

        let queues = Arc::new(Queues::new(None));
        announce(&queues, layout::TRUSTED_STEP_TRAINER, 0, 0..300);
        let batches = [next(&queues, 2), next(&queues, 2)];
        assert_eq!(batches.each_ref().map(|batch| batch.keys.len()), [150, 150]);
    }

    #[test]
    fn few_keys_are_shared_out_by_the_bytes_of_their_objects() {
        let keys = |sizes: &[u64]| -> Keys {
            let asked = sizes.iter().map(|bytes| Asked { bytes: *bytes, ..Asked::default() });
            (0..).map(|number: u8| ObjectKey::new(number.to_string())).zip(asked).collect()
        };
        assert_eq!(first_share(&keys(&[1, 1, 1, 1]), 2), 2);
        assert_eq!(first_share(&keys(&[5, 5, 5, 5, 1, 1, 1, 1]), 2), 2);
        assert_eq!(first_share(&keys(&[1, 1, 1, 1, 5, 5, 5, 5]), 2), 6);
        assert_eq!(first_share(&keys(&[9, 1, 1]), 2), 1);
        assert_eq!(first_share(&keys(&[1, 1, 9]), 2), 2);
        assert_eq!(first_share(&keys(&[0, 0, 0]), 1), 3);
        assert_eq!(first_share(&keys(&[7]), 8), 1);
    }

    #[test]
    fn landing_objects_are_handed_out_in_small_pieces() {
        let queues = Arc::new(Queues::new(None));
        for number in 0..9 {
            queues.announce(&ObjectKey::new(format!("landing/accelerometer/{number}.json")), 1_000);
        }
        let batches: Vec<usize> = (0..6).map(|_| next(&queues, 2).keys.len()).collect();
        assert_eq!(batches, [2, 1, 1, 1, 1, 1]);

        // But for parts of customers: the same landing object follows from many of them.
        let queues = Arc::new(Queues::new(None));
        for part in 0..8 {
            let part = Part::parse(&format!("{part:02x}")).unwrap();
            queues.ask(
                FunctionName::AccelerometerLandingToTrusted,
                layout::customer_part(layout::TRUSTED_CUSTOMER, part),
            );
        }
        assert_eq!([next(&queues, 2), next(&queues, 2)].map(|batch| batch.keys.len()), [4, 2]);
    }

    #[test]
    fn a_worker_takes_whole_days_where_the_keys_of_a_day_ask_for_the_same() {
        let queues = Queues::new(None);
        for day in 0..2 {
            announce(&queues, layout::TRUSTED_ACCELEROMETER, day, 0..5);
        }
        let taken = |function| {
            let mut state = queues.state();
            let stages: Vec<Stage> = state.waiting.keys().copied().collect();
            let stage = stages.into_iter().find(|stage| stage.0 == function).unwrap();
            let taken: Vec<usize> = (0..3).map(|_| state.take(stage, 4).len()).collect();
            taken
        };
        assert_eq!(taken(FunctionName::MachineLearningCurated), [5, 5, 0]);
        assert_eq!(taken(FunctionName::ReadingsCompacted), [3, 2, 2]);
    }

    #[test]
    fn the_chain_is_not_at_rest_while_keys_are_to_come() {
        let queues = Arc::new(Queues::new(None));
        let mut context = Context::from_waker(Waker::noop());
        let readings = ObjectKey::new("landing/accelerometer/a.json");
        let coming = Coming::to(&queues, [&readings]).unwrap();
        let mut next = pin!(queues.next(1));
        assert!(next.as_mut().poll(&mut context).is_pending(), "nothing waits yet");
        queues.announce(&ObjectKey::new("landing/customer/a.json"), 1_000);
        let Poll::Ready(Some(batch)) = next.poll(&mut context) else { panic!("one key waits") };
        drop(batch);

        let mut next = pin!(queues.next(1));
        assert!(next.as_mut().poll(&mut context).is_pending(), "more may come");
        queues.announce(&ObjectKey::new("landing/step_trainer/a.json"), 1_000);
        assert!(next.as_mut().poll(&mut context).is_pending(), "it comes after what may come");
        queues.announce(&readings, 1_000);
        let Poll::Ready(Some(batch)) = next.poll(&mut context) else { panic!("they came") };
        assert_eq!(batch.function(), FunctionName::AccelerometerLandingToTrusted);
        drop(batch);

        let mut next = pin!(queues.next(1));
        assert!(next.as_mut().poll(&mut context).is_pending(), "more may come");
        drop(coming);
        let Poll::Ready(Some(batch)) = next.poll(&mut context) else { panic!("none will come") };
        assert_eq!(batch.function(), FunctionName::StepTrainerLandingToTrusted);
        drop(batch);
        assert!(matches!(pin!(queues.next(1)).poll(&mut context), Poll::Ready(None)));
    }
}
