//! The program as it is run and the local BigQuery that it writes to.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use replicator::clock::Clock;
use replicator::emulator::{self, Options, Running};
use serde_json::Value;

/// A local BigQuery on free ports, in memory, that lives by a clock.
pub async fn bigquery(audit: bool, clock: Clock) -> Running {
    let options = Options {
        audit,
        ..Options::local(clock)
    };
    emulator::serve(options).await.expect("it starts")
}

/// One call of what is below `/emulator`, which must succeed.
pub async fn tell(target: &Running, method: &str, path: &str, body: &str) -> Value {
    let method = method.parse().expect("a method");
    let url = format!("{}/emulator/{path}", target.rest_url());
    let request = reqwest::Client::new().request(method, url).body(body.to_owned());
    let answer = request.send().await.and_then(reqwest::Response::error_for_status);
    answer.expect("it is done").json().await.expect("JSON")
}

/// A process of the program, killed when dropped.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts it; what it says is added to a file.
    pub fn start(program: &mut Command, log: &Path) -> Process {
        let log = File::options().create(true).append(true).open(log);
        program.stdin(Stdio::null()).stdout(Stdio::null());
        let program = program.stderr(log.expect("the log can be written"));
        Process(program.spawn().expect("it starts"))
    }

    /// Kills it as a lost machine would.
    pub fn kill(&mut self) {
        self.0.kill().expect("it is alive");
        self.0.wait().expect("it ends");
    }

    /// Waits for an end by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        tokio::select! {
            status = self.end() => status,
            () = Clock::real().sleep(Duration::from_secs(30)) => panic!("the process does not end"),
        }
    }

    /// Waits for an end by itself that nobody expects.
    pub async fn end(&mut self) -> ExitStatus {
        loop {
            if let Some(status) = self.0.try_wait().expect("it is ours") {
                return status;
            }
            Clock::real().sleep(Duration::from_millis(50)).await;
        }
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        let sent = Command::new("kill")
            .args(["-TERM", &self.0.id().to_string()])
            .status()
            .expect("kill runs");
        assert!(sent.success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
