//! Named tasks. A task that panics is an error with its name, never a silence: whoever joins it gets
//! [`Panicked`], and whoever drops the handle stops the task.

use std::future::Future;

use tokio::task::{JoinError, JoinHandle};
use tracing::Instrument;

/// A task that panicked. The replicator stops on it: its state can no longer be trusted.
#[derive(Debug, thiserror::Error)]
#[error("task {name} panicked: {message}")]
pub struct Panicked {
    /// The task's name as given to [`spawn`].
    pub name: &'static str,
    /// The panic's own text.
    pub message: String,
}

/// A running task; dropping it aborts the task.
#[derive(Debug)]
pub struct Task<T> {
    name: &'static str,
    handle: JoinHandle<T>,
    end: Option<Result<T, JoinError>>,
}

/// Starts a task under a name that its log lines carry.
#[expect(clippy::disallowed_methods, reason = "this module is where tasks start")]
pub fn spawn<F>(name: &'static str, future: F) -> Task<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let span = tracing::info_span!("task", task = name);
    Task {
        name,
        handle: tokio::spawn(future.instrument(span)),
        end: None,
    }
}

/// Starts work that blocks its thread, on a thread of its own kind.
pub fn blocking<F, T>(name: &'static str, work: F) -> Task<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Task {
        name,
        handle: tokio::task::spawn_blocking(work),
        end: None,
    }
}

impl<T> Task<T> {
    /// Waits for the task's end.
    ///
    /// # Errors
    /// [`Panicked`] if the task panicked or was aborted by the runtime's end.
    pub async fn join(mut self) -> Result<T, Panicked> {
        self.finished().await;
        match self.end.take() {
            Some(end) => end.map_err(|error| panicked(self.name, error)),
            None => Err(Panicked {
                name: self.name,
                message: "no end".to_owned(),
            }),
        }
    }

    /// Waits for the task's end without taking its result.
    pub async fn finished(&mut self) {
        if self.end.is_none() {
            self.end = Some((&mut self.handle).await);
        }
    }

    /// Whether the task has ended, in whatever way.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Stops the task at its next await point.
    pub fn abort(&self) {
        self.handle.abort();
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

fn panicked(name: &'static str, error: JoinError) -> Panicked {
    let message = match error.try_into_panic() {
        Ok(payload) => payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned()),
        Err(_) => "stopped with the runtime".to_owned(),
    };
    Panicked { name, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_reported_with_the_tasks_name() {
        let error = spawn("reader", async { panic!("boom") })
            .join()
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "task reader panicked: boom");
    }
}
