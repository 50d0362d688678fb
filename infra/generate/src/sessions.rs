//! When people walk, and what phone and device report of it.

use std::io::Write as _;

use crate::draws::{About, Draws};
use crate::feed::Feed;
use crate::people::{People, Person, Spelling};
use crate::{DAY_MS, GenerateError, HOUR_MS, Options};

/// Days a phone without network may keep its readings.
pub(crate) const DELAY_DAYS_MAX: u32 = 2;

/// One walk of one person.
pub(crate) struct Session {
    person: Person,
    start_ms: i64,
    period_ms: i64,
    ticks: i64,
    phone: bool,
    device: bool,
    /// Part of the day in which it starts.
    pub(crate) part: u32,
    /// Days after which it is delivered.
    pub(crate) delay_days: u32,
    draws: Draws,
}

/// The walk of a person on a day of the period, if there is one.
pub(crate) fn session(
    people: &People<'_>,
    options: &Options,
    index: u64,
    day: u32,
) -> Option<Session> {
    let mut draws = Draws::about(options.seed, About::Session, index, u64::from(day));
    let walks_today = draws.chance(75);
    let person = people.person(index);
    if !(person.always_walks || (person.walks && walks_today)) {
        return None;
    }
    // Some walk together: their readings have the same times.
    let mut group = Draws::about(options.seed, About::Group, index / 3, u64::from(day));
    let together = group.chance(20);
    let (start_ms, period_ms) = pace(if together { &mut group } else { &mut draws });
    let (equipment, delay) = (draws.below(100), draws.below(100));
    let delay_days = match delay {
        0..4 => 1,
        4..6 => DELAY_DAYS_MAX,
        _ => 0,
    };
    let parts = i64::from(options.parts_of_day);
    Some(Session {
        person,
        start_ms: options.first_ms() + i64::from(day) * DAY_MS + start_ms,
        period_ms,
        ticks: 10 + draws.ms_below(41),
        phone: equipment >= 5 || person.always_walks,
        device: person.has_device && (equipment < 95 || person.always_walks),
        part: (start_ms * parts / DAY_MS) as u32,
        delay_days: delay_days.min(options.days - 1 - day),
        draws,
    })
}

/// Time of day of a start, and time between readings. Some walk through midnight.
fn pace(draws: &mut Draws) -> (i64, i64) {
    let at_night = draws.chance(8);
    let start_ms = match at_night {
        true => DAY_MS - 1 - draws.ms_below(2 * 60_000),
        false => 5 * HOUR_MS + draws.ms_below(18 * HOUR_MS),
    };
    (start_ms, 2_900 + draws.ms_below(1_100))
}

impl Session {
    /// Writes the readings of the walk; answers how many.
    pub(crate) fn write(
        mut self,
        people: &People<'_>,
        accelerometer: &mut Feed,
        step_trainer: &mut Feed,
    ) -> Result<u64, GenerateError> {
        let before = accelerometer.rows() + step_trainer.rows();
        let email = people.email(self.person, Spelling::draw(&mut self.draws));
        let mut serial_ms = self.start_ms;
        let mut serial = people.serial_at(self.person, serial_ms);
        for tick in 0..self.ticks {
            let at_ms = self.start_ms + tick * self.period_ms;
            if self.phone && !self.draws.chance(2) {
                self.motion(&email, at_ms, accelerometer)?;
            }
            if self.device {
                if self.person.replaced_ms.is_some() && at_ms != serial_ms {
                    serial_ms = at_ms;
                    serial = people.serial_at(self.person, at_ms);
                }
                self.step(&serial, at_ms, step_trainer)?;
            }
        }
        Ok(accelerometer.rows() + step_trainer.rows() - before)
    }

    fn motion(&mut self, email: &str, at_ms: i64, feed: &mut Feed) -> Result<(), GenerateError> {
        let count = match self.draws.below(6) {
            0 => 2,
            1 => 4,
            _ => 3,
        };
        for _ in 0..count {
            let bits = self.draws.bits();
            let times = if bits.is_multiple_of(256) { 2 } else { 1 };
            for _ in 0..times {
                feed.row(|line| {
                    line.extend_from_slice(b"{\"user\":\"");
                    line.extend_from_slice(email.as_bytes());
                    write!(line, "\",\"timestamp\":{at_ms}")?;
                    for (axis, shift) in [("x", 8), ("y", 24), ("z", 40)] {
                        line.extend_from_slice(b",\"");
                        line.extend_from_slice(axis.as_bytes());
                        line.extend_from_slice(b"\":");
                        acceleration(line, (bits >> shift) & 0xffff)?;
                    }
                    line.push(b'}');
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    fn step(&mut self, serial: &str, at_ms: i64, feed: &mut Feed) -> Result<(), GenerateError> {
        let (timing, distance) = (self.draws.below(20), 201 + self.draws.below(100));
        let at_ms = match timing {
            0 => return Ok(()),
            1 | 2 => at_ms + 1 + distance as i64,
            _ => at_ms,
        };
        let times = if timing == 3 && distance < 211 { 2 } else { 1 };
        for _ in 0..times {
            feed.row(|line| {
                write!(
                    line,
                    "{{\"sensorReadingTime\":{at_ms},\"serialNumber\":\"{serial}\",\
                     \"distanceFromObject\":{distance}}}"
                )
            })?;
        }
        Ok(())
    }
}

/// Mostly −1, 0 or 1, as the app sends them; now and then a fraction, seldom a tiny one.
fn acceleration(line: &mut Vec<u8>, bits: u64) -> std::io::Result<()> {
    let (kind, value) = (bits & 31, bits >> 5);
    match kind {
        0 => write!(line, "-{}.{:03}", value / 1_000, value % 1_000),
        1 => write!(line, "{}.{:03}", value / 1_000, value % 1_000),
        2 if value < 64 => write!(line, "-{}.5e-05", value % 10),
        3..13 => line.write_all(b"-1.0"),
        13..22 => line.write_all(b"1.0"),
        _ => line.write_all(b"0.0"),
    }
}
