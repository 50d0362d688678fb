//! customer_trusted_to_curated under Lambda.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    aws::run(customer_trusted_to_curated::CustomerTrustedToCurated).await
}
