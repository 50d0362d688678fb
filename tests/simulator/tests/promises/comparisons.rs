//! A comparison that goes by what the one before found settled finds what one finds that looks at
//! everything; and it costs what changed, not what there is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use chain::FunctionName;
use futures::executor::block_on;
use lake::catalog::{Catalog, StoreCatalog};
use lake::events::Message;
use lake::key::{ETag, LakeKey, ObjectKey, Parts, Source};
use lake::lake::Lake;
use lake::layout::{self, ReadingDate};
use lake::policy::{Consent, Pairing, Policies};
use lake::store::{MemoryStore, Precondition, Store, StoreError};
use lake::tables::{
    ACCELEROMETER_TRUSTED, MACHINE_LEARNING_CURATED, STEP_TRAINER_TRUSTED, Stream, TABLES,
};
use serde_json::json;
use simulator::choices::Random;

const FIRST_MS: i64 = 1_687_050_000_000;
const DAY_MS: i64 = 86_400_000;
const PEOPLE: usize = 4;
const FILES: usize = 5;

type Objects = BTreeMap<ObjectKey, (ETag, Bytes)>;

/// A lake with its catalog, and what there ever was in it.
struct World {
    store: MemoryStore,
    catalog: MemoryStore,
    policies: Policies,
    ever: BTreeMap<ObjectKey, Vec<Bytes>>,
}

fn open(store: &MemoryStore, catalog: &MemoryStore, policies: Policies) -> Lake {
    let catalog = Arc::new(StoreCatalog::new(Arc::new(catalog.clone())));
    block_on(Lake::open(Arc::new(store.clone()), catalog, key(), parts(), policies)).unwrap()
}

fn key() -> LakeKey {
    LakeKey::new(b"a secret of the comparisons").unwrap()
}

fn parts() -> Parts {
    Parts::try_from(4).unwrap()
}

fn without_memory(objects: Objects) -> Objects {
    objects.into_iter().filter(|(key, _)| key.after(layout::COMPARED).is_none()).collect()
}

fn put(store: &MemoryStore, key: &str, text: String) {
    block_on(store.put(&ObjectKey::new(key), text.into(), Precondition::None)).unwrap();
}

/// Makes an object what it is to be, or has it gone.
fn set(store: &MemoryStore, key: &ObjectKey, bytes: Option<Bytes>) {
    // Also within what another executor runs.
    simulator::price::block_on(async {
        match bytes {
            Some(bytes) => store.put(key, bytes, Precondition::None).await.map(drop),
            None => store.delete(key).await,
        }
    })
    .unwrap();
}

impl World {
    fn new() -> Self {
        let (store, catalog) = (MemoryStore::default(), MemoryStore::default());
        let world = Self { store, catalog, policies: Policies::default(), ever: BTreeMap::new() };
        drop(world.lake());
        world
    }

    /// The same, to which nothing is done.
    fn copy(&self) -> Self {
        let of = |store: &MemoryStore| MemoryStore::of(store.snapshot());
        let (store, catalog) = (of(&self.store), of(&self.catalog));
        Self { store, catalog, policies: self.policies, ever: BTreeMap::new() }
    }

    /// With a few landing objects of every stream, of which nothing is derived.
    fn of_some() -> Self {
        let (world, mut random) = (Self::new(), Random::new(7));
        for number in 0..8 {
            world.customer(&mut random, number);
            world.readings(&mut random);
        }
        world
    }

    /// Has every function finish, until none finds anything.
    fn come_to_rest(&self) {
        while let found = FunctionName::ALL.map(|function| (function, self.unfinished(function)))
            && found.iter().any(|(_, keys)| !keys.is_empty())
        {
            for (function, keys) in found {
                let asked = vec![Message::to_look_at(&keys.into_iter().collect::<Vec<_>>())];
                let outcome = block_on(function.invoke_messages(&self.lake(), asked));
                assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
            }
        }
    }

    fn lake(&self) -> Lake {
        open(&self.store, &self.catalog, self.policies)
    }

    fn unfinished(&self, function: FunctionName) -> BTreeSet<ObjectKey> {
        let mut lake = self.lake();
        lake.bounds.many_settled = 1;
        block_on(function.unfinished(&lake)).unwrap().into_iter().collect()
    }

    /// Compares little at once, and records each bit; after so many calls, of this and every later one,
    /// something happens first.
    fn compare_until(
        &self,
        function: FunctionName,
        calls: usize,
        happens: impl Fn(&'static str, &ObjectKey) -> Result<(), StoreError> + Send + Sync + 'static,
    ) {
        let made = AtomicUsize::new(0);
        let store = self.store.before(move |operation, key| {
            match made.fetch_add(1, Ordering::Relaxed) < calls {
                true => Ok(()),
                false => happens(operation, key),
            }
        });
        let mut lake = self.lake();
        lake.store = Arc::new(store);
        lake.bounds.looks_recorded = 1;
        lake.bounds.people_at_once = 1;
        drop(block_on(function.unfinished(&lake)));
    }

    fn cut_off(&self, function: FunctionName, calls: usize) {
        self.compare_until(function, calls, |operation, key| {
            let (key, source) = (key.clone(), "cut off".into());
            Err(StoreError::Unavailable { operation, key, source })
        });
    }

    /// Compares, while an object becomes another, or goes.
    fn compare_while(
        &self,
        function: FunctionName,
        calls: usize,
        key: &ObjectKey,
        becomes: Option<Bytes>,
    ) {
        let (store, key) = (self.store.clone(), key.clone());
        let is_done = AtomicBool::new(false);
        self.compare_until(function, calls, move |_, _| {
            if !is_done.swap(true, Ordering::Relaxed) {
                set(&store, &key, becomes.clone());
            }
            Ok(())
        });
    }

    /// What a comparison finds that knows nothing of one before.
    fn unfinished_anew(&self, function: FunctionName) -> BTreeSet<ObjectKey> {
        let store = MemoryStore::of(without_memory(self.store.snapshot()));
        let lake = open(&store, &MemoryStore::of(self.catalog.snapshot()), self.policies);
        block_on(function.unfinished(&lake)).unwrap().into_iter().collect()
    }

    fn remember(&mut self) {
        for (key, (_, bytes)) in without_memory(self.store.snapshot()) {
            let versions = self.ever.entry(key).or_default();
            if !versions.contains(&bytes) {
                versions.push(bytes);
            }
        }
    }

    fn customer(&self, random: &mut Random, number: usize) {
        let person = random.below(PEOPLE);
        let consent = random.chance(700).then_some(FIRST_MS + random.below(3) as i64 * 20_000);
        let record = json!({
            "email": format!("{person}@test.com"), "serialNumber": format!("D{person}"),
            "registrationDate": FIRST_MS, "lastUpdateDate": FIRST_MS + number as i64,
            "shareWithResearchAsOfDate": consent,
        });
        put(
            &self.store,
            &format!("landing/customer/{}.json", random.below(FILES)),
            lines(random, [record]),
        );
    }

    fn readings(&self, random: &mut Random) {
        let file = random.below(FILES);
        let readings: Vec<(usize, i64)> = (0..random.below(8))
            .map(|_| {
                let day = random.below(2) as i64 * DAY_MS;
                (random.below(PEOPLE), FIRST_MS + day + random.below(6) as i64 * 10_000)
            })
            .collect();
        if random.chance(600) {
            let motions = readings.iter().map(|(person, time_ms)| {
                json!({"user": format!("{person}@test.com"), "timestamp": time_ms, "x": 1, "y": 2, "z": 3})
            });
            let text = lines(random, motions);
            put(&self.store, &format!("landing/accelerometer/{file}.json"), text);
        } else {
            let steps = readings.iter().map(|(person, time_ms)| {
                json!({"sensorReadingTime": time_ms, "serialNumber": format!("D{person}"),
                    "distanceFromObject": 1})
            });
            let text = lines(random, steps);
            put(&self.store, &format!("landing/step_trainer/{file}.json"), text);
        }
    }

    /// Lets functions work on some of what they left undone.
    fn work(&self, random: &mut Random) {
        for function in FunctionName::ALL {
            if random.chance(300) {
                continue;
            }
            let keys: Vec<ObjectKey> =
                self.unfinished(function).into_iter().filter(|_| random.chance(800)).collect();
            let asked = vec![Message::to_look_at(&keys)];
            // What was damaged may not be readable.
            let _ = block_on(function.invoke_messages(&self.lake(), asked));
        }
    }

    /// Something that no function does: an object is gone, or is what it once was.
    fn damage(&self, random: &mut Random) -> Option<(ObjectKey, Option<Bytes>)> {
        let ours = ["trusted/", "curated/", "quarantine/", "state/", "landing/"];
        let is_ours = |key: &&ObjectKey| {
            // The indexes and runs are what is found by; no comparison looks whether they are whole.
            !key.as_str().contains("/index/")
                && key.after(layout::DEVICES).is_none()
                && !key.as_str().contains("_runs/")
                && key.as_str() != layout::SETTINGS
                && ours.iter().any(|zone| key.after(zone).is_some())
        };
        let known: Vec<&ObjectKey> = self.ever.keys().filter(is_ours).collect();
        if known.is_empty() {
            return None;
        }
        let key = *random.one(&known);
        let bytes = (!random.chance(400)).then(|| random.one(&self.ever[key]).clone());
        Some((key.clone(), bytes))
    }

    /// The catalog has a partition more, or less.
    fn damage_catalog(&self, random: &mut Random) {
        let tables = [&ACCELEROMETER_TRUSTED, &STEP_TRAINER_TRUSTED, &MACHINE_LEARNING_CURATED];
        let table = random.one(&tables).name;
        let date = ReadingDate::of(FIRST_MS + random.below(2) as i64 * DAY_MS).unwrap();
        let catalog = StoreCatalog::new(Arc::new(self.catalog.clone()));
        if random.chance(500) {
            block_on(catalog.create_partition(table, date)).unwrap();
        } else {
            block_on(catalog.delete_partition(table, date)).unwrap();
        }
    }

    fn change_policies(&mut self, random: &mut Random) {
        let consent = *random.one(&[Consent::Any, Consent::AsOf]);
        let pairing = *random.one(&[Pairing::Customer, Pairing::Timestamp]);
        self.policies = Policies { consent, pairing, ..self.policies };
        block_on(Lake::change_policies(&self.store, &key(), parts(), self.policies)).unwrap();
    }
}

/// Records, and now and then what is none.
fn lines(random: &mut Random, records: impl IntoIterator<Item = serde_json::Value>) -> String {
    let mut text: String = records.into_iter().map(|record| format!("{record}\n")).collect();
    if random.chance(200) {
        text.push_str("{\"no record\n");
    }
    text
}

#[test]
fn what_was_found_settled_before_changes_nothing_of_what_is_found() {
    const SEEDS: u64 = 200;
    const STEPS: usize = 40;
    let mut found = 0;
    for seed in 0..SEEDS {
        let mut random = Random::new(seed);
        let mut world = World::new();
        for step in 0..STEPS {
            match random.weighted(&[4, 5, 8, 4, 2, 1]) {
                0 => world.customer(&mut random, step),
                1 => world.readings(&mut random),
                2 => world.work(&mut random),
                3 => {
                    if let Some((key, bytes)) = world.damage(&mut random) {
                        set(&world.store, &key, bytes);
                    }
                }
                4 => world.damage_catalog(&mut random),
                _ => world.change_policies(&mut random),
            }
            world.remember();
            for function in FunctionName::ALL {
                let calls = random.below(40);
                match random.below(4) {
                    0 => world.cut_off(function, calls),
                    1 => {
                        if let Some((key, bytes)) = world.damage(&mut random) {
                            world.compare_while(function, calls, &key, bytes);
                        }
                    }
                    _ => {}
                }
                found += world.unfinished_anew(function).len();
                // What one that was cut off left is found by later ones, too, once more has changed.
                is_compared(&world, function, &format!("seed {seed}, step {step}"));
                if random.chance(500) {
                    drop(world.unfinished(function));
                }
            }
        }
    }
    assert!(found > 1_000, "{found}: there is little to be found");
}

/// Finds what one finds that looks at everything; does not leave what it remembers.
fn is_compared(world: &World, function: FunctionName, when: &str) {
    let anew = world.unfinished_anew(function);
    assert_eq!(world.copy().unfinished(function), anew, "{} {when}", function.as_str());
    // Of those who are found more than once each has a key of its own.
    let mut lake = world.copy().lake();
    lake.bounds.people_at_once = 1;
    let found = BTreeSet::from_iter(block_on(function.unfinished(&lake)).unwrap());
    assert!(found.is_superset(&anew), "{} {when}: {found:?}", function.as_str());
}

/// What is remembered is of a part and a manifest together: neither is taken for settled with what it was
/// not seen with, though it is what it was.
#[test]
fn what_was_another_or_gone_for_a_while_is_settled_with_nothing_that_changed_meanwhile() {
    const FUNCTION: FunctionName = FunctionName::CustomerTrustedToCurated;
    const SEEDS: u64 = 4;
    for seed in 0..SEEDS {
        let mut random = Random::new(1_000 + seed);
        let mut world = World::new();
        for step in 0..30 {
            match random.weighted(&[3, 3, 4]) {
                0 => world.customer(&mut random, step),
                1 => world.readings(&mut random),
                _ => world.work(&mut random),
            }
            world.remember();
        }
        drop(world.unfinished(FUNCTION));
        let of_pairs = [
            layout::manifests(Stream::Accelerometer),
            layout::CURATED_REGISTER.to_owned(),
            layout::CURATED_CUSTOMER.to_owned(),
            layout::TRUSTED_CUSTOMER.to_owned(),
        ];
        let objects = world.store.snapshot().into_iter();
        let of_pairs = objects.filter(|(key, _)| of_pairs.iter().any(|at| key.after(at).is_some()));
        for (key, (_, bytes)) in of_pairs {
            let others = world.ever[&key].iter().filter(|other| **other != bytes).cloned();
            for other in others.map(Some).chain([None]) {
                for calls in ((seed as usize + 1) % 2..24).step_by(2) {
                    let when =
                        format!("seed {seed}, {key} {:?}, {calls}", other.as_ref().map(Bytes::len));
                    // It is another while there is a comparison, to which it is new, or is not.
                    for is_new in [false, true] {
                        let disturbed = world.copy();
                        if is_new {
                            set(&disturbed.store, &key, other.clone());
                            drop(disturbed.unfinished(FUNCTION));
                            set(&disturbed.store, &key, Some(bytes.clone()));
                        }
                        disturbed.compare_while(FUNCTION, calls, &key, other.clone());
                        is_compared(&disturbed, FUNCTION, &format!("{when}, disturbed"));
                        set(&disturbed.store, &key, Some(bytes.clone()));
                        is_compared(&disturbed, FUNCTION, &format!("{when}, disturbed and back"));
                    }

                    // It is another, customers change, and a comparison is cut off.
                    let cut_off = world.copy();
                    set(&cut_off.store, &key, other.clone());
                    (100..104).for_each(|number| cut_off.customer(&mut random, number));
                    for function in [FunctionName::CustomerLandingToTrusted, FUNCTION] {
                        let keys = cut_off.unfinished_anew(function).into_iter();
                        let asked = vec![Message::to_look_at(&keys.collect::<Vec<_>>())];
                        drop(block_on(function.invoke_messages(&cut_off.lake(), asked)));
                    }
                    cut_off.cut_off(FUNCTION, calls);
                    is_compared(&cut_off, FUNCTION, &format!("{when}, cut off"));
                    set(&cut_off.store, &key, Some(bytes.clone()));
                    is_compared(&cut_off, FUNCTION, &format!("{when}, cut off and back"));
                }
            }
        }
    }
}

/// Between two looks of one comparison something is what it was, or what it becomes: whatever call that
/// is at, what was seen so only is not taken for settled as it was listed.
#[test]
fn what_moves_between_two_looks_is_not_settled_as_it_was_listed() {
    const FUNCTION: FunctionName = FunctionName::CustomerTrustedToCurated;
    const CALLS: usize = 40;
    let consents = |world: &World| {
        let record = json!({
            "email": "0@test.com", "serialNumber": "D0", "registrationDate": FIRST_MS,
            "lastUpdateDate": FIRST_MS, "shareWithResearchAsOfDate": FIRST_MS,
        });
        put(&world.store, "landing/customer/0.json", record.to_string());
    };
    let moves = |world: &World, person: usize| {
        let reading = json!({"user": format!("{person}@test.com"), "timestamp": FIRST_MS, "x": 1, "y": 2, "z": 3});
        put(&world.store, "landing/accelerometer/0.json", reading.to_string());
    };
    let derive = |world: &World, function: FunctionName| {
        let keys: Vec<ObjectKey> = world.unfinished_anew(function).into_iter().collect();
        let outcome =
            block_on(function.invoke_messages(&world.lake(), vec![Message::to_look_at(&keys)]));
        assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
    };
    let part = key().person("0@test.com").part(parts());
    let register = layout::curated_register(part);
    let landed = ObjectKey::new("landing/accelerometer/0.json");
    let manifest = layout::manifest(Stream::Accelerometer, Source::of(&landed));
    let object = |world: &World, key: &ObjectKey| world.store.snapshot()[key].1.clone();
    let is_found_though = |world: &World, key: &ObjectKey, becomes: &Bytes| {
        let bytes = object(world, key);
        assert!(!world.unfinished_anew(FUNCTION).is_empty(), "there is nothing to be found");
        for calls in 0..CALLS {
            let world = world.copy();
            world.compare_while(FUNCTION, calls, key, Some(becomes.clone()));
            is_compared(&world, FUNCTION, &format!("{key}, {calls}"));
            set(&world.store, key, Some(bytes.clone()));
            is_compared(&world, FUNCTION, &format!("{key} is back, {calls}"));
        }
    };

    // A manifest that is new names somebody in a part that is not; then that part itself.
    let world = World::new();
    consents(&world);
    moves(&world, 1);
    world.come_to_rest();
    let before = object(&world, &manifest);
    moves(&world, 0);
    derive(&world, FunctionName::AccelerometerLandingToTrusted);
    is_found_though(&world, &manifest, &before);
    let decided = world.copy();
    derive(&decided, FUNCTION);
    is_found_though(&world, &register, &object(&decided, &register));

    // A part that is new has somebody whom a manifest names that is not.
    let world = World::new();
    moves(&world, 1);
    world.come_to_rest();
    let before = object(&world, &manifest);
    moves(&world, 0);
    world.come_to_rest();
    let known = object(&world, &manifest);
    set(&world.store, &manifest, Some(before.clone()));
    consents(&world);
    derive(&world, FunctionName::CustomerLandingToTrusted);
    derive(&world, FUNCTION);
    set(&world.store, &manifest, Some(known));
    is_found_though(&world, &manifest, &before);
}

#[test]
fn a_catalog_that_was_lost_is_made_again_though_nothing_changed() {
    let world = World::of_some();
    world.come_to_rest();
    let before = world.catalog.snapshot();
    assert!(before.len() > TABLES.len(), "partitions, too");
    for key in before.keys() {
        block_on(world.catalog.delete(key)).unwrap();
    }
    world.come_to_rest();
    let (before, after) = (before.keys(), world.catalog.snapshot());
    assert_eq!(before.collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
}

#[test]
fn a_quarantine_that_a_slow_writer_brings_back_is_found_though_its_landing_object_is_gone() {
    for stream in Stream::ALL {
        let world = World::new();
        let landing = ObjectKey::new(format!("{}a.json", layout::landing(stream)));
        put(&world.store, landing.as_str(), "{\"no record\n".to_owned());
        world.come_to_rest();
        let key = layout::quarantine(stream, &landing);
        let (_, bytes) = world.store.snapshot().remove(&key).expect("it is no record");
        block_on(world.store.delete(&landing)).unwrap();
        world.come_to_rest();
        assert!(!world.store.snapshot().contains_key(&key));

        block_on(world.store.put(&key, bytes, Precondition::IfAbsent)).unwrap();
        let found = FunctionName::ALL.into_iter().flat_map(|function| world.unfinished(function));
        assert_eq!(found.collect::<Vec<_>>(), [landing], "{stream:?}");
        world.come_to_rest();
        assert!(!world.store.snapshot().contains_key(&key));
    }
}

/// Does not give what comparisons remember, and does not take it.
fn forget(operation: &'static str, key: &ObjectKey) -> Result<(), StoreError> {
    match key.after(layout::COMPARED) {
        Some(_) => Err(StoreError::Unavailable {
            operation,
            key: key.clone(),
            source: "access denied".into(),
        }),
        None => Ok(()),
    }
}

#[test]
fn a_comparison_that_remembers_nothing_finds_all_the_same() {
    let world = World::of_some();
    for function in FunctionName::ALL {
        let anew = world.unfinished_anew(function);
        let lake = open(&world.store.before(forget), &world.catalog, world.policies);
        let keys = block_on(function.unfinished(&lake)).unwrap();
        assert_eq!(keys.into_iter().collect::<BTreeSet<_>>(), anew, "{}", function.as_str());
        let asked = vec![Message::to_look_at(&anew.into_iter().collect::<Vec<_>>())];
        block_on(function.invoke_messages(&world.lake(), asked));
    }
}

#[test]
fn a_manifest_that_cannot_be_read_keeps_nothing_else_from_being_compared() {
    let world = World::of_some();
    world.come_to_rest();
    let below = |prefix: &str| {
        let keys = world.store.snapshot().into_keys();
        keys.filter(|key| key.after(prefix).is_some()).collect::<BTreeSet<_>>()
    };
    let of_streams = [
        (Stream::Customer, FunctionName::CustomerLandingToTrusted),
        (Stream::Accelerometer, FunctionName::AccelerometerLandingToTrusted),
        (Stream::StepTrainer, FunctionName::StepTrainerLandingToTrusted),
    ];
    for (stream, function) in of_streams {
        for manifest in below(&layout::manifests(stream)) {
            put(&world.store, manifest.as_str(), "{".to_owned());
        }
        // Whoever looks at them says so.
        assert_eq!(world.unfinished(function), below(layout::landing(stream)), "{stream:?}");
    }
    let nothing = world.unfinished_anew(FunctionName::CustomerTrustedToCurated);
    assert_eq!(nothing, BTreeSet::new(), "without manifests there is nothing to be found");
    let curated = below(layout::CURATED_CUSTOMER);
    for part in &curated {
        block_on(world.store.delete(part)).unwrap();
    }
    let found = world.unfinished(FunctionName::CustomerTrustedToCurated);
    assert!(!found.is_empty());
    assert_eq!(found.len(), curated.len(), "{found:?}");
}
