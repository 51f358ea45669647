//! How far a replica is behind the server that it copies, by its own word
//! (<https://dev.mysql.com/doc/refman/8.4/en/show-replica-status.html>,
//! <https://mariadb.com/kb/en/show-replica-status/>).

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};

use super::error::MysqlError;

/// What a server calls a statement that it does not know.
const PARSE_ERROR: u16 = 1064;

/// The lag of the channel that is furthest behind; `None` if the server is no replica, or applies nothing now, so
/// that nobody can say.
///
/// # Errors
/// [`MysqlError`] of the query: it needs `REPLICATION CLIENT`, on MariaDB `REPLICA MONITOR`.
pub(super) async fn read_lag(conn: &mut Conn) -> Result<Option<Duration>, MysqlError> {
    let rows: Vec<Row> = match conn.query("SHOW REPLICA STATUS").await {
        // Before MySQL 8.0.22.
        Err(mysql_async::Error::Server(error)) if error.code == PARSE_ERROR => {
            conn.query("SHOW SLAVE STATUS").await?
        }
        rows => rows?,
    };
    Ok(rows.iter().filter_map(seconds).max().map(Duration::from_secs))
}

fn seconds(row: &Row) -> Option<u64> {
    let columns = row.columns_ref();
    let column = columns
        .iter()
        .position(|column| column.name_str().starts_with("Seconds_Behind_"))?;
    row.get_opt::<Option<u64>, _>(column)?.ok()?
}
