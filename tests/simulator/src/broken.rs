//! Protocols that are broken on purpose, each by what the handlers are made to see: the test of
//! the tester.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use lake::key::{ETag, ObjectKey};
use lake::layout;
use lake::store::{ByteRange, Object, Page, Precondition, StoreError};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::bucket::Bucket;
use crate::store::{Call, Reply};

/// The protocol of a run: as it is, or broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// As it is.
    #[default]
    Sound,
    /// Derived objects are written whatever became of them since they were noted.
    BlindPut,
    /// Two versions of a derived object with the same rows have the same tag, as if its footer
    /// carried no revisions.
    TagsOfRows,
    /// The register is read before the manifest is published.
    RegisterBeforeManifest,
    /// A revision is applied as soon as it is seen, before the work.
    AppliedBeforeWork,
    /// The object that an event says is deleted is taken to be gone.
    DeletionIsTruth,
    /// A compaction does not look again at what it was made of.
    ListedOnce,
    /// Nobody waits for a lost builder: its generation goes at once.
    NoLease,
    /// A stale copy is removed before its partition leads elsewhere.
    RemovedFirst,
}

impl Protocol {
    /// Those that are broken.
    pub const BROKEN: [Self; 8] = [
        Self::BlindPut,
        Self::TagsOfRows,
        Self::RegisterBeforeManifest,
        Self::AppliedBeforeWork,
        Self::DeletionIsTruth,
        Self::ListedOnce,
        Self::NoLease,
        Self::RemovedFirst,
    ];
}

/// What an invocation remembers that breaks a protocol.
#[derive(Debug, Default)]
pub(crate) struct Delusion {
    /// Whether it is of readings_compacted.
    pub(crate) compacts: bool,
    /// Landing objects that an event said are deleted.
    pub(crate) deleted: BTreeSet<ObjectKey>,
    /// The registers as they were when a landing object was last read.
    registers: BTreeMap<ObjectKey, (ETag, Bytes)>,
    has_read_landing: bool,
    /// What the folder of a date was listed as first.
    listed: BTreeMap<(String, Option<ObjectKey>), Page>,
    /// A partition that was not led back yet, though that was said.
    led_back: Option<Call>,
    has_removed: bool,
    /// For each part of a register the record of what was applied, once that was read.
    applied: BTreeMap<ObjectKey, ObjectKey>,
}

const ZONES: [&str; 2] = ["trusted/", "curated/"];

fn is_derived(key: &ObjectKey) -> bool {
    ZONES.iter().any(|zone| key.after(zone).is_some())
}

fn is_register(key: &ObjectKey) -> bool {
    key.after(layout::CONSENTS).is_some() || key.after(layout::OWNERS).is_some()
}

impl Protocol {
    /// Does what a call asks, as the protocol has it.
    pub(crate) fn perform(
        self,
        bucket: &mut Bucket,
        call: &Call,
        delusion: &mut Delusion,
    ) -> Reply {
        match (self, call) {
            (Self::BlindPut, Call::Put(key, bytes, _)) if is_derived(key) => {
                bucket.perform(&Call::Put(key.clone(), bytes.clone(), Precondition::None))
            }
            (Self::TagsOfRows, _) => tags_of_rows(bucket, call),
            (Self::DeletionIsTruth, Call::Head(key)) if delusion.deleted.contains(key) => {
                Reply::Meta(None)
            }
            (Self::DeletionIsTruth, Call::Stream(key)) if delusion.deleted.contains(key) => {
                Reply::Object(None)
            }
            (Self::RegisterBeforeManifest, _) => register_before_manifest(bucket, call, delusion),
            (Self::AppliedBeforeWork, _) => applied_before_work(bucket, call, delusion),
            (Self::ListedOnce, Call::List(prefix, after))
                if delusion.compacts && is_day(prefix) =>
            {
                let known = delusion.listed.get(&(prefix.clone(), after.clone()));
                if let Some(page) = known {
                    return Reply::Page(page.clone());
                }
                let reply = bucket.perform(call);
                if let Reply::Page(page) = &reply {
                    delusion.listed.insert((prefix.clone(), after.clone()), page.clone());
                }
                reply
            }
            (Self::RemovedFirst, Call::MovePartition(_, _, location))
                if location.strip_prefix(layout::COMPACTED).is_none() =>
            {
                delusion.led_back = Some(call.clone());
                Reply::Moved(true)
            }
            (Self::RemovedFirst, Call::Delete(_)) => {
                delusion.has_removed = true;
                bucket.perform(call)
            }
            (Self::RemovedFirst, _) if delusion.has_removed => {
                if let Some(late) = delusion.led_back.take() {
                    bucket.perform(&late);
                }
                bucket.perform(call)
            }
            _ => bucket.perform(call),
        }
    }

    /// The time, as the handlers see it.
    pub(crate) fn time(self, now_ms: &mut i64) -> i64 {
        if self == Self::NoLease {
            *now_ms += 3_600_000;
        }
        *now_ms
    }

    /// The tag of a version, as the handlers see it.
    pub(crate) fn shown(self, bucket: &Bucket, key: &ObjectKey, etag: &ETag) -> ETag {
        if self != Self::TagsOfRows || !is_derived(key) {
            return etag.clone();
        }
        let rows = format!("{:?}", bucket.derived(etag).rows);
        ETag::new(hex::encode(&Sha256::digest(rows.as_bytes())[..16]))
    }
}

/// Whether that is the folder of a date of a table.
fn is_day(prefix: &str) -> bool {
    let zone = ZONES.iter().any(|zone| prefix.starts_with(zone));
    zone && prefix.contains("/reading_date=")
}

fn tags_of_rows(bucket: &mut Bucket, call: &Call) -> Reply {
    let protocol = Protocol::TagsOfRows;
    let mut call = call.clone();
    if let Call::Put(key, _, when) = &mut call
        && let Precondition::IfMatch(noted) = when
    {
        let current = bucket.objects.get(key).cloned();
        match current {
            Some(etag) if protocol.shown(bucket, key, &etag) == *noted => {
                *when = Precondition::IfMatch(etag);
            }
            _ => return Reply::StoreError(StoreError::Precondition { key: key.clone() }),
        }
    }
    let mut reply = bucket.perform(&call);
    match &mut reply {
        Reply::Meta(Some(meta)) | Reply::Object(Some(Object { meta, .. })) => {
            meta.etag = protocol.shown(bucket, &meta.key, &meta.etag);
        }
        Reply::Page(page) => {
            for meta in &mut page.objects {
                meta.etag = protocol.shown(bucket, &meta.key, &meta.etag);
            }
        }
        Reply::Put(etag) => {
            if let Call::Put(key, ..) = &call {
                *etag = protocol.shown(bucket, key, etag);
            }
        }
        _ => {}
    }
    reply
}

fn register_before_manifest(bucket: &mut Bucket, call: &Call, delusion: &mut Delusion) -> Reply {
    if let Call::Stream(key) = call
        && key.after("landing/").is_some()
    {
        delusion.has_read_landing = true;
        let registers = bucket.objects.iter().filter(|(key, _)| is_register(key));
        delusion.registers = registers
            .map(|(key, etag)| (key.clone(), (etag.clone(), bucket.bytes(etag).clone())))
            .collect();
    }
    let mut reply = bucket.perform(call);
    if let Call::Head(key) | Call::Get(key, _) = call
        && delusion.has_read_landing
        && is_register(key)
    {
        let known = delusion.registers.get(key);
        match (&mut reply, known) {
            (Reply::Meta(meta), None) => *meta = None,
            (Reply::Object(object), None) => *object = None,
            (Reply::Meta(Some(meta)), Some((etag, _))) => meta.etag = etag.clone(),
            (Reply::Object(Some(object)), Some((etag, bytes))) => {
                object.meta.etag = etag.clone();
                object.meta.size_bytes = bytes.len() as u64;
                object.bytes = match call {
                    Call::Get(_, range) => part(bytes, range),
                    _ => bytes.clone(),
                };
            }
            _ => {}
        }
    }
    reply
}

/// The bytes of a range.
fn part(bytes: &Bytes, range: &ByteRange) -> Bytes {
    let size = bytes.len();
    let at = |place: u64| usize::try_from(place).unwrap_or(size).min(size);
    match range {
        ByteRange::All => bytes.clone(),
        ByteRange::Bounded(range) => bytes.slice(at(range.start)..at(range.end)),
        ByteRange::Suffix(length) => bytes.slice(size - at(*length)..),
    }
}

fn applied_before_work(bucket: &mut Bucket, call: &Call, delusion: &mut Delusion) -> Reply {
    let reply = bucket.perform(call);
    match call {
        Call::Stream(key) if key.after("landing/").is_some() => delusion.applied.clear(),
        Call::Head(key) | Call::Get(key, _) => {
            for (stream, register) in
                [("accelerometer", layout::CONSENTS), ("step_trainer", layout::OWNERS)]
            {
                let part = key.after(&format!("state/{stream}/applied/"));
                if let Some(part) = part.and_then(|part| part.strip_suffix(".json")) {
                    let register = ObjectKey::new(format!("{register}{part}"));
                    delusion.applied.insert(register, key.clone());
                }
            }
            if let Some(applied) = delusion.applied.remove(key)
                && let Some(register) = bucket.objects.get(key)
            {
                let revision = bucket.slim_revision(register);
                let known = bucket.load::<Value>(&applied);
                if known.is_none_or(|known| known["revision"].as_u64() < Some(revision)) {
                    let bytes = format!("{{\"revision\":{revision}}}").into();
                    bucket.perform(&Call::Put(applied, bytes, Precondition::None));
                }
            }
        }
        _ => {}
    }
    reply
}
