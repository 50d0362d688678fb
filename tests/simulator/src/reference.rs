//! The reference model: the rules of DESIGN section 4 as naive loops over what the workload
//! delivered. It shares no code with the lake.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use lake::policy::{Consent, Identity, Pairing, Policies};
use sha2::Sha256;

use crate::file::{CustomerEntry, Entry, File, Person};
use crate::table::{Cell, Row};

/// The secret of every lake of the simulator.
pub const SECRET: &[u8] = b"a secret of the simulator";

/// A customer record as the rules see it.
pub type Standing = BTreeMap<Person, CustomerEntry>;

/// Time of a record.
fn time_ms(record: &CustomerEntry) -> i64 {
    record.updated_ms.or(record.registered_ms).expect("a record has a date")
}

/// What decides between two records of a person: the smaller stands.
fn rank(record: &CustomerEntry) -> (i64, bool, Row) {
    (-time_ms(record), record.research_ms.is_some(), customer_row(record))
}

/// The record of a person that stands.
pub fn newest<'a>(
    records: impl IntoIterator<Item = &'a CustomerEntry>,
) -> Option<&'a CustomerEntry> {
    records.into_iter().min_by_key(|record| rank(record))
}

/// The records that may stand for a person: the newest of those that were surely delivered, or any
/// newer one that perhaps was.
pub fn candidates<'a>(
    surely: &'a [CustomerEntry],
    perhaps: &'a [CustomerEntry],
) -> Vec<Option<&'a CustomerEntry>> {
    let sure = newest(surely);
    let mut candidates = vec![sure];
    for record in perhaps {
        if sure.is_none_or(|sure| rank(record) < rank(sure)) {
            candidates.push(Some(record));
        }
    }
    candidates
}

/// A row of the customer tables.
pub fn customer_row(record: &CustomerEntry) -> Row {
    vec![
        Cell::text(Some(&record.name)),
        Cell::text(Some(&record.person.email(record.spelling))),
        Cell::Null,
        Cell::Null,
        Cell::text(record.serial.as_deref()),
        Cell::whole(record.registered_ms),
        Cell::whole(record.updated_ms),
        Cell::whole(record.research_ms),
        Cell::Null,
        Cell::Null,
    ]
}

/// An accelerometer reading.
#[derive(Clone, Debug)]
pub struct Motion {
    person: Person,
    time_ms: i64,
    row: Row,
}

/// A step trainer reading.
#[derive(Clone, Debug)]
pub struct Step {
    serial: String,
    time_ms: i64,
    row: Row,
}

impl Motion {
    /// When it was recorded.
    pub fn time_ms(&self) -> i64 {
        self.time_ms
    }
}

impl Step {
    /// When it was recorded.
    pub fn time_ms(&self) -> i64 {
        self.time_ms
    }
}

/// The accelerometer readings of a landing object.
pub fn motions(file: &File) -> Vec<Motion> {
    let motion = |entry: &Entry| {
        let Entry::Motion { person, spelling, time_ms, x } = entry else { return None };
        let email = person.email(*spelling);
        let mut row = vec![Cell::text(Some(&email)), Cell::Whole(*time_ms)];
        row.extend([Cell::real(*x), Cell::real(*x), Cell::real(*x)]);
        Some(Motion { person: *person, time_ms: *time_ms, row })
    };
    file.entries.iter().filter_map(motion).collect()
}

/// The step trainer readings of a landing object.
pub fn steps(file: &File) -> Vec<Step> {
    let step = |entry: &Entry| {
        let Entry::Step { serial, time_ms, distance } = entry else { return None };
        let mut row = vec![Cell::Whole(*time_ms), Cell::text(Some(serial))];
        row.push(Cell::whole(distance.map(i64::from)));
        Some(Step { serial: serial.clone(), time_ms: *time_ms, row })
    };
    file.entries.iter().filter_map(step).collect()
}

/// Why a reading is not in a trusted table, or that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Admitted,
    /// Nobody who may say so says so.
    NoConsent,
    /// It is from before the consent.
    BeforeConsent,
}

/// The rules, over the records that stand and the readings that are there.
pub struct Reference<'a> {
    /// The policies of the lake.
    pub policies: Policies,
    /// The record of each person that stands, consenting or not.
    pub standing: &'a Standing,
    /// Every accelerometer reading.
    pub motions: Vec<Motion>,
    /// Every step trainer reading.
    pub steps: Vec<Step>,
}

impl Reference<'_> {
    fn covers(&self, since_ms: i64, time_ms: i64) -> bool {
        self.policies.consent == Consent::Any || time_ms >= since_ms
    }

    fn is_trusted(&self, record: &CustomerEntry) -> bool {
        record.research_ms.is_some()
    }

    /// What becomes of an accelerometer reading.
    pub fn motion_verdict(&self, motion: &Motion) -> Verdict {
        let since = self.standing.get(&motion.person).and_then(|record| record.research_ms);
        match since {
            None => Verdict::NoConsent,
            Some(since) if self.covers(since, motion.time_ms) => Verdict::Admitted,
            Some(_) => Verdict::BeforeConsent,
        }
    }

    fn is_curated(&self, record: &CustomerEntry) -> bool {
        let of_theirs = |motion: &&Motion| motion.person == record.person;
        self.is_trusted(record)
            && self
                .motions
                .iter()
                .filter(of_theirs)
                .any(|motion| self.motion_verdict(motion) == Verdict::Admitted)
    }

    /// What becomes of a step trainer reading.
    pub fn step_verdict(&self, step: &Step) -> Verdict {
        let mut verdict = Verdict::NoConsent;
        for record in self.standing.values().filter(|record| self.is_curated(record)) {
            if record.serial.as_deref() == Some(step.serial.as_str()) {
                let since = record.research_ms.expect("the curated consent");
                if self.covers(since, step.time_ms) {
                    return Verdict::Admitted;
                }
                verdict = Verdict::BeforeConsent;
            }
        }
        verdict
    }

    /// customer_trusted.
    pub fn customer_trusted(&self) -> Vec<Row> {
        let trusted = self.standing.values().filter(|record| self.is_trusted(record));
        trusted.map(customer_row).collect()
    }

    /// accelerometer_trusted.
    pub fn accelerometer_trusted(&self) -> Vec<Row> {
        self.trusted_motions().map(|motion| motion.row.clone()).collect()
    }

    fn trusted_motions(&self) -> impl Iterator<Item = &Motion> {
        self.motions.iter().filter(|motion| self.motion_verdict(motion) == Verdict::Admitted)
    }

    /// customer_curated.
    pub fn customer_curated(&self) -> Vec<Row> {
        let curated = self.standing.values().filter(|record| self.is_curated(record));
        curated.map(customer_row).collect()
    }

    /// step_trainer_trusted.
    pub fn step_trainer_trusted(&self) -> Vec<Row> {
        self.trusted_steps().map(|step| step.row.clone()).collect()
    }

    fn trusted_steps(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| self.step_verdict(step) == Verdict::Admitted)
    }

    /// machine_learning_curated.
    pub fn machine_learning_curated(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for step in self.trusted_steps() {
            for motion in self.trusted_motions() {
                let together = self.policies.pairing == Pairing::Timestamp
                    || self.standing.get(&motion.person).is_some_and(|record| {
                        self.is_curated(record) && record.serial.as_ref() == Some(&step.serial)
                    });
                if step.time_ms == motion.time_ms && together {
                    rows.push(pair(&step.row, &motion.row, self.policies.identity));
                }
            }
        }
        rows
    }
}

/// A row of machine_learning_curated, of rows of the two trusted tables.
pub fn pair(step: &Row, motion: &Row, identity: Identity) -> Row {
    let serial = step[1].as_text().expect("a step has a serial number");
    let user = motion[0].as_text().expect("a motion has a user");
    let normal = user.trim_matches(' ').to_lowercase();
    let mut row = vec![identified(identity, "pseudonym:device", serial, serial)];
    row.extend([step[0].clone(), step[2].clone()]);
    row.push(identified(identity, "pseudonym:person", user, &normal));
    row.extend(motion[1..].iter().cloned());
    row
}

fn identified(identity: Identity, label: &str, clear: &str, normal: &str) -> Cell {
    match identity {
        Identity::None => Cell::Null,
        Identity::Clear => Cell::Text(clear.to_owned()),
        Identity::Pseudonym => {
            let mut mac = Hmac::<Sha256>::new_from_slice(SECRET).expect("any length will do");
            mac.update(label.as_bytes());
            mac.update(&[0]);
            mac.update(normal.as_bytes());
            Cell::Text(hex::encode(mac.finalize().into_bytes()))
        }
    }
}
