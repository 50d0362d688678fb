//! The clients of the services the lake needs.

use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_types::retry::RetryConfig;

/// How often a call is made at most; the client waits in between, longer each time and with jitter.
const ATTEMPTS_MAX: u32 = 6;
/// A service of the same region answers in milliseconds, or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// To the first byte of the answer: of a part of 8 MiB at the pace of the smallest Lambda, too.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

/// Clients that share one pool of connections.
pub struct Clients {
    config: SdkConfig,
}

impl Clients {
    /// Reads region, credentials and endpoints from the environment, as every AWS program does.
    pub async fn from_env() -> Self {
        // Of the crypto libraries, ring is the smaller in the binary and needs no C++ to build.
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https();
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(ATTEMPT_TIMEOUT);
        let config = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX))
            .timeout_config(timeouts.build())
            .load()
            .await;
        Self { config }
    }

    /// A client of S3.
    pub fn s3(&self) -> aws_sdk_s3::Client {
        // A stand-in has no name for every bucket.
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_stand_in = set("AWS_ENDPOINT_URL_S3") || set("AWS_ENDPOINT_URL");
        let config = aws_sdk_s3::config::Builder::from(&self.config);
        aws_sdk_s3::Client::from_conf(config.force_path_style(is_stand_in).build())
    }

    /// A client of the Glue Data Catalog.
    pub fn glue(&self) -> aws_sdk_glue::Client {
        aws_sdk_glue::Client::new(&self.config)
    }

    /// A client of Secrets Manager.
    pub fn secrets(&self) -> aws_sdk_secretsmanager::Client {
        aws_sdk_secretsmanager::Client::new(&self.config)
    }
}
