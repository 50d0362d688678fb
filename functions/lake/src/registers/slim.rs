//! Slim parts: what a register says to others, in rows of a fixed width that are sorted by the hash
//! of the person, so that a reader fetches those it needs, and not the part.
//!
//! A part begins with 16 bytes: what it is, and its revision. Numbers have their most significant
//! byte first. A row begins with the hash of the person and the revision it last changed in.
//!
//! # Very many people at once
//!
//! The more customers there are, the more parts do the people of a file of readings lie in: of a million
//! nearly each in one of its own, and a look at each costs more than to read what all parts say. So the
//! same rows lie once more in [sorted runs](crate::runs), all parts together; of a person the one of the
//! highest revision stands. Whatever a part says, the runs say before: a part is only written once its
//! changed rows are in a run. So who reads the runs knows what parts say that were there before, or
//! something newer; and who died in between finds the part behind its register, and adds the run again.
//!
//! Who reads parts after somebody has read the runs may know less. Therefore which of the two is read
//! depends on the people and the number of parts alone: of one version of a landing object always the
//! same, or, should more people be found, once the parts and ever after the runs. And who depends on what
//! others derived from either reads [the runs](rows_of_runs).

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::error::Error;
use crate::key::{ETag, KeyHash, ObjectKey, Part, Revision};
use crate::lake::{Lake, Put, Versioned};
use crate::layout;
use crate::runs::{Added, Entry, Runs};
use crate::search::{self, Rows, SMALL_BYTES, Unmoved, WINDOW_BYTES};
use crate::store::{ByteRange, Object, Precondition};

const MAGIC: [u8; 8] = *b"stedi\0s2";
const HEADER_BYTES: usize = 16;
const HEADER_SIZE: u64 = HEADER_BYTES as u64;

/// What a part says of a person.
pub trait SlimRow: Clone + Send + Sync + 'static {
    /// Its bytes, with the person and the revision before them.
    type Entry: Entry;
    /// Prefix of the parts.
    const PARTS: &'static str;
    /// Prefix of the runs.
    const RUNS: &'static str;

    /// When it last changed.
    fn revision(&self) -> Revision;

    /// Appends the bytes of it.
    fn write(&self, bytes: &mut Vec<u8>);

    /// Reads them back; `None` if they are no such row.
    fn read(revision: Revision, bytes: &[u8]) -> Option<Self>;
}

/// A slim part of a register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slim<R> {
    /// Of the part of the register that this follows from.
    pub revision: Revision,
    /// By `key(email)`.
    pub people: BTreeMap<KeyHash, R>,
}

impl<R> Default for Slim<R> {
    fn default() -> Self {
        Self { revision: Revision(0), people: BTreeMap::new() }
    }
}

const PERSON_BYTES: usize = 16;
const REVISION_BYTES: usize = 8;

fn write_row<R: SlimRow>(bytes: &mut Vec<u8>, person: &KeyHash, row: &R) {
    bytes.extend(person.as_bytes());
    bytes.extend(row.revision().0.to_be_bytes());
    row.write(bytes);
}

impl<R: SlimRow> Slim<R> {
    /// As it is stored.
    pub fn to_bytes(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.people.len() * R::Entry::BYTES);
        bytes.extend(MAGIC);
        bytes.extend(self.revision.0.to_be_bytes());
        for (person, row) in &self.people {
            write_row(&mut bytes, person, row);
        }
        bytes.into()
    }

    /// Reads it back; `None` if the bytes are no such part.
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let (header, rows) = bytes.split_at_checked(HEADER_BYTES)?;
        Some(Self { revision: revision_in(header)?, people: people(rows)? })
    }
}

fn revision_in(header: &[u8]) -> Option<Revision> {
    let revision = header.strip_prefix(&MAGIC)?.first_chunk()?;
    Some(Revision(u64::from_be_bytes(*revision)))
}

fn people<R: SlimRow, C: FromIterator<(KeyHash, R)>>(rows: &[u8]) -> Option<C> {
    let chunks = rows.chunks_exact(R::Entry::BYTES);
    if !chunks.remainder().is_empty() {
        return None;
    }
    let row = |row: &[u8]| {
        let (person, row) = row.split_first_chunk::<PERSON_BYTES>()?;
        let (revision, row) = row.split_first_chunk::<REVISION_BYTES>()?;
        let revision = Revision(u64::from_be_bytes(*revision));
        Some((KeyHash::of_bytes(*person), R::read(revision, row)?))
    };
    chunks.map(row).collect()
}

fn unreadable(key: &ObjectKey) -> Error {
    Error::Unreadable { key: key.clone(), reason: "it is no slim part of a register".to_owned() }
}

/// Version and revision of a part; `None` if there is none. Reads its first bytes.
pub async fn revision(lake: &Lake, key: &ObjectKey) -> Result<Option<(ETag, Revision)>, Error> {
    let found = lake.store.get(key, ByteRange::Bounded(0..HEADER_SIZE)).await?;
    let Some(Object { meta, bytes }) = found else { return Ok(None) };
    let revision = revision_in(&bytes).ok_or_else(|| unreadable(key))?;
    Ok(Some((meta.etag, revision)))
}

/// A part that was peeked into.
pub enum Peeked<R> {
    /// A small one was read at once.
    Whole(Slim<R>),
    /// Of a large one the revision is known.
    Large(Revision),
}

/// Reads the revision of a part, and all of a small one; `None` if there is none.
pub async fn peek<R: SlimRow>(lake: &Lake, key: &ObjectKey) -> Result<Option<Peeked<R>>, Error> {
    let found = lake.store.get(key, ByteRange::Bounded(0..SMALL_BYTES)).await?;
    let Some(Object { meta, bytes }) = found else { return Ok(None) };
    let peeked = match bytes.len() as u64 == meta.size_bytes {
        true => Slim::of_bytes(&bytes).map(Peeked::Whole),
        false => revision_in(&bytes).map(Peeked::Large),
    };
    peeked.map(Some).ok_or_else(|| unreadable(key))
}

/// Reads a part whole; `None` if there is none.
pub async fn load<R: SlimRow>(lake: &Lake, key: &ObjectKey) -> Result<Option<Slim<R>>, Error> {
    let Some(object) = lake.store.get(key, ByteRange::All).await? else { return Ok(None) };
    Slim::of_bytes(&object.bytes).map(Some).ok_or_else(|| unreadable(key))
}

/// Writes a part, if it is still as it was noted.
pub async fn save<R: SlimRow>(
    lake: &Lake,
    key: &ObjectKey,
    part: &Slim<R>,
    noted: Option<&ETag>,
) -> Result<Put, Error> {
    lake.put(key, part.to_bytes(), Precondition::unchanged(noted)).await
}

/// What a person is looked up by: the first half of their hash.
pub type Half = [u8; 8];

/// The first half of a hash.
pub fn half(person: &KeyHash) -> Half {
    let mut half = [0; 8];
    half.copy_from_slice(&person.as_bytes()[..8]);
    half
}

/// The rows of a run, which has one of each person; `None` if the bytes are no rows.
pub fn rows_of_run<R: SlimRow>(bytes: &[u8]) -> Option<BTreeMap<KeyHash, R>> {
    people(bytes)
}

/// The runs of the parts.
fn runs<R: SlimRow>(lake: &Lake) -> Runs<'_, R::Entry> {
    Runs::new(lake, R::RUNS, PERSON_BYTES)
}

/// Adds rows that changed in a part to the runs: before the part says them.
pub async fn announce<'a, R: SlimRow>(
    lake: &Lake,
    changed: impl IntoIterator<Item = (&'a KeyHash, R)>,
) -> Result<Added<'_, R::Entry>, Error> {
    let mut bytes = Vec::new();
    changed.into_iter().for_each(|(person, row)| write_row(&mut bytes, person, &row));
    runs::<R>(lake).add(R::Entry::all_in(&bytes).to_vec()).await
}

/// Each of some people once, sorted: those of one part follow upon each other.
fn distinct(people: impl IntoIterator<Item = Half>) -> Vec<Half> {
    let mut people: Vec<Half> = people.into_iter().collect();
    people.sort_unstable();
    people.dedup();
    people
}

/// Sorted people by the part that says of them.
fn by_part<'a>(lake: &Lake, people: &'a [Half]) -> impl Iterator<Item = &'a [Half]> {
    people.chunk_by(|a, b| part_of(lake, a) == part_of(lake, b))
}

/// The rows of some people; and, very seldom, of others. Of people in many parts, the runs are read; else
/// the parts: a small one, or for many people, whole, and it is kept; of a large one the rows alone.
pub async fn rows<R: SlimRow>(
    lake: &Lake,
    people: impl IntoIterator<Item = Half>,
) -> Result<BTreeMap<KeyHash, R>, Error> {
    let people = distinct(people);
    if are_many_parts(lake, by_part(lake, &people).count()) {
        return rows_of_runs(lake, people).await;
    }
    let wanted: Vec<(ObjectKey, Vec<Half>)> = by_part(lake, &people)
        .map(|people| (layout::slim_part(R::PARTS, part_of(lake, &people[0])), people.to_vec()))
        .collect();
    let found: Vec<Vec<(KeyHash, R)>> = stream::iter(wanted)
        .map(|(key, people)| async move { rows_in(lake, &key, &people).await })
        .buffered(lake.bounds.looks_at_once)
        .try_collect()
        .await?;
    Ok(found.into_iter().flatten().collect())
}

/// Whether people are in so many parts that the runs are read.
pub fn are_many(lake: &Lake, people: impl IntoIterator<Item = Half>) -> bool {
    are_many_parts(lake, by_part(lake, &distinct(people)).count())
}

/// Whether so many parts are so many that the runs are read. How large these are is reckoned from the number
/// of all parts, which suits the customers: it must not depend on what is there now.
fn are_many_parts(lake: &Lake, parts: usize) -> bool {
    let all = usize::from(u16::from(lake.settings.parts));
    parts > lake.bounds.parts_looked_at.max(all / lake.bounds.parts_per_look.max(1))
}

/// The rows of some people in the runs, where they are never older than in the parts; and, very seldom, of
/// others.
pub async fn rows_of_runs<R: SlimRow>(
    lake: &Lake,
    people: impl IntoIterator<Item = Half>,
) -> Result<BTreeMap<KeyHash, R>, Error> {
    let people: Vec<u64> = distinct(people).into_iter().map(u64::from_be_bytes).collect();
    let found = runs::<R>(lake).find(&people).await?;
    let unreadable = || unreadable(&ObjectKey::new(R::RUNS));
    rows_of_run(R::Entry::bytes_of(&found)).ok_or_else(unreadable)
}

/// The part that says of a person.
fn part_of(lake: &Lake, person: &Half) -> Part {
    let mut hash = [0; 16];
    hash[..8].copy_from_slice(person);
    KeyHash::of_bytes(hash).part(lake.settings.parts)
}

/// What is kept of a part.
enum Held {
    Whole(Bytes),
    Large(Large),
}

/// A part of which only the rows that are wanted are read, until that was as much as the part is
/// large: then it is read whole, and kept. So nobody reads more than twice what they must.
struct Large {
    size_bytes: u64,
    read_bytes: AtomicU64,
}

impl Large {
    /// Whether it is time to read all of it, when so many more rows are wanted.
    fn is_due(&self, lake: &Lake, wanted: usize) -> bool {
        let more = wanted as u64 * WINDOW_BYTES;
        let read = self.read_bytes.fetch_add(more, Ordering::Relaxed).saturating_add(more);
        let kept_max =
            lake.bounds.cache_bytes_max as u64 / u64::from(u16::from(lake.settings.parts));
        more >= self.size_bytes || (read >= self.size_bytes && self.size_bytes <= kept_max)
    }
}

fn held(key: &ObjectKey, object: Object) -> Result<(Held, usize), Error> {
    let (size, read) = (object.meta.size_bytes, object.bytes.len());
    if size > read as u64 {
        let large = Large { size_bytes: size, read_bytes: AtomicU64::new(0) };
        return Ok((Held::Large(large), size_of::<Held>()));
    }
    revision_in(&object.bytes).ok_or_else(|| unreadable(key))?;
    Ok((Held::Whole(object.bytes), read))
}

async fn rows_in<R: SlimRow>(
    lake: &Lake,
    key: &ObjectKey,
    wanted: &[Half],
) -> Result<Vec<(KeyHash, R)>, Error> {
    let suffix = ByteRange::Suffix(SMALL_BYTES.min(lake.bounds.small_bytes_max));
    for _ in 0..lake.bounds.attempts_max {
        let found = lake.read(key, suffix.clone(), |object| held(key, object)).await?;
        let Some(mut part) = found else { return Ok(Vec::new()) };
        if let Held::Large(large) = part.value.as_ref()
            && large.is_due(lake, wanted.len())
        {
            let whole = lake.read_anew(key, ByteRange::All, |object| held(key, object)).await?;
            let Some(whole) = whole else { return Ok(Vec::new()) };
            part = whole;
        }
        if let Some(found) = rows_of::<R>(lake, key, &part, wanted).await? {
            return people(&found).ok_or_else(|| unreadable(key));
        }
    }
    Err(lake.contended(format!("look up people in {key}"), "the part"))
}

async fn rows_of<R: SlimRow>(
    lake: &Lake,
    key: &ObjectKey,
    part: &Versioned<Held>,
    wanted: &[Half],
) -> Unmoved<Vec<u8>> {
    let mut found = Vec::new();
    match part.value.as_ref() {
        Held::Whole(bytes) => {
            let rows = bytes.get(HEADER_BYTES..).unwrap_or_default();
            for half in wanted {
                let half = u64::from_be_bytes(*half);
                found.extend_from_slice(search::among(rows, R::Entry::BYTES, half));
            }
        }
        Held::Large(large) => {
            let size_bytes = large.size_bytes;
            let part = Ranged::<R> { key, etag: &part.etag, size_bytes, row: PhantomData };
            for half in wanted {
                let rows = search::look_up(lake, &part, u64::from_be_bytes(*half)).await?;
                let Some(rows) = rows else { return Ok(None) };
                found.extend(rows);
            }
        }
    }
    Ok(Some(found))
}

/// A part whose rows are read as they are wanted, all of one version.
struct Ranged<'a, R> {
    key: &'a ObjectKey,
    etag: &'a ETag,
    size_bytes: u64,
    row: PhantomData<R>,
}

impl<R: SlimRow> Rows for Ranged<'_, R> {
    const WIDTH: usize = R::Entry::BYTES;

    fn count(&self) -> u64 {
        self.size_bytes.saturating_sub(HEADER_SIZE) / Self::WIDTH as u64
    }

    async fn read(&self, lake: &Lake, first: u64, end: u64) -> Unmoved<Bytes> {
        let place = |row: u64| HEADER_SIZE + row * Self::WIDTH as u64;
        let range = ByteRange::Bounded(place(first)..place(end));
        let object = lake.store.get(self.key, range).await?;
        Ok(object.filter(|object| object.meta.etag == *self.etag).map(|object| object.bytes))
    }
}
