//! Where records begin and end, also among broken ones.
//!
//! Between records only separators may stand: white space, commas, brackets, byte order marks. A
//! `{` there begins a record, scanned strictly. If it breaks, or anything else stands there, a
//! *wreck* begins, and every further `{` is tried as the beginning of the next record. A try costs
//! its own bytes only: where it breaks, the next `{` after its first byte is tried, so that a
//! record cut off in front of an intact one cannot take it along. The wreck ends at the first
//! record taken and becomes one fragment.
//!
//! A nested object is no record. So, once a `{` of the wreck has failed, an object is taken for a
//! record only if it names the column that says whose record it is, or directly follows a line
//! feed or a closing brace. A failed try that names that column, or names any column at such a
//! place, begins a fragment of its own. For the
//! same reason a whole object that names no column of the stream, or has an object or array where
//! a column's value belongs, is looked into: it may be a cut-off record that swallowed whole ones.
//!
//! Bound of the work: tries that overlap are nested in one of the two ways of reading a place
//! (within a text or not), so a byte is scanned at most `2 × nesting_max + 2` times, three times
//! that on average when it arrives in chunks, whatever the input; in clean input once, and once more
//! the short way in records that have not the shape of the one before (`shape`), or end a chunk.

use memchr::memchr;

use super::fragment::{Fragment, Reason};
use super::names::Names;
use super::record::Record;
use super::rows::{Fault, Rows};
use super::scan::{self, Scan};
use super::shape::Shape;
use super::unknown::Unknown;
use super::{Limits, Sink, Summary};
use crate::tables::Stream;

const CUT_OFF: &str = "the record begins and does not end before the next, or before the end of the \
                       object; deliver it whole";
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// So many bytes decide what was left undecided, as a rule.
const STITCH_BYTES: usize = 512;

/// Cuts the source into records and fragments.
pub(super) struct Framing {
    limits: Limits,
    names: Names,
    record: Record,
    rows: Rows,
    shape: Shape,
    /// Bytes not decided on yet.
    buffer: Vec<u8>,
    /// Place of the buffer's first byte in the source.
    base: u64,
    /// The byte before the buffer's first.
    before: u8,
    /// Length of the buffer below which another try would end the same way.
    retry_bytes: usize,
    wreck: Option<Wreck>,
    lines: Lines,
    unknown: Unknown,
    records: u64,
    summary: Summary,
}

/// A fragment in the making.
struct Wreck {
    reason: Reason,
    message: String,
    offset: u64,
    at: u64,
    length: u64,
    /// White space at its end, which will not belong to it.
    blank_tail: u64,
    raw: Vec<u8>,
    /// Whether a `{` in it was tried as a record.
    opened: bool,
    /// The end of the whole object that is being looked into.
    until: Option<u64>,
}

/// Whether every line so far holds one object.
struct Lines {
    clean: bool,
    objects: u32,
}

enum Step {
    /// Go on at this place of the buffer.
    Next(usize),
    /// More bytes are needed to go on at this place.
    Wait(usize),
}

impl Framing {
    pub(super) fn new(stream: Stream, limits: &Limits) -> Self {
        Self {
            limits: Limits {
                // Places in a record are 32 bits wide, and so are those in a batch.
                record_bytes_max: limits.record_bytes_max.min(1 << 30),
                ..limits.clone()
            },
            names: Names::new(stream),
            record: Record::default(),
            rows: Rows::new(stream, limits),
            shape: Shape::default(),
            buffer: Vec::new(),
            base: 0,
            before: b'\n',
            retry_bytes: 0,
            wreck: None,
            lines: Lines { clean: true, objects: 0 },
            unknown: Unknown::default(),
            records: 0,
            summary: Summary::default(),
        }
    }

    #[cfg(test)]
    pub(super) fn go_the_long_way(&mut self) {
        self.shape = Shape::never();
    }

    /// Takes the next bytes of the source.
    ///
    /// They are read where they are. Only what was left undecided before is put together with as many
    /// of them as decide it, and what is left of them is kept for the next.
    pub(super) fn push(&mut self, piece: &[u8], sink: &mut dyn Sink) {
        self.summary.source_bytes += piece.len() as u64;
        let mut piece = piece;
        while !self.buffer.is_empty() {
            let taken = piece.len().min(self.buffer.len().max(STITCH_BYTES));
            self.buffer.extend_from_slice(&piece[..taken]);
            if self.buffer.len() >= self.retry_bytes {
                self.advance(false, sink);
            }
            if taken == piece.len() {
                return;
            }
            // If only bytes of this piece are undecided, they are read again where they are.
            let again = if self.buffer.len() <= taken { self.buffer.len() } else { 0 };
            self.buffer.truncate(self.buffer.len() - again);
            piece = &piece[taken - again..];
        }
        let stop = self.walk(piece, false, sink);
        self.buffer.extend_from_slice(&piece[stop..]);
    }

    /// Ends the source, which is `whole` unless decompression broke off.
    pub(super) fn finish(mut self, whole: bool, sink: &mut dyn Sink) -> Summary {
        self.advance(true, sink);
        if !whole {
            let end = self.summary.source_bytes;
            let at = usize::try_from(end - self.base).unwrap_or(usize::MAX);
            if self.wreck.is_none() {
                self.begin(at, at, Reason::BrokenCompression, String::new(), None);
            }
            if let Some(wreck) = &mut self.wreck {
                wreck.reason = Reason::BrokenCompression;
                wreck.at = end;
                wreck.message = "the compressed stream ends too early or is damaged; what could \
                                 be read is used; compress the object again and deliver it again"
                    .to_owned();
            }
        }
        self.close(sink);
        self.flush(sink);
        self.summary.expectations = self.rows.unmet();
        (self.summary.unknown_columns, self.summary.unknown_columns_unlisted) =
            self.unknown.counts();
        self.summary.newline_delimited = self.lines.clean;
        self.summary
    }

    /// Goes on in the buffer, and keeps what is undecided.
    fn advance(&mut self, end: bool, sink: &mut dyn Sink) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let stop = self.walk(&buffer, end, sink);
        buffer.drain(..stop);
        self.buffer = buffer;
    }

    /// Goes on in bytes that begin at the base, up to what is undecided; that is the new base.
    fn walk(&mut self, bytes: &[u8], end: bool, sink: &mut dyn Sink) -> usize {
        self.retry_bytes = 0;
        let mut i = 0;
        let stop = loop {
            let step = match self.wreck.is_some() {
                false => self.between(bytes, i, end, sink),
                true => self.within(bytes, i, end, sink),
            };
            match step {
                Step::Next(next) => i = next,
                Step::Wait(stop) => break stop,
            }
        };
        if stop > 0 {
            self.before = bytes[stop - 1];
            self.base += stop as u64;
        }
        stop
    }

    /// Goes over separators to the next record.
    fn between(&mut self, buffer: &[u8], start: usize, end: bool, sink: &mut dyn Sink) -> Step {
        let mut i = start;
        let mut wait = false;
        while let Some(&byte) = buffer.get(i) {
            match byte {
                b' ' | b'\t' | b'\r' => {}
                b'\n' => {
                    self.lines.clean &= self.lines.objects == 1;
                    self.lines.objects = 0;
                }
                b',' | b'[' | b']' => self.lines.clean = false,
                0xEF if buffer[i..].starts_with(BYTE_ORDER_MARK) => {
                    self.lines.clean = false;
                    i += BYTE_ORDER_MARK.len() - 1;
                }
                0xEF if !end && BYTE_ORDER_MARK.starts_with(&buffer[i..]) => {
                    wait = true;
                    break;
                }
                _ => break,
            }
            i += 1;
        }
        self.summary.separator_bytes += (i - start) as u64;
        match buffer.get(i) {
            None => Step::Wait(i),
            Some(_) if wait => Step::Wait(i),
            Some(b'{') => match self.follow(buffer, i) {
                Some(length) => self.took(length, i, sink),
                None => self.attempt(buffer, i, end, sink),
            },
            Some(_) => {
                let message = "bytes that belong to no record; remove them, or complete the \
                               record they are left of";
                self.begin(i, i, Reason::StrayBytes, message.to_owned(), None);
                Step::Next(i)
            }
        }
    }

    /// Takes the record at `start` the short way, if it has the shape of those before; its length.
    #[inline]
    fn follow(&mut self, buffer: &[u8], start: usize) -> Option<usize> {
        if !self.shape.is_known() {
            return None;
        }
        let longest = self.limits.record_bytes_max.min(buffer.len() - start);
        let taken = self.rows.follow(&self.shape, &buffer[start..start + longest]);
        self.shape.note(taken.is_some());
        if taken.is_some() {
            // It has line feeds only if the record its shape is of had: then no line is clean.
            self.count(false);
        }
        taken
    }

    /// Counts a record, which may hold line feeds.
    fn count(&mut self, line_feeds: bool) {
        self.records += 1;
        self.lines.objects = self.lines.objects.saturating_add(1);
        self.lines.clean &= self.lines.objects == 1 && !line_feeds;
    }

    /// A record became a row.
    fn took(&mut self, length: usize, start: usize, sink: &mut dyn Sink) -> Step {
        self.summary.rows += 1;
        self.summary.row_bytes += length as u64;
        if self.rows.full() {
            self.flush(sink);
        }
        Step::Next(start + length)
    }

    /// Goes on in a wreck to the next place where a record may begin.
    fn within(&mut self, buffer: &[u8], start: usize, end: bool, sink: &mut dyn Sink) -> Step {
        let until = self.until();
        let stop = until.unwrap_or(buffer.len());
        match memchr(b'{', &buffer[start..stop]) {
            Some(k) => {
                self.waste(&buffer[start..start + k]);
                self.attempt(buffer, start + k, end, sink)
            }
            None => {
                self.waste(&buffer[start..stop]);
                if until.is_none() {
                    return Step::Wait(stop);
                }
                self.close(sink);
                Step::Next(stop)
            }
        }
    }

    /// The end, in the buffer, of the whole object that is being looked into. It is all there.
    fn until(&self) -> Option<usize> {
        let until = self.wreck.as_ref()?.until?;
        usize::try_from(until - self.base).ok()
    }

    /// Tries the `{` at `start` as the beginning of a record.
    fn attempt(&mut self, buffer: &[u8], start: usize, end: bool, sink: &mut dyn Sink) -> Step {
        // What begins within a text of a whole object could go on beyond it.
        let until = self.until();
        let room = until.unwrap_or(buffer.len()) - start;
        let longest = self.limits.record_bytes_max.min(room);
        let view = &buffer[start..start + longest];
        let nesting_max = self.limits.nesting_max;
        match scan::object(view, &mut self.names, nesting_max, &mut self.record) {
            Scan::Whole(length) => self.whole(buffer, start, length, sink),
            Scan::Broken(at, reason, expected) => {
                self.failed(buffer, start, at, reason, expected, sink)
            }
            Scan::Incomplete if longest == self.limits.record_bytes_max => {
                self.failed(buffer, start, longest, Reason::RecordTooLong, "", sink)
            }
            Scan::Incomplete if end || until.is_some() => {
                self.failed(buffer, start, longest, Reason::CutOff, "", sink)
            }
            Scan::Incomplete => {
                self.retry_bytes = (2 * longest).min(self.limits.record_bytes_max);
                Step::Wait(start)
            }
        }
    }

    /// A `{` that begins no record.
    fn failed(
        &mut self,
        buffer: &[u8],
        start: usize,
        at: usize,
        reason: Reason,
        expected: &'static str,
        sink: &mut dyn Sink,
    ) -> Step {
        let apart = self.record.keyed || (self.record.known && self.at_boundary(buffer, start));
        match &mut self.wreck {
            Some(wreck) if !apart => wreck.opened = true,
            _ => {
                self.close(sink);
                let message = self.why(reason, expected);
                self.begin(start, start + at, reason, message, None);
            }
        }
        self.waste(&buffer[start..=start]);
        Step::Next(start + 1)
    }

    /// What is wrong with a `{` that begins no record, and what to do about it.
    fn why(&self, reason: Reason, expected: &str) -> String {
        let Limits { nesting_max, record_bytes_max, .. } = self.limits;
        match reason {
            Reason::NestedTooDeep => {
                format!("nested deeper than {nesting_max}; flatten the record")
            }
            Reason::RecordTooLong => {
                format!("longer than {record_bytes_max} bytes; close the record, or shorten it")
            }
            Reason::CutOff => CUT_OFF.to_owned(),
            Reason::Nul => "a NUL within a text; deliver the text without it".to_owned(),
            _ => format!("expected {expected}; correct the record and deliver it again"),
        }
    }

    /// A whole object: a record, or part of a wreck.
    fn whole(&mut self, buffer: &[u8], start: usize, length: usize, sink: &mut dyn Sink) -> Step {
        if let Some(wreck) = &self.wreck {
            let apart = wreck.until.is_none() && self.at_boundary(buffer, start);
            if wreck.opened && !self.record.keyed && !apart {
                let skipped = if self.record.nested_objects { 1 } else { length };
                self.waste(&buffer[start..start + skipped]);
                return Step::Next(start + skipped);
            }
        }
        let view = &buffer[start..start + length];
        let admitted = self.rows.admit(view, &self.record);
        if let Err(fault) = &admitted
            && self.record.may_swallow()
        {
            let Fault { reason, at, message } = &**fault;
            let (at, reason, message) = (start + at, *reason, message.clone());
            self.close(sink);
            self.begin(start, at, reason, message, Some(start + length));
            self.waste(&buffer[start..=start]);
            return Step::Next(start + 1);
        }
        if self.wreck.is_some() {
            self.close(sink);
        }
        self.count(self.record.line_feeds);
        if !self.record.unknown.is_empty() {
            self.unknown.note(view, &self.record.unknown, self.records);
        }
        match admitted {
            Ok(()) => {
                self.rows.teach(&mut self.shape, view, &self.record);
                return self.took(length, start, sink);
            }
            Err(fault) => {
                let offset_bytes = self.base + start as u64;
                let kept = length.min(self.limits.fragment_bytes_max);
                let fragment = Fragment {
                    reason: fault.reason,
                    message: fault.message,
                    offset_bytes,
                    length_bytes: length as u64,
                    at_bytes: offset_bytes + fault.at as u64,
                    raw: view[..kept].to_vec(),
                };
                self.emit(fragment, sink);
            }
        }
        Step::Next(start + length)
    }

    /// Whether a record is likely to begin here, whatever came before.
    fn at_boundary(&self, buffer: &[u8], start: usize) -> bool {
        let before = if start == 0 { self.before } else { buffer[start - 1] };
        matches!(before, b'\n' | b'}')
    }

    fn begin(
        &mut self,
        start: usize,
        at: usize,
        reason: Reason,
        message: String,
        until: Option<usize>,
    ) {
        self.lines.clean = false;
        self.wreck = Some(Wreck {
            reason,
            message,
            offset: self.base + start as u64,
            at: self.base + at as u64,
            length: 0,
            blank_tail: 0,
            raw: Vec::new(),
            opened: reason != Reason::StrayBytes,
            until: until.map(|until| self.base + until as u64),
        });
    }

    /// Adds bytes to the wreck.
    fn waste(&mut self, bytes: &[u8]) {
        let Some(wreck) = &mut self.wreck else { return };
        let room = self.limits.fragment_bytes_max.saturating_sub(wreck.raw.len());
        wreck.raw.extend_from_slice(&bytes[..bytes.len().min(room)]);
        wreck.length += bytes.len() as u64;
        let solid = bytes.iter().rposition(|b| !matches!(b, b' ' | b'\t' | b'\r' | b'\n'));
        match solid {
            Some(last) => wreck.blank_tail = (bytes.len() - last - 1) as u64,
            None => wreck.blank_tail += bytes.len() as u64,
        }
    }

    fn close(&mut self, sink: &mut dyn Sink) {
        let Some(mut wreck) = self.wreck.take() else {
            return;
        };
        let length = wreck.length - wreck.blank_tail;
        self.summary.separator_bytes += wreck.blank_tail;
        wreck.raw.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        // All its bytes are a right beginning: only what follows shows that it does not go on.
        if wreck.at >= wreck.offset + length && wreck.reason != Reason::BrokenCompression {
            wreck.reason = Reason::CutOff;
            wreck.at = wreck.offset + length;
            wreck.message = CUT_OFF.to_owned();
        }
        let fragment = Fragment {
            reason: wreck.reason,
            message: wreck.message,
            offset_bytes: wreck.offset,
            length_bytes: length,
            at_bytes: wreck.at.min(wreck.offset + length),
            raw: wreck.raw,
        };
        self.emit(fragment, sink);
    }

    fn emit(&mut self, fragment: Fragment, sink: &mut dyn Sink) {
        self.summary.fragments += 1;
        self.summary.fragment_bytes += fragment.length_bytes;
        *self.summary.reasons.entry(fragment.reason).or_default() += 1;
        sink.fragment(fragment);
    }

    fn flush(&mut self, sink: &mut dyn Sink) {
        if let Some(batch) = self.rows.take() {
            sink.batch(batch);
        }
    }
}
