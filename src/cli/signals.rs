//! From the operating system's request to stop to a [`CancellationToken`]. The first signal lets what
//! is under way end; a second one ends the process at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Failure;
use crate::task::{self, Task};

/// Exit code of a process that a second signal ended: as a shell shows one that SIGTERM killed.
const TERMINATED: i32 = 143;

/// Listens while it lives.
#[derive(Debug)]
pub struct Signals {
    _listening: Task<()>,
}

/// Cancels `stop` at SIGTERM or SIGINT.
///
/// # Errors
/// The operating system refuses the handlers.
pub fn listen(stop: CancellationToken) -> Result<Signals, Failure> {
    let handler = |kind| signal(kind).map_err(|error| Failure::system("cannot listen for signals", &error));
    let mut term = handler(SignalKind::terminate())?;
    let mut interrupt = handler(SignalKind::interrupt())?;
    let listening = task::spawn("signals", async move {
        next(&mut term, &mut interrupt).await;
        tracing::info!("stopping; a second signal ends the process at once");
        stop.cancel();
        next(&mut term, &mut interrupt).await;
        tracing::warn!("stopped by a second signal; the checkpoint holds what was acknowledged");
        std::process::exit(TERMINATED);
    });
    Ok(Signals {
        _listening: listening,
    })
}

async fn next(term: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_signal_asks_to_stop() {
        let stop = CancellationToken::new();
        let listening = listen(stop.clone()).unwrap();
        assert!(!stop.is_cancelled());
        let sent = std::process::Command::new("kill")
            .args(["-TERM", &std::process::id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
        let deadline = std::time::Duration::from_secs(20);
        tokio::time::timeout(deadline, stop.cancelled()).await.unwrap();
        drop(listening);
    }
}
