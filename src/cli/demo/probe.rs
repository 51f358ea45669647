//! How the demo sees the replicator and the target: over HTTP, as anyone could.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use reqwest::Client;
use serde::Deserialize;

use super::error::DemoError;
use super::shop;
use crate::compare::TargetTable;
use crate::event::TableId;

/// The project of the demo's configuration.
const PROJECT: &str = "demo";

/// Bound of one request.
const REQUEST: Duration = Duration::from_secs(20);

/// Asks the parts how they are.
#[derive(Debug, Clone)]
pub(super) struct Probe {
    client: Client,
    rest: SocketAddr,
    http: SocketAddr,
}

/// What could be seen at one moment.
#[derive(Debug, Default)]
pub(super) struct Seen {
    status: Option<Status>,
}

/// The parts of the replicator's status that the demo looks at.
#[derive(Debug, Deserialize)]
struct Status {
    ready: bool,
    #[serde(default)]
    problems: Vec<String>,
    appended_lag_ms: Option<u64>,
    #[serde(default)]
    tables: BTreeMap<String, Table>,
}

#[derive(Debug, Deserialize)]
struct Table {
    state: String,
    #[serde(default)]
    chunks: u64,
}

impl Seen {
    /// Whether some rows are copied, and not all.
    pub(super) fn has_rows(&self) -> bool {
        let mut tables = self.status.iter().flat_map(|status| status.tables.values());
        tables.any(|table| table.chunks > 0 || table.state == "streaming")
    }

    /// Whether every table is copied and followed.
    pub(super) fn all_follow(&self, tables: usize) -> bool {
        self.status.as_ref().is_some_and(|status| {
            status.tables.len() == tables && status.tables.values().all(|table| table.state == "streaming")
        })
    }

    /// Whether the replicator calls itself ready.
    pub(super) fn ready(&self) -> bool {
        self.status.as_ref().is_some_and(|status| status.ready)
    }

    /// The lag that the replicator shows.
    pub(super) fn appended_lag(&self) -> Option<Duration> {
        Some(Duration::from_millis(self.status.as_ref()?.appended_lag_ms?))
    }

    /// What the replicator says is wrong, to be put behind another sentence.
    pub(super) fn problems(&self) -> String {
        let problems = self.status.iter().flat_map(|status| &status.problems);
        problems.map(|problem| format!("; {problem}")).collect()
    }
}

/// Tables by state: `2 waiting, 1 snapshot`.
pub(super) fn states(seen: &[Seen]) -> String {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    let all = seen.iter().flat_map(|seen| &seen.status);
    for table in all.flat_map(|status| status.tables.values()) {
        *counts.entry(table.state.as_str()).or_default() += 1;
    }
    let parts: Vec<String> = counts
        .iter()
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    parts.join(", ")
}

impl Probe {
    pub(super) fn new(rest: SocketAddr, http: SocketAddr) -> Result<Probe, DemoError> {
        // The client asks for a provider even where nothing is encrypted; one that is there stays.
        let provider = rustls::crypto::ring::default_provider().install_default();
        tracing::debug!(installed = provider.is_ok(), "TLS provider");
        Ok(Probe {
            client: Client::builder().timeout(REQUEST).no_proxy().build()?,
            rest,
            http,
        })
    }

    /// The same target, and another replicator.
    pub(super) fn of(&self, http: SocketAddr) -> Probe {
        Probe { http, ..self.clone() }
    }

    /// Where the replicator listens.
    pub(super) fn http(&self) -> SocketAddr {
        self.http
    }

    /// A table of the target; its data set has the name of the source's schema.
    pub(super) fn target(&self, table: &TableId) -> TargetTable {
        TargetTable {
            client: self.client.clone(),
            rest: format!("http://{}", self.rest),
            project: PROJECT.to_owned(),
            jobs_project: PROJECT.to_owned(),
            dataset: table.schema().to_owned(),
            table: table.name().to_owned(),
            bearer: None,
        }
    }

    /// Whether the target's REST API answers.
    pub(super) async fn answers(&self) -> bool {
        let rest = format!("http://{}/bigquery/v2/projects/{PROJECT}/datasets", self.rest);
        self.client.get(rest).send().await.is_ok()
    }

    /// Looks at the replicator once.
    pub(super) async fn look(&self) -> Seen {
        let status = format!("http://{}/api/status", self.http);
        let status = match self.client.get(status).send().await {
            Ok(response) => response.json().await.ok(),
            Err(_) => None,
        };
        Seen { status }
    }

    /// The pulse as a query on the target shows it; `None` while it shows none.
    pub(super) async fn tick(&self) -> Option<i64> {
        self.target(&TableId::new(shop::SCHEMA, shop::PULSE))
            .value("tick")
            .await
            .ok()??
            .parse()
            .ok()
    }
}
