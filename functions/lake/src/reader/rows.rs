//! From a scanned record to a row of Arrow columns, or to the reason why not.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::builder::{Float64Builder, Int32Builder, Int64Builder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, SchemaRef};

use super::Limits;
use super::expectations::{Expectation, Otherwise, Predicate, expectations};
use super::fragment::Reason;
use super::names::unescape;
use super::number;
use super::scan::{COLUMNS_MAX, Kind, Record, Token};
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

/// A value as its column takes it.
#[derive(Debug, PartialEq)]
enum Value<'a> {
    Absent,
    Text(Cow<'a, str>),
    Whole(i64),
    Double(f64),
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
    time_ms: std::ops::RangeInclusive<i64>,
}

#[derive(Debug)]
enum Column {
    Text(StringBuilder),
    Long(Int64Builder),
    Int(Int32Builder),
    Double(Float64Builder),
}

/// An expectation with the places of its columns, and how often it was not met.
#[derive(Debug)]
struct Rule {
    expectation: &'static Expectation,
    columns: Vec<usize>,
    unmet: u64,
}

impl Rows {
    pub(super) fn new(stream: Stream, limits: &Limits) -> Self {
        let schema = stream.schema();
        let columns = schema
            .fields()
            .iter()
            .map(|field| match field.data_type() {
                DataType::Int64 => Column::Long(Int64Builder::new()),
                DataType::Int32 => Column::Int(Int32Builder::new()),
                DataType::Float64 => Column::Double(Float64Builder::new()),
                _ => Column::Text(StringBuilder::new()),
            })
            .collect();
        let rules = expectations(stream)
            .iter()
            .map(|expectation| Rule {
                expectation,
                columns: expectation
                    .columns
                    .iter()
                    .filter_map(|column| schema.index_of(column).ok())
                    .collect(),
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
            time_ms: limits.time_min_ms..=limits.time_max_ms,
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
        // The builders were made from the schema and take a value for every row.
        RecordBatch::try_new(Arc::clone(&self.schema), arrays).ok()
    }

    /// Of each expectation, how many records did not meet it.
    pub(super) fn unmet(&self) -> BTreeMap<&'static str, u64> {
        self.rules.iter().map(|rule| (rule.expectation.name, rule.unmet)).collect()
    }

    /// Takes a whole record as a row.
    pub(super) fn admit(&mut self, view: &[u8], record: &Record) -> Result<(), Fault> {
        if record.beyond_ascii
            && let Err(error) = std::str::from_utf8(view)
        {
            return Err(Fault {
                reason: Reason::NotUtf8,
                at: error.valid_up_to(),
                message: "bytes that are not UTF-8; deliver the feed encoded as UTF-8".to_owned(),
            });
        }
        if let Some((reason, at)) = record.flaw {
            let message = match reason {
                Reason::Nul => "an escaped NUL; deliver the text without it",
                Reason::LoneSurrogate => {
                    "half of a surrogate pair; deliver the character whole, or leave it out"
                }
                _ => "NaN or an infinity, which JSON has no number for; deliver null instead",
            };
            self.count_not_finite(reason, None);
            return Err(Fault { reason, at, message: message.to_owned() });
        }
        let mut values = [const { Value::Absent }; COLUMNS_MAX];
        for (column, value) in values.iter_mut().enumerate().take(self.columns.len()) {
            match self.columns[column].value(view, record.columns[column]) {
                Ok(found) => *value = found,
                Err(fault) => return Err(self.fault(column, record.columns[column], fault)),
            }
        }
        for &(column, token) in &record.repeated {
            match self.columns[column].value(view, token) {
                Err(fault) => return Err(self.fault(column, token, fault)),
                Ok(Value::Absent) => {}
                Ok(again) if values[column] == Value::Absent => values[column] = again,
                Ok(again) if values[column] == again => {}
                Ok(_) => {
                    return Err(Fault {
                        reason: Reason::ConflictingKeys,
                        at: token.start,
                        message: format!(
                            "column {}: two spellings of the key with different values; \
                             deliver one of them",
                            self.schema.field(column).name()
                        ),
                    });
                }
            }
        }
        self.judge(&values, record)?;
        for (column, value) in self.columns.iter_mut().zip(&values) {
            self.text_bytes += column.append(value);
        }
        self.rows += 1;
        Ok(())
    }

    /// Looks at every expectation; the first unmet one that quarantines gives the fault.
    fn judge(&mut self, values: &[Value<'_>], record: &Record) -> Result<(), Fault> {
        let mut fault = None;
        for rule in &mut self.rules {
            let Some(column) = rule.unmet_by(values, &self.time_ms) else {
                continue;
            };
            rule.unmet += 1;
            if let Otherwise::Quarantine(reason) = rule.expectation.otherwise
                && fault.is_none()
            {
                fault = Some(Fault {
                    reason,
                    at: record.columns[column].start,
                    message: rule.message(&self.time_ms),
                });
            }
        }
        fault.map_or(Ok(()), Err)
    }

    fn fault(&mut self, column: usize, token: Token, (reason, seen): (Reason, &str)) -> Fault {
        self.count_not_finite(reason, Some(column));
        let takes = match self.columns[column] {
            Column::Text(_) => "text",
            Column::Long(_) => "whole numbers of 64 bits",
            Column::Int(_) => "whole numbers of 32 bits",
            Column::Double(_) => "finite numbers",
        };
        let name = self.schema.field(column).name();
        Fault {
            reason,
            at: token.start,
            message: format!("column {name} takes {takes} or null, found {seen}; deliver it so"),
        }
    }

    fn count_not_finite(&mut self, reason: Reason, column: Option<usize>) {
        for rule in &mut self.rules {
            rule.unmet += u64::from(
                reason == Reason::NotFinite
                    && rule.expectation.predicate == Predicate::Finite
                    && column.is_some_and(|column| rule.columns.contains(&column)),
            );
        }
    }
}

impl Rule {
    /// The column that does not meet it, if any.
    fn unmet_by(
        &self,
        values: &[Value<'_>],
        time_ms: &std::ops::RangeInclusive<i64>,
    ) -> Option<usize> {
        let absent = |&&column: &&usize| match &values[column] {
            Value::Absent => true,
            Value::Text(text) => text.bytes().all(|b| b == b' '),
            _ => false,
        };
        match self.expectation.predicate {
            Predicate::Present => self.columns.iter().find(absent).copied(),
            Predicate::AnyPresent => {
                let all = self.columns.iter().filter(absent).count() == self.columns.len();
                self.columns.first().copied().filter(|_| all)
            }
            Predicate::PlausibleTime => self.columns.iter().copied().find(
                |&column| matches!(values[column], Value::Whole(time) if !time_ms.contains(&time)),
            ),
            Predicate::Finite => self.columns.iter().copied().find(
                |&column| matches!(values[column], Value::Double(value) if !value.is_finite()),
            ),
            Predicate::NotNegative => self
                .columns
                .iter()
                .copied()
                .find(|&column| matches!(values[column], Value::Whole(..0))),
        }
    }

    fn message(&self, time_ms: &std::ops::RangeInclusive<i64>) -> String {
        let columns = self.expectation.columns.join(", ");
        match self.expectation.predicate {
            Predicate::Present => format!("{columns}: absent or blank; deliver it"),
            Predicate::AnyPresent => format!("none of {columns}; deliver at least one"),
            Predicate::PlausibleTime => format!(
                "{columns}: a time outside {} to {}; deliver epoch milliseconds, or widen the \
                 policy for plausible times",
                time_ms.start(),
                time_ms.end()
            ),
            Predicate::Finite => format!("{columns}: not finite; deliver a number or null"),
            Predicate::NotNegative => format!("{columns}: below zero; deliver it, or null"),
        }
    }
}

impl Column {
    /// What a token says, if this column takes it; otherwise the reason, and what was seen.
    #[inline]
    fn value<'a>(&self, view: &'a [u8], token: Token) -> Result<Value<'a>, (Reason, &'static str)> {
        let bytes = &view[token.start..token.end];
        match token.kind {
            Kind::Absent | Kind::Null => Ok(Value::Absent),
            Kind::Text => self.of_text(Cow::Borrowed(std::str::from_utf8(bytes).map_err(
                // Already excluded: the whole record is UTF-8.
                |_| (Reason::NotUtf8, "bytes that are not UTF-8"),
            )?)),
            Kind::EscapedText => {
                let text = unescape(bytes).ok_or((Reason::Malformed, "a text with bad escapes"))?;
                self.of_text(Cow::Owned(text))
            }
            Kind::Integer | Kind::Number => self.of_number(bytes),
            Kind::NotFinite => Err((Reason::NotFinite, "NaN or an infinity")),
            Kind::Bool => Err((Reason::WrongType, "true or false")),
            Kind::Array => Err((Reason::WrongType, "an array")),
            Kind::Object => Err((Reason::WrongType, "an object")),
        }
    }

    fn of_text<'a>(&self, text: Cow<'a, str>) -> Result<Value<'a>, (Reason, &'static str)> {
        if let Self::Text(_) = self {
            return Ok(Value::Text(text));
        }
        if number::is_number(text.as_bytes()) {
            // Whatever is not text holds no borrow.
            return match self.of_number(text.as_bytes())? {
                Value::Whole(value) => Ok(Value::Whole(value)),
                Value::Double(value) => Ok(Value::Double(value)),
                Value::Text(_) | Value::Absent => Ok(Value::Absent),
            };
        }
        if number::is_not_finite(&text) {
            return Err((Reason::NotFinite, "NaN or an infinity as a text"));
        }
        Err((Reason::WrongType, "a text that is no number"))
    }

    fn of_number<'a>(&self, bytes: &'a [u8]) -> Result<Value<'a>, (Reason, &'static str)> {
        const FRACTION: &str = "a number with a fraction";
        const BEYOND: &str = "a whole number beyond that";
        let whole = |bytes| {
            number::whole(bytes).map_err(|reason| {
                (reason, if reason == Reason::NotIntegral { FRACTION } else { BEYOND })
            })
        };
        match self {
            Self::Long(_) => Ok(Value::Whole(whole(bytes)?)),
            Self::Int(_) => {
                let value = whole(bytes)?;
                i32::try_from(value).map_err(|_| (Reason::OutOfRange, BEYOND))?;
                Ok(Value::Whole(value))
            }
            Self::Double(_) => {
                let value = std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok());
                match value {
                    Some(value) if f64::is_finite(value) => Ok(Value::Double(value)),
                    _ => Err((Reason::NotFinite, "a number beyond what a double holds")),
                }
            }
            Self::Text(_) => {
                let text = std::str::from_utf8(bytes).unwrap_or_default();
                let digits = text.strip_prefix('-').unwrap_or(text).bytes();
                if digits.clone().all(|b| b.is_ascii_digit()) {
                    return Ok(Value::Text(Cow::Borrowed(text)));
                }
                Ok(Value::Text(Cow::Owned(number::as_text(text))))
            }
        }
    }

    /// Appends a value, and says how many bytes of text it has.
    fn append(&mut self, value: &Value<'_>) -> usize {
        match (self, value) {
            (Self::Text(builder), Value::Text(text)) => {
                builder.append_value(text);
                return text.len();
            }
            (Self::Long(builder), Value::Whole(value)) => builder.append_value(*value),
            (Self::Int(builder), Value::Whole(value)) => {
                builder.append_option(i32::try_from(*value).ok());
            }
            (Self::Double(builder), Value::Double(value)) => builder.append_value(*value),
            (Self::Text(builder), _) => builder.append_null(),
            (Self::Long(builder), _) => builder.append_null(),
            (Self::Int(builder), _) => builder.append_null(),
            (Self::Double(builder), _) => builder.append_null(),
        }
        0
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Long(builder) => Arc::new(builder.finish()),
            Self::Int(builder) => Arc::new(builder.finish()),
            Self::Double(builder) => Arc::new(builder.finish()),
        }
    }
}
