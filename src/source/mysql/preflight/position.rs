//! Judges whether the server still has what comes after a checkpoint's position. What is judged here by
//! names and sets, opening the log proves by content.

use super::{Finding, Severity};
use crate::event::LogPosition;
use crate::source::mysql::server::ServerInfo;
use crate::source::mysql::stream::raw;

/// What keeps a log from being purged too early.
const KEEP: &str = "start copying soon, and keep the log longer: SET PERSIST binlog_expire_logs_seconds = 604800, or on Amazon RDS and Aurora CALL mysql.rds_set_configuration('binlog retention hours', 168)";
/// What is left where it was.
const LOST: &str =
    "see Position lost in docs/operations.md: connect to the server that has it, or copy everything anew";

/// Judges a position.
pub fn judge(server: &ServerInfo, position: &LogPosition) -> Finding {
    let (severity, text, cure) = match missing(server, position) {
        Some(text) => (Severity::Error, text, LOST),
        None if is_oldest(server, position) => (
            Severity::Warning,
            format!("{position} is in the oldest log file that is left: the next purge takes it"),
            KEEP,
        ),
        None => (
            Severity::Ok,
            format!("{position}: the server has what comes after it"),
            "",
        ),
    };
    Finding {
        severity,
        subject: "position".to_owned(),
        text,
        cure: cure.to_owned(),
    }
}

/// What the server lacks; `None` if nothing.
fn missing(server: &ServerInfo, position: &LogPosition) -> Option<String> {
    let sets = (&position.gtids, &server.gtid_executed, &server.gtid_purged);
    if let (Some(ours), Some(executed), Some(purged)) = sets {
        let (gone, ahead) = (purged.subtract(ours), ours.subtract(executed));
        return if !ahead.is_empty() {
            Some(format!(
                "the server does not have transactions that were copied already: {ahead}"
            ))
        } else if gone.is_empty() {
            None
        } else {
            Some(format!(
                "the server purged transactions that were not copied: {gone}"
            ))
        };
    }
    let held = server.logs.iter().any(|file| *file.name == *position.file_name);
    (!held).then(|| format!("the server does not have {position}"))
}

fn is_oldest(server: &ServerInfo, position: &LogPosition) -> bool {
    let (Some(oldest), Some(newest)) = (server.logs.first(), server.logs.last()) else {
        return false;
    };
    let purged = raw::suffix(&oldest.name).is_some_and(|number| number > 1);
    purged && *oldest.name == *position.file_name && oldest.name != newest.name
}
