//! What a column takes: exactly what it can hold, however it is written.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::builder::{Float64Builder, Int32Builder, Int64Builder, StringBuilder};
use arrow_schema::DataType;

use super::fragment::Reason;
use super::names::unescape;
use super::number;
use super::record::{Kind, Token};

/// A value as its column takes it. Texts that are not in the record as they are (escapes, numbers
/// in a column of text) are kept beside, and named by their index.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Absent,
    Text(&'a str),
    Owned(usize),
    Whole(i64),
    Double(f64),
}

impl<'a> Value<'a> {
    /// The text of a value that is one.
    pub(super) fn text(self, owned: &'a [String]) -> &'a str {
        match self {
            Self::Text(text) => text,
            Self::Owned(index) => &owned[index],
            _ => "",
        }
    }

    /// Whether two values of one column say the same.
    pub(super) fn equals(self, other: Value<'_>, owned: &[String]) -> bool {
        match (self, other) {
            (Self::Whole(a), Value::Whole(b)) => a == b,
            (Self::Double(a), Value::Double(b)) => a == b,
            (Self::Absent, Value::Absent) => true,
            (Self::Text(_) | Self::Owned(_), Value::Text(_) | Value::Owned(_)) => {
                Value::text(self, owned) == other.text(owned)
            }
            _ => false,
        }
    }
}

/// A value that its column does not take, and what was found, in kind.
#[derive(Debug)]
pub(super) struct Mismatch {
    pub(super) reason: Reason,
    pub(super) found: &'static str,
}

fn mismatch<T>(reason: Reason, found: &'static str) -> Result<T, Mismatch> {
    Err(Mismatch { reason, found })
}

/// A column of the batch in the making.
#[derive(Debug)]
pub(super) enum Column {
    Text(StringBuilder),
    Long(Int64Builder),
    Int(Int32Builder),
    Double(Float64Builder),
}

impl Column {
    pub(super) fn new(kind: &DataType) -> Self {
        match kind {
            DataType::Int64 => Self::Long(Int64Builder::new()),
            DataType::Int32 => Self::Int(Int32Builder::new()),
            DataType::Float64 => Self::Double(Float64Builder::new()),
            _ => Self::Text(StringBuilder::new()),
        }
    }

    /// What it takes, for a person.
    pub(super) fn takes(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Long(_) => "whole numbers of 64 bits",
            Self::Int(_) => "whole numbers of 32 bits",
            Self::Double(_) => "finite numbers",
        }
    }

    /// What a token of the record says, if this column takes it. It is written in place: handed
    /// back by value it would go through memory twice, which shows.
    #[inline]
    pub(super) fn value<'a>(
        &self,
        record: &'a str,
        token: Token,
        value: &mut Value<'a>,
        owned: &mut Vec<String>,
    ) -> Result<(), Mismatch> {
        let found = match token.kind {
            Kind::Absent | Kind::Null => {
                *value = Value::Absent;
                return Ok(());
            }
            Kind::Text => {
                let text = &record[token.place()];
                if let Self::Text(_) = self {
                    *value = Value::Text(text);
                    return Ok(());
                }
                return self.number_in(text, value);
            }
            Kind::Integer | Kind::Number => {
                let number = &record[token.place()];
                if let Self::Text(_) = self {
                    *value = Self::text_of(number, owned);
                    return Ok(());
                }
                return self.number(number, value);
            }
            Kind::EscapedText => {
                let Some(text) = unescape(&record.as_bytes()[token.place()]) else {
                    return mismatch(Reason::Malformed, "a text with bad escapes");
                };
                if let Self::Text(_) = self {
                    owned.push(text);
                    *value = Value::Owned(owned.len() - 1);
                    return Ok(());
                }
                return self.number_in(&text, value);
            }
            Kind::NotFinite => return mismatch(Reason::NotFinite, "NaN or an infinity"),
            Kind::Bool => "true or false",
            Kind::Array => "an array",
            Kind::Object => "an object",
        };
        mismatch(Reason::WrongType, found)
    }

    /// A text in a column of numbers: what it says, if it is one as JSON writes it.
    #[cold]
    fn number_in(&self, text: &str, value: &mut Value<'_>) -> Result<(), Mismatch> {
        if number::is_number(text.as_bytes()) {
            return self.number(text, value);
        }
        if number::is_not_finite(text) {
            return mismatch(Reason::NotFinite, "NaN or an infinity as a text");
        }
        mismatch(Reason::WrongType, "a text that is no number")
    }

    /// A number in a column of text: its digits.
    #[cold]
    fn text_of<'a>(number: &'a str, owned: &mut Vec<String>) -> Value<'a> {
        let digits = number.strip_prefix('-').unwrap_or(number);
        if digits.bytes().all(|b| b.is_ascii_digit()) {
            return Value::Text(number);
        }
        owned.push(number::as_text(number));
        Value::Owned(owned.len() - 1)
    }

    /// A number in a column of numbers.
    #[inline]
    fn number(&self, number: &str, value: &mut Value<'_>) -> Result<(), Mismatch> {
        if let Self::Double(_) = self {
            let Some(double) = number::double(number) else {
                return mismatch(Reason::NotFinite, "a number beyond what a double holds");
            };
            *value = Value::Double(double);
            return Ok(());
        }
        match number::whole(number.as_bytes()) {
            Ok(whole) if matches!(self, Self::Long(_)) || i32::try_from(whole).is_ok() => {
                *value = Value::Whole(whole);
                Ok(())
            }
            Err(Reason::NotIntegral) => mismatch(Reason::NotIntegral, "a number with a fraction"),
            _ => mismatch(Reason::OutOfRange, "a whole number beyond that"),
        }
    }

    /// Appends a value, and says how many bytes of text it has.
    #[inline]
    pub(super) fn append(&mut self, value: Value<'_>, owned: &[String]) -> usize {
        match (self, value) {
            (Self::Text(builder), Value::Text(text)) => {
                builder.append_value(text);
                return text.len();
            }
            (Self::Text(builder), Value::Owned(index)) => {
                builder.append_value(&owned[index]);
                return owned[index].len();
            }
            (Self::Long(builder), Value::Whole(value)) => builder.append_value(value),
            (Self::Int(builder), Value::Whole(value)) => {
                builder.append_option(i32::try_from(value).ok());
            }
            (Self::Double(builder), Value::Double(value)) => builder.append_value(value),
            (Self::Text(builder), _) => builder.append_null(),
            (Self::Long(builder), _) => builder.append_null(),
            (Self::Int(builder), _) => builder.append_null(),
            (Self::Double(builder), _) => builder.append_null(),
        }
        0
    }

    /// The values so far as an array; the column is then empty.
    pub(super) fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Long(builder) => Arc::new(builder.finish()),
            Self::Int(builder) => Arc::new(builder.finish()),
            Self::Double(builder) => Arc::new(builder.finish()),
        }
    }
}
