//! Connections to the server, every one opened the same way: the password revealed anew, TLS as
//! configured, and a session that reads values exactly (UTC, no sql_mode that alters a read, long
//! timeouts).

use std::io;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, SslOpts};

use super::dump;
use super::error::MysqlError;
use super::token::Minter;
use crate::clock::Clock;
use crate::config::{Login, MysqlSource, TlsMode};

/// The largest packet that the protocol carries. The client must allow it whatever the server's own
/// limit: dump threads send events of up to 1 GiB regardless of `max_allowed_packet`.
const MAX_PACKET: usize = 1 << 30;

/// How long a connection may take from the name's resolution to the first query.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Idle time after which TCP probes the other side.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// One statement, because the driver runs several in reverse order. `sql_mode` is emptied of all that
/// alters what a read returns or how a literal is read (PAD_CHAR_TO_FULL_LENGTH, ANSI_QUOTES,
/// NO_BACKSLASH_ESCAPES); ALLOW_INVALID_DATES lets a key of 2020-02-31, once stored, be compared again.
const SESSION: &str = "SET NAMES utf8mb4, SESSION time_zone = '+00:00', \
     SESSION sql_mode = 'ALLOW_INVALID_DATES', SESSION autocommit = 1, \
     SESSION net_write_timeout = 3600, SESSION net_read_timeout = 3600, SESSION wait_timeout = 86400, \
     SESSION group_concat_max_len = 16777216, SESSION lock_wait_timeout = 60";

/// The isolation level has no variable that every version knows by the same name.
const ISOLATION: &str = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ";

/// Opens connections to one server.
#[derive(Debug, Clone)]
pub struct Connector {
    source: MysqlSource,
    clock: Clock,
    minter: Minter,
}

impl Connector {
    /// A connector for a configured source; connects nowhere yet.
    pub fn new(source: MysqlSource, clock: Clock) -> Connector {
        let minter = Minter::new(&source.host, source.port, &source.user, clock.clone());
        Connector {
            source,
            clock,
            minter,
        }
    }

    /// The source that this connects to.
    pub fn source(&self) -> &MysqlSource {
        &self.source
    }

    /// The clock that connecting is timed by.
    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Host and port, as errors and logs name the server.
    pub fn address(&self) -> String {
        format!("{}:{}", self.source.host, self.source.port)
    }

    /// A connection for queries, its session set for exact reads.
    ///
    /// # Errors
    /// [`MysqlError`]: the server cannot be reached or refuses.
    pub async fn connect_query(&self) -> Result<Conn, MysqlError> {
        let mut conn = self.connect().await?;
        conn.query_drop(SESSION).await?;
        conn.query_drop(ISOLATION).await?;
        lift_time_limit(&mut conn).await?;
        Ok(conn)
    }

    async fn connect(&self) -> Result<Conn, MysqlError> {
        install_tls_provider();
        match self.attempt(None).await {
            Err(MysqlError::CertificateName { at, presented })
                if self.source.tls.mode == TlsMode::VerifyCa =>
            {
                // The driver checks the chain before the name, and its own switch for leaving the name
                // out does not know the error that current rustls gives. So the server's own name is
                // demanded in a second attempt: any name will do, the chain is verified in both.
                match presented.iter().find_map(|name| certificate_name(name)) {
                    Some(name) => self.attempt(Some(name)).await,
                    None => Err(MysqlError::CertificateName { at, presented }),
                }
            }
            result => result,
        }
    }

    async fn attempt(&self, certificate_name: Option<String>) -> Result<Conn, MysqlError> {
        let opts = self.opts(certificate_name).await?;
        let at = self.address();
        tokio::select! {
            result = Conn::new(opts) => result
                .map_err(|error| MysqlError::connecting(&self.source.host, &at, error)),
            () = self.clock.sleep(CONNECT_TIMEOUT) => Err(MysqlError::Timeout { at, after: CONNECT_TIMEOUT }),
        }
    }

    /// What proves the user to the server, now.
    pub(super) async fn password(&self) -> Result<String, MysqlError> {
        Ok(match &self.source.login {
            Login::Password(password) => password.reveal().map_err(MysqlError::Password)?,
            Login::RdsIam => self.minter.token().await?,
        })
    }

    async fn opts(&self, certificate_name: Option<String>) -> Result<Opts, MysqlError> {
        let password = self.password().await?;
        let builder = OptsBuilder::default()
            .ip_or_hostname(self.source.host.as_str())
            .tcp_port(self.source.port)
            .user(Some(self.source.user.as_str()))
            .pass(Some(password))
            .prefer_socket(false)
            // A token goes as it is; the configuration admits that only to a server whose certificate is verified.
            .enable_cleartext_plugin(matches!(self.source.login, Login::RdsIam))
            .tcp_keepalive(Some(KEEPALIVE))
            .max_allowed_packet(Some(MAX_PACKET))
            .wait_timeout(Some(86_400))
            // Every chunk is a statement of its own: a cache would only hold server memory.
            .stmt_cache_size(0)
            .connect_attributes(std::collections::HashMap::from([(
                "program_name".to_owned(),
                "replicator".to_owned(),
            )]))
            .ssl_opts(self.ssl_opts(certificate_name)?);
        Ok(builder.into())
    }

    fn ssl_opts(&self, certificate_name: Option<String>) -> Result<Option<SslOpts>, MysqlError> {
        let tls = &self.source.tls;
        let opts = match tls.mode {
            TlsMode::Disabled => return Ok(None),
            TlsMode::Required => return Ok(Some(SslOpts::default().with_danger_accept_invalid_certs(true))),
            TlsMode::VerifyCa | TlsMode::VerifyIdentity => SslOpts::default(),
        };
        let opts = opts.with_danger_tls_hostname_override(certificate_name);
        Ok(Some(match self.authorities()? {
            None => opts,
            Some(pem) => opts
                .with_root_certs(vec![pem.into()])
                .with_disable_built_in_roots(true),
        }))
    }

    /// TLS for a connection that is not the driver's; `None` without.
    pub(super) fn tls(&self) -> Result<Option<rustls::ClientConfig>, MysqlError> {
        install_tls_provider();
        let authorities = self.authorities()?;
        dump::tls_client(self.source.tls.mode, authorities.as_deref()).map_err(|error| MysqlError::Tls {
            at: self.address(),
            reason: error.to_string(),
        })
    }

    /// The file of trusted certificates, if one is configured.
    fn authorities(&self) -> Result<Option<Vec<u8>>, MysqlError> {
        let Some(path) = &self.source.tls.ca else {
            return Ok(None);
        };
        let pem = std::fs::read(path).map_err(|error| self.ca_error(&error))?;
        match contains(&pem, b"-----BEGIN CERTIFICATE-----") {
            true => Ok(Some(pem)),
            false => {
                let reason = "no PEM certificate in it";
                Err(self.ca_error(&io::Error::new(io::ErrorKind::InvalidData, reason)))
            }
        }
    }

    fn ca_error(&self, error: &io::Error) -> MysqlError {
        MysqlError::Ca {
            path: self.source.tls.ca.clone().unwrap_or_default(),
            reason: error.to_string(),
        }
    }
}

/// A limit that the server sets for all statements would cut long reads of a snapshot short.
async fn lift_time_limit(conn: &mut Conn) -> Result<(), MysqlError> {
    const UNKNOWN_VARIABLE: u16 = 1193;
    match conn.query_drop("SET SESSION max_execution_time = 0").await {
        Err(mysql_async::Error::Server(error)) if error.code == UNKNOWN_VARIABLE => {
            Ok(conn.query_drop("SET SESSION max_statement_time = 0").await?)
        }
        result => Ok(result?),
    }
}

/// Chooses the cryptography for the process if nothing has yet: the driver asks for the process's default.
fn install_tls_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An error means that another thread was faster, with the same provider.
        drop(rustls::crypto::ring::default_provider().install_default());
    }
}

/// A concrete name that matches a presented one, from rustls's rendering: `DnsName("*.example.com")`,
/// `IpAddress(10.0.0.1)`.
fn certificate_name(presented: &str) -> Option<String> {
    if let Some(rest) = presented.strip_prefix("IpAddress(") {
        return Some(rest.strip_suffix(')')?.to_owned());
    }
    let name = presented.strip_prefix("DnsName(\"")?.strip_suffix("\")")?;
    Some(match name.strip_prefix("*.") {
        Some(rest) => format!("any.{rest}"),
        None => name.to_owned(),
    })
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_is_matched_by_a_name_under_it() {
        assert_eq!(
            certificate_name("DnsName(\"*.rds.example\")").as_deref(),
            Some("any.rds.example")
        );
        assert_eq!(
            certificate_name("DnsName(\"db.example\")").as_deref(),
            Some("db.example")
        );
        assert_eq!(
            certificate_name("IpAddress(127.0.0.1)").as_deref(),
            Some("127.0.0.1")
        );
        assert_eq!(certificate_name("DirectoryName"), None);
    }
}
