//! Targets that a start made and did not live to record. What the source did to such a table in the meantime is in no target
//! and no checkpoint, so the next start finds one of its own with other columns than it needs.

use reqwest::StatusCode;

use super::misfits::misfits;
use super::{Error, Found, Tables, path, refused};
use crate::sink::bigquery::plan::Target;
use crate::sink::bigquery::rest::Call;

/// What says whose a table is.
pub(super) const OWNER: &str = "replicator_pipeline";

impl Tables {
    /// Deletes a table that this pipeline made, nobody ever wrote to, and which has other columns than the ones that it
    /// would be made with today. Nobody can have a connection to it. Returns whether there was one.
    ///
    /// # Errors
    /// What the calls failed with.
    pub(in crate::sink::bigquery) async fn discard_unused(&self, target: &Target) -> Result<bool, Error> {
        let place = &target.destination.place;
        let Some(found) = self.find(place).await? else {
            return Ok(false);
        };
        let ours = found
            .labels
            .get(OWNER)
            .is_some_and(|owner| *owner == self.jobs.pipeline);
        if !ours || is_as_made(target, &found) || self.was_written(place, &found).await? {
            return Ok(false);
        }
        tracing::warn!(
            table = %target.layout.table,
            target = %place,
            "its target was made by a start that ended before it was recorded, and the source changed since: it is made anew"
        );
        match self.rest.call(&Call::delete(path(place))).await? {
            Ok(_) => Ok(true),
            Err(refusal) if refusal.status == StatusCode::NOT_FOUND => Ok(true),
            Err(refusal) => Err(refused(place, refusal)),
        }
    }
}

fn is_as_made(target: &Target, found: &Found) -> bool {
    found.schema.fields.len() == target.fields().count() && misfits(target, found).is_empty()
}
