//! From a TCP connection to one that takes commands: greeting, TLS, the user's proof
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase.html>). Packets are taken apart
//! and passwords scrambled by the driver's own library; what is here is the order of things.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use mysql_async::DriverError;
use mysql_common::constants::CapabilityFlags;
use mysql_common::crypto;
use mysql_common::io::ParseBuf;
use mysql_common::packets::{
    AuthPlugin, AuthSwitchRequest, ErrPacket, HandshakePacket, HandshakeResponse, SslRequest,
};
use mysql_common::proto::{MyDeserialize, MySerialize};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::wire::{Socket, Wire};

/// The collation of what the client says, before it says otherwise: utf8mb4_general_ci.
const COLLATION: u8 = 45;

/// The largest message that the server may send: the most that the protocol has.
const LARGEST: u32 = 1 << 30;

/// What the server is told that it may do.
const CAPABILITIES: CapabilityFlags = CapabilityFlags::CLIENT_PROTOCOL_41
    .union(CapabilityFlags::CLIENT_SECURE_CONNECTION)
    .union(CapabilityFlags::CLIENT_LONG_PASSWORD)
    .union(CapabilityFlags::CLIENT_TRANSACTIONS)
    .union(CapabilityFlags::CLIENT_PLUGIN_AUTH);

/// Who logs in, and how.
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: String,
    /// Whether the password may go as it is, to a server that asks for that over TLS.
    pub(super) cleartext: bool,
    /// TLS, and the server's name in it.
    pub(super) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

/// A connection amid its login.
struct Session<'a> {
    wire: Wire,
    login: &'a Login,
    plugin: AuthPlugin<'static>,
    /// What the password is scrambled with.
    nonce: Vec<u8>,
    capabilities: CapabilityFlags,
}

/// Logs in.
///
/// # Errors
/// As the driver says them: the server refuses, has no TLS, or does not follow the protocol.
pub(super) async fn login(socket: Box<dyn Socket>, login: &Login) -> Result<Wire, mysql_async::Error> {
    let mut wire = Wire::new(socket);
    let mut packet = Vec::new();
    wire.read(&mut packet).await?;
    refused(&packet, CapabilityFlags::empty())?;
    let greeting: HandshakePacket<'_> = parse(&packet)?;
    let offered = greeting.capabilities();
    let mut nonce = greeting.scramble_1_ref().to_vec();
    nonce.extend_from_slice(greeting.scramble_2_ref().unwrap_or_default());
    // Twenty bytes and a zero.
    nonce.resize(20, 0);
    let plugin = match greeting.auth_plugin() {
        Some(AuthPlugin::CachingSha2Password) => AuthPlugin::CachingSha2Password,
        // Others are asked for by a switch.
        _ => AuthPlugin::MysqlNativePassword,
    };
    let mut capabilities = CAPABILITIES & offered;
    if let Some((config, name)) = &login.tls {
        if !offered.contains(CapabilityFlags::CLIENT_SSL) {
            return Err(DriverError::NoClientSslFlagFromServer.into());
        }
        capabilities |= CapabilityFlags::CLIENT_SSL;
        let mut request = Vec::new();
        SslRequest::new(capabilities, LARGEST, COLLATION).serialize(&mut request);
        wire.write(&request).await?;
        let (socket, number) = wire.into_socket().ok_or_else(|| unexpected("data before TLS"))?;
        let secure = TlsConnector::from(Arc::clone(config));
        let secure = secure.connect(name.clone(), socket).await?;
        wire = Wire::wrapped(Box::new(secure), number);
    }
    let mut session = Session {
        wire,
        login,
        plugin,
        nonce,
        capabilities,
    };
    session
        .respond(greeting.server_version_parsed().unwrap_or_default())
        .await?;
    session.prove().await?;
    Ok(session.wire)
}

impl Session<'_> {
    async fn respond(&mut self, version: (u16, u16, u16)) -> Result<(), mysql_async::Error> {
        let proof = self.plugin.gen_data(Some(&self.login.password), &self.nonce);
        let proof = proof.map(|proof| serialized(&proof));
        let attributes = HashMap::from([("program_name".to_owned(), "replicator".to_owned())]);
        let response = HandshakeResponse::new(
            proof,
            version,
            Some(self.login.user.as_bytes()),
            None::<&[u8]>,
            Some(self.plugin.clone()),
            self.capabilities,
            Some(attributes),
            LARGEST,
        );
        self.wire.write(&serialized(&response)).await?;
        Ok(())
    }

    /// Answers what the server asks until it is content.
    async fn prove(&mut self) -> Result<(), mysql_async::Error> {
        let mut packet = Vec::new();
        // A switch and the full proof of caching_sha2_password are the longest way.
        for _ in 0..8 {
            self.wire.read(&mut packet).await?;
            refused(&packet, self.capabilities)?;
            match packet.as_slice() {
                [0x00, ..] => return Ok(()),
                // The scrambled password sufficed.
                [0x01, 0x03] => {}
                [0x01, 0x04] => self.whole_password().await?,
                [0xfe, _, ..] => self.switch(&packet).await?,
                _ => return Err(unexpected("an answer to the login that is not known")),
            }
        }
        Err(unexpected("a login without an end"))
    }

    async fn switch(&mut self, packet: &[u8]) -> Result<(), mysql_async::Error> {
        let request: AuthSwitchRequest<'_> = parse(packet)?;
        self.nonce = request.plugin_data().to_vec();
        self.plugin = request.auth_plugin().into_owned();
        let proof = match &self.plugin {
            AuthPlugin::CachingSha2Password | AuthPlugin::MysqlNativePassword => {
                self.plugin.gen_data(Some(&self.login.password), &self.nonce)
            }
            AuthPlugin::MysqlClearPassword if self.login.cleartext && self.login.tls.is_some() => {
                self.plugin.gen_data(Some(&self.login.password), &self.nonce)
            }
            AuthPlugin::MysqlClearPassword => return Err(DriverError::CleartextPluginDisabled.into()),
            AuthPlugin::MysqlOldPassword => return Err(DriverError::MysqlOldPasswordDisabled.into()),
            AuthPlugin::Ed25519 | AuthPlugin::MariadbParsec { .. } | AuthPlugin::Other(_) => {
                let name = String::from_utf8_lossy(self.plugin.as_bytes()).into_owned();
                return Err(DriverError::UnknownAuthPlugin { name }.into());
            }
        };
        let proof = proof.map(|proof| serialized(&proof)).unwrap_or_default();
        self.wire.write(&proof).await?;
        Ok(())
    }

    /// The password itself, which a server that has not got it in its cache needs: over TLS as it is, else for the
    /// server's key.
    async fn whole_password(&mut self) -> Result<(), mysql_async::Error> {
        let mut password = [self.login.password.as_bytes(), &[0]].concat();
        if self.login.tls.is_none() {
            self.wire.write(&[0x02]).await?;
            let mut packet = Vec::new();
            self.wire.read(&mut packet).await?;
            let Some((0x01, key)) = packet.split_first() else {
                refused(&packet, self.capabilities)?;
                return Err(unexpected("no key of the server"));
            };
            for (byte, salt) in password.iter_mut().zip(self.nonce.iter().cycle()) {
                *byte ^= salt;
            }
            password = crypto::encrypt(&password, key);
        }
        self.wire.write(&password).await?;
        Ok(())
    }
}

/// What an error packet says.
pub(super) fn refused(packet: &[u8], capabilities: CapabilityFlags) -> Result<(), mysql_async::Error> {
    if packet.first() != Some(&0xff) {
        return Ok(());
    }
    match ParseBuf(packet).parse::<ErrPacket<'_>>(capabilities)? {
        ErrPacket::Error(error) => Err(error.into()),
        ErrPacket::Progress(_) => Err(unexpected("a report of progress")),
    }
}

fn parse<'a, T: MyDeserialize<'a, Ctx = ()>>(packet: &'a [u8]) -> io::Result<T> {
    ParseBuf(packet).parse(())
}

pub(super) fn serialized(packet: &impl MySerialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.serialize(&mut bytes);
    bytes
}

/// An answer that the protocol has no place for.
pub(super) fn unexpected(text: &'static str) -> mysql_async::Error {
    mysql_async::Error::Other(text.into())
}
