//! Which connection a table's rows go through. Changes and plain rows never share one. A table keeps its
//! connection; up to a number of tables each has its own, beyond it they share
//! (<https://cloud.google.com/bigquery/docs/write-api-best-practices>: multiplexing pays above about 20 connections).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::append::{self, INBOX, Link};
use super::block::Block;
use super::delivery::{Delivery, Destination, Mode, Outcome};
use super::error::Error;
use crate::task::{self, Task};

/// Connections of a mode at most.
const CONNECTIONS: usize = 20;

/// The connections.
#[derive(Debug)]
pub(super) struct Pool {
    link: Link,
    modes: Mutex<HashMap<Mode, Connections>>,
}

/// The connections of one mode.
#[derive(Debug, Default)]
struct Connections {
    all: Vec<Connection>,
    /// Which of them a stream, by its name, goes through.
    of: HashMap<String, usize>,
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
            modes: Mutex::default(),
        }
    }

    /// Queues a block; its end comes through the channel. Waits while the connection's queue is full.
    ///
    /// # Errors
    /// [`Error::Stopped`] if the connection's task died.
    pub(super) async fn deliver(
        &self,
        destination: &Arc<Destination>,
        block: Block,
        room: OwnedSemaphorePermit,
    ) -> Result<oneshot::Receiver<Outcome>, Error> {
        let (done, answer) = oneshot::channel();
        let delivery = Delivery {
            destination: Arc::clone(destination),
            block,
            room,
            done,
        };
        self.send(delivery).await?;
        Ok(answer)
    }

    /// Queues a delivery; waits while the connection's queue is full.
    ///
    /// # Errors
    /// [`Error::Stopped`] if the connection's task died.
    pub(super) async fn send(&self, delivery: Delivery) -> Result<(), Error> {
        let inbox = self.inbox(&delivery)?;
        inbox.send(delivery).await.map_err(|_| Error::Stopped)
    }

    fn inbox(&self, delivery: &Delivery) -> Result<mpsc::Sender<Delivery>, Error> {
        let destination = &delivery.destination;
        let mut modes = self.modes.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = modes.entry(destination.mode).or_default();
        let index = match connections.of.get(&destination.stream) {
            Some(index) => *index,
            None => {
                let index = self.assign(&mut connections.all);
                connections.of.insert(destination.stream.clone(), index);
                index
            }
        };
        let connection = connections.all.get(index).ok_or(Error::Stopped)?;
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
