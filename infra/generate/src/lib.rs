//! Data shaped like the three STEDI feeds.
//!
//! [`generate`] writes `landing/customer/…`, `landing/accelerometer/…` and `landing/step_trainer/…`
//! as newline-delimited JSON, keys spelt and ordered as the real feeds have them. The same options
//! give the same bytes, on every machine. Everything streams: memory does not grow with the data.
//!
//! What a lake must get right is in the data, whatever the size:
//!
//! - customers: several records per person, delivered over the days and not always in order;
//!   research consent given and withdrawn (about half consent at the end); equal times with
//!   different content; records without one of the two dates; repeated deliveries; e-mails written
//!   in other case or with spaces around; devices replaced, devices shared in a household, people
//!   without a device, people who never walk;
//! - readings: about three of the accelerometer per time, step readings of the same times and some
//!   of others, people who walk together and so share times, strangers who are no customers,
//!   readings from before consent, walks through midnight (UTC), uploads that come days late,
//!   repeated rows;
//! - files: nested folders, names with spaces and plus signs, from one row to the maximum.

mod draws;
mod feed;
mod people;
mod sessions;

use std::fs;
use std::io;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use feed::Feed;
use people::{People, Person, Record};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const STREAMS: [&str; 3] = ["customer", "accelerometer", "step_trainer"];

/// How much data, and which. The default is small: made in well under a second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// People in the customer feed.
    pub customers: u32,
    /// Days of readings.
    pub days: u32,
    /// Other seeds give other data of the same kind.
    pub seed: u64,
    /// The fulfilment bug: customer records state so few serial numbers, over and over.
    pub shared_serials: Option<u32>,
    /// First day of readings, in days since 1970-01-01.
    pub first_day: u32,
    /// Rows of the largest files; others are smaller, some hold one.
    pub rows_per_file_max: u32,
    /// Deliveries per day.
    pub parts_of_day: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            customers: 120,
            days: 3,
            seed: 1,
            shared_serials: None,
            first_day: 20_483, // 2026-01-30, so that three days cross a month's end
            rows_per_file_max: 10_000,
            parts_of_day: 4,
        }
    }
}

impl Options {
    fn first_ms(&self) -> i64 {
        i64::from(self.first_day) * DAY_MS
    }

    fn check(&self) -> Result<(), GenerateError> {
        let counts = [
            ("customers", self.customers, 100_000_000),
            ("days", self.days, 36_500),
            ("rows per file", self.rows_per_file_max, u32::MAX),
            ("parts of a day", self.parts_of_day, 1_440),
            ("shared serial numbers", self.shared_serials.unwrap_or(1), self.customers),
        ];
        for (what, value, max) in counts {
            if !(1..=max).contains(&value) {
                return Err(GenerateError::Count { what, value, max });
            }
        }
        Ok(())
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Generated {
    /// Records of the customer feed: more than there are customers.
    pub customer_records: u64,
    /// Readings of the accelerometer feed.
    pub accelerometer_records: u64,
    /// Readings of the step trainer feed.
    pub step_trainer_records: u64,
    /// Files of all feeds.
    pub files: u64,
    /// Bytes of all files.
    pub bytes: u64,
}

impl Generated {
    /// Records of all feeds.
    pub fn records(&self) -> u64 {
        self.customer_records + self.accelerometer_records + self.step_trainer_records
    }
}

/// Why no data could be made.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// An option is out of its range.
    #[error("{what} must be between 1 and {max}, not {value}")]
    Count {
        /// The option.
        what: &'static str,
        /// Its value.
        value: u32,
        /// The largest it can be.
        max: u32,
    },
    /// There are feeds where the new ones should go.
    #[error(
        "{} already holds a feed ({}): name another folder, or remove that one first",
        out.display(),
        feed.display()
    )]
    Occupied {
        /// The folder asked for.
        out: PathBuf,
        /// The feed found in it.
        feed: PathBuf,
    },
    /// A file or folder could not be made or written.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What came of it.
        source: io::Error,
    },
}

impl GenerateError {
    fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }
}

/// Writes the three feeds under `out/landing`.
///
/// `progress` is told the records done and in total. The total is an estimate until the last call,
/// in which both numbers are what was written.
///
/// # Errors
///
/// [`GenerateError::Count`] for options out of range and [`GenerateError::Occupied`] for a folder
/// that holds feeds, before anything is written; [`GenerateError::Io`] where writing fails.
pub fn generate(
    out: &Path,
    options: &Options,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Generated, GenerateError> {
    options.check()?;
    refuse_occupied(out)?;
    let mut generator = Generator::new(out, options, progress);
    generator.customers(None)?;
    for day in 0..options.days {
        generator.customers(Some(day))?;
        for part in 0..options.parts_of_day {
            generator.readings(day, part)?;
        }
        generator.late_readings(day)?;
    }
    generator.finish()
}

fn refuse_occupied(out: &Path) -> Result<(), GenerateError> {
    for stream in STREAMS {
        for feed in [out.join("landing").join(stream), out.join(stream)] {
            match fs::read_dir(&feed).map(|mut entries| entries.next().is_none()) {
                Ok(true) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) if source.kind() != io::ErrorKind::NotADirectory => {
                    return Err(GenerateError::io("look into", &feed, source));
                }
                _ => {
                    return Err(GenerateError::Occupied { out: out.to_owned(), feed });
                }
            }
        }
    }
    Ok(())
}

struct Generator<'o> {
    options: &'o Options,
    people: People<'o>,
    customer: Feed,
    accelerometer: Feed,
    step_trainer: Feed,
    progress: Progress<'o>,
}

impl<'o> Generator<'o> {
    fn new(
        out: &Path,
        options: &'o Options,
        progress: &'o mut dyn FnMut(u64, u64),
    ) -> Generator<'o> {
        let landing = out.join("landing");
        let people = People::new(options);
        let progress = Progress::new(progress, &people, options);
        let [customer, accelerometer, step_trainer] =
            STREAMS.map(|stream| Feed::new(&landing, stream, options));
        Self { options, people, customer, accelerometer, step_trainer, progress }
    }

    fn day_ms(&self, day: u32) -> i64 {
        self.options.first_ms() + i64::from(day) * DAY_MS
    }

    /// The customer records of a day, or the large first delivery.
    fn customers(&mut self, day: Option<u32>) -> Result<(), GenerateError> {
        let (folder, stamp_ms) = match day {
            None => (String::new(), self.options.first_ms() - HOUR_MS),
            Some(day) => (format!("updates/{}", date(self.day_ms(day))), self.day_ms(day)),
        };
        self.customer.turn_to(folder, stamp_ms, "")?;
        let delivered = day.map_or(-1, i64::from);
        for index in 0..u64::from(self.options.customers) {
            let person = self.people.person(index);
            for record in self.people.records(person) {
                if record.delivered == delivered {
                    let people = &self.people;
                    self.customer.row(|line| write_customer(line, people, person, &record))?;
                    self.progress.add(1);
                }
            }
        }
        Ok(())
    }

    /// The readings of walks that start in a part of a day.
    fn readings(&mut self, day: u32, part: u32) -> Result<(), GenerateError> {
        let day_ms = self.day_ms(day);
        let parts = i64::from(self.options.parts_of_day);
        let stamp_ms = day_ms + i64::from(part + 1) * DAY_MS / parts;
        let folder = date(day_ms);
        self.step_trainer.turn_to(folder.replace('-', "/"), stamp_ms, "")?;
        self.accelerometer.turn_to(folder, stamp_ms, "")?;
        self.sessions(day, |session| session.part == part && session.delay_days == 0)
    }

    /// The readings of earlier days that phones and devices deliver on this one.
    fn late_readings(&mut self, day: u32) -> Result<(), GenerateError> {
        for delay_days in 1..=sessions::DELAY_DAYS_MAX.min(day) {
            let suffix = if delay_days == 1 { " +1 day" } else { " +2 days" };
            let stamp_ms = self.day_ms(day) + DAY_MS;
            for feed in [&mut self.accelerometer, &mut self.step_trainer] {
                feed.turn_to("late uploads".to_owned(), stamp_ms, suffix)?;
            }
            self.sessions(day - delay_days, |session| session.delay_days == delay_days)?;
        }
        Ok(())
    }

    fn sessions(
        &mut self,
        day: u32,
        wanted: impl Fn(&sessions::Session) -> bool,
    ) -> Result<(), GenerateError> {
        for index in 0..self.people.walkers() {
            let session = sessions::session(&self.people, self.options, index, day);
            if let Some(session) = session.filter(|session| wanted(session)) {
                let (accelerometer, steps) = (&mut self.accelerometer, &mut self.step_trainer);
                self.progress.add(session.write(&self.people, accelerometer, steps)?);
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Generated, GenerateError> {
        let feeds = [&mut self.customer, &mut self.accelerometer, &mut self.step_trainer];
        let (mut files, mut bytes) = (0, 0);
        for feed in feeds {
            feed.close()?;
            files += feed.files();
            bytes += feed.bytes();
        }
        let generated = Generated {
            customer_records: self.customer.rows(),
            accelerometer_records: self.accelerometer.rows(),
            step_trainer_records: self.step_trainer.rows(),
            files,
            bytes,
        };
        self.progress.end(generated.records());
        Ok(generated)
    }
}

/// Tells the caller now and then how far it is.
struct Progress<'o> {
    tell: &'o mut dyn FnMut(u64, u64),
    done: u64,
    told: u64,
    expected: u64,
}

impl<'o> Progress<'o> {
    const STEP: u64 = 16_384;

    fn new(tell: &'o mut dyn FnMut(u64, u64), people: &People<'_>, options: &Options) -> Self {
        // 69 in 100 walk on a day, and a walk gives about 105 readings.
        let readings = people.walkers() * u64::from(options.days) * 69 * 105 / 100;
        Self { tell, done: 0, told: 0, expected: u64::from(options.customers) * 8 / 5 + readings }
    }

    fn add(&mut self, records: u64) {
        self.done += records;
        if self.done - self.told >= Self::STEP {
            self.told = self.done;
            (self.tell)(self.done, self.expected.max(self.done));
        }
    }

    fn end(mut self, records: u64) {
        self.done = records;
        (self.tell)(self.done, self.done);
    }
}

/// One record of the customer feed; what is not known is left out.
fn write_customer(
    line: &mut Vec<u8>,
    people: &People<'_>,
    person: Person,
    record: &Record,
) -> io::Result<()> {
    line.extend_from_slice(b"{\"customerName\": ");
    serde_json::to_writer(&mut *line, &people.name(person))?;
    line.extend_from_slice(b", \"email\": ");
    serde_json::to_writer(&mut *line, &people.stated_email(person, record))?;
    let (birth, phone) = (record.birth, record.phone);
    let (year, month, day) = (1930 + birth % 78, 1 + (birth >> 8) % 12, 1 + (birth >> 16) % 28);
    write!(line, ", \"phone\": \"801555{phone:04}\"")?;
    write!(line, ", \"birthDay\": \"{year:04}-{month:02}-{day:02}\"")?;
    if let Some(serial) = people.stated_serial(person, record) {
        write!(line, ", \"serialNumber\": \"{serial}\"")?;
    }
    let dates = [
        ("registrationDate", record.registration_ms),
        ("lastUpdateDate", record.update_ms),
        ("shareWithResearchAsOfDate", record.research_ms),
        ("shareWithPublicAsOfDate", record.public_ms),
        ("shareWithFriendsAsOfDate", record.friends_ms),
    ];
    for (key, value) in dates {
        if let Some(value) = value {
            write!(line, ", \"{key}\": {value}")?;
        }
    }
    line.write_all(b"}")
}

/// The UTC date of a time, as `YYYY-MM-DD`.
///
/// Days to a date of the Gregorian calendar as in H. Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", `civil_from_days`; for times since 1970.
fn date(at_ms: i64) -> String {
    let days = at_ms.div_euclid(DAY_MS) + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests;
