//! What ends a stream.

use std::time::Duration;

use super::refusal::Refusal;
use crate::event::BinlogCoord;
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
    /// The server sends heartbeats for a place at which its log does not end.
    #[error(
        "the server has nothing to send after {at}, and its binlog ends elsewhere: it was reset, or stands still"
    )]
    Elsewhere {
        /// What was read.
        at: String,
    },
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
    #[error("{reason}")]
    Lost {
        /// Why, with what the server has.
        reason: String,
    },
    /// The server lacks transactions that were copied already.
    #[error("the server does not have transactions that were copied already: {gtids}")]
    Errant {
        /// Which.
        gtids: String,
        /// Whether it is the very server that had them: it was reset or restored, and will not catch up.
        reset: bool,
    },
    /// The server refuses to send its log on.
    #[error("the server does not send its binlog on: {text}")]
    Refused {
        /// Why.
        refusal: Refusal,
        /// Its text.
        text: String,
    },
    /// Another reader came with the same id.
    #[error(
        "another reader connected with server_id {id}, and the server sends its binlog to one of them only"
    )]
    SameId {
        /// The id.
        id: u32,
        /// Whether the next attempt takes another one.
        renewed: bool,
    },
}

/// How long a reader that cannot give way waits before it pushes the other one out in turn.
const YIELD: Duration = Duration::from_secs(60);

impl Classify for StreamError {
    fn fault(&self) -> Fault {
        match self {
            StreamError::Server(error) => error.fault(),
            StreamError::Ended
            | StreamError::Silent(_)
            | StreamError::Elsewhere { .. }
            | StreamError::SameId { renewed: true, .. }
            | StreamError::Refused {
                refusal: Refusal::Other | Refusal::SameId,
                ..
            } => Fault::RETRY,
            StreamError::SameId { renewed: false, .. } => Fault::Transient { after: Some(YIELD) },
            StreamError::Checksum { .. }
            | StreamError::Malformed { .. }
            | StreamError::Unknown { .. }
            | StreamError::Incident { .. }
            | StreamError::Cut { .. }
            | StreamError::Lost { .. }
            | StreamError::Errant { .. }
            | StreamError::Refused { .. } => Fault::Fatal,
        }
    }

    fn mended_by_copy(&self) -> bool {
        matches!(
            self,
            StreamError::Lost { .. }
                | StreamError::Errant { reset: true, .. }
                | StreamError::Refused {
                    refusal: Refusal::Gone | Refusal::Beyond,
                    ..
                }
        )
    }

    fn position_lost(&self) -> bool {
        match self {
            StreamError::Lost { .. } | StreamError::Errant { .. } => true,
            StreamError::Refused { refusal, .. } => refusal.loses_position(),
            StreamError::Server(_)
            | StreamError::Ended
            | StreamError::Silent(_)
            | StreamError::Elsewhere { .. }
            | StreamError::Checksum { .. }
            | StreamError::Malformed { .. }
            | StreamError::Unknown { .. }
            | StreamError::Incident { .. }
            | StreamError::Cut { .. }
            | StreamError::SameId { .. } => false,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            StreamError::Server(error) => return error.hint(),
            StreamError::Refused { refusal, .. } => return refusal_hint(*refusal),
            StreamError::Ended
            | StreamError::Silent(_)
            | StreamError::Elsewhere { .. }
            | StreamError::SameId { renewed: true, .. } => return None,
            StreamError::SameId { renewed: false, .. } => {
                "give sources[0].mysql.server_id a number that no other replica and no other replicator of this server has, or remove it; SHOW REPLICAS lists them".to_owned()
            }
            StreamError::Checksum { .. } => {
                "check the server's disk and the network; mysqlbinlog --verify-binlog-checksum tells whether the file itself is damaged".to_owned()
            }
            StreamError::Malformed { .. } => {
                "report this with the server's version; nothing of the event was copied".to_owned()
            }
            StreamError::Unknown { .. } => {
                "the server is newer than this replicator, or has a plugin that writes events of its own: update the replicator".to_owned()
            }
            StreamError::Incident { .. } | StreamError::Cut { .. } => COPY_ANEW.to_owned(),
            StreamError::Lost { .. } => format!("{KEEP_LONGER} {COPY_AGAIN}"),
            StreamError::Errant { reset: true, .. } => COPY_AGAIN.to_owned(),
            StreamError::Errant { reset: false, .. } => format!("{RIGHT_SERVER} {COPY_ANEW}"),
        })
    }
}

const COPY_ANEW: &str =
    "stop the replicator, drop the target tables, remove the checkpoint and start: everything is copied anew";
const COPY_AGAIN: &str = "set sources[0].mysql.on_position_lost to resnapshot and start again: every table is copied beside the stream, and what its target has beyond that is deleted";
const KEEP_LONGER: &str = "keep binlogs longer (binlog_expire_logs_seconds; on Aurora and RDS CALL mysql.rds_set_configuration('binlog retention hours', 72)); then, unless sources[0].mysql.url names another server than before by mistake,";
const RIGHT_SERVER: &str = "connect to the server that has them (a replica that is behind is waited for), or, if a failover or a RESET lost them for good,";

/// What to do about a refusal; `None` where waiting is the cure.
fn refusal_hint(refusal: Refusal) -> Option<String> {
    Some(match refusal {
        Refusal::Gone | Refusal::Beyond => format!("{KEEP_LONGER} {COPY_AGAIN}"),
        Refusal::Errant => format!("{RIGHT_SERVER} {COPY_ANEW}"),
        Refusal::Mode => "set gtid_mode=ON_PERMISSIVE at the server (OFF_PERMISSIVE, if it is OFF) until what was written under another mode is copied: that goes on by itself".to_owned(),
        Refusal::TooLarge => "raise max_allowed_packet at the server, up to 1 GiB: SET GLOBAL max_allowed_packet = 1073741824".to_owned(),
        Refusal::Damaged => "check the server's disk: mysqlbinlog --verify-binlog-checksum tells where the file is damaged".to_owned(),
        Refusal::NoLog => "start the server with log_bin and a server_id other than 0 (`replicator check` says what else it needs)".to_owned(),
        Refusal::SameId | Refusal::Other => return None,
    })
}
