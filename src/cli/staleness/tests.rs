use serde_json::{Value, json};

use super::*;
use crate::bill::Rate;
use crate::emulator::{Options, Running, serve};
use crate::event::{Column, ColumnName, ColumnType, TableLayout};
use crate::sink::{Prepared, Sink};

struct World {
    steward: Steward,
    emulator: Running,
    table: TableId,
    clock: Clock,
}

/// A target that was just made for a table of a tebibyte, which changes all the time.
async fn world(budget: Option<f64>) -> World {
    // The client wants one even where nothing is encrypted; another test may have been first.
    let _first = rustls::crypto::ring::default_provider().install_default();
    let clock = Clock::turnable();
    let emulator = serve(Options::local(clock.clone())).await.unwrap();
    let text = format!(
        "pipeline: p\nsources:\n  - name: s\n    mysql: {{ url: 'mysql://r@127.0.0.1:1', tables: ['*.*'] }}\n\
         sink:\n  bigquery:\n    project: p\n    auth: none\n    endpoints: {{ rest: '{}', write: '{}' }}\n\
         checkpoint: file:///nowhere\n",
        emulator.rest_url(),
        emulator.write_url(),
    );
    let config = crate::config::parse(&text, &|_| None).unwrap();
    let sink = Arc::new(BigQuery::new(&config, clock.clone()).unwrap());
    let table = TableId::new("d", "t");
    let column = Column {
        name: ColumnName::new("id"),
        kind: ColumnType::Int64,
        declared: "bigint".to_owned(),
        nullable: false,
        key: Some(0),
    };
    let layout = TableLayout {
        table: table.clone(),
        columns: vec![column],
    };
    assert_eq!(sink.prepare(&layout).await.unwrap(), Prepared::Created);
    let mut steward = Steward::new(
        (Prices::own().unwrap(), budget),
        (Origin::new(&config, clock.clone()).await.unwrap(), sink),
        Arc::default(),
        clock.clone(),
    );
    steward.known.sources.insert(
        "d.t".to_owned(),
        Table {
            name: "d.t".to_owned(),
            rows: 1_000_000,
            bytes: 1 << 40,
            rate: Some(Rate {
                inserts: 0.0,
                others: 1e9,
            }),
        },
    );
    World {
        steward,
        emulator,
        table,
        clock,
    }
}

impl World {
    async fn call(&self, method: reqwest::Method, body: Option<Value>) -> Value {
        let url = format!(
            "{}/bigquery/v2/projects/p/datasets/d/tables/t",
            self.emulator.rest_url()
        );
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut request = client.request(method, url);
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        serde_json::from_str(&request.send().await.unwrap().text().await.unwrap()).unwrap()
    }

    /// What the table has, and how often its metadata changed.
    async fn is(&self) -> (Value, Value) {
        let table = self.call(reqwest::Method::GET, None).await;
        (table["maxStaleness"].clone(), table["etag"].clone())
    }

    async fn set_by_hand(&self, value: &str) {
        let body = json!({ "maxStaleness": value });
        self.call(reqwest::Method::PATCH, Some(body)).await;
    }

    fn shown(&self) -> Value {
        let view = serde_json::to_value(self.steward.status.view(&self.clock)).unwrap();
        view["tables"]["d.t"].clone()
    }
}

#[tokio::test]
async fn raised_while_it_is_loaded_and_lowered_after() {
    let mut world = world(None).await;
    assert_eq!(world.is().await.0, "0-0 0 24:0:0", "made for its copy");
    world.set_by_hand("0-0 0 0:1:0").await;
    world.steward.status.snapshot_begins(&world.table, 10, 0, 0);
    world.steward.look().await;
    assert_eq!(world.is().await.0, "0-0 0 24:0:0");
    let shown = world.shown();
    assert_eq!(shown["max_staleness_ms"], 86_400_000);
    assert_eq!(shown["max_staleness_why"], "the table is being loaded");

    world.steward.status.streaming(&world.table);
    world.steward.look().await;
    let after = world.is().await;
    assert_eq!(after.0, "0-0 0 0:15:0");
    assert!(
        world.shown()["max_staleness_why"]
            .as_str()
            .unwrap()
            .contains("$18250.00"),
        "{}",
        world.shown()
    );
    // An hour later nothing has to change, and nothing does.
    world.clock.advance(ANEW);
    world.steward.look().await;
    assert_eq!(world.is().await, after);
}

#[tokio::test]
async fn a_budget_makes_it_longer_and_what_was_changed_by_hand_is_set_again() {
    let mut world = world(Some(1600.0)).await;
    world.steward.status.streaming(&world.table);
    world.steward.look().await;
    let chosen = world.is().await;
    assert_eq!(chosen.0, "0-0 0 3:0:0");
    let why = world.shown()["max_staleness_why"].as_str().unwrap().to_owned();
    assert!(why.contains("within apply_budget_per_month of $1600.00"), "{why}");

    world.set_by_hand("0-0 0 0:5:0").await;
    let by_hand = world.is().await;
    world.clock.advance(LOOK);
    world.steward.look().await;
    assert_eq!(world.is().await, by_hand, "it is read anew once an hour");
    world.clock.advance(ANEW);
    world.steward.look().await;
    assert_eq!(world.is().await.0, "0-0 0 3:0:0");
    // Near enough.
    world.set_by_hand("0-0 0 3:30:0").await;
    let near = world.is().await;
    world.clock.advance(ANEW);
    world.steward.look().await;
    assert_eq!(world.is().await, near);
    assert_eq!(world.shown()["max_staleness_ms"], 12_600_000);
}

#[tokio::test]
async fn a_target_that_does_not_answer_is_asked_again() {
    let mut world = world(None).await;
    world.steward.status.streaming(&world.table);
    let order = json!({ "on": "rest", "method": "PATCH", "times": 1, "effect": { "http": { "code": 403, "reason": "accessDenied" } } });
    let url = format!("{}/emulator/faults", world.emulator.rest_url());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.post(url).body(order.to_string()).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    world.steward.look().await;
    assert_eq!(world.is().await.0, "0-0 0 24:0:0");
    world.clock.advance(AGAIN);
    world.steward.look().await;
    assert_eq!(world.is().await.0, "0-0 0 0:15:0");
}
