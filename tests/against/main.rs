//! What matters most, on any server: `make test-against URL=mysql://user:password@host:port` names a user's own,
//! else MySQL and MariaDB are started. Everything happens in one schema that is made for it and dropped in the end,
//! with the privileges that the replicator needs and CREATE, DROP, ALTER and INSERT, UPDATE, DELETE there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test"
)]

#[path = "../support/mod.rs"]
mod support;
mod tables;
mod world;

use replicator::config::process_env;
use support::{Flavour, TestDb};
use world::{Server, World};

/// The server that a user names.
fn named() -> Option<Server> {
    let text = |name: &str| process_env(name).filter(|text| !text.is_empty());
    Some(Server {
        url: text("REPLICATOR_AGAINST_URL")?,
        tls: text("REPLICATOR_AGAINST_TLS").unwrap_or_else(|| "verify_identity".to_owned()),
        ca: text("REPLICATOR_AGAINST_CA"),
        auth: text("REPLICATOR_AGAINST_AUTH").unwrap_or_else(|| "password".to_owned()),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_is_copied_and_followed() {
    if let Some(server) = named() {
        return through_everything(server).await;
    }
    let started = [Flavour::Mysql, Flavour::MariaDb].map(|flavour| TestDb::start(flavour, &[]));
    for db in &started {
        eprintln!("{:?}", db.flavour);
        through_everything(Server {
            url: format!("mysql://root@127.0.0.1:{}", db.port),
            tls: "disabled".to_owned(),
            ca: None,
            auth: "password".to_owned(),
        })
        .await;
    }
}

async fn through_everything(server: Server) {
    let mut world = World::new(server).await;
    let types = tables::of_types(&mut world).await;
    tables::of_keys(&mut world).await;
    world.run(tables::PLAIN).await;
    for table in &types {
        table.insert(&mut world, 0).await;
    }
    world.check();

    eprintln!("first copy");
    let mut running = world.start();
    world.equal().await;

    eprintln!(
        "changes of {} types of columns, amid which the program is killed",
        types.len()
    );
    for table in &types {
        table.insert(&mut world, 100).await;
    }
    running.kill();
    for table in &types {
        table.change(&mut world).await;
    }
    running = world.start();
    world.run(tables::TRANSACTIONS).await;
    world.equal().await;

    eprintln!("changes of tables");
    for statement in tables::CHANGES {
        world.run(&[*statement, tables::BESIDES]).await;
    }
    world.equal().await;
    drop(running);
    world.end().await;
}
