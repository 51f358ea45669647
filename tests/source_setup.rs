//! Connecting to real servers and judging them: right set-ups pass, each wrong one is told by name
//! and with its cure.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed expectation is a failed test"
)]

mod support;

use std::path::Path;

use mysql_async::prelude::Queryable;
use replicator::clock::Clock;
use replicator::config::{Login, MysqlSource, Secret, SnapshotMode, Tls, TlsMode};
use replicator::event::TableId;
use replicator::fault::{Classify, Fault};
use replicator::source::Severity;
use replicator::source::mysql::Decoder;
use replicator::source::mysql::catalog_read::read_table;
use replicator::source::mysql::connect::Connector;
use replicator::source::mysql::error::MysqlError;
use replicator::source::mysql::preflight::{Facts, judge};
use replicator::source::mysql::server::{Flavour as ServerFlavour, ServerInfo};
use support::{BOTH, Flavour, TestDb};

async fn failure(source: MysqlSource) -> MysqlError {
    Connector::new(source, Clock::real())
        .connect_query()
        .await
        .expect_err("the connection is refused")
}

/// `severity subject` of everything that is not as it should be.
async fn complaints(source: MysqlSource) -> Vec<String> {
    let patterns = source.tables.clone();
    let mut conn = Connector::new(source, Clock::real())
        .connect_query()
        .await
        .unwrap();
    let facts = Facts::read(&mut conn, &patterns).await.unwrap();
    conn.disconnect().await.unwrap();
    judge(
        &facts,
        &patterns,
        SnapshotMode::Initial,
        &replicator::config::Overrides::default(),
    )
    .into_iter()
    .filter(|finding| finding.severity != Severity::Ok)
    .map(|finding| format!("{:?} {}", finding.severity, finding.subject))
    .collect()
}

fn as_user(db: &TestDb, user: &str, tables: &[&str]) -> MysqlSource {
    MysqlSource {
        user: user.to_owned(),
        login: Login::Password(Secret::text("secret")),
        ..db.source(tables)
    }
}

#[tokio::test]
async fn the_session_reads_values_exactly() {
    for flavour in BOTH {
        let db = TestDb::start(
            flavour,
            &[
                "--default-time-zone=+09:00",
                "--sql-mode=ANSI,PAD_CHAR_TO_FULL_LENGTH",
            ],
        );
        let mut conn = db.connect().await;
        let row: (String, String, String, u64) = conn
            .query_first("SELECT @@time_zone, @@sql_mode, @@character_set_results, @@net_write_timeout")
            .await
            .unwrap()
            .unwrap();
        let expected = (
            "+00:00".to_owned(),
            "ALLOW_INVALID_DATES".to_owned(),
            "utf8mb4".to_owned(),
            3600,
        );
        assert_eq!(row, expected, "{flavour:?}");
        let info = ServerInfo::read(&mut conn).await.unwrap();
        let whose = match flavour {
            Flavour::Mysql => ServerFlavour::Mysql,
            Flavour::MariaDb => ServerFlavour::MariaDb,
        };
        assert_eq!(info.flavour, whose);
        assert_eq!(info.has_gtids(), flavour == Flavour::Mysql);
        assert_eq!(info.server_uuid.is_some(), flavour == Flavour::Mysql);
        let current = info.current.expect("root may see the log's end");
        assert_eq!(info.logs.last().map(|log| &log.name), Some(&current.name));
        assert!(current.bytes > 4);
        conn.disconnect().await.unwrap();
    }
}

#[tokio::test]
async fn refusals_name_their_cause() {
    let db = TestDb::start(Flavour::Mysql, &[]);
    let wrong = failure(MysqlSource {
        login: Login::Password(Secret::text("not this")),
        ..db.source(&["*.*"])
    })
    .await;
    assert_eq!(wrong.code(), Some(1045), "{wrong}");
    assert_eq!(wrong.fault(), Fault::Fatal);
    assert!(wrong.hint().unwrap().contains("password"));

    let host = MysqlSource {
        host: "no-such-host.invalid".to_owned(),
        ..db.source(&["*.*"])
    };
    let unknown = failure(host).await;
    assert!(matches!(unknown, MysqlError::UnknownHost { .. }), "{unknown:?}");
    assert_eq!(unknown.fault(), Fault::RETRY);

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let refused = failure(MysqlSource {
        port,
        ..db.source(&["*.*"])
    })
    .await;
    assert!(matches!(refused, MysqlError::Unreachable { .. }), "{refused:?}");
    assert!(refused.to_string().contains(&port.to_string()));
    assert_eq!(refused.fault(), Fault::RETRY);
}

#[tokio::test]
async fn a_user_with_the_documented_grants_has_no_complaint() {
    for flavour in BOTH {
        let db = TestDb::start(flavour, &[]);
        let replication = match flavour {
            Flavour::Mysql => "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO r",
            Flavour::MariaDb => "GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO r",
        };
        db.run(&[
            "CREATE DATABASE shop",
            "CREATE TABLE shop.orders (id INT PRIMARY KEY)",
            "CREATE USER r IDENTIFIED BY 'secret'",
            "CREATE USER bare IDENTIFIED BY 'secret'",
            replication,
            "GRANT SELECT, LOCK TABLES ON shop.* TO r",
            "GRANT SELECT ON shop.* TO bare",
        ])
        .await;
        assert_eq!(
            complaints(as_user(&db, "r", &["shop.*"])).await,
            Vec::<String>::new(),
            "{flavour:?}"
        );
        let bare = complaints(as_user(&db, "bare", &["shop.*"])).await;
        let expected: &[&str] = match flavour {
            Flavour::Mysql => &["Error grant REPLICATION SLAVE", "Error grant REPLICATION CLIENT"],
            Flavour::MariaDb => &[
                "Error grant REPLICATION SLAVE",
                "Error grant BINLOG MONITOR",
                "Error grant LOCK TABLES",
            ],
        };
        assert_eq!(bare, expected, "{flavour:?}");
    }
}

#[tokio::test]
async fn grants_that_come_through_a_role_count() {
    let db = TestDb::start(Flavour::Mysql, &[]);
    db.run(&[
        "CREATE DATABASE shop",
        "CREATE TABLE shop.orders (id INT PRIMARY KEY)",
        "CREATE ROLE reader",
        "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO reader",
        "GRANT SELECT ON shop.* TO reader",
        "CREATE USER r IDENTIFIED BY 'secret'",
        "GRANT reader TO r",
        "SET DEFAULT ROLE reader TO r",
    ])
    .await;
    assert_eq!(
        complaints(as_user(&db, "r", &["shop.*"])).await,
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn wrong_set_ups_are_told_all_at_once() {
    let db = TestDb::start(
        Flavour::MariaDb,
        &[
            "--binlog-format=STATEMENT",
            "--binlog-row-image=MINIMAL",
            "--binlog-row-metadata=NO_LOG",
        ],
    );
    db.run(&[
        "CREATE DATABASE shop",
        "CREATE TABLE shop.orders (id INT PRIMARY KEY)",
        "CREATE TABLE shop.items (id INT PRIMARY KEY, o INT, \
         CONSTRAINT gone FOREIGN KEY (o) REFERENCES shop.orders (id) ON DELETE CASCADE)",
        "CREATE TABLE shop.log (line TEXT) ENGINE=MyISAM",
        "CREATE TABLE shop.prices (id INT PRIMARY KEY, price INT) WITH SYSTEM VERSIONING",
        "CREATE SEQUENCE shop.numbers",
    ])
    .await;
    assert_eq!(
        complaints(db.source(&["shop.*", "shop.nothing"])).await,
        [
            "Error binlog_format",
            "Error binlog_row_image",
            "Warning binlog_row_metadata",
            "Error shop.nothing",
            "Warning primary key",
            "Error system versioning",
            "Warning engine",
            "Warning foreign keys",
        ]
    );
    // Also where the columns that say when are declared: they look like others in the log.
    db.run(&["CREATE TABLE shop.rates (id INT PRIMARY KEY, s TIMESTAMP(6) GENERATED ALWAYS AS ROW START, \
             e TIMESTAMP(6) GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (s, e)) WITH SYSTEM VERSIONING"])
        .await;
    let (id, mut conn) = (TableId::new("shop", "rates"), db.connect().await);
    let rates = read_table(&mut conn, &id).await.unwrap().unwrap();
    let refused = Decoder::from_catalog(&rates).unwrap_err().to_string();
    assert!(refused.contains("ROW START"), "{refused}");
}

#[tokio::test]
async fn a_server_without_a_log_is_an_error() {
    let db = TestDb::start(Flavour::Mysql, &["--skip-log-bin"]);
    db.run(&[
        "CREATE DATABASE shop",
        "CREATE TABLE shop.orders (id INT PRIMARY KEY)",
    ])
    .await;
    assert_eq!(complaints(db.source(&["shop.*"])).await, ["Error log_bin"]);
}

fn with_tls(db: &TestDb, mode: TlsMode, ca: Option<&Path>) -> MysqlSource {
    MysqlSource {
        tls: Tls {
            mode,
            ca: ca.map(Path::to_path_buf),
        },
        ..db.source(&["*.*"])
    }
}

async fn cipher(source: MysqlSource) -> String {
    let mut conn = Connector::new(source, Clock::real())
        .connect_query()
        .await
        .unwrap();
    let row: Option<(String, String)> = conn
        .query_first("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
        .await
        .unwrap();
    conn.disconnect().await.unwrap();
    row.unwrap().1
}

/// A certificate authority and a server certificate for `name`, made by openssl; nothing without a name.
fn certificates(folder: &Path, names: &str) {
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new("openssl")
            .args(arguments)
            .current_dir(folder)
            .output()
            .expect("openssl runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    let key = ["-newkey", "rsa:2048", "-nodes", "-days", "2"];
    let authority = [
        "req",
        "-x509",
        "-subj",
        "/CN=Test CA",
        "-keyout",
        "ca-key.pem",
        "-out",
        "ca.pem",
    ];
    run(&[&authority[..], &key[..]].concat());
    run(&[
        &[
            "req",
            "-subj",
            "/CN=server",
            "-keyout",
            "server-key.pem",
            "-out",
            "server.csr",
        ][..],
        &key[..3],
    ]
    .concat());
    std::fs::write(folder.join("names"), format!("subjectAltName={names}\n")).unwrap();
    run(&[
        "x509",
        "-req",
        "-in",
        "server.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca-key.pem",
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        "names",
        "-out",
        "server-cert.pem",
    ]);
}

fn start_with(folder: &Path) -> TestDb {
    let option = |name: &str, file: &str| format!("--ssl-{name}={}", folder.join(file).display());
    let options = [
        option("ca", "ca.pem"),
        option("cert", "server-cert.pem"),
        option("key", "server-key.pem"),
    ];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    TestDb::start(Flavour::Mysql, &options)
}

#[tokio::test]
async fn each_tls_mode_verifies_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path(), "DNS:*.db.example, DNS:localhost");
    let db = start_with(folder.path());
    let ca = folder.path().join("ca.pem");
    assert_eq!(cipher(with_tls(&db, TlsMode::Disabled, None)).await, "");
    assert_ne!(cipher(with_tls(&db, TlsMode::Required, None)).await, "");
    // 127.0.0.1 is no name of the certificate.
    assert_ne!(cipher(with_tls(&db, TlsMode::VerifyCa, Some(&ca))).await, "");
    let error = failure(with_tls(&db, TlsMode::VerifyIdentity, Some(&ca))).await;
    assert!(
        matches!(&error, MysqlError::CertificateName { presented, .. } if presented.len() == 2),
        "{error:?}"
    );
    let named = MysqlSource {
        host: "localhost".to_owned(),
        ..with_tls(&db, TlsMode::VerifyIdentity, Some(&ca))
    };
    assert_ne!(cipher(named).await, "");
    // Another authority than the one that signed.
    let other = tempfile::tempdir().unwrap();
    certificates(other.path(), "DNS:localhost");
    for mode in [TlsMode::VerifyCa, TlsMode::VerifyIdentity] {
        let error = failure(with_tls(&db, mode, Some(&other.path().join("ca.pem")))).await;
        assert!(matches!(error, MysqlError::Tls { .. }), "{mode:?}: {error:?}");
        assert!(error.hint().unwrap().contains("tls.ca"));
    }
    let none = folder.path().join("names");
    let error = failure(with_tls(&db, TlsMode::VerifyCa, Some(&none))).await;
    assert!(matches!(error, MysqlError::Ca { .. }), "{error:?}");
}

#[tokio::test]
async fn a_certificate_without_names_is_never_taken_unverified() {
    // What the server generates by itself carries no subjectAltName.
    let db = TestDb::start(Flavour::Mysql, &[]);
    let mut conn = db.connect().await;
    let folder: Option<String> = conn.query_first("SELECT @@datadir").await.unwrap();
    conn.disconnect().await.unwrap();
    let ca = Path::new(&folder.unwrap()).join("ca.pem");
    assert_ne!(cipher(with_tls(&db, TlsMode::Required, None)).await, "");
    let error = failure(with_tls(&db, TlsMode::VerifyCa, Some(&ca))).await;
    assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "{error:?}");
    assert!(
        matches!(error, MysqlError::CertificateName { .. } | MysqlError::Tls { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_demanded() {
    let db = TestDb::start(Flavour::MariaDb, &["--skip-ssl"]);
    let error = failure(with_tls(&db, TlsMode::Required, None)).await;
    assert!(matches!(error, MysqlError::NoTls { .. }), "{error:?}");
}
