//! What the BigQuery sink fails with, and what an operator does about it. No message carries a cell's value.

use std::fmt;
use std::time::Duration;

use crate::event::{ColumnName, Ordinal, RowError, TableId, TxnStart};
use crate::fault::{Classify, Fault};

/// A row's place in the source's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowAt {
    /// The transaction.
    pub txn: TxnStart,
    /// The place in it; zero for a row that a snapshot read at `txn`.
    pub ordinal: Ordinal,
}

impl fmt::Display for RowAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ordinal {
            Ordinal(0) => write!(f, "the snapshot at {}", self.txn),
            Ordinal(ordinal) => write!(f, "transaction {}, byte {ordinal} of its rows", self.txn),
        }
    }
}

/// Why the sink cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The table has no key, or one of more columns than BigQuery takes.
    #[error("table {table} has a primary key of {columns} columns; BigQuery's CDC needs 1 to 16")]
    Key {
        /// The source table.
        table: TableId,
        /// Key columns it has.
        columns: usize,
    },
    /// The table has more columns than BigQuery takes.
    #[error("table {table} has {columns} columns; BigQuery's CDC takes 2000, one of which is added here")]
    TooManyColumns {
        /// The source table.
        table: TableId,
        /// Columns it has.
        columns: usize,
    },
    /// Two source tables have one target.
    #[error("tables {first} and {second} would both be written to {target}")]
    Collision {
        /// The table that has the target already.
        first: TableId,
        /// The one that would have it too.
        second: TableId,
        /// The target's name.
        target: String,
    },
    /// Tables that would share a target, found before anything was written.
    #[error("{}", collisions(.0))]
    Collisions(
        /// Two tables and the target's name, for every two.
        Vec<(TableId, TableId, String)>,
    ),
    /// The target table exists and does not fit the source.
    #[error("target table {target} does not fit {table}: {}", .problems.join("; "))]
    Misfit {
        /// The source table.
        table: TableId,
        /// The target's name.
        target: String,
        /// What does not fit, each with its cure.
        problems: Vec<String>,
    },
    /// Two columns of a table have one target.
    #[error("columns {first} and {second} of {table} would both be written to {target}")]
    SameColumn {
        /// The source table.
        table: TableId,
        /// One column.
        first: ColumnName,
        /// The other one.
        second: ColumnName,
        /// The target column's name.
        target: String,
    },
    /// A row cannot be read.
    #[error("row of {table} at {at} cannot be read")]
    Row {
        /// The source table.
        table: TableId,
        /// Where the row is in the log.
        at: RowAt,
        /// Why.
        #[source]
        source: RowError,
    },
    /// So many rows are refused that the rows are not to blame.
    #[error("more rows of {table} are refused than may be put aside; the last: {last}")]
    TooManyRefused {
        /// The source table.
        table: TableId,
        /// Where the last one is and why, without a value.
        last: String,
    },
    /// A row that the target refused cannot be put aside either.
    #[error("the dead letter of a row of {table}{} cannot be written to {target}", .at.map(|at| format!(" at {at}")).unwrap_or_default())]
    DeadLetter {
        /// The source table.
        table: TableId,
        /// Where the first of the rows is in the log.
        at: Option<RowAt>,
        /// The table of dead letters.
        target: String,
        /// Why.
        #[source]
        source: Box<Error>,
    },
    /// BigQuery refused a request as a whole.
    #[error("BigQuery refused to append to {target} for {table}: {status}")]
    Refused {
        /// The source table.
        table: TableId,
        /// The target's name.
        target: String,
        /// Code and text of the answer.
        status: String,
    },
    /// The target was not there, or had other columns, for longer than changes take to spread.
    #[error("{target}, the target of {table}, cannot be written for {}: {status}", .waited.human())]
    Unavailable {
        /// The source table.
        table: TableId,
        /// The target's name.
        target: String,
        /// Code and text of the last answer.
        status: String,
        /// For how long it was tried.
        waited: Waited,
    },
    /// The target is not there any more.
    #[error("{target}, the target of {table}, was deleted")]
    Gone {
        /// The source table.
        table: TableId,
        /// The target's name.
        target: String,
    },
    /// The credentials do not suffice.
    #[error("not allowed to write to {target}: {status}")]
    Forbidden {
        /// The target's name.
        target: String,
        /// Code and text of the answer.
        status: String,
    },
    /// No token could be had.
    #[error("no token for Google's API")]
    Token {
        /// Whether another attempt may succeed.
        transient: bool,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A call to the REST API failed.
    #[error("BigQuery's REST API: {what}: {message}")]
    Rest {
        /// The call.
        what: String,
        /// Status and message.
        message: String,
        /// Whether another attempt may succeed.
        transient: bool,
    },
    /// An endpoint is none, or serves something else.
    #[error("{endpoint} cannot be used")]
    Client {
        /// The configured endpoint.
        endpoint: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The sink was shut down, or its task died, before the answer.
    #[error("the sink stopped before BigQuery's answer")]
    Stopped,
}

fn collisions(shared: &[(TableId, TableId, String)]) -> String {
    let one = |(first, second, target): &(TableId, TableId, String)| {
        format!("tables {first} and {second} would both be written to {target}")
    };
    shared.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// A time in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waited(pub Duration);

impl Waited {
    fn human(self) -> String {
        format!("{} s", self.0.as_secs())
    }
}

impl Classify for Error {
    fn fault(&self) -> Fault {
        match self {
            Error::Key { table, .. }
            | Error::TooManyColumns { table, .. }
            | Error::SameColumn { table, .. }
            | Error::Misfit { table, .. }
            | Error::Row { table, .. }
            | Error::TooManyRefused { table, .. }
            | Error::Refused { table, .. }
            | Error::Unavailable { table, .. }
            | Error::Gone { table, .. }
            | Error::Collision { second: table, .. } => Fault::Table(table.clone()),
            Error::Token { transient: true, .. } | Error::Rest { transient: true, .. } => Fault::RETRY,
            Error::Collisions(_)
            | Error::DeadLetter { .. }
            | Error::Forbidden { .. }
            | Error::Token { .. }
            | Error::Rest { .. }
            | Error::Client { .. }
            | Error::Stopped => Fault::Fatal,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Error::Key { table, .. } => format!(
                "give {table} a primary key of at most 16 columns, write mode: append for it under tables, or exclude it with \"!{table}\" in the source's tables"
            ),
            Error::TooManyColumns { table, .. } => format!("exclude {table} with \"!{table}\" in the source's tables"),
            Error::Collision { second, .. } => format!(
                "make sink.bigquery.dataset and sink.bigquery.table tell them apart (a data set with is_case_insensitive ignores case), or exclude {second}"
            ),
            Error::Collisions(_) => {
                "make sink.bigquery.dataset and sink.bigquery.table tell them apart, for instance with {schema} (a data set with is_case_insensitive ignores case), or exclude one of each two with \"!schema.table\" in the source's tables".to_owned()
            }
            Error::Misfit { target, .. } => format!(
                "change {target} as said, or drop it and remove the table from the checkpoint, so that it is copied anew"
            ),
            Error::SameColumn { table, second, .. } => format!(
                "rename column {second} in the source, or exclude {table} with \"!{table}\" in the source's tables"
            ),
            Error::Row { .. } => {
                "look for what wrote the row with a partial image; then copy the table anew, or exclude it".to_owned()
            }
            Error::TooManyRefused { .. } => {
                "read the reasons in _replicator_dead_letters, correct the values or the target table, then copy the table anew".to_owned()
            }
            Error::DeadLetter { target, source, .. } => {
                let cure = source.hint();
                cure.unwrap_or_else(|| format!("see that {target} can be written; the rows are sent again after a restart"))
            }
            Error::Refused { .. } => {
                "read BigQuery's message, correct the value or the target table, then copy the table anew".to_owned()
            }
            Error::Unavailable { target, .. } => format!(
                "see that {target} exists and still has the columns that the replicator created"
            ),
            Error::Gone { target, table } => format!(
                "restore {target} from its time travel (bq cp with a snapshot decorator) or let it be made anew; then copy {table} anew"
            ),
            Error::Forbidden { target, .. } => format!(
                "grant the replicator's service account roles/bigquery.dataEditor on the data set of {target} and roles/bigquery.jobUser on the project that jobs run in"
            ),
            Error::Token { transient: false, .. } => {
                "see that the credentials are there and may be used: sink.bigquery.auth, GOOGLE_APPLICATION_CREDENTIALS or the metadata server; docs/operations.md has the steps for each".to_owned()
            }
            Error::Rest { transient: false, .. } => {
                "read BigQuery's message and correct the configuration or the permissions".to_owned()
            }
            Error::Client { .. } => "correct sink.bigquery.endpoints".to_owned(),
            Error::Rest { transient: true, .. } => {
                "check the network, HTTPS_PROXY, SSL_CERT_FILE and sink.bigquery.endpoints.rest".to_owned()
            }
            Error::Token { .. } | Error::Stopped => return None,
        };
        Some(hint)
    }
}
