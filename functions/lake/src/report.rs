//! What an invocation counts, for the logs, the metrics and the local command.

use serde::Serialize;

use crate::object::Ledger;

/// Counts of one or many invocations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Records read from landing objects.
    pub records: u64,
    /// Bytes read from landing objects, decompressed.
    pub source_bytes: u64,
    /// Records that became rows.
    pub admitted: u64,
    /// Records held for lack of consent, or because they are from before it.
    pub held: u64,
    /// Records that could not be read.
    pub quarantined: u64,
    /// Derived objects written.
    pub objects_written: u64,
    /// Derived objects that were right already.
    pub objects_unchanged: u64,
    /// Times that work started over because something moved.
    pub conflicts: u64,
    /// Landing objects handed on through replay markers.
    pub replays: u64,
    /// Keys that a reconciliation found unfinished.
    pub unfinished: u64,
}

impl Report {
    /// Adds what the ledger of a written object says.
    pub fn count(&mut self, ledger: &Ledger) {
        self.admitted += ledger.admitted;
        self.held += ledger.held_no_consent + ledger.held_before_consent;
    }
}

impl std::ops::AddAssign for Report {
    fn add_assign(&mut self, other: Self) {
        self.records += other.records;
        self.source_bytes += other.source_bytes;
        self.admitted += other.admitted;
        self.held += other.held;
        self.quarantined += other.quarantined;
        self.objects_written += other.objects_written;
        self.objects_unchanged += other.objects_unchanged;
        self.conflicts += other.conflicts;
        self.replays += other.replays;
        self.unfinished += other.unfinished;
    }
}
