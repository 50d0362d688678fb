//! Decompression, pushed: compressed bytes in as they arrive, the source's bytes out in pieces.

use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

use super::Compression;

/// Bytes handed on at a time, so that what is buffered does not depend on the chunks.
const PIECE_BYTES: usize = 128 << 10;

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

    pub(super) fn push(&mut self, chunk: &[u8], out: &mut dyn FnMut(&[u8])) {
        let Codec::Unknown(first) = &mut self.codec else {
            return self.decode(chunk, out);
        };
        let mut first = std::mem::take(first);
        let bytes = if first.is_empty() {
            chunk
        } else {
            first.extend_from_slice(chunk);
            &first
        };
        let Some(codec) = Codec::of(bytes) else {
            self.codec = Codec::Unknown(bytes.to_vec());
            return;
        };
        self.codec = codec;
        if !matches!(self.codec, Codec::Plain | Codec::Broken(_)) {
            self.piece.resize(PIECE_BYTES, 0);
        }
        self.decode(bytes, out);
    }

    /// Ends the object. Says whether the compressed stream was whole.
    pub(super) fn finish(&mut self, out: &mut dyn FnMut(&[u8])) -> bool {
        if let Codec::Unknown(first) = &mut self.codec {
            let first = std::mem::take(first);
            if first.starts_with(GZIP) {
                self.codec = Codec::Broken(Compression::Gzip);
            } else {
                self.codec = Codec::Plain;
                self.decode(&first, out);
            }
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

    fn decode(&mut self, chunk: &[u8], out: &mut dyn FnMut(&[u8])) {
        let decoded = match &mut self.codec {
            Codec::Plain => {
                chunk.chunks(PIECE_BYTES).for_each(out);
                Ok(())
            }
            Codec::Gzip(gzip) => gzip.push(chunk, &mut self.piece, out),
            Codec::Zstd(zstd) => zstd.push(chunk, &mut self.piece, out),
            Codec::Broken(_) | Codec::Unknown(_) => Ok(()),
        };
        if let Err(Broken) = decoded {
            self.codec = Codec::Broken(self.compression());
        }
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
    ) -> Result<(), Broken> {
        let mut i = 0;
        loop {
            match self {
                Self::Padding => {
                    let garbage = chunk[i..].iter().any(|&b| b != 0);
                    return if garbage { Err(Broken) } else { Ok(()) };
                }
                Self::Between => match chunk.get(i) {
                    None => return Ok(()),
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
                        // A full piece may have more behind it.
                        Ok(_) if made == piece.len() => {}
                        Ok(_) if i == chunk.len() => return Ok(()),
                        Ok(_) if taken + made > 0 => {}
                        _ => return Err(Broken),
                    }
                }
            }
        }
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
    ) -> Result<(), Broken> {
        while !chunk.is_empty() {
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
        Ok(())
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
