//! A connection that can be broken from inside, so that a client sees its socket close in the middle of a
//! call and not a status.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

/// Breaks the connection that a call came over.
#[derive(Debug, Clone)]
pub(crate) struct Line(CancellationToken);

impl Line {
    pub(crate) fn cut(&self) {
        self.0.cancel();
    }
}

/// A TCP connection with its [`Line`].
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    line: Line,
    /// Wakes whoever reads when the line is cut.
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream) -> Socket {
        let token = CancellationToken::new();
        Socket {
            stream,
            line: Line(token.clone()),
            cut: Box::pin(token.cancelled_owned()),
        }
    }

    fn check(&self) -> io::Result<()> {
        if self.line.0.is_cancelled() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl Connected for Socket {
    type ConnectInfo = Line;

    fn connect_info(&self) -> Line {
        self.line.clone()
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cut.as_mut().poll(context).is_ready() {
            return Poll::Ready(self.check());
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
