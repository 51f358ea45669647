//! Which connection a table's rows go through. Changes and plain rows never share one, nor do data sets,
//! which may lie in different regions. Up to a number of tables each has its own connection; beyond it
//! they share (<https://cloud.google.com/bigquery/docs/write-api-best-practices>: multiplexing pays above
//! about 20 connections). A table keeps its connection while that keeps up, and leaves it only at rest.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::append::{self, INBOX, Link};
use super::block::Block;
use super::delivery::{Delivery, Destination, Mode, Outcome};
use super::error::Error;
use super::load::{Load, Parcel, Ticket};
use super::watch::Watch;
use crate::task::{self, Task};

/// A connection with more requests than this cannot keep up: half of what may be in flight.
const BUSY_REQUESTS: usize = append::WINDOW / 2;

/// The same in bytes.
const BUSY_BYTES: usize = append::WINDOW_BYTES / 2;

/// How many connections a mode may have; a data set's first one comes on top.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// While there are fewer, each new table gets its own.
    pub(super) own: usize,
    /// While there are fewer, a table that leaves a busy one gets its own.
    pub(super) most: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { own: 20, most: 40 }
    }
}

/// The connections.
#[derive(Debug)]
pub(super) struct Pool {
    link: Link,
    limits: Limits,
    modes: Mutex<HashMap<Mode, Connections>>,
    watch: Arc<Watch>,
}

/// The connections of one mode.
#[derive(Debug, Default)]
struct Connections {
    all: Vec<Connection>,
    /// Where a stream, by its name, goes.
    of: HashMap<String, Way>,
}

/// A table's way.
#[derive(Debug)]
struct Way {
    connection: usize,
    /// Shared with the tickets of the table's deliveries that are not ended.
    busy: Arc<()>,
}

#[derive(Debug)]
struct Connection {
    inbox: mpsc::Sender<Parcel>,
    load: Arc<Load>,
    /// Project and data set of its tables.
    dataset: (String, String),
    tables: usize,
    _task: Task<()>,
}

impl Pool {
    pub(super) fn new(link: Link, limits: Limits) -> Pool {
        Pool {
            limits,
            watch: Arc::new(Watch::new(link.clock.clone())),
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
        let (inbox, ticket) = self.way(destination, block.body.len())?;
        let delivery = Delivery {
            destination: Arc::clone(destination),
            block,
            room,
            done,
        };
        let parcel = Parcel { delivery, ticket };
        inbox.send(parcel).await.map_err(|_| Error::Stopped)?;
        Ok(answer)
    }

    /// Who sees how long deliveries wait.
    pub(super) fn watch(&self) -> Arc<Watch> {
        Arc::clone(&self.watch)
    }

    /// Where the next delivery to a destination goes, and its place among those that are not ended.
    fn way(&self, destination: &Destination, bytes: usize) -> Result<(mpsc::Sender<Parcel>, Ticket), Error> {
        let mut modes = self.modes.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = modes.entry(destination.mode).or_default();
        let index = match connections.place_of(destination, self.limits) {
            Some(index) => index,
            None => {
                let connection = self.connect(destination);
                connections.all.push(connection);
                connections.all.len() - 1
            }
        };
        connections.enter(destination, index)?;
        let connection = connections.all.get(index).ok_or(Error::Stopped)?;
        let way = connections.of.get(&destination.stream).ok_or(Error::Stopped)?;
        let ticket = Ticket::new(&connection.load, bytes, &way.busy);
        Ok((connection.inbox.clone(), ticket))
    }

    fn connect(&self, destination: &Destination) -> Connection {
        let (inbox, queue) = mpsc::channel(INBOX);
        let load = Arc::new(Load::default());
        self.watch.add(Arc::clone(&load));
        Connection {
            inbox,
            dataset: dataset(destination),
            tables: 0,
            _task: task::spawn("append", append::run(self.link.clone(), queue, Arc::clone(&load))),
            load,
        }
    }
}

fn dataset(destination: &Destination) -> (String, String) {
    (
        destination.place.project.clone(),
        destination.place.dataset.clone(),
    )
}

impl Connection {
    fn busy(&self) -> bool {
        self.load.requests() > BUSY_REQUESTS || self.load.bytes() > BUSY_BYTES
    }
}

impl Connections {
    /// The connection that a table's next delivery goes through; `None` if it is to be a new one.
    fn place_of(&self, destination: &Destination, limits: Limits) -> Option<usize> {
        let Some(way) = self.of.get(&destination.stream) else {
            let least = self.least(destination);
            return if self.all.len() < limits.own { None } else { least };
        };
        let present = self.all.get(way.connection)?;
        // With a delivery on its way it stays: two connections keep no order between them.
        let at_rest = Arc::strong_count(&way.busy) == 1;
        if !at_rest || present.tables == 1 || !present.busy() {
            return Some(way.connection);
        }
        let least = self.least(destination);
        match least.filter(|index| self.all.get(*index).is_some_and(|other| !other.busy())) {
            Some(free) => Some(free),
            None if self.all.len() < limits.most => None,
            None => Some(way.connection),
        }
    }

    /// The connection of the destination's data set with the least to do, and of several such with the fewest tables.
    fn least(&self, destination: &Destination) -> Option<usize> {
        let dataset = dataset(destination);
        let same = self
            .all
            .iter()
            .enumerate()
            .filter(|(_, other)| other.dataset == dataset);
        same.min_by_key(|(_, other)| (other.busy(), other.tables, other.load.bytes()))
            .map(|(index, _)| index)
    }

    /// Notes that a table goes through a connection.
    fn enter(&mut self, destination: &Destination, index: usize) -> Result<(), Error> {
        match self.of.get_mut(&destination.stream) {
            Some(way) if way.connection == index => return Ok(()),
            Some(way) => {
                let before = std::mem::replace(&mut way.connection, index);
                if let Some(left) = self.all.get_mut(before) {
                    left.tables = left.tables.saturating_sub(1);
                }
            }
            None => {
                let way = Way {
                    connection: index,
                    busy: Arc::default(),
                };
                self.of.insert(destination.stream.clone(), way);
            }
        }
        self.all.get_mut(index).ok_or(Error::Stopped)?.tables += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
