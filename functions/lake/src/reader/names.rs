//! Which column a key names.
//!
//! Keys match in any case, as Hive's do. A feed spells and orders its keys the same way in record
//! after record, so the last spelling of each column, and the column that last followed it, are
//! tried first: one comparison of bytes.

use crate::tables::Stream;

/// The columns of a stream by name.
#[derive(Debug)]
pub(super) struct Names {
    names: Vec<String>,
    key: usize,
    spelled: Vec<Spelled>,
    /// Of each column (and of the start), the column that last came after it.
    after: [usize; Names::START + 1],
}

/// A key as last spelled, from its opening quote to its colon; its first bytes also as a word.
#[derive(Clone, Debug, Default)]
struct Spelled {
    key: Vec<u8>,
    word: u64,
    mask: u64,
}

impl Names {
    /// Stands for the column before the first.
    pub(super) const START: usize = super::record::COLUMNS_MAX;

    pub(super) fn new(stream: Stream) -> Self {
        let names: Vec<String> =
            stream.schema().fields().iter().map(|field| field.name().clone()).collect();
        let key = match stream {
            Stream::Customer => "email",
            Stream::Accelerometer => "user",
            Stream::StepTrainer => "serialnumber",
        };
        let key = names.iter().position(|name| name == key).unwrap_or(0);
        Self {
            key,
            spelled: vec![Spelled::default(); names.len()],
            names,
            after: [0; Self::START + 1],
        }
    }

    /// The column that says whose record it is.
    pub(super) fn key(&self) -> usize {
        self.key
    }

    /// The column expected after `previous`, if `rest` starts with its key, and the key's length.
    #[inline]
    pub(super) fn guess(&self, rest: &[u8], previous: usize) -> Option<(usize, usize)> {
        let column = self.after[previous];
        let spelled = &self.spelled[column];
        let (word, _) = rest.split_first_chunk()?;
        let length = spelled.key.len();
        let same = (u64::from_le_bytes(*word) ^ spelled.word) & spelled.mask == 0
            && (length <= 8 || rest.get(8..length)? == &spelled.key[8..]);
        (same && length > 0).then_some((column, length))
    }

    /// The column of this key, given between its quotes.
    pub(super) fn find(&self, key: &[u8], escaped: bool) -> Option<usize> {
        if escaped {
            let key = unescape(key)?;
            return self.names.iter().position(|name| name.eq_ignore_ascii_case(&key));
        }
        self.names.iter().position(|name| name.as_bytes().eq_ignore_ascii_case(key))
    }

    /// Remembers how a column was spelled, quote to colon, and after which column it came.
    pub(super) fn learn(&mut self, previous: usize, column: usize, spelled: &[u8]) {
        // Never longer than a key without escapes or spaces: what is remembered stays small.
        if spelled.len() == self.names[column].len() + 3 {
            self.after[previous] = column;
            let memory = &mut self.spelled[column];
            if memory.key != spelled {
                let mut word = [0; 8];
                let mut mask = [0; 8];
                for (i, &byte) in spelled.iter().take(8).enumerate() {
                    word[i] = byte;
                    mask[i] = 0xFF;
                }
                *memory = Spelled {
                    key: spelled.to_vec(),
                    word: u64::from_le_bytes(word),
                    mask: u64::from_le_bytes(mask),
                };
            }
        }
    }
}

/// The text between the quotes of a JSON string with escapes; none if it is no text.
pub(super) fn unescape(text: &[u8]) -> Option<String> {
    let mut quoted = Vec::with_capacity(text.len() + 2);
    quoted.push(b'"');
    quoted.extend_from_slice(text);
    quoted.push(b'"');
    serde_json::from_slice(&quoted).ok()
}
