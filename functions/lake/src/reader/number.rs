//! What a number says exactly, whatever way it is written.

use std::borrow::Cow;

use super::fragment::Reason;

/// A one in every byte of a word, and the highest bit of every byte.
pub(super) const ONES: u64 = 0x0101_0101_0101_0101;
pub(super) const HIGH: u64 = 0x8080_8080_8080_8080;

/// Powers of ten.
pub(super) const TENS: [u64; 19] = {
    let mut tens = [1; 19];
    let mut i = 1;
    while i < tens.len() {
        tens[i] = tens[i - 1] * 10;
        i += 1;
    }
    tens
};

/// What a short number says, read along with its place: `mantissa` divided by ten to the power of
/// `places`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figure {
    pub(super) mantissa: u64,
    pub(super) places: u8,
    pub(super) negative: bool,
    /// Whether the number has no exponent and few digits; otherwise the rest says nothing.
    pub(super) plain: bool,
}

impl Figure {
    /// Digits that a mantissa surely holds.
    pub(super) const DIGITS_MAX: usize = 18;

    /// The whole number it says; otherwise `number`, its text, is asked.
    #[inline]
    pub(super) fn whole(self, number: &[u8]) -> Result<i64, Reason> {
        if !self.plain {
            return whole(number);
        }
        let ten = TENS[usize::from(self.places)];
        if self.places > 0 && !self.mantissa.is_multiple_of(ten) {
            return Err(Reason::NotIntegral);
        }
        let value = if self.places > 0 { self.mantissa / ten } else { self.mantissa };
        // Below ten to the power of eighteen.
        let value = value.cast_signed();
        Ok(if self.negative { -value } else { value })
    }

    /// The double nearest to it, if it is finite; otherwise `number`, its text, is asked.
    ///
    /// If mantissa and power of ten are both doubles, one division rounds once, and correctly
    /// (Clinger, 1990). The standard library does the rest, also correctly.
    #[inline]
    pub(super) fn double(self, number: &[u8]) -> Option<f64> {
        if !self.plain || self.mantissa > 1 << 53 {
            return double(number);
        }
        let value = self.mantissa as f64 / TENS[usize::from(self.places)] as f64;
        // The sign of a reading is a coin toss: no branch depends on it.
        Some(f64::from_bits(value.to_bits() | u64::from(self.negative) << 63))
    }
}

/// Why no digits could be read.
pub(super) enum NoDigits {
    /// The view ends before it is clear how many there are.
    Cut,
    /// Something else stands at this place.
    At(usize),
}

/// The place from `start` that is no digit, at least one digit on, and the number they say appended to
/// `before`. Eight bytes at a time.
#[inline(always)]
pub(super) fn digits(view: &[u8], start: usize, before: u64) -> Result<(usize, u64), NoDigits> {
    // One digit is common, and a branch that is foreseen costs less than the place of the next
    // byte computed from this one.
    if let Some(&[one, next]) = view.get(start..start + 2)
        && one.is_ascii_digit()
        && !next.is_ascii_digit()
    {
        let said = before.wrapping_mul(10).wrapping_add(u64::from(one - b'0'));
        return Ok((start + 1, said));
    }
    let mut i = start;
    let mut said = before;
    while let Some((word, _)) = view.get(i..).and_then(|rest| rest.split_first_chunk()) {
        let word = u64::from_le_bytes(*word) ^ (ONES * 0x30);
        // Ten or more, seen as a bit that nothing is carried into.
        let others = (((word & !HIGH) + ONES * 0x76) | word) & HIGH;
        if others == 0 {
            said = said.wrapping_mul(100_000_000).wrapping_add(joined(word));
            i += 8;
            continue;
        }
        let length = others.trailing_zeros() as usize / 8;
        if length > 0 {
            // Moved up, the digits have zeros before them.
            let joined = joined(word << (64 - 8 * length));
            said = said.wrapping_mul(TENS[length]).wrapping_add(joined);
        } else if i == start {
            return Err(NoDigits::At(i));
        }
        return Ok((i + length, said));
    }
    loop {
        match view.get(i) {
            None => return Err(NoDigits::Cut),
            Some(byte) if byte.is_ascii_digit() => {
                said = said.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
                i += 1;
            }
            Some(_) if i == start => return Err(NoDigits::At(i)),
            Some(_) => return Ok((i, said)),
        }
    }
}

/// A number without exponent at `start`, with a fraction if it may have one, and the place after it.
/// None if there is none, it is too long for a figure, or something else is to be looked at.
#[inline(always)]
pub(super) fn short(view: &[u8], start: usize, fraction: bool) -> Option<(usize, Figure)> {
    let negative = *view.get(start)? == b'-';
    let first = start + usize::from(negative);
    let (mut end, mut mantissa) = digits(view, first, 0).ok()?;
    let mut count = end - first;
    if count > 1 && view[first] == b'0' {
        return None;
    }
    let mut places = 0;
    if fraction && view[end] == b'.' {
        let point = end;
        (end, mantissa) = digits(view, point + 1, mantissa).ok()?;
        places = end - point - 1;
        count += places;
    }
    let figure = Figure { mantissa, places: places as u8, negative, plain: true };
    (count <= Figure::DIGITS_MAX).then_some((end, figure))
}

/// The number that eight digits say, the first in the lowest byte, each 0 to 9: neighbours are
/// joined to two, four and eight digits.
#[inline]
pub(super) fn joined(digits: u64) -> u64 {
    let twos = (digits.wrapping_mul(10) + (digits >> 8)) & 0x00FF_00FF_00FF_00FF;
    let fours = (twos.wrapping_mul(100) + (twos >> 16)) & 0x0000_FFFF_0000_FFFF;
    (fours.wrapping_mul(10_000) + (fours >> 32)) & 0xFFFF_FFFF
}

/// The whole number that a JSON number says, if a 64-bit integer holds it.
pub(super) fn whole(number: &[u8]) -> Result<i64, Reason> {
    let (negative, digits) = match number {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let magnitude = Decimal::of(digits).whole()?;
    let value = if negative { -magnitude } else { magnitude };
    i64::try_from(value).map_err(|_| Reason::OutOfRange)
}

/// The double nearest to a JSON number, if it is finite.
pub(super) fn double(number: &[u8]) -> Option<f64> {
    let value: f64 = std::str::from_utf8(number).ok()?.parse().ok()?;
    value.is_finite().then_some(value)
}

/// The digits of a number for a column of text: of a whole number just these, of another as it is
/// written.
#[cold]
pub(super) fn as_text(number: &[u8]) -> Cow<'_, [u8]> {
    let negative = usize::from(number.first() == Some(&b'-'));
    let digits = &number[negative..];
    if digits.iter().all(u8::is_ascii_digit) {
        return Cow::Borrowed(number);
    }
    let decimal = Decimal::of(digits);
    if decimal.digits.is_empty() {
        return Cow::Borrowed(b"0");
    }
    // An identifier is never this long; a short way to write a long number is not followed.
    if !(0..=64).contains(&decimal.exponent) {
        return Cow::Borrowed(number);
    }
    let mut text = number[..negative].to_vec();
    text.extend_from_slice(&decimal.digits);
    text.extend(std::iter::repeat_n(b'0', usize::try_from(decimal.exponent).unwrap_or(0)));
    Cow::Owned(text)
}

/// `digits` times ten to the power of `exponent`, without zeros at either end of the digits.
struct Decimal {
    digits: Vec<u8>,
    exponent: i64,
}

impl Decimal {
    /// Of a JSON number without its sign.
    fn of(number: &[u8]) -> Self {
        let e = number.iter().position(|b| b | 0x20 == b'e');
        let (mantissa, power) = match e {
            Some(e) => (&number[..e], power(&number[e + 1..])),
            None => (number, 0),
        };
        let point = mantissa.iter().position(|&b| b == b'.');
        let places = point.map_or(0, |point| mantissa.len() - point - 1);
        let mut digits: Vec<u8> =
            mantissa.iter().copied().filter(|&b| b != b'.').skip_while(|&b| b == b'0').collect();
        let kept = digits.iter().rposition(|&b| b != b'0').map_or(0, |last| last + 1);
        let zeros = digits.len() - kept;
        digits.truncate(kept);
        let places = i64::try_from(places).unwrap_or(i64::MAX);
        let zeros = i64::try_from(zeros).unwrap_or(0);
        Self { digits, exponent: power.saturating_sub(places).saturating_add(zeros) }
    }

    fn whole(&self) -> Result<i128, Reason> {
        if self.digits.is_empty() {
            return Ok(0);
        }
        if self.exponent < 0 {
            return Err(Reason::NotIntegral);
        }
        let length = i64::try_from(self.digits.len()).unwrap_or(i64::MAX);
        if length.saturating_add(self.exponent) > 19 {
            return Err(Reason::OutOfRange);
        }
        let zeros = std::iter::repeat_n(b'0', usize::try_from(self.exponent).unwrap_or(0));
        let digits = self.digits.iter().copied().chain(zeros);
        Ok(digits.fold(0i128, |value, b| value * 10 + i128::from(b & 0x0F)))
    }
}

/// An exponent, held within what no record can make matter.
fn power(text: &[u8]) -> i64 {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let value = digits.iter().fold(0i64, |value, b| {
        value.saturating_mul(10).saturating_add(i64::from(b & 0x0F)).min(i64::MAX / 4)
    });
    if negative { -value } else { value }
}

/// Whether a text is a number as JSON writes it.
pub(super) fn is_number(text: &[u8]) -> bool {
    fn digits(text: &[u8]) -> usize {
        text.iter().take_while(|b| b.is_ascii_digit()).count()
    }
    let rest = text.strip_prefix(b"-").unwrap_or(text);
    let length = digits(rest);
    if length == 0 || (length > 1 && rest[0] == b'0') {
        return false;
    }
    let mut rest = &rest[length..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let length = digits(fraction);
        if length == 0 {
            return false;
        }
        rest = &fraction[length..];
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let exponent = match exponent {
            [b'+' | b'-', exponent @ ..] => exponent,
            exponent => exponent,
        };
        return !exponent.is_empty() && digits(exponent) == exponent.len();
    }
    rest.is_empty()
}

/// Whether a text names a value that is not finite, as some writers do.
pub(super) fn is_not_finite(text: &[u8]) -> bool {
    let text = match text {
        [b'-' | b'+', text @ ..] => text,
        text => text,
    };
    ["nan", "inf", "infinity"].iter().any(|name| text.eq_ignore_ascii_case(name.as_bytes()))
}
