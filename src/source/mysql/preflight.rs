//! Judges, before anything is written, whether a server can be copied and followed: every finding at
//! once, each with its cure. Pure: what was read comes in, what to think of it comes out.

use std::collections::BTreeSet;

use mysql_async::Conn;

use super::catalog::CatalogTable;
use super::catalog_read::{self, Cascade, TableFacts};
use super::chunks::KeyPlan;
use super::error::MysqlError;
use super::grants::Grants;
use super::lexer::Dialect;
use super::quoting::quoted_pattern;
use super::server::{Flavour, ServerInfo};
use crate::config::{Overrides, SnapshotMode, TableMode, TablePatterns};
use crate::event::TableId;
use crate::source::{Finding, Severity};

mod lists;
pub mod position;

use lists::{account, excluded, names, shortened};

/// Everything that is judged.
#[derive(Debug)]
pub struct Facts {
    /// The server.
    pub server: ServerInfo,
    /// The user's grants.
    pub grants: Grants,
    /// Captured tables that exist.
    pub tables: Vec<TableFacts>,
    /// Their columns.
    pub catalog: Vec<CatalogTable>,
    /// Foreign keys that change captured tables.
    pub cascades: Vec<Cascade>,
}

impl Facts {
    /// Reads everything; a table that the user may not see is not among them.
    ///
    /// # Errors
    /// [`MysqlError`] of the queries; missing grants are findings, not errors.
    pub async fn read(conn: &mut Conn, patterns: &TablePatterns) -> Result<Facts, MysqlError> {
        let server = ServerInfo::read(conn).await?;
        let grants = Grants::read(conn, Dialect::of(&server)).await?;
        let tables = catalog_read::list_tables(conn, patterns).await?;
        let catalog = catalog_read::read_tables(conn, patterns).await?;
        let cascades = match server.hidden_cascades {
            true => {
                let ids: Vec<&TableId> = tables.iter().map(|table| &table.id).collect();
                catalog_read::read_cascades(conn, &ids).await?
            }
            false => Vec::new(),
        };
        Ok(Facts {
            server,
            grants,
            tables,
            catalog,
            cascades,
        })
    }
}

/// What a finding about the grant that only tables without a primary key need is called.
pub const KEYLESS_GRANT: &str = "grant LOCK TABLES for tables without a primary key";

/// A log that is kept for less than this is gone before a weekend's outage is noticed.
const SHORT_RETENTION_SECONDS: u64 = 24 * 3600;

/// Judges a server: first the server's settings, then grants, then tables.
pub fn judge(
    facts: &Facts,
    patterns: &TablePatterns,
    snapshot: SnapshotMode,
    overrides: &Overrides,
) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    findings.server(&facts.server);
    findings.log(&facts.server);
    findings.retention(&facts.server);
    findings.position(&facts.server);
    findings.grants(facts);
    findings.select(facts, snapshot);
    findings.patterns(facts, patterns);
    findings.keys(facts, overrides);
    findings.versioned(facts);
    findings.engines(facts);
    findings.cascades(facts);
    findings.0
}

struct Findings(Vec<Finding>);

/// The cure of a setting.
fn setting(name: &str, value: &str) -> String {
    format!(
        "SET GLOBAL {name} = '{value}' (and in the server's configuration); sessions that are open keep the old \
         value until they reconnect"
    )
}

impl Findings {
    fn add(&mut self, severity: Severity, subject: &str, text: impl Into<String>, cure: impl Into<String>) {
        self.0.push(Finding {
            severity,
            subject: subject.to_owned(),
            text: text.into(),
            cure: cure.into(),
        });
    }

    fn ok(&mut self, subject: &str, text: impl Into<String>) {
        self.add(Severity::Ok, subject, text, "");
    }

    fn server(&mut self, server: &ServerInfo) {
        let name = match server.flavour {
            Flavour::Mysql => "MySQL",
            Flavour::MariaDb => "MariaDB",
        };
        let oldest = match server.flavour {
            Flavour::Mysql => (8, 0, 1),
            Flavour::MariaDb => (10, 5, 0),
        };
        let text = format!("{name} {}", server.version_text);
        match server.version >= oldest {
            true => self.ok("server", text),
            false => self.add(
                Severity::Warning,
                "server",
                format!("{text}: older than this program is tested with"),
                format!("upgrade to {name} {}.{} or later", oldest.0, oldest.1),
            ),
        }
    }

    fn log(&mut self, server: &ServerInfo) {
        if !server.log_bin {
            return self.add(
                Severity::Error,
                "log_bin",
                "the server writes no binary log",
                "start the server with log_bin (Amazon RDS: turn on automated backups; Aurora: set binlog_format=ROW \
                 in the cluster parameter group and reboot the writer); a reader of Aurora has no log: use the writer",
            );
        }
        match server.binlog_format.as_str() {
            "ROW" => self.ok("binlog_format", "ROW"),
            other => self.add(
                Severity::Error,
                "binlog_format",
                format!("{other}: the log holds statements, not rows"),
                setting("binlog_format", "ROW"),
            ),
        }
        match server.binlog_row_image.as_str() {
            "FULL" | "" => self.ok("binlog_row_image", "FULL"),
            other => self.add(
                Severity::Error,
                "binlog_row_image",
                format!("{other}: rows in the log lack columns"),
                setting("binlog_row_image", "FULL"),
            ),
        }
        match server.binlog_row_value_options.as_str() {
            "" => {}
            "PARTIAL_JSON" => self.ok(
                "binlog_row_value_options",
                "PARTIAL_JSON: JSON values may come as differences, which are applied",
            ),
            other => self.add(
                Severity::Error,
                "binlog_row_value_options",
                format!("{other}: values come in a form that this version does not read"),
                setting("binlog_row_value_options", ""),
            ),
        }
        self.metadata(server);
        if server.binlog_checksum != "CRC32" {
            self.add(
                Severity::Warning,
                "binlog_checksum",
                format!("{}: damage to the log stays unseen", server.binlog_checksum),
                setting("binlog_checksum", "CRC32"),
            );
        }
    }

    fn metadata(&mut self, server: &ServerInfo) {
        let found = match server.binlog_row_metadata.as_deref() {
            Some("FULL") => {
                return self.ok(
                    "binlog_row_metadata",
                    "FULL: the log describes its columns, and schema changes are followed from it",
                );
            }
            found => found,
        };
        let more = match found {
            Some("MINIMAL") => "",
            _ => ", nor say whether numbers are UNSIGNED and how texts are encoded",
        };
        self.add(
            Severity::Warning,
            "binlog_row_metadata",
            format!(
                "{}: the log does not name its columns{more}; they are taken from the catalog as long as it \
                 fits, and a table whose columns change is parked where it does not",
                found.unwrap_or("not known to this server"),
            ),
            match found {
                Some(_) => setting("binlog_row_metadata", "FULL"),
                None => "upgrade the server: MySQL has it since 8.0.1, MariaDB since 10.5".to_owned(),
            },
        );
    }

    fn retention(&mut self, server: &ServerInfo) {
        if let Some(hours) = server.rds_retention_hours
            && u64::from(hours) * 3600 < SHORT_RETENTION_SECONDS
        {
            let kept = match hours {
                0 => "purged as soon as possible".to_owned(),
                hours => format!("kept for {hours} h"),
            };
            return self.add(
                Severity::Warning,
                "binlog retention hours",
                format!("log files are {kept}: an outage longer than that needs a new snapshot"),
                "CALL mysql.rds_set_configuration('binlog retention hours', 72)",
            );
        }
        if let Some(seconds) = server.log_expires_after
            && (1..SHORT_RETENTION_SECONDS).contains(&seconds)
        {
            let (name, value) = match server.flavour {
                Flavour::Mysql => ("binlog_expire_logs_seconds", "259200"),
                Flavour::MariaDb => ("expire_logs_days", "3"),
            };
            self.add(
                Severity::Warning,
                name,
                format!(
                    "log files are kept for {seconds} s: an outage longer than that needs a new snapshot"
                ),
                format!("SET GLOBAL {name} = {value}"),
            );
        } else if let Some(kept) = server.log_kept() {
            self.ok(
                "binlog retention",
                format!("log files are kept for {} h", kept.as_secs() / 3600),
            );
        }
    }

    fn position(&mut self, server: &ServerInfo) {
        match server.flavour {
            Flavour::Mysql if server.has_gtids() => self.ok(
                "gtid_mode",
                "ON: the position survives a failover, and snapshots take no lock",
            ),
            Flavour::Mysql if server.log_bin => self.add(
                Severity::Warning,
                "gtid_mode",
                format!(
                    "{}: positions are file and offset, which a failover invalidates; each table's snapshot \
                     locks it against writes for a moment",
                    server.gtid_mode
                ),
                "turn GTIDs on step by step: enforce_gtid_consistency=ON, then gtid_mode OFF_PERMISSIVE, \
                 ON_PERMISSIVE, ON",
            ),
            Flavour::MariaDb if server.log_bin => self.ok(
                "gtid",
                "positions survive a failover to a server with log_slave_updates; each table's snapshot locks it \
                 against writes for a moment",
            ),
            Flavour::Mysql | Flavour::MariaDb => {}
        }
    }

    fn grants(&mut self, facts: &Facts) {
        let account = account(facts);
        let wanted: [(&str, &[&str]); 2] = match facts.server.flavour {
            Flavour::Mysql => [
                ("REPLICATION SLAVE", &["REPLICATION SLAVE"]),
                ("REPLICATION CLIENT", &["REPLICATION CLIENT"]),
            ],
            Flavour::MariaDb => [
                ("REPLICATION SLAVE", &["REPLICATION SLAVE"]),
                ("BINLOG MONITOR", &["BINLOG MONITOR", "REPLICATION CLIENT"]),
            ],
        };
        for (name, names) in wanted {
            match facts.grants.has_global(names) {
                true => self.ok(&format!("grant {name}"), "held"),
                false => self.add(
                    Severity::Error,
                    &format!("grant {name}"),
                    "missing: the log cannot be read without it",
                    format!("GRANT {name} ON *.* TO {account}"),
                ),
            }
        }
    }

    fn select(&mut self, facts: &Facts, snapshot: SnapshotMode) {
        let account = account(facts);
        let all: Vec<&TableId> = facts.tables.iter().map(|table| &table.id).collect();
        // Without GTIDs, and without a key, the place in the log at which a table is read is known under a lock only.
        let keyless = facts.catalog.iter().filter(|table| !table.is_keyed());
        let locked = match (snapshot, facts.server.has_gtids()) {
            (SnapshotMode::Never, _) => Vec::new(),
            (SnapshotMode::Initial, false) => all.clone(),
            (SnapshotMode::Initial, true) => keyless.map(|table| &table.id).collect(),
        };
        for (privilege, tables) in [("SELECT", all), ("LOCK TABLES", locked)] {
            let missing: Vec<&TableId> = tables
                .iter()
                .copied()
                .filter(|table| !facts.grants.has_on(table, privilege))
                .collect();
            let subject = match (privilege, facts.server.has_gtids()) {
                ("LOCK TABLES", true) => KEYLESS_GRANT.to_owned(),
                _ => format!("grant {privilege}"),
            };
            if missing.is_empty() {
                if privilege == "SELECT" || !tables.is_empty() {
                    self.ok(&subject, format!("held on {} captured tables", tables.len()));
                }
                continue;
            }
            let schemas: BTreeSet<&str> = missing.iter().map(|table| table.schema()).collect();
            let statements: Vec<String> = schemas
                .iter()
                .map(|schema| format!("GRANT {privilege} ON {}.* TO {account}", quoted_pattern(schema)))
                .collect();
            let text = format!("missing on {}", names(missing.iter().copied()));
            self.add(Severity::Error, &subject, text, statements.join("; "));
        }
    }

    fn patterns(&mut self, facts: &Facts, patterns: &TablePatterns) {
        let existing: BTreeSet<&TableId> = facts.tables.iter().map(|table| &table.id).collect();
        for table in patterns.literal() {
            if !existing.contains(&table) && patterns.matches(&table) {
                self.add(
                    Severity::Error,
                    &table.to_string(),
                    "the table does not exist, or the user may not see it",
                    format!(
                        "check the spelling (names compare as written), or \
                         GRANT SELECT ON {}.* TO {}",
                        quoted_pattern(table.schema()),
                        account(facts)
                    ),
                );
            }
        }
        if facts.tables.is_empty() {
            self.add(
                Severity::Warning,
                "tables",
                "no table matches the configured patterns yet: nothing is copied until one is made",
                "check the source's tables, and that the user holds SELECT on them: a table without a grant is invisible",
            );
        } else {
            let total = |of: fn(&TableFacts) -> u64| facts.tables.iter().map(of).fold(0, u64::saturating_add);
            let (rows, bytes) = (
                total(|table| table.estimate.rows),
                total(|table| table.estimate.bytes),
            );
            self.ok(
                "tables",
                format!(
                    "{} tables, about {rows} rows and {} MB",
                    facts.tables.len(),
                    bytes / 1_000_000
                ),
            );
        }
    }

    fn keys(&mut self, facts: &Facts, overrides: &Overrides) {
        let (mut keyless, mut wrong, mut unfit) = (Vec::new(), Vec::new(), Vec::new());
        for table in &facts.catalog {
            let is_upsert = overrides.mode(&table.id) == Some(TableMode::Upsert);
            match (table.is_keyed(), KeyPlan::new(table)) {
                (false, _) if is_upsert => wrong.push(&table.id),
                (false, _) => keyless.push(&table.id),
                (true, Ok(_)) => {}
                (true, Err(error)) => unfit.push((&table.id, error.to_string())),
            }
        }
        if !wrong.is_empty() {
            let text = format!(
                "mode: upsert needs one; without: {}",
                names(wrong.iter().copied())
            );
            let cure = format!(
                "add a primary key to each, write mode: append for them, or exclude them: tables: [{}]",
                excluded(&wrong)
            );
            self.add(Severity::Error, "primary key", text, cure);
        }
        if !keyless.is_empty() {
            self.add(
                Severity::Warning,
                "primary key",
                format!(
                    "each change of a table without one is added to its target, at least once, and a view shows each once; \
                     without: {}",
                    names(keyless.iter().copied())
                ),
                "add a primary key to each (a UNIQUE index is none), or query the view <table>_latest",
            );
        }
        for (table, text) in unfit {
            let cure = format!("exclude it: tables: [{}]", excluded(&[table]));
            self.add(Severity::Error, &table.to_string(), text, cure);
        }
    }

    fn versioned(&mut self, facts: &Facts) {
        let versioned = facts.tables.iter().filter(|table| table.versioned);
        let tables: Vec<&TableId> = versioned.map(|table| &table.id).collect();
        if !tables.is_empty() {
            self.add(
                Severity::Error,
                "system versioning",
                format!(
                    "tables that keep their history are not copied: {}",
                    names(tables.iter().copied())
                ),
                format!(
                    "exclude them: tables: [{}], or ALTER TABLE … DROP SYSTEM VERSIONING",
                    excluded(&tables)
                ),
            );
        }
    }

    fn engines(&mut self, facts: &Facts) {
        let transactional = |engine: &str| {
            ["InnoDB", "RocksDB", "TokuDB", "ndbcluster"]
                .iter()
                .any(|name| engine.eq_ignore_ascii_case(name))
        };
        let others: Vec<String> = facts
            .tables
            .iter()
            .filter(|table| !transactional(&table.engine))
            .map(|table| format!("{} ({})", table.id, table.engine))
            .collect();
        if !others.is_empty() {
            self.add(
                Severity::Warning,
                "engine",
                format!(
                    "not transactional: {}. A statement that fails halfway leaves rows, and a snapshot is no consistent read",
                    shortened(&others)
                ),
                "ALTER TABLE … ENGINE=InnoDB",
            );
        }
    }

    fn cascades(&mut self, facts: &Facts) {
        let hidden: Vec<String> = facts.cascades.iter().map(ToString::to_string).collect();
        if !hidden.is_empty() {
            self.add(
                Severity::Warning,
                "foreign keys",
                format!(
                    "rows that these foreign keys change by themselves are not in the log: {}",
                    shortened(&hidden)
                ),
                Cascade::CURE,
            );
        }
    }
}

#[cfg(test)]
mod tests;
