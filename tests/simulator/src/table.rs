//! Rows of tables as the checks see them: read from Parquet without any code of the lake.

use std::fmt;

use bytes::Bytes;
use parquet::file::reader::FileReader;
use parquet::file::serialized_reader::SerializedFileReader;
use parquet::record::Field;
use serde_json::Value;

/// A value.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cell {
    /// None.
    Null,
    /// Text.
    Text(String),
    /// A whole number.
    Whole(i64),
    /// A floating-point number, by its bits.
    Real(u64),
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Whole(number) => write!(f, "{number}"),
            Self::Real(bits) => write!(f, "{:?}", f64::from_bits(*bits)),
        }
    }
}

impl Cell {
    /// A text, or none.
    pub fn text(text: Option<&str>) -> Self {
        text.map_or(Self::Null, |text| Self::Text(text.to_owned()))
    }

    /// A whole number, or none.
    pub fn whole(number: Option<i64>) -> Self {
        number.map_or(Self::Null, Self::Whole)
    }

    /// A floating-point number, or none.
    pub fn real(number: Option<f64>) -> Self {
        number.map_or(Self::Null, |number| Self::Real(number.to_bits()))
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number, if it is one.
    pub fn as_whole(&self) -> Option<i64> {
        match self {
            Self::Whole(number) => Some(*number),
            _ => None,
        }
    }
}

/// The values of a row, in the order of the table's columns.
pub type Row = Vec<Cell>;

/// A derived object.
#[derive(Debug)]
pub struct Derived {
    /// Its rows, sorted.
    pub rows: Vec<Row>,
    /// What its footer says.
    pub footer: Value,
}

impl Derived {
    /// Reads a derived object.
    pub fn read(bytes: Bytes) -> Self {
        let reader = SerializedFileReader::new(bytes).expect("a derived object is Parquet");
        let metadata = reader.metadata().file_metadata();
        let pairs = metadata.key_value_metadata().expect("it has a footer");
        let pair = pairs.iter().find(|pair| pair.key == "stedi.footer").expect("of the lake's");
        let footer = pair.value.as_deref().expect("that says something");
        let footer = serde_json::from_str(footer).expect("in JSON");
        let rows = reader.get_row_iter(None).expect("it has rows");
        let mut rows: Vec<Row> = rows
            .map(|row| row.expect("that can be read").get_column_iter().map(cell).collect())
            .collect();
        rows.sort();
        Self { rows, footer }
    }

    /// The version of its source.
    pub fn source(&self) -> &str {
        self.footer["version"]["source"].as_str().unwrap_or_default()
    }

    /// The digest of whatever else it was derived from.
    pub fn digest(&self) -> &str {
        self.footer["version"]["digest"].as_str().unwrap_or_default()
    }
}

fn cell((_, field): (&String, &Field)) -> Cell {
    match field {
        Field::Null => Cell::Null,
        Field::Str(text) => Cell::Text(text.clone()),
        Field::Long(number) => Cell::Whole(*number),
        Field::Int(number) => Cell::Whole(i64::from(*number)),
        Field::Double(number) => Cell::Real(number.to_bits()),
        other => panic!("no column of the lake has a {other:?}"),
    }
}

/// The first differences between two bags of rows; `None` if they are equal.
pub fn difference(found: &[Row], wanted: &[Row]) -> Option<String> {
    let (mut found, mut wanted) = (found.to_vec(), wanted.to_vec());
    found.sort();
    wanted.sort();
    if found == wanted {
        return None;
    }
    let missing = minus(&wanted, &found);
    let extra = minus(&found, &wanted);
    Some(format!(
        "{} rows instead of {}; missing {:?}; too many {:?}",
        found.len(),
        wanted.len(),
        missing.iter().take(3).collect::<Vec<_>>(),
        extra.iter().take(3).collect::<Vec<_>>()
    ))
}

fn minus(a: &[Row], b: &[Row]) -> Vec<Row> {
    let mut left = b.to_vec();
    let mut rest = Vec::new();
    for row in a {
        match left.iter().position(|other| other == row) {
            Some(at) => drop(left.swap_remove(at)),
            None => rest.push(row.clone()),
        }
    }
    rest
}
