//! A function under Lambda.
//!
//! Before the first event only the environment is read, so that a function that is set wrong fails
//! when it is deployed; the clients, the key and the lake follow with the first event, where a
//! failure is one that is tried again.

#![expect(
    clippy::disallowed_methods,
    reason = "measures its own invocations, and reads the level of its log; what is derived knows neither"
)]

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use futures::try_join;
use lake::error::Error;
use lake::events::{self, EventError, Message};
use lake::function::{self, BatchResponse, Function};
use lake::lake::Lake;
use lake::layout;
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde_json::Value;
use tokio::sync::OnceCell;
use tracing::{Instrument, error, info, info_span};

use crate::clients::Clients;
use crate::glue::GlueCatalog;
use crate::metrics::{self, Measured};
use crate::s3::S3Store;
use crate::secret::{self, SecretError};
use crate::settings::Settings;

/// `detail-type` of the event by which an operator makes the policies of the environment the lake's
/// own.
const ADOPT_POLICIES: &str = "Adopt Policies";

/// Why an event failed as a whole.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Event(#[from] EventError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Lake(#[from] Error),
    #[error(transparent)]
    Work(Arc<Error>),
}

impl From<Failure> for Diagnostic {
    fn from(failure: Failure) -> Self {
        let kind = match &failure {
            Failure::Event(_) => "Event",
            Failure::Secret(_) => "Secret",
            Failure::Lake(_) => "Lake",
            Failure::Work(_) => "Work",
        };
        Self { error_type: kind.to_owned(), error_message: failure.to_string() }
    }
}

/// Answers Lambda's invocations of `function`, until Lambda ends the process.
pub async fn run<F: Function>(function: F) -> ExitCode {
    log_as_json();
    let settings = match Settings::from_env() {
        Ok(settings) => settings,
        Err(wrong) => {
            error!(function = function.name(), "{wrong}");
            return ExitCode::FAILURE;
        }
    };
    let lambda = Lambda { function, settings, lake: OnceCell::new() };
    let answer = service_fn(|event| lambda.answer(event));
    match lambda_runtime::run(answer).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            error!(function = lambda.function.name(), "{failure}");
            ExitCode::FAILURE
        }
    }
}

/// Logs lines of JSON. What the clients of AWS say beyond `info` may hold what they carry, personal
/// data: it is not compiled in (`Cargo.toml`).
fn log_as_json() {
    tracing_subscriber::fmt().json().flatten_event(true).with_target(false).init();
}

struct Lambda<F> {
    function: F,
    settings: Settings,
    lake: OnceCell<Lake>,
}

impl<F: Function> Lambda<F> {
    async fn answer(&self, event: LambdaEvent<Value>) -> Result<BatchResponse, Failure> {
        let request_id = event.context.request_id.clone();
        let span = info_span!("invocation", function = self.function.name(), %request_id);
        let answered = self.handle(event).instrument(span.clone()).await;
        answered.inspect_err(|failure| span.in_scope(|| error!("{failure}")))
    }

    async fn handle(&self, event: LambdaEvent<Value>) -> Result<BatchResponse, Failure> {
        let started = Instant::now();
        let deadline_ms = event.context.deadline;
        if event.payload.get("detail-type").and_then(Value::as_str) == Some(ADOPT_POLICIES) {
            self.adopt_policies().await?;
            return Ok(BatchResponse::default());
        }
        let messages = self.messages(&event.payload)?;
        let changed_ms = oldest_change_of_a_customer(&messages);
        let lake = self.lake.get_or_try_init(|| self.open()).await?;
        // What is found by itself may take two thirds of the time that Lambda gives.
        let began_ms = now_ms();
        let reserve_ms = deadline_ms.saturating_sub(began_ms) / 3;
        let has_time = || now_ms() + reserve_ms < deadline_ms;
        let outcome = function::handle_messages(lake, &self.function, messages, &has_time).await;
        let ended_ms = now_ms();
        let is_done = outcome.errors.is_empty();
        let measured = Measured {
            duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            failed_messages: outcome.errors.len() as u64,
            withdrawal_lag_ms: changed_ms
                .filter(|_| is_done)
                .map(|changed_ms| ended_ms.saturating_sub(changed_ms)),
        };
        info!(report = %serde_json::json!(outcome.report), "done");
        print(&metrics::document(&self.settings, &outcome.report, measured, ended_ms));
        outcome.answer().map_err(Failure::Work)
    }

    /// The messages of an event; one of another bucket's objects fails by itself.
    fn messages(&self, event: &Value) -> Result<Vec<Message>, EventError> {
        let wanted = &self.settings.bucket;
        let mut messages = events::decode_value(event)?;
        for message in &mut messages {
            let other = message.changes().iter().find(|change| change.bucket != *wanted);
            if let Some(found) = other.map(|change| change.bucket.clone()) {
                message.ask = Err(EventError::OtherBucket { found, wanted: wanted.clone() });
            }
        }
        Ok(messages)
    }

    async fn open(&self) -> Result<Lake, Failure> {
        let Settings { bucket, database, key_secret, policies, parts, .. } = &self.settings;
        let clients = Clients::from_env().await;
        let store = Arc::new(S3Store::new(clients.s3(), bucket));
        let catalog = Arc::new(GlueCatalog::new(clients.glue(), database, bucket));
        let secrets = clients.secrets();
        let key = async { Ok::<_, Failure>(secret::key(&secrets, key_secret).await?) };
        let recorded = async { Ok(Lake::recorded_settings(store.as_ref()).await?) };
        let (key, recorded) = try_join!(key, recorded)?;
        let opened = Lake::open_recorded(store, catalog, key, *parts, *policies, recorded);
        let mut lake = opened.await?;
        lake.clock = Arc::new(|| i64::try_from(now_ms()).unwrap_or(i64::MAX));
        if let Some(days) = self.settings.closed_after_days {
            lake.bounds.closed_after_days = days;
        }
        // A register that is parsed anew for every landing object costs more than all else.
        if let Some(mib) = self.settings.memory_mib {
            lake.bounds.cache_bytes_max = lake.bounds.cache_bytes_max.max((mib << 20) / 4);
        }
        Ok(lake)
    }

    async fn adopt_policies(&self) -> Result<(), Failure> {
        let Settings { bucket, key_secret, policies, parts, .. } = &self.settings;
        let clients = Clients::from_env().await;
        let key = secret::key(&clients.secrets(), key_secret).await?;
        let store = S3Store::new(clients.s3(), bucket);
        Lake::change_policies(&store, &key, *parts, *policies).await?;
        info!(%policies, "the lake has these policies now");
        Ok(())
    }
}

/// When the first of the changed customers changed, epoch milliseconds: that of their part of a
/// customer table, or of the replay marker that stands for it.
fn oldest_change_of_a_customer(messages: &[Message]) -> Option<u64> {
    let is_of_customers = |key: &str| {
        [layout::TRUSTED_CUSTOMER, layout::CURATED_CUSTOMER, layout::REPLAY]
            .iter()
            .any(|prefix| key.starts_with(prefix))
    };
    let changes = messages.iter().flat_map(Message::changes);
    let changes = changes.filter(|change| is_of_customers(change.key.as_str()));
    changes.filter_map(|change| u64::try_from(change.time_ms?).ok()).min()
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Prints a document on a line of its own, as CloudWatch wants it.
fn print(document: &Value) {
    // A function whose output nobody takes still does its work.
    let _ = writeln!(std::io::stdout().lock(), "{document}");
}

#[cfg(test)]
mod tests {
    use tracing::level_filters::{LevelFilter, STATIC_MAX_LEVEL};

    #[test]
    fn what_the_clients_say_of_what_they_carry_is_not_compiled_in() {
        assert_eq!(STATIC_MAX_LEVEL, LevelFilter::INFO);
    }
}
