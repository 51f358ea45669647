//! The configuration as it is written: the whole public shape, with no judgement. The shape is also
//! the schema that `replicator schema` prints, and the one that a file is held against before it is
//! read into these types, so every field is optional here and "required" is said by the schema.
//!
//! Nothing here is `Debug`: the URL may hold a password.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::dynamodb::RawDynamodb;
use super::values::RawValues;

/// Configuration of `replicator`. `${VAR}`, `${VAR:-default}` and `${file:/path}` may stand anywhere in
/// a text value; `$${` stands for a literal `${`.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "replicator")]
pub(super) struct RawConfig {
    /// Names the checkpoint, the metrics' label and the trace id: 1 to 40 of `a-z`, `0-9`, `_` and `-`.
    #[schemars(required)]
    pub(super) pipeline: Option<String>,
    /// Where rows come from: exactly one in this version.
    #[schemars(required, with = "Vec<RawSource>")]
    pub(super) sources: Option<Vec<Option<RawSource>>>,
    /// Where rows go.
    #[schemars(required)]
    pub(super) sink: Option<RawSink>,
    /// What becomes of values that BigQuery cannot hold.
    pub(super) values: Option<RawValues>,
    /// Overrides by table pattern (`schema.table` with `*` and `?`), first match wins.
    pub(super) tables: Option<InOrder<RawTable>>,
    /// What follows a change of a table's columns, a new table, a TRUNCATE.
    pub(super) schema_changes: Option<RawSchemaChanges>,
    /// Where durable state is: `file://` and an absolute directory.
    #[schemars(required)]
    pub(super) checkpoint: Option<String>,
    /// Address and port of health, metrics and the status page; `0.0.0.0:8080` unless set.
    pub(super) http: Option<String>,
    /// Notices. Not in this version.
    pub(super) notify: Option<Vec<RawNotice>>,
}

/// One source: a name and exactly one kind.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Source")]
pub(super) struct RawSource {
    /// The source's name, `{source}` in templates: 1 to 40 of `a-z`, `0-9`, `_` and `-`.
    #[schemars(required)]
    pub(super) name: Option<String>,
    /// A MySQL or MariaDB server.
    pub(super) mysql: Option<RawMysql>,
    /// DynamoDB tables of one account and region.
    pub(super) dynamodb: Option<RawDynamodb>,
}

/// A MySQL or MariaDB server and what is read from it.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Mysql")]
pub(super) struct RawMysql {
    /// `mysql://user:password@host:port`; the port is 3306 unless set. Literal text in user and password
    /// is percent-decoded, what `${…}` puts there is not. A password that is `${file:/path}` and nothing
    /// else is read anew for each connection.
    #[schemars(required)]
    pub(super) url: Option<String>,
    /// How the replicator proves who it is: `password` unless set.
    pub(super) auth: Option<MysqlAuth>,
    /// Transport security.
    pub(super) tls: Option<RawTls>,
    /// Which tables are captured: `schema.table` with `*` and `?`; a leading `!` excludes. System schemas
    /// never are.
    #[schemars(required, with = "Vec<String>")]
    pub(super) tables: Option<Vec<Option<String>>>,
    /// The first copy.
    pub(super) snapshot: Option<RawSnapshot>,
    /// `server_id` of the binlog reader, 1 to 4294967295, unique among the server's replicas; derived
    /// from the pipeline's name and a random part unless set.
    pub(super) server_id: Option<u64>,
    /// What follows when the server's log no longer continues what was read of it: `stop` unless set.
    pub(super) on_position_lost: Option<OnPositionLost>,
}

/// What follows when the server's log no longer continues what was read of it.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum OnPositionLost {
    /// Nothing is copied any more; the process lives, says so, and goes on if the log comes back.
    Stop,
    /// Every table is copied again, from where the log is by then; what its target has beyond that is deleted.
    Resnapshot,
}

/// How a MySQL connection authenticates.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum MysqlAuth {
    /// With the URL's user and password.
    Password,
    /// With a token that is signed for each connection with the process's AWS credentials, for RDS and
    /// Aurora. The URL names the user and no password, and the server's certificate is verified.
    RdsIam,
}

/// Transport security of a connection.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Tls")]
pub(super) struct RawTls {
    /// How much of the server's certificate is verified: `verify_identity` unless set.
    pub(super) mode: Option<RawTlsMode>,
    /// PEM file of trusted certificates, absolute; the system's unless set.
    pub(super) ca: Option<String>,
}

/// How much of the server's certificate is verified.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "TlsMode")]
pub(super) enum RawTlsMode {
    /// No TLS.
    Disabled,
    /// TLS with any certificate.
    Required,
    /// TLS with a certificate signed by a trusted authority.
    VerifyCa,
    /// TLS with a certificate signed by a trusted authority for this host name.
    VerifyIdentity,
}

/// The first copy of a table.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Snapshot")]
pub(super) struct RawSnapshot {
    /// Whether there is one: `initial` unless set.
    pub(super) mode: Option<RawSnapshotMode>,
    /// Chunks read at the same time over all tables, 1 to 64; 4 unless set.
    pub(super) parallelism: Option<u64>,
    /// Rows in a chunk, at least 1; 50000 unless set.
    pub(super) chunk_rows: Option<u64>,
    /// Rows read in a second over all tables, at least 1; as many as can be unless set.
    pub(super) max_rows_per_second: Option<u64>,
    /// Where a replica is read: how far it may be behind for a chunk to begin, such as `30s`; no limit unless set.
    pub(super) max_replica_lag: Option<String>,
}

/// Whether tables are copied before they are followed.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "SnapshotMode")]
pub(super) enum RawSnapshotMode {
    /// Every table without a finished copy is copied.
    Initial,
    /// Tables are followed from the present on; the rows they hold already are left out.
    Never,
    /// Copied again when the log no longer reaches back. Not in this version.
    WhenNeeded,
}

/// The target: exactly one kind.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Sink")]
pub(super) struct RawSink {
    /// A BigQuery project.
    #[schemars(required)]
    pub(super) bigquery: Option<RawBigquery>,
}

/// A BigQuery project and how tables are named and written there.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Bigquery")]
pub(super) struct RawBigquery {
    /// Project that holds the data sets.
    #[schemars(required)]
    pub(super) project: Option<String>,
    /// Template of data set names: letters, digits, `_`, `{schema}` and `{source}`; `{schema}` unless
    /// set. Created if absent.
    pub(super) dataset: Option<String>,
    /// Template of table names: letters, digits, `_`, `-`, `{table}` (which it must hold), `{schema}` and
    /// `{source}`; `{table}` unless set.
    pub(super) table: Option<String>,
    /// Location of data sets that are created, such as `asia-northeast1`; BigQuery's default unless set.
    pub(super) location: Option<String>,
    /// Project that queries are billed to; `project` unless set.
    pub(super) jobs_project: Option<String>,
    /// `max_staleness` of tables: `auto`, which chooses and keeps it, or what tables are created with: a
    /// duration such as `90s`, `15m`, `1h`, or `0` for none; `auto` unless set.
    pub(super) max_staleness: Option<DurationText>,
    /// With `max_staleness: auto`, what applying the changes of all tables may cost in a month: an amount of US
    /// dollars such as `50 USD`. Without it, nothing is shorter than 15 minutes.
    pub(super) apply_budget_per_month: Option<String>,
    /// Where tokens come from: `adc` unless set.
    pub(super) auth: Option<RawAuth>,
    /// The JSON of a service account's key, with `auth: service_account`: `${file:/path}`, which is read
    /// anew when its tokens are refused, or `${VAR}`.
    pub(super) credentials: Option<String>,
    /// Email address of a service account to act as. What `auth` finds needs
    /// `roles/iam.serviceAccountTokenCreator` on it.
    pub(super) impersonate: Option<String>,
    /// Service accounts between what `auth` finds and `impersonate`, each of which may act as the next.
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) impersonate_delegates: Option<Vec<Option<String>>>,
    /// Where the two APIs are; Google's unless set.
    pub(super) endpoints: Option<RawEndpoints>,
}

/// Where tokens for Google's API come from.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Auth")]
pub(super) enum RawAuth {
    /// Application default credentials: the file that GOOGLE_APPLICATION_CREDENTIALS names, gcloud's, or
    /// the metadata server.
    Adc,
    /// The service account's key in `credentials`.
    ServiceAccount,
    /// No token: for the emulator.
    None,
}

/// Where the two APIs are.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Endpoints")]
pub(super) struct RawEndpoints {
    /// The REST API, such as `http://127.0.0.1:9050`.
    pub(super) rest: Option<String>,
    /// The Storage Write API, such as `http://127.0.0.1:9060`.
    pub(super) write: Option<String>,
}

/// Overrides for a table. Only `mode` is in this version.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Table")]
pub(super) struct RawTable {
    /// Partitioning of the target. Not in this version.
    pub(super) partition_by: Option<RawPartition>,
    /// Clustering of the target. Not in this version: targets are clustered by their key.
    pub(super) cluster_by: Option<Vec<String>>,
    /// Columns that are left out. Not in this version.
    pub(super) exclude: Option<Vec<String>>,
    /// Columns that are hashed. Not in this version.
    pub(super) hash: Option<Vec<String>>,
    /// What the target holds: `upsert` unless set, `append` of a table without a primary key.
    pub(super) mode: Option<RawMode>,
    /// Target types by column. Not in this version.
    pub(super) types: Option<BTreeMap<String, String>>,
}

/// Partitioning of a target.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Partition")]
#[expect(
    dead_code,
    reason = "part of the public shape; its presence is what validation looks at"
)]
pub(super) struct RawPartition {
    column: Option<String>,
    by: Option<String>,
}

/// What a target holds.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Mode")]
pub(super) enum RawMode {
    /// The rows that the source holds. The table needs a primary key.
    Upsert,
    /// Every version of every row. Not in this version.
    History,
    /// Every change as a row of its own, and a view of the latest rows beside it.
    Append,
}

/// What follows a change of a table.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SchemaChanges")]
pub(super) struct RawSchemaChanges {
    /// A new column is added to the target (`add`, unless set), told and not written (`hold`), or not written (`ignore`).
    pub(super) add_column: Option<String>,
    /// A new table is copied (`add`, unless set), told and not copied (`hold`), or not copied (`ignore`).
    pub(super) new_table: Option<String>,
    /// New columns of these names are held, whatever `add_column` says: patterns with `*` and `?`.
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) hold_names: Option<Vec<Option<String>>>,
    /// A dropped column is kept in the target: `keep`.
    pub(super) drop_column: Option<String>,
    /// A renamed column is renamed in the target (`rename`, unless set) or keeps its name there (`keep`).
    pub(super) rename_column: Option<String>,
    /// A type that the target's column cannot hold takes a new column (`new_column`, unless set) or parks the table
    /// (`park`).
    pub(super) incompatible_type: Option<String>,
    /// After TRUNCATE the target's rows are deleted: `sweep`.
    pub(super) truncate: Option<String>,
    /// A table whose key changes is parked: `park`.
    pub(super) key_change: Option<String>,
    /// A dropped table is kept in the target: `keep`.
    pub(super) drop_table: Option<String>,
    /// Where rows that exist get values without row events, the table is copied again beside the stream
    /// (`resnapshot`, unless set), or they keep what the target has (`leave`).
    pub(super) added_default: Option<String>,
    /// The size up to which a table is copied again by itself, such as `500MB` or `1TB`; `20GB` unless set.
    pub(super) resnapshot_limit: Option<String>,
}

/// A receiver of notices. Not in this version.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Notice")]
#[expect(
    dead_code,
    reason = "part of the public shape; its presence is what validation looks at"
)]
pub(super) struct RawNotice {
    webhook: Option<String>,
    format: Option<String>,
    on: Option<Vec<String>>,
}

/// Keys and values in the order in which they were written.
pub(super) struct InOrder<T>(pub(super) Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for InOrder<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<InOrder<T>, D::Error> {
        struct Pairs<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Pairs<T> {
            type Value = InOrder<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("keys and values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<InOrder<T>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(InOrder(pairs))
            }
        }
        deserializer.deserialize_map(Pairs(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for InOrder<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        BTreeMap::<String, T>::schema_name()
    }

    fn inline_schema() -> bool {
        BTreeMap::<String, T>::inline_schema()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        BTreeMap::<String, T>::json_schema(generator)
    }
}

/// A duration as written: text, or a bare number, which only `0` can be.
pub(super) struct DurationText(pub(super) String);

impl<'de> Deserialize<'de> for DurationText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<DurationText, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Text(String),
            Number(u64),
        }
        Ok(DurationText(match Either::deserialize(deserializer)? {
            Either::Text(text) => text,
            Either::Number(number) => number.to_string(),
        }))
    }
}

impl JsonSchema for DurationText {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A duration: a whole number and s, m, h or d; or 0.",
            "type": ["string", "integer"],
            "minimum": 0
        })
    }
}
