//! An event: decoded or refused, never a crash; and what it is decoded to survives the envelopes.
#![no_main]

use lake::events::{self, Ask};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(messages) = events::decode(input) else { return };
    let Some(Ok(Ask::Look(changes))) = messages.first().map(|message| &message.ask) else {
        return;
    };
    // In a message of SQS, an event asks for the same.
    if messages.len() == 1 && messages[0].id.is_none() {
        let event = serde_json::from_slice(input).expect("it was decoded");
        let wrapped = events::sqs_batch([("1", &event, 0)]);
        let inner = events::decode_value(&wrapped).expect("a batch is decoded");
        assert_eq!(inner[0].ask.as_ref().ok(), messages[0].ask.as_ref().ok());
    }
    for change in changes {
        let event = events::object_event(&change.bucket, &change.key, true);
        let again = events::decode_value(&event).expect("what the bucket sends is decoded");
        assert_eq!(again[0].changes()[0].key, change.key);
    }
});
