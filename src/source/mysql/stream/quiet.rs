//! A reader to which a server has nothing to say. After a RESET a server goes on sending heartbeats for a file
//! that is no more, for ever: so a reader that hears nothing else asks where the log ends.

use mysql_async::Conn;

use super::HEARTBEAT;
use super::error::StreamError;
use crate::clock::Clock;
use crate::source::mysql::connect::Connector;
use crate::source::mysql::error::MysqlError;
use crate::source::mysql::server::{LogFile, read_end};

/// Heartbeats in a row, none of them for the log's end, after which the log is opened again. A transaction
/// that is being written is longer there than sent.
const PATIENCE: u32 = 3;

/// What was heard since the last event.
pub(super) struct Quiet {
    connector: Connector,
    clock: Clock,
    statement: &'static str,
    conn: Option<Conn>,
    /// Heartbeats in a row for another place than the log's end.
    elsewhere: u32,
}

impl Quiet {
    pub(super) fn new(connector: Connector, clock: Clock, statement: &'static str) -> Quiet {
        Quiet {
            connector,
            clock,
            statement,
            conn: None,
            elsewhere: 0,
        }
    }

    /// An event came: the server reads the log that it writes.
    pub(super) fn event(&mut self) {
        self.elsewhere = 0;
    }

    /// A heartbeat came, with everything read up to `at`.
    ///
    /// # Errors
    /// [`StreamError::Elsewhere`] if the log has been ending in another place for a while.
    pub(super) async fn heartbeat(&mut self, at: &LogFile) -> Result<(), StreamError> {
        let patience = self.clock.sleep(HEARTBEAT);
        let end = tokio::select! {
            biased;
            end = self.end() => end,
            () = patience => Ok(None),
        };
        match end {
            Ok(Some(end)) if end != *at => self.elsewhere += 1,
            Ok(Some(_)) => self.elsewhere = 0,
            // The reader's own connection tells whether the server is there.
            Ok(None) | Err(_) => {}
        }
        if self.elsewhere < PATIENCE {
            return Ok(());
        }
        let place = |file: &LogFile| format!("{}:{}", file.name, file.bytes);
        Err(StreamError::Elsewhere { at: place(at) })
    }

    async fn end(&mut self) -> Result<Option<LogFile>, MysqlError> {
        // Kept only if it answers.
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.connector.connect_query().await?,
        };
        let end = read_end(&mut conn, self.statement).await?;
        self.conn = Some(conn);
        Ok(end)
    }
}
