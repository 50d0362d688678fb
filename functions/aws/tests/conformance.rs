//! The conformance suite of the store over S3, run against whatever `AWS_ENDPOINT_URL_S3` names:
//! `tests/cloud` starts stand-ins and runs it. It makes a bucket for each test.

#![expect(clippy::unwrap_used, reason = "a test may")]

#[path = "../../lake/tests/conformance/suite.rs"]
mod suite;

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use aws::Clients;
use aws::s3::{PART_BYTES, S3Store};
use bytes::Bytes;
use lake::key::ObjectKey;
use lake::store::{ByteRange, Precondition, Store, StoreError};
use tokio::runtime::Runtime;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
static BUCKETS: AtomicU32 = AtomicU32::new(0);

fn now<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.block_on(future)
}

fn bucket() -> (aws_sdk_s3::Client, String) {
    let client = now(Clients::from_env()).s3();
    let number = BUCKETS.fetch_add(1, Ordering::Relaxed);
    let bucket = format!("conformance-{}-{number}", std::process::id());
    now(client.create_bucket().bucket(&bucket).send()).unwrap();
    (client, bucket)
}

fn each(check: impl Fn(&dyn Store)) {
    let (client, bucket) = bucket();
    check(&S3Store::new(client, bucket));
}

#[test]
fn a_bucket_that_is_not_there_is_an_error_and_no_absence() {
    let (client, _) = bucket();
    let store = S3Store::new(client, "there-is-no-such-bucket");
    let key = ObjectKey::new("a");
    let unavailable = |error| matches!(error, StoreError::Unavailable { .. });
    assert!(now(store.get(&key, ByteRange::All)).map_err(unavailable).is_err_and(|is| is));
    assert!(now(store.list("", None)).map_err(unavailable).is_err_and(|is| is));
    let put = now(store.put(&key, Bytes::new(), Precondition::IfAbsent));
    assert!(put.map_err(unavailable).is_err_and(|is| is));
}

#[test]
fn objects_of_several_parts_are_written_whole_under_their_condition() {
    let (client, bucket) = bucket();
    let store = S3Store::new(client.clone(), &bucket);
    let key = ObjectKey::new("large");
    for size in [PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES + 77] {
        let bytes: Bytes = (0..size).map(|at| (at % 251) as u8).collect();
        let etag = now(store.put(&key, bytes.clone(), Precondition::None)).unwrap();
        let found = now(store.get(&key, ByteRange::All)).unwrap().unwrap();
        assert!(found.bytes == bytes, "{size} bytes");
        assert_eq!(found.meta.etag, etag);
        let late = now(store.put(&key, bytes, Precondition::IfAbsent));
        assert!(matches!(late, Err(StoreError::Precondition { .. })), "{size} bytes");
    }
    let left = now(client.list_multipart_uploads().bucket(&bucket).send()).unwrap();
    assert!(left.uploads().is_empty(), "what was refused is given up");
}

#[test]
fn a_listing_goes_on_after_a_page() {
    each(|store| {
        let keys: Vec<ObjectKey> =
            (0..1005).map(|number| ObjectKey::new(format!("p/{number:04} +%é"))).collect();
        for key in &keys {
            now(store.put(key, Bytes::new(), Precondition::None)).unwrap();
        }
        let listed = now(lake::store::list_all(store, "p/")).unwrap();
        let listed: Vec<ObjectKey> = listed.into_iter().map(|object| object.key).collect();
        assert_eq!(listed, keys);
    });
}
