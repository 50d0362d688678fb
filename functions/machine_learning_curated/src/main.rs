//! machine_learning_curated under Lambda.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    aws::run(machine_learning_curated::MachineLearningCurated).await
}
