//! The chain as `template.yaml` wires it, over the handlers that are deployed.
//!
//! Rule → queue → function is followed in the template itself, when the program is built, so that the
//! local environment and the simulator cannot route otherwise than the account does.

mod routes;
#[cfg(test)]
mod wiring;

use futures::FutureExt;
use futures::future::BoxFuture;
use lake::error::Error;
use lake::events::{EventError, Message};
use lake::function::{self, Outcome};
use lake::key::ObjectKey;
use lake::lake::Lake;
use serde_json::Value;

pub use self::routes::{ranked, woken_by};

/// One of the six functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FunctionName {
    /// customer_landing → customer_trusted.
    CustomerLandingToTrusted,
    /// accelerometer_landing → accelerometer_trusted.
    AccelerometerLandingToTrusted,
    /// customer_trusted → customer_curated.
    CustomerTrustedToCurated,
    /// step_trainer_landing → step_trainer_trusted.
    StepTrainerLandingToTrusted,
    /// step_trainer_trusted, accelerometer_trusted → machine_learning_curated.
    MachineLearningCurated,
    /// accelerometer_trusted, step_trainer_trusted, machine_learning_curated → compacted copies.
    ReadingsCompacted,
}

macro_rules! with_function {
    ($name:expr, |$function:ident| $body:expr) => {
        match $name {
            FunctionName::CustomerLandingToTrusted => {
                let $function = customer_landing_to_trusted::CustomerLandingToTrusted;
                $body
            }
            FunctionName::AccelerometerLandingToTrusted => {
                let $function = accelerometer_landing_to_trusted::FUNCTION;
                $body
            }
            FunctionName::CustomerTrustedToCurated => {
                let $function = customer_trusted_to_curated::CustomerTrustedToCurated;
                $body
            }
            FunctionName::StepTrainerLandingToTrusted => {
                let $function = step_trainer_landing_to_trusted::FUNCTION;
                $body
            }
            FunctionName::MachineLearningCurated => {
                let $function = machine_learning_curated::MachineLearningCurated;
                $body
            }
            FunctionName::ReadingsCompacted => {
                let $function = readings_compacted::ReadingsCompacted;
                $body
            }
        }
    };
}

/// Their futures are boxed: whoever polled one that is not would have all six functions compiled again,
/// the local command and every binary of the simulator.
impl FunctionName {
    /// The six, in the order of the chain.
    pub const ALL: [Self; 6] = [
        Self::CustomerLandingToTrusted,
        Self::AccelerometerLandingToTrusted,
        Self::CustomerTrustedToCurated,
        Self::StepTrainerLandingToTrusted,
        Self::MachineLearningCurated,
        Self::ReadingsCompacted,
    ];

    /// Name of the crate, the binary and the Lambda.
    pub fn as_str(self) -> &'static str {
        with_function!(self, |function| function::Function::name(&function))
    }

    /// The function of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|function| function.as_str() == name)
    }

    /// Invokes the function with an event, whatever envelope it comes in.
    pub fn invoke<'a>(
        self,
        lake: &'a Lake,
        event: &'a Value,
    ) -> BoxFuture<'a, Result<Outcome, EventError>> {
        with_function!(self, |function| {
            async move { function::handle(lake, &function, event).await }.boxed()
        })
    }

    /// Invokes the function with messages that were decoded already.
    pub fn invoke_messages(self, lake: &Lake, messages: Vec<Message>) -> BoxFuture<'_, Outcome> {
        with_function!(self, |function| {
            async move { function::handle_messages(lake, &function, messages, &|| true).await }
                .boxed()
        })
    }

    /// The keys the function has to look at because something under it was added, replaced,
    /// deleted or left unfinished while nobody delivered events.
    pub fn unfinished(self, lake: &Lake) -> BoxFuture<'_, Result<Vec<ObjectKey>, Error>> {
        with_function!(self, |function| {
            async move { function::Function::unfinished(&function, lake).await }.boxed()
        })
    }
}
