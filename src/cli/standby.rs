//! An instance whose pipeline another one owns: alive, not ready, until the other is gone. Only a checkpoint
//! in a bucket makes it possible; a file's lock is for one machine, which starts one instance.

use std::time::Duration;

use super::Failure;
use super::start::{Health, Waiting, failed};
use crate::checkpoint::{ABANDONED, Standby, Store};

/// How often the owner's sign of life is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Waits for the pipeline; `None` if told to stop meanwhile.
///
/// # Errors
/// The checkpoint cannot be read or written, or the owner lives and nobody is to wait for it.
pub(super) async fn wait(
    mut standby: Standby,
    waiting: Waiting,
    health: &mut Health,
) -> Result<Option<Store>, Failure> {
    health.serve().await?;
    let first = standby.holder().cloned();
    let mut told = None;
    loop {
        if let Some(holder) = standby.holder()
            && told.as_ref() != Some(&holder.owner)
        {
            tracing::info!(
                owner = holder.owner,
                taken_unix = holder.taken,
                patience_s = ABANDONED.as_secs(),
                "another instance owns the pipeline, standing by until it shows no life"
            );
            told = Some(holder.owner.clone());
        }
        health.status.standby(Some(
            told.clone().unwrap_or_else(|| "another instance".to_owned()),
        ));
        tokio::select! {
            biased;
            () = health.stop.cancelled() => return Ok(None),
            () = health.clock.sleep(LOOK) => {}
        }
        if let Some(store) = standby.attempt().await.map_err(|error| failed(&error))? {
            health.status.standby(None);
            return Ok(Some(store.into()));
        }
        if waiting.no_wait && standby.holder() != first.as_ref() {
            return Err(failed(&standby.in_use()));
        }
    }
}
