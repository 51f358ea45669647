//! XA transactions. The log has their rows when they are prepared; only XA COMMIT makes them so, and its
//! place in the log is what numbers them. Until then they are held here while they are few, and left in
//! the log where they are many or were read by an earlier run: from there they are read again when they
//! are due, so that memory is bounded and nothing has to be kept on disk
//! (<https://dev.mysql.com/doc/refman/8.4/en/xa-restrictions.html>).

use std::collections::BTreeMap;

use super::assemble::{Assembler, Out};
use super::error::StreamError;
use super::raw::{Fields, RawEvent, kind};
use crate::event::{BreakCause, Change, Item, Prepared, TableId, TxnStart, XaStep, Xid};

/// Bytes of rows that are held for transactions that are not decided, all together.
const HELD_BYTES: usize = 16 << 20;

/// What an item takes beside its images.
const ITEM_BYTES: usize = 512;

/// What an XA transaction did to captured tables, in the order of the log.
#[derive(Debug, Default)]
pub(super) struct Held {
    items: Vec<Item>,
    bytes: usize,
    /// Whether it was more than can be held: then there are no items.
    left: bool,
}

/// An XA transaction whose rows are due now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// Which.
    pub xid: Xid,
    /// Where its rows begin, if that is known in the log that is being read.
    pub from: Option<TxnStart>,
    /// The commit that numbers the rows.
    pub at: TxnStart,
    /// When that was, microseconds since 1970-01-01T00:00:00Z.
    pub committed_micros: i64,
    /// The captured tables that it wrote to: what is lost if its rows are not to be had. With an unknown
    /// transaction, every captured table.
    pub tables: Vec<TableId>,
}

/// The transactions that are prepared.
#[derive(Debug, Default)]
pub(super) struct Undecided {
    prepared: BTreeMap<Xid, (Prepared, Held)>,
    bytes: usize,
    /// What happened since the last commit point.
    steps: Vec<XaStep>,
}

impl Undecided {
    /// What happened since it was last asked.
    pub(super) fn take_steps(&mut self) -> Vec<XaStep> {
        std::mem::take(&mut self.steps)
    }

    /// Takes an item, or leaves all of the transaction in the log.
    fn hold(&mut self, held: &mut Held, item: Item) {
        let bytes = ITEM_BYTES
            + match &item {
                Item::Rows(changes) => changes.images.bytes() + changes.changes.len() * size_of::<Change>(),
                Item::Break(_) | Item::Ddl(_) | Item::Commit(_) => 0,
            };
        if held.left {
            return;
        }
        if self.bytes + bytes > HELD_BYTES {
            self.bytes -= held.bytes;
            *held = Held {
                left: true,
                ..Held::default()
            };
            return;
        }
        self.bytes += bytes;
        held.bytes += bytes;
        held.items.push(item);
    }
}

/// Body of an XA_PREPARE event: whether it commits in one phase, and the identifier: format, length of the
/// global part, length of the branch, and both.
pub(super) fn prepare_body(body: &[u8]) -> Option<(bool, Xid)> {
    let mut fields = Fields(body);
    let one_phase = fields.uint(1)? != 0;
    let format = u32::try_from(fields.uint(4)?).ok()?;
    let global = usize::try_from(fields.uint(4)?).ok()?;
    let branch = usize::try_from(fields.uint(4)?).ok()?;
    let global = fields.take(global)?;
    Some((one_phase, Xid::new(global, fields.take(branch)?, format)))
}

/// The identifier in a statement of the log: what follows its two words.
fn xid_of(statement: &str) -> Option<Xid> {
    let mut words = statement.trim().splitn(3, char::is_whitespace);
    Xid::parse(words.nth(2)?)
}

impl Assembler {
    /// Takes up what was prepared before the place where this reader begins.
    pub fn resume(&mut self, prepared: &[Prepared]) {
        for one in prepared {
            let held = Held {
                left: true,
                ..Held::default()
            };
            self.undecided
                .prepared
                .insert(one.xid.clone(), (one.clone(), held));
        }
    }

    /// A reader of the same log that reads one transaction again.
    pub fn replaying(&self, replay: Replay) -> Assembler {
        let catalog = self.catalog.values().cloned().collect();
        let known = self.captured.iter().cloned().collect();
        let mut reader = Assembler::new(
            self.epoch,
            self.patterns.clone(),
            self.dialect,
            (catalog, known),
            self.purged.clone(),
        );
        reader.replaying = Some(replay);
        reader
    }

    /// The transactions that are prepared and not decided.
    pub fn undecided(&self) -> impl Iterator<Item = &Prepared> {
        self.undecided.prepared.values().map(|(prepared, _)| prepared)
    }

    /// Says something of the transaction at hand, or holds it.
    pub(super) fn tell(&mut self, item: Item, out: &mut Vec<Out>) {
        let Some(txn) = self.txn.as_mut() else {
            out.push(Out::Item(item));
            return;
        };
        let Some(held) = txn.held.as_mut() else {
            out.push(Out::Item(item));
            return;
        };
        if let Item::Break(one) = &item {
            txn.touched.insert(one.table.clone());
        }
        self.undecided.hold(held, item);
    }

    pub(super) fn xa_start(&mut self, event: &RawEvent) -> Result<(), StreamError> {
        let hold = self.replaying.is_none();
        let txn = self.open_txn(event)?;
        txn.begun = true;
        txn.held = hold.then(Held::default);
        Ok(())
    }

    pub(super) fn xa_prepare(&mut self, event: &RawEvent, out: &mut Vec<Out>) -> Result<(), StreamError> {
        let (one_phase, xid) =
            prepare_body(&event.body).ok_or_else(|| self.malformed(event.kind, "it does not parse"))?;
        if let Some(replay) = &self.replaying {
            if replay.xid != xid {
                let reason = format!("it prepares {xid} where {} was prepared", replay.xid);
                return Err(self.malformed(event.kind, reason));
            }
            return self.commit(event, out);
        }
        let txn = self.open_txn(event)?;
        let Some(held) = txn.held.take() else {
            return Err(self.malformed(event.kind, "XA START does not precede it"));
        };
        let prepared = Prepared {
            xid: xid.clone(),
            at: txn.start,
            since: event.timestamp,
            tables: txn.touched.iter().cloned().collect(),
        };
        if one_phase {
            let at = prepared.at;
            self.deliver((prepared, held), at, event, out);
        } else {
            self.undecided.steps.push(XaStep::Prepared(prepared.clone()));
            let before = self.undecided.prepared.insert(xid, (prepared, held));
            self.undecided.bytes -= before.map_or(0, |(_, held)| held.bytes);
        }
        self.commit(event, out)
    }

    pub(super) fn xa_commit(
        &mut self,
        event: &RawEvent,
        text: &str,
        out: &mut Vec<Out>,
    ) -> Result<(), StreamError> {
        self.release(event, out)?;
        let at = self.open_txn(event)?.start;
        let xid = self.decided(text)?;
        match self.undecided.prepared.remove(&xid) {
            Some(group) => self.deliver(group, at, event, out),
            None => {
                tracing::warn!(%xid, at = %at, "XA COMMIT of a transaction that was prepared before the log was read");
                let prepared = Prepared {
                    xid: xid.clone(),
                    // No place of this log.
                    at: TxnStart {
                        epoch: crate::event::Epoch(0),
                        ..at
                    },
                    since: 0,
                    tables: self.captured.iter().cloned().collect(),
                };
                let held = Held {
                    left: true,
                    ..Held::default()
                };
                self.deliver((prepared, held), at, event, out);
            }
        }
        self.undecided.steps.push(XaStep::Decided(xid));
        self.commit(event, out)
    }

    pub(super) fn xa_rollback(
        &mut self,
        event: &RawEvent,
        text: &str,
        out: &mut Vec<Out>,
    ) -> Result<(), StreamError> {
        if self.open_txn(event)?.held.is_some() {
            return self.rolled_back(event, out);
        }
        let xid = self.decided(text)?;
        if let Some((_, held)) = self.undecided.prepared.remove(&xid) {
            self.undecided.bytes -= held.bytes;
        }
        self.undecided.steps.push(XaStep::Decided(xid));
        self.commit(event, out)
    }

    fn decided(&self, text: &str) -> Result<Xid, StreamError> {
        xid_of(text).ok_or_else(|| self.malformed(kind::QUERY, "an XA statement without an identifier"))
    }

    /// Lets go what the transaction at hand holds: it ended without having been prepared.
    pub(super) fn release(&mut self, event: &RawEvent, out: &mut Vec<Out>) -> Result<(), StreamError> {
        let txn = self.open_txn(event)?;
        let Some(held) = txn.held.take() else {
            return Ok(());
        };
        if held.left {
            return Err(self.malformed(event.kind, "an XA transaction ends without XA PREPARE"));
        }
        self.undecided.bytes -= held.bytes;
        out.extend(held.items.into_iter().map(Out::Item));
        Ok(())
    }

    /// Drops what the transaction at hand holds.
    pub(super) fn forget(&mut self, event: &RawEvent) -> Result<(), StreamError> {
        if let Some(held) = self.open_txn(event)?.held.take() {
            self.undecided.bytes -= held.bytes;
        }
        Ok(())
    }

    /// Says what a transaction did, as what the commit at `at` did.
    fn deliver(
        &mut self,
        (prepared, held): (Prepared, Held),
        at: TxnStart,
        event: &RawEvent,
        out: &mut Vec<Out>,
    ) {
        self.undecided.bytes -= held.bytes;
        let seconds = i64::from(event.timestamp) * 1_000_000;
        let committed_micros = self.txn.as_ref().and_then(|txn| txn.committed_micros);
        let committed_micros = committed_micros.unwrap_or(seconds);
        if held.left {
            // Another lineage numbers its files anew.
            let from = (prepared.at.epoch == self.epoch).then_some(prepared.at);
            if !prepared.tables.is_empty() {
                out.push(Out::Replay(Replay {
                    xid: prepared.xid,
                    from,
                    at,
                    committed_micros,
                    tables: prepared.tables,
                }));
            }
            return;
        }
        out.extend(held.items.into_iter().map(|item| {
            Out::Item(match item {
                Item::Rows(mut changes) => {
                    (changes.txn, changes.committed_micros) = (at, committed_micros);
                    Item::Rows(changes)
                }
                Item::Break(mut one) => {
                    one.at = at;
                    Item::Break(one)
                }
                Item::Ddl(mut one) => {
                    one.at = at;
                    Item::Ddl(one)
                }
                item @ Item::Commit(_) => item,
            })
        }));
    }

    /// What is lost with a transaction whose rows are not to be had.
    pub fn lost(replay: &Replay) -> Vec<Item> {
        let tables = replay.tables.iter();
        tables
            .map(|table| {
                Item::Break(crate::event::Break {
                    table: table.clone(),
                    cause: BreakCause::Xa,
                    at: replay.at,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
