//! Events: every envelope in which S3's notifications reach a function, decoded to object keys.
//!
//! An event is a hint that says "look at this key". Only what is needed is decoded and the rest is
//! tolerated, since emulators leave out what Amazon documents. What cannot be understood is an
//! error of its message alone.

use chrono::DateTime;
use serde_json::Value;

use crate::key::ObjectKey;

/// Why an event could not be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// The event, or the body of a message, is not JSON.
    #[error("event: {place} is not JSON: {reason}")]
    NotJson {
        /// Which part of the event.
        place: &'static str,
        /// What the parser said.
        reason: String,
    },
    /// The event has none of the known shapes.
    #[error("event: {place} is none of an S3, SQS, SNS or EventBridge event: {reason}")]
    UnknownShape {
        /// Which part of the event.
        place: &'static str,
        /// What is missing.
        reason: &'static str,
    },
    /// The object is in another bucket than the lake.
    #[error("event: the bucket is {found:?}, the lake is in {wanted:?}")]
    OtherBucket {
        /// As the event has it.
        found: String,
        /// Of the lake.
        wanted: String,
    },
    /// A key is not form-encoded UTF-8.
    #[error("event: the key {key:?} is not form-encoded UTF-8")]
    UndecodableKey {
        /// As it stands in the event.
        key: String,
    },
}

/// An object that somebody says has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The bucket it is in.
    pub bucket: String,
    /// Its key, decoded.
    pub key: ObjectKey,
    /// When the change happened, epoch milliseconds, if the event says so.
    pub time_ms: Option<i64>,
}

/// What an event asks of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// To look at these objects; a test event has none.
    Look(Vec<Change>),
    /// To find by itself what was left unfinished, and what is due by now: EventBridge's schedule
    /// came round.
    Reconcile {
        /// When, epoch milliseconds, if the event says so.
        time_ms: Option<i64>,
    },
}

/// Whether a message is delivered for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Delivery {
    /// It is, as far as SQS says: nobody has begun what it asks for.
    First,
    /// It is not, or nobody knows: somebody may have begun what it asks for, and died.
    Again,
}

/// How long after an event its message is sent, at the most, if it is sent for the first time: not out of
/// a queue of dead letters. Milliseconds.
const SENT_WITHIN_MS: i64 = 5 * 60 * 1000;

/// What is delivered, acknowledged and delivered again as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The SQS message it came in; `None` where the whole event succeeds or fails.
    pub id: Option<String>,
    /// Whether it is delivered for the first time.
    pub delivery: Delivery,
    /// What it asks for.
    pub ask: Result<Ask, EventError>,
}

impl Message {
    /// One that asks to look at `keys`, of no bucket in particular, whatever was begun of it.
    pub fn to_look_at(keys: &[ObjectKey]) -> Self {
        let change =
            |key: &ObjectKey| Change { bucket: String::new(), key: key.clone(), time_ms: None };
        let ask = Ok(Ask::Look(keys.iter().map(change).collect()));
        Self { id: None, delivery: Delivery::Again, ask }
    }

    /// The objects to look at, as far as the message names any.
    pub fn changes(&self) -> &[Change] {
        match &self.ask {
            Ok(Ask::Look(changes)) => changes,
            Ok(Ask::Reconcile { .. }) | Err(_) => &[],
        }
    }
}

/// Decodes an event from its JSON text.
pub fn decode(json: &[u8]) -> Result<Vec<Message>, EventError> {
    let event = serde_json::from_slice(json)
        .map_err(|error| EventError::NotJson { place: "the event", reason: error.to_string() })?;
    decode_value(&event)
}

/// Decodes an event that was parsed already.
pub fn decode_value(event: &Value) -> Result<Vec<Message>, EventError> {
    let records = event.get("Records").and_then(Value::as_array);
    if let Some(records) = records
        && records.iter().any(is_sqs)
    {
        return records.iter().map(sqs_message).collect();
    }
    Ok(vec![Message { id: None, delivery: Delivery::Again, ask: Ok(ask(event, "the event")?) }])
}

fn is_sqs(record: &Value) -> bool {
    record.get("body").is_some() && record.get("messageId").is_some()
}

fn sqs_message(record: &Value) -> Result<Message, EventError> {
    let id = text(record, &["messageId"]).ok_or(EventError::UnknownShape {
        place: "an SQS record",
        reason: "it has no messageId",
    })?;
    let body = text(record, &["body"]).ok_or(EventError::UnknownShape {
        place: "an SQS message",
        reason: "its body is not text",
    });
    let event = body.and_then(|body| parse(body, "the body of an SQS message"));
    let ask = event.and_then(|event| ask(&event, "the body of an SQS message"));
    let mut message = Message { id: Some(id.to_owned()), delivery: Delivery::Again, ask };
    let attribute = |name| text(record, &["attributes", name]);
    let sent_ms = attribute("SentTimestamp").and_then(|text| text.parse::<i64>().ok());
    let is_late = |change: &Change| {
        let late = sent_ms.zip(change.time_ms).map(|(sent_ms, ms)| sent_ms.saturating_sub(ms));
        late.is_some_and(|late| late > SENT_WITHIN_MS)
    };
    if attribute("ApproximateReceiveCount") == Some("1") && !message.changes().iter().any(is_late) {
        message.delivery = Delivery::First;
    }
    Ok(message)
}

fn parse(json: &str, place: &'static str) -> Result<Value, EventError> {
    serde_json::from_str(json)
        .map_err(|error| EventError::NotJson { place, reason: error.to_string() })
}

fn embedded(json: &str, place: &'static str) -> Result<Vec<Change>, EventError> {
    changes(&parse(json, place)?, place)
}

fn ask(event: &Value, place: &'static str) -> Result<Ask, EventError> {
    let is_schedule = text(event, &["detail-type"]) == Some("Scheduled Event");
    if is_schedule {
        return Ok(Ask::Reconcile { time_ms: text(event, &["time"]).and_then(time_ms) });
    }
    Ok(Ask::Look(changes(event, place)?))
}

fn changes(event: &Value, place: &'static str) -> Result<Vec<Change>, EventError> {
    if let Some(records) = event.get("Records").and_then(Value::as_array) {
        let each = records.iter().map(|record| record_changes(record, place));
        return Ok(each.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect());
    }
    if event.get("detail").is_some() {
        return Ok(vec![eventbridge_change(event, place)?]);
    }
    if let Some(message) = text(event, &["Message"]) {
        return embedded(message, "the message of an SNS notification");
    }
    if text(event, &["Event"]) == Some("s3:TestEvent") {
        return Ok(Vec::new());
    }
    Err(EventError::UnknownShape { place, reason: "no Records, no detail, no Message" })
}

fn record_changes(record: &Value, place: &'static str) -> Result<Vec<Change>, EventError> {
    if let Some(message) = text(record, &["Sns", "Message"]) {
        return embedded(message, "the message of an SNS notification");
    }
    let missing = |reason| EventError::UnknownShape { place, reason };
    let bucket =
        text(record, &["s3", "bucket", "name"]).ok_or(missing("a record has no s3.bucket.name"))?;
    let key =
        text(record, &["s3", "object", "key"]).ok_or(missing("a record has no s3.object.key"))?;
    Ok(vec![Change {
        bucket: bucket.to_owned(),
        key: ObjectKey::new(form_decoded(key)?),
        time_ms: text(record, &["eventTime"]).and_then(time_ms),
    }])
}

fn eventbridge_change(event: &Value, place: &'static str) -> Result<Change, EventError> {
    let missing = |reason| EventError::UnknownShape { place, reason };
    let bucket = text(event, &["detail", "bucket", "name"])
        .ok_or(missing("the detail has no bucket.name"))?;
    let key =
        text(event, &["detail", "object", "key"]).ok_or(missing("the detail has no object.key"))?;
    Ok(Change {
        bucket: bucket.to_owned(),
        key: ObjectKey::new(key),
        time_ms: text(event, &["time"]).and_then(time_ms),
    })
}

fn text<'a>(value: &'a Value, path: &[&str]) -> Option<&'a str> {
    path.iter().try_fold(value, |value, name| value.get(name))?.as_str()
}

fn time_ms(text: &str) -> Option<i64> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_millis())
}

/// S3 form-encodes the keys in its notifications: `+` is a space, `%2B` a plus.
fn form_decoded(key: &str) -> Result<String, EventError> {
    let spaced = key.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| EventError::UndecodableKey { key: key.to_owned() })
}

/// An EventBridge event that says an object was created or deleted, as the bucket sends it.
pub fn object_event(bucket: &str, key: &ObjectKey, created: bool) -> Value {
    serde_json::json!({
        "version": "0",
        "source": "aws.s3",
        "detail-type": if created { "Object Created" } else { "Object Deleted" },
        "detail": { "version": "0", "bucket": { "name": bucket }, "object": { "key": key } },
    })
}

/// EventBridge's event that a schedule came round, at a time as `2026-01-31T00:00:00Z`.
pub fn scheduled_event(time: &str) -> Value {
    serde_json::json!({
        "version": "0",
        "source": "aws.events",
        "detail-type": "Scheduled Event",
        "time": time,
        "detail": {},
    })
}

/// A batch of SQS messages, each with an event as its body, and how often it was delivered before.
pub fn sqs_batch<'a>(messages: impl IntoIterator<Item = (&'a str, &'a Value, u32)>) -> Value {
    let records = messages.into_iter().map(|(id, body, deliveries)| {
        serde_json::json!({
            "messageId": id,
            "eventSource": "aws:sqs",
            "attributes": { "ApproximateReceiveCount": (deliveries + 1).to_string() },
            "body": body.to_string(),
        })
    });
    serde_json::json!({ "Records": records.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s3(key: &str) -> Value {
        serde_json::json!({"Records": [{
            "eventSource": "aws:s3",
            "s3": {"bucket": {"name": "lake"}, "object": {"key": key}},
        }]})
    }

    fn keys(event: &Value) -> Vec<String> {
        decode_value(event)
            .unwrap()
            .into_iter()
            .flat_map(|message| match message.ask.unwrap() {
                Ask::Look(changes) => changes,
                Ask::Reconcile { .. } => panic!("{event} names objects"),
            })
            .map(|change| change.key.to_string())
            .collect()
    }

    #[test]
    fn every_envelope_gives_the_same_key() {
        let key = ObjectKey::new("landing/customer/a b+c é.json");
        let encoded = s3("landing/customer/a+b%2Bc+%C3%A9.json");
        let bridged = object_event("lake", &key, true);
        let sns = serde_json::json!({"Type": "Notification", "Message": encoded.to_string()});
        let sns_direct = serde_json::json!({"Records": [{"EventSource": "aws:sns", "Sns": sns}]});
        for event in [
            &encoded,
            &bridged,
            &sns_direct,
            &sqs_batch([("1", &encoded, 0)]),
            &sqs_batch([("1", &bridged, 0)]),
            &sqs_batch([("1", &sns, 0)]),
        ] {
            assert_eq!(keys(event), [key.as_str()], "{event}");
        }
    }

    #[test]
    fn a_test_event_has_no_keys() {
        let event = serde_json::json!({"Service": "Amazon S3", "Event": "s3:TestEvent"});
        assert!(keys(&event).is_empty());
        assert!(keys(&sqs_batch([("1", &event, 0)])).is_empty());
    }

    #[test]
    fn a_schedule_asks_for_what_is_unfinished() {
        let event = serde_json::json!({
            "source": "aws.events", "detail-type": "Scheduled Event", "detail": {},
            "time": "1970-01-01T00:00:01Z",
        });
        let asked = Ask::Reconcile { time_ms: Some(1000) };
        for event in [event.clone(), sqs_batch([("1", &event, 0)])] {
            assert_eq!(decode_value(&event).unwrap()[0].ask, Ok(asked.clone()), "{event}");
        }
    }

    #[test]
    fn only_sqs_says_that_a_message_comes_for_the_first_time() {
        let event = s3("a");
        let deliveries = |event: &Value| {
            let messages = decode_value(event).unwrap();
            messages.into_iter().map(|message| message.delivery).collect::<Vec<_>>()
        };
        let batch = sqs_batch([("1", &event, 0), ("2", &event, 1), ("3", &event, 9)]);
        assert_eq!(deliveries(&batch), [Delivery::First, Delivery::Again, Delivery::Again]);
        let mut untold = sqs_batch([("1", &event, 0)]);
        untold["Records"][0]["attributes"] = Value::Null;
        for event in [untold, event] {
            assert_eq!(deliveries(&event), [Delivery::Again], "{event}");
        }
        let mut bridged = object_event("lake", &ObjectKey::new("a"), true);
        bridged["time"] = "1970-01-01T00:00:01Z".into();
        let sent = |sent_ms: i64| {
            let mut batch = sqs_batch([("1", &bridged, 0)]);
            batch["Records"][0]["attributes"]["SentTimestamp"] = sent_ms.to_string().into();
            batch
        };
        assert_eq!(deliveries(&sent(1_000 + SENT_WITHIN_MS)), [Delivery::First]);
        assert_eq!(deliveries(&sent(1_001 + SENT_WITHIN_MS)), [Delivery::Again], "a dead letter");
    }

    #[test]
    fn a_message_that_is_not_understood_does_not_cost_its_neighbours() {
        let mut event = sqs_batch([("1", &s3("a"), 0), ("2", &s3("b"), 0)]);
        event["Records"][0]["body"] = "{".into();
        let messages = decode_value(&event).unwrap();
        assert!(matches!(messages[0].ask, Err(EventError::NotJson { .. })));
        assert_eq!(messages[1].changes()[0].key.as_str(), "b");
    }

    #[test]
    fn shapes_nobody_sends_are_refused() {
        for event in [serde_json::json!({}), serde_json::json!([1]), s3("%FF")] {
            assert!(decode_value(&event).is_err(), "{event}");
        }
        assert!(matches!(decode(b"{"), Err(EventError::NotJson { .. })));
    }
}
