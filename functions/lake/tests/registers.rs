//! What slim parts say, and the runs of all of them together.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::sync::Arc;

use lake::catalog::StoreCatalog;
use lake::key::{KeyHash, LakeKey, Part, Parts, Revision};
use lake::lake::{Lake, Put};
use lake::layout;
use lake::policy::Policies;
use lake::registers::slim::{self, SlimRow};
use lake::registers::{ConsentRow, Consents};
use lake::store::{MemoryStore, list_all};

// More than a window of what is merged.
const PEOPLE: usize = 12_000;

type People = BTreeMap<KeyHash, ConsentRow>;

async fn open() -> Lake {
    let store = Arc::new(MemoryStore::default());
    let catalog = Arc::new(StoreCatalog::new(Arc::new(MemoryStore::default())));
    let key = LakeKey::new(b"a secret of the registers test").unwrap();
    let parts = Parts::try_from(256).unwrap();
    Lake::open(store, catalog, key, parts, Policies::default()).await.unwrap()
}

/// Says in several rounds what changed of people, each time of fewer of them.
async fn fill(lake: &Lake) -> People {
    let mut parts: BTreeMap<Part, Consents> = BTreeMap::new();
    for round in 1..=6 {
        let revision = Revision(round as u64);
        let mut changed: BTreeMap<Part, People> = BTreeMap::new();
        for number in (0..PEOPLE).step_by(round) {
            let person = lake.key.person(&format!("{number}@test.com"));
            let since_ms = (number % 3 != round % 3).then_some(number as i64);
            let row = ConsentRow { since_ms, revision };
            changed.entry(person.part(lake.settings.parts)).or_default().insert(person, row);
        }
        for (part, changed) in changed {
            let consents = parts.entry(part).or_default();
            consents.revision = revision;
            consents.people.extend(changed.clone());
            let key = layout::consents(part);
            let noted = lake.store.head(&key).await.unwrap().map(|meta| meta.etag);
            let save = slim::save(lake, &key, consents, noted.as_ref());
            let changed = changed.iter().map(|(person, row)| (person, *row));
            let announced = slim::announce(lake, changed).await.unwrap();
            let saved = announced.then(save).await.unwrap();
            assert!(matches!(saved, Put::Done(_)));
        }
    }
    parts.into_values().flat_map(|consents| consents.people).collect()
}

async fn rows(lake: &Lake, people: impl Iterator<Item = &KeyHash>) -> People {
    slim::rows::<ConsentRow>(lake, people.map(slim::half)).await.unwrap()
}

#[tokio::test]
async fn the_runs_say_what_the_parts_say_however_much_is_read_at_once() {
    let mut lake = open().await;
    let expected = fill(&lake).await;
    let strangers: Vec<_> = (0..50).map(|it| lake.key.person(&format!("{it}@else.com"))).collect();
    let wanted = || expected.keys().step_by(3).chain(&strangers);
    let expected: People =
        expected.iter().step_by(3).map(|(person, row)| (*person, *row)).collect();

    lake.bounds.parts_looked_at = usize::MAX;
    assert_eq!(rows(&lake, wanted()).await, expected, "the parts");
    (lake.bounds.parts_looked_at, lake.bounds.parts_per_look) = (0, 1);
    assert_eq!(rows(&lake, wanted()).await, expected, "the parts, since the runs are too much");

    for part in list_all(lake.store.as_ref(), ConsentRow::PARTS).await.unwrap() {
        lake.store.delete(&part.key).await.unwrap();
    }
    assert_eq!(rows(&lake, wanted()).await, People::new(), "the parts, and there are none");
    lake.bounds.parts_per_look = usize::MAX;
    assert_eq!(rows(&lake, wanted()).await, expected, "the runs, held");
    (lake.bounds.small_bytes_max, lake.bounds.cache_bytes_max) = (0, 0);
    assert_eq!(rows(&lake, wanted()).await, expected, "the runs, as they pass");
    for (person, row) in expected.iter().step_by(500) {
        let found = slim::rows_of_runs::<ConsentRow>(&lake, [slim::half(person)]).await.unwrap();
        assert_eq!(found, [(*person, *row)].into(), "looked up");
    }
    let nobody = strangers.iter().take(5).map(slim::half);
    assert_eq!(slim::rows_of_runs::<ConsentRow>(&lake, nobody).await.unwrap(), People::new());
}

#[tokio::test]
async fn there_are_few_runs_however_often_something_changed() {
    let lake = open().await;
    fill(&lake).await;
    let runs = list_all(lake.store.as_ref(), ConsentRow::RUNS).await.unwrap();
    let bytes: u64 = runs.iter().map(|run| run.size_bytes).sum();
    assert!(runs.len() <= 4 * lake.bounds.runs_max, "{} runs", runs.len());
    // Of what was merged each person is there once.
    let once = (PEOPLE * size_of::<<ConsentRow as SlimRow>::Entry>()) as u64;
    assert!(bytes < once + once / 2, "{bytes} bytes");
}
