//! The envelopes in which events reach a function.

use std::collections::BTreeSet;

use lake::events::{object_event, scheduled_event};
use lake::function::Outcome;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::world::Queued;

const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_');

/// What the key of a message begins with that is no object's, but a schedule's: its time follows.
pub(crate) const SCHEDULE: &str = "schedule:";

fn bridged(message: &Queued) -> Value {
    match message.key.after(SCHEDULE) {
        Some(time) => scheduled_event(time),
        None => object_event("lake", &message.key, message.created),
    }
}

/// How a batch of messages is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Envelope {
    /// SQS messages with EventBridge events, as deployed.
    Bridged,
    /// SQS messages with S3 notifications.
    Notified,
    /// SQS messages with SNS notifications of S3 notifications.
    Published,
    /// One plain S3 notification of all of them: they succeed or fail together.
    Plain,
    /// One EventBridge event; of the first message only.
    Direct,
}

impl Envelope {
    pub(crate) const ALL: [Self; 5] =
        [Self::Bridged, Self::Notified, Self::Published, Self::Plain, Self::Direct];

    /// How many of so many messages it takes.
    pub(crate) fn takes(self, messages: usize) -> usize {
        if self == Self::Direct { messages.min(1) } else { messages }
    }

    /// The event for some messages.
    pub(crate) fn wrap(self, messages: &[Queued]) -> Value {
        let s3 = |message: &Queued| {
            let key = utf8_percent_encode(message.key.as_str(), FORM).to_string();
            json!({
                "eventSource": "aws:s3",
                "eventName": if message.created { "ObjectCreated:Put" } else { "ObjectRemoved:Delete" },
                "s3": {"bucket": {"name": "lake"}, "object": {"key": key.replace("%20", "+")}},
            })
        };
        let body = |message: &Queued| match self {
            Self::Bridged => bridged(message),
            Self::Notified => json!({"Records": [s3(message)]}),
            _ => json!({"Message": json!({"Records": [s3(message)]}).to_string()}),
        };
        let is_scheduled = |message: &Queued| message.key.after(SCHEDULE).is_some();
        match self {
            // S3 sends no schedules.
            Self::Notified | Self::Published | Self::Plain if messages.iter().any(is_scheduled) => {
                Self::Bridged.wrap(messages)
            }
            Self::Plain => json!({"Records": messages.iter().map(s3).collect::<Vec<_>>()}),
            Self::Direct => bridged(&messages[0]),
            _ => {
                let record = |(index, message): (usize, &Queued)| {
                    let body = body(message).to_string();
                    json!({
                        "messageId": format!("m{index}"),
                        "eventSource": "aws:sqs",
                        "attributes": {
                            "ApproximateReceiveCount": (message.deliveries + 1).to_string(),
                        },
                        "body": body,
                    })
                };
                let records: Vec<_> = messages.iter().enumerate().map(record).collect();
                json!({"Records": records})
            }
        }
    }

    /// The messages that failed.
    pub(crate) fn failed(self, messages: usize, outcome: Outcome) -> BTreeSet<usize> {
        match outcome.answer() {
            Err(_) => (0..messages).collect(),
            Ok(response) => response
                .batch_item_failures
                .iter()
                .filter_map(|failure| failure.item_identifier.strip_prefix('m')?.parse().ok())
                .collect(),
        }
    }
}
