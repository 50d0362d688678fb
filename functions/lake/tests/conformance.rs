//! What every store promises, shown of each: a read sees the last completed write, a conditional
//! write is atomic, an upload is seen whole or not at all, a listing is complete and in key order,
//! absence is absence.

#![expect(clippy::unwrap_used, reason = "a test may")]

#[path = "conformance/suite.rs"]
mod suite;

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use lake::key::ObjectKey;
use lake::store::{ByteRange, FolderStore, MemoryStore, Precondition, Store, StoreError};

/// Runs a future that waits for nothing but itself.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return done;
        }
    }
}

fn each(check: impl Fn(&dyn Store)) {
    check(&MemoryStore::with_page_max(3));
    let folder = tempfile::tempdir().unwrap();
    check(&FolderStore::open(&folder.path().join("lake"), &folder.path().join("scratch")).unwrap());
}

/// Nothing is left in the scratch folder either, whatever became of the upload.
#[test]
fn a_folder_keeps_no_scratch_of_an_upload() {
    let folder = tempfile::tempdir().unwrap();
    let scratch = folder.path().join("scratch");
    let store = FolderStore::open(&folder.path().join("lake"), &scratch).unwrap();
    suite::upload(&store, "a", &["x"], Precondition::None).unwrap();
    assert!(suite::upload(&store, "a", &["y"], Precondition::IfAbsent).is_none());
    let mut given_up = now(store.upload(&ObjectKey::new("a"))).unwrap();
    now(given_up.write(Bytes::from_static(b"z"))).unwrap();
    assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 1);
    drop(given_up);
    now(now(store.upload(&ObjectKey::new("a"))).unwrap().abort()).unwrap();
    assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 0);
}

#[test]
fn a_folder_refuses_keys_that_lead_out_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = FolderStore::open(&folder.path().join("lake"), &folder.path().join("s")).unwrap();
    for key in ["../x", "a/../../x", "", "/etc/passwd", "a//b", ".stedi/key", "a\0b"] {
        let read = now(store.get(&ObjectKey::new(key), ByteRange::All));
        assert!(matches!(read, Err(StoreError::InvalidKey { .. })), "{key:?}");
    }
}

/// Runs are merged while others list them: each is written before those it stands for are deleted.
#[test]
fn a_listing_has_what_was_there_or_what_took_its_place() {
    each(|store| list_while_replacing(store, store, |refused| panic!("{refused}")));
}

/// It may be refused where files vanish faster than it is made.
#[test]
fn a_listing_of_a_folder_that_another_process_works_on_lacks_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (lake, scratch) = (folder.path().join("lake"), folder.path().join("scratch"));
    let worked_on = FolderStore::open(&lake, &scratch).unwrap();
    list_while_replacing(&worked_on, &FolderStore::read_only(&lake, &scratch), drop);
}

fn list_while_replacing(replaced: &dyn Store, listed: &dyn Store, refused: impl Fn(StoreError)) {
    const TIMES: usize = 3_000;
    let key = |number: usize| ObjectKey::new(format!("runs/{number:08}"));
    let put = |number| now(replaced.put(&key(number), Bytes::new(), Precondition::None)).unwrap();
    put(0);
    std::thread::scope(|scope| {
        let replacing = scope.spawn(|| {
            for number in 0..TIMES {
                put(number + 1);
                now(replaced.delete(&key(number))).unwrap();
            }
        });
        while !replacing.is_finished() {
            match now(listed.list("runs/", None)) {
                Ok(page) => assert!(!page.objects.is_empty(), "there is always one"),
                Err(error) => refused(error),
            }
        }
    });
}
