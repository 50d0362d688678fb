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
    /// Of each column, the key as last spelled, from its opening quote to its colon.
    spelled: Vec<Vec<u8>>,
    /// Of each column (and of the start), the column that last came after it.
    after: [usize; Names::START + 1],
}

impl Names {
    /// Stands for the column before the first.
    pub(super) const START: usize = super::scan::COLUMNS_MAX;

    pub(super) fn new(stream: Stream) -> Self {
        let names: Vec<String> =
            stream.schema().fields().iter().map(|field| field.name().clone()).collect();
        let key = match stream {
            Stream::Customer => "email",
            Stream::Accelerometer => "user",
            Stream::StepTrainer => "serialnumber",
        };
        let key = names.iter().position(|name| name == key).unwrap_or(0);
        Self { key, spelled: vec![Vec::new(); names.len()], names, after: [0; Self::START + 1] }
    }

    /// The column that says whose record it is.
    pub(super) fn key(&self) -> usize {
        self.key
    }

    /// The column expected after `previous`, if `rest` starts with its key, and the key's length.
    #[inline]
    pub(super) fn guess(&self, rest: &[u8], previous: usize) -> Option<(usize, usize)> {
        let column = self.after[previous];
        let spelled = self.spelled[column].as_slice();
        (rest.starts_with(spelled) && !spelled.is_empty()).then_some((column, spelled.len()))
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
            if memory != spelled {
                memory.clear();
                memory.extend_from_slice(spelled);
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
