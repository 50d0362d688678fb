//! What every store promises, shown of each: a read sees the last completed write, a conditional
//! write is atomic, an upload is seen whole or not at all, a listing is complete and in key order,
//! absence is absence.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures::StreamExt;
use lake::key::{ETag, ObjectKey};
use lake::store::{ByteRange, FolderStore, MemoryStore, Precondition, Store, StoreError, list_all};

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

fn put(store: &dyn Store, key: &str, bytes: &'static str, when: Precondition) -> Option<ETag> {
    match now(store.put(&ObjectKey::new(key), Bytes::from_static(bytes.as_bytes()), when)) {
        Ok(etag) => Some(etag),
        Err(StoreError::Precondition { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

fn get(store: &dyn Store, key: &str, range: ByteRange) -> Option<Bytes> {
    now(store.get(&ObjectKey::new(key), range)).unwrap().map(|object| object.bytes)
}

#[test]
fn a_read_sees_the_last_write() {
    each(|store| {
        assert_eq!(get(store, "a/b", ByteRange::All), None);
        assert!(now(store.head(&ObjectKey::new("a/b"))).unwrap().is_none());
        for text in ["one", "", "three"] {
            let etag = put(store, "a/b", text, Precondition::None).unwrap();
            let head = now(store.head(&ObjectKey::new("a/b"))).unwrap().unwrap();
            assert_eq!((head.etag, head.size_bytes), (etag, text.len() as u64));
            assert_eq!(get(store, "a/b", ByteRange::All).unwrap(), text);
            let stream = now(store.stream(&ObjectKey::new("a/b"))).unwrap().unwrap();
            let chunks: Vec<Bytes> = now(stream.chunks.map(Result::unwrap).collect());
            assert_eq!(chunks.concat(), text.as_bytes());
        }
        now(store.delete(&ObjectKey::new("a/b"))).unwrap();
        now(store.delete(&ObjectKey::new("a/b"))).unwrap();
        assert_eq!(get(store, "a/b", ByteRange::All), None);
    });
}

#[test]
fn ranges_end_with_the_object() {
    each(|store| {
        put(store, "a", "0123456789", Precondition::None).unwrap();
        assert_eq!(get(store, "a", ByteRange::Bounded(2..5)).unwrap(), "234");
        assert_eq!(get(store, "a", ByteRange::Bounded(8..50)).unwrap(), "89");
        assert_eq!(get(store, "a", ByteRange::Suffix(3)).unwrap(), "789");
        assert_eq!(get(store, "a", ByteRange::Suffix(50)).unwrap(), "0123456789");
    });
}

#[test]
fn a_conditional_write_happens_only_under_its_condition() {
    each(|store| {
        for text in ["", "x"] {
            let key = format!("k{}", text.len());
            let gone = Precondition::IfMatch(ETag::new("nothing like it"));
            assert!(put(store, &key, text, gone.clone()).is_none(), "there is nothing to match");
            let first = put(store, &key, text, Precondition::IfAbsent).unwrap();
            assert!(put(store, &key, text, Precondition::IfAbsent).is_none());
            assert!(put(store, &key, "other", gone).is_none());
            assert_eq!(get(store, &key, ByteRange::All).unwrap(), text, "nothing was written");
            let second = put(store, &key, "other", Precondition::IfMatch(first.clone())).unwrap();
            assert_ne!(first, second);
            assert!(put(store, &key, "third", Precondition::IfMatch(first)).is_none());
        }
    });
}

#[test]
fn of_many_who_write_over_one_version_one_does() {
    each(|store| {
        for bytes in ["", "x"] {
            let key = format!("race{}", bytes.len());
            let written = AtomicUsize::new(0);
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        let done = put(store, &key, bytes, Precondition::IfAbsent).is_some();
                        written.fetch_add(usize::from(done), Ordering::Relaxed);
                    });
                }
            });
            assert_eq!(written.into_inner(), 1);
        }
    });
}

/// Writes an object piece by piece.
fn upload(store: &dyn Store, key: &str, pieces: &[&str], when: Precondition) -> Option<ETag> {
    let mut upload = now(store.upload(&ObjectKey::new(key))).unwrap();
    for piece in pieces {
        now(upload.write(Bytes::copy_from_slice(piece.as_bytes()))).unwrap();
    }
    match now(upload.complete(when)) {
        Ok(etag) => Some(etag),
        Err(StoreError::Precondition { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn an_upload_is_seen_whole_or_not_at_all() {
    each(|store| {
        let key = ObjectKey::new("a/b/c");
        let long = "0123456789".repeat(1 << 20);
        for pieces in [&["one", "", "two"][..], &[], &[""], &[&long, &long]] {
            let before = get(store, "a/b/c", ByteRange::All);
            let mut upload = now(store.upload(&key)).unwrap();
            for piece in pieces {
                now(upload.write(Bytes::copy_from_slice(piece.as_bytes()))).unwrap();
                assert_eq!(get(store, "a/b/c", ByteRange::All), before, "it is not complete");
                let listed = now(list_all(store, "")).unwrap().len();
                assert_eq!(listed, usize::from(before.is_some()));
            }
            let etag = now(upload.complete(Precondition::None)).unwrap();
            assert!(get(store, "a/b/c", ByteRange::All).unwrap() == pieces.concat());
            let head = now(store.head(&key)).unwrap().unwrap();
            assert_eq!((head.etag, head.size_bytes), (etag, pieces.concat().len() as u64));
        }
    });
}

#[test]
fn an_upload_that_is_given_up_leaves_nothing() {
    each(|store| {
        for before in [None, Some("before")] {
            if let Some(before) = before {
                put(store, "a/b", before, Precondition::None).unwrap();
            }
            for aborted in [true, false] {
                let mut upload = now(store.upload(&ObjectKey::new("a/b"))).unwrap();
                now(upload.write(Bytes::from_static(b"other"))).unwrap();
                if aborted {
                    now(upload.abort()).unwrap();
                } else {
                    drop(upload);
                }
                let left = get(store, "a/b", ByteRange::All);
                assert_eq!(left.as_deref(), before.map(str::as_bytes));
            }
        }
    });
}

#[test]
fn an_upload_is_complete_only_under_its_condition() {
    each(|store| {
        for pieces in [&[][..], &["x", "y"]] {
            let key = format!("k{}", pieces.len());
            let gone = Precondition::IfMatch(ETag::new("nothing like it"));
            assert!(upload(store, &key, pieces, gone.clone()).is_none());
            assert_eq!(get(store, &key, ByteRange::All), None, "nothing was written");
            let first = upload(store, &key, pieces, Precondition::IfAbsent).unwrap();
            assert!(upload(store, &key, &["other"], Precondition::IfAbsent).is_none());
            assert!(upload(store, &key, &["other"], gone).is_none());
            assert!(put(store, &key, "other", Precondition::IfAbsent).is_none());
            assert_eq!(get(store, &key, ByteRange::All).unwrap(), pieces.concat());
            let again = Precondition::IfMatch(first.clone());
            let second = upload(store, &key, &["other"], again.clone()).unwrap();
            assert_ne!(first, second);
            assert!(upload(store, &key, &["third"], again.clone()).is_none());
            assert!(put(store, &key, "third", again).is_none());
            put(store, &key, "third", Precondition::IfMatch(second)).unwrap();
        }
    });
}

/// The condition is judged when the upload is completed, not when it begins.
#[test]
fn a_put_during_an_upload_counts_for_its_condition() {
    each(|store| {
        let first = put(store, "k", "first", Precondition::None).unwrap();
        let mut upload = now(store.upload(&ObjectKey::new("k"))).unwrap();
        now(upload.write(Bytes::from_static(b"slow"))).unwrap();
        put(store, "k", "second", Precondition::None).unwrap();
        let late = now(upload.complete(Precondition::IfMatch(first)));
        assert!(matches!(late, Err(StoreError::Precondition { .. })));
        assert_eq!(get(store, "k", ByteRange::All).unwrap(), "second");
    });
}

#[test]
fn of_many_uploads_over_one_version_one_is_completed() {
    each(|store| {
        let written = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let done = upload(store, "race", &["x", "y"], Precondition::IfAbsent).is_some();
                    written.fetch_add(usize::from(done), Ordering::Relaxed);
                });
            }
        });
        assert_eq!(written.into_inner(), 1);
    });
}

/// Nothing is left in the scratch folder either, whatever became of the upload.
#[test]
fn a_folder_keeps_no_scratch_of_an_upload() {
    let folder = tempfile::tempdir().unwrap();
    let scratch = folder.path().join("scratch");
    let store = FolderStore::open(&folder.path().join("lake"), &scratch).unwrap();
    upload(&store, "a", &["x"], Precondition::None).unwrap();
    assert!(upload(&store, "a", &["y"], Precondition::IfAbsent).is_none());
    let mut given_up = now(store.upload(&ObjectKey::new("a"))).unwrap();
    now(given_up.write(Bytes::from_static(b"z"))).unwrap();
    assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 1);
    drop(given_up);
    now(now(store.upload(&ObjectKey::new("a"))).unwrap().abort()).unwrap();
    assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 0);
}

#[test]
fn a_listing_is_complete_and_in_key_order() {
    each(|store| {
        let mut keys =
            ["a/b/c", "a/b-c", "a/b.d", "a/b/d e+é", "a/c", "ab", "b/a", "a/b0", "a/bb/x"];
        for key in keys {
            put(store, key, "x", Precondition::None).unwrap();
        }
        keys.sort_unstable();
        for prefix in ["", "a", "a/", "a/b", "a/b/", "a/bb", "c", "a/c"] {
            let listed = now(list_all(store, prefix)).unwrap();
            let listed: Vec<&str> = listed.iter().map(|object| object.key.as_str()).collect();
            let wanted: Vec<&str> =
                keys.iter().copied().filter(|key| key.starts_with(prefix)).collect();
            assert_eq!(listed, wanted, "below {prefix:?}");
        }
        for after in keys {
            let page = now(store.list("a/", Some(&ObjectKey::new(after)))).unwrap();
            let first = page.objects.first().map(|object| object.key.as_str());
            let wanted = keys.iter().copied().find(|key| key.starts_with("a/") && *key > after);
            assert_eq!(first, wanted, "after {after:?}");
        }
    });
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
