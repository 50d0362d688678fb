//! The rows of a target, row group by row group, as pairs are found.
//!
//! A row group ends by the bytes of its rows alone: what is not a full one yet waits for the pairs that
//! are found next. So it shows in no byte how many were found at a time.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_schema::ArrowError;
use lake::derivation::{Draft, Settled, Target, sorted};
use lake::error::Error;
use lake::gather::{gathered, no_rows};
use lake::lake::{Lake, Room};
use lake::object::{Ledger, Version};
use lake::report::Report;
use lake::tables::MACHINE_LEARNING_CURATED;

use crate::transform::{Pairs, STEP_TIME, plain};

/// Memory that a pair takes until it is encoded, or a row of the step trainer with the pairs made of it,
/// bytes, about.
pub(crate) const PAIR_BYTES: u64 = 128;

/// The rows of a target that is being written.
pub(crate) struct Rows<'a> {
    lake: &'a Lake,
    target: &'a Target,
    version: Version,
    room: Option<Arc<Room>>,
    /// What it becomes, once it has more than one row group.
    draft: Option<Draft<'a>>,
    waiting: Waiting,
    count: u64,
}

/// Rows of a row group that is not full yet.
#[derive(Default)]
struct Waiting {
    batches: Vec<RecordBatch>,
    /// What they take with the texts in each of them.
    bytes: u64,
    /// Whether some of one time came in parts, so that they are not in order.
    is_in_parts: bool,
}

impl Waiting {
    fn rows(&self) -> Result<RecordBatch, Error> {
        let table = &MACHINE_LEARNING_CURATED;
        match self.batches.as_slice() {
            [] => no_rows(&table.schema()).map_err(failed),
            [rows] if !self.is_in_parts => Ok(rows.clone()),
            batches => {
                let plain: Result<Vec<_>, _> = batches.iter().map(plain).collect();
                let plain = plain.map_err(failed)?;
                match self.is_in_parts {
                    true => sorted(table, &plain, STEP_TIME),
                    false => {
                        let all = plain.iter().enumerate();
                        let all = all.flat_map(|(number, rows)| {
                            (0..rows.num_rows()).map(move |row| (number, row))
                        });
                        gathered(&plain, all).map_err(failed)
                    }
                }
            }
        }
    }
}

impl<'a> Rows<'a> {
    /// None yet. Where there is no room for many, it is waited for once it is needed.
    pub(crate) fn new(
        lake: &'a Lake,
        target: &'a Target,
        version: Version,
        room: Option<Arc<Room>>,
    ) -> Self {
        let waiting = Waiting::default();
        Self { lake, target, version, room, draft: None, waiting, count: 0 }
    }

    /// Adds the rows of all pairs, which are of a later time than those before; or another part of those
    /// of the same time.
    pub(crate) async fn add(&mut self, pairs: &mut Pairs<'_>, is_part: bool) -> Result<(), Error> {
        let bytes_max = self.lake.bounds.held_bytes_max / 2;
        loop {
            let (found, bytes) = pairs.find_bytes(bytes_max - self.waiting.bytes);
            if found.is_empty() {
                return Ok(());
            }
            let taken = found.len() as u64 * PAIR_BYTES;
            if self.room.is_none() && taken > self.lake.bounds.small_bytes_max {
                self.room = Some(Arc::new(self.lake.room(taken).await));
            }
            self.count += found.len() as u64;
            let mut rows = pairs.rows(&found).map_err(failed)?;
            self.waiting.bytes += bytes;
            let is_full = self.waiting.bytes >= bytes_max;
            if !is_full && has_more_texts(&rows) {
                // What waits does not hold what is said of everybody in the stretch it is of.
                rows = plain(&rows).map_err(failed)?;
            }
            self.waiting.batches.push(rows);
            self.waiting.is_in_parts |= is_part;
            if is_full {
                self.row_group().await?;
            }
        }
    }

    async fn row_group(&mut self) -> Result<(), Error> {
        let rows = std::mem::take(&mut self.waiting).rows()?;
        let draft = match &mut self.draft {
            Some(draft) => draft,
            none => {
                let (table, version) = (&MACHINE_LEARNING_CURATED, self.version.clone());
                none.insert(Draft::new(self.lake, self.target, table, version)?)
            }
        };
        draft.sorted_row_group(rows).await
    }

    /// Memory that it takes, bytes, at most about; as if it had a row group already where it is to have
    /// many rows.
    pub(crate) fn held_bytes(&self, are_many: bool) -> u64 {
        let bounds = &self.lake.bounds;
        let upload = bounds.upload_bytes_max + bounds.piece_bytes as u64;
        self.waiting.bytes + if are_many || self.draft.is_some() { upload } else { 0 }
    }

    /// Makes the target what was added: whole if that is not even one row group; `None` if it moved.
    pub(crate) async fn complete(mut self, report: &mut Report) -> Result<Option<Settled>, Error> {
        let count = self.count;
        let ledger = Ledger { records: count, admitted: count, ..Ledger::default() };
        if self.draft.is_some() {
            self.row_group().await?;
        }
        let Self { lake, target, version, draft, waiting, .. } = self;
        match draft {
            Some(draft) => draft.complete(ledger, report).await,
            None => {
                let table = &MACHINE_LEARNING_CURATED;
                let rows = || Ok((waiting.rows()?, ledger));
                target.write(lake, table, version, rows, report).await
            }
        }
    }

    /// Gives it up.
    pub(crate) async fn abort(self) -> Result<(), Error> {
        match self.draft {
            Some(draft) => draft.abort().await,
            None => Ok(()),
        }
    }
}

/// Whether there are more texts than rows.
fn has_more_texts(rows: &RecordBatch) -> bool {
    let mut texts = rows.columns().iter().filter_map(|column| column.as_any_dictionary_opt());
    texts.any(|texts| texts.values().len() > rows.num_rows())
}

pub(crate) fn failed(error: ArrowError) -> Error {
    Error::encode(&MACHINE_LEARNING_CURATED, error)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use lake::catalog::StoreCatalog;
    use lake::key::{LakeKey, ObjectKey, Parts};
    use lake::policy::Policies;
    use lake::store::MemoryStore;

    use super::*;
    use crate::join::naming;
    use crate::motions::Motions;
    use crate::transform::Steps;
    use crate::transform::tests::{motions, steps};

    /// Nothing in memory ever waits.
    fn done<T>(future: impl Future<Output = T>) -> T {
        future.now_or_never().expect("it waits")
    }

    /// A step reading in each stretch of time, in which very many others have readings.
    #[test]
    fn what_waits_has_no_texts_of_others() {
        const STRETCHES: i64 = 10;
        let store = Arc::new(MemoryStore::default());
        let catalog = Arc::new(StoreCatalog::new(Arc::clone(&store) as _));
        let key = LakeKey::new(&[1; 16]).unwrap();
        let parts = Parts::try_from(1).unwrap();
        let lake = done(Lake::open(store, catalog, key, parts, Policies::default())).unwrap();
        let target = done(Target::note(&lake, ObjectKey::new("target"))).unwrap();
        let text = || "none".to_owned();
        let version = Version { rule: text(), policies: 0, source: text(), digest: text() };
        let mut rows = Rows::new(&lake, &target, version, None);
        let others: Vec<String> = (0..1_000).map(|other| format!("{other}@test.com")).collect();
        for stretch in 0..STRETCHES {
            let of_others = others.iter().map(|user| (user.as_str(), 10 * stretch + 1));
            let readings: Vec<_> =
                [("ada@test.com", 10 * stretch)].into_iter().chain(of_others).collect();
            let motions = Motions::of(&motions(&readings), naming(&lake)).unwrap();
            let steps = Steps::of(steps(&[(10 * stretch, "D-1", 1)]), naming(&lake)).unwrap();
            let mut pairs = Pairs::new(&steps, &motions, None, &lake.key).unwrap();
            done(rows.add(&mut pairs, false)).unwrap();
        }
        assert_eq!(rows.count, STRETCHES as u64);
        let batches = rows.waiting.batches.iter();
        let held: usize = batches.map(RecordBatch::get_array_memory_size).sum();
        assert!(held < 100 << 10, "{held} bytes wait");
    }
}
