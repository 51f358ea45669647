//! `auth: rds_iam`, with the program as it is run, against a server that asks for the password in clear over TLS, as
//! RDS does for users of its AWS plugin. MySQL's own server has no plugin of that kind that can be had here, so the
//! login is scripted from the protocol's description
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase.html>).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::process::Stdio;
use std::sync::Arc;

use replicator::config;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

const USER: &str = "replicator";

/// A packet of the protocol: length, sequence number, payload.
async fn read_packet(from: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut header = [0; 4];
    from.read_exact(&mut header).await.unwrap();
    let len = u32::from_le_bytes([header[0], header[1], header[2], 0]);
    let mut payload = vec![0; usize::try_from(len).unwrap()];
    from.read_exact(&mut payload).await.unwrap();
    payload
}

async fn write_packet(to: &mut (impl AsyncWrite + Unpin), sequence: u8, payload: &[u8]) {
    let len = u32::try_from(payload.len()).unwrap().to_le_bytes();
    let packet = [&[len[0], len[1], len[2], sequence], payload].concat();
    to.write_all(&packet).await.unwrap();
    to.flush().await.unwrap();
}

/// The greeting of a server that has TLS and plugins of authentication.
fn greeting() -> Vec<u8> {
    let capabilities: u32 = 0x1 | 0x8 | 0x200 | 0x800 | 0x2000 | 0x8000 | 0x8_0000 | 0x10_0000 | 0x20_0000;
    let bits = capabilities.to_le_bytes();
    [
        &b"\x0a8.0.39\0\x01\0\0\0salt8888\0"[..],
        &bits[..2],
        b"\xff\x02\0",
        &bits[2..],
        &[21],
        &[0; 10],
        b"salt12salt12\0caching_sha2_password\0",
    ]
    .concat()
}

/// Plays one login up to the password, which is refused. Returns the password.
async fn login(mut stream: TcpStream, tls: &TlsAcceptor) -> String {
    write_packet(&mut stream, 0, &greeting()).await;
    let wants_tls = read_packet(&mut stream).await;
    assert_eq!(wants_tls.len(), 32, "TLS is asked for before anything is said");
    let mut stream = tls.accept(stream).await.unwrap();
    let response = read_packet(&mut stream).await;
    let name = response[32..].split(|byte| *byte == 0).next().unwrap();
    assert_eq!(name, USER.as_bytes());
    write_packet(&mut stream, 3, b"\xfemysql_clear_password\0\0").await;
    let password = read_packet(&mut stream).await;
    let refusal = b"\xff\x15\x04#28000Access denied for user 'replicator'@'localhost'";
    write_packet(&mut stream, 5, refusal).await;
    let text = password.strip_suffix(b"\0").unwrap();
    String::from_utf8(text.to_vec()).unwrap()
}

#[tokio::test]
async fn a_token_is_the_password_of_each_connection() {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
    let _first = rustls::crypto::ring::default_provider().install_default();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let tls = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();

    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("ca.pem"), certified.cert.pem()).unwrap();
    std::fs::write(
        path("config.yaml"),
        text(port, "", &format!("verify_identity, ca: '{}'", path("ca.pem"))),
    )
    .unwrap();
    let check = tokio::process::Command::new(env!("CARGO_BIN_EXE_replicator"))
        .args(["check", "--config", &path("config.yaml")])
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "not to be seen")
        .env("AWS_REGION", "eu-west-1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let token = login(stream, &tls).await;
    let begins = format!("localhost:{port}/?Action=connect&DBUser={USER}&X-Amz-");
    assert!(token.starts_with(&begins), "{token}");
    for part in [
        "X-Amz-Credential=AKIDEXAMPLE%2F",
        "%2Feu-west-1%2Frds-db%2Faws4_request&",
        "X-Amz-Expires=900&",
        "X-Amz-SignedHeaders=host",
        "X-Amz-Signature=",
    ] {
        assert!(token.contains(part), "{part}: {token}");
    }
    drop(listener);
    let output = check.wait_with_output().await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(!output.status.success(), "{said}");
    for part in ["Access denied", "rds-db:connect"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    for secret in ["not to be seen", "X-Amz-Signature"] {
        assert!(!said.contains(secret), "{said}");
    }
}

fn text(port: u16, password: &str, mode: &str) -> String {
    format!(
        "pipeline: iam\nsources:\n  - name: s\n    mysql:\n      url: 'mysql://{USER}{password}@localhost:{port}'\n      \
         auth: rds_iam\n      tls: {{ mode: {mode} }}\n      tables: ['shop.*']\nsink:\n  bigquery:\n    \
         project: p\n    auth: none\n    endpoints: {{ rest: 'http://127.0.0.1:9', write: 'http://127.0.0.1:9' }}\n\
         checkpoint: file:///nowhere\n"
    )
}

#[test]
fn a_token_goes_to_nobody_who_is_not_known_and_beside_no_password() {
    let parse = |password: &str, mode: &str| config::parse(&text(1, password, mode), &|_| None);
    for mode in ["verify_identity", "verify_ca"] {
        assert!(parse("", mode).is_ok(), "{mode}");
    }
    for mode in ["disabled", "required"] {
        let said = parse(":secret", mode).unwrap_err().to_string();
        for part in [
            "sources[0].mysql.url",
            "sources[0].mysql.tls.mode",
            "global-bundle.pem",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(!said.contains("secret"), "{said}");
    }
}
