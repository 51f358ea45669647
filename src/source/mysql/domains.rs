//! What a MariaDB server says of its transactions' identifiers, which it has four views of: what its own log
//! holds, what it ever held, what it applied as a replica, and where it stands as either
//! (<https://mariadb.com/kb/en/gtid/#system-variables-for-global-transaction-id>).

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::error::MysqlError;
use super::server::{LogFile, unexpected};
use crate::event::{DomainPosition, DomainState};

/// A server's identifiers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Domains {
    /// The end of its log (`gtid_binlog_pos`): ahead of what a SELECT sees.
    pub binlog: DomainPosition,
    /// What its log has held, ever (`gtid_binlog_state`).
    pub state: DomainState,
    /// What it applied as a replica (`gtid_slave_pos`).
    pub applied: DomainPosition,
    /// What it applied, or began itself if that is later (`gtid_current_pos`).
    pub current: DomainPosition,
}

impl Domains {
    /// Whether rows that are read now show these transactions. Those that a replica logs are visible a
    /// moment after; what it counts as applied is visible. A server that applied nothing of a domain
    /// wrote it itself, whatever number a session gave it.
    pub fn shows(&self, seen: &DomainPosition) -> bool {
        let missing = seen.without(|gtid| {
            self.current.reaches(gtid)
                || self.applied.reaches(gtid)
                || (self.applied.of(gtid.domain).is_none() && self.binlog.reaches(gtid))
        });
        missing.is_empty()
    }

    /// Those of a reader's transactions that this server cannot have sent, nor a copy of it.
    pub fn lacks(&self, read: &DomainPosition) -> DomainPosition {
        read.without(|gtid| self.state.holds(gtid) || self.applied.of(gtid.domain) == Some(gtid))
    }
}

/// Reads a server's identifiers.
///
/// # Errors
/// [`MysqlError`] of the query, or text that does not parse.
pub async fn read_domains(conn: &mut Conn) -> Result<Domains, MysqlError> {
    const QUERY: &str = "SELECT @@GLOBAL.gtid_binlog_pos, @@GLOBAL.gtid_binlog_state, @@GLOBAL.gtid_slave_pos, \
         @@GLOBAL.gtid_current_pos";
    let (binlog, state, applied, current): (String, String, String, String) = conn
        .query_first(QUERY)
        .await?
        .ok_or_else(|| unexpected(QUERY, "no row"))?;
    let position = |text: &str| {
        text.parse::<DomainPosition>()
            .map_err(|error| unexpected(QUERY, &error.to_string()))
    };
    Ok(Domains {
        binlog: position(&binlog)?,
        state: state
            .parse()
            .map_err(|_| unexpected(QUERY, "gtid_binlog_state does not parse"))?,
        applied: position(&applied)?,
        current: position(&current)?,
    })
}

/// The last transaction of each domain before a place of the log; `None` if the server cannot tell.
///
/// # Errors
/// [`MysqlError`] of the query, or text that does not parse.
pub async fn read_domains_at(conn: &mut Conn, place: &LogFile) -> Result<Option<DomainPosition>, MysqlError> {
    const QUERY: &str = "SELECT BINLOG_GTID_POS(?, ?)";
    let row: Option<(Option<String>,)> = conn.exec_first(QUERY, (&place.name, place.bytes)).await?;
    row.and_then(|(text,)| text)
        .map(|text| text.parse().map_err(|_| unexpected(QUERY, "it does not parse")))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(text: &str) -> DomainPosition {
        text.parse().unwrap()
    }

    #[test]
    fn a_primary_shows_its_log_and_a_replica_what_it_applied() {
        let primary = Domains {
            binlog: position("0-1-100"),
            current: position("0-1-100"),
            ..Domains::default()
        };
        assert!(primary.shows(&position("0-1-100")) && !primary.shows(&position("0-1-101")));
        let replica = Domains {
            binlog: position("0-1-100"),
            applied: position("0-1-99"),
            current: position("0-1-99"),
            ..Domains::default()
        };
        assert!(replica.shows(&position("0-1-99")) && !replica.shows(&position("0-1-100")));
        // Transactions that a session replayed under another server's number.
        let replayed = Domains {
            binlog: position("0-9-5"),
            ..Domains::default()
        };
        assert!(replayed.shows(&position("0-9-5")) && !replayed.shows(&position("1-9-5")));
    }

    #[test]
    fn what_neither_was_logged_nor_applied_is_lacking() {
        let server = Domains {
            state: "0-1-100,0-2-120".parse().unwrap(),
            applied: position("1-3-7"),
            ..Domains::default()
        };
        assert_eq!(
            server.lacks(&position("0-2-120,1-3-7")),
            DomainPosition::default()
        );
        assert_eq!(
            server.lacks(&position("0-1-101,1-3-6")),
            position("0-1-101,1-3-6")
        );
    }
}
