//! The thread that owns the storage. Requests reach it through one bounded queue and are done one after
//! another; appends that wait together are made durable together. What is acknowledged is committed: it
//! outlives a kill of the process.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::error::{ApiError, ApiResult};
use super::store::Store;
use super::store::append::{Append, AppendError, Appended};
use crate::task::{self, Task};

/// Jobs that may wait.
const JOBS: usize = 256;
/// Bytes of appends that may wait, in units of [`UNIT`].
const UNITS: u32 = 65_536;
/// Unit of the byte budget.
const UNIT: usize = 1_024;
/// Rows after which a group of appends is committed.
const GROUP_ROWS: usize = 20_000;

type Reply<T> = oneshot::Sender<T>;

enum Job {
    Append {
        request: Append,
        reply: Reply<Result<Appended, AppendError>>,
        /// The request's share of the byte budget, free again when it is answered.
        share: OwnedSemaphorePermit,
    },
    Run(Box<dyn FnOnce(&mut Store) + Send>),
    Stop,
}

/// A handle to the storage. Cheap to clone; the thread ends when it is told to, or when the last handle is gone.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    jobs: Sender<Job>,
    budget: Arc<Semaphore>,
}

/// The storage's thread is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the emulator is stopping")]
pub(crate) struct Stopped;

impl From<Stopped> for ApiError {
    fn from(stopped: Stopped) -> ApiError {
        ApiError::internal(stopped)
    }
}

impl Engine {
    /// Starts the thread.
    pub(crate) fn start(store: Store) -> (Engine, Task<()>) {
        let (jobs, queue) = channel(JOBS);
        let thread = task::blocking("emulator storage", move || work(store, queue));
        let budget = Arc::new(Semaphore::new(usize::try_from(UNITS).unwrap_or(1)));
        (Engine { jobs, budget }, thread)
    }

    /// Puts an append into the queue, in order; waits while the queue is full. The answer comes later.
    pub(crate) async fn append(
        &self,
        request: Append,
        bytes: usize,
    ) -> Result<oneshot::Receiver<Result<Appended, AppendError>>, Stopped> {
        let units = u32::try_from(bytes / UNIT + 1).unwrap_or(UNITS).min(UNITS);
        let share = Arc::clone(&self.budget).acquire_many_owned(units).await;
        let share = share.map_err(|_| Stopped)?;
        let (reply, answer) = oneshot::channel();
        let job = Job::Append {
            request,
            reply,
            share,
        };
        self.jobs.send(job).await.map_err(|_| Stopped)?;
        Ok(answer)
    }

    /// Ends the thread after what is already in the queue.
    pub(crate) async fn stop(&self) {
        // It may have ended before.
        let _ended = self.jobs.send(Job::Stop).await;
    }

    /// Does something with the storage.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> ApiResult<T> + Send + 'static,
    ) -> ApiResult<T> {
        let (reply, answer) = oneshot::channel();
        let job = Job::Run(Box::new(move |store| {
            // Who asked may have gone away.
            let _gone = reply.send(work(store));
        }));
        self.jobs.send(job).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)?
    }
}

fn work(mut store: Store, mut queue: Receiver<Job>) {
    let mut next = VecDeque::new();
    loop {
        let Some(job) = next.pop_front().or_else(|| queue.blocking_recv()) else {
            return;
        };
        match job {
            Job::Run(work) => work(&mut store),
            Job::Stop => return,
            Job::Append { .. } => group(&mut store, job, &mut queue, &mut next),
        }
    }
}

/// Does an append and those that wait right behind it in one transaction.
fn group(store: &mut Store, first: Job, queue: &mut Receiver<Job>, next: &mut VecDeque<Job>) {
    let mut answers = Vec::new();
    let mut rows = 0;
    let mut job = Some(first);
    let mut failure = store.begin().err();
    while let Some(Job::Append {
        request,
        reply,
        share,
    }) = job
    {
        rows += request.rows.len();
        let result = match &failure {
            Some(error) => Err(error.clone().into()),
            None => store.append(&request),
        };
        if let Err(AppendError::Api(error)) = &result
            && error.code == 500
        {
            failure = Some(error.clone());
        }
        answers.push((reply, result, share));
        job = if rows < GROUP_ROWS {
            queue.try_recv().ok()
        } else {
            None
        };
    }
    next.extend(job);
    if failure.is_none() {
        failure = store.commit().err();
    }
    if let Some(error) = &failure {
        tracing::error!(%error, "the emulator's storage failed");
        if let Err(error) = store.abandon() {
            tracing::error!(%error, "the emulator's storage cannot be read again");
        }
    }
    for (reply, result, share) in answers {
        let result = match &failure {
            Some(error) => Err(error.clone().into()),
            None => result,
        };
        drop(share);
        // Who asked may have gone away.
        let _gone = reply.send(result);
    }
}
