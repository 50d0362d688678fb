//! What comparisons remember of each other.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeMap;
use std::sync::Arc;

use lake::catalog::StoreCatalog;
use lake::comparison::{Comparison, Versions};
use lake::key::{ETag, Fingerprint, LakeKey, Parts};
use lake::lake::Lake;
use lake::layout::ReadingDate;
use lake::object::Occupancy;
use lake::policy::{Consent, Policies};
use lake::store::MemoryStore;

async fn lake(store: &MemoryStore) -> Lake {
    let catalog = Arc::new(StoreCatalog::new(Arc::new(MemoryStore::default())));
    let key = LakeKey::new(b"a secret of the comparison test").unwrap();
    let parts = Parts::try_from(16).unwrap();
    Lake::open(Arc::new(store.clone()), catalog, key, parts, Policies::default()).await.unwrap()
}

fn versions(number: usize) -> Fingerprint {
    Versions::under("a rule").version("it", Some(&ETag::new(number.to_string()))).fingerprint()
}

#[tokio::test]
async fn what_is_not_asked_for_again_is_forgotten() {
    let lake = lake(&MemoryStore::default()).await;
    let date = |day| ReadingDate::parse(day).unwrap();
    let dates =
        vec![(date("2023-06-18"), Occupancy::Some), (date("2023-06-19"), Occupancy::NoneNow)];
    let never = (date("2023-06-20"), Occupancy::NeverAny);
    let mut first = Comparison::begin(&lake, "f").await;
    first.note(versions(1), dates.iter().copied().chain([never]).collect());
    first.note(versions(2), Vec::new());
    first.end(&lake).await;

    let mut second = Comparison::begin(&lake, "f").await;
    let known = second.knows(versions(1)).map(BTreeMap::from_iter);
    assert_eq!(known, Some(BTreeMap::from_iter(dates)));
    assert_eq!(second.knows(versions(3)), None);
    second.end(&lake).await;

    let mut third = Comparison::begin(&lake, "f").await;
    assert_eq!(third.knows(versions(2)), None, "there are no such versions any more");
    assert!(third.knows(versions(1)).is_some());
    let mut other = Comparison::begin(&lake, "g").await;
    assert_eq!(other.knows(versions(1)), None, "it is another function's");
}

#[tokio::test]
async fn what_is_forgotten_is_not_known_until_it_is_noted_again() {
    let lake = lake(&MemoryStore::default()).await;
    let mut first = Comparison::begin(&lake, "f").await;
    first.note(versions(1), Vec::new());
    first.note(versions(2), Vec::new());
    first.note(versions(3), Vec::new());
    first.forget(versions(3));
    assert_eq!(first.knows(versions(3)), None, "it was noted by this one");
    first.end(&lake).await;

    let mut second = Comparison::begin(&lake, "f").await;
    assert!(second.knows(versions(1)).is_some() && second.knows(versions(2)).is_some());
    assert_eq!(second.knows(versions(3)), None);
    second.forget(versions(1));
    second.forget(versions(2));
    assert_eq!(second.knows(versions(1)), None, "it was noted by the one before");
    second.note(versions(2), Vec::new());
    assert!(second.knows(versions(2)).is_some());
    second.end(&lake).await;

    let mut third = Comparison::begin(&lake, "f").await;
    assert_eq!(third.knows(versions(1)), None);
    assert!(third.knows(versions(2)).is_some());
}

#[tokio::test]
async fn whoever_knows_of_earlier_policies_only_leaves_what_others_found() {
    let store = MemoryStore::default();
    let before = lake(&store).await;
    let (key, parts) = (before.key.clone(), before.settings.parts);
    let policies = Policies { consent: Consent::AsOf, ..Policies::default() };
    Lake::change_policies(&store, &key, parts, policies).await.unwrap();
    let after = Lake::open(Arc::new(store), Arc::clone(&before.catalog), key, parts, policies);
    let after = after.await.unwrap();
    let mut first = Comparison::begin(&after, "f").await;
    first.note(versions(1), Vec::new());
    first.end(&after).await;

    let mut late = Comparison::begin(&before, "f").await;
    late.note(versions(2), Vec::new());
    late.end(&before).await;

    let mut next = Comparison::begin(&after, "f").await;
    assert!(next.knows(versions(1)).is_some());
    assert_eq!(next.knows(versions(2)), None);
}

#[tokio::test]
async fn a_comparison_that_is_cut_off_leaves_what_it_found_so_far_to_the_next() {
    const MANY: usize = 5_000;
    let lake = lake(&MemoryStore::default()).await;
    let mut first = Comparison::begin(&lake, "f").await;
    first.note(versions(MANY), Vec::new());
    first.end(&lake).await;

    let mut cut_off = Comparison::begin(&lake, "f").await;
    for number in 0..MANY {
        cut_off.note(versions(number), Vec::new());
        cut_off.keep_progress(&lake).await;
    }
    drop(cut_off);

    let mut next = Comparison::begin(&lake, "f").await;
    let known = (0..MANY).filter(|number| next.knows(versions(*number)).is_some()).count();
    assert!(known > MANY / 2, "{known}");
    assert!(next.knows(versions(MANY)).is_some(), "nor does it lose what was known before");
}
