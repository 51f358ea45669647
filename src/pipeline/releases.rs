//! The part of following that is about tables whose columns, rows or existence change: what is held back,
//! what is marked, and how what was held is let go.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::breaks;
use super::error::PipelineError;
use super::follow::Follow;
use super::hold::{Packet, Queue, Waiting};
use super::mark::Mark;
use super::message::{self, Message, Wait};
use super::routes::Verdict;
use super::steer::{Answer, Refusal};
use super::work::{Change, Work};
use crate::checkpoint::TableState;
use crate::event::{AlterSaid, Break, Ddl, DdlWhat, Late, RowChanges, TableId, TableLayout, TxnStart};
use crate::fault::boxed;
use crate::sink::{Batch, Pending};
use crate::source::image_bytes;
use crate::task;

/// Ends the waiting of a table's rows.
#[derive(Debug)]
pub enum Release {
    /// They are written, under the columns that are in force now.
    Write(Box<TableState>),
    /// They are of no use any more, which is durable.
    Drop(TableId),
}

impl Follow {
    pub(super) fn rows(&mut self, changes: RowChanges) {
        match self.shared.routes.judge(&changes) {
            Verdict::Send => {
                let bytes = image_bytes(&changes);
                self.batcher.rows(changes, bytes);
            }
            Verdict::Skip => self.shared.status.skipped(changes.table(), changes.changes.len()),
            Verdict::Unknown => {
                self.appeared(changes.table());
                self.shared.status.skipped(changes.table(), changes.changes.len());
            }
            Verdict::Hold => self.wait(&changes.table().clone(), Waiting::Rows(changes)),
            Verdict::Changed => {
                self.changed(changes.table(), Change::seen_in(&changes));
                self.wait(&changes.table().clone(), Waiting::Rows(changes));
            }
            Verdict::Contradicts => {
                let cause = "its columns at this place of the log are others than when it was read before";
                self.reopen(changes.table(), cause.to_owned(), changes.txn);
            }
        }
    }

    /// Takes a statement; one that has to wait is kept, so that no position passes it.
    pub(super) fn statement(&mut self, ddl: Ddl) {
        if self.ddl(&ddl) {
            self.wait(&ddl.table.clone(), Waiting::Ddl(ddl));
        }
    }

    /// Takes a statement. Returns whether its table is held, and the statement to be taken again then.
    fn ddl(&mut self, ddl: &Ddl) -> bool {
        let table = ddl.table.clone();
        let routes = &self.shared.routes;
        if routes.is_held(&table) {
            return true;
        }
        routes.stir(&table);
        let flows = routes.flows_at(&table, ddl.at);
        match &ddl.what {
            DdlWhat::Created if !routes.knows(&table) => self.appeared(&table),
            DdlWhat::Created | DdlWhat::Altered { .. } if routes.is_gone(&table) => {
                let cause = format!("another table came by its name: {}", ddl.statement);
                self.reopen(&table, cause, ddl.at);
            }
            DdlWhat::RowsChanged if flows => {
                let cause = format!("its rows changed without row events: {}", ddl.statement);
                self.reopen(&table, cause, ddl.at);
            }
            DdlWhat::Dropped if flows => {
                tracing::warn!(%table, "the source dropped the table; its target is kept");
                routes.gone(&table);
                self.marks.push(Mark::Dropped { table, at: ddl.at });
            }
            DdlWhat::Truncated if flows => {
                routes.raise(&table, ddl.at);
                self.marks.push(Mark::Truncated { table, at: ddl.at });
            }
            DdlWhat::Altered { layout, said, late } if flows => {
                let (current, again) = (
                    routes.is_current(layout, ddl.at),
                    routes.changed_after(&table, ddl.at),
                );
                let late = match late {
                    Late::No => false,
                    Late::IfUnchanged => current,
                    Late::Yes => true,
                } && !routes.changed_from(&table, ddl.at);
                if late || (!current && !again) {
                    let change = Change {
                        at: ddl.at,
                        layout: Arc::clone(layout),
                        said: if late { left_of(said, layout) } else { said.clone() },
                        statement: Arc::clone(&ddl.statement),
                        late,
                    };
                    self.changed(&table, change);
                    return true;
                }
            }
            DdlWhat::Created
            | DdlWhat::RowsChanged
            | DdlWhat::Dropped
            | DdlWhat::Truncated
            | DdlWhat::Altered { .. } => {}
        }
        false
    }

    /// A table that nobody has opened: its rows until then are in the copy.
    fn appeared(&self, table: &TableId) {
        tracing::info!(%table, "new table");
        self.shared.status.table(table);
        self.shared.routes.close(table);
        self.shared.routes.ask(table, Work::Look);
    }

    /// From here on rows need other columns. Those before, which are gathered and not on their way, are to be written
    /// to the columns as they are: the target must not be changed before.
    fn changed(&mut self, table: &TableId, change: Change) {
        tracing::info!(%table, at = %change.at, statement = %change.statement, "columns changed");
        if self.batcher.holds(table) {
            self.unsent.push(self.shared.routes.writing(table));
        }
        self.shared.routes.hold(table);
        self.shared.routes.ask(table, Work::Change(Box::new(change)));
    }

    /// Ends a table's flow until it is copied again.
    fn reopen(&mut self, table: &TableId, cause: String, at: TxnStart) {
        self.shared.routes.close(table);
        self.batcher.discard(table);
        self.marks.push(Mark::Reopen {
            table: table.clone(),
            cause,
            at,
            bounded: false,
        });
    }

    /// The log does not say what became of a table: it is copied again, or parked where that is of no help. The
    /// keeper makes it durable before the position passes.
    pub(super) fn broken(&mut self, one: Break) {
        if !self.shared.routes.flows_at(&one.table, one.at) {
            return;
        }
        if breaks::a_copy_helps(&one.cause) && self.copies.may(&one.table, self.shared.clock.now()) {
            self.shared.routes.close(&one.table);
            self.batcher.discard(&one.table);
            self.marks.push(Mark::Reopen {
                cause: breaks::cause(&one.cause),
                table: one.table,
                at: one.at,
                bounded: true,
            });
        } else {
            self.shared.routes.park(&one.table);
            self.marks.push(Mark::Park(one));
        }
    }

    /// A person wants a table to be copied again. What was gathered or waits of it is of no use then; other parts
    /// of the flushes that it came in may pass once this is durable.
    pub(super) async fn resync(&mut self, table: TableId, answer: Answer) -> Result<(), PipelineError> {
        let routes = Arc::clone(&self.shared.routes);
        let refusal = if !self.source.captures(&table) {
            Some(Refusal::NotCaptured(table.clone()))
        } else if !routes.knows(&table) {
            Some(Refusal::Unknown(table.to_string()))
        } else {
            None
        };
        if let Some(refusal) = refusal {
            // Who asked may be gone.
            let _gone = answer.send(Err(refusal));
            return Ok(());
        }
        routes.close(&table);
        self.batcher.discard(&table);
        self.durably(|reply| Message::Resync(table.clone(), reply))
            .await?;
        self.held.take(&table).discard();
        self.copies.forget(&table);
        routes.ask(&table, Work::Look);
        let _gone = answer.send(Ok(()));
        Ok(())
    }

    fn wait(&mut self, table: &TableId, waiting: Waiting) {
        if self.held.add(table, waiting) {
            self.overfull.push(table.clone());
        }
    }

    /// Stops holding what has become too much: the table is copied again instead.
    pub(super) async fn shed(&mut self) -> Result<(), PipelineError> {
        for table in std::mem::take(&mut self.overfull) {
            if self.shared.routes.is_flowing(&table) {
                self.shared.routes.close(&table);
                let cause = "more changes came while its columns were being changed than can wait";
                self.durably(|reply| Message::Reopen(table.clone(), cause.to_owned(), reply))
                    .await?;
            }
            self.held.take(&table).discard();
        }
        Ok(())
    }

    /// Tells the keeper something and waits until it is durable.
    pub(super) async fn durably(
        &mut self,
        told: impl FnOnce(oneshot::Sender<()>) -> Message,
    ) -> Result<(), PipelineError> {
        message::durably(&self.keeper, told).await
    }

    /// Says where a table's rows go.
    pub(super) fn project(&self, state: &TableState) {
        self.sink.project(&state.layout.table, state.projections());
    }

    /// The parts of this flush that wait.
    pub(super) fn waiting(&mut self) -> Vec<Wait> {
        let parts = self.held.hand_over().into_iter();
        let part = |(table, at, ended): (TableId, TxnStart, _)| Wait {
            table,
            at,
            ended: Box::pin(ended),
        };
        parts.map(part).collect()
    }

    /// Hands a batch to the target; what is under way counts until it ends.
    pub(super) async fn write(&mut self, batch: Batch) -> Pending {
        let writing = self.shared.routes.writing(batch.table());
        match self.sink.write(batch).await {
            Ok(pending) => Box::pin(async move {
                let ended = pending.await;
                drop(writing);
                ended
            }),
            Err(error) => Box::pin(async { Err(error) }),
        }
    }

    /// Lets go of what waited.
    pub(super) async fn release(&mut self, release: Release) -> Result<(), PipelineError> {
        let state = match release {
            Release::Drop(table) => {
                self.held.take(&table).discard();
                return Ok(());
            }
            Release::Write(state) => *state,
        };
        let table = state.layout.table.clone();
        if !self.shared.routes.is_held(&table) {
            return Ok(());
        }
        self.project(&state);
        self.shared.routes.release(&state);
        let mut queue = self.held.take(&table);
        while let Some(packet) = queue.packets.pop_front() {
            if let Some(packet) = self.unpack(packet).await? {
                self.held.put_back(&table, packet, queue);
                return Ok(());
            }
        }
        let Queue { gathered, .. } = queue;
        for waiting in gathered {
            match waiting {
                Waiting::Rows(changes) => self.rows(changes),
                Waiting::Ddl(ddl) => self.statement(ddl),
            }
        }
        self.shed().await
    }

    /// Writes what a packet holds; gives it back if its table is held again on the way.
    async fn unpack(&mut self, mut packet: Packet) -> Result<Option<Packet>, PipelineError> {
        while let Some(waiting) = packet.items.pop_front() {
            let changes = match waiting {
                Waiting::Rows(changes) => changes,
                Waiting::Ddl(ddl) => {
                    if self.ddl(&ddl) {
                        packet.items.push_front(Waiting::Ddl(ddl));
                        return Ok(Some(packet));
                    }
                    continue;
                }
            };
            match self.shared.routes.judge(&changes) {
                Verdict::Send => {
                    let batch = Batch {
                        layout: Arc::clone(&changes.layout),
                        pieces: vec![changes],
                    };
                    // It must go on while the packet waits again: what changes the table next waits for its end.
                    packet.pending.push(driven(self.write(batch).await));
                }
                Verdict::Hold => {
                    packet.items.push_front(Waiting::Rows(changes));
                    return Ok(Some(packet));
                }
                Verdict::Changed => {
                    self.changed(changes.table(), Change::seen_in(&changes));
                    packet.items.push_front(Waiting::Rows(changes));
                    return Ok(Some(packet));
                }
                Verdict::Skip | Verdict::Unknown | Verdict::Contradicts => self.rows(changes),
            }
        }
        // What was decided on the way must be durable before the position passes this flush.
        let marks = std::mem::take(&mut self.marks);
        if !marks.is_empty() {
            self.durably(|reply| Message::Marks(marks, reply)).await?;
        }
        packet.finish();
        Ok(None)
    }
}

/// What a statement said that is still so of columns which were read later: names that changed since say nothing.
fn left_of(said: &AlterSaid, layout: &TableLayout) -> AlterSaid {
    let has = |name: &str| {
        let lower = name.to_lowercase();
        layout
            .columns
            .iter()
            .any(|column| column.name.as_str().to_lowercase() == lower)
    };
    let mut left = said.clone();
    left.renamed.retain(|(old, new)| has(new) && !has(old));
    left
}

/// A delivery that goes on by itself.
fn driven(pending: Pending) -> Pending {
    let task = task::spawn("held rows", pending);
    Box::pin(async move {
        match task.join().await {
            Ok(ended) => ended,
            Err(panicked) => Err(boxed(PipelineError::from(panicked))),
        }
    })
}
