//! Why the items that a table holds already cannot be read, and what to do about it.

use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};

use super::super::item::ItemError;
use super::manifest::ManifestError;
use super::unpack::UnpackError;
use crate::event::TableId;
use crate::fault::{Classify, Fault, chain};

/// Why a first load cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A call to DynamoDB failed.
    #[error("{action} of table {table} failed: {text}")]
    Call {
        /// The call, as IAM names it, such as `dynamodb:ExportTableToPointInTime`.
        action: &'static str,
        /// The table.
        table: String,
        /// What may be done about it.
        refusal: Refusal,
        /// What AWS says.
        text: String,
    },
    /// An export ended without its data.
    #[error("the export {arn} of table {table} failed: {code}: {message}")]
    Export {
        /// The table.
        table: String,
        /// The export.
        arn: String,
        /// AWS's code.
        code: String,
        /// AWS's words.
        message: String,
    },
    /// An answer lacks what it is documented to have.
    #[error("{action} of table {table} answered without {what}")]
    Answer {
        /// The call.
        action: &'static str,
        /// The table.
        table: String,
        /// What is not there.
        what: &'static str,
    },
    /// A manifest that cannot be used.
    #[error("the manifest {key} of an export cannot be used")]
    Manifest {
        /// The object.
        key: String,
        /// Why.
        #[source]
        source: ManifestError,
    },
    /// A data file that cannot be used.
    #[error("the data file {key} of an export cannot be used")]
    File {
        /// The object.
        key: String,
        /// Why.
        #[source]
        source: UnpackError,
    },
    /// A line of a data file that is no JSON of an item.
    #[error(
        "line {line} of the data file {key} of an export is not of the documented form at column {column}"
    )]
    Line {
        /// The object.
        key: String,
        /// Which, from 1.
        line: u64,
        /// Where in it, from 1.
        column: usize,
    },
    /// An item that no row can be made of.
    #[error("line {line} of the data file {key} of an export cannot be read")]
    Item {
        /// The object.
        key: String,
        /// Which line of it, from 1.
        line: u64,
        /// Why.
        #[source]
        source: ItemError,
    },
    /// An item of a Scan that no row can be made of.
    #[error("an item of table {table} cannot be read")]
    Scanned {
        /// The table.
        table: TableId,
        /// Why.
        #[source]
        source: ItemError,
    },
    /// Columns that are not those of a table of DynamoDB.
    #[error("the columns of {0} in the checkpoint are not those that a table of DynamoDB has")]
    Layout(TableId),
    /// Items have attributes without columns, which come by themselves.
    #[error("items of {0} wait until its target has columns for all of their attributes")]
    Outgrown(TableId),
    /// The bucket refused, or could not be asked.
    #[error("cannot read {key} in the bucket {bucket}")]
    Object {
        /// The bucket.
        bucket: String,
        /// The object.
        key: String,
        /// Why.
        #[source]
        source: object_store::Error,
    },
    /// A chunk of the checkpoint that this load did not plan.
    #[error("the checkpoint names {0:?}, which is no part of this load of the table")]
    Chunk(String),
}

/// What a refused call means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The identity may not.
    Denied,
    /// There are no credentials, or AWS does not know them.
    Credentials,
    /// Point-in-time recovery is off.
    Recovery,
    /// The time is not within the window of point-in-time recovery.
    Time,
    /// There is no such table.
    Missing,
    /// AWS asks for patience, or could not be asked.
    Busy,
    /// Anything else.
    Other,
}

impl LoadError {
    /// A call that failed.
    pub(in crate::source::dynamodb) fn call<E, R>(
        action: &'static str,
        table: &str,
        error: SdkError<E, R>,
    ) -> LoadError
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
        R: std::fmt::Debug + 'static,
    {
        let refusal = match &error {
            SdkError::TimeoutError(_) | SdkError::ResponseError(_) => Refusal::Busy,
            SdkError::DispatchFailure(_) if no_credentials(&error) => Refusal::Credentials,
            SdkError::DispatchFailure(_) => Refusal::Busy,
            SdkError::ConstructionFailure(_) | SdkError::ServiceError(_) | _ => refusal(error.code()),
        };
        LoadError::Call {
            action,
            table: table.to_owned(),
            refusal,
            text: chain(&error),
        }
    }
}

/// Whether a request was not sent because nobody gave credentials, and asking again will not help.
fn no_credentials(error: &dyn std::error::Error) -> bool {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(cause) = cause.downcast_ref::<CredentialsError>() {
            return matches!(
                cause,
                CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_)
            );
        }
        next = cause.source();
    }
    false
}

fn refusal(code: Option<&str>) -> Refusal {
    match code.unwrap_or_default() {
        "AccessDeniedException" => Refusal::Denied,
        "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "MissingAuthenticationTokenException" => Refusal::Credentials,
        "PointInTimeRecoveryUnavailableException" => Refusal::Recovery,
        "InvalidExportTimeException" => Refusal::Time,
        "ResourceNotFoundException" | "TableNotFoundException" => Refusal::Missing,
        // Temporary credentials end; the next ones are asked for by themselves.
        "ExpiredTokenException"
        | "ExpiredToken"
        | "ThrottlingException"
        | "ProvisionedThroughputExceededException"
        | "RequestLimitExceeded"
        | "LimitExceededException"
        | "InternalServerError"
        | "ServiceUnavailable"
        | "ServiceUnavailableException" => Refusal::Busy,
        _ => Refusal::Other,
    }
}

impl Classify for LoadError {
    fn fault(&self) -> Fault {
        use object_store::Error as Object;
        match self {
            LoadError::Call {
                refusal: Refusal::Busy,
                ..
            } => Fault::Transient {
                after: Some(Duration::from_secs(1)),
            },
            LoadError::Outgrown(_) => Fault::RETRY,
            LoadError::Object { source, .. } => match source {
                Object::NotFound { .. }
                | Object::PermissionDenied { .. }
                | Object::Unauthenticated { .. }
                | Object::InvalidPath { .. }
                | Object::NotImplemented { .. }
                | Object::UnknownConfigurationKey { .. } => Fault::Fatal,
                Object::Generic { .. }
                | Object::JoinError { .. }
                | Object::NotSupported { .. }
                | Object::AlreadyExists { .. }
                | Object::Precondition { .. }
                | Object::NotModified { .. }
                | _ => Fault::RETRY,
            },
            LoadError::Call { .. }
            | LoadError::Export { .. }
            | LoadError::Answer { .. }
            | LoadError::Manifest { .. }
            | LoadError::File { .. }
            | LoadError::Line { .. }
            | LoadError::Item { .. }
            | LoadError::Layout(_)
            | LoadError::Scanned { .. }
            | LoadError::Chunk(_) => Fault::Fatal,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            LoadError::Call {
                action,
                table,
                refusal,
                ..
            } => return called(action, table, *refusal),
            LoadError::Export { code, .. } => return Some(exported(code)),
            LoadError::Outgrown(_) => return None,
            LoadError::Manifest { .. }
            | LoadError::File { .. }
            | LoadError::Line { .. }
            | LoadError::Item { .. } => {
                "no row of it counts as copied; see that nothing but DynamoDB writes to the export's folder, then \
                 remove the checkpoint and the target's tables and start anew: that makes a new export"
                    .to_owned()
            }
            LoadError::Object { bucket, .. } => format!(
                "allow s3:GetObject on arn:aws:s3:::{bucket}/* and s3:ListBucket on arn:aws:s3:::{bucket}, see that the bucket is in the source's region and \
                 that no lifecycle rule removed the export; docs/operations.md has the policy"
            ),
            LoadError::Chunk(_) | LoadError::Layout(_) => {
                "remove the checkpoint and the target's tables and start anew".to_owned()
            }
            LoadError::Answer { .. } | LoadError::Scanned { .. } => return None,
        })
    }
}

fn called(action: &str, table: &str, refusal: Refusal) -> Option<String> {
    Some(match refusal {
        Refusal::Denied => format!(
            "allow {action} on the table {table} to the identity that the credentials are of; docs/operations.md has \
             the policy"
        ),
        Refusal::Credentials => "see that the environment, the profile, the container or the instance gives \
                                 credentials of AWS; docs/operations.md has the ways"
            .to_owned(),
        Refusal::Recovery => super::recovery_cure(table),
        Refusal::Time => format!(
            "table {table} cannot be exported as of the time its stream is followed from: see that this machine's \
             clock is right, and that point-in-time recovery was not turned off and on since; if it was, remove \
             the checkpoint and the target's tables and start anew"
        ),
        Refusal::Missing => format!("see that table {table} is in the configured region and account"),
        Refusal::Busy | Refusal::Other => return None,
    })
}

fn exported(code: &str) -> String {
    let cure = if code.contains("AccessDenied") || code.contains("NoSuchBucket") || code.starts_with("S3") {
        "see that the bucket is there and that its policy and the identity's allow s3:PutObject and \
         s3:AbortMultipartUpload on it; docs/operations.md has both"
    } else {
        "the code is AWS's"
    };
    format!("{cure}; the next start makes a new export")
}
