//! From a scanned record to a row of Arrow columns, or to the reason why not.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use super::Limits;
use super::column::{Column, Mismatch, Value};
use super::expectations::{Expectation, Otherwise, Predicate, expectations};
use super::fragment::Reason;
use super::record::{COLUMNS_MAX, Record, Token};
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
    text_bytes: usize,
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

/// What expectations ask of the values of a record: a bit per column.
#[derive(Default)]
struct Seen {
    absent: u16,
    implausible: u16,
    negative: u16,
}

impl Rows {
    pub(super) fn new(stream: Stream, limits: &Limits) -> Self {
        let schema = stream.schema();
        let columns = schema.fields().iter().map(|field| Column::new(field.data_type())).collect();
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
            text_bytes: 0,
            rows_max: limits.batch_rows.max(1),
            time_min_ms: limits.time_min_ms,
            time_max_ms: limits.time_max_ms,
        }
    }

    /// Whether the batch is to be handed out.
    pub(super) fn full(&self) -> bool {
        self.rows >= self.rows_max || self.text_bytes >= BATCH_TEXT_BYTES_MAX
    }

    /// The rows so far, if any.
    pub(super) fn take(&mut self) -> Option<RecordBatch> {
        if self.rows == 0 {
            return None;
        }
        self.rows = 0;
        self.text_bytes = 0;
        let arrays = self.columns.iter_mut().map(Column::finish).collect();
        // The columns were made from the schema and take a value for every row.
        RecordBatch::try_new(Arc::clone(&self.schema), arrays).ok()
    }

    /// Of each expectation, how many records did not meet it.
    pub(super) fn unmet(&self) -> BTreeMap<&'static str, u64> {
        self.rules.iter().map(|rule| (rule.expectation.name, rule.unmet)).collect()
    }

    /// Takes a whole record as a row.
    pub(super) fn admit(&mut self, view: &[u8], record: &Record) -> Result<(), Box<Fault>> {
        let text = std::str::from_utf8(view).map_err(|error| {
            Box::new(Fault {
                reason: Reason::NotUtf8,
                at: error.valid_up_to(),
                message: "bytes that are not UTF-8; deliver the feed encoded as UTF-8".to_owned(),
            })
        })?;
        if let Some((reason, at)) = record.flaw {
            return Err(flaw(reason, at));
        }
        let mut owned = Vec::new();
        let mut values = [Value::Absent; COLUMNS_MAX];
        let mut seen = Seen::default();
        for (column, kind) in self.columns.iter().enumerate() {
            let token = record.columns[column];
            if let Err(mismatch) = kind.value(text, token, &mut values[column], &mut owned) {
                return Err(self.fault(column, token, mismatch));
            }
        }
        if !record.repeated.is_empty() {
            self.reconcile(text, record, &mut values, &mut owned)?;
        }
        for (column, value) in values.iter().enumerate().take(self.columns.len()) {
            seen.note(column, *value, &owned, self.time_min_ms, self.time_max_ms);
        }
        self.judge(&seen, record)?;
        for (column, value) in self.columns.iter_mut().zip(&values) {
            self.text_bytes += column.append(*value, &owned);
        }
        self.rows += 1;
        Ok(())
    }

    /// Joins further values of a column with the first: equal ones, and those that are absent.
    #[cold]
    fn reconcile<'a>(
        &mut self,
        text: &'a str,
        record: &Record,
        values: &mut [Value<'a>],
        owned: &mut Vec<String>,
    ) -> Result<(), Box<Fault>> {
        for &(column, token) in &record.repeated {
            let mut again = Value::Absent;
            if let Err(mismatch) = self.columns[column].value(text, token, &mut again, owned) {
                return Err(self.fault(column, token, mismatch));
            }
            let value = &mut values[column];
            if matches!(value, Value::Absent) {
                *value = again;
            } else if !matches!(again, Value::Absent) && !value.equals(again, owned) {
                let name = self.schema.field(column).name();
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

/// A record that is no JSON text, though its boundaries are clear.
#[cold]
fn flaw(reason: Reason, at: usize) -> Box<Fault> {
    let message = match reason {
        Reason::Nul => "an escaped NUL; deliver the text without it",
        Reason::LoneSurrogate => {
            "half of a surrogate pair; deliver the character whole, or leave it out"
        }
        _ => "NaN or an infinity, which JSON has no number for; deliver null instead",
    };
    Box::new(Fault { reason, at, message: message.to_owned() })
}

impl Seen {
    #[inline]
    fn note(&mut self, column: usize, value: Value<'_>, owned: &[String], min: i64, max: i64) {
        let bit = 1 << column;
        match value {
            Value::Absent => self.absent |= bit,
            Value::Whole(value) => {
                self.implausible |= if value < min || value > max { bit } else { 0 };
                self.negative |= if value < 0 { bit } else { 0 };
            }
            Value::Double(_) => {}
            Value::Text(_) | Value::Owned(_) => {
                let blank = value.text(owned).bytes().all(|b| b == b' ');
                self.absent |= if blank { bit } else { 0 };
            }
        }
    }
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
                 milliseconds, or widen the policy for plausible times"
            ),
            Predicate::Finite => format!("{columns}: not finite; deliver a number or null"),
            Predicate::NotNegative => format!("{columns}: below zero; deliver it, or null"),
        }
    }
}
