//! What a number says exactly, whatever way it is written.

use super::fragment::Reason;

/// The whole number that a JSON number says, if a 64-bit integer holds it.
pub(super) fn whole(number: &[u8]) -> Result<i64, Reason> {
    // Up to 18 digits cannot overflow.
    let (negative, digits) = match number {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.len() <= 18 {
        let mut plain = true;
        let mut rest = digits;
        let mut value = 0i64;
        while let Some((word, after)) = rest.split_first_chunk() {
            let word = u64::from_le_bytes(*word);
            let Some(eight) = eight_digits(word) else {
                break;
            };
            value = value * 100_000_000 + eight;
            rest = after;
        }
        for &b in rest {
            plain &= b.is_ascii_digit();
            value = value * 10 + i64::from(b & 0x0F);
        }
        if plain {
            return Ok(if negative { -value } else { value });
        }
    }
    let decimal = Decimal::of(digits);
    let magnitude = decimal.whole()?;
    let value = if negative { -magnitude } else { magnitude };
    i64::try_from(value).map_err(|_| Reason::OutOfRange)
}

/// The number that eight digits say, the first in the lowest byte: neighbours are joined to two,
/// four and eight digits.
fn eight_digits(word: u64) -> Option<i64> {
    let digits = word ^ 0x3030_3030_3030_3030;
    let beyond = (digits & 0x7F7F_7F7F_7F7F_7F7F) + 0x7676_7676_7676_7676;
    if (beyond | digits) & 0x8080_8080_8080_8080 != 0 {
        return None;
    }
    let twos = (digits * 10 + (digits >> 8)) & 0x00FF_00FF_00FF_00FF;
    let fours = (twos * 100 + (twos >> 16)) & 0x0000_FFFF_0000_FFFF;
    let eight = (fours * 10_000 + (fours >> 32)) & 0xFFFF_FFFF;
    i64::try_from(eight).ok()
}

/// The double nearest to a JSON number, if it is finite.
pub(super) fn double(number: &str) -> Option<f64> {
    short_double(number.as_bytes())
        .or_else(|| number.parse().ok())
        .filter(|value: &f64| value.is_finite())
}

/// The double nearest to a number of up to 15 digits without an exponent. Both the digits and the
/// power of ten are then doubles, so that one division rounds once, and correctly (Clinger, 1990).
fn short_double(number: &[u8]) -> Option<f64> {
    const POWERS: [f64; 16] =
        [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
    // The sign of a reading is a coin toss: no branch depends on it.
    let negative = usize::from(number.first() == Some(&b'-'));
    let digits = &number[negative..];
    if digits.len() > 16 {
        return None;
    }
    let (mut mantissa, mut point) = (0u64, digits.len());
    for (i, &byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' => mantissa = mantissa * 10 + u64::from(byte - b'0'),
            b'.' => point = i + 1,
            _ => return None,
        }
    }
    if mantissa >= 1 << 53 {
        return None;
    }
    let value = mantissa as f64 / POWERS.get(digits.len() - point)?;
    Some(if digits.len() < number.len() { -value } else { value })
}

/// The digits of a number for a column of text: of a whole number just these, of another as it is
/// written.
pub(super) fn as_text(number: &str) -> String {
    let (sign, digits) = match number.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", number),
    };
    let decimal = Decimal::of(digits.as_bytes());
    if decimal.digits.is_empty() {
        return "0".to_owned();
    }
    // An identifier is never this long; a short way to write a long number is not followed.
    if !(0..=64).contains(&decimal.exponent) {
        return number.to_owned();
    }
    let mut text = String::with_capacity(number.len());
    text.push_str(sign);
    text.extend(decimal.digits.iter().map(|&d| char::from(d)));
    text.extend(std::iter::repeat_n('0', usize::try_from(decimal.exponent).unwrap_or(0)));
    text
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
pub(super) fn is_not_finite(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    ["nan", "inf", "infinity"].iter().any(|name| text.eq_ignore_ascii_case(name))
}
