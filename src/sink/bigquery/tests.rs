use std::time::Duration;

use futures_util::FutureExt;
use serde_json::json;
use tonic::Code;

use super::fixture::rest::{Answer, Server as RestServer, answer, refusal};
use super::fixture::server::{Server as WriteServer, Step};
use super::fixture::{Cell, changes, image, inserts, plain};
use super::*;
use crate::config::{
    Auth, BigQuerySink, Login, MysqlSource, SchemaChanges, Secret, Snapshot, SnapshotMode, SourceConfig,
    Staleness, TablePatterns, Tls, TlsMode,
};
use crate::event::Op;
use crate::fault::Fault;

mod modes;
mod unused;

fn config(rest: &str, write: &str) -> Config {
    Config {
        schema_changes: SchemaChanges::default(),
        pipeline: "shop".to_owned(),
        source: SourceConfig::Mysql(MysqlSource {
            name: "shop".to_owned(),
            host: "localhost".to_owned(),
            port: 3306,
            user: "u".to_owned(),
            login: Login::Password(Secret::text("")),
            tls: Tls {
                mode: TlsMode::Disabled,
                ca: None,
            },
            tables: TablePatterns::parse(&["shop.*"]).unwrap(),
            snapshot: Snapshot {
                mode: SnapshotMode::Initial,
                parallelism: 1,
                chunk_rows: 1,
                max_rows_per_second: None,
                max_replica_lag: None,
            },
            server_id: None,
            copied_when_lost: false,
        }),
        sink: BigQuerySink {
            project: "p".to_owned(),
            dataset: "{schema}".to_owned(),
            table: "{table}".to_owned(),
            location: Some("EU".to_owned()),
            jobs_project: "jobs".to_owned(),
            max_staleness: Staleness::Fixed(Duration::from_secs(900)),
            auth: Auth::None,
            impersonate: None,
            rest: rest.to_owned(),
            write: write.to_owned(),
        },
        values: crate::config::Values::default(),
        tables: crate::config::Overrides::default(),
        checkpoint: crate::config::CheckpointPlace::Directory("checkpoint".into()),
        http: "127.0.0.1:0".parse().unwrap(),
    }
}

pub(super) struct Ends {
    pub(super) sink: BigQuery,
    pub(super) rest: RestServer,
    pub(super) write: WriteServer,
    clock: Clock,
    _tasks: [Task<()>; 2],
}

pub(super) async fn ends(answers: Vec<Answer>, steps: Vec<Step>) -> Ends {
    let (rest, write) = (RestServer::scripted(answers), WriteServer::scripted(steps));
    let (rest_url, rest_task) = rest.start().await;
    let (write_url, write_task) = write.start().await;
    let clock = Clock::manual();
    Ends {
        sink: BigQuery::new(&config(&rest_url, &write_url), clock.clone()).unwrap(),
        rest,
        write,
        clock,
        _tasks: [rest_task, write_task],
    }
}

impl Ends {
    /// Drives `future` while the clock runs.
    pub(super) async fn passing<T>(&self, future: impl Future<Output = T>) -> T {
        tokio::pin!(future);
        let real = Clock::real();
        let deadline = real.now() + Duration::from_secs(20);
        loop {
            tokio::select! {
                biased;
                done = &mut future => return done,
                () = real.sleep(Duration::from_millis(1)) => {}
            }
            assert!(real.now() < deadline, "no end in time");
            self.clock.advance(Duration::from_secs(1));
        }
    }

    async fn prepare(&self) -> Result<Prepared, SinkError> {
        self.passing(self.sink.prepare(&plain())).await
    }
}

const TABLE: &str = "GET projects/p/datasets/shop/tables/orders";
pub(super) const DATASET: &str = "GET projects/p/datasets/shop";
const QUERY: &str = "POST projects/jobs/queries";

fn fitting() -> Answer {
    fitting_with(&json!({}))
}

/// A table that fits, with more in its resource.
fn fitting_with(more: &serde_json::Value) -> Answer {
    let field = |name: &str, kind: &str| json!({ "name": name, "type": kind, "mode": "NULLABLE" });
    let fields = [
        field("id", "INTEGER"),
        field("v", "STRING"),
        field("_replicator_commit_time", "TIMESTAMP"),
    ];
    let mut body = json!({
        "schema": { "fields": fields },
        "tableConstraints": { "primaryKey": { "columns": ["id"] } },
        "numRows": "0",
    });
    if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
        body.extend(more.clone());
    }
    answer(TABLE, 200, body)
}

#[tokio::test]
async fn a_missing_table_is_made_with_its_data_set_and_waited_for() {
    let answers = vec![
        refusal(TABLE, 404, "notFound"),
        refusal(DATASET, 404, "notFound"),
        answer("POST projects/p/datasets", 200, json!({})),
        refusal("POST projects/p/datasets/shop/tables", 503, "backendError"),
        refusal("POST projects/p/datasets/shop/tables", 404, "notFound"),
        answer("POST projects/p/datasets/shop/tables", 200, json!({})),
    ];
    let ends = ends(answers, Vec::new()).await;
    ends.write.seen().streams_unknown = vec![Code::Unavailable, Code::NotFound];
    assert_eq!(ends.prepare().await.unwrap(), Prepared::Created);
    assert!(ends.write.seen().streams_unknown.is_empty());
    let calls = ends.rest.calls();
    let reference = json!({ "projectId": "p", "datasetId": "shop" });
    assert_eq!(calls[2].1["datasetReference"], reference);
    assert_eq!(calls[2].1["location"], "EU");
    let field = |name: &str, kind: &str, mode: &str| json!({ "name": name, "type": kind, "mode": mode });
    let expected = json!({
        "tableReference": { "projectId": "p", "datasetId": "shop", "tableId": "orders" },
        "description": "replicated from shop.orders",
        "schema": { "fields": [
            field("id", "INT64", "REQUIRED"),
            field("v", "STRING", "NULLABLE"),
            field("_replicator_commit_time", "TIMESTAMP", "NULLABLE"),
        ] },
        "clustering": { "fields": ["id"] },
        "tableConstraints": { "primaryKey": { "columns": ["id"] } },
        "labels": { "replicator_pipeline": "shop" },
        "maxStaleness": "0-0 0 0:15:0",
    });
    assert_eq!(calls[5].1, expected);
}

#[tokio::test]
async fn whether_a_table_has_rows_is_asked_by_a_capped_query_that_may_take_its_time() {
    let empty = json!({ "jobComplete": true, "totalRows": "0" });
    let row = json!({ "jobComplete": true, "rows": [{ "f": [{ "v": "1" }] }] });
    let later = json!({ "jobComplete": false, "jobReference": { "projectId": "jobs", "jobId": "j", "location": "EU" } });
    let results = "GET projects/jobs/queries/j";
    for (answers, expected) in [
        (
            vec![
                answer(QUERY, 200, empty.clone()),
                answer(QUERY, 200, empty.clone()),
            ],
            Prepared::Empty,
        ),
        // Nothing is visible, but changes were applied once.
        (
            vec![answer(QUERY, 200, empty.clone()), answer(QUERY, 200, row.clone())],
            Prepared::NotEmpty,
        ),
        (vec![answer(QUERY, 200, row.clone())], Prepared::NotEmpty),
        (
            vec![refusal(QUERY, 400, "bytesBilledLimitExceeded")],
            Prepared::NotEmpty,
        ),
        (
            vec![
                answer(QUERY, 200, later.clone()),
                answer(results, 200, later),
                answer(results, 200, row),
            ],
            Prepared::NotEmpty,
        ),
        (
            vec![
                refusal(QUERY, 403, "rateLimitExceeded"),
                answer(QUERY, 200, empty.clone()),
                answer(QUERY, 200, empty),
            ],
            Prepared::Empty,
        ),
    ] {
        let ends = ends([vec![fitting()], answers].concat(), Vec::new()).await;
        assert_eq!(ends.prepare().await.unwrap(), expected);
        assert_eq!(ends.rest.left(), 0);
        let query = ends.rest.calls()[1].1.clone();
        assert_eq!(query["query"], "SELECT 1 FROM `p.shop.orders` LIMIT 1");
        assert_eq!(query["maximumBytesBilled"], "104857600");
        assert_eq!(query["labels"]["replicator_pipeline"], "shop");
    }
}

/// One that was refused for now has failed for good; of one that nobody answered for it is not known whether it ran.
#[tokio::test]
async fn a_refused_query_is_another_job_when_it_is_run_again() {
    let done = || answer(QUERY, 200, json!({ "jobComplete": true }));
    let answers = vec![
        fitting(),
        refusal(QUERY, 403, "rateLimitExceeded"),
        refusal(QUERY, 503, "backendError"),
        done(),
        done(),
    ];
    let ends = ends(answers, Vec::new()).await;
    assert_eq!(ends.prepare().await.unwrap(), Prepared::Empty);
    let calls = ends.rest.calls();
    let id = |call: usize| calls[call].1["requestId"].clone();
    assert!(id(1).is_string() && id(1) != id(2) && id(2) == id(3));
}

/// Within `max_staleness` no query sees what waits to be applied.
#[tokio::test]
async fn rows_that_no_query_sees_yet_are_rows() {
    for more in [
        json!({ "streamingBuffer": { "estimatedRows": "1", "estimatedBytes": "9" } }),
        // Its estimates are none.
        json!({ "streamingBuffer": { "estimatedRows": "0" } }),
        json!({ "numRows": "1" }),
    ] {
        let ends = ends(vec![fitting_with(&more)], Vec::new()).await;
        assert_eq!(ends.prepare().await.unwrap(), Prepared::NotEmpty, "{more}");
        assert_eq!(ends.rest.calls().len(), 1);
    }
}

#[tokio::test]
async fn inspecting_changes_nothing() {
    let ends = ends(vec![refusal(TABLE, 404, "notFound")], Vec::new()).await;
    let prepared = ends.passing(ends.sink.inspect(&plain())).await.unwrap();
    assert_eq!(prepared, Prepared::Absent);
    assert_eq!(ends.rest.calls().len(), 1);
}

#[tokio::test]
async fn a_table_that_another_made_meanwhile_is_examined() {
    let answers = vec![
        refusal(TABLE, 404, "notFound"),
        answer(DATASET, 200, json!({})),
        refusal("POST projects/p/datasets/shop/tables", 409, "duplicate"),
        fitting(),
        answer(QUERY, 200, json!({ "jobComplete": true })),
        answer(QUERY, 200, json!({ "jobComplete": true })),
    ];
    let ends = ends(answers, Vec::new()).await;
    assert_eq!(ends.prepare().await.unwrap(), Prepared::Empty);
}

#[tokio::test]
async fn a_table_without_a_key_is_a_fault_of_the_table_and_a_lack_of_permission_one_of_all() {
    let keyless = answer(TABLE, 200, json!({ "schema": { "fields": [] } }));
    let ends_keyless = ends(vec![keyless], Vec::new()).await;
    let error = ends_keyless.prepare().await.unwrap_err();
    assert_eq!(error.fault(), Fault::Table(TableId::new("shop", "orders")));
    assert!(
        error.to_string().contains("ADD PRIMARY KEY (`id`) NOT ENFORCED"),
        "{error}"
    );

    let forbidden = ends(vec![refusal(TABLE, 403, "accessDenied")], Vec::new()).await;
    let error = forbidden.prepare().await.unwrap_err();
    assert_eq!(error.fault(), Fault::Fatal);
    assert!(error.hint().unwrap().contains("roles/bigquery.dataEditor"));
}

#[tokio::test]
async fn an_outage_of_the_api_ends_as_a_transient_error() {
    let answers = vec![refusal(TABLE, 503, "backendError"); 1000];
    let ends = ends(answers, Vec::new()).await;
    let error = ends.prepare().await.unwrap_err();
    assert_eq!(error.fault(), Fault::RETRY, "{error}");
}

#[tokio::test]
async fn names_that_differ_in_case_are_two_unless_the_data_set_ignores_case() {
    let (none, twins) = (|table| refusal(table, 404, "notFound"), ["orders", "Orders"]);
    let [first, second] = twins.map(|name| TableLayout {
        table: TableId::new("shop", name),
        ..TableLayout::clone(&plain())
    });
    let answers = |ignores: &serde_json::Value| {
        let dataset = answer(DATASET, 200, json!({ "isCaseInsensitive": ignores }));
        vec![
            none(TABLE),
            dataset.clone(),
            none("GET projects/p/datasets/shop/tables/Orders"),
            dataset,
        ]
    };
    let tables = [first.table.clone(), second.table.clone()];

    let ends_apart = ends(answers(&json!(null)), Vec::new()).await;
    for layout in [&first, &second] {
        let found = ends_apart.passing(ends_apart.sink.inspect(layout)).await;
        assert_eq!(found.unwrap(), Prepared::Absent);
    }
    assert!(
        ends_apart
            .passing(ends_apart.sink.tell_apart(&tables))
            .await
            .is_ok()
    );
    assert_eq!(ends_apart.rest.left(), 0);

    let ends_alike = ends(answers(&json!(true)), Vec::new()).await;
    ends_alike.passing(ends_alike.sink.inspect(&first)).await.unwrap();
    let error = ends_alike
        .passing(ends_alike.sink.inspect(&second))
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("shop.orders") && text.contains("shop.Orders"),
        "{text}"
    );
    // The one that came first goes on.
    assert_eq!(error.fault(), Fault::Table(second.table.clone()));
}

#[tokio::test]
async fn a_data_set_that_ignores_case_is_told_of_at_start() {
    let dataset = answer(DATASET, 200, json!({ "isCaseInsensitive": true }));
    let ends = ends(vec![dataset], Vec::new()).await;
    let tables = ["orders", "Orders", "items"].map(|name| TableId::new("shop", name));
    let error = ends.passing(ends.sink.tell_apart(&tables)).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Fatal);
    assert!(
        error.to_string().contains("shop.orders and shop.Orders"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("is_case_insensitive"));
}

fn batch(rows: &[(i64, &str)]) -> Batch {
    let layout = plain();
    Batch {
        pieces: vec![inserts(&layout, 16, rows)],
        layout,
    }
}

#[tokio::test]
async fn a_batch_of_many_requests_is_durable_once_all_are_acknowledged() {
    let steps = vec![
        Step::Take,
        Step::End(Code::Unavailable),
        Step::Refuse(Code::Internal),
    ];
    let ends = ends(Vec::new(), steps).await;
    let text = "x".repeat(3_000_000);
    let rows: Vec<(i64, &str)> = (0..9).map(|id| (id, text.as_str())).collect();
    let pending = ends.passing(ends.sink.write(batch(&rows))).await.unwrap();
    let durable = ends.passing(pending).await.unwrap();
    assert_eq!(durable.rows, 9);
    assert!(durable.bytes > 27_000_000);
    let mut keys = ends.write.keys();
    keys.sort_unstable();
    // Two rows a request.
    assert_eq!(keys, [0, 2, 4, 6, 8]);
    let all = usize::try_from(ROOM_BYTES).unwrap();
    assert_eq!(ends.sink.room.available_permits(), all);
}

#[tokio::test]
async fn a_table_that_is_made_anew_is_written_through_a_new_stream() {
    let answers = vec![
        refusal(TABLE, 404, "notFound"),
        answer(DATASET, 200, json!({})),
        answer("POST projects/p/datasets/shop/tables", 200, json!({})),
    ];
    let ends = ends(answers, Vec::new()).await;
    for id in 0..2 {
        let pending = ends.passing(ends.sink.write(batch(&[(id, "v")]))).await.unwrap();
        ends.passing(pending).await.unwrap();
    }
    assert_eq!(ends.write.seen().streams.len(), 1);
    assert_eq!(ends.prepare().await.unwrap(), Prepared::Created);
    let pending = ends.passing(ends.sink.write(batch(&[(2, "v")]))).await.unwrap();
    ends.passing(pending).await.unwrap();
    assert_eq!(ends.write.keys(), [0, 1, 2]);
    assert_eq!(ends.write.seen().streams.len(), 2);
}

#[tokio::test]
async fn no_proof_comes_of_a_refused_request() {
    let ends = ends(
        Vec::new(),
        vec![Step::Take, Step::Refuse(Code::FailedPrecondition)],
    )
    .await;
    let text = "x".repeat(5_000_000);
    let pending = ends
        .passing(ends.sink.write(batch(&[(1, &text), (2, &text), (3, &text)])))
        .await
        .unwrap();
    let error = ends.passing(pending).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Table(TableId::new("shop", "orders")));
    assert!(error.to_string().contains("FailedPrecondition"), "{error}");
}

#[tokio::test]
async fn an_image_that_is_none_fails_the_handing_over() {
    let ends = ends(Vec::new(), Vec::new()).await;
    let layout = plain();
    let piece = changes(
        &layout,
        16,
        vec![vec![Cell::Int(1)]],
        vec![Op::Insert { after: image(0) }],
    );
    let pieces = vec![piece];
    let Err(error) = ends.sink.write(Batch { layout, pieces }).await else {
        panic!("taken");
    };
    assert_eq!(error.fault(), Fault::Table(TableId::new("shop", "orders")));
    assert!(crate::fault::chain(&*error).contains("malformed"), "{error}");
}

#[tokio::test]
async fn what_is_in_flight_is_bounded_in_bytes() {
    let ends = ends(Vec::new(), Vec::new()).await;
    let text = "x".repeat(120_000);
    let mut taken = 0;
    let mut pendings = Vec::new();
    // The connections' tasks do not run before this test waits, so nothing leaves meanwhile.
    'full: for table in 0..20 {
        let layout = Arc::new(TableLayout {
            table: TableId::new("shop", format!("t{table}")),
            ..TableLayout::clone(&plain())
        });
        for id in 0..50 {
            let batch = Batch {
                layout: Arc::clone(&layout),
                pieces: vec![inserts(&layout, 16, &[(id, &text)])],
            };
            let Some(pending) = tokio::task::unconstrained(ends.sink.write(batch)).now_or_never() else {
                break 'full;
            };
            pendings.push(pending.unwrap());
            taken += text.len();
        }
    }
    let room = usize::try_from(ROOM_BYTES).unwrap();
    // A row counts twice: as it came and as it is sent.
    assert!(2 * taken > room - 1_000_000 && 2 * taken <= room, "{taken}");
    for pending in pendings {
        ends.passing(pending).await.unwrap();
    }
    assert_eq!(ends.sink.room.available_permits(), room);
    assert_eq!(ends.write.keys().len(), taken / text.len());
}
