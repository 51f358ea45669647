//! What a server says about itself, read once per connection that needs it: the ground on which
//! [`super::preflight`] judges and the reader of the log chooses how to go on.

use std::collections::HashMap;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};

use super::domains::{Domains, read_domains};
use super::error::MysqlError;
use crate::event::{GtidSet, Seen};

/// Whose server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// MySQL, also Percona Server and Aurora.
    Mysql,
    /// MariaDB.
    MariaDb,
}

/// A binary log file, or a place in one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// The file's name without folder: `binlog.000001`.
    pub name: String,
    /// Its size, or the offset of the place, in bytes.
    pub bytes: u64,
}

/// A server's identity, log and settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInfo {
    /// Whose server it is.
    pub flavour: Flavour,
    /// `VERSION()` as it is.
    pub version_text: String,
    /// Major, minor, patch.
    pub version: (u16, u16, u16),
    /// Identity of a MySQL server; MariaDB has none.
    pub server_uuid: Option<String>,
    /// `server_id`.
    pub server_id: u32,
    /// Whether there is a binary log.
    pub log_bin: bool,
    /// `binlog_format`, upper case: `ROW`, `STATEMENT`, `MIXED`.
    pub binlog_format: String,
    /// `binlog_row_image`, upper case.
    pub binlog_row_image: String,
    /// `binlog_row_metadata`, upper case; `None` where the server does not know it.
    pub binlog_row_metadata: Option<String>,
    /// `binlog_row_value_options`: empty or `PARTIAL_JSON`.
    pub binlog_row_value_options: String,
    /// `binlog_checksum`, upper case: `CRC32` or `NONE`.
    pub binlog_checksum: String,
    /// `gtid_mode` of MySQL, upper case; empty on MariaDB.
    pub gtid_mode: String,
    /// `lower_case_table_names`: 0 as written, 1 lower case, 2 stored as written and compared in lower case.
    pub lower_case_table_names: u8,
    /// Every executed transaction; `None` unless `gtid_mode` is ON.
    pub gtid_executed: Option<GtidSet>,
    /// Executed transactions that are no longer in the log, whatever the `gtid_mode`; `None` on MariaDB.
    pub gtid_purged: Option<GtidSet>,
    /// MariaDB's identifiers.
    pub domains: Option<Domains>,
    /// The end of the log; `None` without a log or without the grant.
    pub current: Option<LogFile>,
    /// The files of the log, oldest first; empty without a log or without the grant.
    pub logs: Vec<LogFile>,
    /// `max_allowed_packet` in bytes.
    pub max_allowed_packet: u64,
    /// Global `sql_mode`.
    pub sql_mode: String,
    /// After how many seconds a log file may be purged; 0: never; `None`: unknown.
    pub log_expires_after: Option<u64>,
    /// Hours that Amazon RDS or Aurora keeps the log; `None` outside them or unless readable, zero: purged at once.
    pub rds_retention_hours: Option<u32>,
    /// Whether InnoDB runs foreign key cascades itself, where the log cannot see them.
    pub hidden_cascades: bool,
}

/// Server errors that stand for "no grant" or "no binary log" in answers to SHOW statements.
const NO_ANSWER: [u16; 3] = [1227, 1142, 1381];

const VARIABLES: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('server_uuid', 'server_id', \
     'log_bin', 'binlog_format', 'binlog_row_image', 'binlog_row_metadata', 'binlog_row_value_options', \
     'binlog_checksum', 'gtid_mode', 'lower_case_table_names', 'max_allowed_packet', 'sql_mode', \
     'binlog_expire_logs_seconds', 'binlog_expire_logs_auto_purge', 'expire_logs_days', \
     'innodb_native_foreign_keys', 'aurora_version', 'basedir')";

impl ServerInfo {
    /// Reads everything from the server.
    ///
    /// # Errors
    /// [`MysqlError`] of the queries; a missing grant for the log's state is no error.
    pub async fn read(conn: &mut Conn) -> Result<ServerInfo, MysqlError> {
        let version_text: String = conn
            .query_first("SELECT VERSION()")
            .await?
            .ok_or_else(|| unexpected("SELECT VERSION()", "no row"))?;
        let rows: Vec<(String, String)> = conn.query(VARIABLES).await?;
        let variables = Variables(
            rows.into_iter()
                .map(|(name, value)| (name.to_ascii_lowercase(), value))
                .collect(),
        );
        let mut info = variables.info(version_text);
        info.read_gtids(conn).await?;
        info.current = read_end(conn, info.end_statement()).await?;
        info.logs = read_logs(conn).await?;
        if variables.is_rds() {
            info.rds_retention_hours = read_rds_retention(conn).await?;
        }
        Ok(info)
    }

    /// How long the log is kept after it was written; `None`: for ever, or nobody says.
    pub fn log_kept(&self) -> Option<Duration> {
        let rds = self.rds_retention_hours.map(|hours| u64::from(hours) * 3600);
        let seconds = rds.or(self.log_expires_after)?;
        // RDS without hours purges at once what no replica of its own needs: no time can be told.
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }

    /// Whether transactions carry GTIDs that this program works with.
    pub fn has_gtids(&self) -> bool {
        self.gtid_executed.is_some()
    }

    /// What it has executed, of MariaDB what it has logged; `None` without identifiers.
    pub fn into_seen(self) -> Option<Seen> {
        let domains = self.domains.map(|domains| domains.binlog);
        let domains = domains.filter(|log| !log.is_empty()).map(Seen::Domains);
        self.gtid_executed.map(Seen::Gtids).or(domains)
    }

    async fn read_gtids(&mut self, conn: &mut Conn) -> Result<(), MysqlError> {
        match self.flavour {
            Flavour::MariaDb => {
                self.domains = Some(read_domains(conn).await?);
            }
            Flavour::Mysql => {
                // Not from SHOW VARIABLES, which cuts long values.
                let (executed, purged) = read_gtid_sets(conn).await?;
                self.gtid_executed = (self.gtid_mode == "ON").then_some(executed);
                self.gtid_purged = Some(purged);
            }
        }
        Ok(())
    }

    /// The statement that shows where the log ends.
    pub fn end_statement(&self) -> &'static str {
        match self.flavour {
            Flavour::Mysql if self.version >= (8, 2, 0) => "SHOW BINARY LOG STATUS",
            Flavour::Mysql | Flavour::MariaDb => "SHOW MASTER STATUS",
        }
    }
}

/// Where the log ends, by [`ServerInfo::end_statement`]; `None` without a log or without the grant.
///
/// # Errors
/// [`MysqlError`] of the query.
pub async fn read_end(conn: &mut Conn, statement: &'static str) -> Result<Option<LogFile>, MysqlError> {
    let rows = optional(conn.query(statement).await)?;
    rows.first().map(log_file).transpose()
}

/// Reads the executed and the purged set of a MySQL server, in one statement.
///
/// # Errors
/// [`MysqlError`] of the query, or a set that does not parse.
pub async fn read_gtid_sets(conn: &mut Conn) -> Result<(GtidSet, GtidSet), MysqlError> {
    const QUERY: &str = "SELECT @@GLOBAL.gtid_executed, @@GLOBAL.gtid_purged";
    let (executed, purged): (String, String) = conn
        .query_first(QUERY)
        .await?
        .ok_or_else(|| unexpected(QUERY, "no row"))?;
    let parse = |text: &str| {
        text.parse::<GtidSet>()
            .map_err(|error| unexpected(QUERY, &error.to_string()))
    };
    Ok((parse(&executed)?, parse(&purged)?))
}

async fn read_logs(conn: &mut Conn) -> Result<Vec<LogFile>, MysqlError> {
    let rows = optional(conn.query("SHOW BINARY LOGS").await)?;
    rows.iter().map(log_file).collect()
}

/// Hours that Amazon RDS keeps the log, zero for "purged at once". It keeps the setting in a table and shows it by a
/// procedure; where the user may use neither, it stays unknown.
///
/// # Errors
/// [`MysqlError`] of the connection; a refusal is no error.
pub async fn read_rds_retention(conn: &mut Conn) -> Result<Option<u32>, MysqlError> {
    for query in [
        "SELECT name, value FROM mysql.rds_configuration",
        "CALL mysql.rds_show_configuration",
    ] {
        let rows: Vec<Row> = match conn.query(query).await {
            Ok(rows) => rows,
            Err(mysql_async::Error::Server(_)) => continue,
            Err(error) => return Err(error.into()),
        };
        let text = |row: &Row, index| {
            row.get_opt::<Option<String>, _>(index)
                .and_then(Result::ok)
                .flatten()
        };
        let value = rows
            .iter()
            .find(|row| text(row, 0).as_deref() == Some("binlog retention hours"))
            .and_then(|row| text(row, 1));
        return Ok(Some(value.and_then(|text| text.trim().parse().ok()).unwrap_or(0)));
    }
    Ok(None)
}

/// An empty answer where the server has none to give.
fn optional(result: mysql_async::Result<Vec<Row>>) -> Result<Vec<Row>, MysqlError> {
    match result {
        Ok(rows) => Ok(rows),
        Err(mysql_async::Error::Server(error)) if NO_ANSWER.contains(&error.code) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

fn log_file(row: &Row) -> Result<LogFile, MysqlError> {
    let name = row.get_opt::<String, _>(0).and_then(Result::ok);
    let bytes = row.get_opt::<u64, _>(1).and_then(Result::ok);
    match (name, bytes) {
        (Some(name), Some(bytes)) => Ok(LogFile { name, bytes }),
        _ => Err(unexpected("SHOW BINARY LOGS", "not a name and a number")),
    }
}

pub(super) fn unexpected(query: &'static str, reason: &str) -> MysqlError {
    MysqlError::Unexpected {
        query,
        reason: reason.to_owned(),
    }
}

struct Variables(HashMap<String, String>);

impl Variables {
    fn text(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }

    fn upper(&self, name: &str) -> String {
        self.0
            .get(name)
            .map(|text| text.to_ascii_uppercase())
            .unwrap_or_default()
    }

    fn number(&self, name: &str) -> Option<u64> {
        // MariaDB prints expire_logs_days as a decimal.
        let text = self.0.get(name)?;
        text.split('.').next()?.parse().ok()
    }

    fn is_rds(&self) -> bool {
        self.0.contains_key("aurora_version")
            || self
                .0
                .get("basedir")
                .is_some_and(|folder| folder.starts_with("/rdsdbbin"))
    }

    fn info(&self, version_text: String) -> ServerInfo {
        let flavour = match version_text.contains("MariaDB") {
            true => Flavour::MariaDb,
            false => Flavour::Mysql,
        };
        let version = parse_version(&version_text);
        ServerInfo {
            flavour,
            version,
            server_uuid: self.text("server_uuid").filter(|_| flavour == Flavour::Mysql),
            server_id: self
                .number("server_id")
                .and_then(|id| u32::try_from(id).ok())
                .unwrap_or(0),
            log_bin: self.upper("log_bin") == "ON",
            binlog_format: self.upper("binlog_format"),
            binlog_row_image: self.upper("binlog_row_image"),
            binlog_row_metadata: self
                .text("binlog_row_metadata")
                .map(|text| text.to_ascii_uppercase()),
            binlog_row_value_options: self.upper("binlog_row_value_options"),
            binlog_checksum: self.upper("binlog_checksum"),
            gtid_mode: self.upper("gtid_mode"),
            lower_case_table_names: self
                .number("lower_case_table_names")
                .and_then(|mode| u8::try_from(mode).ok())
                .unwrap_or(0),
            gtid_executed: None,
            gtid_purged: None,
            domains: None,
            current: None,
            logs: Vec::new(),
            max_allowed_packet: self.number("max_allowed_packet").unwrap_or(0),
            sql_mode: self.upper("sql_mode"),
            log_expires_after: self.expiry(),
            rds_retention_hours: None,
            hidden_cascades: flavour == Flavour::MariaDb
                || version < (9, 6, 0)
                || self.upper("innodb_native_foreign_keys") == "ON",
            version_text,
        }
    }

    fn expiry(&self) -> Option<u64> {
        if self.upper("binlog_expire_logs_auto_purge") == "OFF" {
            return Some(0);
        }
        let seconds = self.number("binlog_expire_logs_seconds");
        let days = self
            .number("expire_logs_days")
            .map(|days| days.saturating_mul(86_400));
        match (seconds, days) {
            (Some(0) | None, Some(days)) => Some(days),
            (seconds, _) => seconds,
        }
    }
}

/// The first three numbers of a version text; MariaDB's historical prefix `5.5.5-` left out.
fn parse_version(text: &str) -> (u16, u16, u16) {
    let text = text.strip_prefix("5.5.5-").unwrap_or(text);
    let mut numbers = text
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next(), next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(parse_version("9.7.4"), (9, 7, 4));
        assert_eq!(parse_version("8.0.35-27"), (8, 0, 35));
        assert_eq!(parse_version("5.5.5-10.11.19-MariaDB-log"), (10, 11, 19));
        assert_eq!(parse_version("8.4-x"), (8, 4, 0));
        assert_eq!(parse_version(""), (0, 0, 0));
    }

    fn info(version: &str, variables: &[(&str, &str)]) -> ServerInfo {
        let map = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Variables(map).info(version.to_owned())
    }

    #[test]
    fn cascades_are_hidden_before_9_6_and_where_the_old_way_is_kept() {
        assert!(info("8.4.6", &[]).hidden_cascades);
        assert!(info("10.11.19-MariaDB", &[]).hidden_cascades);
        assert!(!info("9.7.4", &[("innodb_native_foreign_keys", "OFF")]).hidden_cascades);
        assert!(info("9.7.4", &[("innodb_native_foreign_keys", "ON")]).hidden_cascades);
    }

    #[test]
    fn expiry_in_seconds_or_days() {
        let seconds = ("binlog_expire_logs_seconds", "2592000");
        assert_eq!(info("8.4.6", &[seconds]).log_expires_after, Some(2_592_000));
        let off = ("binlog_expire_logs_auto_purge", "OFF");
        assert_eq!(info("8.4.6", &[seconds, off]).log_expires_after, Some(0));
        let days = ("expire_logs_days", "10.000000");
        let none = ("binlog_expire_logs_seconds", "0");
        assert_eq!(
            info("10.11.19-MariaDB", &[none, days]).log_expires_after,
            Some(864_000)
        );
    }

    #[test]
    fn what_rds_keeps_goes_before_what_the_server_would() {
        let seconds = ("binlog_expire_logs_seconds", "2592000");
        let mut info = info("8.4.6", &[seconds]);
        assert_eq!(info.log_kept(), Some(Duration::from_secs(2_592_000)));
        info.rds_retention_hours = Some(24);
        assert_eq!(info.log_kept(), Some(Duration::from_secs(86_400)));
        info.rds_retention_hours = Some(0);
        assert_eq!(info.log_kept(), None);
        (info.rds_retention_hours, info.log_expires_after) = (None, Some(0));
        assert_eq!(info.log_kept(), None);
    }
}
