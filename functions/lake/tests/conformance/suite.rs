//! What every store promises: a read sees the last completed write, a conditional write is atomic, a
//! listing is complete and in key order, absence is absence. Whoever includes this says how to make
//! the stores (`each`) and how to run a future of theirs (`now`).

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::StreamExt;
use lake::key::{ETag, ObjectKey};
use lake::store::{ByteRange, Precondition, Store, StoreError, list_all};

use super::{each, now};

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
pub(crate) fn upload(
    store: &dyn Store,
    key: &str,
    pieces: &[&str],
    when: Precondition,
) -> Option<ETag> {
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
