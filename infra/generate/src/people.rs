//! Who there is: people, their devices, and the records their lives leave in the customer feed.

use crate::draws::{About, Draws};
use crate::{DAY_MS, HOUR_MS, Options};

const FIRST_NAMES: [&str; 32] = [
    "Ada", "Amara", "Björn", "Carlos", "Chidi", "Dana", "Edna", "Farid", "Gail", "Hana", "Ines",
    "Jamal", "Jo Ann", "Kenji", "Lena", "Liu", "Mara", "Nadia", "Omar", "Petra", "Quinn", "Rosa",
    "Sanjay", "Siobhán", "Tariq", "Uma", "Viktor", "Wanda", "Xin", "Yusuf", "Zoë", "Zuri",
];
const LAST_NAMES: [&str; 32] = [
    "Abara",
    "Bauer",
    "Castro",
    "D'Amico",
    "Dimitrov",
    "Eze",
    "Fischer",
    "Garcia",
    "Haddad",
    "Ito",
    "Jansen",
    "Khan",
    "Lindqvist",
    "Mbeki",
    "Nguyen",
    "O'Brien",
    "Okafor",
    "Patel",
    "Quist",
    "Rossi",
    "Sato",
    "Silva",
    "Tanaka",
    "Ueda",
    "Varga",
    "Weiß",
    "Xu",
    "Yilmaz",
    "Young \"Ace\"",
    "Zhang",
    "Zimmer",
    "Zając",
];

/// How an e-mail is written here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spelling {
    Usual,
    Lower,
    Upper,
    SpaceBefore,
    SpacesAfter,
}

impl Spelling {
    /// Mostly the usual one.
    pub(crate) fn draw(draws: &mut Draws) -> Self {
        match draws.below(100) {
            0..4 => Self::Lower,
            4..7 => Self::Upper,
            7..9 => Self::SpaceBefore,
            9..11 => Self::SpacesAfter,
            _ => Self::Usual,
        }
    }

    fn write(self, email: String) -> String {
        match self {
            Self::Usual => email,
            Self::Lower => email.to_ascii_lowercase(),
            Self::Upper => email.to_ascii_uppercase(),
            Self::SpaceBefore => format!(" {email}"),
            Self::SpacesAfter => format!("{email}  "),
        }
    }
}

/// One person: a customer, or somebody who walks but is in no customer record.
#[derive(Clone, Copy)]
pub(crate) struct Person {
    pub(crate) index: u64,
    /// Has the app and uses it.
    pub(crate) walks: bool,
    pub(crate) has_device: bool,
    /// Walks every day, with phone and device.
    pub(crate) always_walks: bool,
    /// Uses the device of the person before.
    household: bool,
    /// When a first device was replaced by a second one.
    pub(crate) replaced_ms: Option<i64>,
}

/// One record of the customer feed, names left out.
#[derive(Clone, Copy)]
pub(crate) struct Record {
    /// Day of the period at which it is delivered; −1: with the first, large delivery.
    pub(crate) delivered: i64,
    pub(crate) registration_ms: Option<i64>,
    pub(crate) update_ms: Option<i64>,
    pub(crate) research_ms: Option<i64>,
    pub(crate) public_ms: Option<i64>,
    pub(crate) friends_ms: Option<i64>,
    pub(crate) phone: u64,
    pub(crate) birth: u64,
    generation: u64,
    spelling: Spelling,
}

/// What changes in a customer's record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Research,
    Public,
    Phone,
    Device,
}

/// Everybody, each of them drawn when asked for.
pub(crate) struct People<'o> {
    options: &'o Options,
    first_ms: i64,
    name_offsets: (u64, u64),
}

impl<'o> People<'o> {
    pub(crate) fn new(options: &'o Options) -> Self {
        let mut draws = Draws::about(options.seed, About::Names, 0, 0);
        let name_offsets = (draws.below(32), draws.below(32));
        Self { options, first_ms: options.first_ms(), name_offsets }
    }

    /// How many send readings: the customers, and a few strangers numbered after them.
    pub(crate) fn walkers(&self) -> u64 {
        let customers = u64::from(self.options.customers);
        customers + customers / 25 + 1
    }

    pub(crate) fn person(&self, index: u64) -> Person {
        let mut draws = Draws::about(self.options.seed, About::Person, index, 0);
        let (walks, has_device) = (draws.chance(92), draws.chance(95));
        let household = draws.chance(8) && index % 2 == 1;
        let replaced = draws.chance(6) && !household;
        let at_ms = self.first_ms + draws.ms_below(i64::from(self.options.days) * DAY_MS);
        // The devices whose numbers everybody's records carry must be seen walking.
        let always_walks = self.options.shared_serials.is_some_and(|k| index < u64::from(k));
        Person {
            index,
            walks: walks || always_walks,
            has_device: has_device || always_walks,
            always_walks,
            household: household && !always_walks,
            replaced_ms: (replaced && !always_walks).then_some(at_ms),
        }
    }

    /// The person's name, unique only up to 1,024 people.
    pub(crate) fn name(&self, person: Person) -> String {
        let (first, last, _) = self.name_parts(person);
        format!("{first} {last}")
    }

    /// The person's e-mail, unique, in a given spelling.
    pub(crate) fn email(&self, person: Person, spelling: Spelling) -> String {
        let (first, last, round) = self.name_parts(person);
        let letters =
            |name: &str| name.chars().filter(char::is_ascii_alphabetic).collect::<String>();
        let number = if round == 0 { String::new() } else { round.to_string() };
        spelling.write(format!("{}.{}{number}@example.com", letters(first), letters(last)))
    }

    fn name_parts(&self, person: Person) -> (&'static str, &'static str, u64) {
        let (first, block) = (person.index % 32, person.index / 32);
        let last = (first + block + self.name_offsets.1) % 32;
        let first = (first + self.name_offsets.0) % 32;
        (FIRST_NAMES[first as usize], LAST_NAMES[last as usize], block / 32)
    }

    /// Serial number of the device the person carries at a time.
    pub(crate) fn serial_at(&self, person: Person, at_ms: i64) -> String {
        let replaced = person.replaced_ms.is_some_and(|since_ms| at_ms >= since_ms);
        self.device(person, u64::from(replaced))
    }

    fn device(&self, person: Person, generation: u64) -> String {
        let owner = if person.household { person.index - 1 } else { person.index };
        self.serial(owner, generation)
    }

    fn serial(&self, owner: u64, generation: u64) -> String {
        let mut draws = Draws::about(self.options.seed, About::Device, owner, generation);
        let (high, low) = (draws.bits(), draws.bits());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            0x8000 | ((low >> 48) & 0x3fff),
            low & 0xffff_ffff_ffff,
        )
    }

    /// The serial number a record states: the device's, or under the fulfilment bug one of few.
    pub(crate) fn stated_serial(&self, person: Person, record: &Record) -> Option<String> {
        let stated = || match self.options.shared_serials {
            Some(few) => self.serial(person.index % u64::from(few), 0),
            None => self.device(person, record.generation),
        };
        person.has_device.then(stated)
    }

    /// The e-mail as a record states it.
    pub(crate) fn stated_email(&self, person: Person, record: &Record) -> String {
        self.email(person, record.spelling)
    }

    /// All records of one customer, oldest first, but not always delivered in that order.
    pub(crate) fn records(&self, person: Person) -> Vec<Record> {
        let mut draws = Draws::about(self.options.seed, About::Records, person.index, 0);
        let mut record = self.registration(&mut draws);
        let mut records = Vec::with_capacity(4);
        for change in std::iter::once(None).chain(
            self.changes(person, record.update_ms.unwrap_or_default(), &mut draws)
                .into_iter()
                .map(Some),
        ) {
            if let Some((at_ms, change)) = change {
                record.change(at_ms, change);
            }
            self.deliver(record, &mut draws, &mut records);
        }
        self.tie(&mut draws, &mut records);
        records
    }

    fn registration(&self, draws: &mut Draws) -> Record {
        let period_ms = i64::from(self.options.days) * DAY_MS;
        let registered_ms = match draws.chance(80) {
            true => self.first_ms - HOUR_MS - draws.ms_below(60 * DAY_MS),
            false => self.first_ms + draws.ms_below(period_ms),
        };
        let later_ms = if draws.chance(30) { draws.ms_below(HOUR_MS) } else { 0 };
        let update_ms = registered_ms + later_ms;
        let mut consent = |percent| draws.chance(percent).then_some(update_ms);
        let (research_ms, public_ms, friends_ms) = (consent(50), consent(50), consent(50));
        Record {
            delivered: -1,
            registration_ms: Some(registered_ms),
            update_ms: Some(update_ms),
            research_ms,
            public_ms,
            friends_ms,
            phone: draws.below(10_000),
            birth: draws.bits(),
            generation: 0,
            spelling: Spelling::Usual,
        }
    }

    /// Changes within the period, in order of time.
    fn changes(&self, person: Person, since_ms: i64, draws: &mut Draws) -> Vec<(i64, Change)> {
        let count = match draws.below(100) {
            0..60 => 0,
            60..85 => 1,
            85..95 => 2,
            _ => 3,
        };
        let end_ms = self.first_ms + i64::from(self.options.days) * DAY_MS;
        let from_ms = (since_ms + 1).max(self.first_ms);
        let mut changes = Vec::with_capacity(4);
        for _ in 0..count {
            let change = match draws.below(100) {
                0..75 => Change::Research,
                75..85 => Change::Public,
                _ => Change::Phone,
            };
            let at_ms = from_ms + draws.ms_below(end_ms - from_ms);
            changes.push((at_ms, change));
        }
        if let Some(at_ms) = person.replaced_ms.filter(|at_ms| *at_ms > since_ms) {
            changes.push((at_ms, Change::Device));
        }
        changes.sort_unstable();
        changes
    }

    /// Puts a record into the feed: on its day or a day late, once or now and then twice.
    fn deliver(&self, mut record: Record, draws: &mut Draws, records: &mut Vec<Record>) {
        let at_ms = record.update_ms.unwrap_or_default();
        let last_day = i64::from(self.options.days) - 1;
        record.delivered = (at_ms - self.first_ms).div_euclid(DAY_MS).clamp(-1, last_day);
        record.spelling = Spelling::draw(draws);
        let lacks = draws.below(100);
        if lacks < 2 {
            record.registration_ms = None;
        } else if lacks < 5 && records.is_empty() {
            record.update_ms = None;
        }
        let on_time = record.delivered;
        let next_day = (on_time + 1).min(last_day);
        if on_time >= 0 && draws.chance(5) {
            record.delivered = next_day;
        }
        records.push(record);
        if draws.chance(2) {
            records.push(Record { delivered: next_day, ..record });
        }
    }

    /// Now and then two records of one time disagree: on consent, or on something else.
    fn tie(&self, draws: &mut Draws, records: &mut Vec<Record>) {
        let tied = draws.chance(4);
        let on_consent = draws.chance(50);
        let Some(last) = records.last().copied().filter(|_| tied) else {
            return;
        };
        let last_day = i64::from(self.options.days) - 1;
        let mut twin = Record { delivered: (last.delivered + 1).min(last_day), ..last };
        if on_consent {
            let at_ms = last.update_ms.or(last.registration_ms);
            twin.research_ms = if last.research_ms.is_some() { None } else { at_ms };
        } else {
            twin.phone = (last.phone + 1 + draws.below(9_998)) % 10_000;
        }
        records.push(twin);
    }
}

impl Record {
    fn change(&mut self, at_ms: i64, change: Change) {
        let flip = |since: Option<i64>| if since.is_some() { None } else { Some(at_ms) };
        match change {
            Change::Research => self.research_ms = flip(self.research_ms),
            Change::Public => self.public_ms = flip(self.public_ms),
            Change::Phone => self.phone = (self.phone + 1) % 10_000,
            Change::Device => self.generation = 1,
        }
        self.update_ms = Some(at_ms);
    }
}
