//! The grammar of one record: strict JSON (RFC 8259), read once, values noted by place.
//!
//! Nothing is built or copied here. A scan of a view that ends too early says so, and is done again
//! when more bytes are there; whatever it says else depends on the bytes up to that place only.
//! `NaN` and `Infinity`, which some writers put where a number belongs, do not break a record's
//! boundaries: they are noted, and the record is quarantined for them.

use super::fragment::Reason;
use super::names::Names;
use super::number::{self, Figure, HIGH, NoDigits, ONES};
use super::record::{ELSEWHERE, Kind, Record, Token};

/// What a scan found at the start of the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scan {
    /// One object, of this many bytes.
    Whole(usize),
    /// The beginning of an object.
    Incomplete,
    /// No object: the place of the first byte that cannot be, why, and what should be there.
    Broken(usize, Reason, &'static str),
}

/// The scan ended before the record did; why is noted in the scanner.
struct Stopped;

type Found<T> = Result<T, Stopped>;

/// Scans the object that starts at the first byte of `view`, a `{`.
pub(super) fn object(
    view: &[u8],
    names: &mut Names,
    nesting_max: usize,
    record: &mut Record,
) -> Scan {
    record.clear();
    let mut scanner = Scanner { view, nesting_max, record, stop: Scan::Incomplete };
    match scanner.object(names) {
        Ok(end) => Scan::Whole(end),
        Err(Stopped) => scanner.stop,
    }
}

/// The closing quote of the text that starts at `i`, if all of it is ASCII without escapes, and seven
/// bytes follow.
#[inline(always)]
pub(super) fn plain_text(view: &[u8], mut i: usize) -> Option<usize> {
    loop {
        let (word, _) = view.get(i..)?.split_first_chunk()?;
        let word = u64::from_le_bytes(*word);
        let other = marks(word, b'\\') | controls(word) | word & HIGH;
        let stop = marks(word, b'"') | other;
        if stop != 0 {
            let first = stop & stop.wrapping_neg();
            return (other & first == 0).then_some(i + stop.trailing_zeros() as usize / 8);
        }
        i += 8;
    }
}

/// Where a byte of the word equals `byte`, its highest bit. The lowest set is exact, those above it
/// need not be.
#[inline(always)]
fn marks(word: u64, byte: u8) -> u64 {
    let x = word ^ (ONES * u64::from(byte));
    x.wrapping_sub(ONES) & !x & HIGH
}

/// The same, where a byte is a control character.
#[inline(always)]
fn controls(word: u64) -> u64 {
    word.wrapping_sub(ONES * 0x20) & !word & HIGH
}

struct Scanner<'a> {
    view: &'a [u8],
    nesting_max: usize,
    record: &'a mut Record,
    /// What to say of a scan that ends early.
    stop: Scan,
}

impl Scanner<'_> {
    #[cold]
    fn broken<T>(&mut self, at: usize, reason: Reason, expected: &'static str) -> Found<T> {
        self.stop = Scan::Broken(at, reason, expected);
        Err(Stopped)
    }

    #[cold]
    fn malformed<T>(&mut self, at: usize, expected: &'static str) -> Found<T> {
        self.broken(at, Reason::Malformed, expected)
    }

    fn object(&mut self, names: &mut Names) -> Found<usize> {
        if self.nesting_max == 0 {
            return self.broken(0, Reason::NestedTooDeep, "no record at all");
        }
        let mut i = self.space(1)?;
        if self.view[i] == b'}' {
            return Ok(i + 1);
        }
        let mut previous = Names::START;
        loop {
            let column;
            if let Some((guessed, length)) = names.guess(&self.view[i..], previous) {
                column = Some(guessed);
                i += length;
            } else {
                let (start, end, after) = self.key(i)?;
                let escaped = self.view[start..end].contains(&b'\\');
                column = names.find(&self.view[start..end], escaped);
                match column {
                    Some(found) => names.learn(previous, found, &self.view[i..after]),
                    None => self.record.unknown.push((start, end)),
                }
                i = after;
            }
            i = self.space(i)?;
            if let Some(column) = column {
                self.record.known = true;
                self.record.keyed |= column == names.key();
            }
            match column {
                Some(column) => {
                    previous = column;
                    if self.record.columns[column].kind == Kind::Absent {
                        i = self.value(i, column)?;
                    } else {
                        i = self.value(i, ELSEWHERE)?;
                        self.record.repeated.push((column, self.record.columns[ELSEWHERE]));
                    }
                }
                None => i = self.value_elsewhere(i)?,
            }
            i = self.space(i)?;
            match self.view[i] {
                b',' => i = self.space(i + 1)?,
                b'}' => return Ok(i + 1),
                _ => return self.malformed(i, "a comma or a closing brace"),
            }
        }
    }

    /// The first place from `i` that is no white space.
    #[inline]
    fn space(&mut self, mut i: usize) -> Found<usize> {
        loop {
            match self.view.get(i) {
                Some(&byte) if byte > b' ' => return Ok(i),
                Some(b' ' | b'\t' | b'\r') => i += 1,
                Some(b'\n') => {
                    self.record.line_feeds = true;
                    i += 1;
                }
                Some(_) => return Ok(i),
                None => return Err(Stopped),
            }
        }
    }

    /// A key and its colon: between the quotes, and the place after the colon.
    fn key(&mut self, i: usize) -> Found<(usize, usize, usize)> {
        if self.view[i] != b'"' {
            return self.malformed(i, "a key in double quotes");
        }
        let (end, _) = self.text(i + 1)?;
        let colon = self.space(end + 1)?;
        if self.view[colon] != b':' {
            return self.malformed(colon, "a colon");
        }
        Ok((i + 1, end, colon + 1))
    }

    /// A value that no column takes, and the place after it.
    fn value_elsewhere(&mut self, i: usize) -> Found<usize> {
        let after = self.value(i, ELSEWHERE)?;
        let token = self.record.columns[ELSEWHERE];
        if token.kind == Kind::NotFinite {
            self.record.note(Reason::NotFinite, token.start());
        }
        Ok(after)
    }

    /// Notes a value, of a text the place between the quotes; the place after it.
    ///
    /// It is written where it stays, field by field. Handed on as a whole, it would be read from
    /// memory in words wider than those just written, and wait for all of them: that took a quarter
    /// of the reader's time.
    #[inline(always)]
    fn value(&mut self, i: usize, slot: usize) -> Found<usize> {
        let (kind, end) = match self.view[i] {
            b'"' => {
                let (end, escaped) = self.text(i + 1)?;
                let kind = if escaped { Kind::EscapedText } else { Kind::Text };
                self.record.columns[slot] = Token::new(kind, Figure::default(), i + 1, end);
                return Ok(end + 1);
            }
            b'-' | b'0'..=b'9' => return self.number(i, slot),
            b'{' => (Kind::Object, self.nested(i)?),
            b'[' => (Kind::Array, self.nested(i)?),
            b'n' => (Kind::Null, self.word(i, b"null")?),
            b't' => (Kind::Bool, self.word(i, b"true")?),
            b'f' => (Kind::Bool, self.word(i, b"false")?),
            b'N' => (Kind::NotFinite, self.word(i, b"NaN")?),
            b'I' => (Kind::NotFinite, self.word(i, b"Infinity")?),
            _ => return self.malformed(i, "a value"),
        };
        self.record.columns[slot] = Token::new(kind, Figure::default(), i, end);
        Ok(end)
    }

    fn word(&mut self, i: usize, word: &'static [u8]) -> Found<usize> {
        for (k, &expected) in word.iter().enumerate() {
            match self.view.get(i + k) {
                Some(&b) if b == expected => {}
                Some(_) => return self.malformed(i + k, "a value"),
                None => return Err(Stopped),
            }
        }
        Ok(i + word.len())
    }

    /// The place from `start` that is no digit, and the number the digits say appended to `before`.
    #[inline(always)]
    fn digits(&mut self, start: usize, before: u64) -> Found<(usize, u64)> {
        match number::digits(self.view, start, before) {
            Ok(found) => Ok(found),
            Err(NoDigits::At(i)) => self.malformed(i, "a digit"),
            Err(NoDigits::Cut) => Err(Stopped),
        }
    }

    #[inline]
    fn number(&mut self, start: usize, slot: usize) -> Found<usize> {
        // The sign of a reading is a coin toss: no branch depends on it.
        let negative = self.view[start] == b'-';
        let first = start + usize::from(negative);
        let Ok((mut i, mut mantissa)) = self.digits(first, 0) else {
            return self.infinity(start, first, slot);
        };
        if i > first + 1 && self.view[first] == b'0' {
            return self.malformed(first + 1, "no leading zero");
        }
        let mut digits = i - first;
        let mut places = 0;
        let mut kind = Kind::Integer;
        if self.view[i] == b'.' {
            kind = Kind::Number;
            let point = i;
            (i, mantissa) = self.digits(point + 1, mantissa)?;
            places = i - point - 1;
            digits += places;
        }
        let mut plain = digits <= Figure::DIGITS_MAX;
        if self.view[i] | 0x20 == b'e' {
            kind = Kind::Number;
            plain = false;
            let sign = matches!(self.view.get(i + 1), Some(b'+' | b'-'));
            (i, _) = self.digits(i + 1 + usize::from(sign), 0)?;
        }
        let figure = Figure { mantissa, places: places as u8, negative, plain };
        self.record.columns[slot] = Token::new(kind, figure, start, i);
        Ok(i)
    }

    /// What looked like a number and has no digits: minus infinity, or none.
    #[cold]
    fn infinity(&mut self, start: usize, first: usize, slot: usize) -> Found<usize> {
        if first > start && self.view.get(first) == Some(&b'I') {
            self.stop = Scan::Incomplete;
            let end = self.word(first, b"Infinity")?;
            let token = Token::new(Kind::NotFinite, Figure::default(), start, end);
            self.record.columns[slot] = token;
            return Ok(end);
        }
        Err(Stopped)
    }

    /// The closing quote of the text that starts at `i`, and whether it holds escapes.
    ///
    /// Eight bytes at a time: the lowest bit set in `stop` is exact, those above it need not be.
    #[inline]
    fn text(&mut self, mut i: usize) -> Found<(usize, bool)> {
        let mut escaped = false;
        let mut beyond_ascii = 0;
        loop {
            let stop = loop {
                let Some((word, _)) = self.view.get(i..).and_then(|rest| rest.split_first_chunk())
                else {
                    break None;
                };
                let word = u64::from_le_bytes(*word);
                let stop = marks(word, b'"') | marks(word, b'\\') | controls(word);
                if stop != 0 {
                    let length = stop.trailing_zeros() / 8;
                    beyond_ascii |= word & !(u64::MAX << (8 * length));
                    break Some(i + length as usize);
                }
                beyond_ascii |= word;
                i += 8;
            };
            let at = match stop {
                Some(at) => at,
                None => loop {
                    match self.view.get(i) {
                        None => return Err(Stopped),
                        Some(b'"' | b'\\' | 0..0x20) => break i,
                        Some(&byte) => {
                            beyond_ascii |= u64::from(byte);
                            i += 1;
                        }
                    }
                },
            };
            match self.view[at] {
                b'"' => {
                    self.record.beyond_ascii |= beyond_ascii & HIGH != 0;
                    return Ok((at, escaped));
                }
                b'\\' => {
                    escaped = true;
                    i = self.escape(at)?;
                }
                0 => return self.broken(at, Reason::Nul, "no NUL"),
                _ => return self.malformed(at, "no control character within a text"),
            }
        }
    }

    /// The place after the escape that starts at `i`.
    fn escape(&mut self, i: usize) -> Found<usize> {
        match self.view.get(i + 1) {
            None => Err(Stopped),
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(i + 2),
            Some(b'u') => match self.hex(i + 2)? {
                0 => {
                    self.record.note(Reason::Nul, i);
                    Ok(i + 6)
                }
                0xD800..=0xDBFF => self.low_surrogate(i),
                0xDC00..=0xDFFF => {
                    self.record.note(Reason::LoneSurrogate, i);
                    Ok(i + 6)
                }
                _ => Ok(i + 6),
            },
            Some(_) => self.malformed(i + 1, "an escape"),
        }
    }

    /// The place after the pair whose first half starts at `i`, or after that half if it is alone.
    fn low_surrogate(&mut self, i: usize) -> Found<usize> {
        for (k, expected) in [(6, b'\\'), (7, b'u')] {
            match self.view.get(i + k) {
                None => return Err(Stopped),
                Some(&b) if b == expected => {}
                Some(_) => {
                    self.record.note(Reason::LoneSurrogate, i);
                    return Ok(i + 6);
                }
            }
        }
        if matches!(self.hex(i + 8)?, 0xDC00..=0xDFFF) {
            return Ok(i + 12);
        }
        self.record.note(Reason::LoneSurrogate, i);
        Ok(i + 6)
    }

    fn hex(&mut self, i: usize) -> Found<u32> {
        let mut code = 0;
        for k in i..i + 4 {
            let byte = *self.view.get(k).ok_or(Stopped)?;
            match char::from(byte).to_digit(16) {
                Some(digit) => code = code * 16 + digit,
                None => return self.malformed(k, "four hexadecimal digits"),
            }
        }
        Ok(code)
    }

    /// The place after the object or array that starts at `i`.
    fn nested(&mut self, mut i: usize) -> Found<usize> {
        self.record.closers.clear();
        loop {
            let opened = self.view[i];
            if matches!(opened, b'{' | b'[') {
                // The record itself is the first level.
                if self.record.closers.len() + 2 > self.nesting_max {
                    return self.broken(i, Reason::NestedTooDeep, "less nesting");
                }
                self.record.nested_objects |= opened == b'{';
                // `{` and `[` are two below their closing counterparts.
                let closer = opened + 2;
                i = self.space(i + 1)?;
                if self.view[i] != closer {
                    self.record.closers.push(closer);
                    i = if closer == b'}' { self.nested_key(i)? } else { i };
                    continue;
                }
                i += 1;
            } else {
                i = self.value_elsewhere(i)?;
            }
            loop {
                let Some(&closer) = self.record.closers.last() else {
                    return Ok(i);
                };
                i = self.space(i)?;
                match self.view[i] {
                    b',' => {
                        i = self.space(i + 1)?;
                        i = if closer == b'}' { self.nested_key(i)? } else { i };
                        break;
                    }
                    b if b == closer => {
                        self.record.closers.pop();
                        i += 1;
                    }
                    _ => return self.malformed(i, "a comma or a closing bracket"),
                }
            }
        }
    }

    fn nested_key(&mut self, i: usize) -> Found<usize> {
        let (_, _, after) = self.key(i)?;
        self.space(after)
    }
}
