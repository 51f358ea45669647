//! The configuration as the program uses it: parsed, validated, defaults filled in, so that no other
//! module checks a setting again. The way of a file: YAML → `template` (fills in `${…}`) and `shape`
//! (known keys, right kinds) → `raw` → `validate` → [`Config`], every mistake on the way in one list.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use crate::event::TableId;

mod auth;
mod changes;
mod duration;
mod dynamodb;
mod error;
mod load;
mod promoted;
mod raw;
mod secret;
mod shape;
mod tables;
mod target;
mod template;
mod url;
mod validate;
mod values;

pub use changes::{AddedDefault, Adding, Incompatible, Renaming, SchemaChanges};
pub use dynamodb::{DynamodbSource, ExportPlace, FirstLoad, Layout, Role, ScanLimits};
pub use error::{ConfigError, ConfigErrors};
pub use load::{load, parse, process_env, schema};
pub use promoted::{Path, Promoted, PromotedType, Step};
pub use secret::Secret;
pub use tables::{Overrides, PatternError, TableMode, TablePatterns, name_matches, shadow_of};
pub use values::{ValuePolicy, Values};

/// Everything that `replicator run` needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Names the checkpoint, the metrics' label and the trace id: `[a-z0-9_-]{1,40}`.
    pub pipeline: String,
    /// The one source.
    pub source: SourceConfig,
    /// Where rows go.
    pub sink: BigQuerySink,
    /// What becomes of values that the target cannot hold.
    pub values: Values,
    /// What is done where the source's tables change.
    pub schema_changes: SchemaChanges,
    /// What is said of single tables.
    pub tables: Overrides,
    /// Where the checkpoint is kept.
    pub checkpoint: CheckpointPlace,
    /// Where health and metrics are served.
    pub http: SocketAddr,
}

/// Where a checkpoint is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckpointPlace {
    /// In a directory on a disk that outlives the process.
    Directory(PathBuf),
    /// In a bucket.
    Bucket {
        /// Whose.
        kind: BucketKind,
        /// The URL as configured: scheme, bucket, folder.
        url: String,
        /// The folder in the bucket, without slashes around it; empty for none.
        folder: String,
    },
}

/// Whose bucket it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BucketKind {
    /// S3, or a server that speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Gcs,
}

/// Where rows come from.
#[derive(Debug, Clone)]
pub enum SourceConfig {
    /// A MySQL or MariaDB server.
    Mysql(MysqlSource),
    /// DynamoDB tables.
    Dynamodb(DynamodbSource),
}

impl SourceConfig {
    /// The source's name in the configuration.
    pub fn name(&self) -> &str {
        match self {
            SourceConfig::Mysql(source) => &source.name,
            SourceConfig::Dynamodb(source) => &source.name,
        }
    }

    /// Whether tables are copied before they are followed.
    pub fn copies(&self) -> bool {
        match self {
            SourceConfig::Mysql(source) => source.snapshot.mode == SnapshotMode::Initial,
            SourceConfig::Dynamodb(source) => source.first_load != FirstLoad::None,
        }
    }

    /// Whether every table is copied again where the source no longer continues what was read of it.
    pub fn copied_when_lost(&self) -> bool {
        match self {
            SourceConfig::Mysql(source) => source.copied_when_lost,
            SourceConfig::Dynamodb(_) => false,
        }
    }

    /// Pieces of tables that are read at the same time by the first copy; 1…64.
    pub fn parallelism(&self) -> usize {
        match self {
            SourceConfig::Mysql(source) => source.snapshot.parallelism,
            SourceConfig::Dynamodb(source) => source.parallelism,
        }
    }

    /// How far a replica that is read may be behind while chunks are read.
    pub fn max_replica_lag(&self) -> Option<Duration> {
        match self {
            SourceConfig::Mysql(source) => source.snapshot.max_replica_lag,
            SourceConfig::Dynamodb(_) => None,
        }
    }

    /// Rows that copies read in a second. DynamoDB's Scans have a limit of their own, in read units.
    pub fn max_rows_per_second(&self) -> Option<NonZeroU64> {
        match self {
            SourceConfig::Mysql(source) => source.snapshot.max_rows_per_second,
            SourceConfig::Dynamodb(_) => None,
        }
    }
}

/// A MySQL or MariaDB server and what is read from it.
#[derive(Debug, Clone)]
pub struct MysqlSource {
    /// The source's name in the configuration.
    pub name: String,
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// User name.
    pub user: String,
    /// How the user proves who it is.
    pub login: Login,
    /// Transport security.
    pub tls: Tls,
    /// Which tables are captured.
    pub tables: TablePatterns,
    /// How the first copy is made.
    pub snapshot: Snapshot,
    /// `server_id` of the binlog reader; `None`: derived from the pipeline's name and a random part.
    pub server_id: Option<u32>,
    /// Whether every table is copied again where the log no longer continues what was read of it.
    pub copied_when_lost: bool,
}

/// How a user of a MySQL server proves who it is, at every connection anew.
#[derive(Debug, Clone)]
pub enum Login {
    /// With a password, read anew where it comes from a file.
    Password(Secret),
    /// With a token that is signed for each connection with the process's AWS credentials, as RDS and
    /// Aurora take it (<https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.html>).
    RdsIam,
}

/// Transport security of a MySQL connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// How much is verified.
    pub mode: TlsMode,
    /// PEM file of trusted certificates; `None`: the system's.
    pub ca: Option<PathBuf>,
}

/// How much of the server's certificate is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// No TLS.
    Disabled,
    /// TLS, any certificate.
    Required,
    /// TLS, certificate signed by a trusted authority.
    VerifyCa,
    /// TLS, certificate signed by a trusted authority for this host name.
    VerifyIdentity,
}

/// How the first copy of a table is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Whether there is one.
    pub mode: SnapshotMode,
    /// Chunks read at the same time, over all tables; 1…64.
    pub parallelism: usize,
    /// Rows a chunk holds, at least 1.
    pub chunk_rows: u64,
    /// Rows that are read in a second, over all tables; `None`: as many as can be.
    pub max_rows_per_second: Option<NonZeroU64>,
    /// How far a replica that is read may be behind while chunks are read; `None`: it does not matter.
    pub max_replica_lag: Option<Duration>,
}

impl Snapshot {
    /// A chunk is read at full speed, so it must be little of what may be read: seconds' worth of rows.
    const CHUNK_SECONDS: u64 = 10;

    /// Rows that a chunk is planned with: those configured, or less where a limit of speed asks for it.
    pub fn rows_planned(&self) -> u64 {
        let limit = |rate: NonZeroU64| rate.get().saturating_mul(Snapshot::CHUNK_SECONDS);
        self.max_rows_per_second
            .map_or(self.chunk_rows, |rate| self.chunk_rows.min(limit(rate)))
    }
}

/// Whether tables are copied before they are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotMode {
    /// Every table that has no finished snapshot is copied.
    Initial,
    /// Tables are followed from the present on; the rows they hold already are left out.
    Never,
}

/// A BigQuery project and how tables are named and written there.
#[derive(Debug, Clone)]
pub struct BigQuerySink {
    /// Project that holds the datasets.
    pub project: String,
    /// Data set name template: literal text, `{schema}`, `{source}`.
    pub dataset: String,
    /// Table name template: literal text, `{table}`, `{schema}`, `{source}`.
    pub table: String,
    /// Location of data sets that are created.
    pub location: Option<String>,
    /// Project that queries are billed to; `project` unless set.
    pub jobs_project: String,
    /// `max_staleness` of target tables.
    pub max_staleness: Staleness,
    /// Where tokens come from.
    pub auth: Auth,
    /// Whose tokens are used in the end, unless those of `auth` itself.
    pub impersonate: Option<Impersonation>,
    /// Where the REST API is: `https://bigquery.googleapis.com` unless set. Never ends in a slash.
    pub rest: String,
    /// Where the Storage Write API is: `https://bigquerystorage.googleapis.com` unless set.
    pub write: String,
}

/// `max_staleness` of target tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Staleness {
    /// Of tables that are created; zero: none.
    Fixed(Duration),
    /// Of all tables, chosen from sizes, rates of change and prices.
    Auto {
        /// What applies of all tables may cost in a month, in hundredths of a US dollar.
        budget_cents: Option<u64>,
    },
}

impl Staleness {
    /// The longest that is chosen. BigQuery documents no end; deletions are remembered for two days, and what waits
    /// longer than that to be applied would come near it.
    pub const LONGEST: Duration = Duration::from_secs(86_400);

    /// What a table is created with, which is about to be loaded.
    pub fn of_new_tables(self) -> Duration {
        match self {
            Staleness::Fixed(value) => value,
            Staleness::Auto { .. } => Staleness::LONGEST,
        }
    }
}

/// Where tokens for Google's API come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// Application default credentials.
    Adc,
    /// A service account's key, as JSON.
    ServiceAccount(Secret),
    /// No token: the emulator.
    None,
}

/// A service account that is acted as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Impersonation {
    /// Its email address.
    pub account: String,
    /// Email addresses of the accounts on the way to it, each of which may act as the next.
    pub delegates: Vec<String>,
}

impl Config {
    /// The target of a source table, before names are made legal: (data set, table).
    pub fn target(&self, table: &TableId) -> (String, String) {
        let fill = |template: &str| {
            template
                .replace("{schema}", table.schema())
                .replace("{table}", table.name())
                .replace("{source}", self.source.name())
        };
        (fill(&self.sink.dataset), fill(&self.sink.table))
    }
}

#[cfg(test)]
mod tests;
