//! Starts the tasks of a pipeline and stops them all when one ends.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::error::PipelineError;
use super::follow::{Follow, OpenRequest, Opening, Requests};
use super::keeper::Keeper;
use super::message::{InFlight, Message, Shared};
use super::releases::Release;
use super::routes::Routes;
use super::snapshot::{self, Copying};
use super::steer::Steering;
use super::warden::Warden;
use super::work::Work;
use crate::checkpoint::{Checkpoint, Phase, Store, TableState};
use crate::clock::Clock;
use crate::config::SchemaChanges;
use crate::event::{Epoch, LogPosition, TableId, TableLayout};
use crate::failpoint;
use crate::sink::{Prepared, Sink};
use crate::source::{Opened, Source};
use crate::status::Status;
use crate::task::{self, Task};

/// Messages that wait for the keeper: small ones; rows are bounded by the target's own bounds.
const MESSAGES: usize = 256;
/// How often it is looked whether anything is left to do.
const REST: Duration = Duration::from_millis(50);

/// What a pipeline is made of.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Where from.
    pub source: Arc<dyn Source>,
    /// Where to.
    pub sink: Arc<dyn Sink>,
    /// What outlives the process.
    pub store: Store,
    /// What the outside is told.
    pub status: Arc<Status>,
    /// Time.
    pub clock: Clock,
}

/// How a pipeline runs.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The pipeline's name.
    pub pipeline: String,
    /// Whether tables are copied before they are followed.
    pub copy: bool,
    /// Chunks read at the same time.
    pub parallelism: usize,
    /// Whether to end when every table is copied.
    pub until_copied: bool,
    /// What is done where columns change.
    pub policies: SchemaChanges,
}

/// Runs a pipeline until `stop`, or until every table is copied if the plan says so.
///
/// # Errors
/// Whatever it cannot recover from; acknowledged work is in the checkpoint either way.
pub async fn run(parts: Parts, plan: Plan, stop: CancellationToken) -> Result<(), PipelineError> {
    run_steered(parts, plan, Arc::default(), stop).await
}

/// The same, and takes what a person asks for.
///
/// # Errors
/// As [`run`].
pub async fn run_steered(
    parts: Parts,
    plan: Plan,
    steering: Arc<Steering>,
    stop: CancellationToken,
) -> Result<(), PipelineError> {
    let begun = tokio::select! {
        biased;
        // Nothing was sent yet: there is nothing to keep.
        () = stop.cancelled() => return Ok(()),
        begun = begin(&parts, &plan) => begun?,
    };
    let Begun {
        checkpoint,
        opened,
        known,
        fresh,
    } = begun;
    let running = Running::start(parts, plan, checkpoint, (opened, &fresh), &stop);
    steering.begin(running.opens.clone(), running.plan.copy);
    let end = running.drive(known, fresh, stop).await;
    steering.end();
    end
}

/// What is known before the first task starts.
struct Begun {
    checkpoint: Checkpoint,
    opened: Opened,
    known: BTreeMap<TableId, TableState>,
    fresh: Vec<TableLayout>,
}

async fn begin(parts: &Parts, plan: &Plan) -> Result<Begun, PipelineError> {
    let loaded = parts.store.load().await?;
    let mut known = loaded
        .as_ref()
        .map(|checkpoint| checkpoint.tables.clone())
        .unwrap_or_default();
    leave_out(parts, &mut known);
    let ids: Vec<TableId> = known.keys().cloned().collect();
    let (fresh, keyless): (Vec<TableLayout>, Vec<TableLayout>) = parts
        .source
        .tables(&ids)
        .await
        .map_err(PipelineError::Source)?
        .into_iter()
        .partition(TableLayout::is_keyed);
    for layout in keyless {
        tracing::error!(table = %layout.table, "new table has no primary key: it is not copied");
    }
    if fresh.is_empty() && known.is_empty() {
        return Err(PipelineError::NoTables);
    }
    let is_followed = |state: &&TableState| !matches!(state.phase, Phase::Parked { .. });
    let followed = known.values().filter(is_followed).map(|state| &state.layout);
    let written: Vec<TableId> = followed
        .chain(&fresh)
        .map(|layout| layout.table.clone())
        .collect();
    let apart = parts.sink.tell_apart(&written).await;
    apart.map_err(PipelineError::Sink)?;
    prepare(parts, &known, &fresh).await?;
    let (from, last) = match &loaded {
        Some(checkpoint) => (Some(checkpoint.position.clone()), checkpoint.epoch),
        None => (None, Epoch(0)),
    };
    let opened = parts
        .source
        .open(
            from,
            last,
            known
                .keys()
                .chain(fresh.iter().map(|layout| &layout.table))
                .cloned()
                .collect(),
        )
        .await
        .map_err(PipelineError::Source)?;
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
    fresh: &[TableLayout],
) -> Result<(), PipelineError> {
    let mut occupied = Vec::new();
    for layout in fresh {
        if parts.sink.inspect(layout).await.map_err(PipelineError::Sink)? == Prepared::NotEmpty {
            occupied.push(layout.table.clone());
        }
    }
    if !occupied.is_empty() {
        return Err(PipelineError::NotEmpty(occupied));
    }
    let followed: Vec<&TableLayout> = known
        .values()
        // A table that is to be copied again needs nothing of what was there.
        .filter(|state| {
            !matches!(
                state.phase,
                Phase::Parked { .. } | Phase::Dropped | Phase::Reopening { .. }
            )
        })
        .map(|state| &state.layout)
        .collect();
    for state in known.values() {
        parts.sink.project(&state.layout.table, state.projections());
    }
    let mut gone = Vec::new();
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

/// A task that may fail.
type Ending = Task<Result<(), PipelineError>>;

/// The tasks of a pipeline.
struct Running {
    parts: Parts,
    plan: Plan,
    shared: Shared,
    messages: mpsc::Sender<Message>,
    opens: mpsc::Sender<OpenRequest>,
    releases: mpsc::Sender<Release>,
    keeper: Task<Result<Checkpoint, PipelineError>>,
    follow: Task<Result<(), PipelineError>>,
    /// Ends the readers; the keeper ends after them.
    halt: CancellationToken,
    halt_keeper: CancellationToken,
    position: LogPosition,
}

impl Running {
    fn start(
        parts: Parts,
        plan: Plan,
        checkpoint: Checkpoint,
        (opened, fresh): (Opened, &[TableLayout]),
        stop: &CancellationToken,
    ) -> Running {
        let shared = Shared {
            routes: Arc::new(Routes::default()),
            in_flight: Arc::new(InFlight::default()),
            status: Arc::clone(&parts.status),
            clock: parts.clock.clone(),
        };
        shared.announce(fresh);
        for (table, state) in &checkpoint.tables {
            shared.status.table(table);
            match &state.phase {
                Phase::Parked { cause, .. } => {
                    tracing::error!(%table, cause, "table is parked: it is not followed");
                    shared.routes.park(table);
                    shared.status.parked(table, cause);
                }
                Phase::Streaming | Phase::Refill { .. } => {
                    shared.routes.open(state);
                    shared.status.streaming(table);
                    if state.applying.is_some() {
                        shared.routes.hold(table);
                    }
                    shared.routes.ask(table, Work::Look);
                }
                Phase::Opening | Phase::Snapshot(_) => shared.routes.open(state),
                Phase::Reopening { cause, .. } => {
                    shared.routes.close(table);
                    shared.status.reopening(table, cause);
                    shared.routes.ask(table, Work::Look);
                }
                Phase::Dropped => {
                    shared.routes.gone(table);
                    shared.status.dropped(table);
                    shared.routes.ask(table, Work::Look);
                }
            }
        }
        let (messages, inbox) = mpsc::channel(MESSAGES);
        let (opens, to_open) = mpsc::channel(1);
        let (releases, to_release) = mpsc::channel(MESSAGES);
        let requests = Requests {
            opens: to_open,
            releases: to_release,
        };
        let (halt, halt_keeper) = (stop.child_token(), CancellationToken::new());
        let keeper = Keeper::new(checkpoint, parts.store.clone(), &shared);
        let keeper = task::spawn("keeper", keeper.run(inbox, halt_keeper.clone()));
        let ends = (Arc::clone(&parts.source), Arc::clone(&parts.sink));
        let position = opened.position;
        let follow = Follow::new(
            ends,
            shared.clone(),
            messages.clone(),
            requests,
            halt.clone(),
            position.clone(),
        );
        let follow = task::spawn("follow", follow.run(opened.items));
        Running {
            parts,
            plan,
            shared,
            messages,
            opens,
            releases,
            keeper,
            follow,
            halt,
            halt_keeper,
            position,
        }
    }

    /// Opens and copies what is not copied, then waits for the end.
    async fn drive(
        mut self,
        known: BTreeMap<TableId, TableState>,
        fresh: Vec<TableLayout>,
        stop: CancellationToken,
    ) -> Result<(), PipelineError> {
        let copying = Copying {
            source: Arc::clone(&self.parts.source),
            sink: Arc::clone(&self.parts.sink),
            keeper: self.messages.clone(),
            shared: self.shared.clone(),
            stop: self.halt.clone(),
            parallelism: self.plan.parallelism,
            permits: Arc::new(Semaphore::new(self.plan.parallelism.max(1))),
        };
        let opening = match (self.plan.copy, &self.position.gtids) {
            (false, _) => Opening::Followed,
            (true, Some(_)) => Opening::Copied,
            (true, None) => Opening::CopiedLocked,
        };
        let warden = Warden {
            copying: copying.clone(),
            opens: self.opens.clone(),
            releases: self.releases.clone(),
            opening,
            policies: Arc::new(self.plan.policies.clone()),
            busy: Arc::default(),
        };
        let busy = Arc::clone(&warden.busy);
        let mut warden = task::spawn("warden", warden.run());
        let copy = snapshot::copy_all(
            copying,
            self.opens.clone(),
            opening,
            known,
            fresh,
            self.position.clone(),
        );
        let mut copy = Some(task::spawn("snapshot", copy));
        let (mut outcome, mut all_copied) = (Ok(()), false);
        let mut ended: Option<Pin<Box<dyn Future<Output = ()> + Send>>> = None;
        while outcome.is_ok() {
            let at_rest = when(ended.as_mut());
            let copied = async {
                match copy.as_mut() {
                    Some(task) => task.finished().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = self.keeper.finished() => break,
                () = self.follow.finished() => break,
                () = warden.finished() => break,
                () = copied => {
                    let Some(task) = copy.take() else { continue };
                    outcome = task.join().await.map_err(PipelineError::from).flatten();
                    if self.plan.until_copied && outcome.is_ok() {
                        ended = Some(Box::pin(self.nothing_due(Arc::clone(&busy))));
                    }
                }
                () = at_rest => {
                    all_copied = true;
                    break;
                }
            }
        }
        drop(ended);
        self.end((copy, warden), outcome, all_copied).await
    }

    /// Waits until no table is seen to.
    fn nothing_due(&self, busy: Arc<AtomicUsize>) -> impl Future<Output = ()> + Send + use<> {
        let (routes, clock) = (Arc::clone(&self.shared.routes), self.shared.clock.clone());
        async move {
            while busy.load(Ordering::SeqCst) > 0 || !routes.is_idle() {
                clock.sleep(REST).await;
            }
        }
    }

    /// Stops the readers, then the keeper, and reports the first failure; with `all_copied`, also tables
    /// that are not.
    async fn end(
        self,
        (copy, warden): (Option<Ending>, Ending),
        mut outcome: Result<(), PipelineError>,
        all_copied: bool,
    ) -> Result<(), PipelineError> {
        self.halt.cancel();
        let followed = self.follow.join().await.map_err(PipelineError::from).flatten();
        if let Some(copy) = copy {
            let copied = copy.join().await.map_err(PipelineError::from).flatten();
            outcome = outcome.and(copied);
        }
        let seen_to = warden.join().await.map_err(PipelineError::from).flatten();
        outcome = outcome.and(seen_to);
        drop((self.messages, self.opens, self.releases));
        self.halt_keeper.cancel();
        let kept = self
            .keeper
            .join()
            .await
            .map_err(PipelineError::from)
            .flatten()
            .and_then(|checkpoint| {
                if all_copied {
                    not_copied(&checkpoint)
                } else {
                    Ok(())
                }
            });
        // The keeper's own failure is the cause of what the others then missed, and so is the follower's.
        match outcome {
            Err(PipelineError::Gone(_)) => kept.and(followed).and(outcome),
            outcome => kept.and(outcome).and(followed),
        }
    }
}

/// Waits for what there is to wait for; for ever if there is nothing.
async fn when(end: Option<&mut Pin<Box<dyn Future<Output = ()> + Send>>>) {
    match end {
        Some(end) => end.await,
        None => std::future::pending().await,
    }
}

/// Whether every table is copied.
fn not_copied(checkpoint: &Checkpoint) -> Result<(), PipelineError> {
    let rest = checkpoint
        .tables
        .iter()
        .filter(|(_, state)| !matches!(state.phase, Phase::Streaming | Phase::Dropped));
    let rest: Vec<TableId> = rest.map(|(table, _)| table.clone()).collect();
    if rest.is_empty() {
        Ok(())
    } else {
        Err(PipelineError::NotCopied(rest))
    }
}
