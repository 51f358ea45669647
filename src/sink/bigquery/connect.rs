//! How the Storage Write API is reached: directly, or through the proxy that the environment names for it
//! (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`, as curl reads them), which tonic knows nothing of.
//! The REST client reads the same variables by itself.

use std::time::Duration;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use super::error::Error;

/// A server, and how its connections are made and kept.
#[derive(Debug, Clone)]
pub(super) struct Server {
    endpoint: Endpoint,
    proxy: Option<Tunnel<HttpsConnector<HttpConnector>>>,
}

impl Server {
    /// The server at `url`.
    ///
    /// # Errors
    /// [`Error::Client`]: it is no server's address, or the proxy's is none.
    pub(super) fn new(url: &str) -> Result<Server, Error> {
        Server::through(url, &Matcher::from_env())
    }

    fn through(url: &str, proxies: &Matcher) -> Result<Server, Error> {
        let failed = |source: tonic::transport::Error| Error::Client {
            endpoint: url.to_owned(),
            source: source.into(),
        };
        let mut endpoint = Endpoint::from_shared(url.to_owned())
            .map_err(failed)?
            .connect_timeout(Duration::from_secs(10))
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20))
            .keep_alive_while_idle(true);
        if url.starts_with("https://") {
            endpoint = endpoint
                .tls_config(ClientTlsConfig::new().with_native_roots())
                .map_err(failed)?;
        }
        let proxy = match proxies.intercept(endpoint.uri()) {
            Some(proxy) => Some(tunnel(&proxy)?),
            None => None,
        };
        Ok(Server { endpoint, proxy })
    }

    /// A channel that connects when it is used.
    pub(super) fn channel(&self) -> Channel {
        match &self.proxy {
            Some(tunnel) => self.endpoint.connect_with_connector_lazy(tunnel.clone()),
            None => self.endpoint.connect_lazy(),
        }
    }
}

/// A way through a proxy by `CONNECT` (<https://datatracker.ietf.org/doc/html/rfc9110#section-9.3.6>).
fn tunnel(proxy: &Intercept) -> Result<Tunnel<HttpsConnector<HttpConnector>>, Error> {
    // Login and password are not part of this address any more.
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Client {
        endpoint: format!("the proxy {}", proxy.uri()),
        source,
    };
    if !matches!(proxy.uri().scheme_str(), Some("http" | "https")) {
        return Err(failed("only http:// and https:// proxies can be used".into()));
    }
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    let connector = HttpsConnectorBuilder::new()
        .with_native_roots()
        .map_err(|source| failed(source.into()))?
        .https_or_http()
        .enable_http1()
        .wrap_connector(http);
    let tunnel = Tunnel::new(proxy.uri().clone(), connector);
    Ok(match proxy.basic_auth() {
        Some(login) => tunnel.with_auth(login.clone()),
        None => tunnel,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::chain;

    const URL: &str = "https://bigquerystorage.googleapis.com";

    #[test]
    fn a_proxy_is_used_unless_the_server_is_excluded() {
        let _chosen = rustls::crypto::ring::default_provider().install_default();
        let proxies = |no: &'static str| {
            let builder = Matcher::builder().https("http://u:pw@proxy.example:3128");
            Server::through(URL, &builder.no(no).build()).unwrap()
        };
        let server = proxies("other.example");
        assert!(server.proxy.is_some());
        assert!(!format!("{server:?}").contains("pw"));
        assert!(proxies("googleapis.com").proxy.is_none());
    }

    #[test]
    fn a_proxy_of_another_kind_is_refused_without_its_login() {
        let proxies = Matcher::builder()
            .https("socks5://u:pw@proxy.example:1080")
            .build();
        let said = chain(&Server::through(URL, &proxies).unwrap_err());
        assert!(said.contains("socks5://proxy.example:1080"), "{said}");
        assert!(!said.contains("pw"), "{said}");
    }
}
