//! The layout of the bucket: how keys are made and read. The layout is the chain, and the index.

use std::fmt;

use chrono::{DateTime, Datelike, NaiveDate};

use crate::key::{ObjectKey, Part, Revision, Source};
use crate::tables::{READING_DATE, Stream};

/// Version of the layout and of what lies in it. A lake of another version is refused.
pub const LAYOUT_VERSION: u32 = 3;

/// Settings of the lake, recorded in it.
pub const SETTINGS: &str = "state/lake.json";
/// What the lake remembers, and cannot derive again.
pub const STATE: &str = "state/";

/// The day a reading belongs to, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadingDate(NaiveDate);

/// Milliseconds of a day.
pub const DAY_MS: i64 = 86_400_000;

impl ReadingDate {
    /// The day of an instant, epoch milliseconds; `None` beyond the calendar.
    pub fn of(time_ms: i64) -> Option<Self> {
        DateTime::from_timestamp_millis(time_ms).map(|time| Self(time.date_naive()))
    }

    /// Its number among all days.
    pub fn number(self) -> i32 {
        self.0.num_days_from_ce()
    }

    /// The day of that number.
    pub fn of_number(number: i32) -> Option<Self> {
        NaiveDate::from_num_days_from_ce_opt(number).map(Self)
    }

    /// Reads `YYYY-MM-DD`.
    pub fn parse(text: &str) -> Option<Self> {
        NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().map(Self)
    }
}

impl fmt::Display for ReadingDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.format("%Y-%m-%d"))
    }
}

/// First and last time of some readings, epoch milliseconds, both included.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(from = "(i64, i64)", into = "(i64, i64)")]
pub struct Span {
    /// Of the first reading.
    pub first_ms: i64,
    /// Of the last reading.
    pub last_ms: i64,
}

impl From<(i64, i64)> for Span {
    fn from((first_ms, last_ms): (i64, i64)) -> Self {
        Self { first_ms, last_ms }
    }
}

impl From<Span> for (i64, i64) {
    fn from(span: Span) -> Self {
        (span.first_ms, span.last_ms)
    }
}

impl Span {
    /// The span of one reading.
    pub fn at(time_ms: i64) -> Self {
        Self { first_ms: time_ms, last_ms: time_ms }
    }

    /// Widens the span to take in another reading.
    pub fn include(&mut self, time_ms: i64) {
        self.first_ms = self.first_ms.min(time_ms);
        self.last_ms = self.last_ms.max(time_ms);
    }

    /// The smallest span that holds all of some; `None` of none.
    pub fn hull(spans: impl IntoIterator<Item = Self>) -> Option<Self> {
        spans.into_iter().reduce(|hull, span| Self {
            first_ms: hull.first_ms.min(span.first_ms),
            last_ms: hull.last_ms.max(span.last_ms),
        })
    }

    /// Whether the two have an instant in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.first_ms <= other.last_ms && other.first_ms <= self.last_ms
    }

    /// Whether all of another is in it.
    pub fn contains(self, other: Self) -> bool {
        self.first_ms <= other.first_ms && other.last_ms <= self.last_ms
    }

    /// What the two have in common; `None` if that is nothing.
    pub fn common(self, other: Self) -> Option<Self> {
        self.overlaps(other).then(|| Self {
            first_ms: self.first_ms.max(other.first_ms),
            last_ms: self.last_ms.min(other.last_ms),
        })
    }

    /// Its length, milliseconds.
    pub fn length_ms(self) -> u64 {
        self.last_ms.abs_diff(self.first_ms).saturating_add(1)
    }

    /// Its halves, the first one first; `None` of a single millisecond.
    pub fn halves(self) -> Option<[Self; 2]> {
        let Self { first_ms, last_ms } = self;
        let middle_ms = first_ms.saturating_add_unsigned(last_ms.abs_diff(first_ms) / 2);
        let second = Self { first_ms: middle_ms.saturating_add(1), last_ms };
        (first_ms < last_ms).then_some([Self { first_ms, last_ms: middle_ms }, second])
    }
}

/// Names an object of readings: the same in every zone, so that a neighbour finds it by a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slice {
    /// Day of the readings.
    pub date: ReadingDate,
    /// First time of the landing object's readings of that day.
    pub first_ms: i64,
    /// Last time of the landing object's readings of that day.
    pub last_ms: i64,
    /// The landing object.
    pub source: Source,
}

impl Slice {
    /// The time range the key carries.
    pub fn span(&self) -> Span {
        Span { first_ms: self.first_ms, last_ms: self.last_ms }
    }

    /// The object of this slice below `zone` (such as `trusted/accelerometer/`).
    pub fn key(&self, zone: &str) -> ObjectKey {
        ObjectKey::new(format!("{zone}{self}.parquet"))
    }

    /// Reads the key of an object of readings below `zone`.
    pub fn of_key(key: &ObjectKey, zone: &str) -> Option<Self> {
        Self::parse(key.after(zone)?.strip_suffix(".parquet")?)
    }

    /// Reads `reading_date=YYYY-MM-DD/<first_ms>-<last_ms>-<source>`.
    pub fn parse(text: &str) -> Option<Self> {
        let (date, name) = text.strip_prefix("reading_date=")?.split_once('/')?;
        let mut fields = name.split('-');
        let (first, last, source) = (fields.next()?, fields.next()?, fields.next()?);
        let slice = Self {
            date: ReadingDate::parse(date)?,
            first_ms: first.parse().ok()?,
            last_ms: last.parse().ok()?,
            source: Source::parse(source)?,
        };
        (slice.to_string() == text).then_some(slice)
    }
}

impl fmt::Display for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { date, first_ms, last_ms, source } = self;
        write!(f, "reading_date={date}/{first_ms:013}-{last_ms:013}-{source}")
    }
}

impl serde::Serialize for Slice {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Slice {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not the key of a slice"))
    }
}

/// `trusted/customer/`
pub const TRUSTED_CUSTOMER: &str = "trusted/customer/";
/// `curated/customer/`
pub const CURATED_CUSTOMER: &str = "curated/customer/";
/// `trusted/accelerometer/`
pub const TRUSTED_ACCELEROMETER: &str = "trusted/accelerometer/";
/// `trusted/step_trainer/`
pub const TRUSTED_STEP_TRAINER: &str = "trusted/step_trainer/";
/// `curated/machine_learning/`
pub const CURATED_MACHINE_LEARNING: &str = "curated/machine_learning/";
/// `replay/`
pub const REPLAY: &str = "replay/";
/// `compacted/`: copies of closed dates in few large objects. Whoever reads a table by its folder
/// reads none of it; the partitions of the catalog lead here.
pub const COMPACTED: &str = "compacted/";

/// Prefix of the objects of a day below `zone`.
pub fn day(zone: &str, date: ReadingDate) -> String {
    format!("{zone}{READING_DATE}={date}/")
}

/// Prefix of the compacted copies of a table.
pub fn compacted(table: &str) -> String {
    format!("{COMPACTED}{table}/")
}

/// What a compaction of a day of a table is doing, or has done.
pub fn compaction(table: &str, date: ReadingDate) -> ObjectKey {
    ObjectKey::new(format!("{}{date}.json", compactions(table)))
}

/// Prefix of the compactions of a table.
pub fn compactions(table: &str) -> String {
    format!("state/compaction/{table}/")
}

/// Prefix of a stream's landing zone.
pub fn landing(stream: Stream) -> &'static str {
    match stream {
        Stream::Customer => "landing/customer/",
        Stream::Accelerometer => "landing/accelerometer/",
        Stream::StepTrainer => "landing/step_trainer/",
    }
}

/// The part of a customer table below `zone`.
pub fn customer_part(zone: &str, part: Part) -> ObjectKey {
    ObjectKey::new(format!("{zone}part-{part}.parquet"))
}

/// Reads the key of a part of a customer table below `zone`.
pub fn part_of_key(key: &ObjectKey, zone: &str) -> Option<Part> {
    Part::parse(key.after(zone)?.strip_prefix("part-")?.strip_suffix(".parquet")?)
}

/// Longest key of a landing object, bytes: S3 has none of more than 1,024, and what belongs to it has
/// more before its key and after it.
pub const LANDING_KEY_BYTES_MAX: usize = 980;

/// Where the fragments of a landing object are kept.
pub fn quarantine(stream: Stream, landing: &ObjectKey) -> ObjectKey {
    ObjectKey::new(format!("{}{landing}.jsonl", quarantined(stream)))
}

/// Prefix of a stream's quarantine.
pub fn quarantined(stream: Stream) -> String {
    format!("quarantine/{}/", stream.name())
}

/// The landing object whose fragments are kept there.
pub fn landing_of_quarantine(stream: Stream, key: &ObjectKey) -> Option<ObjectKey> {
    Some(ObjectKey::new(key.after(&quarantined(stream))?.strip_suffix(".jsonl")?))
}

/// What a landing object of a stream holds, and what was derived from it.
pub fn manifest(stream: Stream, source: Source) -> ObjectKey {
    ObjectKey::new(format!("{}{source}.json", manifests(stream)))
}

/// Prefix of the manifests of a stream.
pub fn manifests(stream: Stream) -> String {
    format!("state/{}/manifests/", stream.name())
}

/// The source whose manifest that is.
pub fn source_of_manifest(stream: Stream, key: &ObjectKey) -> Option<Source> {
    Source::parse(key.after(&manifests(stream))?.strip_suffix(".json")?)
}

/// Prefix of what functions found settled when they compared all there is.
pub const COMPARED: &str = "state/compared/";

/// What a function found settled when it compared all there is.
pub fn compared(function: &str) -> ObjectKey {
    ObjectKey::new(format!("{COMPARED}{function}"))
}

/// Prefix of the runs of a stream's key index.
pub fn index(stream: Stream) -> &'static str {
    match stream {
        Stream::Customer => "state/customer/index/",
        Stream::Accelerometer => "state/accelerometer/index/",
        Stream::StepTrainer => "state/step_trainer/index/",
    }
}

/// A run below `prefix`. What it was made of tells it from others of its generation; those that it was
/// merged of are of earlier ones, and listed before it.
pub fn run(prefix: &str, generation: u32, made_of: &[u8]) -> ObjectKey {
    let made_of = hex::encode(&made_of[..made_of.len().min(16)]);
    ObjectKey::new(format!("{prefix}{generation:08x}-{made_of}"))
}

/// What tells the name of keys from that of their run.
const RUN_KEYS: &str = "keys-";

/// The object that says where in a run below `prefix` the entries of each key are. It is listed after the
/// run: whoever lists the run finds it, which was written before.
pub fn run_keys(prefix: &str, run: &ObjectKey) -> ObjectKey {
    let name = run.after(prefix).unwrap_or_default();
    ObjectKey::new(format!("{prefix}{RUN_KEYS}{name}"))
}

/// The run whose keys an object below `prefix` says the places of.
pub fn run_of_keys(prefix: &str, key: &ObjectKey) -> Option<ObjectKey> {
    let name = key.after(prefix)?.strip_prefix(RUN_KEYS)?;
    Some(ObjectKey::new(format!("{prefix}{name}")))
}

/// The generation of a run below `prefix`.
pub fn run_generation(prefix: &str, key: &ObjectKey) -> Option<u32> {
    let (generation, _) = key.after(prefix)?.split_once('-')?;
    u32::from_str_radix(generation, 16).ok()
}

/// Up to which revision of a register part a stream's trusted table was derived.
pub fn applied(stream: Stream, part: Part) -> ObjectKey {
    ObjectKey::new(format!("{}part-{part}.json", applied_parts(stream)))
}

/// Prefix of what was applied of a stream.
pub fn applied_parts(stream: Stream) -> String {
    format!("state/{}/applied/", stream.name())
}

/// The customer register: the newest record of each person. Personal data; its owner's alone.
pub fn customer_register(part: Part) -> ObjectKey {
    ObjectKey::new(format!("{CUSTOMER_REGISTER}part-{part}.json"))
}

/// Prefix of the customer register.
pub const CUSTOMER_REGISTER: &str = "state/customer/register/";

/// The slim part below `prefix`, [`CONSENTS`] or [`OWNERS`].
pub fn slim_part(prefix: &str, part: Part) -> ObjectKey {
    ObjectKey::new(format!("{prefix}part-{part}"))
}

/// The consents: of each person the hash, the date of the consent if there is one, the revision.
pub fn consents(part: Part) -> ObjectKey {
    slim_part(CONSENTS, part)
}

/// Prefix of the consents.
pub const CONSENTS: &str = "state/customer/consents/";

/// Prefix of the runs of the consents: of those of all parts.
pub const CONSENT_RUNS: &str = "state/customer/consent_runs/";

/// The owners: of each person who was ever trusted the hashes of them and their device, the date of
/// the consent, whether they are curated, the revision.
pub fn owners(part: Part) -> ObjectKey {
    slim_part(OWNERS, part)
}

/// Prefix of the owners.
pub const OWNERS: &str = "state/curated/owners/";

/// Prefix of the runs of the owners: of those of all parts.
pub const OWNER_RUNS: &str = "state/curated/owner_runs/";

/// Prefix of the index of who ever had a device.
pub const DEVICES: &str = "state/curated/devices/";

/// The curated register: of each trusted person the hashes, the consent, and whether they moved.
pub fn curated_register(part: Part) -> ObjectKey {
    ObjectKey::new(format!("{CURATED_REGISTER}part-{part}.json"))
}

/// Prefix of the curated register.
pub const CURATED_REGISTER: &str = "state/curated/register/";

/// Empty marker: look at that landing object again, because of this revision of this part.
pub fn replay(part: Part, revision: Revision, landing: &ObjectKey) -> ObjectKey {
    ObjectKey::new(format!("{REPLAY}{part}.{revision}/{landing}"))
}

/// The landing object that a replay marker names.
pub fn replayed(marker: &ObjectKey) -> Option<ObjectKey> {
    let (_revision, landing) = marker.after(REPLAY)?.split_once('/')?;
    landing.starts_with("landing/").then(|| ObjectKey::new(landing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_read_back_from_its_key() {
        let slice = Slice {
            date: ReadingDate::of(1_655_564_444_103).unwrap(),
            first_ms: 1_655_561_935_465,
            last_ms: 1_655_564_519_452,
            source: Source::of(&ObjectKey::new("landing/accelerometer/a b+ü.json")),
        };
        let key = slice.key(TRUSTED_ACCELEROMETER);
        assert!(key.as_str().starts_with(
            "trusted/accelerometer/reading_date=2022-06-18/1655561935465-1655564519452-"
        ));
        assert_eq!(Slice::of_key(&key, TRUSTED_ACCELEROMETER), Some(slice));
        assert_eq!(Slice::of_key(&key, TRUSTED_STEP_TRAINER), None);
    }

    #[test]
    fn halves_of_a_span_have_each_of_its_times_once() {
        let span = |first_ms, last_ms| Span { first_ms, last_ms };
        for (first_ms, last_ms) in [(-3, -2), (-3, 0), (-1, 0), (0, 1), (4, 6), (5, 8)] {
            let [first, second] = span(first_ms, last_ms).halves().unwrap();
            assert_eq!((first.first_ms, second.last_ms), (first_ms, last_ms));
            assert_eq!(first.last_ms + 1, second.first_ms);
            assert!(first.length_ms().abs_diff(second.length_ms()) <= 1);
        }
        assert_eq!(span(7, 7).halves(), None);
        let all = span(i64::MIN, i64::MAX);
        assert_eq!(all.halves(), Some([span(i64::MIN, -1), span(0, i64::MAX)]));
    }

    #[test]
    fn keys_that_are_not_ours_are_not_read() {
        for stranger in [
            "trusted/accelerometer/reading_date=2022-06-18/_SUCCESS",
            "trusted/accelerometer/reading_date=2022-06-18/1-2-00.parquet",
            "trusted/accelerometer/reading_date=2022-6-18/0000000000001-0000000000002-0011223344556677.parquet",
        ] {
            assert_eq!(Slice::of_key(&ObjectKey::new(stranger), TRUSTED_ACCELEROMETER), None);
        }
    }

    #[test]
    fn a_replay_marker_names_its_landing_object() {
        let landing = ObjectKey::new("landing/step_trainer/2026/a.json");
        let part = Part::parse("0f").unwrap();
        let marker = replay(part, Revision(12), &landing);
        assert_eq!(marker.as_str(), "replay/0f.000000000012/landing/step_trainer/2026/a.json");
        assert_eq!(replayed(&marker), Some(landing));
    }
}
