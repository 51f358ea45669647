//! What is done before the first task starts: the checkpoint is read, each table's target is looked at and made, the log is
//! opened.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::PipelineError;
use super::lost::{Patience, Vigil};
use super::reopen::is_absent;
use super::retry::MAX_DELAY;
use super::run::{Parts, Plan};
use crate::checkpoint::{Checkpoint, Phase, TableState};
use crate::config::SchemaChanges;
use crate::event::{Epoch, LogPosition, TableId, TableLayout};
use crate::failpoint;
use crate::fault::{Classify, Fault, chain};
use crate::schema::{self, Projection};
use crate::sink::Prepared;
use crate::source::{Kept, Opened, SourceError};

/// What is known before the first task starts.
pub(super) struct Begun {
    pub(super) checkpoint: Checkpoint,
    pub(super) opened: Opened,
    pub(super) known: BTreeMap<TableId, TableState>,
    pub(super) fresh: Vec<TableLayout>,
}

/// Reads the checkpoint, looks at both ends and opens the log; `lost`: what it ended with when it was last read.
///
/// # Errors
/// One of them cannot be reached or is not as it was left.
pub(super) async fn begin(
    parts: &Parts,
    plan: &Plan,
    lost: Option<SourceError>,
) -> Result<Begun, PipelineError> {
    let loaded = parts.store.load().await?;
    let mut known = loaded
        .as_ref()
        .map(|checkpoint| checkpoint.tables.clone())
        .unwrap_or_default();
    leave_out(parts, &mut known);
    parts.source.resume(known.values().map(kept).collect());
    let (from, last) = match &loaded {
        Some(checkpoint) => (Some(checkpoint.position.clone()), checkpoint.epoch),
        None => (None, Epoch(0)),
    };
    let (opened, fresh) = open_as_seen(parts, plan, &mut known, (from, last), lost).await?;
    let is_followed = |state: &&TableState| !matches!(state.phase, Phase::Parked { .. });
    let followed = known.values().filter(is_followed).map(|state| &state.layout);
    let written: Vec<TableId> = followed
        .chain(&fresh)
        .map(|layout| layout.table.clone())
        .collect();
    let apart = parts.sink.tell_apart(&written).await;
    apart.map_err(PipelineError::Sink)?;
    prepare(parts, &known, (&fresh, &plan.policies)).await?;
    let checkpoint = match loaded {
        Some(mut checkpoint) => {
            checkpoint.epoch = checkpoint.epoch.max(opened.position.next.epoch);
            checkpoint.position = opened.position.clone();
            checkpoint.tables.clone_from(&known);
            checkpoint
        }
        None => Checkpoint::new(&plan.pipeline, opened.position.clone()),
    };
    Ok(Begun {
        checkpoint,
        opened,
        known,
        fresh,
    })
}

fn kept(state: &TableState) -> Kept {
    let applying = state
        .applying
        .as_ref()
        .map(|applying| &applying.projection.layout);
    Kept {
        layout: applying.unwrap_or(&state.layout).clone(),
        followed: match state.phase {
            Phase::Opening | Phase::Snapshot(_) | Phase::Streaming | Phase::Refill { .. } => true,
            Phase::Reopening { .. } | Phase::Dropped | Phase::Parked { .. } => false,
        },
    }
}

/// Opens the log, with the new tables as they are at the place that they are followed from: a log that is read from the
/// present does not tell what was done to tables before, so they must have been by then what they were taken for.
async fn open_as_seen(
    parts: &Parts,
    plan: &Plan,
    known: &mut BTreeMap<TableId, TableState>,
    (mut from, last): (Option<LogPosition>, Epoch),
    mut lost: Option<SourceError>,
) -> Result<(Opened, Vec<TableLayout>), PipelineError> {
    let mut fresh = new_tables(parts, known).await?;
    if fresh.is_empty() && known.is_empty() {
        if plan.until_copied {
            return Err(PipelineError::NoTables);
        }
        tracing::warn!("no table matches the configured patterns yet; tables that are made are copied then");
    }
    loop {
        let followed: Vec<TableId> = known
            .keys()
            .chain(fresh.iter().map(|layout| &layout.table))
            .cloned()
            .collect();
        let opened = match lost.take() {
            None => open(parts, plan, from.clone(), last, followed.clone()).await,
            Some(error) => Err(PipelineError::Source(error)),
        };
        let opened = match opened {
            Err(PipelineError::Source(error)) if from.is_some() && plan.patience().begins_anew(&*error) => {
                copy_again(known, &*error);
                from = None;
                open(parts, plan, None, last, followed).await?
            }
            opened => opened?,
        };
        if from.is_some() {
            return Ok((opened, fresh));
        }
        let now = new_tables(parts, known).await?;
        if now == fresh {
            return Ok((opened, fresh));
        }
        tracing::info!("tables were changed while the log was being opened: it is opened again");
        fresh = now;
    }
}

/// The captured tables that are not known, as they are now, by name.
async fn new_tables(
    parts: &Parts,
    known: &BTreeMap<TableId, TableState>,
) -> Result<Vec<TableLayout>, PipelineError> {
    let ids: Vec<TableId> = known.keys().cloned().collect();
    let mut found = parts.source.tables(&ids).await.map_err(PipelineError::Source)?;
    found.sort_by(|one, other| one.table.cmp(&other.table));
    Ok(found)
}

/// What the log does not say any more, a copy does.
fn copy_again(known: &mut BTreeMap<TableId, TableState>, lost: &(dyn Classify + Send + Sync)) {
    let reason = chain(lost);
    tracing::error!(
        error = reason,
        hint = lost.hint(),
        on_position_lost = "resnapshot",
        "position lost: every table is copied again"
    );
    for state in known.values_mut() {
        // Of a parked one a person has to decide, as before.
        if !matches!(state.phase, Phase::Parked { .. }) {
            state.reopen(format!("position lost: {reason}"), false);
        }
    }
}

/// Opens the log; a position that is lost is waited for, unless the pipeline is to end when all is copied.
async fn open(
    parts: &Parts,
    plan: &Plan,
    from: Option<LogPosition>,
    last: Epoch,
    followed: Vec<TableId>,
) -> Result<Opened, PipelineError> {
    let mut vigil = Vigil::new(Arc::clone(&parts.status));
    let patience = Patience {
        copies: from.is_some() && plan.copied_when_lost,
        ..plan.patience()
    };
    loop {
        match parts.source.open(from.clone(), last, followed.clone()).await {
            Ok(opened) => {
                vigil.found();
                return Ok(opened);
            }
            // At the present there is nothing to copy again for.
            Err(error) if patience.waits_for(&*error) => {
                parts.clock.sleep(vigil.lost(&*error)).await;
            }
            Err(error) if vigil.watching() && matches!(error.fault(), Fault::Transient { .. }) => {
                parts.status.source_error(&chain(&*error));
                parts.clock.sleep(MAX_DELAY).await;
            }
            Err(error) => return Err(PipelineError::Source(error)),
        }
    }
}

/// Parks tables that the configuration does not capture any more: their changes pass by from here on, so
/// capturing them again must not look as if they had been followed.
fn leave_out(parts: &Parts, known: &mut BTreeMap<TableId, TableState>) {
    for (table, state) in known
        .iter_mut()
        .filter(|(table, _)| !parts.source.captures(table))
    {
        if !matches!(state.phase, Phase::Parked { .. }) {
            tracing::warn!(%table, "table is not captured any more: parked");
            let cause = "the configuration does not capture it; to have it again, capture it and run `replicator resync` with its name";
            state.phase = Phase::Parked {
                cause: cause.to_owned(),
                at: "start".to_owned(),
            };
        }
    }
}

/// Makes sure that every table has a target of its own, before anything is written.
async fn prepare(
    parts: &Parts,
    known: &BTreeMap<TableId, TableState>,
    (fresh, policies): (&[TableLayout], &SchemaChanges),
) -> Result<(), PipelineError> {
    let mut occupied = Vec::new();
    for layout in fresh {
        let projection = schema::opening(layout, policies);
        tell_held(&projection);
        parts.sink.project(&layout.table, vec![projection]);
        parts
            .sink
            .discard_unused(layout)
            .await
            .map_err(PipelineError::Sink)?;
        if parts.sink.inspect(layout).await.map_err(PipelineError::Sink)? == Prepared::NotEmpty {
            occupied.push(layout.table.clone());
        }
    }
    if !occupied.is_empty() {
        return Err(PipelineError::NotEmpty(occupied));
    }
    let followed = known
        .values()
        // A table that is to be copied again needs nothing of what was there.
        .filter(|state| {
            !matches!(
                state.phase,
                Phase::Parked { .. } | Phase::Dropped | Phase::Reopening { .. }
            )
        });
    // The target of one whose columns are being changed fits the old ones or the new ones; its change is carried out first.
    let (changing, followed): (Vec<&TableState>, Vec<&TableState>) =
        followed.partition(|state| state.is_changing());
    for state in known.values() {
        parts.sink.project(&state.layout.table, state.projections());
    }
    let mut gone = Vec::new();
    for state in &changing {
        let absent = is_absent(&*parts.sink, &state.layout).await;
        if absent.map_err(PipelineError::Sink)? {
            gone.push(state.layout.table.clone());
        }
    }
    let followed: Vec<&TableLayout> = followed.iter().map(|state| &state.layout).collect();
    for layout in &followed {
        if parts.sink.inspect(layout).await.map_err(PipelineError::Sink)? == Prepared::Absent {
            gone.push(layout.table.clone());
        }
    }
    if !gone.is_empty() {
        return Err(PipelineError::TargetGone(gone));
    }
    for layout in fresh.iter().chain(followed) {
        if parts.sink.prepare(layout).await.map_err(PipelineError::Sink)? == Prepared::Created {
            tracing::info!(table = %layout.table, "target table created");
            failpoint::hit(failpoint::TABLE_CREATED);
        }
    }
    Ok(())
}

/// Says of each column of a table that is opened for the first time that it is held back.
pub(super) fn tell_held(projection: &Projection) {
    let layout = &projection.layout;
    for (column, _) in layout
        .columns
        .iter()
        .zip(&projection.columns)
        .filter(|(_, place)| place.is_none())
    {
        tracing::warn!(
            table = %layout.table,
            column = %column.name,
            "column is held back: `replicator resync` of the table writes it once schema_changes.hold_names lets it"
        );
    }
}
