//! A fragment as one line of the quarantine, and the place of a fragment shown to a person.
//!
//! The line is a JSON object with the members of [`Fragment`]. `raw` is text from which the bytes
//! can be had back: bytes that are valid UTF-8 stand for themselves, except `%` and control
//! characters other than tab, line feed and carriage return; these and all other bytes are written
//! `%XX`, their value in upper-case hexadecimal.

use std::fmt::Write;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::fragment::{Fragment, Reason};

/// Bytes shown on each side of the offending one.
const AROUND_BYTES: u64 = 480;
/// Characters shown of a line on each side of the offending one.
const AROUND_COLUMNS: usize = 48;

/// A line of the quarantine that cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// Not the JSON object of a fragment.
    #[error("parse a quarantine line")]
    Json(#[from] serde_json::Error),
    /// `raw` holds a percent sign that does not begin `%XX`.
    #[error("parse a quarantine line: bad escape at byte {0} of raw")]
    Escape(usize),
}

#[derive(Serialize, Deserialize)]
struct Line {
    reason: Reason,
    message: String,
    offset_bytes: u64,
    length_bytes: u64,
    at_bytes: u64,
    raw: String,
}

impl Fragment {
    /// The fragment as one line of JSON, without a line feed.
    ///
    /// # Errors
    /// None that are known of: text and numbers can always be written.
    pub fn to_line(&self) -> Result<String, LineError> {
        Ok(serde_json::to_string(&Line {
            reason: self.reason,
            message: self.message.clone(),
            offset_bytes: self.offset_bytes,
            length_bytes: self.length_bytes,
            at_bytes: self.at_bytes,
            raw: escape(&self.raw),
        })?)
    }

    /// The fragment that [`to_line`](Self::to_line) wrote.
    ///
    /// # Errors
    /// If the line is not such a one.
    pub fn from_line(line: &str) -> Result<Self, LineError> {
        let line: Line = serde_json::from_str(line)?;
        Ok(Self {
            reason: line.reason,
            message: line.message,
            offset_bytes: line.offset_bytes,
            length_bytes: line.length_bytes,
            at_bytes: line.at_bytes,
            raw: unescape(&line.raw)?,
        })
    }

    /// The part of the decompressed source that [`explain`](Self::explain) wants to see.
    pub fn surroundings(&self) -> Range<u64> {
        self.at_bytes.saturating_sub(AROUND_BYTES)..self.at_bytes.saturating_add(AROUND_BYTES)
    }

    /// The surrounding text with a marker under the offending byte.
    ///
    /// `source` is a part of the decompressed source that starts at its byte `source_offset`;
    /// [`surroundings`](Self::surroundings) is enough of it. The line of the offending byte is
    /// shown with those before and after it, long ones clipped; what cannot be shown is a dot.
    pub fn explain(&self, source: &[u8], source_offset: u64) -> String {
        let mut text = format!(
            "byte {}, {} bytes, {}: {}\n",
            self.offset_bytes, self.length_bytes, self.reason, self.message
        );
        let at = self.at_bytes.saturating_sub(source_offset);
        let at = usize::try_from(at).unwrap_or(usize::MAX).min(source.len());
        let start = source[..at].iter().rposition(|&b| b == b'\n').map_or(0, |feed| feed + 1);
        let end = source[at..].iter().position(|&b| b == b'\n').map_or(source.len(), |k| at + k);
        let show = |text: &mut String, line: String| {
            let _ = writeln!(text, "  | {}", line.trim_end());
        };
        if start > 0 {
            let before = &source[..start - 1];
            let first = before.iter().rposition(|&b| b == b'\n').map_or(0, |feed| feed + 1);
            show(&mut text, head(&shown(&before[first..])));
        }
        let (left, right) = (shown(&source[start..at]), shown(&source[at..end]));
        let left = tail(&left);
        let marker = " ".repeat(left.chars().count()) + "^";
        show(&mut text, left + &head(&right));
        show(&mut text, marker);
        if end < source.len() {
            let after = &source[end + 1..];
            let last = after.iter().position(|&b| b == b'\n').unwrap_or(after.len());
            show(&mut text, head(&shown(&after[..last])));
        }
        text
    }
}

/// One character for each that can be shown, a dot for each other byte or character.
fn shown(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.extend(chunk.valid().chars().map(|c| if c.is_control() { '·' } else { c }));
        text.extend(chunk.invalid().iter().map(|_| '·'));
    }
    text
}

/// The first characters of a text.
fn head(text: &str) -> String {
    match text.char_indices().nth(2 * AROUND_COLUMNS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The last characters of a text.
fn tail(text: &str) -> String {
    match text.char_indices().rev().nth(AROUND_COLUMNS) {
        Some((start, c)) => format!("…{}", &text[start + c.len_utf8()..]),
        None => text.to_owned(),
    }
}

/// Bytes as text, without loss.
fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '%' || (c.is_ascii_control() && !matches!(c, '\t' | '\n' | '\r')) {
                let _ = write!(text, "%{:02X}", u32::from(c));
            } else {
                text.push(c);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// The bytes that [`escape`] made a text of.
fn unescape(text: &str) -> Result<Vec<u8>, LineError> {
    let text = text.as_bytes();
    let mut bytes = Vec::with_capacity(text.len());
    let mut i = 0;
    while i < text.len() {
        if text[i] == b'%' {
            let code = text.get(i + 1..i + 3).and_then(|code| hex::decode(code).ok());
            bytes.extend(code.ok_or(LineError::Escape(i))?);
            i += 3;
        } else {
            bytes.push(text[i]);
            i += 1;
        }
    }
    Ok(bytes)
}
