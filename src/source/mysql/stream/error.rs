//! What ends a stream.

use crate::event::{BinlogCoord, TableId};
use crate::fault::{Classify, Fault};
use crate::source::mysql::error::MysqlError;

/// Why the log cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The connection or a query failed.
    #[error(transparent)]
    Server(#[from] MysqlError),
    /// The server ended the stream.
    #[error("the server ended the binlog stream")]
    Ended,
    /// The server sent nothing, not even a heartbeat.
    #[error("the server sent nothing for {0} s, not even a heartbeat")]
    Silent(u64),
    /// The checksum of an event does not match its bytes.
    #[error("binlog event at {at} is damaged: its checksum does not match")]
    Checksum {
        /// Where the event ends.
        at: BinlogCoord,
    },
    /// An event has not the form that the protocol says.
    #[error("binlog event of type {kind} at {at} is malformed: {reason}")]
    Malformed {
        /// The event's type.
        kind: u8,
        /// Where the event ends.
        at: BinlogCoord,
        /// What is wrong.
        reason: String,
    },
    /// An event of a type that this version does not know and that must not be skipped.
    #[error("binlog event at {at} has the unknown type {kind}")]
    Unknown {
        /// Its type.
        kind: u8,
        /// Where the event ends.
        at: BinlogCoord,
    },
    /// The server itself lost events.
    #[error("the server noted an incident at {at}: its binlog lacks events")]
    Incident {
        /// Where the event ends.
        at: BinlogCoord,
    },
    /// A transaction without an end.
    #[error("the transaction that begins at {start} has no end in the binlog")]
    Cut {
        /// Where it begins.
        start: BinlogCoord,
    },
    /// The log that holds the position is gone.
    #[error("the position is lost: {reason}")]
    Lost {
        /// Why, with what the server has.
        reason: String,
    },
    /// The server lacks transactions that were copied already.
    #[error("the server does not have transactions that were copied already: {gtids}")]
    Errant {
        /// Which.
        gtids: String,
    },
    /// The table's layout cannot be read from the catalog.
    #[error("table {0} is not in the catalog")]
    NoTable(TableId),
}

impl Classify for StreamError {
    fn fault(&self) -> Fault {
        match self {
            StreamError::Server(error) => error.fault(),
            StreamError::Ended | StreamError::Silent(_) => Fault::RETRY,
            StreamError::NoTable(table) => Fault::Table(table.clone()),
            StreamError::Checksum { .. }
            | StreamError::Malformed { .. }
            | StreamError::Unknown { .. }
            | StreamError::Incident { .. }
            | StreamError::Cut { .. }
            | StreamError::Lost { .. }
            | StreamError::Errant { .. } => Fault::Fatal,
        }
    }

    fn hint(&self) -> Option<String> {
        let copy_anew = "stop the replicator, drop the target tables, remove the checkpoint and start: everything is copied anew";
        Some(match self {
            StreamError::Server(error) => return error.hint(),
            StreamError::Ended | StreamError::Silent(_) => return None,
            StreamError::Checksum { .. } => {
                "check the server's disk and the network; mysqlbinlog --verify-binlog-checksum tells whether the file itself is damaged".to_owned()
            }
            StreamError::Malformed { .. } => {
                "report this with the server's version; nothing of the event was copied".to_owned()
            }
            StreamError::Unknown { .. } => {
                "the server is newer than this replicator, or has a plugin that writes events of its own: update the replicator".to_owned()
            }
            StreamError::Incident { .. } | StreamError::Cut { .. } => copy_anew.to_owned(),
            StreamError::Lost { .. } => {
                format!("keep binlogs longer (binlog_expire_logs_seconds; on Aurora and RDS mysql.rds_set_configuration 'binlog retention hours'); then {copy_anew}")
            }
            StreamError::Errant { .. } => {
                format!("connect to the server that has them, or, if a failover lost them for good, {copy_anew}")
            }
            StreamError::NoTable(_) => "create the table, or take it out of the source's tables".to_owned(),
        })
    }
}
