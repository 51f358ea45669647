//! Has changes kept in the target's history. That is for people: rows do not wait for it longer than a moment, and
//! no pipeline ends because of it.

use std::time::Duration;

use super::warden::Warden;
use crate::fault::chain;
use crate::schema::{Happened, SchemaChange};

/// How long a table's rows may wait for its change to be kept.
const PATIENCE: Duration = Duration::from_secs(30);

impl Warden {
    /// Has a change kept.
    pub(super) async fn kept(&self, change: SchemaChange) {
        let copying = &self.copying;
        let error = tokio::select! {
            biased;
            kept = copying.sink.keep_change(&change) => match kept {
                Ok(()) => return,
                Err(error) => chain(&*error),
            },
            () = copying.stop.cancelled() => return,
            () = copying.shared.clock.sleep(PATIENCE) => "it took too long".to_owned(),
        };
        let (table, statement, ran) = (&change.table, &change.statement, &change.ran);
        tracing::error!(%table, statement, ?ran, error, "a change of this table is missing in _replicator_schema_changes");
    }

    /// Has something kept of which the source's statement is not at hand.
    pub(super) async fn kept_of(
        &self,
        happened: Happened,
        (table, at): (&crate::event::TableId, Option<crate::event::TxnStart>),
        cause: String,
    ) {
        self.kept(SchemaChange {
            table: table.clone(),
            happened,
            at,
            statement: String::new(),
            cause,
            ran: Vec::new(),
            took: Duration::ZERO,
        })
        .await;
    }
}
