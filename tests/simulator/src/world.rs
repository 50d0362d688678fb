//! The world of a run: what is there, what waits, and what every effect brings about.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use chain::{FunctionName, woken_by};
use lake::key::{ETag, ObjectKey};
use lake::layout;
use lake::registers::{ConsentRow, OwnerRow};
use lake::store::{ByteRange, Precondition};
use lake::tables::Stream;

use crate::broken::{Delusion, Protocol};
use crate::bucket::{Bucket, day_of, folder_of};
use crate::choices::Choices;
use crate::envelope::SCHEDULE;
use crate::file::{CustomerEntry, Entry, File, Person};
use crate::promises;
use crate::said::Said;
use crate::store::{Ask, Call, Reply, Slot};
use crate::table::Row;
use crate::workload::Setting;

pub(crate) type Shared = Arc<Mutex<World>>;

/// What is wrong with a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// Nobody's rows without their consent.
    Privacy,
    /// Revisions only grow.
    Growth,
    /// The tables equal the reference model at rest.
    Tables,
    /// The catalog names the partitions with rows.
    Catalog,
    /// Nothing is left but what is wanted.
    Leftovers,
    /// What the partitions lead to is whole at every step, and has the rows of the table at rest.
    Compaction,
    /// The quarantine holds the fragments.
    Quarantine,
    /// Every record is accounted for.
    Ledger,
    /// A duplicate changes nothing.
    Duplicates,
    /// At rest nothing is unfinished.
    Unfinished,
    /// Work comes to an end.
    Progress,
}

/// A broken promise.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which.
    pub promise: Promise,
    /// How.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.promise, self.what)
    }
}

/// A message in the queue of a function.
#[derive(Clone, Debug)]
pub(crate) struct Queued {
    pub(crate) key: ObjectKey,
    pub(crate) created: bool,
    pub(crate) deliveries: usize,
}

/// A call that waits for the scheduler.
pub(crate) struct Pending {
    pub(crate) invocation: usize,
    pub(crate) call: Call,
    pub(crate) slot: Arc<Mutex<Slot>>,
}

/// What an invocation has seen and done.
#[derive(Default)]
pub(crate) struct Observed {
    /// Registers and customer parts: when which version was read.
    pub(crate) reads: BTreeMap<ObjectKey, Vec<(u64, ETag)>>,
    /// When a version of a derived object was first seen; `None`: its absence.
    pub(crate) sightings: BTreeMap<(ObjectKey, Option<ETag>), u64>,
    /// Derived objects of readings that it wrote.
    pub(crate) written: Vec<(ObjectKey, ETag)>,
    /// Customer landing objects that it read whole.
    pub(crate) customers: Vec<(ObjectKey, ETag)>,
    pub(crate) delusion: Delusion,
}

/// The customer records that were delivered.
#[derive(Default)]
pub(crate) struct Delivered {
    /// By invocations that answered for them.
    pub(crate) surely: BTreeMap<Person, Vec<CustomerEntry>>,
    /// By invocations that failed or died.
    pub(crate) perhaps: BTreeMap<Person, Vec<CustomerEntry>>,
}

pub(crate) struct World {
    pub(crate) setting: Setting,
    pub(crate) protocol: Protocol,
    pub(crate) choices: Choices,
    pub(crate) bucket: Bucket,
    pub(crate) queues: BTreeMap<FunctionName, Vec<Queued>>,
    /// Every event there ever was.
    pub(crate) events: BTreeSet<(FunctionName, ObjectKey, bool)>,
    pub(crate) pending: Vec<Pending>,
    /// The invocation that is being polled.
    pub(crate) current: usize,
    pub(crate) observed: BTreeMap<usize, Observed>,
    /// Invocations that removed a partition and did not end well since.
    pub(crate) partition_doubts: BTreeMap<(String, layout::ReadingDate), BTreeSet<usize>>,
    /// The rows that a date of a table ever had, in the folder of the table.
    pub(crate) past: BTreeMap<(&'static str, layout::ReadingDate), BTreeSet<Vec<Row>>>,
    /// The time, epoch milliseconds. It passes by more than a lease whenever nobody is left who
    /// could have held one.
    pub(crate) now_ms: i64,
    pub(crate) files: BTreeMap<ETag, (Stream, File)>,
    pub(crate) delivered: Delivered,
    /// What the runs ever said.
    pub(crate) consents_said: Said<ConsentRow>,
    pub(crate) owners_said: Said<OwnerRow>,
    pub(crate) clock: u64,
    pub(crate) faults_left: usize,
    /// Whether there may be objects that were derived under other policies.
    pub(crate) policies_changed: bool,
    /// Whether events are lost.
    pub(crate) lossy: bool,
    pub(crate) violation: Option<Violation>,
    pub(crate) trace: Option<Vec<String>>,
}

impl World {
    pub(crate) fn new(
        setting: Setting,
        protocol: Protocol,
        choices: Choices,
        traced: bool,
    ) -> Self {
        Self {
            bucket: Bucket::new(setting.parts, setting.page_max),
            faults_left: setting.faults_max,
            setting,
            protocol,
            choices,
            queues: FunctionName::ALL.into_iter().map(|name| (name, Vec::new())).collect(),
            events: BTreeSet::new(),
            pending: Vec::new(),
            current: 0,
            observed: BTreeMap::new(),
            consents_said: Said::default(),
            owners_said: Said::default(),
            partition_doubts: BTreeMap::new(),
            past: BTreeMap::new(),
            now_ms: 0,
            files: BTreeMap::new(),
            delivered: Delivered::default(),
            clock: 0,
            policies_changed: false,
            lossy: false,
            violation: None,
            trace: traced.then(Vec::new),
        }
    }

    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        let clock = self.clock;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{clock:5} {}", line()));
        }
    }

    pub(crate) fn violated(&mut self, promise: Promise, what: impl Into<String>) {
        let what = what.into();
        self.note(|| format!("VIOLATED {promise:?}: {what}"));
        self.violation.get_or_insert(Violation { promise, what });
    }

    /// A handler asks for something; the scheduler will see to it.
    pub(crate) fn ask(&mut self, call: Call) -> Ask {
        let slot = Arc::new(Mutex::new(Slot::default()));
        self.pending.push(Pending { invocation: self.current, call, slot: Arc::clone(&slot) });
        Ask(slot)
    }

    /// Does what a call of an invocation asks, and whatever follows from that.
    pub(crate) fn perform(&mut self, invocation: usize, call: &Call) -> Reply {
        self.clock += 1;
        let before = self.before(call);
        let mut observed = self.observed.remove(&invocation).unwrap_or_default();
        let reply = self.protocol.perform(&mut self.bucket, call, &mut observed.delusion);
        self.observe(invocation, call, &reply, &mut observed);
        match (call, &reply) {
            (Call::Put(key, _, when), Reply::Put(_)) => {
                let etag = self.bucket.objects[key].clone();
                self.remember(key);
                self.note_said(key, &etag);
                if day_of(key).is_some() {
                    observed.written.push((key.clone(), etag.clone()));
                }
                let put = promises::Put { key, etag: &etag, when, before: before.as_ref() };
                if let Err(violation) = promises::after_put(self, &put, &observed) {
                    self.violated(violation.promise, violation.what);
                }
                self.emit(key, true);
            }
            (Call::Delete(key), Reply::Done) => {
                self.remember(key);
                if let Err(violation) = promises::after_delete(self, key) {
                    self.violated(violation.promise, violation.what);
                }
                // A versioned bucket tells also of the deletion of what is not there.
                self.emit(key, false);
            }
            _ => {}
        }
        self.observed.insert(invocation, observed);
        reply
    }

    fn before(&self, call: &Call) -> Option<promises::Before> {
        let (Call::Put(key, ..) | Call::Delete(key)) = call else { return None };
        let etag = self.bucket.objects.get(key)?;
        let is_fresh = promises::is_fresh(self, key).unwrap_or(false);
        Some(promises::Before { etag: etag.clone(), is_fresh })
    }

    fn observe(&mut self, invocation: usize, call: &Call, reply: &Reply, observed: &mut Observed) {
        let clock = self.clock;
        match (call, reply) {
            (Call::Head(key), Reply::Meta(meta)) => {
                observed.look(clock, key, meta.as_ref().map(|meta| meta.etag.clone()), false);
            }
            (Call::Get(key, range), Reply::Object(object)) => {
                let etag = object.as_ref().map(|object| object.meta.etag.clone());
                observed.look(clock, key, etag, matches!(range, ByteRange::Suffix(_)));
            }
            // A listing tells the version of each as a look does.
            (_, Reply::Page(page)) => {
                for meta in &page.objects {
                    observed.look(clock, &meta.key, Some(meta.etag.clone()), false);
                }
            }
            (Call::DeletePartition(table, date), Reply::Done) => {
                let doubts = self.partition_doubts.entry((table.clone(), *date)).or_default();
                doubts.insert(invocation);
            }
            (Call::MovePartition(_, _, location), Reply::Moved(true)) => {
                if let Err(violation) = promises::leads_to_the_whole(self, location) {
                    self.violated(violation.promise, violation.what);
                }
            }
            (Call::CreatePartition(table, date), Reply::Done) => {
                if let Err(violation) = promises::partition_has_objects(self, table, *date) {
                    self.violated(violation.promise, violation.what);
                }
            }
            _ => {}
        }
    }

    /// Notes what a run says that was put.
    fn note_said(&mut self, key: &ObjectKey, etag: &ETag) {
        if key.after(layout::CONSENT_RUNS).is_some() {
            self.consents_said.note(self.clock, self.bucket.runs([etag].into_iter()));
        }
        if key.after(layout::OWNER_RUNS).is_some() {
            self.owners_said.note(self.clock, self.bucket.runs([etag].into_iter()));
        }
    }

    /// Remembers the rows of a date whose objects changed.
    fn remember(&mut self, key: &ObjectKey) {
        if let Some((table, date)) = day_of(key) {
            let rows = self.bucket.rows_below(&folder_of(table, date));
            self.past.entry((table, date)).or_default().insert(rows);
        }
    }

    /// The invocation that is being polled has read an object to its end.
    pub(crate) fn read_whole(&mut self, key: &ObjectKey, etag: &ETag) {
        if key.after(layout::landing(Stream::Customer)).is_some() {
            let observed = self.observed.entry(self.current).or_default();
            observed.customers.push((key.clone(), etag.clone()));
        }
    }

    /// A put or a deletion sends an event to every function it wakes.
    fn emit(&mut self, key: &ObjectKey, created: bool) {
        for function in woken_by(key) {
            self.events.insert((function, key.clone(), created));
            if self.lossy {
                continue;
            }
            let twice = self.setting.duplicates_of_a_thousand;
            let copies = if self.choices.happens(twice) { 2 } else { 1 };
            for _ in 0..copies {
                let queued = Queued { key: key.clone(), created, deliveries: 0 };
                self.queues.entry(function).or_default().push(queued);
            }
        }
    }

    /// The schedule of readings_compacted comes round, once or twice.
    pub(crate) fn schedule(&mut self, time: &str) {
        self.note(|| format!("SCHEDULE {time}"));
        let twice = self.setting.duplicates_of_a_thousand;
        let copies = if self.choices.happens(twice) { 2 } else { 1 };
        let key = ObjectKey::new(format!("{SCHEDULE}{time}"));
        for _ in 0..copies {
            let queued = Queued { key: key.clone(), created: true, deliveries: 0 };
            self.queues.entry(FunctionName::ReadingsCompacted).or_default().push(queued);
        }
    }

    /// The time, as the handlers see it.
    pub(crate) fn time(&mut self) -> i64 {
        self.protocol.time(&mut self.now_ms)
    }

    /// Something happens to the lake from outside.
    pub(crate) fn write(&mut self, key: &str, bytes: Bytes) -> ETag {
        let key = ObjectKey::new(key);
        self.note(|| format!("OUTSIDE put {key}"));
        let call = Call::Put(key.clone(), bytes, Precondition::None);
        let Reply::Put(etag) = self.bucket.perform(&call) else { panic!("memory does not fail") };
        self.emit(&key, true);
        etag
    }

    /// A landing object is deleted from outside.
    pub(crate) fn delete(&mut self, key: &str) {
        let key = ObjectKey::new(key);
        self.note(|| format!("OUTSIDE delete {key}"));
        if self.bucket.objects.contains_key(&key) {
            self.bucket.perform(&Call::Delete(key.clone()));
            self.emit(&key, false);
        }
    }

    /// Counts the customer records an invocation read: surely delivered are those of the messages
    /// it answered for.
    pub(crate) fn count_delivered(&mut self, invocation: usize, answered: &BTreeSet<ObjectKey>) {
        let Some(observed) = self.observed.get(&invocation) else { return };
        for (key, etag) in observed.customers.clone() {
            self.deliver(&etag, answered.contains(&key));
        }
    }

    pub(crate) fn deliver(&mut self, etag: &ETag, surely: bool) {
        let Some((Stream::Customer, file)) = self.files.get(etag) else { return };
        let delivered =
            if surely { &mut self.delivered.surely } else { &mut self.delivered.perhaps };
        for entry in &file.entries {
            if let Entry::Customer(record) = entry {
                let records = delivered.entry(record.person).or_default();
                if !records.contains(record) {
                    records.push(record.clone());
                }
            }
        }
    }
}

impl Observed {
    fn look(&mut self, clock: u64, key: &ObjectKey, etag: Option<ETag>, noted: bool) {
        let watched = [
            layout::CONSENTS,
            layout::OWNERS,
            layout::TRUSTED_CUSTOMER,
            "state/customer/register/",
        ];
        if watched.iter().any(|prefix| key.after(prefix).is_some())
            && let Some(etag) = &etag
        {
            self.reads.entry(key.clone()).or_default().push((clock, etag.clone()));
        }
        if noted {
            self.sightings.entry((key.clone(), etag)).or_insert(clock);
        }
    }

    /// The versions of an object that were read since a target was first seen as it was noted.
    pub(crate) fn read_since<'a>(
        &'a self,
        key: &ObjectKey,
        target: &ObjectKey,
        when: &Precondition,
    ) -> impl Iterator<Item = &'a ETag> {
        let since = self.noted(target, when);
        let reads = self.reads.get(key).into_iter().flatten();
        reads.filter(move |(clock, _)| *clock >= since).map(|(_, etag)| etag)
    }

    /// When a target was first seen as it was noted.
    pub(crate) fn noted(&self, target: &ObjectKey, when: &Precondition) -> u64 {
        let noted = match when {
            Precondition::IfMatch(etag) => Some(etag.clone()),
            _ => None,
        };
        self.sightings.get(&(target.clone(), noted)).copied().unwrap_or(u64::MAX)
    }
}
