//! What happens to a lake in a run: files that land, are overwritten and deleted, replays, deaths
//! of the process; and under which settings. Tiny domains, so that collisions are common.

use lake::policy::{Consent, Identity, Pairing, Policies};
use serde::{Deserialize, Serialize};

use crate::choices::Random;
use crate::file::{CustomerEntry, Entry, File, Form, Person};

/// A run's workload and settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Scenario {
    /// How the lake is made, and how bad the world is.
    pub setting: Setting,
    /// What happens, in this order, at moments the scheduler chooses.
    pub ops: Vec<Op>,
}

/// How the lake is made, and how bad the world is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setting {
    /// Parts of the registers.
    pub parts: u16,
    /// Policies of the lake.
    pub policies: Policies,
    /// `Bounds::runs_max`.
    pub runs_max: usize,
    /// `Bounds::parts_looked_at`.
    #[serde(default = "parts_looked_at")]
    pub parts_looked_at: usize,
    /// `Bounds::inline_max`.
    pub inline_max: usize,
    /// `Bounds::concurrency`.
    pub concurrency: usize,
    /// `Bounds::attempts_max`.
    #[serde(default = "attempts_max")]
    pub attempts_max: usize,
    /// How much may be held in memory.
    #[serde(default)]
    pub memory: Memory,
    /// Objects of a page of a listing.
    pub page_max: usize,
    /// Invocations at once.
    pub invocations_max: usize,
    /// Calls that fail or crash, of a thousand.
    pub faults_of_a_thousand: usize,
    /// Most faults of a run.
    pub faults_max: usize,
    /// Events that are delivered twice, of a thousand.
    pub duplicates_of_a_thousand: usize,
    /// Whether things happen one after another, the chain mostly at rest in between, but for the
    /// invocations that are slow.
    #[serde(default)]
    pub unhurried: bool,
    /// Invocations that find a warm instance, of a thousand.
    pub warm_of_a_thousand: usize,
}

/// How much may be held in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Memory {
    /// Every object fits.
    #[default]
    Ample,
    /// Every object is large, and is held all the same.
    OneAtATime,
    /// Two or three rows are held: most objects pass twice, and have several row groups.
    Rows,
    /// Two pairs of readings are a row group: most objects are small, and are put together all the same.
    Pairs,
    /// Nothing is held: one row is a row group, one day a pass, one byte a piece of an upload.
    Nothing,
}

fn parts_looked_at() -> usize {
    12
}

/// Enough for work that others keep disturbing, few enough to see when somebody never gets on.
fn attempts_max() -> usize {
    24
}

/// Something that happens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Op {
    /// A landing object is written.
    Put(String, File),
    /// A landing object is deleted.
    Delete(String),
    /// An operator asks to look at a landing object again.
    Replay(String),
    /// EventBridge's schedule of readings_compacted comes round, at this time.
    Schedule(String),
    /// The process is stopped, and started again under other policies.
    Policies(Policies),
    /// The process dies with everything that runs and waits; it is started again.
    Death {
        /// Whether events go on being lost, so that only what is found unfinished is worked on.
        lossy: bool,
    },
}

const KEYS: [&[&str]; 3] = [
    &["landing/customer/a.json", "landing/customer/2023/b c+é.json", "landing/customer/d.json.gz"],
    &[
        "landing/accelerometer/a.json",
        "landing/accelerometer/2023/06/b c+é.json",
        "landing/accelerometer/c",
    ],
    &[
        "landing/step_trainer/a.json",
        "landing/step_trainer/landing/accelerometer/b",
        "landing/step_trainer/c d.json",
    ],
];

/// Instants of three days, two of them next to a midnight.
const INSTANTS: [i64; 6] = [
    1_687_046_399_999,
    1_687_046_400_000,
    1_687_050_000_000,
    1_687_050_000_001,
    1_687_132_799_999,
    1_687_200_000_000,
];

/// A schedule by which every date is closed.
pub(crate) const ALL_CLOSED: &str = "2023-07-01T00:00:00Z";
/// By the first but one of the others one date is closed, by the last two.
const SCHEDULES: [&str; 5] =
    [ALL_CLOSED, ALL_CLOSED, ALL_CLOSED, "2023-06-20T01:00:00Z", "2023-06-21T01:00:00Z"];

const SERIALS: [&str; 3] = ["D-1", "d-1", "D-2"];

impl Scenario {
    /// The workload of a seed.
    pub fn of_seed(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5eed);
        let setting = Setting::drawn(&mut random);
        let domain = Domain::drawn(&mut random);
        let dies = random.chance(200);
        let changes_mind = random.chance(100);
        let lossy = random.chance(500);
        let count = 3 + random.below(18);
        // Of its own, so that the rest of a seed stays what it was.
        let mut schedules = Random::new(seed ^ 0x00c1_05ed);
        let compacts = schedules.chance(700);
        let mut ops = Vec::new();
        for _ in 0..count {
            ops.push(domain.op(&mut random));
            if compacts && schedules.chance(300) {
                ops.push(Op::Schedule((*schedules.one(&SCHEDULES)).to_owned()));
            }
            if dies && random.chance(150) {
                ops.push(Op::Death { lossy });
            }
            if changes_mind && random.chance(150) {
                ops.push(Op::Policies(policies(&mut random)));
            }
        }
        if dies {
            ops.push(Op::Death { lossy });
        }
        Self { setting, ops }
    }
}

impl Setting {
    /// The settings of a seed.
    pub fn of_seed(seed: u64) -> Self {
        Self::drawn(&mut Random::new(seed))
    }

    fn drawn(random: &mut Random) -> Self {
        let policies = policies(random);
        Self {
            parts: *random.one(&[1, 2, 4]),
            policies,
            runs_max: 1 + random.below(3),
            parts_looked_at: *random.one(&[0, 0, 1, 12]),
            inline_max: random.below(3),
            concurrency: *random.one(&[1, 1, 2, 8]),
            attempts_max: attempts_max(),
            memory: *random.one(&[
                Memory::Ample,
                Memory::OneAtATime,
                Memory::Rows,
                Memory::Pairs,
                Memory::Nothing,
            ]),
            page_max: 2 + random.below(2),
            invocations_max: 2 + random.below(5),
            faults_of_a_thousand: *random.one(&[0, 0, 5, 20, 60]),
            faults_max: 30,
            duplicates_of_a_thousand: *random.one(&[0, 50, 200]),
            unhurried: random.chance(500),
            warm_of_a_thousand: *random.one(&[0, 500, 900]),
        }
    }
}

fn policies(random: &mut Random) -> Policies {
    Policies {
        consent: *random.one(&[Consent::Any, Consent::AsOf]),
        pairing: *random.one(&[Pairing::Timestamp, Pairing::Customer]),
        identity: *random.one(&[Identity::Pseudonym, Identity::None, Identity::Clear]),
    }
}

/// Whom and what the files of a run are about.
struct Domain {
    people: Vec<Person>,
    instants: Vec<i64>,
    serials: usize,
    /// For each landing key the few files it is ever written with: so that A-B-A is common.
    files: Vec<(String, Vec<File>)>,
}

impl Domain {
    fn drawn(random: &mut Random) -> Self {
        let mut everybody = vec![Person::Ada, Person::Bob, Person::Cyd, Person::Dee];
        everybody.truncate(2 + random.below(3));
        let mut instants = INSTANTS.to_vec();
        while instants.len() > 3 && random.chance(700) {
            instants.remove(random.below(instants.len()));
        }
        let narrow = random.chance(400);
        if narrow {
            everybody.truncate(2);
            instants.truncate(2 + random.below(2));
        }
        let serials = 1 + random.below(if narrow { 2 } else { SERIALS.len() });
        let mut domain = Self { people: everybody, instants, serials, files: Vec::new() };
        for keys in KEYS {
            let stream = keys[0];
            let several = if narrow { usize::from(random.chance(300)) } else { random.below(3) };
            for key in &keys[..=several] {
                let count = 1 + random.below(3);
                let files = (0..count).map(|_| domain.file(stream, random)).collect();
                domain.files.push(((*key).to_owned(), files));
            }
        }
        domain
    }

    fn op(&self, random: &mut Random) -> Op {
        let (key, files) = random.one(&self.files);
        let is_readings = !key.starts_with("landing/customer/");
        match random.below(20) {
            0 if is_readings => Op::Replay(key.clone()),
            1..=5 => Op::Delete(key.clone()),
            _ => Op::Put(key.clone(), random.one(files).clone()),
        }
    }

    fn file(&self, stream: &str, random: &mut Random) -> File {
        let count = match random.below(10) {
            0 => 0,
            1..=4 => 1,
            _ => 1 + random.below(4),
        };
        let mut entries: Vec<Entry> = (0..count).map(|_| self.entry(stream, random)).collect();
        if random.chance(150) {
            let at = random.below(entries.len() + 1);
            entries.insert(at, Entry::Broken(random.below(3) as u8));
        }
        let forms = [Form::Lines, Form::Lines, Form::Concatenated, Form::Array];
        let cut_off = random.chance(80);
        File { entries, form: *random.one(&forms), gzip: random.chance(100), cut_off }
    }

    fn entry(&self, stream: &str, random: &mut Random) -> Entry {
        let person = *random.one(&self.people);
        let spelling = random.below(3) as u8;
        let serial = SERIALS[random.below(self.serials)].to_owned();
        if stream.starts_with("landing/customer/") {
            let consents = random.chance(600);
            let mut customer = CustomerEntry {
                person,
                spelling,
                name: (*random.one(&["A", "B"])).to_owned(),
                serial: (!random.chance(150)).then_some(serial),
                registered_ms: (!random.chance(100)).then(|| *random.one(&self.instants)),
                updated_ms: (!random.chance(200)).then(|| *random.one(&self.instants)),
                research_ms: consents.then(|| *random.one(&self.instants)),
            };
            if customer.updated_ms.is_none() && customer.registered_ms.is_none() {
                customer.registered_ms = Some(*random.one(&self.instants));
            }
            return Entry::Customer(customer);
        }
        let time_ms = *random.one(&self.instants);
        if stream.starts_with("landing/accelerometer/") {
            let x = (!random.chance(100)).then(|| *random.one(&[0.5, -1.0]));
            Entry::Motion { person, spelling, time_ms, x }
        } else {
            let distance = (!random.chance(100)).then(|| *random.one(&[7, 9]));
            Entry::Step { serial, time_ms, distance }
        }
    }
}
