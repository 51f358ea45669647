//! Starts the tasks of a pipeline and stops them all when one ends.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::begin::{Begun, begin};
use super::error::PipelineError;
use super::follow::{Follow, OpenRequest, Opening, Requests};
use super::keeper::Keeper;
use super::lost::Patience;
use super::message::{Message, Shared};
use super::pace::Pace;
use super::releases::Release;
use super::retention;
use super::snapshot::{self, Copying};
use super::steer::Steering;
use super::warden::Warden;
use super::work::Work;
use crate::checkpoint::{Checkpoint, Phase, Store, TableState};
use crate::clock::Clock;
use crate::config::SchemaChanges;
use crate::event::{LogPosition, TableId, TableLayout};
use crate::sink::Sink;
use crate::source::{Opened, Source, SourceError};
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
    /// Rows that copies read in a second, over all tables; `None`: as many as can be.
    pub max_rows_per_second: Option<NonZeroU64>,
    /// How far a replica that is read may be behind for a chunk to begin; `None`: it does not matter.
    pub max_replica_lag: Option<Duration>,
    /// Whether every table is copied again where the log does not continue what was read of it.
    pub copied_when_lost: bool,
    /// Whether to end when every table is copied.
    pub until_copied: bool,
    /// What is done where columns change.
    pub policies: SchemaChanges,
}

impl Plan {
    /// What is done about a lost position; a plan that ends waits for nothing.
    pub(super) fn patience(&self) -> Patience {
        Patience {
            waits: !self.until_copied,
            copies: self.copied_when_lost,
        }
    }
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
    let mut lost = None;
    loop {
        let end = once(parts.clone(), plan.clone(), lost.take(), (&steering, &stop)).await;
        match end {
            Err(PipelineError::Source(error)) if plan.patience().begins_anew(&*error) => lost = Some(error),
            end => return end,
        }
    }
}

/// One life of a pipeline, from opening the log to losing it.
async fn once(
    parts: Parts,
    plan: Plan,
    lost: Option<SourceError>,
    (steering, stop): (&Steering, &CancellationToken),
) -> Result<(), PipelineError> {
    let begun = tokio::select! {
        biased;
        // Nothing was sent yet: there is nothing to keep.
        () = stop.cancelled() => return Ok(()),
        begun = begin(&parts, &plan, lost) => begun?,
    };
    let Begun {
        checkpoint,
        opened,
        known,
        fresh,
    } = begun;
    let (source, status) = (Arc::clone(&parts.source), Arc::clone(&parts.status));
    let _watch = task::spawn("retention", retention::watch(source, status, parts.clock.clone()));
    let running = Running::start(parts, plan, checkpoint, (opened, &fresh), stop);
    let sink = Arc::clone(&running.parts.sink);
    steering.begin(running.opens.clone(), running.plan.copy, sink);
    let end = running.drive(known, fresh, stop.clone()).await;
    steering.end();
    end
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
        let shared = Shared::new(&opened.position, Arc::clone(&parts.status), parts.clock.clone());
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
            if state.is_changing() {
                shared.routes.hold(table);
                shared.routes.ask(table, Work::Look);
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
        let keeper = Keeper::new(checkpoint, parts.store.clone(), &shared).run(inbox, halt_keeper.clone());
        let keeper = task::spawn("keeper", keeper);
        let position = opened.position;
        let follow = Follow::new(
            (Arc::clone(&parts.source), Arc::clone(&parts.sink)),
            shared.clone(),
            messages.clone(),
            requests,
            halt.clone(),
            position.clone(),
        );
        let follow = follow.with(plan.patience()).run(opened.items);
        let follow = task::spawn("follow", follow);
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
        mut known: BTreeMap<TableId, TableState>,
        fresh: Vec<TableLayout>,
        stop: CancellationToken,
    ) -> Result<(), PipelineError> {
        // One whose columns are being changed is copied when that is done.
        known.retain(|_, state| !state.is_changing());
        let copying = Copying {
            source: Arc::clone(&self.parts.source),
            sink: Arc::clone(&self.parts.sink),
            keeper: self.messages.clone(),
            shared: self.shared.clone(),
            stop: self.halt.clone(),
            parallelism: self.plan.parallelism,
            permits: Arc::new(Semaphore::new(self.plan.parallelism.max(1))),
            pace: Arc::new(Pace::new(self.plan.max_rows_per_second, self.parts.clock.clone())),
            max_replica_lag: self.plan.max_replica_lag,
        };
        let opening = match self.plan.copy {
            false => Opening::Followed,
            true => Opening::Copied,
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
            (fresh, self.plan.policies.clone()),
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
