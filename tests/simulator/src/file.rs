//! Landing objects as the workload describes them, and the bytes they are.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use lake::tables::Stream;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A person of the workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Person {
    /// Of the first e-mail.
    Ada,
    /// Of the second.
    Bob,
    /// Of the third.
    Cyd,
    /// Of the fourth.
    Dee,
}

impl Person {
    /// Everybody.
    pub const ALL: [Self; 4] = [Self::Ada, Self::Bob, Self::Cyd, Self::Dee];

    /// The e-mail in one of its spellings.
    pub fn email(self, spelling: u8) -> String {
        let email = format!("{self:?}@Test.com");
        match spelling {
            0 => email.to_ascii_lowercase(),
            1 => email,
            _ => format!("  {} ", email.to_ascii_uppercase()),
        }
    }

    /// Whose e-mail that is.
    pub fn of_email(email: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|person| (0..3).any(|spelling| person.email(spelling) == email))
    }
}

/// A record, or what should have been one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Entry {
    /// A customer record.
    Customer(CustomerEntry),
    /// An accelerometer reading.
    Motion {
        /// Whose.
        person: Person,
        /// Of the e-mail.
        spelling: u8,
        /// timestamp.
        time_ms: i64,
        /// x, y and z.
        x: Option<f64>,
    },
    /// A step trainer reading.
    Step {
        /// serialnumber.
        serial: String,
        /// sensorreadingtime.
        time_ms: i64,
        /// distancefromobject.
        distance: Option<i32>,
    },
    /// A record that its table cannot take.
    Broken(u8),
}

/// A customer record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CustomerEntry {
    /// Whose.
    pub person: Person,
    /// Of the e-mail.
    pub spelling: u8,
    /// customername.
    pub name: String,
    /// serialnumber.
    pub serial: Option<String>,
    /// registrationdate.
    pub registered_ms: Option<i64>,
    /// lastupdatedate.
    pub updated_ms: Option<i64>,
    /// sharewithresearchasofdate.
    pub research_ms: Option<i64>,
}

/// How records follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Form {
    /// One a line.
    Lines,
    /// One after the other.
    Concatenated,
    /// As the elements of an array.
    Array,
}

/// A landing object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct File {
    /// Its records.
    pub entries: Vec<Entry>,
    /// How they follow each other.
    pub form: Form,
    /// Whether it is compressed.
    pub gzip: bool,
    /// Whether it breaks off in the middle of a last record.
    pub cut_off: bool,
}

/// What the quarantine has to say of a record that could not be taken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Fragment {
    /// Place in the text, bytes.
    pub offset_bytes: u64,
    /// The code of the reason.
    pub reason: String,
    /// The text.
    pub raw: String,
}

impl File {
    /// The bytes of the object, and the fragments a reader has to find in it.
    pub fn render(&self, stream: Stream) -> (Vec<u8>, Vec<Fragment>) {
        let (open, between, close) = match self.form {
            Form::Lines => ("", "\n", "\n"),
            Form::Concatenated => ("", "", ""),
            Form::Array => ("[", ", ", "]"),
        };
        let mut text = open.to_owned();
        let mut fragments = Vec::new();
        for (number, entry) in self.entries.iter().enumerate() {
            if number > 0 {
                text.push_str(between);
            }
            let (json, reason) = entry.render(stream);
            if let Some(reason) = reason {
                fragments.push(fragment(&text, reason, &json));
            }
            text.push_str(&json);
        }
        if self.cut_off {
            if !self.entries.is_empty() {
                text.push_str(between);
            }
            let begun = r#"{"timestamp":168705"#;
            fragments.push(fragment(&text, "cut_off", begun));
            text.push_str(begun);
        } else if !self.entries.is_empty() || self.form == Form::Array {
            text.push_str(close);
        }
        if !self.gzip {
            return (text.into_bytes(), fragments);
        }
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).expect("memory takes every byte");
        (encoder.finish().expect("memory takes every byte"), fragments)
    }
}

fn fragment(before: &str, reason: &str, raw: &str) -> Fragment {
    let (reason, raw) = (reason.to_owned(), raw.to_owned());
    Fragment { offset_bytes: before.len() as u64, reason, raw }
}

impl Entry {
    fn render(&self, stream: Stream) -> (String, Option<&'static str>) {
        match self {
            Self::Customer(customer) => (customer.render(), None),
            Self::Motion { person, spelling, time_ms, x } => {
                let mut json = json!({"user": person.email(*spelling), "timeStamp": time_ms});
                if let Some(x) = x {
                    json["x"] = json!(x);
                    json["y"] = json!(x);
                    json["z"] = json!(x);
                }
                (json.to_string(), None)
            }
            Self::Step { serial, time_ms, distance } => {
                let mut json = json!({"sensorReadingTime": time_ms, "serialNumber": serial});
                if let Some(distance) = distance {
                    json["distanceFromObject"] = json!(distance);
                }
                (json.to_string(), None)
            }
            Self::Broken(kind) => {
                let (json, reason) = broken(stream, *kind);
                (json.to_owned(), Some(reason))
            }
        }
    }
}

impl CustomerEntry {
    fn render(&self) -> String {
        let mut json = Map::new();
        let mut add = |name: &str, value: Value| {
            if !value.is_null() {
                json.insert(name.to_owned(), value);
            }
        };
        add("customerName", json!(self.name));
        add("email", json!(self.person.email(self.spelling)));
        add("serialNumber", json!(self.serial));
        add("registrationDate", json!(self.registered_ms));
        add("lastUpdateDate", json!(self.updated_ms));
        add("shareWithResearchAsOfDate", json!(self.research_ms));
        Value::Object(json).to_string()
    }
}

fn broken(stream: Stream, kind: u8) -> (&'static str, &'static str) {
    match (stream, kind) {
        (Stream::Customer, 0) => (r#"{"registrationDate":1687050000000}"#, "missing_key"),
        (Stream::Customer, 1) => (r#"{"email":"ada@test.com"}"#, "missing_date"),
        (Stream::Customer, _) => {
            (r#"{"email":"ada@test.com","registrationDate":1687050000000.5}"#, "not_integral")
        }
        (Stream::Accelerometer, 0) => (r#"{"timeStamp":1687050000000,"x":1.0}"#, "missing_key"),
        (Stream::Accelerometer, 1) => (r#"{"user":"ada@test.com","x":1.0}"#, "missing_time"),
        (Stream::Accelerometer, _) => {
            (r#"{"user":"ada@test.com","timeStamp":17}"#, "implausible_time")
        }
        (Stream::StepTrainer, 0) => (r#"{"sensorReadingTime":1687050000000}"#, "missing_key"),
        (Stream::StepTrainer, 1) => (r#"{"serialNumber":"D-1"}"#, "missing_time"),
        (Stream::StepTrainer, _) => (
            r#"{"sensorReadingTime":1687050000000,"serialNumber":"D-1","distanceFromObject":-1}"#,
            "negative_distance",
        ),
    }
}
