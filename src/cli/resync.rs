//! `replicator resync`: has tables copied again. A process that runs is asked over its HTTP address; of one that does
//! not, the checkpoint says so from here on.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::Args;
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;

use super::start::{failed, with_config};
use super::{Failure, Global};
use crate::checkpoint::{CheckpointError, Opening, Phase, Standby, Store};
use crate::clock::Clock;
use crate::config::Config;
use crate::control::PIPELINE;
use crate::fault::chain;

/// Copies tables again, beside the stream, and deletes from their targets what is gone from the source.
///
/// A parked table is followed again afterwards. A table whose target was dropped gets a new one. If the
/// pipeline runs on this machine it begins at once; if it does not run, it begins with the next
/// `replicator run`.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  replicator resync shop.orders --config shop.yaml")]
pub(super) struct Arguments {
    /// The tables, as the status page names them: database.table.
    #[arg(required = true, value_name = "TABLE")]
    tables: Vec<String>,
    /// Begin a new version of the target beside the one that is there.
    #[arg(long)]
    new_version: bool,
}

/// How long a running pipeline is waited for: it answers at the next commit of its log.
const PATIENCE: Duration = Duration::from_secs(90);

/// How often it is looked whether another instance shows life.
const LOOK: Duration = Duration::from_secs(2);

/// Why a table is copied again.
const CAUSE: &str = "replicator resync";

pub(super) fn run(arguments: &Arguments, global: &Global) -> Result<(), Failure> {
    if arguments.new_version {
        return Err(Failure::Failed {
            what: "--new-version is not in this version of the program".to_owned(),
            hint: Some(
                "drop or rename the target table, then run resync without it: a new one is made".to_owned(),
            ),
        });
    }
    with_config(global, |config| async move {
        if !config.source.copies() {
            return Err(Failure::Failed {
                what: "the pipeline copies no tables: snapshot.mode is never".to_owned(),
                hint: Some("set sources[0].mysql.snapshot.mode to initial".to_owned()),
            });
        }
        let clock = Clock::real();
        match Store::open(&config.checkpoint, &config.pipeline, clock.clone()).await {
            Ok(Opening::Owned(store)) => note(&store, &arguments.tables).await,
            Ok(Opening::Standby(standby)) => match ask(&config, &arguments.tables).await {
                Err(Asked::Unreachable(_)) => {
                    let store = abandoned(standby, &clock).await?;
                    note(&store, &arguments.tables).await
                }
                asked => asked.map_err(Asked::failure),
            },
            Err(CheckpointError::InUse { .. }) => {
                ask(&config, &arguments.tables).await.map_err(Asked::failure)
            }
            Err(error) => Err(failed(&error)),
        }
    })
}

/// Waits until it is sure that nobody owns the pipeline.
async fn abandoned(mut standby: Standby, clock: &Clock) -> Result<Store, Failure> {
    let first = standby.holder().cloned();
    loop {
        if let Some(store) = standby.attempt().await.map_err(|error| failed(&error))? {
            return Ok(store.into());
        }
        if standby.holder() != first.as_ref() {
            return Err(Failure::Failed {
                what: standby.in_use().to_string(),
                hint: Some("run this where that instance runs (in Kubernetes: kubectl exec)".to_owned()),
            });
        }
        clock.sleep(LOOK).await;
    }
}

/// Writes into the checkpoint that tables are to be copied again: all of them, or none.
async fn note(store: &Store, tables: &[String]) -> Result<(), Failure> {
    let end = noted(store, tables).await;
    store.release().await;
    end?;
    let text: String = tables
        .iter()
        .map(|table| format!("{table} is copied again once `replicator run` is started\n"))
        .collect();
    print(&text)
}

async fn noted(store: &Store, tables: &[String]) -> Result<(), Failure> {
    let loaded = store.load().await.map_err(|error| failed(&error))?;
    let Some(mut checkpoint) = loaded else {
        return Err(Failure::Failed {
            what: "there is no checkpoint: nothing was copied yet".to_owned(),
            hint: Some("start `replicator run`, which copies every table".to_owned()),
        });
    };
    for name in tables {
        let known = checkpoint.named(name).cloned();
        let Some(state) = known.and_then(|table| checkpoint.tables.get_mut(&table)) else {
            let known: Vec<String> = checkpoint.tables.keys().map(ToString::to_string).collect();
            return Err(Failure::Failed {
                what: format!("the checkpoint has no table {name}"),
                hint: Some(format!(
                    "it has {}; a table that is not there is copied by itself once it is captured",
                    known.join(", ")
                )),
            });
        };
        // Of one that the source dropped, nothing is known but that it is not there.
        if state.phase != Phase::Dropped {
            state.reopen(CAUSE.to_owned(), false);
        }
    }
    store.save(checkpoint).await.map_err(|error| failed(&error))
}

/// Why a running pipeline did not do it.
enum Asked {
    /// It cannot be reached.
    Unreachable(Failure),
    /// It refused, or did not answer.
    Failed(Failure),
}

impl Asked {
    fn failure(self) -> Failure {
        let (Asked::Unreachable(failure) | Asked::Failed(failure)) = self;
        failure
    }
}

/// What a pipeline answers.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    error: Option<String>,
    hint: Option<String>,
}

/// Asks the pipeline that runs on this machine.
async fn ask(config: &Config, tables: &[String]) -> Result<(), Asked> {
    // Another part of the process may have chosen a provider before; either serves.
    let _chosen = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().no_proxy().timeout(PATIENCE).build();
    let client = client.map_err(|error| unreachable_at(config.http, &error))?;
    for table in tables {
        let url = address(config.http, table)?;
        let asked = client.post(url).header(PIPELINE, &config.pipeline).send().await;
        let answer = asked.map_err(|error| unreachable_at(config.http, &error))?;
        let status = answer.status();
        if status != StatusCode::ACCEPTED {
            let text = answer.bytes().await.unwrap_or_default();
            let said: Said = serde_json::from_slice(&text).unwrap_or_default();
            return Err(Asked::Failed(Failure::Failed {
                what: said
                    .error
                    .unwrap_or_else(|| format!("{} answers {status}", config.http)),
                hint: said.hint,
            }));
        }
        print(&format!(
            "{table} is being copied again; the status page shows how far it is\n"
        ))
        .map_err(Asked::Failed)?;
    }
    Ok(())
}

fn unreachable_at(http: SocketAddr, error: &reqwest::Error) -> Asked {
    let failure = Failure::Failed {
        what: format!(
            "the pipeline runs, and does not answer at {http}: {}",
            chain(error)
        ),
        hint: Some("run this where it runs, with the configuration that it runs with".to_owned()),
    };
    if error.is_connect() {
        Asked::Unreachable(failure)
    } else {
        Asked::Failed(failure)
    }
}

/// Where this machine reaches what listens on `http`.
fn address(http: SocketAddr, table: &str) -> Result<Url, Asked> {
    let ip = match http.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    let no_url = || {
        Asked::Failed(Failure::Failed {
            what: format!("{http} is no address that can be asked"),
            hint: None,
        })
    };
    let base = format!("http://{}/api/resync", SocketAddr::new(ip, http.port()));
    let mut url: Url = base.parse().map_err(|_| no_url())?;
    url.path_segments_mut().map_err(|()| no_url())?.push(table);
    Ok(url)
}

fn print(text: &str) -> Result<(), Failure> {
    std::io::stdout()
        .lock()
        .write_all(text.as_bytes())
        .map_err(|error| Failure::system("cannot write to standard output", &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_address_is_asked_at_loopback_and_any_name_is_one_segment() {
        let url = |http: &str, table| match address(http.parse().unwrap(), table) {
            Ok(url) => url.to_string(),
            Err(_) => "none".to_owned(),
        };
        assert_eq!(
            url("0.0.0.0:8080", "shop.orders"),
            "http://127.0.0.1:8080/api/resync/shop.orders"
        );
        assert_eq!(
            url("[::]:1", "shop.a/b?c#d é"),
            "http://[::1]:1/api/resync/shop.a%2Fb%3Fc%23d%20%C3%A9"
        );
        assert_eq!(url("10.1.2.3:1", "a.b"), "http://10.1.2.3:1/api/resync/a.b");
    }
}
