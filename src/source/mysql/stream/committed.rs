//! A statement stands in the log before the server has committed it, for as long as a replica lets it wait; until then the
//! catalog shows what was before, and a change of columns that is looked for there would not be found.

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::event::{GlobalId, TableId};
use crate::source::mysql::error::MysqlError;
use crate::source::mysql::quoting::quoted_table;

/// How long one wait takes at most, seconds.
const PATIENCE: u32 = 5;

/// `ER_LOCK_WAIT_TIMEOUT`.
const TIMEOUT: u16 = 1205;

/// Waits until a statement that was read of the log is committed on the server that is connected: by its transaction's
/// identifier, or else by the table's metadata lock, which the statement holds until then.
///
/// # Errors
/// The connection broke.
pub(super) async fn committed(
    conn: &mut Conn,
    table: &TableId,
    gtid: Option<&GlobalId>,
) -> Result<(), MysqlError> {
    let wait = match gtid {
        Some(GlobalId::Gtid(gtid)) => format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{gtid}', {PATIENCE})"),
        Some(GlobalId::Domain(_)) | None => {
            conn.query_drop(format!("SET SESSION lock_wait_timeout = {PATIENCE}"))
                .await?;
            format!("SELECT 0 FROM {} LIMIT 0", quoted_table(table))
        }
    };
    loop {
        let waited: Result<Option<u8>, _> = conn.query_first(wait.as_str()).await;
        match waited {
            Ok(Some(0) | None) => return Ok(()),
            Ok(Some(_)) => {}
            Err(mysql_async::Error::Server(error)) if error.code == TIMEOUT => {}
            // A table that is gone, or that cannot be read: the catalog tells.
            Err(mysql_async::Error::Server(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        tracing::info!(%table, "a statement of the log is not committed yet: waiting for it");
    }
}
