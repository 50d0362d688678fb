//! step_trainer_landing_to_trusted under Lambda.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    aws::run(step_trainer_landing_to_trusted::FUNCTION).await
}
