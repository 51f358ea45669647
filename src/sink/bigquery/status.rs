//! What an answer other than "appended" means. Pure: a code, a text and its details become a verdict
//! (<https://cloud.google.com/bigquery/docs/write-api-best-practices>,
//! google/cloud/bigquery/storage/v1/storage.proto, message StorageError).

use std::time::{Duration, Instant};

use prost::Message;
use tonic::Code;

use super::delivery::Destination;
use super::error::{Error, Waited};
use crate::proto::rpc;
use crate::proto::storage::StorageError;
use crate::proto::storage::storage_error::StorageErrorCode;

/// An error answer, in-band or as the end of the stream.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) code: Code,
    pub(super) message: String,
    storage: Option<StorageErrorCode>,
    /// The wait that the server asked for.
    after: Option<Duration>,
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing is wrong with the request: send it again, for as long as it takes.
    Again,
    /// Too much at once: wait longer, on the same connection.
    Slower(Option<Duration>),
    /// Right after a change this passes by itself; send again for at most so long.
    Within(Duration, Lasting),
    /// The rows of this very request are at fault: a part of them may pass.
    Block,
    /// Nothing can be written to the table as it is.
    Never,
}

/// What it is if it does not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lasting {
    /// The table is gone or has other columns.
    Unavailable,
    /// The credentials do not suffice.
    Forbidden,
    /// The endpoint serves something else.
    Elsewhere,
}

/// How long new tables and columns may take to spread.
const SPREADING: Duration = Duration::from_secs(600);

/// How long a grant or a new token may take.
const GRANTING: Duration = Duration::from_secs(60);

/// Texts of an answer that mean that writer schema and table differ, or that the table was replaced.
const MISMATCHES: [&str; 6] = [
    "has more fields than",
    "field mismatched with",
    "missing in the proto message",
    "extra proto fields",
    "is re-created",
    "is truncated",
];

impl Failure {
    /// Of an in-band error.
    pub(super) fn of(status: rpc::Status) -> Failure {
        let detail = |url: &str| {
            status
                .details
                .iter()
                .find(|any| any.type_url == url)
                .map(|any| any.value.as_slice())
        };
        let storage = detail(crate::proto::STORAGE_ERROR_URL)
            .and_then(|bytes| StorageError::decode(bytes).ok())
            .map(|error| error.code());
        let after = detail(crate::proto::RETRY_INFO_URL)
            .and_then(|bytes| rpc::RetryInfo::decode(bytes).ok())
            .and_then(|info| Duration::try_from(info.retry_delay?).ok());
        Failure {
            code: Code::from_i32(status.code),
            message: status.message,
            storage,
            after,
        }
    }

    /// Of the end of a stream or a call.
    pub(super) fn of_call(status: &tonic::Status) -> Failure {
        let details = rpc::Status::decode(status.details()).unwrap_or_default();
        Failure {
            code: status.code(),
            message: status.message().to_owned(),
            ..Failure::of(details)
        }
    }

    /// What to do.
    pub(super) fn verdict(&self) -> Verdict {
        let mismatch = MISMATCHES.iter().any(|text| self.message.contains(text));
        match self.storage {
            Some(StorageErrorCode::SchemaMismatchExtraFields) => {
                return Verdict::Within(SPREADING, Lasting::Unavailable);
            }
            Some(StorageErrorCode::KmsServiceError) => return Verdict::Again,
            _ => {}
        }
        match self.code {
            Code::Unavailable
            | Code::Aborted
            | Code::Cancelled
            | Code::Internal
            | Code::DeadlineExceeded
            | Code::Unknown => Verdict::Again,
            Code::ResourceExhausted => Verdict::Slower(self.after),
            Code::NotFound => Verdict::Within(SPREADING, Lasting::Unavailable),
            Code::PermissionDenied | Code::Unauthenticated => Verdict::Within(GRANTING, Lasting::Forbidden),
            // A proxy that is being replaced answers like this too.
            Code::Unimplemented => Verdict::Within(GRANTING, Lasting::Elsewhere),
            Code::InvalidArgument | Code::FailedPrecondition if mismatch => {
                Verdict::Within(SPREADING, Lasting::Unavailable)
            }
            Code::InvalidArgument => Verdict::Block,
            Code::Ok | Code::FailedPrecondition | Code::AlreadyExists | Code::OutOfRange | Code::DataLoss => {
                Verdict::Never
            }
        }
    }
}

/// A failure that is given up after a while has to be met at least so often in a row: it may come by chance among
/// others, and each of those shows that it is not what keeps the table from being written.
const IN_A_ROW: u32 = 8;

/// For how long one failure has been all that came.
#[derive(Debug, Default)]
pub(super) struct Streak {
    of: Option<(Code, Instant)>,
    times: u32,
}

impl Streak {
    /// Notes a failure; gives for how long nothing else came, zero while that was too seldom to tell.
    pub(super) fn meet(&mut self, code: Code, now: Instant) -> Duration {
        let since = match self.of {
            Some((before, since)) if before == code => since,
            Some(_) | None => {
                self.times = 0;
                now
            }
        };
        self.of = Some((code, since));
        self.times += 1;
        if self.times < IN_A_ROW {
            return Duration::ZERO;
        }
        now.saturating_duration_since(since)
    }

    /// Something else came.
    pub(super) fn end(&mut self) {
        *self = Streak::default();
    }
}

impl Lasting {
    /// The error of a failure that did not pass.
    pub(super) fn error(self, destination: &Destination, failure: &Failure, waited: Duration) -> Error {
        let (place, status) = (destination.place.to_string(), failure.to_string());
        match self {
            Lasting::Forbidden => Error::Forbidden {
                target: place,
                status,
            },
            Lasting::Unavailable => Error::Unavailable {
                table: destination.table.clone(),
                target: place,
                status,
                waited: Waited(waited),
            },
            Lasting::Elsewhere => Error::Client {
                endpoint: "the Storage Write API".to_owned(),
                source: status.into(),
            },
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}: {}", self.code, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: Code, message: &str, storage: Option<StorageErrorCode>) -> rpc::Status {
        let detail = |code: StorageErrorCode| prost_types::Any {
            type_url: crate::proto::STORAGE_ERROR_URL.to_owned(),
            value: StorageError {
                code: code.into(),
                ..StorageError::default()
            }
            .encode_to_vec(),
        };
        rpc::Status {
            code: code.into(),
            message: message.to_owned(),
            details: storage.map(detail).into_iter().collect(),
        }
    }

    fn verdict(code: Code, message: &str, storage: Option<StorageErrorCode>) -> Verdict {
        Failure::of(status(code, message, storage)).verdict()
    }

    #[test]
    fn each_signal_has_its_consequence() {
        let unavailable = Verdict::Within(SPREADING, Lasting::Unavailable);
        let mismatch = Some(StorageErrorCode::SchemaMismatchExtraFields);
        for (code, message, storage, expected) in [
            (Code::Internal, "", None, Verdict::Again),
            (Code::Aborted, "server is restarted", None, Verdict::Again),
            (Code::ResourceExhausted, "quota", None, Verdict::Slower(None)),
            (Code::NotFound, "", None, unavailable),
            (Code::InvalidArgument, "", mismatch, unavailable),
            (
                Code::InvalidArgument,
                "Input schema has more fields than BigQuery schema",
                None,
                unavailable,
            ),
            (Code::InvalidArgument, "bad row", None, Verdict::Block),
            (Code::FailedPrecondition, "no primary key", None, Verdict::Never),
            (
                Code::Unimplemented,
                "",
                None,
                Verdict::Within(GRANTING, Lasting::Elsewhere),
            ),
            (
                Code::PermissionDenied,
                "",
                None,
                Verdict::Within(GRANTING, Lasting::Forbidden),
            ),
        ] {
            assert_eq!(verdict(code, message, storage), expected, "{code:?} {message}");
        }
    }

    #[test]
    fn only_a_failure_that_comes_again_and_again_lasts() {
        let start = crate::clock::Clock::manual().now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut streak = Streak::default();
        for seconds in [0, 50, 100, 150, 200, 250, 275] {
            assert_eq!(streak.meet(Code::PermissionDenied, at(seconds)), Duration::ZERO);
        }
        assert_eq!(
            streak.meet(Code::PermissionDenied, at(300)),
            Duration::from_secs(300)
        );
        assert_eq!(streak.meet(Code::NotFound, at(400)), Duration::ZERO);
        assert_eq!(streak.meet(Code::PermissionDenied, at(500)), Duration::ZERO);
        streak.end();
        assert_eq!(streak.meet(Code::PermissionDenied, at(600)), Duration::ZERO);
    }

    #[test]
    fn the_wait_that_the_server_asks_for_is_kept() {
        let mut slow = status(Code::ResourceExhausted, "quota", None);
        let info = rpc::RetryInfo {
            retry_delay: Some(prost_types::Duration {
                seconds: 7,
                nanos: 500_000_000,
            }),
        };
        slow.details.push(prost_types::Any {
            type_url: crate::proto::RETRY_INFO_URL.to_owned(),
            value: info.encode_to_vec(),
        });
        assert_eq!(
            Failure::of(slow.clone()).verdict(),
            Verdict::Slower(Some(Duration::from_millis(7_500)))
        );
        let call = tonic::Status::with_details(Code::ResourceExhausted, "quota", slow.encode_to_vec().into());
        assert_eq!(
            Failure::of_call(&call).verdict(),
            Verdict::Slower(Some(Duration::from_millis(7_500)))
        );
    }
}
