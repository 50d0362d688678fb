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
    /// Compressed bytes taken so far.
    taken: u64,
    piece: Vec<u8>,
}

enum Codec {
    /// The first bytes do not tell yet.
    Unknown(Vec<u8>),
    Plain,
    Gzip(Gzip),
    Zstd {
        decoder: Decoder<'static>,
        whole: bool,
    },
    /// Broken at this compressed byte; all that comes after is ignored.
    Broken(Compression, u64),
}

enum Gzip {
    Member(Decompress),
    /// After a member: another one, zeros that pad, or the end.
    Between,
    Padding,
}

impl Source {
    pub(super) fn new() -> Self {
        Self { codec: Codec::Unknown(Vec::new()), taken: 0, piece: Vec::new() }
    }

    pub(super) fn compression(&self) -> Compression {
        match self.codec {
            Codec::Unknown(_) | Codec::Plain => Compression::None,
            Codec::Gzip(_) => Compression::Gzip,
            Codec::Zstd { .. } => Compression::Zstd,
            Codec::Broken(compression, _) => compression,
        }
    }

    pub(super) fn push(&mut self, chunk: &[u8], out: &mut dyn FnMut(&[u8])) {
        if let Codec::Unknown(first) = &mut self.codec {
            first.extend_from_slice(chunk);
            let Some(codec) = Codec::of(first) else {
                return;
            };
            let first = std::mem::take(first);
            self.codec = codec;
            if !matches!(self.codec, Codec::Plain | Codec::Broken(..)) {
                self.piece.resize(PIECE_BYTES, 0);
            }
            self.decode(&first, out);
        } else {
            self.decode(chunk, out);
        }
    }

    /// Ends the object. Says where the compressed stream is broken, if it is.
    pub(super) fn finish(&mut self, out: &mut dyn FnMut(&[u8])) -> Option<u64> {
        if let Codec::Unknown(first) = &mut self.codec {
            let first = std::mem::take(first);
            if first.starts_with(GZIP) {
                self.codec = Codec::Broken(Compression::Gzip, 0);
            } else {
                self.codec = Codec::Plain;
                self.decode(&first, out);
            }
        }
        match &self.codec {
            Codec::Broken(_, at) => Some(*at),
            Codec::Gzip(Gzip::Member(_)) | Codec::Zstd { whole: false, .. } => Some(self.taken),
            _ => None,
        }
    }

    fn decode(&mut self, chunk: &[u8], out: &mut dyn FnMut(&[u8])) {
        match &mut self.codec {
            Codec::Plain => chunk.chunks(PIECE_BYTES).for_each(out),
            Codec::Gzip(gzip) => match gzip.push(chunk, &mut self.piece, out) {
                Ok(()) => self.taken += chunk.len() as u64,
                Err(at) => self.break_off(at),
            },
            Codec::Zstd { decoder, whole } => {
                match zstd_push(decoder, whole, chunk, &mut self.piece, out) {
                    Ok(()) => self.taken += chunk.len() as u64,
                    Err(at) => self.break_off(at),
                }
            }
            Codec::Broken(..) | Codec::Unknown(_) => {}
        }
    }

    fn break_off(&mut self, at: usize) {
        self.codec = Codec::Broken(self.compression(), self.taken + at as u64);
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
                Ok(decoder) => Self::Zstd { decoder, whole: true },
                Err(_) => Self::Broken(Compression::Zstd, 0),
            });
        }
        Some(Self::Plain)
    }
}

impl Gzip {
    /// Decodes a chunk; an error is the place in it where the stream is broken.
    fn push(
        &mut self,
        chunk: &[u8],
        piece: &mut [u8],
        out: &mut dyn FnMut(&[u8]),
    ) -> Result<(), usize> {
        let mut i = 0;
        loop {
            match self {
                Self::Padding => {
                    let garbage = chunk[i..].iter().position(|&b| b != 0);
                    return garbage.map_or(Ok(()), |k| Err(i + k));
                }
                Self::Between => match chunk.get(i) {
                    None => return Ok(()),
                    Some(0) => *self = Self::Padding,
                    Some(0x1F) => *self = Self::Member(Decompress::new_gzip(15)),
                    Some(_) => return Err(i),
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
                        _ => return Err(i),
                    }
                }
            }
        }
    }
}

/// Decodes a chunk; an error is the place in it where the stream is broken.
fn zstd_push(
    decoder: &mut Decoder<'static>,
    whole: &mut bool,
    chunk: &[u8],
    piece: &mut [u8],
    out: &mut dyn FnMut(&[u8]),
) -> Result<(), usize> {
    let mut input = InBuffer::around(chunk);
    loop {
        let before = input.pos();
        let (result, made) = {
            let mut output = OutBuffer::around(&mut *piece);
            let result = decoder.run(&mut input, &mut output);
            (result, output.pos())
        };
        if made > 0 {
            out(&piece[..made]);
        }
        match result {
            Err(_) => return Err(input.pos()),
            Ok(hint) => {
                if input.pos() > before || made > 0 {
                    *whole = hint == 0;
                }
                if made < piece.len() && input.pos() == chunk.len() {
                    return Ok(());
                }
                if made == 0 && input.pos() == before {
                    return Err(before);
                }
            }
        }
    }
}
