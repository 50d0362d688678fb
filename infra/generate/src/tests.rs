//! What the data promises, seen from outside: by reading the files back.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::Value;

use super::*;

struct Feeds {
    files: BTreeMap<String, Vec<u8>>,
    told: Vec<(u64, u64)>,
    generated: Generated,
}

fn make(options: &Options) -> Feeds {
    let folder = tempfile::tempdir().unwrap();
    let mut told = Vec::new();
    let generated =
        generate(folder.path(), options, &mut |done, total| told.push((done, total))).unwrap();
    let mut files = BTreeMap::new();
    collect(folder.path(), folder.path(), &mut files);
    Feeds { files, told, generated }
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            files.insert(name, fs::read(&path).unwrap());
        }
    }
}

impl Feeds {
    fn rows_by_file(&self, stream: &str) -> Vec<Vec<Value>> {
        let prefix = format!("landing/{stream}/");
        let files = self.files.iter().filter(|(name, _)| name.starts_with(&prefix));
        files
            .map(|(_, bytes)| {
                let lines = std::str::from_utf8(bytes).unwrap().lines();
                lines.map(|line| serde_json::from_str(line).unwrap()).collect()
            })
            .collect()
    }

    fn rows(&self, stream: &str) -> Vec<Value> {
        self.rows_by_file(stream).into_iter().flatten().collect()
    }

    /// The newest records of every customer: several where they tie.
    fn newest(&self) -> HashMap<String, Vec<Value>> {
        let mut newest: HashMap<String, Vec<Value>> = HashMap::new();
        for record in self.rows("customer") {
            let records = newest.entry(key(&record["email"])).or_default();
            let held = records.first().map(updated_ms);
            if held.is_none_or(|held| held < updated_ms(&record)) {
                records.clear();
            }
            if held.is_none_or(|held| held <= updated_ms(&record)) {
                records.push(record);
            }
        }
        newest
    }
}

fn key(email: &Value) -> String {
    email.as_str().unwrap().trim().to_lowercase()
}

fn updated_ms(record: &Value) -> i64 {
    record.get("lastUpdateDate").or(record.get("registrationDate")).unwrap().as_i64().unwrap()
}

fn research_ms(record: &Value) -> Option<i64> {
    record.get("shareWithResearchAsOfDate").map(|since| since.as_i64().unwrap())
}

#[test]
fn the_same_options_give_the_same_bytes_and_others_do_not() {
    let options = Options::default();
    let (one, two) = (make(&options), make(&options));
    assert_eq!(one.files, two.files);
    assert_ne!(one.files, make(&Options { seed: 2, ..options }).files);
}

/// Seeds in bug reports must keep their meaning: a changed checksum is a changed generator.
#[test]
fn the_bytes_are_those_of_earlier_versions() {
    let feeds = make(&Options { customers: 20, days: 2, ..Options::default() });
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    for (name, bytes) in &feeds.files {
        for byte in name.bytes().chain(bytes.iter().copied()) {
            sum = (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    assert_eq!(sum, 1_587_801_075_951_468_571, "FNV-1a of names and contents");
}

#[test]
fn what_is_reported_is_what_is_there() {
    let feeds = make(&Options::default());
    let counts = STREAMS.map(|stream| feeds.rows(stream).len() as u64);
    let generated = feeds.generated;
    assert_eq!(
        counts,
        [
            generated.customer_records,
            generated.accelerometer_records,
            generated.step_trainer_records
        ]
    );
    assert_eq!(generated.files, feeds.files.len() as u64);
    assert_eq!(generated.bytes, feeds.files.values().map(|bytes| bytes.len() as u64).sum::<u64>());
    assert_eq!(feeds.told.last(), Some(&(generated.records(), generated.records())));
    assert!(feeds.told.is_sorted(), "progress goes back: {:?}", feeds.told);
    assert!(feeds.told.iter().all(|(done, total)| done <= total));
}

#[test]
fn records_are_spelt_and_ordered_as_in_the_real_feeds() {
    let feeds = make(&Options::default());
    for (stream, keys) in [
        ("accelerometer", &["user", "timestamp", "x", "y", "z"][..]),
        ("step_trainer", &["sensorReadingTime", "serialNumber", "distanceFromObject"]),
        (
            "customer",
            &[
                "customerName",
                "email",
                "phone",
                "birthDay",
                "serialNumber",
                "registrationDate",
                "lastUpdateDate",
                "shareWithResearchAsOfDate",
                "shareWithPublicAsOfDate",
                "shareWithFriendsAsOfDate",
            ],
        ),
    ] {
        let prefix = format!("landing/{stream}/");
        let mut seen = BTreeSet::new();
        for (_, bytes) in feeds.files.iter().filter(|(name, _)| name.starts_with(&prefix)) {
            for line in std::str::from_utf8(bytes).unwrap().lines() {
                let record: Value = serde_json::from_str(line).unwrap();
                let mut places: Vec<(usize, String)> = Vec::new();
                for (key, value) in record.as_object().unwrap() {
                    assert!(!value.is_null(), "a null in {line}");
                    places.push((line.find(&format!("\"{key}\":")).unwrap(), key.clone()));
                    seen.insert(key.clone());
                }
                places.sort();
                let written: Vec<&str> = places.iter().map(|(_, key)| key.as_str()).collect();
                let known: Vec<&str> =
                    keys.iter().copied().filter(|key| written.contains(key)).collect();
                assert_eq!(written, known);
            }
        }
        assert_eq!(seen, keys.iter().map(ToString::to_string).collect(), "{stream}");
    }
}

#[test]
fn about_half_consent_at_the_end_and_some_change_their_mind() {
    let feeds = make(&Options { customers: 2_000, days: 2, ..Options::default() });
    let newest = feeds.newest();
    assert_eq!(newest.len(), 2_000, "every customer has an e-mail of their own");
    let consenting = |records: &&Vec<Value>| records.iter().all(|r| research_ms(r).is_some());
    let share = newest.values().filter(consenting).count();
    assert!((900..=1_100).contains(&share), "{share} of 2,000 consent");

    let mut of_person: HashMap<String, HashSet<bool>> = HashMap::new();
    for record in feeds.rows("customer") {
        of_person.entry(key(&record["email"])).or_default().insert(research_ms(&record).is_some());
    }
    let changed = of_person.values().filter(|consents| consents.len() == 2).count();
    assert!((300..=900).contains(&changed), "{changed} of 2,000 gave or withdrew consent");
}

#[test]
fn some_newest_records_tie_on_consent_and_some_on_other_columns() {
    let newest = make(&Options { customers: 1_000, ..Options::default() }).newest();
    let mut kinds = [0, 0];
    for records in newest.values().filter(|records| records.len() > 1) {
        let consents: HashSet<_> = records.iter().map(|r| research_ms(r).is_some()).collect();
        let phones: HashSet<_> = records.iter().map(|record| &record["phone"]).collect();
        kinds[0] += usize::from(consents.len() > 1);
        kinds[1] += usize::from(consents.len() == 1 && phones.len() > 1);
    }
    assert!(kinds.iter().all(|kind| *kind >= 5), "ties on consent and on phones: {kinds:?}");
}

#[test]
fn some_are_spelt_otherwise_some_lack_a_date_and_some_come_out_of_order() {
    let feeds = make(&Options { customers: 500, ..Options::default() });
    let customers = feeds.rows("customer");
    assert!(customers.iter().any(|record| record.get("lastUpdateDate").is_none()));
    assert!(customers.iter().any(|record| record.get("registrationDate").is_none()));
    assert!(customers.iter().any(|record| record.get("serialNumber").is_none()));
    let stated: HashSet<&str> = customers.iter().map(|r| r["email"].as_str().unwrap()).collect();
    let known: HashSet<String> = customers.iter().map(|record| key(&record["email"])).collect();
    let readings = feeds.rows("accelerometer");
    let users: HashSet<&str> = readings.iter().map(|r| r["user"].as_str().unwrap()).collect();
    let otherwise = users
        .iter()
        .filter(|user| !stated.contains(**user) && known.contains(&user.trim().to_lowercase()));
    assert!(otherwise.count() > 10, "e-mails spelt in more than one way");
    assert!(users.iter().any(|user| !known.contains(&user.trim().to_lowercase())), "strangers");
    assert!(users.len() < 3 * known.len());

    let mut last_ms = HashMap::new();
    let out_of_order = customers.iter().filter(|record| {
        let before = last_ms.insert(key(&record["email"]), updated_ms(record));
        before.is_some_and(|before| before > updated_ms(record))
    });
    assert!(out_of_order.count() > 0, "an older record after a newer one");
}

#[test]
fn readings_come_about_three_per_time_and_steps_at_the_times_of_motion() {
    let feeds = make(&Options::default());
    let motion = feeds.rows("accelerometer");
    let mut users_at: HashMap<i64, HashSet<String>> = HashMap::new();
    for reading in &motion {
        let at_ms = reading["timestamp"].as_i64().unwrap();
        users_at.entry(at_ms).or_default().insert(key(&reading["user"]));
    }
    let per_time = motion.len() as f64 / users_at.len() as f64;
    assert!((2.5..3.5).contains(&per_time), "{per_time} readings per time");
    assert!(users_at.values().any(|users| users.len() > 1), "two people share a time");

    let steps = feeds.rows("step_trainer");
    let met =
        steps.iter().filter(|s| users_at.contains_key(&s["sensorReadingTime"].as_i64().unwrap()));
    let share = met.count() as f64 / steps.len() as f64;
    assert!((0.7..0.95).contains(&share), "{share} of the steps meet motion");
    let repeated: HashSet<String> = motion.iter().map(ToString::to_string).collect();
    assert!(repeated.len() < motion.len(), "repeated rows");
}

#[test]
fn as_of_differs_from_any() {
    let feeds = make(&Options::default());
    let newest = feeds.newest();
    let motion = feeds.rows("accelerometer");
    let consents = motion.iter().filter_map(|reading| {
        let since_ms = research_ms(newest.get(&key(&reading["user"]))?.first()?)?;
        Some(reading["timestamp"].as_i64().unwrap() >= since_ms)
    });
    let covered: Vec<bool> = consents.collect();
    let before = covered.iter().filter(|covered| !**covered).count();
    assert!(before * 20 > covered.len() && before * 2 < covered.len(), "{before} before consent");
}

/// Otherwise pairing by time and pairing by customer would give the same table.
#[test]
fn consenting_people_share_times() {
    let feeds = make(&Options::default());
    let newest = feeds.newest();
    let consents = |user: &str| {
        newest.get(user).is_some_and(|records| records.iter().all(|r| research_ms(r).is_some()))
    };
    let mut users_at: HashMap<i64, HashSet<String>> = HashMap::new();
    for reading in feeds.rows("accelerometer") {
        let at_ms = reading["timestamp"].as_i64().unwrap();
        users_at.entry(at_ms).or_default().insert(key(&reading["user"]));
    }
    let shared =
        users_at.values().filter(|users| users.iter().filter(|user| consents(user)).count() > 1);
    assert!(shared.count() > 20);
}

#[test]
fn files_are_of_many_sizes_and_some_hold_several_dates() {
    let feeds = make(&Options { rows_per_file_max: 500, ..Options::default() });
    for stream in ["accelerometer", "step_trainer"] {
        let files = feeds.rows_by_file(stream);
        let time = if stream == "accelerometer" { "timestamp" } else { "sensorReadingTime" };
        let several = files.iter().filter(|rows| {
            let dates = rows.iter().map(|row| date(row[time].as_i64().unwrap()));
            dates.collect::<HashSet<_>>().len() > 1
        });
        assert!(several.count() > 0, "{stream}: a file of several dates");
        assert!(files.iter().any(|rows| rows.len() == 1), "{stream}: a file of one row");
        assert!(files.iter().any(|rows| rows.len() == 500), "{stream}: a full file");
        assert!(files.iter().all(|rows| (1..=500).contains(&rows.len())));
    }
    assert!(feeds.files.keys().any(|name| name.contains("late uploads/") && name.contains('+')));
}

#[test]
fn shared_serials_are_few_in_the_records_and_meet_devices() {
    let options = Options { shared_serials: Some(3), ..Options::default() };
    let feeds = make(&options);
    let serials = |stream: &str| -> HashSet<String> {
        let rows = feeds.rows(stream);
        let stated = rows.iter().filter_map(|row| row.get("serialNumber"));
        stated.map(|serial| serial.as_str().unwrap().to_owned()).collect()
    };
    let (stated, devices) = (serials("customer"), serials("step_trainer"));
    assert_eq!(stated.len(), 3);
    assert!(stated.is_subset(&devices));
    assert!(devices.len() > 50);
}

#[test]
fn one_customer_on_one_day_is_enough() {
    let feeds =
        make(&Options { customers: 1, days: 1, shared_serials: Some(1), ..Options::default() });
    assert!(feeds.generated.step_trainer_records > 0);
}

#[test]
fn a_folder_with_feeds_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { customers: 2, days: 1, ..Options::default() };
    generate(folder.path(), &options, &mut |_, _| {}).unwrap();
    let error = generate(folder.path(), &options, &mut |_, _| {}).unwrap_err();
    assert!(matches!(error, GenerateError::Occupied { .. }));
    assert!(error.to_string().contains("name another folder"), "{error}");
}

#[test]
fn options_out_of_range_are_refused() {
    let default = Options::default;
    for options in [
        Options { customers: 0, ..default() },
        Options { days: 0, ..default() },
        Options { rows_per_file_max: 0, ..default() },
        Options { parts_of_day: 0, ..default() },
        Options { shared_serials: Some(0), ..default() },
        Options { shared_serials: Some(121), ..default() },
    ] {
        let folder = tempfile::tempdir().unwrap();
        let error = generate(folder.path(), &options, &mut |_, _| {}).unwrap_err();
        assert!(matches!(error, GenerateError::Count { .. }), "{options:?}: {error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn dates_are_those_of_the_calendar() {
    for (days, written) in
        [(0, "1970-01-01"), (11_016, "2000-02-29"), (20_483, "2026-01-30"), (20_485, "2026-02-01")]
    {
        assert_eq!(date(days * DAY_MS), written);
        assert_eq!(date(days * DAY_MS + DAY_MS - 1), written);
    }
}
