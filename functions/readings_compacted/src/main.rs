//! readings_compacted under Lambda.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    aws::run(readings_compacted::ReadingsCompacted).await
}
