//! Values that must not be printed.

use std::fmt;
use std::path::PathBuf;

/// A secret: shown as `***` wherever it is formatted.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    Text(String),
    File(PathBuf),
}

impl Secret {
    /// A secret that is known now.
    pub fn text(value: impl Into<String>) -> Secret {
        Secret(Kind::Text(value.into()))
    }

    /// A secret in a file, read at each use, so that a rotated one is picked up by the next connection.
    pub fn file(path: impl Into<PathBuf>) -> Secret {
        Secret(Kind::File(path.into()))
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        matches!(&self.0, Kind::Text(value) if value.is_empty())
    }

    /// The secret itself; of a file, its text without trailing line ends.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn reveal(&self) -> std::io::Result<String> {
        match &self.0 {
            Kind::Text(value) => Ok(value.clone()),
            Kind::File(path) => Ok(std::fs::read_to_string(path)?
                .trim_end_matches(['\r', '\n'])
                .to_owned()),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret::text("swordfish")), "***");
    }

    #[test]
    fn a_file_is_read_again_at_each_use() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let secret = Secret::file(&path);
        std::fs::write(&path, "one\n").unwrap();
        assert_eq!(secret.reveal().unwrap(), "one");
        std::fs::write(&path, "two\r\n").unwrap();
        assert_eq!(secret.reveal().unwrap(), "two");
    }
}
