//! Which connection a table's rows go through. A table keeps its connection; up to a number of tables
//! each has its own, beyond it they share (<https://cloud.google.com/bigquery/docs/write-api-best-practices>:
//! multiplexing pays above about 20 connections).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc;

use super::append::{self, Delivery, INBOX, Link};
use super::error::Error;
use crate::event::TableId;
use crate::task::{self, Task};

/// Connections at most.
const CONNECTIONS: usize = 20;

/// The connections.
#[derive(Debug)]
pub(super) struct Pool {
    link: Link,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    connections: Vec<Connection>,
    of: HashMap<TableId, usize>,
}

#[derive(Debug)]
struct Connection {
    inbox: mpsc::Sender<Delivery>,
    tables: usize,
    _task: Task<()>,
}

impl Pool {
    pub(super) fn new(link: Link) -> Pool {
        Pool {
            link,
            state: Mutex::new(State::default()),
        }
    }

    /// Queues a delivery; waits while the connection's queue is full.
    ///
    /// # Errors
    /// [`Error::Stopped`] if the connection's task died.
    pub(super) async fn send(&self, table: &TableId, delivery: Delivery) -> Result<(), Error> {
        let inbox = self.inbox(table)?;
        inbox.send(delivery).await.map_err(|_| Error::Stopped)
    }

    fn inbox(&self, table: &TableId) -> Result<mpsc::Sender<Delivery>, Error> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let index = match state.of.get(table) {
            Some(index) => *index,
            None => {
                let index = self.assign(&mut state.connections);
                state.of.insert(table.clone(), index);
                index
            }
        };
        let connection = state.connections.get(index).ok_or(Error::Stopped)?;
        Ok(connection.inbox.clone())
    }

    fn assign(&self, connections: &mut Vec<Connection>) -> usize {
        if connections.len() < CONNECTIONS {
            let (inbox, queue) = mpsc::channel(INBOX);
            connections.push(Connection {
                inbox,
                tables: 1,
                _task: task::spawn("append", append::run(self.link.clone(), queue)),
            });
            return connections.len() - 1;
        }
        let fewest = connections
            .iter_mut()
            .enumerate()
            .min_by_key(|(_, connection)| connection.tables);
        match fewest {
            Some((index, connection)) => {
                connection.tables += 1;
                index
            }
            None => 0,
        }
    }
}
