//! One program of AWS's client for Python, against moto and against this server: the same answers.

use std::path::Path;
use std::process::Command;

use replicator::clock::Clock;
use replicator::task::blocking;

use crate::clients::choose_tls;
use crate::server::Server;
use crate::support::python::{python, run};
use crate::support::s3::S3;

/// What the program says about a server.
async fn answers(url: &str) -> Vec<String> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dynamodb/ask.py");
    let mut command = Command::new(python("s3"));
    command.arg(program).arg(url);
    let text = blocking("program", move || run(&mut command)).join().await;
    let text = text.expect("the program ends");
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn another_client_gets_what_another_server_gives() {
    choose_tls();
    let server = Server::start(Clock::real(), 5).await;
    let moto = S3::start().await;
    let (ours, theirs) = (answers(&server.url).await, answers(&moto.url).await);
    assert!(ours.len() > 30);
    let only = |some: &[String], others: &[String]| -> Vec<String> {
        let lines = some.iter().filter(|line| !others.contains(line));
        lines.cloned().collect()
    };
    let differ = (only(&ours, &theirs), only(&theirs, &ours));
    assert!(differ.0.is_empty() && differ.1.is_empty(), "{differ:#?}");
}
