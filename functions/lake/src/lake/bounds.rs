//! How much is done, held and read at once.

use crate::store::UPLOAD_BYTES_MAX;
use crate::tables::Table;

/// Bounds of the work.
///
/// # Memory
///
/// However large the objects of one invocation, they take no more than about
///
/// - `concurrency` times a few `small_bytes_max` for the small ones, and
/// - `large_max` times four times `held_bytes_max` for the large ones, of all invocations of the
///   process together: what is held, the same in order, the same encoded, and the numbers it is
///   put in order by; of readings `held_readings_bytes_max`, and what a row group of them takes. What
///   takes more is read again and written row group by row group, sorted within each; then there are
///   `open_bytes_max` for the uploads that are open, or for customer records that wait to be folded
///   with those of other objects (and `small_bytes_max` more at the most for each further object of
///   the batch, which one write of a part for all of them is worth);
///
/// beside
///
/// - `cache_bytes_max`, and in machine_learning_curated `large_max` times as much again at the most,
///   for the readings of small objects that are put together; of others, those of a stretch of time, of
///   about `held_bytes_max` and of twice that at the most;
/// - a run of a quarter of the cache while it is read; while runs are merged two uploads, of the run and
///   of its keys, and what was added, half of `held_bytes_max` at the most, twice;
/// - the reader: a batch, the longest record and a few hundred KiB; and
/// - what grows with the people and days, not with their readings: the register parts, 300 bytes or so
///   and its text for each distinct text of a key in a landing object, and some KiB for each day of it.
///
/// What is held and where a row group ends depend on the landing object and these bounds alone, never on
/// how its bytes arrived or which of its days are right already: so that the rows of derived objects stay
/// pure functions, down to the byte.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// How often a piece of work starts over because its inputs or its target moved.
    pub attempts_max: usize,
    /// How many runs may have been added below a prefix before they are merged; every other addition
    /// looks.
    pub runs_max: usize,
    /// Bytes of runs that are merged at once. An invocation reads and writes some 8 MiB of them a second,
    /// as reckoned from how long S3 takes to answer: this many within a third of two minutes.
    pub merged_bytes_max: u64,
    /// Up to how many landing objects a changed register part derives within its own invocation;
    /// beyond, the work fans out through replay markers.
    pub inline_max: usize,
    /// How many pieces of work of one invocation go on at once: as many as Lambda hands out messages by
    /// default (`BatchSize` in template.yaml), so that none waits for the others.
    pub concurrency: usize,
    /// How many looks at small documents go on at once: each takes little memory, and most of its
    /// time is waiting.
    pub looks_at_once: usize,
    /// How many slim parts of a register are looked at one by one, for the people of a landing object; of
    /// more, the runs are read, which are about as many objects.
    pub parts_looked_at: usize,
    /// As long as reading this many parts on and on, in runs, costs less than a look at one, about: S3
    /// charges for the look, Lambda for the time that both take. They are of 2 KiB, as a rule.
    pub parts_per_look: usize,
    /// How many bytes that are read on and on cost as much as a look at an object of its own, about.
    pub bytes_per_look: u64,
    /// How many looks at single objects a page of a listing is worth: S3 charges 12.5 times as much
    /// for it.
    pub looks_per_page: usize,
    /// From how much on that a comparison found settled the next one lists manifests in stretches: a
    /// sixteenth of them is a few pages then.
    pub many_settled: usize,
    /// When a comparison found so much more settled, at the least, it records that, for whoever has to
    /// begin again.
    pub looks_recorded: usize,
    /// How many people a comparison looks for in manifests at once, or some more: those of the parts that
    /// are read at once.
    pub people_at_once: usize,
    /// Memory the lake's documents may keep between invocations, bytes; one run a quarter of it at the
    /// most, larger ones pass. Row groups of large accelerometer objects may take a sixteenth as much
    /// while they are fetched, and as much where they wait for the next stretch of a day.
    pub cache_bytes_max: usize,
    /// Tables of which the rows of a small object are kept there too when it is written: for who
    /// reads them next in the same process.
    pub kept_when_written: &'static [&'static Table],
    /// Rows of a Parquet row group; what passes and has short texts may have some more.
    pub row_group_rows: usize,
    /// Size of an object, and memory of what is held of it, up to which it is small: as many as
    /// `concurrency` are worked on at once. Bytes.
    pub small_bytes_max: u64,
    /// Memory that the rows of one object may take while it is derived, bytes; beyond, they are dealt
    /// with as they pass.
    pub held_bytes_max: u64,
    /// The same of readings, with their places in order: they are held with numbers in place of texts,
    /// and where a day has more than a row group of them, they are copied a row group at a time. Where
    /// they pass, two thirds of what the days leave of it that are open, or `held_bytes_max`.
    pub held_readings_bytes_max: u64,
    /// How many of the largest objects may be held at once.
    pub large_max: usize,
    /// Memory that all days of one pass over an object may take, with their uploads, bytes; what does not
    /// fit is left to another pass. Where nothing is uploaded so, what customer records may take that wait.
    pub open_bytes_max: u64,
    /// What the store holds back of an upload at the most, beside the piece it is given, bytes.
    pub upload_bytes_max: u64,
    /// Bytes that an upload is given at once.
    pub piece_bytes: usize,
    /// For how many days after its end a date is left alone before it is compacted.
    pub closed_after_days: u32,
    /// From how many objects with rows on a closed date is compacted.
    pub compacted_objects_min: usize,
    /// Size from which on an object of a compacted date is full, bytes, encoded.
    pub compacted_bytes: u64,
    /// Largest date that is compacted, bytes of its objects. One core rewrites about 15 MiB a second,
    /// and Lambda gives a function of 1 GiB half of one: this many within a third of two minutes.
    pub compacted_date_bytes_max: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            attempts_max: 64,
            runs_max: 8,
            merged_bytes_max: 256 << 20,
            inline_max: 32,
            concurrency: 10,
            looks_at_once: 32,
            parts_looked_at: 12,
            parts_per_look: 128,
            bytes_per_look: 256 << 10,
            looks_per_page: 16,
            many_settled: 1 << 16,
            looks_recorded: 4096,
            people_at_once: 1 << 16,
            cache_bytes_max: 48 << 20,
            kept_when_written: &[],
            row_group_rows: 128 << 10,
            small_bytes_max: 1 << 20,
            held_bytes_max: 12 << 20,
            held_readings_bytes_max: 54 << 20,
            large_max: 1,
            open_bytes_max: 64 << 20,
            upload_bytes_max: UPLOAD_BYTES_MAX,
            piece_bytes: 1 << 20,
            closed_after_days: 2,
            compacted_objects_min: 2,
            compacted_bytes: 128 << 20,
            compacted_date_bytes_max: 256 << 20,
        }
    }
}
