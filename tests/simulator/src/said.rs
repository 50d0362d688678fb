//! What the runs of a register ever said, and when they first did.

use std::collections::BTreeMap;

use lake::key::{KeyHash, Revision};
use lake::registers::slim::SlimRow;

/// Of each person the rows, with the step at which each was first in a run.
#[derive(Debug)]
pub(crate) struct Said<R>(BTreeMap<KeyHash, BTreeMap<Revision, (u64, R)>>);

impl<R> Default for Said<R> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<R: SlimRow> Said<R> {
    /// A run with these rows was put.
    pub(crate) fn note(&mut self, clock: u64, rows: BTreeMap<KeyHash, R>) {
        for (person, row) in rows {
            let of_person = self.0.entry(person).or_default();
            of_person.entry(row.revision()).or_insert((clock, row));
        }
    }

    /// The rows that stood at that step, or at any since: who read the runs at one moment of that time
    /// found, of each person, one of theirs.
    pub(crate) fn stood_since(&self, since: u64) -> impl Iterator<Item = (&KeyHash, &R)> {
        self.0.iter().flat_map(move |(person, rows)| {
            let stood = rows.iter().rev().find(|(_, (clock, _))| *clock <= since);
            let from = stood.map_or(Revision(0), |(revision, _)| *revision);
            rows.range(from..).map(move |(_, (_, row))| (person, row))
        })
    }
}
