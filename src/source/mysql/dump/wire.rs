//! Packets of the client protocol: a length of 24 bits and a number, then so many bytes; what is longer goes on in the
//! next packet (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_packets.html>).

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

/// A packet of this length is not the last one of its message.
const WHOLE: usize = 0xff_ff_ff;

/// The largest message: an event of 1 GiB, which is the protocol's limit, and what is around it.
const LARGEST: usize = (1 << 30) + (1 << 16);

/// What is said of a larger one.
pub(super) const TOO_LARGE: &str = "packet too large";

/// Bytes that are read from the socket at once.
const READ_AHEAD: usize = 256 << 10;

/// What a connection runs over.
pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// One connection.
pub(super) struct Wire {
    socket: BufReader<Box<dyn Socket>>,
    /// The number that the next packet must carry, whoever sends it.
    number: u8,
}

impl Wire {
    pub(super) fn new(socket: Box<dyn Socket>) -> Wire {
        Wire {
            socket: BufReader::with_capacity(READ_AHEAD, socket),
            number: 0,
        }
    }

    /// The socket, to be wrapped; numbers go on. `None` if the other side has sent what nobody asked for: it would have
    /// come before the wrapping and must not be taken for what came after.
    pub(super) fn into_socket(self) -> Option<(Box<dyn Socket>, u8)> {
        self.socket
            .buffer()
            .is_empty()
            .then(|| (self.socket.into_inner(), self.number))
    }

    /// The same connection over a wrapped socket.
    pub(super) fn wrapped(socket: Box<dyn Socket>, number: u8) -> Wire {
        Wire {
            number,
            ..Wire::new(socket)
        }
    }

    /// Puts the next message in the place of what `into` holds.
    ///
    /// # Errors
    /// The connection broke (`UnexpectedEof`), or the other side does not follow the protocol (`InvalidData`).
    pub(super) async fn read(&mut self, into: &mut Vec<u8>) -> io::Result<()> {
        into.clear();
        loop {
            let mut header = [0; 4];
            self.socket.read_exact(&mut header).await?;
            let [a, b, c, number] = header;
            if number != self.number {
                return Err(invalid("packets out of order"));
            }
            self.number = self.number.wrapping_add(1);
            let len = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
            let end = into.len() + len;
            if end > LARGEST {
                return Err(invalid(TOO_LARGE));
            }
            // No more than is announced, because rows keep their event alive; a packet announces 16 MB at most.
            into.reserve_exact(len);
            let mut body = (&mut self.socket).take(u64::try_from(len).unwrap_or(u64::MAX));
            body.read_to_end(into).await?;
            if into.len() < end {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if len < WHOLE {
                return Ok(());
            }
        }
    }

    /// Sends a message in answer to what was read.
    pub(super) async fn write(&mut self, message: &[u8]) -> io::Result<()> {
        let mut rest = message;
        loop {
            let (packet, after) = rest.split_at(rest.len().min(WHOLE));
            let [a, b, c, ..] = packet.len().to_le_bytes();
            let header = [a, b, c, self.number];
            self.number = self.number.wrapping_add(1);
            self.socket.write_all(&[&header, packet].concat()).await?;
            rest = after;
            if packet.len() < WHOLE {
                return self.socket.flush().await;
            }
        }
    }

    /// Sends a command, with which numbers begin anew.
    pub(super) async fn command(&mut self, message: &[u8]) -> io::Result<()> {
        self.number = 0;
        self.write(message).await
    }
}

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn through(message: &[u8]) -> Vec<u8> {
        let (one, other) = tokio::io::duplex(1 << 16);
        let (mut one, mut other) = (Wire::new(Box::new(one)), Wire::new(Box::new(other)));
        let mut found = vec![1, 2, 3];
        let (sent, read) = tokio::join!(one.write(message), other.read(&mut found));
        sent.unwrap();
        read.unwrap();
        found
    }

    #[tokio::test]
    async fn a_message_of_any_length_arrives_whole() {
        for len in [0, 1, WHOLE - 1, WHOLE, WHOLE + 1, 2 * WHOLE] {
            let message: Vec<u8> = (0..=255).cycle().take(len).collect();
            assert_eq!(through(&message).await, message, "{len}");
        }
    }

    #[tokio::test]
    async fn what_does_not_follow_the_protocol_is_refused() {
        let packets: [(&[u8], io::ErrorKind); 4] = [
            (&[1, 0, 0, 7, 9], io::ErrorKind::InvalidData),
            (&[5, 0, 0, 0, 9], io::ErrorKind::UnexpectedEof),
            (&[0xff, 0xff, 0xff, 0, 9], io::ErrorKind::UnexpectedEof),
            (&[1, 0], io::ErrorKind::UnexpectedEof),
        ];
        for (bytes, kind) in packets {
            let mut wire = Wire::new(Box::new(io::Cursor::new(bytes.to_vec())));
            let error = wire.read(&mut Vec::new()).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn nothing_that_came_before_a_wrapping_counts_as_after_it() {
        let mut wire = Wire::new(Box::new(io::Cursor::new(vec![1, 0, 0, 0, 9, 1, 0, 0, 1, 9])));
        wire.read(&mut Vec::new()).await.unwrap();
        assert!(wire.into_socket().is_none());
    }
}
