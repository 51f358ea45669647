//! The thread that owns the storage. Requests reach it through one bounded queue and are done one after
//! another; appends that wait together are made durable together. What is acknowledged is committed: it
//! outlives a kill of the process.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::error::{ApiError, ApiResult};
use super::faults::Script;
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
    script: Script,
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
    pub(crate) fn start(store: Store, script: Script) -> (Engine, Task<()>) {
        let (jobs, queue) = channel(JOBS);
        let own = script.clone();
        let thread = task::blocking("emulator storage", move || work(store, queue, &own));
        let budget = Arc::new(Semaphore::new(usize::try_from(UNITS).unwrap_or(1)));
        let engine = Engine { jobs, budget, script };
        (engine, thread)
    }

    /// The faults and delays in force, and the clock.
    pub(crate) fn script(&self) -> &Script {
        &self.script
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

fn work(mut store: Store, mut queue: Receiver<Job>, script: &Script) {
    let mut next = VecDeque::new();
    let mut random = fastrand::Rng::with_seed(script.profile().seed);
    loop {
        let Some(job) = next.pop_front().or_else(|| queue.blocking_recv()) else {
            return;
        };
        if let Err(error) = store.settle() {
            tracing::error!(%error, "the emulator's apply jobs failed");
        }
        match job {
            Job::Run(work) => work(&mut store),
            Job::Stop => return,
            Job::Append { .. } => {
                let mut requests = waiting(job, &mut queue, &mut next);
                if script.profile().shuffle {
                    let same = |a: &Waiting, b: &Waiting| Arc::ptr_eq(&a.0.link, &b.0.link);
                    requests = shuffled(requests, same, &mut random);
                }
                group(&mut store, requests);
            }
        }
    }
}

/// An append that waits, with its share of the byte budget.
type Waiting = (Append, Reply<Result<Appended, AppendError>>, OwnedSemaphorePermit);

/// An append and those that wait right behind it; what comes after them goes to `next`.
fn waiting(first: Job, queue: &mut Receiver<Job>, next: &mut VecDeque<Job>) -> Vec<Waiting> {
    let mut found = Vec::new();
    let mut rows = 0;
    let mut job = Some(first);
    while let Some(Job::Append {
        request,
        reply,
        share,
    }) = job
    {
        rows += request.rows.len();
        found.push((request, reply, share));
        job = if rows < GROUP_ROWS {
            queue.try_recv().ok()
        } else {
            None
        };
    }
    next.extend(job);
    found
}

/// Another order of requests that keeps the order of each connection's own (assumed: Google promises no
/// order across connections).
fn shuffled<T>(requests: Vec<T>, same: impl Fn(&T, &T) -> bool, random: &mut fastrand::Rng) -> Vec<T> {
    let mut left = requests.len();
    let mut connections: Vec<VecDeque<T>> = Vec::new();
    for request in requests {
        let known = connections
            .iter_mut()
            .find(|queue| queue.front().is_some_and(|first| same(first, &request)));
        match known {
            Some(queue) => queue.push_back(request),
            None => connections.push(VecDeque::from([request])),
        }
    }
    let mut order = Vec::with_capacity(left);
    while left > 0 {
        // Each request is equally likely to be the next, so that long queues do not all come last.
        let mut pick = random.usize(..left);
        for queue in &mut connections {
            if pick < queue.len() {
                order.extend(queue.pop_front());
                break;
            }
            pick -= queue.len();
        }
        left -= 1;
    }
    order
}

/// Does an append and those that wait right behind it in one transaction.
fn group(store: &mut Store, requests: Vec<Waiting>) {
    let mut answers = Vec::new();
    let mut failure = store.begin().err();
    for (request, reply, share) in requests {
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
    }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Rules: order-across-connections.
        #[test]
        fn a_connections_own_order_is_kept(connections in prop::collection::vec(0..4_u8, 0..40), seed in any::<u64>()) {
            let requests: Vec<(u8, usize)> = connections.into_iter().zip(0..).collect();
            let mut random = fastrand::Rng::with_seed(seed);
            let order = shuffled(requests.clone(), |a, b| a.0 == b.0, &mut random);
            for connection in 0..4 {
                let of = |list: &[(u8, usize)]| list.iter().filter(|one| one.0 == connection).copied().collect::<Vec<_>>();
                prop_assert_eq!(of(&order), of(&requests));
            }
            prop_assert_eq!(order.len(), requests.len());
        }
    }

    #[test]
    fn connections_overtake_each_other() {
        let requests: Vec<(u8, usize)> = [0, 1].into_iter().cycle().zip(0..20).collect();
        let orders = (0..8).map(|seed| {
            let mut random = fastrand::Rng::with_seed(seed);
            shuffled(requests.clone(), |a, b| a.0 == b.0, &mut random)
        });
        let different: std::collections::BTreeSet<_> = orders.collect();
        assert!(different.len() > 4);
    }
}
