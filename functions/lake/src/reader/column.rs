//! What a column takes: exactly what it can hold, however it is written.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int32Array, Int64Array, StringArray};
use arrow_buffer::{Buffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::DataType;

use super::fragment::Reason;
use super::names::unescape;
use super::number;
use super::record::{Kind, Token};
use super::scan::plain_text;

/// A value that its column does not take, and what was found, in kind.
#[derive(Debug)]
pub(super) struct Mismatch {
    pub(super) reason: Reason,
    pub(super) found: &'static str,
}

#[cold]
fn mismatch<T>(reason: Reason, found: &'static str) -> Result<T, Mismatch> {
    Err(Mismatch { reason, found })
}

/// What expectations ask of the values of a record: a bit per column.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// Absent, or a text of spaces only.
    pub(super) absent: u16,
    /// A whole number that is no plausible time.
    pub(super) implausible: u16,
    /// A whole number below zero.
    pub(super) negative: u16,
}

/// A column of the batch in the making. A record's values are appended one column after another;
/// if one of them is refused, the columns are cut back to the rows before.
#[derive(Debug)]
pub(super) struct Column {
    bit: u16,
    values: Values,
    valid: NullBufferBuilder,
    time_min_ms: i64,
    time_max_ms: i64,
}

#[derive(Debug)]
enum Values {
    /// All texts in one, and where each ends.
    Text(Vec<u8>, Vec<i32>),
    Long(Vec<i64>),
    Int(Vec<i32>),
    Double(Vec<f64>),
}

impl Column {
    pub(super) fn new(index: usize, kind: &DataType, time_min_ms: i64, time_max_ms: i64) -> Self {
        let values = match kind {
            DataType::Int64 => Values::Long(Vec::new()),
            DataType::Int32 => Values::Int(Vec::new()),
            DataType::Float64 => Values::Double(Vec::new()),
            _ => Values::Text(Vec::new(), vec![0]),
        };
        let valid = NullBufferBuilder::new(0);
        Self { bit: 1 << index, values, valid, time_min_ms, time_max_ms }
    }

    /// What it takes, for a person.
    pub(super) fn takes(&self) -> &'static str {
        match self.values {
            Values::Text(..) => "text",
            Values::Long(_) => "whole numbers of 64 bits",
            Values::Int(_) => "whole numbers of 32 bits",
            Values::Double(_) => "finite numbers",
        }
    }

    /// Appends what a token of the record says, if this column takes it; nothing otherwise.
    #[inline]
    pub(super) fn push(
        &mut self,
        record: &[u8],
        token: &Token,
        seen: &mut Seen,
    ) -> Result<(), Mismatch> {
        let bytes = &record[token.place()];
        match token.kind {
            Kind::Text => match &mut self.values {
                Values::Text(texts, ends) => {
                    push_text(texts, ends, bytes);
                    seen.absent |= if is_blank(bytes) { self.bit } else { 0 };
                }
                _ => return self.push_number_in(bytes, seen),
            },
            Kind::Integer | Kind::Number => match &mut self.values {
                Values::Double(doubles) => match token.figure.double(bytes) {
                    Some(double) => doubles.push(double),
                    None => return too_large(),
                },
                Values::Text(texts, ends) => push_text(texts, ends, &number::as_text(bytes)),
                Values::Long(_) | Values::Int(_) => {
                    return self.push_whole(token.figure.whole(bytes), seen);
                }
            },
            Kind::Absent | Kind::Null => {
                self.push_null(seen);
                return Ok(());
            }
            _ => return self.push_other(bytes, token.kind, seen),
        }
        self.valid.append_non_null();
        Ok(())
    }

    #[inline]
    fn push_whole(&mut self, whole: Result<i64, Reason>, seen: &mut Seen) -> Result<(), Mismatch> {
        let value = match (whole, &mut self.values) {
            (Ok(value), Values::Long(values)) => {
                values.push(value);
                value
            }
            (Ok(value), Values::Int(values)) => {
                let Ok(int) = i32::try_from(value) else {
                    return mismatch(Reason::OutOfRange, "a whole number beyond that");
                };
                values.push(int);
                value
            }
            (Err(Reason::NotIntegral), _) => {
                return mismatch(Reason::NotIntegral, "a number with a fraction");
            }
            _ => return mismatch(Reason::OutOfRange, "a whole number beyond that"),
        };
        let plausible = self.time_min_ms <= value && value <= self.time_max_ms;
        seen.implausible |= if plausible { 0 } else { self.bit };
        seen.negative |= if value < 0 { self.bit } else { 0 };
        self.valid.append_non_null();
        Ok(())
    }

    /// Whether values of this kind are what the column is made for.
    pub(super) fn is_native(&self, kind: Kind) -> bool {
        match self.values {
            Values::Text(..) => kind == Kind::Text,
            Values::Long(_) | Values::Int(_) => kind == Kind::Integer,
            Values::Double(_) => matches!(kind, Kind::Integer | Kind::Number),
        }
    }

    /// Appends the value at `i` and says where it ends, if it is the column's own kind of value, short
    /// and present; nothing otherwise. Of a text `i` is the place after the quote.
    #[inline(always)]
    pub(super) fn take(&mut self, view: &[u8], i: usize, seen: &mut Seen) -> Option<usize> {
        let end = match &mut self.values {
            Values::Text(texts, ends) => {
                let end = plain_text(view, i)?;
                if end == i || view[i] == b' ' {
                    return None;
                }
                push_short(texts, ends, &view[i..], end - i);
                end
            }
            Values::Double(doubles) => {
                let (end, figure) = number::short(view, i, true)?;
                doubles.push(figure.double(&view[i..end])?);
                end
            }
            Values::Long(_) | Values::Int(_) => {
                let (end, figure) = number::short(view, i, false)?;
                self.push_whole(figure.whole(&view[i..end]), seen).ok()?;
                return Some(end);
            }
        };
        self.valid.append_non_null();
        Some(end)
    }

    pub(super) fn push_null(&mut self, seen: &mut Seen) {
        seen.absent |= self.bit;
        match &mut self.values {
            Values::Text(texts, ends) => push_text(texts, ends, b""),
            Values::Long(values) => values.push(0),
            Values::Int(values) => values.push(0),
            Values::Double(values) => values.push(0.0),
        }
        self.valid.append_null();
    }

    /// What is neither a text as it stands nor a number nor absent.
    #[cold]
    fn push_other(&mut self, bytes: &[u8], kind: Kind, seen: &mut Seen) -> Result<(), Mismatch> {
        let found = match kind {
            Kind::EscapedText => {
                let Some(text) = unescape(bytes) else {
                    return mismatch(Reason::Malformed, "a text with bad escapes");
                };
                if let Values::Text(texts, ends) = &mut self.values {
                    push_text(texts, ends, text.as_bytes());
                    self.valid.append_non_null();
                    seen.absent |= if is_blank(text.as_bytes()) { self.bit } else { 0 };
                    return Ok(());
                }
                return self.push_number_in(text.as_bytes(), seen);
            }
            Kind::NotFinite => return mismatch(Reason::NotFinite, "NaN or an infinity"),
            Kind::Bool => "true or false",
            Kind::Array => "an array",
            _ => "an object",
        };
        mismatch(Reason::WrongType, found)
    }

    /// A text in a column of numbers: what it says, if it is one as JSON writes it.
    #[cold]
    fn push_number_in(&mut self, text: &[u8], seen: &mut Seen) -> Result<(), Mismatch> {
        if !number::is_number(text) {
            if number::is_not_finite(text) {
                return mismatch(Reason::NotFinite, "NaN or an infinity as a text");
            }
            return mismatch(Reason::WrongType, "a text that is no number");
        }
        if let Values::Double(doubles) = &mut self.values {
            let Some(double) = number::double(text) else {
                return too_large();
            };
            doubles.push(double);
            self.valid.append_non_null();
            return Ok(());
        }
        self.push_whole(number::whole(text), seen)
    }

    /// Joins the last two values, of one record, if they are equal or one is absent; `first` and
    /// `second` are what was seen of them. Says whether it did.
    #[cold]
    pub(super) fn join(&mut self, first: &mut Seen, second: Seen) -> bool {
        let last = self.valid.len() - 1;
        let (before, after) = (self.valid.is_valid(last - 1), self.valid.is_valid(last));
        let joined = !before || !after || self.last_are_equal(last);
        if joined && !before && after {
            self.swap_last(last);
            first.absent = first.absent & !self.bit | second.absent;
            first.implausible |= second.implausible;
            first.negative |= second.negative;
        }
        self.truncate(last);
        joined
    }

    fn last_are_equal(&self, last: usize) -> bool {
        match &self.values {
            Values::Text(texts, ends) => {
                let place = |i: usize| ends[i] as usize..ends[i + 1] as usize;
                texts[place(last - 1)] == texts[place(last)]
            }
            Values::Long(values) => values[last - 1] == values[last],
            Values::Int(values) => values[last - 1] == values[last],
            Values::Double(values) => values[last - 1] == values[last],
        }
    }

    /// Exchanges an absent value with the one after it.
    fn swap_last(&mut self, last: usize) {
        match &mut self.values {
            // The absent one has no bytes: only its end moves.
            Values::Text(_, ends) => ends[last] = ends[last + 1],
            Values::Long(values) => values.swap(last - 1, last),
            Values::Int(values) => values.swap(last - 1, last),
            Values::Double(values) => values.swap(last - 1, last),
        }
        self.valid.set_bit(last - 1, true);
    }

    /// Cuts back to so many values.
    #[cold]
    pub(super) fn truncate(&mut self, rows: usize) {
        match &mut self.values {
            Values::Text(texts, ends) => {
                ends.truncate(rows + 1);
                texts.truncate(ends.last().map_or(0, |&end| end as usize));
            }
            Values::Long(values) => values.truncate(rows),
            Values::Int(values) => values.truncate(rows),
            Values::Double(values) => values.truncate(rows),
        }
        self.valid.truncate(rows);
    }

    /// Bytes of text held.
    pub(super) fn text_bytes(&self) -> usize {
        if let Values::Text(texts, _) = &self.values { texts.len() } else { 0 }
    }

    /// The values so far as an array; the column is then empty, with room for as many.
    pub(super) fn finish(&mut self) -> ArrayRef {
        let nulls = self.valid.finish();
        match &mut self.values {
            Values::Text(texts, ends) => {
                let texts = replace(texts);
                let ends = std::mem::replace(ends, room_for(ends));
                let ends = OffsetBuffer::new(ScalarBuffer::from(ends));
                // Looks at all texts again: cheaper at once than one by one.
                Arc::new(StringArray::new(ends, Buffer::from_vec(texts), nulls))
            }
            Values::Long(values) => Arc::new(Int64Array::new(replace(values).into(), nulls)),
            Values::Int(values) => Arc::new(Int32Array::new(replace(values).into(), nulls)),
            Values::Double(values) => Arc::new(Float64Array::new(replace(values).into(), nulls)),
        }
    }
}

/// Takes the values and leaves room for as many.
fn replace<T>(values: &mut Vec<T>) -> Vec<T> {
    let room = Vec::with_capacity(values.len());
    std::mem::replace(values, room)
}

fn room_for(ends: &[i32]) -> Vec<i32> {
    let mut room = Vec::with_capacity(ends.len());
    room.push(0);
    room
}

#[inline]
fn push_text(texts: &mut Vec<u8>, ends: &mut Vec<i32>, text: &[u8]) {
    texts.extend_from_slice(text);
    // A batch is handed out after 16 MiB of text, and a record is no longer than 1 GiB.
    ends.push(texts.len() as i32);
}

/// Appends the first `length` bytes of `rest`. Of a short text so many as a few registers hold are
/// copied, and what is too much is cut off: a copy of any length is a call.
#[inline(always)]
fn push_short(texts: &mut Vec<u8>, ends: &mut Vec<i32>, rest: &[u8], length: usize) {
    const SHORT: usize = 48;
    match rest.first_chunk::<SHORT>() {
        Some(chunk) if length <= SHORT => {
            let end = texts.len() + length;
            texts.extend_from_slice(chunk);
            texts.truncate(end);
            ends.push(end as i32);
        }
        _ => push_text(texts, ends, &rest[..length]),
    }
}

#[inline]
fn is_blank(text: &[u8]) -> bool {
    text.iter().all(|&b| b == b' ')
}

#[cold]
fn too_large<T>() -> Result<T, Mismatch> {
    mismatch(Reason::NotFinite, "a number beyond what a double holds")
}
