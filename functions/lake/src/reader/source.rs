//! Decompression, pushed: compressed bytes in as they arrive, the source's bytes out in pieces.

use std::cell::Cell;

use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

use super::Compression;

/// Bytes handed on at a time, so that what is buffered does not depend on the chunks.
const PIECE_BYTES: usize = 128 << 10;
/// Of an object that is not compressed: no more than its records take that wait to be taken.
const PLAIN_PIECE_BYTES: usize = 16 << 10;

const GZIP: &[u8] = &[0x1F, 0x8B];
const ZSTD: &[u8] = &[0x28, 0xB5, 0x2F, 0xFD];
/// The first byte of a skippable zstd frame is 0x50 to 0x5F.
const ZSTD_SKIPPABLE: &[u8] = &[0x2A, 0x4D, 0x18];

/// The state of decompression.
pub(super) struct Source {
    codec: Codec,
    piece: Vec<u8>,
}

enum Codec {
    /// The first bytes do not tell yet.
    Unknown(Vec<u8>),
    Plain,
    Gzip(Gzip),
    Zstd(Zstd),
    /// All that comes after is ignored.
    Broken(Compression),
}

enum Gzip {
    Member(Decompress),
    /// After a member: another one, zeros that pad, or the end.
    Between,
    Padding,
}

struct Zstd {
    decoder: Decoder<'static>,
    /// Bytes the decoder asks for next; 0 between frames.
    wanted: usize,
    /// The first bytes of the next step.
    step: Vec<u8>,
}

/// Damage in the compressed stream; what came before it has been handed on.
struct Broken;

impl Source {
    pub(super) fn new() -> Self {
        Self { codec: Codec::Unknown(Vec::new()), piece: Vec::new() }
    }

    pub(super) fn compression(&self) -> Compression {
        match self.codec {
            Codec::Unknown(_) | Codec::Plain => Compression::None,
            Codec::Gzip(_) => Compression::Gzip,
            Codec::Zstd(_) => Compression::Zstd,
            Codec::Broken(compression) => compression,
        }
    }

    pub(super) fn push(&mut self, mut chunk: &[u8], out: &mut dyn FnMut(&[u8])) {
        while !chunk.is_empty() {
            chunk = &chunk[self.sip(chunk, out)..];
        }
    }

    /// Takes bytes of the chunk until something was handed on, and says how many: however much they
    /// stand for, that is a piece or two. What else they stand for comes with the next.
    pub(super) fn sip(&mut self, chunk: &[u8], out: &mut dyn FnMut(&[u8])) -> usize {
        let Codec::Unknown(first) = &mut self.codec else {
            return self.decode(chunk, out);
        };
        // One byte after the other until they tell.
        let mut first = std::mem::take(first);
        let mut taken = 0;
        let codec = loop {
            if let Some(codec) = Codec::of(&first) {
                break codec;
            }
            let Some(byte) = chunk.get(taken) else {
                self.codec = Codec::Unknown(first);
                return taken;
            };
            first.push(*byte);
            taken += 1;
        };
        self.codec = codec;
        if !matches!(self.codec, Codec::Plain | Codec::Broken(_)) {
            self.piece.resize(PIECE_BYTES, 0);
        }
        // A header, of which nothing is left; or what turned out to be no compressed object.
        let mut left = first.as_slice();
        while !left.is_empty() {
            left = &left[self.decode(left, out)..];
        }
        taken
    }

    /// Ends the object. Says whether the compressed stream was whole.
    pub(super) fn finish(&mut self, out: &mut dyn FnMut(&[u8])) -> bool {
        if let Codec::Unknown(first) = &mut self.codec {
            let first = std::mem::take(first);
            self.codec = Codec::Plain;
            out(&first);
        }
        if let Codec::Gzip(gzip) = &mut self.codec
            && let Err(Broken) = gzip.drain(&mut self.piece, out)
        {
            self.codec = Codec::Broken(Compression::Gzip);
        }
        if let Codec::Zstd(zstd) = &mut self.codec {
            // What is there of a block without compression can be had. Whole or not, it shows in
            // what the decoder wants.
            let _ = zstd.decode_step(&mut self.piece, out);
        }
        match &self.codec {
            Codec::Broken(_) | Codec::Gzip(Gzip::Member(_)) => false,
            Codec::Zstd(zstd) => zstd.wanted == 0,
            Codec::Unknown(_) | Codec::Plain | Codec::Gzip(_) => true,
        }
    }

    fn decode(&mut self, chunk: &[u8], out: &mut dyn FnMut(&[u8])) -> usize {
        let decoded = match &mut self.codec {
            Codec::Plain => {
                let piece = &chunk[..chunk.len().min(PLAIN_PIECE_BYTES)];
                out(piece);
                Ok(piece.len())
            }
            Codec::Gzip(gzip) => gzip.push(chunk, &mut self.piece, out),
            Codec::Zstd(zstd) => zstd.push(chunk, &mut self.piece, out),
            Codec::Broken(_) | Codec::Unknown(_) => Ok(chunk.len()),
        };
        decoded.unwrap_or_else(|Broken| {
            self.codec = Codec::Broken(self.compression());
            chunk.len()
        })
    }
}

impl Codec {
    /// By the first bytes of the object; none if there are too few of them.
    fn of(first: &[u8]) -> Option<Self> {
        let starts = |magic: &[u8]| first.iter().zip(magic).all(|(a, b)| a == b);
        let skippable = first.first().is_some_and(|b| b & 0xF0 == 0x50)
            && first[1..].iter().zip(ZSTD_SKIPPABLE).all(|(a, b)| a == b);
        if starts(GZIP) {
            return (first.len() >= GZIP.len()).then_some(Self::Gzip(Gzip::Between));
        }
        if starts(ZSTD) || skippable {
            return (first.len() >= ZSTD.len()).then(|| match Decoder::new() {
                Ok(decoder) => Self::Zstd(Zstd { decoder, wanted: 0, step: Vec::new() }),
                Err(_) => Self::Broken(Compression::Zstd),
            });
        }
        Some(Self::Plain)
    }
}

impl Gzip {
    fn push(
        &mut self,
        chunk: &[u8],
        piece: &mut [u8],
        out: &mut dyn FnMut(&[u8]),
    ) -> Result<usize, Broken> {
        let mut i = 0;
        loop {
            match self {
                Self::Padding => {
                    let garbage = chunk[i..].iter().any(|&b| b != 0);
                    return if garbage { Err(Broken) } else { Ok(chunk.len()) };
                }
                Self::Between => match chunk.get(i) {
                    None => return Ok(i),
                    Some(0) => *self = Self::Padding,
                    Some(0x1F) => *self = Self::Member(Decompress::new_gzip(15)),
                    Some(_) => return Err(Broken),
                },
                Self::Member(member) => {
                    let (before_in, before_out) = (member.total_in(), member.total_out());
                    let status = member.decompress(&chunk[i..], piece, FlushDecompress::None);
                    let taken = (member.total_in() - before_in) as usize;
                    let made = (member.total_out() - before_out) as usize;
                    i += taken;
                    if made > 0 {
                        out(&piece[..made]);
                    }
                    match status {
                        Ok(Status::StreamEnd) => *self = Self::Between,
                        Ok(_) if i == chunk.len() => {}
                        Ok(_) if taken + made > 0 => {}
                        _ => return Err(Broken),
                    }
                    // Behind a full piece there may be more, though no byte of the chunk is left.
                    if made > 0 || i == chunk.len() {
                        return Ok(i);
                    }
                }
            }
        }
    }

    /// Hands on what is left behind the last piece.
    fn drain(&mut self, piece: &mut [u8], out: &mut dyn FnMut(&[u8])) -> Result<(), Broken> {
        let mut made = true;
        while std::mem::take(&mut made) {
            self.push(&[], piece, &mut |piece| {
                made = true;
                out(piece);
            })?;
        }
        Ok(())
    }
}

impl Zstd {
    /// Header of a block; the decoder asks for that of the next block together with a block.
    const HEADER_BYTES: usize = 3;

    /// Decodes a chunk in steps, of which each takes one header or one block, whole: where a step
    /// fails the decoder tells nothing of what it made in it, and how much that is must not depend
    /// on the chunks.
    fn push(
        &mut self,
        mut chunk: &[u8],
        piece: &mut [u8],
        out: &mut dyn FnMut(&[u8]),
    ) -> Result<usize, Broken> {
        let before = chunk.len();
        let made = Cell::new(false);
        let out = &mut |piece: &[u8]| {
            made.set(true);
            out(piece);
        };
        while !chunk.is_empty() && !made.get() {
            let step = match self.wanted {
                0 => 1,
                wanted @ 1..=Self::HEADER_BYTES => wanted,
                wanted => (wanted - Self::HEADER_BYTES).min(PIECE_BYTES),
            };
            let (taken, rest) = chunk.split_at(chunk.len().min(step - self.step.len()));
            chunk = rest;
            if taken.len() == step {
                self.decode(taken, piece, out)?;
                continue;
            }
            self.step.extend_from_slice(taken);
            if self.step.len() == step {
                self.decode_step(piece, out)?;
            }
        }
        Ok(before - chunk.len())
    }

    /// Decodes what is there of a step.
    fn decode_step(&mut self, piece: &mut [u8], out: &mut dyn FnMut(&[u8])) -> Result<(), Broken> {
        let step = std::mem::take(&mut self.step);
        self.decode(&step, piece, out)?;
        self.step = step;
        self.step.clear();
        Ok(())
    }

    fn decode(
        &mut self,
        mut step: &[u8],
        piece: &mut [u8],
        out: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Broken> {
        // A full piece may have more behind it.
        let mut full = false;
        while full || !step.is_empty() {
            let mut input = InBuffer::around(step);
            let mut output = OutBuffer::around(&mut *piece);
            let result = self.decoder.run(&mut input, &mut output);
            let (taken, made) = (input.pos(), output.pos());
            if made > 0 {
                out(&piece[..made]);
            }
            full = made == piece.len();
            match result {
                Err(_) => return Err(Broken),
                Ok(_) if taken + made == 0 && !step.is_empty() => return Err(Broken),
                Ok(_) if taken + made == 0 => {}
                Ok(wanted) => self.wanted = wanted,
            }
            step = &step[taken..];
        }
        Ok(())
    }
}
