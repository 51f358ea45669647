//! Sessions that the snapshot is done with for the moment, for its next step. A chunk takes three or
//! four short queries and one long one; a connection of its own for each step would take as long as the
//! short ones together, and on a managed server counts against the rate of new connections.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::connect::Connector;
use super::error::MysqlError;
use crate::clock::Clock;

/// Sessions kept, at most.
const KEPT: usize = 16;

/// A session that was left alone for longer may have been ended on the way: it is asked first.
const TRUSTED: Duration = Duration::from_secs(5);

/// A session that was left alone for longer is closed, so that a server that is done with keeps none.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// Idle sessions of one server, all set as [`Connector::connect_query`] sets them. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Sessions {
    connector: Connector,
    clock: Clock,
    idle: Arc<Mutex<Vec<(Instant, Conn)>>>,
}

impl Sessions {
    pub(super) fn new(connector: Connector, clock: Clock) -> Sessions {
        Sessions {
            connector,
            clock,
            idle: Arc::default(),
        }
    }

    /// A session outside any transaction.
    ///
    /// # Errors
    /// [`MysqlError`]: none is idle, and the server cannot be reached or refuses.
    pub(super) async fn take(&self) -> Result<Conn, MysqlError> {
        while let Some((since, mut conn)) = self.last() {
            let alone = self.clock.now().saturating_duration_since(since);
            if alone < TRUSTED || (alone < FORGOTTEN && conn.ping().await.is_ok()) {
                return Ok(conn);
            }
        }
        self.connector.connect_query().await
    }

    /// Keeps a session whose last query succeeded and is read to its end, outside any transaction.
    pub(super) fn give(&self, conn: Conn) {
        let now = self.clock.now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(since, _)| now.saturating_duration_since(*since) < FORGOTTEN);
        if idle.len() < KEPT {
            idle.push((now, conn));
        }
    }

    fn last(&self) -> Option<(Instant, Conn)> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}
