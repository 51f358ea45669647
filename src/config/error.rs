//! What is wrong with a configuration: everything at once, each by its key, each with its cure.

use std::fmt;
use std::path::PathBuf;

use crate::fault::{Classify, Fault};

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The key's path, such as `sources[0].mysql.url`; empty if the file as a whole is meant.
    pub key: String,
    /// What is wrong, without a secret.
    pub what: String,
    /// What to do about it.
    pub cure: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}; {}", self.what, self.cure)
    }
}

/// Every mistake in a configuration; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The file.
    pub path: PathBuf,
    /// Its mistakes, in the order of the file's shape.
    pub errors: Vec<ConfigError>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration {} cannot be used", self.path.display())?;
        for error in &self.errors {
            write!(f, "\n  {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

impl Classify for ConfigErrors {
    fn fault(&self) -> Fault {
        Fault::Fatal
    }

    fn hint(&self) -> Option<String> {
        None
    }
}

/// Mistakes as they are found.
#[derive(Default)]
pub(super) struct Mistakes(pub(super) Vec<ConfigError>);

impl Mistakes {
    /// Notes one.
    pub(super) fn add(&mut self, key: &str, what: impl Into<String>, cure: impl Into<String>) {
        self.0.push(ConfigError {
            key: key.to_owned(),
            what: what.into(),
            cure: cure.into(),
        });
    }

    /// Notes a key of the public shape that is not built.
    pub(super) fn not_built(&mut self, key: &str, what: &str, cure: &str) {
        self.add(key, format!("{what} is not in this version"), cure);
    }

    /// Notes a value that is missing, unless what stood there was refused already.
    pub(super) fn missing(&mut self, key: &str, cure: &str) {
        if !self.0.iter().any(|error| error.key == key) {
            self.add(key, "is required", cure);
        }
    }
}
