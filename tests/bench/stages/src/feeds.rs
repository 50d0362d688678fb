//! Landing objects: bytes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use flate2::Compression;
use flate2::write::GzEncoder;
use lake::tables::Stream;

/// About 10 MB of accelerometer readings, 4 MB of step trainer readings, 1 MB of customers.
const OPTIONS: generate::Options = generate::Options {
    customers: 2_000,
    days: 1,
    seed: 1,
    shared_serials: None,
    first_day: 20_483,
    rows_per_file_max: 10_000,
    parts_of_day: 4,
};

static FEEDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder for the feeds");
    generate::generate(folder.path(), &OPTIONS, &mut |_, _| {}).expect("the feeds");
    let feed = |stream: Stream| {
        let mut text = Vec::new();
        for path in files(&folder.path().join("landing").join(stream.name())) {
            text.extend(std::fs::read(path).expect("a landing object"));
        }
        text
    };
    Stream::ALL.map(feed).into()
});

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// A whole feed, newline-delimited.
pub fn lines(stream: Stream) -> &'static [u8] {
    let index = Stream::ALL.iter().position(|other| *other == stream);
    &FEEDS[index.expect("a stream")]
}

/// The first lines of a feed.
pub fn first_lines(stream: Stream, rows: usize) -> &'static [u8] {
    let text = lines(stream);
    let end = memchr::memchr_iter(b'\n', text).nth(rows - 1).expect("so many records");
    &text[..=end]
}

/// A feed in one of the other forms a landing object may have.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// A record a line.
    Lines,
    /// One document: an array of records.
    Array,
    /// One record right after the other.
    Joined,
    /// Lines, gzipped.
    Gzip,
}

/// The whole feed in a form.
pub fn in_form(stream: Stream, form: Form) -> Vec<u8> {
    let lines = lines(stream);
    match form {
        Form::Lines => lines.to_vec(),
        Form::Joined => lines.iter().copied().filter(|byte| *byte != b'\n').collect(),
        Form::Array => {
            let records: Vec<&[u8]> = lines.trim_ascii_end().split(|b| *b == b'\n').collect();
            [b"[".as_slice(), &records.join(&b','), b"]"].concat()
        }
        Form::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(lines).and_then(|()| encoder.finish()).expect("gzip")
        }
    }
}
