//! customer_landing_to_trusted under Lambda.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    aws::run(customer_landing_to_trusted::CustomerLandingToTrusted).await
}
