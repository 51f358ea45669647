//! What every call to AWS begins with, whichever module makes it: the process's credentials and region as the
//! AWS SDK's default chain finds them (environment, profile, web identity, container, instance), and the time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;

use crate::clock::Clock;

/// What the AWS SDK finds in the process's surroundings, over the one TLS and the proxy that all else goes
/// through.
pub async fn configuration() -> SdkConfig {
    let client = aws_smithy_http_client::Builder::new().build_with_connector_fn(|settings, components| {
        let mut builder = Connector::builder()
            .proxy_config(ProxyConfig::from_env())
            .tls_provider(Provider::Rustls(CryptoMode::Ring));
        builder.set_connector_settings(settings.cloned());
        builder.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
        builder.build()
    });
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(client)
        .load()
        .await
}

/// The clock's time, as signatures want it.
pub fn time(clock: &Clock) -> SystemTime {
    let micros = u64::try_from(clock.unix_micros()).unwrap_or_default();
    UNIX_EPOCH + Duration::from_micros(micros)
}
