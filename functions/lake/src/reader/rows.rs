//! From a scanned record to a row of Arrow columns, or to the reason why not.

use std::collections::BTreeMap;

use arrow_array::{RecordBatch, StructArray};
use arrow_schema::SchemaRef;

use super::Limits;
use super::column::{Column, Mismatch, Seen};
use super::expectations::{Expectation, Otherwise, Predicate, expectations};
use super::fragment::Reason;
use super::record::{Record, Token};
use super::shape::Shape;
use crate::tables::Stream;

/// Text after which a batch is handed out though it has fewer rows than it may.
const BATCH_TEXT_BYTES_MAX: usize = 16 << 20;

/// Why a record does not become a row: the reason, the place in the record, and the message.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) reason: Reason,
    pub(super) at: usize,
    pub(super) message: String,
}

/// The rows of the batch in the making.
#[derive(Debug)]
pub(super) struct Rows {
    schema: SchemaRef,
    columns: Vec<Column>,
    rules: Vec<Rule>,
    rows: usize,
    rows_max: usize,
    time_min_ms: i64,
    time_max_ms: i64,
}

/// An expectation with its columns as bits, and how often it was not met.
#[derive(Debug)]
struct Rule {
    expectation: &'static Expectation,
    columns: u16,
    unmet: u64,
}

impl Rows {
    pub(super) fn new(stream: Stream, limits: &Limits) -> Self {
        let schema = stream.schema();
        let columns = schema
            .fields()
            .iter()
            .enumerate()
            .map(|(i, field)| {
                Column::new(i, field.data_type(), limits.time_min_ms, limits.time_max_ms)
            })
            .collect();
        let bit = |column: &&str| schema.index_of(column).map_or(0, |column| 1 << column);
        let rules = expectations(stream)
            .iter()
            .map(|expectation| Rule {
                expectation,
                columns: expectation.columns.iter().map(bit).fold(0, |bits, bit| bits | bit),
                unmet: 0,
            })
            .collect();
        Self {
            schema,
            columns,
            rules,
            rows: 0,
            rows_max: limits.batch_rows.max(1),
            time_min_ms: limits.time_min_ms,
            time_max_ms: limits.time_max_ms,
        }
    }

    /// Whether the batch is to be handed out.
    pub(super) fn full(&self) -> bool {
        self.rows >= self.rows_max
            || self.columns.iter().any(|column| column.text_bytes() >= BATCH_TEXT_BYTES_MAX)
    }

    /// The rows so far, if any.
    pub(super) fn take(&mut self) -> Option<RecordBatch> {
        if self.rows == 0 {
            return None;
        }
        self.rows = 0;
        let arrays = self.columns.iter_mut().map(Column::finish).collect();
        let fields = self.schema.fields().clone();
        // The columns were made from the schema and took a value for every row; it would be a
        // mistake of this module if they did not fit, and no row may then be lost in silence.
        Some(RecordBatch::from(StructArray::new(fields, arrays, None)))
    }

    /// Of each expectation, how many records did not meet it.
    pub(super) fn unmet(&self) -> BTreeMap<&'static str, u64> {
        self.rules.iter().map(|rule| (rule.expectation.name, rule.unmet)).collect()
    }

    /// Takes the record at the first byte of `view` as a row the short way, and says how long it is; if
    /// that cannot be, nothing has changed.
    #[inline]
    pub(super) fn follow(&mut self, shape: &Shape, view: &[u8]) -> Option<usize> {
        let mut seen = Seen::default();
        let taken = shape.take(view, &mut self.columns, &mut seen);
        if taken.is_some() && self.rules.iter().all(|rule| rule.unmet_by(&seen) == 0) {
            self.rows += 1;
            return taken;
        }
        self.columns.iter_mut().for_each(|column| column.truncate(self.rows));
        None
    }

    /// Remembers the shape of a record that became a row.
    pub(super) fn teach(&self, shape: &mut Shape, view: &[u8], record: &Record) {
        shape.learn(view, record, &self.columns);
    }

    /// Takes a whole record as a row.
    pub(super) fn admit(&mut self, view: &[u8], record: &Record) -> Result<(), Box<Fault>> {
        if record.beyond_ascii || record.flaw.is_some() {
            is_text(view, record)?;
        }
        let admitted = self.append(view, record);
        match admitted {
            Ok(()) => self.rows += 1,
            Err(_) => self.columns.iter_mut().for_each(|column| column.truncate(self.rows)),
        }
        admitted
    }

    /// Appends the values of a record, all of them or, if there is a fault, some.
    #[inline]
    fn append(&mut self, view: &[u8], record: &Record) -> Result<(), Box<Fault>> {
        let mut seen = Seen::default();
        for (column, token) in self.columns.iter_mut().zip(&record.columns) {
            if let Err(mismatch) = column.push(view, token, &mut seen) {
                let place = record.columns.iter().position(|other| std::ptr::eq(other, token));
                return Err(self.fault(place.unwrap_or(0), *token, mismatch));
            }
        }
        if !record.repeated.is_empty() {
            self.reconcile(view, record, &mut seen)?;
        }
        self.judge(&seen, record)
    }

    /// Joins further values of a column with the first: equal ones, and those that are absent.
    #[cold]
    fn reconcile(
        &mut self,
        view: &[u8],
        record: &Record,
        seen: &mut Seen,
    ) -> Result<(), Box<Fault>> {
        for &(index, token) in &record.repeated {
            let mut again = Seen::default();
            let column = &mut self.columns[index];
            if let Err(mismatch) = column.push(view, &token, &mut again) {
                return Err(self.fault(index, token, mismatch));
            }
            if !column.join(seen, again) {
                let name = self.schema.field(index).name();
                return Err(Box::new(Fault {
                    reason: Reason::ConflictingKeys,
                    at: token.start(),
                    message: format!(
                        "column {name}: two spellings of the key with different values; \
                         deliver one of them"
                    ),
                }));
            }
        }
        Ok(())
    }

    /// Looks at every expectation; the first unmet one that quarantines gives the fault.
    fn judge(&mut self, seen: &Seen, record: &Record) -> Result<(), Box<Fault>> {
        let mut fault = None;
        for rule in &mut self.rules {
            let unmet = rule.unmet_by(seen);
            if unmet == 0 {
                continue;
            }
            rule.unmet += 1;
            if let Otherwise::Quarantine(reason) = rule.expectation.otherwise
                && fault.is_none()
            {
                fault = Some(Box::new(Fault {
                    reason,
                    at: record.columns[unmet.trailing_zeros() as usize].start(),
                    message: rule.message(self.time_min_ms, self.time_max_ms),
                }));
            }
        }
        fault.map_or(Ok(()), Err)
    }

    /// A value that its column does not take.
    #[cold]
    fn fault(&mut self, column: usize, token: Token, mismatch: Mismatch) -> Box<Fault> {
        let Mismatch { reason, found } = mismatch;
        for rule in &mut self.rules {
            let about = rule.expectation.predicate == Predicate::Finite;
            let hit = about && reason == Reason::NotFinite && rule.columns & (1 << column) != 0;
            rule.unmet += u64::from(hit);
        }
        let name = self.schema.field(column).name();
        let takes = self.columns[column].takes();
        Box::new(Fault {
            reason,
            at: token.start(),
            message: format!("column {name} takes {takes} or null, found {found}; deliver it so"),
        })
    }
}

/// Refuses a record that is no text, or no JSON, though its boundaries are clear.
#[cold]
fn is_text(view: &[u8], record: &Record) -> Result<(), Box<Fault>> {
    let (reason, at, message) = match (std::str::from_utf8(view), record.flaw) {
        (Err(error), _) => (
            Reason::NotUtf8,
            error.valid_up_to(),
            "bytes that are not UTF-8; deliver the feed encoded as UTF-8",
        ),
        (Ok(_), None) => return Ok(()),
        (Ok(_), Some((Reason::Nul, at))) => {
            (Reason::Nul, at, "an escaped NUL; deliver the text without it")
        }
        (Ok(_), Some((Reason::LoneSurrogate, at))) => (
            Reason::LoneSurrogate,
            at,
            "half of a surrogate pair; deliver the character whole, or leave it out",
        ),
        (Ok(_), Some((reason, at))) => {
            (reason, at, "NaN or an infinity, which JSON has no number for; deliver null instead")
        }
    };
    Err(Box::new(Fault { reason, at, message: message.to_owned() }))
}

impl Rule {
    /// The columns that do not meet it.
    #[inline]
    fn unmet_by(&self, seen: &Seen) -> u16 {
        let absent = self.columns & seen.absent;
        match self.expectation.predicate {
            Predicate::Present => absent,
            Predicate::AnyPresent if absent == self.columns => absent,
            Predicate::PlausibleTime => self.columns & seen.implausible,
            Predicate::NotNegative => self.columns & seen.negative,
            // No column holds what is not finite: it is counted where it is refused.
            Predicate::AnyPresent | Predicate::Finite => 0,
        }
    }

    fn message(&self, time_min_ms: i64, time_max_ms: i64) -> String {
        let columns = self.expectation.columns.join(", ");
        match self.expectation.predicate {
            Predicate::Present => format!("{columns}: absent or blank; deliver it"),
            Predicate::AnyPresent => format!("none of {columns}; deliver at least one"),
            Predicate::PlausibleTime => format!(
                "{columns}: a time outside {time_min_ms} to {time_max_ms}; deliver epoch \
                 milliseconds"
            ),
            Predicate::Finite => format!("{columns}: not finite; deliver a number or null"),
            Predicate::NotNegative => format!("{columns}: below zero; deliver it, or null"),
        }
    }
}
