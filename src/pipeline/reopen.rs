//! Opens a table that is not followed, at a commit boundary and with the columns that it has by then: one that is
//! new, came back, changed without row events, or that a person wants to be copied again.

use std::time::Duration;

use super::begin::tell_held;
use super::breaks;
use super::error::PipelineError;
use super::follow::Opening;
use super::message::Message;
use super::releases::Release;
use super::snapshot::{Failed, sink_failed};
use super::warden::Warden;
use super::work::Work;
use crate::checkpoint::{Phase, TableState};
use crate::config::Adding;
use crate::event::{AlterSaid, TableId, TableLayout};
use crate::fault::Fault;
use crate::schema::{self, Happened, Projection, TargetColumn};
use crate::sink::{Prepared, Sink, SinkError};

/// What writes past row events rarely does it once: how long it is left to end before its table is copied again.
const SETTLING: Duration = Duration::from_secs(5);

impl Warden {
    /// Opens a table: at the next boundary, with the columns that it has now.
    pub(super) async fn open(&self, table: &TableId, state: Option<TableState>) -> Result<(), Failed> {
        let copying = &self.copying;
        copying.shared.routes.close(table);
        self.let_go(Release::Drop(table.clone())).await?;
        self.drained(table).await?;
        if let Some(Phase::Reopening {
            cause, bounded: true, ..
        }) = state.as_ref().map(|state| &state.phase)
        {
            self.may_copy(table, cause).await?;
        }
        copying.shared.routes.settle(table);
        let cause = match state.as_ref().map(|state| &state.phase) {
            Some(Phase::Reopening { cause, .. }) => cause.clone(),
            _ => "it is new".to_owned(),
        };
        let Some(layout) = self.layout(table).await? else {
            return Ok(self.vanished(table).await?);
        };
        self.told_apart(table).await?;
        let copied = state.as_ref().map(TableState::numbered);
        let (projection, target, filled) = match state {
            Some(state) if !self.is_gone(&state).await? => {
                let (projection, target) = self.evolved(state, &layout).await?;
                (projection, target, true)
            }
            state => {
                let projection = schema::opening(&layout, &self.policies);
                self.prepare(&projection, state.is_some()).await?;
                let target = projection.columns.iter().flatten().cloned().collect();
                (projection, target, false)
            }
        };
        // Rows of an earlier copy have numbers: those of this one must be above.
        let before = copied.filter(|_| filled);
        let opening = self.opening;
        if filled && opening == Opening::Followed {
            tracing::warn!(
                %table,
                "rows of its target that are not in the source stay there: snapshot.mode is never"
            );
        }
        // What is not copied must not be swept: nothing would confirm the rows that are there.
        let sweep = filled && opening != Opening::Followed;
        let least = before.and_then(|_| self.copying.source.renumber(table));
        loop {
            let (projection, target) = (projection.clone(), target.clone());
            let (states, at) = self
                .at_boundary(move |at| {
                    let low = before.map_or_else(|| Some(at.next.first_low()), |low| at.next.low_after(low));
                    let low = low.filter(|low| least.is_none_or(|least| low.epoch >= least));
                    let begun = low.map(|low| {
                        let phase = opening.phase(at, low);
                        let mut state = TableState::begun(projection, target, at.next, phase);
                        state.sweep = sweep.then_some(low);
                        state.copied = before;
                        state
                    });
                    begun.into_iter().collect()
                })
                .await?;
            if states.is_empty() {
                copying.log_moves(table).await?;
                continue;
            }
            let floor = states.first().map(|state| state.floor);
            self.kept_of(Happened::Opened, (table, floor), cause).await;
            return self.copy(states, at).await;
        }
    }

    /// A table is not there; one of its name may have come since it was looked for.
    async fn vanished(&self, table: &TableId) -> Result<(), PipelineError> {
        self.durably(|reply| Message::Gone(table.clone(), reply)).await?;
        let routes = &self.copying.shared.routes;
        if routes.is_stirred(table) {
            routes.ask(table, Work::Look);
        }
        Ok(())
    }

    /// Whether a table that the log lost may be copied again without being asked for.
    async fn may_copy(&self, table: &TableId, cause: &str) -> Result<(), Failed> {
        let copying = &self.copying;
        let refused = |why: &str| Failed::Table(format!("{cause}; {why}; {}", breaks::resync(table)));
        if self.opening == Opening::Followed {
            return Err(refused("snapshot.mode is never"));
        }
        let size = copying
            .again("estimate", || copying.source.estimate(table))
            .await?;
        let limit = self.policies.resnapshot_limit;
        if size.bytes > limit {
            let why = format!(
                "it is not copied again by itself, for it has {} bytes and schema_changes.resnapshot_limit is {limit}",
                size.bytes
            );
            return Err(refused(&why));
        }
        tokio::select! {
            biased;
            () = copying.stop.cancelled() => Err(Failed::Stopped),
            () = copying.shared.clock.sleep(SETTLING) => Ok(()),
        }
    }

    /// Whether no other table is written to the same target: one that was parked at the start for that may be
    /// asked for.
    async fn told_apart(&self, table: &TableId) -> Result<(), Failed> {
        let (routes, sink) = (&self.copying.shared.routes, &self.copying.sink);
        let mut written = routes.tables();
        written.retain(|one| one == table || routes.is_flowing(one));
        sink.tell_apart(&written)
            .await
            .map_err(|error| match error.fault() {
                Fault::Transient { .. } => Failed::Pipeline(PipelineError::Sink(error)),
                Fault::Table(_) | Fault::Fatal => Failed::Table(breaks::explain(table, &*error)),
            })
    }

    /// Whether a table's target, which was made, is not there any more.
    async fn is_gone(&self, state: &TableState) -> Result<bool, Failed> {
        let sink = &self.copying.sink;
        sink.project(&state.layout.table, state.projections());
        is_absent(&**sink, &state.layout)
            .await
            .map_err(|error| Failed::Pipeline(PipelineError::Sink(error)))
    }

    /// Gives a target that is there the columns that a table has now.
    async fn evolved(
        &self,
        mut state: TableState,
        layout: &TableLayout,
    ) -> Result<(Projection, Vec<TargetColumn>), Failed> {
        let (table, sink) = (&layout.table, &self.copying.sink);
        if let Some(applying) = state.applying.take() {
            // It may have been carried out in part.
            let finished = sink.evolve(&applying.projection, &applying.evolution).await;
            finished.map_err(|error| sink_failed(table, error))?;
            state.applied(*applying);
        }
        let before = schema::let_in(&state.projection(), &self.policies);
        let planned = self
            .plan_from((&state.target(), &before), layout, &AlterSaid::default())
            .map_err(|unfit| Failed::Table(breaks::unfit(table, &unfit)))?;
        self.tell_held(table, &planned);
        let evolved = sink.evolve(&planned.projection, &planned.evolution).await;
        evolved.map_err(|error| sink_failed(table, error))?;
        Ok((planned.projection, planned.target))
    }

    /// Makes the target of a table that was never opened, or whose target a person removed.
    async fn prepare(&self, projection: &Projection, known: bool) -> Result<(), Failed> {
        let layout = &projection.layout;
        if !known && self.policies.new_table != Adding::Add {
            let cause = "schema_changes.new_table keeps new tables from being copied".to_owned();
            return Err(Failed::Table(cause));
        }
        let (table, sink) = (&layout.table, &self.copying.sink);
        tell_held(projection);
        sink.project(table, vec![projection.clone()]);
        if !known {
            let discarded = sink.discard_unused(layout).await;
            discarded.map_err(|error| sink_failed(table, error))?;
        }
        let inspected = sink.inspect(layout).await;
        if inspected.map_err(|error| sink_failed(table, error))? == Prepared::NotEmpty {
            let cause = format!(
                "its target holds rows already, and nothing says which; drop the target table, then {}",
                breaks::resync(table)
            );
            return Err(Failed::Table(cause));
        }
        let prepared = sink.prepare(layout).await;
        prepared.map_err(|error| sink_failed(table, error))?;
        Ok(())
    }
}

/// Whether a table has no target. Whether one that it has fits, or can be made to, is not asked.
///
/// # Errors
/// The sink cannot tell.
pub(super) async fn is_absent(sink: &dyn Sink, layout: &TableLayout) -> Result<bool, SinkError> {
    match sink.inspect(layout).await {
        Ok(prepared) => Ok(prepared == Prepared::Absent),
        Err(error) if matches!(error.fault(), Fault::Table(_)) => Ok(false),
        Err(error) => Err(error),
    }
}
