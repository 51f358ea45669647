//! Faults on order: what `POST /emulator/faults` may ask for. A fault says where it strikes, how often, and
//! what then happens; among the effects is "applied, but the answer was lost".

mod script;

use serde::{Deserialize, Serialize};
use tonic::Code;

use crate::proto::storage::storage_error::StorageErrorCode;
pub(crate) use script::{Call, Script};

/// Where a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Place {
    /// A request of an AppendRows call.
    Append,
    /// A GetWriteStream call.
    Streams,
    /// A call of the REST API.
    Rest,
    /// A query job that begins.
    Jobs,
    /// The background jobs that apply changes to a table's baseline.
    Applies,
}

/// A fault as it is ordered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fault {
    pub(crate) on: Place,
    /// `dataset.table`; any if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) table: Option<String>,
    /// Of REST calls: the HTTP method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) method: Option<String>,
    /// Of REST calls: a part of the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    /// Of jobs: a part of the statement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sql: Option<String>,
    /// How many that match are spared first.
    #[serde(default)]
    pub(crate) after: u64,
    /// How many are struck then; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) times: Option<u64>,
    /// How long it lasts from its order on, in seconds of the emulator's clock; for ever if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seconds: Option<u64>,
    /// How likely each one that matches is struck, above 0 and up to 1; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) probability: Option<f64>,
    /// Seed of that chance.
    #[serde(default)]
    pub(crate) seed: u64,
    pub(crate) effect: Effect,
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Effect {
    /// The request is answered with an error, or the call ends with one.
    Status(StatusEffect),
    /// The connection breaks without a word.
    Cut(Unanswered),
    /// The call ends without an error, though a request of it has no answer.
    End(Unanswered),
    /// No answer comes, and none after it.
    Hang(Unanswered),
    /// It is done later.
    Delay(Delay),
    /// Rows are refused.
    RowErrors(RowErrors),
    /// The REST call is answered with an error.
    Http(Http),
    /// The job is not complete for so many polls.
    Pending(Polls),
    /// The job fails.
    Fail(Reason),
    /// Nothing is applied in the background.
    Stall,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StatusEffect {
    /// A gRPC code's name, such as `RESOURCE_EXHAUSTED`.
    code: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// A `StorageErrorCode`'s name for the details.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    storage_error: Option<String>,
    /// In an answer, which leaves the connection usable; otherwise the call ends.
    #[serde(default)]
    pub(crate) in_band: bool,
    /// Whether the rows are in the table all the same.
    #[serde(default)]
    pub(crate) applied: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Unanswered {
    /// Whether the call was carried out all the same.
    #[serde(default)]
    pub(crate) applied: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Delay {
    pub(crate) seconds: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RowErrors {
    pub(crate) rows: Which,
    /// How many of the errors the answer lists; the profile's number if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) listed: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
}

/// Which rows of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Which {
    /// By their places, from 0.
    Indexes(Vec<usize>),
    /// By a column's value as a query shows it.
    Where(Condition),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Condition {
    pub(crate) column: String,
    pub(crate) value: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Http {
    pub(crate) code: u16,
    pub(crate) reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
    /// Whether the call was carried out all the same.
    #[serde(default)]
    pub(crate) applied: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Polls {
    pub(crate) polls: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reason {
    pub(crate) reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
}

/// Names of gRPC codes as Google writes them.
const CODES: [(&str, Code); 16] = [
    ("CANCELLED", Code::Cancelled),
    ("UNKNOWN", Code::Unknown),
    ("INVALID_ARGUMENT", Code::InvalidArgument),
    ("DEADLINE_EXCEEDED", Code::DeadlineExceeded),
    ("NOT_FOUND", Code::NotFound),
    ("ALREADY_EXISTS", Code::AlreadyExists),
    ("PERMISSION_DENIED", Code::PermissionDenied),
    ("RESOURCE_EXHAUSTED", Code::ResourceExhausted),
    ("FAILED_PRECONDITION", Code::FailedPrecondition),
    ("ABORTED", Code::Aborted),
    ("OUT_OF_RANGE", Code::OutOfRange),
    ("UNIMPLEMENTED", Code::Unimplemented),
    ("INTERNAL", Code::Internal),
    ("UNAVAILABLE", Code::Unavailable),
    ("DATA_LOSS", Code::DataLoss),
    ("UNAUTHENTICATED", Code::Unauthenticated),
];

impl StatusEffect {
    /// The code; checked when the fault was ordered.
    pub(crate) fn code(&self) -> Code {
        let found = CODES.iter().find(|(name, _)| *name == self.code);
        found.map_or(Code::Unknown, |(_, code)| *code)
    }

    pub(crate) fn message(&self) -> String {
        let plain = || format!("{} on order of a scripted fault", self.code);
        self.message.clone().unwrap_or_else(plain)
    }

    pub(crate) fn storage_error(&self) -> Option<StorageErrorCode> {
        StorageErrorCode::from_str_name(self.storage_error.as_deref()?)
    }
}

impl Fault {
    /// Everything that is wrong with it, each with its member.
    fn mistakes(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut refuse = |is_wrong: bool, text: &str| {
            if is_wrong {
                wrong.push(text.to_owned());
            }
        };
        let place = match &self.effect {
            Effect::End(_) | Effect::Hang(_) | Effect::RowErrors(_) => self.on == Place::Append,
            Effect::Status(status) => {
                let is_plain = !status.in_band && !status.applied;
                self.on == Place::Append || self.on == Place::Streams && is_plain
            }
            Effect::Cut(_) => matches!(self.on, Place::Append | Place::Rest),
            Effect::Delay(_) => matches!(self.on, Place::Append | Place::Streams | Place::Rest),
            Effect::Http(_) => self.on == Place::Rest,
            Effect::Pending(_) | Effect::Fail(_) => self.on == Place::Jobs,
            Effect::Stall => self.on == Place::Applies,
        };
        refuse(!place, "effect: it has no meaning at the place that `on` names");
        refuse(
            self.table.as_deref().is_some_and(|name| !name.contains('.')),
            "table: write dataset.table",
        );
        refuse(
            self.table.is_some() && self.on == Place::Jobs,
            "table: a job has none; use sql, a part of its statement",
        );
        refuse(
            (self.method.is_some() || self.path.is_some()) && self.on != Place::Rest,
            "method, path: they are for \"on\": \"rest\"",
        );
        refuse(
            self.sql.is_some() && self.on != Place::Jobs,
            "sql: it is for \"on\": \"jobs\"",
        );
        refuse(self.times == Some(0), "times: at least 1");
        refuse(
            self.probability
                .is_some_and(|chance| !(chance > 0.0 && chance <= 1.0)),
            "probability: above 0 and at most 1",
        );
        match &self.effect {
            Effect::Status(status) => {
                let known = CODES.iter().any(|(name, _)| *name == status.code);
                refuse(!known, "effect.status.code: no gRPC code has that name");
                refuse(
                    status.storage_error.is_some() && status.storage_error().is_none(),
                    "effect.status.storage_error: no StorageErrorCode has that name",
                );
            }
            Effect::Http(http) => {
                refuse(!(400..600).contains(&http.code), "effect.http.code: 400 to 599");
            }
            Effect::RowErrors(errors) => {
                refuse(errors.listed == Some(0), "effect.row_errors.listed: at least 1")
            }
            Effect::Cut(_)
            | Effect::End(_)
            | Effect::Hang(_)
            | Effect::Delay(_)
            | Effect::Pending(_)
            | Effect::Fail(_)
            | Effect::Stall => {}
        }
        wrong
    }
}

#[cfg(test)]
mod tests;
