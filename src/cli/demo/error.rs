//! Why the demo could not be carried through.

use crate::compare::CompareError;
use crate::fault::{Classify, Fault};
use crate::task::Panicked;

/// What went wrong with the demo itself. Tables that are not equal are a result and no error.
#[derive(Debug, thiserror::Error)]
pub(super) enum DemoError {
    /// A file or a process.
    #[error("{what}")]
    Io {
        /// What was attempted.
        what: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// There is no MySQL to start.
    #[error("there is no MySQL server to start")]
    NoServer,
    /// A program ended that should run, or did not start in time.
    #[error("{name} {what}; the end of its log:\n{log}")]
    Program {
        /// Its name.
        name: &'static str,
        /// What it did.
        what: String,
        /// The last lines of its log.
        log: String,
    },
    /// The source refused.
    #[error("MySQL")]
    Mysql(#[from] mysql_async::Error),
    /// The DynamoDB table refused.
    #[error("DynamoDB")]
    Dynamodb(#[source] Box<aws_sdk_dynamodb::Error>),
    /// The HTTP client.
    #[error("HTTP")]
    Http(#[from] reqwest::Error),
    /// The comparison.
    #[error("comparing source and target")]
    Compare(#[from] CompareError),
    /// The load.
    #[error(transparent)]
    Panicked(#[from] Panicked),
    /// Interrupted by a signal.
    #[error("interrupted")]
    Interrupted,
    /// It took too long.
    #[error("the demo took more than {seconds} s")]
    Timeout {
        /// The bound.
        seconds: u64,
    },
}

impl Classify for DemoError {
    fn fault(&self) -> Fault {
        Fault::Fatal
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            DemoError::NoServer => {
                "run it in a checkout of the repository (`make demo`), have mysqld in PATH, or name one with \
                 --mysqld"
            }
            DemoError::Interrupted => return None,
            DemoError::Compare(error) => return error.hint(),
            DemoError::Io { .. }
            | DemoError::Program { .. }
            | DemoError::Mysql(_)
            | DemoError::Dynamodb(_)
            | DemoError::Http(_)
            | DemoError::Panicked(_)
            | DemoError::Timeout { .. } => "run it again with --keep, which leaves all logs behind",
        };
        Some(text.to_owned())
    }
}

impl DemoError {
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> DemoError {
        let what = what.into();
        move |source| DemoError::Io { what, source }
    }
}

impl From<aws_sdk_dynamodb::Error> for DemoError {
    fn from(error: aws_sdk_dynamodb::Error) -> DemoError {
        DemoError::Dynamodb(Box::new(error))
    }
}
