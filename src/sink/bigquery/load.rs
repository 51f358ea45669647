//! How much each connection has to do, and since when its oldest delivery waits: written by who hands
//! over and by the connection, read by the pool to choose a connection and by the watch over all of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::delivery::Delivery;
use crate::event::TableId;

/// What a connection has taken and not ended.
#[derive(Debug, Default)]
pub(super) struct Load {
    requests: AtomicUsize,
    bytes: AtomicUsize,
    oldest: Mutex<Option<Oldest>>,
}

/// A delivery that waits for BigQuery's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Oldest {
    /// The source table.
    pub(super) table: TableId,
    /// When the connection took it.
    pub(super) since: Instant,
}

impl Load {
    /// Deliveries that are not ended.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Their bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The delivery that waits longest.
    pub(super) fn oldest(&self) -> Option<Oldest> {
        self.oldest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_oldest(&self, oldest: Option<Oldest>) {
        *self.oldest.lock().unwrap_or_else(PoisonError::into_inner) = oldest;
    }
}

/// Counts a delivery in its connection's load, and its table as busy, for as long as it lives.
#[derive(Debug)]
pub(super) struct Ticket {
    load: Arc<Load>,
    bytes: usize,
    _table: Arc<()>,
}

impl Ticket {
    /// `table` is shared by all tickets of one table; more than one owner means that it is busy.
    pub(super) fn new(load: &Arc<Load>, bytes: usize, table: &Arc<()>) -> Ticket {
        load.requests.fetch_add(1, Ordering::Relaxed);
        load.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ticket {
            load: Arc::clone(load),
            bytes,
            _table: Arc::clone(table),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.load.requests.fetch_sub(1, Ordering::Relaxed);
        self.load.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A delivery on its way through a connection.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) delivery: Delivery,
    pub(super) ticket: Ticket,
}

impl Parcel {
    /// The delivery, to be ended: it counts no more, so that who hears of its end finds its table at rest.
    pub(super) fn unpack(self) -> Delivery {
        drop(self.ticket);
        self.delivery
    }
}
