//! A part of an object, decompressed as the reader does, to show the place of a fragment.

use std::ops::Range;

use super::source::Source;

/// Takes the bytes of an object, and keeps those of a range of its decompressed source.
pub struct Excerpt {
    source: Source,
    kept: Kept,
}

struct Kept {
    range: Range<u64>,
    at: u64,
    bytes: Vec<u8>,
}

impl Kept {
    fn push(&mut self, piece: &[u8]) {
        let within = |offset: u64| {
            usize::try_from(offset.saturating_sub(self.at)).unwrap_or(usize::MAX).min(piece.len())
        };
        let (from, to) = (within(self.range.start), within(self.range.end));
        self.bytes.extend_from_slice(&piece[from..to.max(from)]);
        self.at += piece.len() as u64;
    }
}

impl Excerpt {
    /// Keeps the bytes at these offsets of the decompressed source.
    pub fn new(range: Range<u64>) -> Self {
        Self { source: Source::new(), kept: Kept { range, at: 0, bytes: Vec::new() } }
    }

    /// Takes the next bytes of the object, as the store delivers them.
    pub fn push(&mut self, chunk: &[u8]) {
        let kept = &mut self.kept;
        self.source.push(chunk, &mut |piece| kept.push(piece));
    }

    /// The bytes of the range, as far as the object goes and can be read.
    pub fn finish(mut self) -> Vec<u8> {
        let kept = &mut self.kept;
        self.source.finish(&mut |piece| kept.push(piece));
        self.kept.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_the_same_whatever_the_chunks() {
        let text: Vec<u8> = (0..100_u8).collect();
        for size in [1, 7, 100] {
            let mut excerpt = Excerpt::new(10..90);
            text.chunks(size).for_each(|chunk| excerpt.push(chunk));
            assert_eq!(excerpt.finish(), text[10..90], "chunks of {size}");
        }
        let mut beyond = Excerpt::new(95..200);
        beyond.push(&text);
        assert_eq!(beyond.finish(), text[95..]);
    }
}
