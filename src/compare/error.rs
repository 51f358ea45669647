//! What can go wrong with a comparison.

use crate::event::{ColumnName, ColumnType, TableId};
use crate::fault::{Classify, Fault};

/// Why two tables could not be compared. Unequal tables are no error.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// Rows without a key cannot be told apart.
    #[error("{0} has no primary key: its rows cannot be matched")]
    NoKey(TableId),
    /// A row of a view of changes says of itself what none says.
    #[error("the view of changes has the unknown operation {0:?}")]
    Operation(String),
    /// The source could not be read.
    #[error("reading the source")]
    Source(#[from] mysql_async::Error),
    /// A DynamoDB table could not be read.
    #[error("reading the source")]
    Items(#[source] Box<aws_sdk_dynamodb::Error>),
    /// The REST API could not be reached, or its answer is not what the API documents.
    #[error("calling the BigQuery REST API")]
    Transport(#[from] reqwest::Error),
    /// The REST API refused.
    #[error("BigQuery answered {status} for {target}: {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Which table.
        target: String,
        /// BigQuery's own words.
        message: String,
    },
    /// The token could not be had.
    #[error("no access token: {0}")]
    Token(String),
    /// A column of the source has none in the target.
    #[error("{target} has no column {column}")]
    NoColumn {
        /// Which table.
        target: String,
        /// The name it should have there.
        column: String,
    },
    /// The target's type is not one that the source's type maps to.
    #[error("column {column} is {found} in the target, which cannot hold {kind:?} of the source")]
    Type {
        /// The source's column.
        column: ColumnName,
        /// What the source's values are.
        kind: ColumnType,
        /// BigQuery's type.
        found: String,
    },
    /// A row has another number of cells than was asked for.
    #[error("{side} returned a row of {found} cells in place of {expected}")]
    Width {
        /// Which side.
        side: &'static str,
        /// Cells asked for.
        expected: usize,
        /// Cells received.
        found: usize,
    },
}

impl Classify for CompareError {
    fn fault(&self) -> Fault {
        match self {
            CompareError::Source(error) if !error.is_fatal() => Fault::Fatal,
            CompareError::Source(_)
            | CompareError::Items(_)
            | CompareError::Transport(_)
            | CompareError::Token(_) => Fault::RETRY,
            CompareError::Refused { status, .. } if *status == 429 || *status >= 500 => Fault::RETRY,
            CompareError::NoKey(table) => Fault::Table(table.clone()),
            CompareError::Operation(_)
            | CompareError::Refused { .. }
            | CompareError::NoColumn { .. }
            | CompareError::Type { .. }
            | CompareError::Width { .. } => Fault::Fatal,
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            CompareError::NoKey(_) => "give the table a primary key, or compare it by hand",
            CompareError::NoColumn { .. } | CompareError::Type { .. } => {
                "let the replicator follow the table's last schema change, then compare again"
            }
            CompareError::Refused {
                status: 401 | 403, ..
            } => "grant roles/bigquery.jobUser and roles/bigquery.dataViewer",
            CompareError::Operation(_) => {
                "let this version of the replicator make the view anew: drop it and start"
            }
            CompareError::Source(_)
            | CompareError::Items(_)
            | CompareError::Transport(_)
            | CompareError::Refused { .. }
            | CompareError::Token(_)
            | CompareError::Width { .. } => return None,
        };
        Some(text.to_owned())
    }
}
