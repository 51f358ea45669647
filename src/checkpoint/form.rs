//! A checkpoint as text, the same in a file and in a bucket, so that moving from one to the other is
//! copying it. JSON on purpose: an operator may have to read it at three in the morning. In a bucket it
//! also says who owns the pipeline.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Checkpoint, CheckpointError, VERSION};

/// Who owns a pipeline whose checkpoint is in a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The process: host, process id and a random number.
    pub owner: String,
    /// Rises with every write: while it does, the owner lives.
    pub counter: u64,
    /// When the owner took it, Unix seconds.
    pub taken: i64,
}

/// What a place holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Document {
    /// `None` until the first one is written.
    pub(super) checkpoint: Option<Checkpoint>,
    /// `None` in files, and in buckets where nobody owns the pipeline.
    pub(super) lease: Option<Lease>,
}

#[derive(Serialize)]
struct Written<'a> {
    #[serde(flatten)]
    checkpoint: &'a Checkpoint,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<&'a Lease>,
}

#[derive(Serialize)]
struct Unwritten<'a> {
    version: u32,
    pipeline: &'a str,
    lease: Option<&'a Lease>,
}

/// What a document is for, as errors name it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Of<'a> {
    pub(super) place: &'a str,
    pub(super) pipeline: &'a str,
}

impl Document {
    /// The text to keep.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`] for what JSON cannot hold.
    pub(super) fn to_text(&self, of: Of<'_>) -> Result<Vec<u8>, CheckpointError> {
        let lease = self.lease.as_ref();
        let text = match &self.checkpoint {
            Some(checkpoint) => serde_json::to_vec_pretty(&Written { checkpoint, lease }),
            None => serde_json::to_vec_pretty(&Unwritten {
                version: VERSION,
                pipeline: of.pipeline,
                lease,
            }),
        };
        text.map_err(|error| of.malformed(&error.to_string()))
    }

    /// Reads a text that is there.
    ///
    /// # Errors
    /// [`CheckpointError`]: it is no checkpoint, of a newer version, or of another pipeline.
    pub(super) fn from_text(of: Of<'_>, bytes: &[u8]) -> Result<Document, CheckpointError> {
        let failed = |error: serde_json::Error| of.malformed(&error.to_string());
        // The version first: a newer form need not fit this version's fields.
        let mut value: Value = serde_json::from_slice(bytes).map_err(failed)?;
        match value.get("version").and_then(Value::as_u64) {
            Some(found) if (1..=u64::from(VERSION)).contains(&found) => {}
            Some(found) => {
                return Err(CheckpointError::Version {
                    place: of.place.to_owned(),
                    found,
                });
            }
            None => return Err(of.malformed("it has no version")),
        }
        match value.get("pipeline").and_then(Value::as_str) {
            Some(found) if found == of.pipeline => {}
            found => {
                return Err(CheckpointError::Pipeline {
                    place: of.place.to_owned(),
                    found: found.unwrap_or("without a name").to_owned(),
                });
            }
        }
        let lease = value.as_object_mut().and_then(|fields| fields.remove("lease"));
        let lease = lease.map(serde_json::from_value).transpose().map_err(failed)?;
        // Before the first checkpoint there is a lease and nothing else; anything else without a position
        // is a broken checkpoint.
        let only_lease = lease.is_some() && value.as_object().is_some_and(|fields| fields.len() == 2);
        let checkpoint = if only_lease {
            None
        } else {
            let mut checkpoint: Checkpoint = serde_json::from_value(value).map_err(failed)?;
            // Older forms lack what has a default; what is written next is of this one.
            checkpoint.version = VERSION;
            Some(checkpoint)
        };
        Ok(Document { checkpoint, lease })
    }
}

impl Of<'_> {
    fn malformed(self, reason: &str) -> CheckpointError {
        CheckpointError::Malformed {
            place: self.place.to_owned(),
            reason: reason.to_owned(),
        }
    }
}
