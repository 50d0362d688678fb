//! What a scan notes of one record.

use super::fragment::Reason;
use super::number::Figure;

/// Columns a table may have.
pub(super) const COLUMNS_MAX: usize = 10;
/// Place among the columns of the last value that is not the first of a column.
pub(super) const ELSEWHERE: usize = COLUMNS_MAX;

/// What stands at a value's place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Absent,
    Null,
    /// Between the quotes, no escapes.
    Text,
    /// Between the quotes, with escapes.
    EscapedText,
    /// Digits with or without a sign.
    Integer,
    /// A number with a fraction or an exponent.
    Number,
    NotFinite,
    Bool,
    Array,
    Object,
}

/// A value: its kind, its place in the view, and of a number what it says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) figure: Figure,
    start: u32,
    end: u32,
}

impl Token {
    /// A view is no longer than a record may be, which is less than 4 GiB.
    pub(super) fn new(kind: Kind, figure: Figure, start: usize, end: usize) -> Self {
        Self { kind, figure, start: start as u32, end: end as u32 }
    }

    /// The place of its first byte; of a text, after the quote.
    pub(super) fn start(self) -> usize {
        self.start as usize
    }

    pub(super) fn place(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// What a scan noted of one record.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// The first value of each column; and one [elsewhere](ELSEWHERE).
    pub(super) columns: [Token; COLUMNS_MAX + 1],
    /// Further values of columns that already have one.
    pub(super) repeated: Vec<(usize, Token)>,
    /// Keys that no column takes: between the quotes.
    pub(super) unknown: Vec<(usize, usize)>,
    /// Whether any column of the stream was named.
    pub(super) known: bool,
    /// Whether the column that says whose record it is was named.
    pub(super) keyed: bool,
    /// Whether a value is or holds an object.
    pub(super) nested_objects: bool,
    /// Whether white space within the record holds a line feed.
    pub(super) line_feeds: bool,
    /// Whether any text holds bytes above 0x7F.
    pub(super) beyond_ascii: bool,
    /// The first thing that is no JSON, or no text, though the boundaries of the record are clear.
    pub(super) flaw: Option<(Reason, usize)>,
    /// The closing brackets that are due, of the value being scanned.
    pub(super) closers: Vec<u8>,
}

impl Record {
    pub(super) fn clear(&mut self) {
        self.columns.iter_mut().for_each(|token| *token = Token::default());
        self.repeated.clear();
        self.unknown.clear();
        self.known = false;
        self.keyed = false;
        self.nested_objects = false;
        self.line_feeds = false;
        self.beyond_ascii = false;
        self.flaw = None;
        self.closers.clear();
    }

    /// Whether it is nothing but columns, each once, in ASCII.
    pub(super) fn is_plain(&self) -> bool {
        self.known
            && self.repeated.is_empty()
            && self.unknown.is_empty()
            && !(self.nested_objects || self.beyond_ascii)
            && self.flaw.is_none()
    }

    /// Whether a value stands where a whole record may have been swallowed: no column takes an
    /// object or an array, and a record names at least one column.
    pub(super) fn may_swallow(&self) -> bool {
        let nested = |token: &Token| matches!(token.kind, Kind::Object | Kind::Array);
        self.nested_objects
            && (!self.known
                || self.columns[..COLUMNS_MAX].iter().any(nested)
                || self.repeated.iter().any(|(_, token)| nested(token)))
    }

    pub(super) fn note(&mut self, reason: Reason, at: usize) {
        if self.flaw.is_none() {
            self.flaw = Some((reason, at));
        }
    }
}
