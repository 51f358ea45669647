//! What statements in the log mean for captured tables. Row changes come as row events; a statement
//! matters where it ends a transaction, changes columns, or changes rows without events.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::assemble::{Assembler, Out};
use super::error::StreamError;
use super::raw::{RawEvent, kind};
use crate::event::{BreakCause, TableId};
use crate::source::mysql::compressed::EventPart;
use crate::source::mysql::ddl::{self, DdlKind, Statement};
use crate::source::mysql::query_event::QueryEvent;

impl Assembler {
    pub(super) fn query(&mut self, event: &RawEvent<'_>, out: &mut Vec<Out>) -> Result<(), StreamError> {
        let mut query = QueryEvent::parse(&Bytes::copy_from_slice(event.body))
            .map_err(|error| self.malformed(event.kind, error.to_string()))?;
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
        event: &RawEvent<'_>,
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
                self.break_all(
                    event,
                    &touched,
                    &BreakCause::RowsWithoutEvents(cause.to_owned()),
                    out,
                )?;
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
            Statement::Ddl { kind, tables } => self.ddl(event, kind, tables, out)?,
            Statement::DropDatabase { schema } => {
                let tables = self.captured(|table| table.schema() == schema);
                let cause = BreakCause::RowsWithoutEvents("DROP DATABASE".to_owned());
                self.break_all(event, &tables, &cause, out)?;
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
    pub(super) fn rolled_back(
        &mut self,
        event: &RawEvent<'_>,
        out: &mut Vec<Out>,
    ) -> Result<(), StreamError> {
        self.forget(event)?;
        let touched = self.open_txn(event)?.touched.clone();
        let cause = "a partly rolled back transaction (with a table that has no transactions)";
        let cause = BreakCause::RowsWithoutEvents(cause.to_owned());
        self.break_all(event, &touched, &cause, out)?;
        self.commit(event, out)
    }

    fn ddl(
        &mut self,
        event: &RawEvent<'_>,
        kind: &DdlKind,
        tables: &[TableId],
        out: &mut Vec<Out>,
    ) -> Result<(), StreamError> {
        let named: BTreeSet<TableId> = tables
            .iter()
            .filter(|table| self.patterns.matches(table))
            .cloned()
            .collect();
        let what = match kind {
            DdlKind::AlterTable => {
                let at = self.open_txn(event)?.start;
                out.extend(named.into_iter().map(|table| Out::Altered(table, at)));
                return Ok(());
            }
            DdlKind::CreateTable { or_replace: true, .. } => "CREATE OR REPLACE TABLE",
            // A table that is captured already cannot be created; one that is not yet is new.
            DdlKind::CreateTable { .. } => return Ok(()),
            DdlKind::DropTable => "DROP TABLE",
            DdlKind::RenameTable { .. } => "RENAME TABLE",
            DdlKind::TruncateTable => "TRUNCATE TABLE",
            DdlKind::PartitionRows => "ALTER TABLE on partitions or the tablespace",
        };
        self.break_all(
            event,
            &named,
            &BreakCause::RowsWithoutEvents(what.to_owned()),
            out,
        )
    }

    /// A write that was logged as a statement. Which tables it wrote to is known for certain only where
    /// the statement names them all.
    fn dml(
        &mut self,
        event: &RawEvent<'_>,
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
    fn unrecognised(
        &mut self,
        event: &RawEvent<'_>,
        text: &str,
        out: &mut Vec<Out>,
    ) -> Result<(), StreamError> {
        let lower = text.to_lowercase();
        let hit = self.captured(|table| text.is_empty() || lower.contains(&table.name().to_lowercase()));
        tracing::warn!(at = %self.place(), tables = hit.len(), "statement of unknown kind in the binlog");
        let cause = BreakCause::RowsWithoutEvents("a statement of unknown kind".to_owned());
        self.break_all(event, &hit, &cause, out)
    }

    fn captured(&self, wanted: impl Fn(&TableId) -> bool) -> BTreeSet<TableId> {
        self.captured
            .iter()
            .filter(|table| wanted(table))
            .cloned()
            .collect()
    }

    fn break_all(
        &mut self,
        event: &RawEvent<'_>,
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
