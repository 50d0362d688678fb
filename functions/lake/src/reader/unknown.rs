//! Keys that no column takes: how many records carried each.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// Names remembered; a feed whose keys are values would otherwise fill the memory.
const NAMES_MAX: usize = 256;
const NAME_BYTES_MAX: usize = 128;

/// The unknown keys of an object.
#[derive(Debug, Default)]
pub(super) struct Unknown {
    names: BTreeMap<String, Carried>,
    unlisted: u64,
}

#[derive(Debug)]
struct Carried {
    records: u64,
    /// The last record that carried it, so that a record counts once.
    last: u64,
}

impl Unknown {
    /// Notes the keys of a record, given by their places between the quotes.
    pub(super) fn note(&mut self, view: &[u8], keys: &[(usize, usize)], record: u64) {
        for &(start, end) in keys {
            let name = name_of(&view[start..end]);
            if let Some(carried) = self.names.get_mut(&*name) {
                carried.records += u64::from(carried.last != record);
                carried.last = record;
            } else if self.names.len() < NAMES_MAX {
                self.names.insert(name.into_owned(), Carried { records: 1, last: record });
            } else {
                self.unlisted += 1;
            }
        }
    }

    /// The records that carried each name, and the occurrences of names beyond those remembered.
    pub(super) fn counts(&mut self) -> (BTreeMap<String, u64>, u64) {
        let names = std::mem::take(&mut self.names);
        (names.into_iter().map(|(name, carried)| (name, carried.records)).collect(), self.unlisted)
    }
}

/// A key as it is remembered: lower case, and not without end.
fn name_of(key: &[u8]) -> Cow<'_, str> {
    let plain = |b: &u8| b.is_ascii() && !b.is_ascii_uppercase() && *b != b'\\';
    let text = String::from_utf8_lossy(key);
    if key.len() <= NAME_BYTES_MAX && key.iter().all(plain) {
        return text;
    }
    let mut name = super::names::unescape(text.as_bytes()).unwrap_or_else(|| text.into_owned());
    while name.len() > NAME_BYTES_MAX {
        name.pop();
    }
    name.make_ascii_lowercase();
    Cow::Owned(name)
}
