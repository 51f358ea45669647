//! Sees to tables beside the stream: opens those that appear, carries out changes of columns, copies
//! tables again whose rows changed without row events, and sweeps what is gone. Each table is seen to by
//! one job at a time; what is due is in the table's durable state, so a restart goes on where this one was.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};

use super::error::PipelineError;
use super::follow::{OpenRequest, Opening};
use super::mark::Mark;
use super::message::{self, Message};
use super::releases::Release;
use super::snapshot::{self, Copying, Failed, sink_failed};
use super::work::{Change, Work};
use crate::checkpoint::{Applying, Phase, TableState};
use crate::config::{AddedDefault, Adding, SchemaChanges};
use crate::event::{AlterSaid, Break, BreakCause, LogPosition, TableId, TableLayout};
use crate::failpoint;
use crate::schema::{self, Happened, Planned, Projection, SchemaChange, TargetColumn, Unfit};
use crate::sink::BoxFuture;

/// Tables that are seen to at the same time, at most.
const JOBS: usize = 64;
/// How often it is looked whether a position is safe.
const POLL: Duration = Duration::from_millis(200);

/// What seeing to tables needs.
#[derive(Debug, Clone)]
pub struct Warden {
    /// The ends, the keeper and what is shared.
    pub copying: Copying,
    /// Asks the follower to open tables.
    pub opens: mpsc::Sender<OpenRequest>,
    /// Tells the follower to let go of what waits.
    pub releases: mpsc::Sender<Release>,
    /// How tables are opened.
    pub opening: Opening,
    /// What is done where columns change.
    pub policies: Arc<SchemaChanges>,
    /// Jobs under way.
    pub busy: Arc<AtomicUsize>,
}

type Job = BoxFuture<'static, (TableId, Result<(), Failed>)>;

impl Warden {
    /// Sees to tables until stopped.
    ///
    /// # Errors
    /// What the source or the target cannot recover from.
    pub async fn run(self) -> Result<(), PipelineError> {
        let (mut jobs, mut busy) = (FuturesUnordered::<Job>::new(), HashSet::new());
        let (mut sweeps, mut sweeping) = (FuturesUnordered::<Job>::new(), HashSet::new());
        let routes = Arc::clone(&self.copying.shared.routes);
        loop {
            self.busy.store(jobs.len() + sweeps.len(), Ordering::SeqCst);
            tokio::select! {
                biased;
                () = self.copying.stop.cancelled() => return Ok(()),
                Some((table, end)) = jobs.next() => {
                    busy.remove(&table);
                    self.ended(&table, end).await?;
                    if self.wants_sweep(&table).await? && sweeping.insert(table.clone()) {
                        sweeps.push(self.clone().job(table, None));
                    }
                }
                Some((table, end)) = sweeps.next() => {
                    sweeping.remove(&table);
                    self.ended(&table, end).await?;
                    if self.wants_sweep(&table).await? {
                        routes.ask(&table, Work::Look);
                    }
                }
                (table, work) = routes.wanted(|table| busy.contains(table)), if jobs.len() < JOBS => {
                    self.busy.fetch_add(1, Ordering::SeqCst);
                    busy.insert(table.clone());
                    jobs.push(self.clone().job(table, Some(work)));
                }
            }
        }
    }

    /// Something to do; `None`: a sweep.
    fn job(self, table: TableId, work: Option<Work>) -> Job {
        Box::pin(async move {
            let end = match work {
                Some(Work::Change(change)) => self.change(&table, *change).await,
                Some(Work::Look) => self.look(&table).await,
                None => self.sweep(&table).await,
            };
            (table, end)
        })
    }

    async fn ended(&self, table: &TableId, end: Result<(), Failed>) -> Result<(), PipelineError> {
        match end {
            Ok(()) | Err(Failed::Stopped | Failed::Parked) => Ok(()),
            Err(Failed::Pipeline(error)) => Err(error),
            Err(Failed::Table(cause) | Failed::Outdated(cause)) => self.park(table, cause).await,
        }
    }

    /// Parks a table for good and lets go of what waits for it.
    async fn park(&self, table: &TableId, cause: String) -> Result<(), PipelineError> {
        let (state, position) = self.read(table).await?;
        if state.is_none() {
            tracing::error!(%table, cause, "new table is not copied");
            self.copying.shared.routes.park(table);
            self.copying.shared.status.parked(table, &cause);
            return Ok(());
        }
        let why = cause.clone();
        self.durably(|reply| Message::Parked(table.clone(), cause, reply))
            .await?;
        self.let_go(Release::Drop(table.clone())).await?;
        self.kept_of(Happened::Parked, (table, Some(position.next)), why)
            .await;
        Ok(())
    }

    /// A table's columns changed.
    async fn change(&self, table: &TableId, change: Change) -> Result<(), Failed> {
        let (Some(state), _) = self.read(table).await? else {
            return Ok(());
        };
        if !self.copying.shared.routes.is_held(table) {
            return Ok(());
        }
        let planned = match self.plan(&state, &change.layout, &change.said) {
            Ok(planned) => planned,
            Err(unfit) => return Ok(self.unfit(table, &unfit, &change).await?),
        };
        self.tell_held(table, &planned);
        let copying = matches!(
            state.phase,
            Phase::Opening | Phase::Snapshot(_) | Phase::Refill { .. }
        );
        let goes_on = change.said.copies_go_on && !change.late && planned.refill.is_none();
        let refill = match (&planned.refill, copying) {
            (_, true) if goes_on => None,
            (_, true) => Some("its columns changed while it was being copied".to_owned()),
            (_, false) if change.late => {
                let reason = "several statements changed it before its columns were read";
                self.affordable(table, reason).await?
            }
            (Some(reason), false) => self.affordable(table, reason).await?,
            (None, false) => None,
        };
        let rekeyed = planned.rekeyed || (change.late && refill.is_some());
        if rekeyed && refill.is_none() {
            let reason = planned.refill.unwrap_or_default();
            return Ok(self.unfit(table, &Unfit::Key(reason), &change).await?);
        }
        let applying = Applying {
            at: change.at,
            statement: change.statement.to_string(),
            projection: planned.projection,
            target: planned.target,
            evolution: planned.evolution,
            refill,
            rekeyed,
        };
        self.drained(table).await?;
        let intended = applying.clone();
        self.durably(|reply| Message::Applying(table.clone(), Box::new(intended), reply))
            .await?;
        failpoint::hit(failpoint::CHANGE_INTENDED);
        self.apply(table, applying).await
    }

    /// Carries out a change that is durably intended, and lets the table flow on.
    async fn apply(&self, table: &TableId, applying: Applying) -> Result<(), Failed> {
        let began = self.copying.shared.clock.now();
        let statements = self
            .copying
            .sink
            .evolve(&applying.projection, &applying.evolution)
            .await
            .map_err(|error| sink_failed(table, error))?;
        failpoint::hit(failpoint::CHANGE_MADE);
        let took = self.copying.shared.clock.now().duration_since(began);
        // Before it counts as done: a process that is killed in between keeps it again.
        self.kept(SchemaChange {
            table: table.clone(),
            happened: Happened::Columns,
            at: Some(applying.at),
            statement: applying.statement.clone(),
            cause: applying.refill.clone().unwrap_or_default(),
            ran: statements.clone(),
            took,
        })
        .await;
        self.durably(|reply| Message::Applied(table.clone(), reply))
            .await?;
        let took_ms = took.as_millis();
        tracing::info!(%table, at = %applying.at, ?statements, took_ms, "columns of the target changed");
        let (Some(state), _) = self.read(table).await? else {
            return Ok(());
        };
        let (refill, copied) = match state.phase {
            Phase::Refill { .. } => (true, false),
            Phase::Opening | Phase::Snapshot(_) => (false, true),
            Phase::Streaming | Phase::Reopening { .. } | Phase::Dropped | Phase::Parked { .. } => {
                (false, false)
            }
        };
        if copied {
            // Whoever copies it with the columns before makes room for who does with these.
            self.copying.shared.routes.again(table);
        }
        self.let_go(Release::Write(Box::new(state))).await?;
        match (refill, copied) {
            (true, _) => self.refill(table).await,
            (false, true) => self.copy_on(table).await,
            (false, false) => Ok(()),
        }
    }

    /// Goes on with a copy that is under way, with the columns that the table has now.
    async fn copy_on(&self, table: &TableId) -> Result<(), Failed> {
        // By a boundary the follower has let go of what waited, so that the table is open, or held anew.
        let (_, at) = self.at_boundary(|_| Vec::new()).await?;
        let (state, _) = self.read(table).await?;
        self.copy(state.into_iter().collect(), at).await
    }

    pub(super) fn plan(
        &self,
        state: &TableState,
        layout: &TableLayout,
        said: &AlterSaid,
    ) -> Result<Planned, Unfit> {
        self.plan_from((&state.target(), &state.projection()), layout, said)
    }

    /// What becomes of a target with these columns, of which some are written.
    pub(super) fn plan_from(
        &self,
        (target, before): (&[TargetColumn], &Projection),
        layout: &TableLayout,
        said: &AlterSaid,
    ) -> Result<Planned, Unfit> {
        let sink = &self.copying.sink;
        let fits = |was, is, key| sink.fit(was, is, key);
        schema::plan(target, before, layout, said, (&self.policies, &fits))
    }

    /// A change that no change of the target's columns can follow. Of one whose statement was not seen in time, names
    /// that changed are not known: the columns that the table has by now may fit, and are seen where it is opened again.
    async fn unfit(&self, table: &TableId, unfit: &Unfit, change: &Change) -> Result<(), PipelineError> {
        if change.late || change.statement.is_empty() {
            let routes = &self.copying.shared.routes;
            routes.close(table);
            self.durably(|reply| Message::Reopen(table.clone(), unfit.to_string(), reply))
                .await?;
            self.let_go(Release::Drop(table.clone())).await?;
            routes.ask(table, Work::Look);
            return Ok(());
        }
        let at = change.at;
        let mark = Mark::Park(Break {
            table: table.clone(),
            cause: BreakCause::LayoutChanged(unfit.to_string()),
            at,
        });
        self.durably(|reply| Message::Marks(vec![mark], reply)).await?;
        self.let_go(Release::Drop(table.clone())).await?;
        self.kept(SchemaChange {
            table: table.clone(),
            happened: Happened::Parked,
            at: Some(at),
            statement: change.statement.to_string(),
            cause: unfit.to_string(),
            ran: Vec::new(),
            took: Duration::ZERO,
        })
        .await;
        Ok(())
    }

    pub(super) fn tell_held(&self, table: &TableId, planned: &Planned) {
        for (column, policy) in &planned.held {
            match policy {
                Adding::Hold => tracing::warn!(
                    %table, %column,
                    "column is held back: `replicator resync` of the table writes it once schema_changes.hold_names and add_column let it"
                ),
                Adding::Ignore => tracing::info!(%table, %column, "column is not written"),
                Adding::Add => {}
            }
        }
    }

    /// Why a table is to be copied again, unless it is too large or that is not wanted.
    pub(super) async fn affordable(&self, table: &TableId, reason: &str) -> Result<Option<String>, Failed> {
        let copying = &self.copying;
        let size = copying
            .again("estimate", || copying.source.estimate(table))
            .await?;
        let limit = self.policies.resnapshot_limit;
        let wanted =
            self.policies.added_default == AddedDefault::Resnapshot && self.opening != Opening::Followed;
        if wanted && size.bytes <= limit {
            return Ok(Some(reason.to_owned()));
        }
        tracing::warn!(
            %table,
            reason,
            bytes = size.bytes,
            limit,
            cure = format!("replicator resync {table}"),
            "rows that exist keep what the target has: the table is not copied again by itself"
        );
        Ok(None)
    }

    /// Does what a table's state says is due.
    async fn look(&self, table: &TableId) -> Result<(), Failed> {
        loop {
            let (state, _) = self.read(table).await?;
            let Some(state) = state else {
                return self.open(table, None).await;
            };
            if let (true, Some(applying)) = (state.is_changing(), &state.applying) {
                self.drained(table).await?;
                return self.apply(table, Applying::clone(applying)).await;
            }
            match &state.phase {
                Phase::Parked { .. } | Phase::Opening | Phase::Snapshot(_) | Phase::Streaming => {
                    return Ok(());
                }
                Phase::Dropped => {
                    if self.layout(table).await?.is_none() {
                        return Ok(());
                    }
                    let cause = "it was dropped and is there again".to_owned();
                    self.durably(|reply| Message::Reopen(table.clone(), cause, reply))
                        .await?;
                }
                Phase::Reopening { .. } => return self.open(table, Some(state)).await,
                Phase::Refill { .. } => return self.refill(table).await,
            }
        }
    }

    /// Copies a table again beside its stream.
    async fn refill(&self, table: &TableId) -> Result<(), Failed> {
        let (state, _) = self.read(table).await?;
        let Some(Phase::Refill { cause }) = state.map(|state| state.phase) else {
            return Ok(());
        };
        tracing::info!(%table, cause, "rows that exist are read again");
        loop {
            let (reply, opened) = oneshot::channel();
            let request = OpenRequest::Refill {
                table: table.clone(),
                opening: self.opening,
                reply,
            };
            let (states, at) = self.asked(request, opened).await?;
            if !states.is_empty() {
                return self.copy(states, at).await;
            }
            let (state, _) = self.read(table).await?;
            let Some(state) = state.filter(|state| matches!(state.phase, Phase::Refill { .. })) else {
                return Ok(());
            };
            let routes = &self.copying.shared.routes;
            if routes.is_held(table) || !routes.is_flowing(table) {
                // That change brings a copy of its own.
                return Ok(());
            }
            if state.copied == Some(at.next) {
                self.copying.log_moves(table).await?;
            } else {
                self.polled().await?;
            }
        }
    }

    async fn polled(&self) -> Result<(), Failed> {
        let copying = &self.copying;
        tokio::select! {
            biased;
            () = copying.stop.cancelled() => Err(Failed::Stopped),
            () = copying.shared.clock.sleep(POLL) => Ok(()),
        }
    }

    pub(super) async fn copy(&self, states: Vec<TableState>, at: LogPosition) -> Result<(), Failed> {
        snapshot::copy(self.copying.clone(), states, at)
            .await
            .map_err(Failed::Pipeline)
    }

    pub(super) async fn at_boundary(
        &self,
        states: impl FnOnce(&LogPosition) -> Vec<TableState> + Send + 'static,
    ) -> Result<(Vec<TableState>, LogPosition), Failed> {
        let (reply, opened) = oneshot::channel();
        let request = OpenRequest::Open {
            states: Box::new(states),
            reply,
        };
        self.asked(request, opened).await
    }

    async fn asked<T>(&self, request: OpenRequest, answer: oneshot::Receiver<T>) -> Result<T, Failed> {
        if self.opens.send(request).await.is_err() {
            return Err(Failed::Stopped);
        }
        tokio::select! {
            biased;
            () = self.copying.stop.cancelled() => Err(Failed::Stopped),
            answer = answer => answer.map_err(|_| Failed::Stopped),
        }
    }

    /// Deletes what the target has of rows that are gone.
    async fn sweep(&self, table: &TableId) -> Result<(), Failed> {
        let copying = &self.copying;
        let at = loop {
            let (state, position) = self.read(table).await?;
            let Some(at) = state.and_then(|state| state.sweep) else {
                return Ok(());
            };
            // Rows before that are under way would not be found.
            if position.next >= at {
                break at;
            }
            self.polled().await?;
        };
        let (Some(state), _) = self.read(table).await? else {
            return Ok(());
        };
        let projection = state.projection();
        let swept = tokio::select! {
            biased;
            () = copying.stop.cancelled() => return Err(Failed::Stopped),
            swept = copying.sink.sweep(&projection, at) => swept.map_err(|error| sink_failed(table, error))?,
        };
        tracing::info!(%table, at = %at, keys = swept, "rows that are gone were swept");
        failpoint::hit(failpoint::SWEPT);
        // How many there were a sweep that is repeated would say otherwise.
        let gone = "rows that are gone from the source were deleted".to_owned();
        self.kept_of(Happened::Swept, (table, Some(at)), gone).await;
        Ok(copying.tell(Message::Swept(table.clone(), at)).await?)
    }

    async fn wants_sweep(&self, table: &TableId) -> Result<bool, PipelineError> {
        let (state, _) = self.read(table).await?;
        Ok(state.is_some_and(|state| state.sweep.is_some() && matches!(state.phase, Phase::Streaming)))
    }

    pub(super) async fn layout(&self, table: &TableId) -> Result<Option<TableLayout>, Failed> {
        let copying = &self.copying;
        copying.again("layout", || copying.source.layout(table)).await
    }

    pub(super) async fn drained(&self, table: &TableId) -> Result<(), Failed> {
        tokio::select! {
            biased;
            () = self.copying.stop.cancelled() => Err(Failed::Stopped),
            () = self.copying.shared.routes.drained(table) => Ok(()),
        }
    }

    pub(super) async fn read(
        &self,
        table: &TableId,
    ) -> Result<(Option<TableState>, LogPosition), PipelineError> {
        let (reply, answer) = oneshot::channel();
        self.copying.tell(Message::Read(table.clone(), reply)).await?;
        answer.await.map_err(|_| PipelineError::Gone("keeper"))
    }

    pub(super) async fn durably(
        &self,
        told: impl FnOnce(oneshot::Sender<()>) -> Message,
    ) -> Result<(), PipelineError> {
        message::durably(&self.copying.keeper, told).await
    }

    pub(super) async fn let_go(&self, release: Release) -> Result<(), PipelineError> {
        self.releases
            .send(release)
            .await
            .map_err(|_| PipelineError::Gone("log follower"))
    }
}
