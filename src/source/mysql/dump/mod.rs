//! The connection that the binlog comes over. The driver has one too; it inflates a compressed transaction whole before it shows
//! any of it, parses every event and panics at one that is cut short. So its library takes packets apart and
//! scrambles passwords here, and reading is ours: one event at a time, in the memory of one event. See
//! `docs/adr/025-own-dump-connection.md`.

mod event;
mod login;
mod payload;
mod tls;
mod wire;

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use mysql_common::constants::CapabilityFlags;
use mysql_common::misc::raw::Either;
use mysql_common::packets::binlog_request::BinlogRequest;
use mysql_common::packets::{ComRegisterSlave, Sid};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;

pub(crate) use event::Event;
pub(crate) use payload::uncompressed_size;

use login::{Login, refused, serialized, unexpected};
use payload::Payload;
use wire::{Socket, TOO_LARGE, Wire};

use super::connect::{CONNECT_TIMEOUT, Connector};
use super::error::MysqlError;
use super::stream::raw::kind;
use crate::config::{Login as Proof, TlsMode};

/// Where a dump begins, and as whom.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// The reader's number among the server's replicas.
    pub(crate) server_id: u32,
    /// Whether it ends where the log ends now.
    pub(crate) to_the_end: bool,
    /// After which transactions.
    pub(crate) from: Begin<'a>,
}

/// Where a dump begins.
#[derive(Debug)]
pub(crate) enum Begin<'a> {
    /// At an offset of a file.
    File(&'a str, u32),
    /// After these transactions.
    Gtids(Vec<Sid<'static>>),
}

/// From messages to events.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    /// Whether events have sums.
    sums: bool,
    /// The compressed transaction that is being inflated.
    payload: Option<Payload>,
}

impl Messages {
    /// The next event of a compressed transaction; `None` outside of one. To be asked before the next message is read.
    ///
    /// # Errors
    /// It is not what it was announced to be.
    pub(crate) fn inside(&mut self) -> Result<Option<Event>, MysqlError> {
        let Some(payload) = &mut self.payload else {
            return Ok(None);
        };
        let inside = payload.next();
        let inside = inside.map_err(|error| MysqlError::Protocol(error.to_string()))?;
        if inside.is_none() {
            self.payload = None;
        }
        Ok(inside)
    }

    /// The event that a message is.
    ///
    /// # Errors
    /// It is none, or it holds a transaction that cannot be inflated.
    pub(crate) fn event(&mut self, whole: Bytes) -> Result<Event, MysqlError> {
        let event = Event::parse(whole, self.sums)
            .ok_or_else(|| MysqlError::Protocol("a truncated binlog event".to_owned()))?;
        match event.kind() {
            kind::FORMAT_DESCRIPTION => self.sums = event.summed(),
            kind::TRANSACTION_PAYLOAD => {
                let payload = Payload::open(event.body());
                self.payload = Some(payload.map_err(|error| MysqlError::Protocol(error.to_string()))?);
            }
            _ => {}
        }
        Ok(event)
    }
}

/// A running dump.
pub(crate) struct Dump {
    wire: Wire,
    messages: Messages,
}

impl std::fmt::Debug for Dump {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dump")
            .field("messages", &self.messages)
            .finish_non_exhaustive()
    }
}

impl Dump {
    /// Connects, prepares the session and asks for the log.
    ///
    /// # Errors
    /// The server cannot be reached or refuses; what it has to say of the place comes with the first event.
    pub(crate) async fn begin(
        connector: &Connector,
        session: &[String],
        request: Request<'_>,
    ) -> Result<Dump, MysqlError> {
        let mut wire = connect(connector).await?;
        for statement in session {
            const COM_QUERY: u8 = 3;
            command(&mut wire, &[&[COM_QUERY], statement.as_bytes()].concat()).await?;
        }
        command(&mut wire, &serialized(&ComRegisterSlave::new(request.server_id))).await?;
        let dump = BinlogRequest::new(request.server_id);
        let dump = match request.to_the_end {
            true => dump.with_flags(mysql_common::packets::BinlogDumpFlags::BINLOG_DUMP_NON_BLOCK),
            false => dump,
        };
        let dump = match request.from {
            Begin::File(name, offset) => dump.with_filename(name.as_bytes()).with_pos(u64::from(offset)),
            Begin::Gtids(sids) => dump.with_use_gtid(true).with_sids(sids),
        };
        let dump = match dump.as_cmd() {
            Either::Left(by_place) => serialized(&by_place),
            Either::Right(by_gtid) => serialized(&by_gtid),
        };
        wire.command(&dump).await.map_err(broken)?;
        Ok(Dump {
            wire,
            messages: Messages::default(),
        })
    }

    /// The next event; `None` at the end of a log that ends. Not to be called again after it was dropped amid its work.
    ///
    /// # Errors
    /// The server ends the dump and says why, the connection breaks, or what came is no event.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, MysqlError> {
        if let Some(event) = self.messages.inside()? {
            return Ok(Some(event));
        }
        let mut packet = Vec::new();
        self.wire.read(&mut packet).await.map_err(broken)?;
        refused(&packet, CapabilityFlags::CLIENT_PROTOCOL_41)?;
        match packet.first() {
            Some(0x00) => {}
            Some(0xfe) if packet.len() < 9 => return Ok(None),
            _ => return Err(unexpected("no event").into()),
        }
        let whole = Bytes::from(packet).slice(1..);
        self.messages.event(whole).map(Some)
    }
}

/// A command that is answered by OK.
async fn command(wire: &mut Wire, message: &[u8]) -> Result<(), MysqlError> {
    wire.command(message).await.map_err(broken)?;
    let mut answer = Vec::new();
    wire.read(&mut answer).await.map_err(broken)?;
    refused(&answer, CapabilityFlags::CLIENT_PROTOCOL_41)?;
    match answer.first() {
        Some(0x00) => Ok(()),
        _ => Err(unexpected("no OK").into()),
    }
}

async fn connect(connector: &Connector) -> Result<Wire, MysqlError> {
    let source = connector.source();
    let at = connector.address();
    let config = connector.tls()?;
    let login = Login {
        user: source.user.clone(),
        password: connector.password().await?,
        cleartext: matches!(source.login, Proof::RdsIam),
        tls: match config {
            None => None,
            Some(config) => Some((Arc::new(config), server_name(&source.host)?)),
        },
    };
    let connecting = async {
        let socket = TcpStream::connect((source.host.as_str(), source.port)).await?;
        socket.set_nodelay(true)?;
        let socket: Box<dyn Socket> = Box::new(socket);
        login::login(socket, &login).await
    };
    let connected = tokio::select! {
        connected = connecting => connected,
        () = connector.clock().sleep(CONNECT_TIMEOUT) => {
            return Err(MysqlError::Timeout { at, after: CONNECT_TIMEOUT });
        }
    };
    connected.map_err(|error| MysqlError::connecting(&source.host, &at, error))
}

/// The client's side of TLS as the configuration has it; `None` without.
pub(super) fn tls_client(
    mode: TlsMode,
    authorities: Option<&[u8]>,
) -> Result<Option<rustls::ClientConfig>, rustls::Error> {
    match mode {
        TlsMode::Disabled => Ok(None),
        TlsMode::Required | TlsMode::VerifyCa | TlsMode::VerifyIdentity => {
            tls::client(mode, authorities).map(Some)
        }
    }
}

fn server_name(host: &str) -> Result<ServerName<'static>, MysqlError> {
    ServerName::try_from(host.to_owned()).map_err(|error| MysqlError::Tls {
        at: host.to_owned(),
        reason: error.to_string(),
    })
}

fn broken(error: io::Error) -> MysqlError {
    let text = error.to_string();
    if error.kind() == io::ErrorKind::UnexpectedEof {
        MysqlError::Lost("closed by the server".to_owned())
    } else if error.kind() != io::ErrorKind::InvalidData {
        MysqlError::Lost(text)
    } else if text == TOO_LARGE {
        MysqlError::PacketTooLarge
    } else {
        MysqlError::Protocol(text)
    }
}
