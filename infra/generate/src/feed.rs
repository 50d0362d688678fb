//! One feed as files: rows stream into a file until it is full, then into the next.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::draws::{About, Draws};
use crate::{GenerateError, Options};

const BUFFER_BYTES: usize = 256 * 1024;

/// The files of one stream.
pub(crate) struct Feed {
    stream: &'static str,
    root: PathBuf,
    seed: u64,
    rows_per_file_max: u64,
    place: Place,
    open: Option<Open>,
    line: Vec<u8>,
    rows: u64,
    files: u64,
    bytes: u64,
}

/// Where the next files go and how they are named.
struct Place {
    folder: String,
    stamp_ms: i64,
    suffix: &'static str,
}

struct Open {
    path: PathBuf,
    writer: BufWriter<File>,
    rows_left: u64,
}

impl Feed {
    pub(crate) fn new(landing: &Path, stream: &'static str, options: &Options) -> Self {
        Self {
            stream,
            root: landing.join(stream),
            seed: options.seed,
            rows_per_file_max: u64::from(options.rows_per_file_max),
            place: Place { folder: String::new(), stamp_ms: 0, suffix: "" },
            open: None,
            line: Vec::with_capacity(512),
            rows: 0,
            files: 0,
            bytes: 0,
        }
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    pub(crate) fn files(&self) -> u64 {
        self.files
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Ends the file at hand; the next row begins one in `folder`.
    pub(crate) fn turn_to(
        &mut self,
        folder: String,
        stamp_ms: i64,
        suffix: &'static str,
    ) -> Result<(), GenerateError> {
        self.close()?;
        self.place = Place { folder, stamp_ms, suffix };
        Ok(())
    }

    /// Adds one record; `write` writes it without the line's end.
    pub(crate) fn row(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
    ) -> Result<(), GenerateError> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.begin()?,
        };
        self.line.clear();
        write(&mut self.line)
            .and_then(|()| self.line.write_all(b"\n"))
            .and_then(|()| open.writer.write_all(&self.line))
            .map_err(|source| GenerateError::io("write", &open.path, source))?;
        self.rows += 1;
        self.bytes += self.line.len() as u64;
        open.rows_left -= 1;
        let full = open.rows_left == 0;
        self.open = Some(open);
        if full { self.close() } else { Ok(()) }
    }

    /// Ends the file at hand.
    pub(crate) fn close(&mut self) -> Result<(), GenerateError> {
        let Some(mut open) = self.open.take() else {
            return Ok(());
        };
        open.writer.flush().map_err(|source| GenerateError::io("write", &open.path, source))
    }

    fn begin(&mut self) -> Result<Open, GenerateError> {
        let folder = self.root.join(&self.place.folder);
        fs::create_dir_all(&folder)
            .map_err(|source| GenerateError::io("create", &folder, source))?;
        let stamp_ms = self.place.stamp_ms + self.files as i64;
        let path = folder.join(format!("{}-{stamp_ms}{}.json", self.stream, self.place.suffix));
        // An existing file is never overwritten: the folder may have filled since it was looked at.
        let file =
            File::create_new(&path).map_err(|source| GenerateError::io("create", &path, source))?;
        let rows_left = self.capacity();
        self.files += 1;
        Ok(Open { path, writer: BufWriter::with_capacity(BUFFER_BYTES, file), rows_left })
    }

    /// Files differ in size: one in eight holds a single row, two hold few.
    fn capacity(&self) -> u64 {
        let stream = self.stream.bytes().next().map_or(0, u64::from);
        let mut draws = Draws::about(self.seed, About::File, stream, self.files);
        let rows = match self.files % 8 {
            1 => 1,
            2 | 4 => 2 + draws.below(self.rows_per_file_max / 20),
            _ => self.rows_per_file_max,
        };
        rows.clamp(1, self.rows_per_file_max)
    }
}
