//! What S3 and Glue answer, and what it means: against a server that answers by a script, since no
//! stand-in answers so.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use aws::glue::GlueCatalog;
use aws::s3::S3Store;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
use bytes::Bytes;
use futures::TryStreamExt;
use lake::catalog::{Catalog, CatalogError, TableDefinition, register_table};
use lake::key::{ETag, ObjectKey};
use lake::layout::ReadingDate;
use lake::store::{ByteRange, Precondition, Store, StoreError, list_all};
use lake::tables::{ACCELEROMETER_TRUSTED, CUSTOMER_LANDING, TABLES};
use serde_json::{Value, json};

/// A request as it came.
#[derive(Clone, Debug)]
struct Request {
    head: String,
    body: Vec<u8>,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut found = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value)
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A server that gives these answers, one to each request, in order.
struct Script {
    url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Script {
    fn new(answers: impl IntoIterator<Item = String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let mut answers: VecDeque<String> = answers.into_iter().collect();
        std::thread::spawn(move || {
            while let Some(answer) = answers.pop_front() {
                let (connection, _) = listener.accept().unwrap();
                seen.lock().unwrap().push(exchange(connection, &answer));
            }
        });
        Self { url, requests }
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    fn store(&self) -> S3Store {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(credentials())
            .endpoint_url(&self.url)
            .force_path_style(true)
            .http_client(http());
        S3Store::new(aws_sdk_s3::Client::from_conf(config.build()), "lake")
    }

    fn catalog(&self) -> GlueCatalog {
        let config = aws_sdk_glue::Config::builder()
            .behavior_version(aws_sdk_glue::config::BehaviorVersion::latest())
            .region(aws_sdk_glue::config::Region::new("us-east-1"))
            .credentials_provider(credentials())
            .endpoint_url(&self.url)
            .http_client(http());
        GlueCatalog::new(aws_sdk_glue::Client::from_conf(config.build()), "stedi", "lake")
    }
}

fn credentials() -> SharedCredentialsProvider {
    let credentials = Credentials::builder()
        .access_key_id("test")
        .secret_access_key("test")
        .provider_name("test");
    SharedCredentialsProvider::new(credentials.build())
}

fn http() -> aws_sdk_s3::config::SharedHttpClient {
    aws_smithy_http_client::Builder::new().build_http()
}

fn exchange(mut connection: TcpStream, answer: &str) -> Request {
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "the request ends early: {head}");
    }
    let mut request = Request { head, body: Vec::new() };
    let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    request.body.resize(length, 0);
    reader.read_exact(&mut request.body).unwrap();
    connection.write_all(answer.as_bytes()).unwrap();
    request
}

/// An answer; its connection is closed after it.
fn answer(status: u16, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
}

fn s3_error(status: u16, code: &str) -> String {
    answer(status, "", &format!("<Error><Code>{code}</Code><Message>so</Message></Error>"))
}

fn glue_error(code: &str) -> String {
    answer(400, &format!("x-amzn-ErrorType: {code}\r\n"), &format!(r#"{{"__type":"{code}"}}"#))
}

fn glue_answer(body: &Value) -> String {
    answer(200, "", &body.to_string())
}

fn key() -> ObjectKey {
    ObjectKey::new("a/b")
}

#[tokio::test]
async fn a_write_whose_condition_does_not_hold_is_told_from_one_that_failed() {
    let if_match = || Precondition::IfMatch(ETag::new("\"1\""));
    let cases = [
        (412, "PreconditionFailed", Precondition::IfAbsent, true),
        (412, "PreconditionFailed", if_match(), true),
        (409, "ConditionalRequestConflict", Precondition::IfAbsent, true),
        (409, "ConditionalRequestConflict", if_match(), true),
        (404, "NoSuchKey", if_match(), true),
        (404, "NoSuchBucket", if_match(), false),
        (404, "NoSuchBucket", Precondition::IfAbsent, false),
        (403, "AccessDenied", if_match(), false),
        (409, "OperationAborted", Precondition::None, false),
    ];
    for (status, code, when, moved) in cases {
        let script = Script::new(vec![s3_error(status, code); 3]);
        let put = script.store().put(&key(), Bytes::from_static(b"x"), when.clone()).await;
        let error = put.unwrap_err();
        let is_moved = matches!(error, StoreError::Precondition { .. });
        assert_eq!(is_moved, moved, "{status} {code} {when:?}: {error}");
        if !moved {
            let said = error.to_string();
            assert!(said.contains("put a/b") && said.contains(code), "{said}");
        }
    }
}

#[tokio::test]
async fn conditions_are_sent() {
    let done = || answer(200, "ETag: \"2\"\r\n", "");
    let script = Script::new([done(), done(), done()]);
    let store = script.store();
    for when in
        [Precondition::None, Precondition::IfAbsent, Precondition::IfMatch(ETag::new("\"1\""))]
    {
        assert_eq!(store.put(&key(), Bytes::new(), when).await.unwrap(), ETag::new("\"2\""));
    }
    let sent: Vec<_> = script
        .requests()
        .iter()
        .map(|request| {
            let header = |name| request.header(name).map(str::to_owned);
            (header("if-none-match"), header("if-match"))
        })
        .collect();
    let wanted = [(None, None), (Some("*".into()), None), (None, Some("\"1\"".into()))];
    assert_eq!(sent, wanted);
}

#[tokio::test]
async fn what_may_not_be_read_is_an_error_and_no_absence() {
    for (status, code) in [(403, "AccessDenied"), (404, "NoSuchBucket"), (400, "BadRequest")] {
        let script = Script::new(vec![s3_error(status, code); 3]);
        let read = script.store().get(&key(), ByteRange::All).await;
        assert!(matches!(read, Err(StoreError::Unavailable { .. })), "{status} {code}");
    }
    let script = Script::new([answer(403, "", "")]);
    assert!(script.store().head(&key()).await.is_err());
    let script = Script::new([answer(404, "", "")]);
    assert!(script.store().head(&key()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_service_that_is_overloaded_is_asked_again() {
    let found = answer(200, "ETag: \"1\"\r\n", "found");
    let script = Script::new([s3_error(503, "SlowDown"), s3_error(500, "InternalError"), found]);
    let object = script.store().get(&key(), ByteRange::All).await.unwrap().unwrap();
    assert_eq!(object.bytes, "found");
    assert_eq!(script.requests().len(), 3);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_taken_up_where_it_did() {
    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nETag: \"1\"\r\nContent-Length: 10\r\n\r\n";
    let rest = answer(206, "ETag: \"1\"\r\nContent-Range: bytes 4-9/10\r\n", "456789");
    let script = Script::new([format!("{head}0123"), rest]);
    let stream = script.store().stream(&key()).await.unwrap().unwrap();
    let chunks: Vec<Bytes> = stream.chunks.try_collect().await.unwrap();
    assert_eq!(chunks.concat(), b"0123456789");
    let requests = script.requests();
    assert_eq!(requests[1].header("range"), Some("bytes=4-"));
    assert_eq!(requests[1].header("if-match"), Some("\"1\""), "of the same version");
}

#[tokio::test]
async fn a_body_that_is_another_version_by_then_fails() {
    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nETag: \"1\"\r\nContent-Length: 10\r\n\r\n";
    let script = Script::new([format!("{head}0123"), s3_error(412, "PreconditionFailed")]);
    let stream = script.store().stream(&key()).await.unwrap().unwrap();
    assert!(stream.chunks.try_collect::<Vec<Bytes>>().await.is_err());
}

/// Glue's answer to GetTable, of what CreateTable was sent.
fn table_of(created: &Request, version: &str) -> Value {
    let mut table = created.json()["TableInput"].clone();
    table["VersionId"] = version.into();
    json!({ "Table": table })
}

#[tokio::test]
async fn a_table_that_is_right_is_not_touched() {
    for table in TABLES {
        let script = Script::new([glue_error("EntityNotFoundException"), glue_answer(&json!({}))]);
        register_table(&script.catalog(), table, 2).await.unwrap();
        let created = script.requests()[1].clone();
        let script = Script::new([glue_answer(&table_of(&created, "3"))]);
        register_table(&script.catalog(), table, 2).await.unwrap();
        assert_eq!(script.requests().len(), 1, "{}", table.name);
    }
}

#[tokio::test]
async fn a_table_that_differs_in_anything_is_updated_at_its_version() {
    let script = Script::new([glue_error("EntityNotFoundException"), glue_answer(&json!({}))]);
    register_table(&script.catalog(), &CUSTOMER_LANDING, 2).await.unwrap();
    let created = script.requests()[1].clone();
    let column = "/Table/StorageDescriptor/Columns/1";
    for (pointer, value) in [
        ("/Table/Description".to_owned(), json!("mine")),
        (format!("{column}/Comment"), json!("mine")),
        (format!("{column}/Type"), json!("bigint")),
        (format!("{column}/Parameters"), json!({})),
        ("/Table/StorageDescriptor/Location".to_owned(), json!("s3://other/")),
        ("/Table/StorageDescriptor/InputFormat".to_owned(), json!("other")),
        ("/Table/StorageDescriptor/SerdeInfo/Parameters".to_owned(), json!({})),
        ("/Table/TableType".to_owned(), json!("VIRTUAL_VIEW")),
    ] {
        let mut found = table_of(&created, "7");
        *found.pointer_mut(&pointer).unwrap() = value;
        let script = Script::new([glue_answer(&found), glue_answer(&json!({}))]);
        register_table(&script.catalog(), &CUSTOMER_LANDING, 2).await.unwrap();
        let update = script.requests()[1].clone();
        assert_eq!(update.header("x-amz-target"), Some("AWSGlue.UpdateTable"), "{pointer}");
        let update = update.json();
        assert_eq!(update["VersionId"], "7");
        assert_eq!(update["SkipArchive"], true);
        assert_eq!(update["TableInput"], created.json()["TableInput"]);
    }
}

#[tokio::test]
async fn whoever_comes_second_looks_again() {
    let script = Script::new([glue_error("EntityNotFoundException"), glue_answer(&json!({}))]);
    register_table(&script.catalog(), &CUSTOMER_LANDING, 2).await.unwrap();
    let created = script.requests()[1].clone();
    let mut other = table_of(&created, "7");
    other["Table"]["Description"] = "mine".into();
    let script = Script::new([
        glue_error("EntityNotFoundException"),
        glue_error("AlreadyExistsException"),
        glue_answer(&other),
        glue_error("ConcurrentModificationException"),
        glue_answer(&table_of(&created, "8")),
    ]);
    register_table(&script.catalog(), &CUSTOMER_LANDING, 3).await.unwrap();
    assert_eq!(script.requests().len(), 5);
}

#[tokio::test]
async fn a_catalog_that_refuses_says_why() {
    let script = Script::new([glue_error("AccessDeniedException")]);
    let error = script.catalog().table("customer_landing").await.unwrap_err();
    assert!(matches!(error, CatalogError::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains("AccessDenied"), "{error}");
    // Without its database a table cannot be made; that is no absence of the table.
    let script = Script::new([glue_error("EntityNotFoundException")]);
    let definition = TableDefinition::from(&CUSTOMER_LANDING);
    let error = script.catalog().create_table(&definition).await.unwrap_err();
    assert!(matches!(error, CatalogError::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn partitions_are_added_and_removed_whoever_was_first() {
    let table = ACCELEROMETER_TRUSTED.name;
    let date = ReadingDate::parse("2026-11-24").unwrap();
    let failed = |code: &str| {
        let error = json!({"PartitionValues": ["x"], "ErrorDetail": {"ErrorCode": code}});
        glue_answer(&json!({ "Errors": [error] }))
    };
    let script = Script::new([glue_answer(&json!({})), failed("AlreadyExistsException")]);
    let catalog = script.catalog();
    for _ in 0..2 {
        catalog.create_partition(table, date).await.unwrap();
    }
    let sent = script.requests()[0].json();
    assert_eq!(sent["PartitionInputList"][0]["Values"], json!(["2026-11-24"]));
    assert_eq!(
        sent["PartitionInputList"][0]["StorageDescriptor"]["Location"],
        "s3://lake/trusted/accelerometer/reading_date=2026-11-24/"
    );
    let script = Script::new([failed("InternalServiceException")]);
    assert!(script.catalog().create_partition(table, date).await.is_err());
    let script = Script::new([failed("EntityNotFoundException"), failed("Other")]);
    let catalog = script.catalog();
    catalog.delete_partition(table, date).await.unwrap();
    assert!(catalog.delete_partition(table, date).await.is_err());
}

#[tokio::test]
async fn a_partition_is_moved_by_one_update_and_found_where_it_is() {
    let table = ACCELEROMETER_TRUSTED.name;
    let date = ReadingDate::parse("2026-11-24").unwrap();
    let copy = "compacted/accelerometer_trusted/reading_date=2026-11-24/a/";
    let nobody = || glue_answer(&json!({ "Partitions": [] }));
    let absent = || glue_error("EntityNotFoundException");
    let script = Script::new([glue_answer(&json!({})), absent(), nobody()]);
    let catalog = script.catalog();
    assert!(catalog.move_partition(table, date, copy).await.unwrap());
    assert!(!catalog.move_partition(table, date, copy).await.unwrap());
    let sent = script.requests()[0].json();
    assert_eq!(sent["PartitionValueList"], json!(["2026-11-24"]));
    let moved = &sent["PartitionInput"];
    assert_eq!(moved["StorageDescriptor"]["Location"], format!("s3://lake/{copy}"));

    let found = json!({"Partitions": [moved]});
    let script =
        Script::new([glue_answer(&found), absent(), glue_error("InternalServiceException")]);
    let catalog = script.catalog();
    assert_eq!(catalog.partition(table, date).await.unwrap().unwrap().location, copy);
    assert!(catalog.partition(table, date).await.is_err(), "a missing table is no absence");
    assert!(catalog.move_partition(table, date, copy).await.is_err());
}

#[tokio::test]
async fn partitions_are_listed_to_the_last_page() {
    let page = |dates: &[&str], next: Option<&str>| {
        let partitions: Vec<Value> = dates.iter().map(|date| json!({"Values": [date]})).collect();
        glue_answer(&json!({"Partitions": partitions, "NextToken": next}))
    };
    let script = Script::new([page(&["2026-11-24"], Some("more")), page(&["2026-11-23"], None)]);
    let found = script.catalog().partitions(ACCELEROMETER_TRUSTED.name).await.unwrap();
    let found: Vec<String> = found.iter().map(|found| found.date.to_string()).collect();
    assert_eq!(found, ["2026-11-23", "2026-11-24"]);
    assert_eq!(script.requests()[1].json()["NextToken"], "more");
}

#[tokio::test]
async fn a_page_without_objects_does_not_end_a_listing() {
    let page = |objects: &str, more: bool, token: &str| {
        let page = format!(
            "<ListBucketResult><IsTruncated>{more}</IsTruncated>{objects}{token}</ListBucketResult>"
        );
        answer(200, "", &page)
    };
    let object = "<Contents><Key>p/a</Key><ETag>\"1\"</ETag><Size>3</Size></Contents>";
    let token = "<NextContinuationToken>on</NextContinuationToken>";
    let script = Script::new([page("", true, token), page(object, false, "")]);
    let listed = list_all(&script.store(), "p/").await.unwrap();
    assert_eq!(listed.iter().map(|object| object.key.as_str()).collect::<Vec<_>>(), ["p/a"]);
    assert!(script.requests()[1].head.contains("continuation-token=on"));
    let script = Script::new([page("", true, "")]);
    assert!(list_all(&script.store(), "p/").await.is_err(), "what follows is not known");
}
