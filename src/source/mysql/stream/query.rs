//! What statements in the log mean for captured tables. Row changes come as row events; a statement
//! matters where it ends a transaction, changes columns, or changes rows without events.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::assemble::{Altered, Assembler, Out};
use super::error::StreamError;
use super::raw::{RawEvent, kind};
use crate::config::shadow_of;
use crate::event::{AlterSaid, BreakCause, Ddl, DdlWhat, Item, TableId};
use crate::source::mysql::compressed::EventPart;
use crate::source::mysql::ddl::{self, DdlKind, Statement};
use crate::source::mysql::query_event::QueryEvent;

impl Assembler {
    pub(super) fn query(&mut self, event: &RawEvent, out: &mut Vec<Out>) -> Result<(), StreamError> {
        let mut query =
            QueryEvent::parse(&event.body).map_err(|error| self.malformed(event.kind, error.to_string()))?;
        if event.kind == kind::MARIADB_QUERY_COMPRESSED {
            let mut statement = Vec::new();
            EventPart::parse(&query.statement)
                .and_then(|part| part.inflate(&mut statement))
                .ok_or_else(|| self.malformed(event.kind, "its statement cannot be inflated"))?;
            query.statement = statement.into();
        }
        // The form that every transaction of rows begins with needs no lexer.
        if query.statement == b"BEGIN"[..] {
            self.open_txn(event)?.begun = true;
            return Ok(());
        }
        let Some(text) = query.text() else {
            return self.statement(event, &Statement::Unrecognised, "", out);
        };
        let statement = ddl::classify(&text, &query.schema, self.dialect.with_sql_mode(query.sql_mode));
        self.statement(event, &statement, &text, out)
    }

    fn statement(
        &mut self,
        event: &RawEvent,
        statement: &Statement,
        text: &str,
        out: &mut Vec<Out>,
    ) -> Result<(), StreamError> {
        match statement {
            Statement::Begin => self.open_txn(event)?.begun = true,
            Statement::Commit => {
                self.release(event, out)?;
                return self.commit(event, out);
            }
            Statement::Rollback => return self.rolled_back(event, out),
            Statement::RollbackToSavepoint => {
                let touched = self.open_txn(event)?.touched.clone();
                let cause = "ROLLBACK TO SAVEPOINT (with a table that has no transactions)";
                self.happened(event, &touched, &DdlWhat::RowsChanged, cause, out)?;
            }
            Statement::Savepoint => {}
            Statement::XaStart => {
                self.xa_start(event)?;
            }
            // The group goes on to its XA PREPARE event.
            Statement::XaEnd => {}
            Statement::XaPrepare => {}
            Statement::XaCommit => return self.xa_commit(event, text, out),
            Statement::XaRollback => return self.xa_rollback(event, text, out),
            Statement::Ddl { kind, tables } => self.ddl(event, (kind, text), tables, out)?,
            Statement::DropDatabase { schema } => {
                let tables = self.captured(|table| table.schema() == schema);
                self.happened(event, &tables, &DdlWhat::Dropped, text, out)?;
            }
            Statement::Dml { tables } => self.dml(event, tables.as_deref(), out)?,
            Statement::Other => {}
            Statement::Unrecognised => self.unrecognised(event, text, out)?,
        }
        let begun = self.open_txn(event)?.begun;
        if begun { Ok(()) } else { self.commit(event, out) }
    }

    /// Written only where something could not be rolled back: what was read of the captured tables may
    /// not be there.
    pub(super) fn rolled_back(&mut self, event: &RawEvent, out: &mut Vec<Out>) -> Result<(), StreamError> {
        self.forget(event)?;
        let touched = self.open_txn(event)?.touched.clone();
        let cause = "a partly rolled back transaction (with a table that has no transactions)";
        self.happened(event, &touched, &DdlWhat::RowsChanged, cause, out)?;
        self.commit(event, out)
    }

    fn ddl(
        &mut self,
        event: &RawEvent,
        (kind, text): (&DdlKind, &str),
        tables: &[TableId],
        out: &mut Vec<Out>,
    ) -> Result<(), StreamError> {
        let named: BTreeSet<TableId> = self.of_ours(tables);
        let what = match kind {
            DdlKind::AlterTable { said } => return self.altered(event, (Some(said), text), named, out),
            DdlKind::RenameTable { pairs } => return self.renamed(event, (pairs, text), out),
            DdlKind::CreateTable { or_replace, .. } => {
                if *or_replace {
                    self.happened(event, &named, &DdlWhat::Dropped, text, out)?;
                }
                return self.altered(event, (None, text), named, out);
            }
            DdlKind::DropTable => DdlWhat::Dropped,
            DdlKind::TruncateTable => DdlWhat::Truncated,
            DdlKind::PartitionRows => {
                self.happened(event, &named, &DdlWhat::RowsChanged, text, out)?;
                // It may have given the table a new name too.
                return self.altered(event, (None, text), named, out);
            }
        };
        self.happened(event, &named, &what, text, out)
    }

    fn of_ours(&self, tables: &[TableId]) -> BTreeSet<TableId> {
        let ours = tables.iter().filter(|table| self.patterns.matches(table));
        ours.cloned().collect()
    }

    fn altered(
        &mut self,
        event: &RawEvent,
        (said, text): (Option<&AlterSaid>, &str),
        tables: BTreeSet<TableId>,
        out: &mut Vec<Out>,
    ) -> Result<(), StreamError> {
        let txn = self.open_txn(event)?;
        let (at, gtid) = (txn.start, txn.gtid.clone());
        out.extend(tables.into_iter().map(|table| {
            Out::Altered(Altered {
                table,
                said: said.cloned(),
                at,
                gtid: gtid.clone(),
                statement: shown(text),
            })
        }));
        Ok(())
    }

    /// A table that comes by a name is another one than what had it before, unless an online schema change tool
    /// swaps its copy in: that one has the same rows.
    fn renamed(
        &mut self,
        event: &RawEvent,
        (pairs, text): (&[(TableId, TableId)], &str),
        out: &mut Vec<Out>,
    ) -> Result<(), StreamError> {
        let swapped = |(from, to): &&(TableId, TableId)| {
            from.schema() == to.schema() && shadow_of(from.name()) == Some(to.name())
        };
        let swapped: Vec<TableId> = pairs.iter().filter(swapped).map(|(_, to)| to.clone()).collect();
        let others = |tables: Vec<TableId>| -> Vec<TableId> {
            let others = tables.into_iter().filter(|table| !swapped.contains(table));
            others.collect()
        };
        let (from, to) = pairs.iter().cloned().unzip();
        let (gone, came) = (self.of_ours(&others(from)), self.of_ours(&others(to)));
        self.happened(event, &gone, &DdlWhat::Dropped, text, out)?;
        self.altered(event, (None, text), came, out)?;
        let swapped = self.of_ours(&swapped);
        let said = AlterSaid {
            columns: true,
            ..AlterSaid::default()
        };
        self.altered(event, (Some(&said), text), swapped, out)
    }

    /// A write that was logged as a statement. Which tables it wrote to is known for certain only where
    /// the statement names them all.
    fn dml(
        &mut self,
        event: &RawEvent,
        tables: Option<&[TableId]>,
        out: &mut Vec<Out>,
    ) -> Result<(), StreamError> {
        let hit = match tables {
            Some(tables) => tables
                .iter()
                .filter(|table| self.patterns.matches(table))
                .cloned()
                .collect(),
            None => self.captured(|_| true),
        };
        self.break_all(event, &hit, &BreakCause::StatementFormat, out)
    }

    /// A statement of unknown meaning ends the tables whose names occur in it, and no others; one that
    /// cannot even be read ends all.
    fn unrecognised(&mut self, event: &RawEvent, text: &str, out: &mut Vec<Out>) -> Result<(), StreamError> {
        let lower = text.to_lowercase();
        let hit = self.captured(|table| text.is_empty() || lower.contains(&table.name().to_lowercase()));
        tracing::warn!(at = %self.place(), tables = hit.len(), "statement of unknown kind in the binlog");
        self.happened(
            event,
            &hit,
            &DdlWhat::RowsChanged,
            "a statement of unknown kind",
            out,
        )
    }

    fn captured(&self, wanted: impl Fn(&TableId) -> bool) -> BTreeSet<TableId> {
        self.captured
            .iter()
            .filter(|table| wanted(table))
            .cloned()
            .collect()
    }

    fn happened(
        &mut self,
        event: &RawEvent,
        tables: &BTreeSet<TableId>,
        what: &DdlWhat,
        text: &str,
        out: &mut Vec<Out>,
    ) -> Result<(), StreamError> {
        let at = self.open_txn(event)?.start;
        out.extend(tables.iter().map(|table| {
            Out::Item(Item::Ddl(Ddl {
                table: table.clone(),
                what: what.clone(),
                at,
                statement: shown(text),
            }))
        }));
        Ok(())
    }

    fn break_all(
        &mut self,
        event: &RawEvent,
        tables: &BTreeSet<TableId>,
        cause: &BreakCause,
        out: &mut Vec<Out>,
    ) -> Result<(), StreamError> {
        let at = self.open_txn(event)?.start;
        for table in tables {
            self.break_at((table.clone(), cause.clone()), at, out);
        }
        Ok(())
    }
}

/// A statement as people are shown it.
fn shown(text: &str) -> Arc<str> {
    /// Characters.
    const SHOWN: usize = 1_000;
    text.chars().take(SHOWN).collect::<String>().into()
}
