//! What the REST API answers when it refuses: an HTTP code, a reason and a text, in Google's JSON form.

use std::borrow::Cow;

use serde_json::{Value, json};

/// A refusal of the REST API, or of a statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ApiError {
    /// HTTP status.
    pub(crate) code: u16,
    /// Google's reason word, which clients decide by.
    pub(crate) reason: Cow<'static, str>,
    /// Text for people.
    pub(crate) message: String,
}

/// What the REST API's handlers return.
pub(crate) type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> ApiError {
        ApiError {
            code,
            reason: Cow::Borrowed(reason),
            message: message.into(),
        }
    }

    /// A request whose form or content is wrong.
    pub(crate) fn invalid(message: impl Into<String>) -> ApiError {
        ApiError::new(400, "invalid", message)
    }

    /// A statement that cannot be understood or carried out.
    pub(crate) fn query(message: impl Into<String>) -> ApiError {
        ApiError::new(400, "invalidQuery", message)
    }

    /// What is asked for does not exist; `what` is `Table p:d.t` and the like.
    pub(crate) fn not_found(what: impl std::fmt::Display) -> ApiError {
        ApiError::new(404, "notFound", format!("Not found: {what}"))
    }

    /// What is to be made exists.
    pub(crate) fn duplicate(what: impl std::fmt::Display) -> ApiError {
        ApiError::new(409, "duplicate", format!("Already Exists: {what}"))
    }

    /// A dataset that still has tables.
    pub(crate) fn in_use(message: impl Into<String>) -> ApiError {
        ApiError::new(400, "resourceInUse", message)
    }

    /// An `If-Match` that does not match.
    pub(crate) fn precondition() -> ApiError {
        ApiError::new(412, "conditionNotMet", "Precondition check failed.")
    }

    /// Too many changes of one table's metadata.
    pub(crate) fn rate_limit() -> ApiError {
        let text = "Exceeded rate limits: too many table update operations for this table. For more information, \
                    see https://cloud.google.com/bigquery/docs/troubleshoot-quotas";
        ApiError::new(403, "rateLimitExceeded", text)
    }

    /// A job that failed for a reason on order.
    pub(crate) fn of_job(reason: String, message: Option<String>) -> ApiError {
        let code = match reason.as_str() {
            "rateLimitExceeded" | "quotaExceeded" => 403,
            "internalError" => 500,
            "backendError" => 503,
            _ => 400,
        };
        ApiError {
            code,
            message: message.unwrap_or_else(|| format!("{reason} on order of a scripted fault")),
            reason: reason.into(),
        }
    }

    /// The emulator's own storage failed.
    pub(crate) fn internal(error: impl std::fmt::Display) -> ApiError {
        ApiError::new(
            500,
            "internalError",
            format!("The emulator's storage failed: {error}"),
        )
    }

    /// The error inside a job's status.
    pub(crate) fn to_proto(&self) -> Value {
        json!({ "reason": self.reason, "message": self.message })
    }

    /// The body of the HTTP answer.
    pub(crate) fn to_body(&self) -> Value {
        let status = match self.code {
            400 => "INVALID_ARGUMENT",
            401 => "UNAUTHENTICATED",
            403 => "PERMISSION_DENIED",
            404 => "NOT_FOUND",
            409 => "ALREADY_EXISTS",
            412 => "FAILED_PRECONDITION",
            429 => "RESOURCE_EXHAUSTED",
            503 => "UNAVAILABLE",
            _ => "INTERNAL",
        };
        let domain = if self.reason == "rateLimitExceeded" {
            "usageLimits"
        } else {
            "global"
        };
        json!({ "error": {
            "code": self.code,
            "message": self.message,
            "errors": [{ "message": self.message, "domain": domain, "reason": self.reason }],
            "status": status,
        } })
    }
}

impl From<rusqlite::Error> for ApiError {
    fn from(error: rusqlite::Error) -> ApiError {
        ApiError::internal(error)
    }
}

impl From<serde_json::Error> for ApiError {
    fn from(error: serde_json::Error) -> ApiError {
        ApiError::internal(error)
    }
}
