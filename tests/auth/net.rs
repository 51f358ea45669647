//! The way to the fakes: a proxy that lets no one through without its password, and behind it one server
//! that has a certificate for every name that is asked for, of an authority that only the test knows.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::serve::Listener;
use base64::Engine as _;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use replicator::task::{self, Task};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::server::TlsStream;

/// User and password of the proxy.
pub(crate) const PROXY_LOGIN: &str = "replicator:pr0xy-passw0rd";

/// A server's certificate and the authority that signed it.
pub(crate) struct Certified {
    pub(crate) authority_pem: String,
    acceptor: TlsAcceptor,
}

impl Certified {
    pub(crate) fn new(names: &[&str]) -> Certified {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority_pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(names)
            .unwrap()
            .signed_by(&key, &issuer)
            .unwrap();
        let mut server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![leaf.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Certified {
            authority_pem,
            acceptor: TlsAcceptor::from(Arc::new(server)),
        }
    }

    pub(crate) async fn listen(&self) -> TlsListener {
        TlsListener {
            tcp: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            acceptor: self.acceptor.clone(),
        }
    }
}

/// Connections whose handshake succeeded.
pub(crate) struct TlsListener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.tcp.accept().await.unwrap();
            // Who does not trust the certificate goes away.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

/// A proxy for `CONNECT`, whatever the name, to one server.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    _task: Task<()>,
}

#[derive(Default)]
struct Shared {
    /// What was asked for: `host:port`, or the refusal of who has no password.
    asked: Mutex<Vec<String>>,
    connections: Mutex<JoinSet<()>>,
}

impl Proxy {
    /// Asked in the clear, or over TLS if it has a certificate.
    pub(crate) async fn start(server: SocketAddr, certified: Option<&Certified>) -> Proxy {
        let acceptor = certified.map(|certified| certified.acceptor.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let state = Arc::clone(&shared);
        let task = task::spawn("proxy", async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let shared = Arc::clone(&state);
                let acceptor = acceptor.clone();
                state.connections.lock().unwrap().spawn(async move {
                    // Either side may go at any time.
                    drop(match acceptor {
                        None => connect(stream, server, &shared).await,
                        Some(acceptor) => match acceptor.accept(stream).await {
                            Ok(stream) => connect(stream, server, &shared).await,
                            Err(error) => Err(error),
                        },
                    });
                });
            }
        });
        Proxy {
            address,
            shared,
            _task: task,
        }
    }

    /// What was asked for so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// Cuts every connection.
    pub(crate) fn cut(&self) {
        self.shared.connections.lock().unwrap().abort_all();
    }
}

async fn connect(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    server: SocketAddr,
    shared: &Shared,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let login = base64::engine::general_purpose::STANDARD.encode(PROXY_LOGIN);
    let allowed = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .any(|(name, value)| {
            name.eq_ignore_ascii_case("proxy-authorization") && value == format!("Basic {login}")
        });
    let asked = head
        .strip_prefix("CONNECT ")
        .and_then(|rest| rest.split(' ').next());
    let (Some(asked), true) = (asked, allowed) else {
        shared.asked.lock().unwrap().push("refused".to_owned());
        return client
            .write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
            .await;
    };
    shared.asked.lock().unwrap().push(asked.to_owned());
    let mut upstream = TcpStream::connect(server).await?;
    client
        .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        .await?;
    tokio::io::copy_bidirectional(&mut client, &mut upstream).await?;
    Ok(())
}
