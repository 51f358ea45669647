//! What a MySQL server, or the way to it, fails with, and what can be done about it. One enum for
//! connecting and querying: a server says "access denied" at both times and the cure is the same.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the driver's and rustls's enums grow with every version; what is not told apart here is one kind"
)]

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use mysql_async::{DriverError, IoError, ServerError, TlsError};

use super::token::TokenError;
use crate::event::TableId;
use crate::fault::{Classify, Fault};

/// An error of a connection to a MySQL or MariaDB server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MysqlError {
    /// The password's file cannot be read.
    #[error("the password of the MySQL user cannot be read")]
    Password(#[source] io::Error),
    /// No token can be made for the login.
    #[error("no token for the MySQL user")]
    Token(#[from] TokenError),
    /// The file of trusted certificates cannot be read or holds none.
    #[error("the certificates in {path} cannot be used: {reason}")]
    Ca {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The name does not resolve.
    #[error("host {host} does not resolve")]
    UnknownHost {
        /// The name.
        host: String,
        /// What the resolver said.
        #[source]
        source: io::Error,
    },
    /// No TCP connection, or it broke before the session began.
    #[error("no connection to {at}")]
    Unreachable {
        /// Host and port.
        at: String,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// Connecting took too long.
    #[error("{at} did not complete a connection within {} s", .after.as_secs())]
    Timeout {
        /// Host and port.
        at: String,
        /// The limit.
        after: Duration,
    },
    /// The server has no TLS to offer.
    #[error("{at} does not offer TLS, and the configuration demands it")]
    NoTls {
        /// Host and port.
        at: String,
    },
    /// The certificate is for other names.
    #[error("the certificate of {at} is for other names ({})", if .presented.is_empty() { "it carries no subjectAltName".to_owned() } else { .presented.join(", ") })]
    CertificateName {
        /// Host and port.
        at: String,
        /// Names in the certificate.
        presented: Vec<String>,
    },
    /// TLS failed otherwise.
    #[error("TLS with {at} failed: {reason}")]
    Tls {
        /// Host and port.
        at: String,
        /// What failed.
        reason: String,
    },
    /// The server refused a login or a statement.
    #[error("the server says: {} ({})", .0.message, .0.code)]
    Server(#[source] Box<ServerError>),
    /// The connection broke while it was in use.
    #[error("the connection to the server was lost: {0}")]
    Lost(String),
    /// The server sent a packet above the limit of 1 GiB, or the client's own limit.
    #[error("the server sent a packet above the limit of 1 GiB")]
    PacketTooLarge,
    /// The driver does not understand the server.
    #[error("the server's answer was not understood: {0}")]
    Protocol(String),
    /// A query came back in another shape than documented.
    #[error("unexpected answer to {query}: {reason}")]
    Unexpected {
        /// The query, without literals.
        query: &'static str,
        /// What is unexpected.
        reason: String,
    },
    /// An error that concerns one table.
    #[error("{table}")]
    Table {
        /// The table.
        table: TableId,
        /// The error.
        #[source]
        source: Box<MysqlError>,
    },
}

/// A table is gone, with its database or alone, is another thing now or has other columns than it had. The log will
/// say so, and what is to be done about the table follows from that.
const GONE_CODES: [u16; 5] = [1049, 1051, 1054, 1146, 1347];

/// Errors of one table (<https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>): it was not
/// granted, is damaged, its file was discarded or cannot be decrypted, or what it stands for (MERGE, FEDERATED) fails.
const TABLE_CODES: [u16; 21] = [
    1030, 1034, 1035, 1142, 1143, 1148, 1168, 1194, 1195, 1286, 1296, 1429, 1430, 1431, 1472, 1712, 1812,
    1814, 1877, 1932, 3185,
];

/// Errors that pass by themselves (<https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>):
/// connection and user limits, shutdown, lock waits, deadlocks, killed queries, changed definitions, network.
const TRANSIENT_CODES: [u16; 27] = [
    1040, 1053, 1077, 1078, 1079, 1129, 1152, 1153, 1158, 1159, 1160, 1161, 1184, 1203, 1205, 1206, 1213,
    1226, 1317, 1412, 1615, 1927, 1969, 3024, 3032, 3169, 4031,
];

impl MysqlError {
    /// Ties the error to a table, so that it concerns no other where the server says so.
    #[must_use]
    pub fn of_table(self, table: &TableId) -> MysqlError {
        MysqlError::Table {
            table: table.clone(),
            source: Box::new(self),
        }
    }

    /// The server's error number, where it is one.
    pub fn code(&self) -> Option<u16> {
        match self {
            MysqlError::Server(error) => Some(error.code),
            MysqlError::Table { source, .. } => source.code(),
            _ => None,
        }
    }

    /// An error met while connecting to `at` (`host:port`).
    pub(super) fn connecting(host: &str, at: &str, error: mysql_async::Error) -> MysqlError {
        let at = at.to_owned();
        match error {
            mysql_async::Error::Io(IoError::Io(source)) => connecting_io(host, at, source),
            mysql_async::Error::Io(IoError::Tls(TlsError::Tls(error))) => tls(at, &error),
            mysql_async::Error::Io(IoError::Tls(error)) => MysqlError::Tls {
                at,
                reason: error.to_string(),
            },
            mysql_async::Error::Driver(DriverError::NoClientSslFlagFromServer) => MysqlError::NoTls { at },
            mysql_async::Error::Driver(DriverError::ConnectionClosed) => MysqlError::Unreachable {
                at,
                source: io::Error::new(io::ErrorKind::ConnectionReset, "closed by the server"),
            },
            other => MysqlError::from(other),
        }
    }
}

fn connecting_io(host: &str, at: String, source: io::Error) -> MysqlError {
    if let Some(error) = source
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    {
        return tls(at, error);
    }
    // The resolver's error has no kind of its own; its text is the same on every platform of the standard library.
    if source.to_string().contains("failed to lookup address") {
        let host = host.to_owned();
        return MysqlError::UnknownHost { host, source };
    }
    MysqlError::Unreachable { at, source }
}

fn tls(at: String, error: &rustls::Error) -> MysqlError {
    match error {
        rustls::Error::InvalidCertificate(rustls::CertificateError::NotValidForNameContext {
            presented,
            ..
        }) => MysqlError::CertificateName {
            at,
            presented: presented.clone(),
        },
        other => MysqlError::Tls {
            at,
            reason: other.to_string(),
        },
    }
}

impl From<mysql_async::Error> for MysqlError {
    fn from(error: mysql_async::Error) -> MysqlError {
        match error {
            mysql_async::Error::Server(error) => MysqlError::Server(Box::new(error)),
            mysql_async::Error::Io(error) => match too_large(&error) {
                true => MysqlError::PacketTooLarge,
                false => MysqlError::Lost(error.to_string()),
            },
            mysql_async::Error::Driver(DriverError::ConnectionClosed) => {
                MysqlError::Lost("closed by the server".to_owned())
            }
            mysql_async::Error::Driver(DriverError::PacketTooLarge) => MysqlError::PacketTooLarge,
            // These two carry packets or cells, which no error text may show.
            mysql_async::Error::Driver(DriverError::UnexpectedPacket { .. }) => {
                MysqlError::Protocol("unexpected packet".to_owned())
            }
            mysql_async::Error::Driver(DriverError::FromValue { .. } | DriverError::FromRow { .. }) => {
                MysqlError::Protocol("a value has another type than documented".to_owned())
            }
            other => MysqlError::Protocol(other.to_string()),
        }
    }
}

fn too_large(error: &IoError) -> bool {
    matches!(error, IoError::Io(inner) if inner.to_string().to_ascii_lowercase().contains("packet too large"))
}

impl Classify for MysqlError {
    fn fault(&self) -> Fault {
        match self {
            MysqlError::UnknownHost { .. }
            | MysqlError::Unreachable { .. }
            | MysqlError::Timeout { .. }
            | MysqlError::Lost(_) => Fault::RETRY,
            MysqlError::Token(TokenError::Credentials { transient: true, .. }) => Fault::RETRY,
            MysqlError::Server(error) if TRANSIENT_CODES.contains(&error.code) => Fault::RETRY,
            MysqlError::Table { .. } if self.outdated() => Fault::RETRY,
            MysqlError::Table { table, source } => match source.fault() {
                Fault::Fatal if source.code().is_some_and(|code| TABLE_CODES.contains(&code)) => {
                    Fault::Table(table.clone())
                }
                fault => fault,
            },
            MysqlError::Password(_)
            | MysqlError::Token(_)
            | MysqlError::Ca { .. }
            | MysqlError::NoTls { .. }
            | MysqlError::CertificateName { .. }
            | MysqlError::Tls { .. }
            | MysqlError::Server(_)
            | MysqlError::PacketTooLarge
            | MysqlError::Protocol(_)
            | MysqlError::Unexpected { .. } => Fault::Fatal,
        }
    }

    fn outdated(&self) -> bool {
        matches!(self, MysqlError::Table { source, .. } if source.code().is_some_and(|code| GONE_CODES.contains(&code)))
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            MysqlError::Password(_) => "make the password's file readable for the replicator's user",
            MysqlError::Token(TokenError::Region) => {
                "set AWS_REGION, or use the endpoint's own name as the host"
            }
            MysqlError::Token(_) => {
                "give the process AWS credentials (environment, profile, IRSA, Pod Identity, ECS task role or EC2 \
                 instance profile) that may do rds-db:connect"
            }
            MysqlError::Ca { .. } => "set tls.ca to a PEM file with the certificate authority's certificates",
            MysqlError::UnknownHost { .. } => {
                "check the host in the source's url, and that this machine's DNS knows it"
            }
            MysqlError::Unreachable { .. } => {
                "check host and port in the source's url, that the server runs and listens on this address \
                 (bind_address, skip_networking), and that no firewall or security group is in between"
            }
            MysqlError::Timeout { .. } => {
                "check that no firewall or security group drops packets between here and the server"
            }
            MysqlError::NoTls { .. } => {
                "turn TLS on at the server (ssl_ca, ssl_cert, ssl_key), or set tls.mode to disabled on a network \
                 that you trust"
            }
            MysqlError::CertificateName { presented, .. } if presented.is_empty() => {
                "give the server a certificate with a subjectAltName (the ones MySQL generates by itself have \
                 none and cannot be verified), or set tls.mode to required"
            }
            MysqlError::CertificateName { .. } => {
                "connect by a name that the certificate carries, or set tls.mode to verify_ca"
            }
            MysqlError::Tls { .. } => {
                "set tls.ca to the certificate authority that signed the server's certificate"
            }
            MysqlError::Server(error) => return server_hint(error),
            MysqlError::Table { source, .. } => return source.hint(),
            MysqlError::PacketTooLarge => "split the statement that wrote so large a row or transaction",
            MysqlError::Lost(_) | MysqlError::Protocol(_) | MysqlError::Unexpected { .. } => return None,
        };
        Some(text.to_owned())
    }
}

fn server_hint(error: &ServerError) -> Option<String> {
    let text = match error.code {
        1045 | 1698 => {
            "check user and password in the source's url, and that the user may connect from this address \
             (the message above names user and address as the server sees them); with auth: rds_iam, that the user \
             was created with AWSAuthenticationPlugin or granted rds_iam, that the role may do rds-db:connect for \
             it, and that the host is the endpoint's own name"
        }
        1044 | 1142 | 1143 | 1227 | 1370 => {
            "run `replicator check`: it lists the grants that are missing, as statements to run"
        }
        1040 => "raise max_connections at the server, or lower snapshot.parallelism",
        1129 => {
            "run `TRUNCATE TABLE performance_schema.host_cache` (older servers: FLUSH HOSTS) at the server"
        }
        1130 => "create the user for this address: the server admits no connection from it at all",
        1146 => "create the table, or take it out of the source's tables",
        1203 | 1226 => "raise the user's connection limit, or lower snapshot.parallelism",
        1251 | 1275 | 1524 => "create the user with caching_sha2_password or mysql_native_password",
        1820 | 1862 => "set a new password for the user: the old one is expired",
        3118 | 4151 => "unlock the account: ALTER USER … ACCOUNT UNLOCK",
        3159 => "set tls.mode to required or better: the server demands TLS",
        _ => return None,
    };
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(code: u16) -> MysqlError {
        MysqlError::from(mysql_async::Error::Server(ServerError {
            code,
            message: "text".to_owned(),
            state: "HY000".to_owned(),
        }))
    }

    #[test]
    fn a_missing_table_concerns_that_table_only() {
        let table = TableId::new("shop", "orders");
        assert_eq!(server(1142).of_table(&table).fault(), Fault::Table(table.clone()));
        assert_eq!(server(1814).of_table(&table).fault(), Fault::Table(table.clone()));
        // A MERGE table whose parts are gone.
        assert_eq!(server(1472).of_table(&table).fault(), Fault::Table(table.clone()));
        assert_eq!(server(1146).of_table(&table).fault(), Fault::RETRY);
        assert_eq!(server(1049).of_table(&table).fault(), Fault::RETRY);
        assert!(server(1146).of_table(&table).outdated());
        assert!(!server(1146).outdated() && !server(1205).of_table(&table).outdated());
        assert_eq!(server(1205).of_table(&table).fault(), Fault::RETRY);
        assert_eq!(server(1045).of_table(&table).fault(), Fault::Fatal);
        assert_eq!(server(1146).fault(), Fault::Fatal);
    }

    #[test]
    fn limits_and_shutdowns_pass_by_themselves() {
        for code in [1040, 1053, 1203, 1226, 1205, 1213, 1927] {
            assert_eq!(server(code).fault(), Fault::RETRY, "{code}");
        }
        assert_eq!(server(1045).fault(), Fault::Fatal);
        assert!(server(1045).hint().is_some_and(|hint| hint.contains("password")));
    }

    #[test]
    fn no_packet_reaches_an_error_text() {
        let payload = b"secret".to_vec();
        let error = MysqlError::from(mysql_async::Error::Driver(DriverError::UnexpectedPacket {
            payload,
        }));
        assert!(!format!("{error:?} {error}").contains("secret"));
    }
}
