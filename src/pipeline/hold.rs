//! Rows of a table whose target is being changed. They wait here, in the order of the log, while other
//! tables flow on; the flush that a row came in stays open until the row is written, so that no position
//! passes it. What waits is bounded: beyond that the table is copied again instead.

use std::collections::{HashMap, VecDeque};

use tokio::sync::oneshot;

use crate::event::{Ddl, RowChanges, TableId, TxnStart};
use crate::sink::{Durable, Pending, SinkError};
use crate::source::image_bytes;

/// Bytes of rows of one table that may wait.
pub const HELD_BYTES: usize = 32 << 20;

/// Something of a table that waits.
#[derive(Debug)]
pub enum Waiting {
    /// Rows.
    Rows(RowChanges),
    /// A statement.
    Ddl(Ddl),
}

impl Waiting {
    fn at(&self) -> TxnStart {
        match self {
            Waiting::Rows(changes) => changes.txn,
            Waiting::Ddl(ddl) => ddl.at,
        }
    }
}

/// What of one table came in one flush.
pub struct Packet {
    /// What waits, in the order of the log.
    pub items: VecDeque<Waiting>,
    /// Deliveries of what waits no more.
    pub pending: Vec<Pending>,
    done: oneshot::Sender<Option<Vec<Pending>>>,
}

impl std::fmt::Debug for Packet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packet")
            .field("items", &self.items.len())
            .finish_non_exhaustive()
    }
}

impl Packet {
    /// Ends the waiting: the flush ends with the deliveries.
    pub fn finish(self) {
        // Who waits may be stopping.
        let _gone = self.done.send(Some(self.pending));
    }
}

/// How a part of a flush ended.
#[derive(Debug)]
pub enum Part {
    /// Its rows are in the target, if it had any.
    Written(Option<Durable>),
    /// Its rows are of no use any more: the table is to be copied again, which is durable.
    Dropped,
    /// Nobody is left to write them.
    Stopped,
}

/// The same, or why it failed.
pub type Released = Result<Part, SinkError>;

/// One table's queue.
#[derive(Debug, Default)]
pub struct Queue {
    /// Of flushes that were handed over, oldest first.
    pub packets: VecDeque<Packet>,
    /// Of the flush that is being gathered.
    pub gathered: VecDeque<Waiting>,
    bytes: usize,
}

impl Queue {
    /// Lets go of what is of no use any more; that must be durable.
    pub fn discard(self) {
        for packet in self.packets {
            let _gone = packet.done.send(None);
        }
    }
}

/// Every table's queue.
#[derive(Debug, Default)]
pub struct Held(HashMap<TableId, Queue>);

impl Held {
    /// Adds what waits. Returns whether there is too much of it.
    pub fn add(&mut self, table: &TableId, waiting: Waiting) -> bool {
        let queue = self.0.entry(table.clone()).or_default();
        queue.bytes += waiting_bytes(&waiting);
        queue.gathered.push_back(waiting);
        queue.bytes > HELD_BYTES
    }

    /// Whether something waits that no flush has.
    pub fn has_gathered(&self) -> bool {
        self.0.values().any(|queue| !queue.gathered.is_empty())
    }

    /// Forgets what no flush has: it is read again.
    pub fn forget_gathered(&mut self) {
        for queue in self.0.values_mut() {
            let bytes: usize = queue
                .gathered
                .drain(..)
                .map(|waiting| waiting_bytes(&waiting))
                .sum();
            queue.bytes = queue.bytes.saturating_sub(bytes);
        }
    }

    /// Makes what was gathered part of a flush: for each table the first transaction, and how it ends.
    pub fn hand_over(&mut self) -> Vec<(TableId, TxnStart, impl Future<Output = Released> + Send + use<>)> {
        let mut parts = Vec::new();
        for (table, queue) in &mut self.0 {
            let Some(at) = queue.gathered.front().map(Waiting::at) else {
                continue;
            };
            let (done, ended) = oneshot::channel();
            queue.packets.push_back(Packet {
                items: std::mem::take(&mut queue.gathered),
                pending: Vec::new(),
                done,
            });
            parts.push((table.clone(), at, released(ended)));
        }
        parts
    }

    /// Takes a table's queue.
    pub fn take(&mut self, table: &TableId) -> Queue {
        self.0.remove(table).unwrap_or_default()
    }

    /// Puts back what must wait on.
    pub fn put_back(&mut self, table: &TableId, packet: Packet, rest: Queue) {
        let queue = self.0.entry(table.clone()).or_default();
        let mut packets = VecDeque::from([packet]);
        packets.extend(rest.packets);
        packets.append(&mut queue.packets);
        let mut gathered = rest.gathered;
        gathered.append(&mut queue.gathered);
        let items = packets.iter().flat_map(|packet| &packet.items);
        let bytes = items.chain(&gathered).map(waiting_bytes).sum();
        *queue = Queue {
            packets,
            gathered,
            bytes,
        };
    }
}

fn waiting_bytes(waiting: &Waiting) -> usize {
    match waiting {
        Waiting::Rows(changes) => image_bytes(changes),
        Waiting::Ddl(_) => 0,
    }
}

async fn released(ended: oneshot::Receiver<Option<Vec<Pending>>>) -> Released {
    let pending = match ended.await {
        Ok(Some(pending)) => pending,
        Ok(None) => return Ok(Part::Dropped),
        Err(_) => return Ok(Part::Stopped),
    };
    let mut all: Option<Durable> = None;
    for one in pending {
        let durable = one.await?;
        all = Some(match all {
            Some(before) => before.and(durable),
            None => durable,
        });
    }
    Ok(Part::Written(all))
}
