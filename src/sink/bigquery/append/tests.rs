use std::sync::Mutex;

use tokio::sync::Semaphore;
use tonic::Code;

use super::super::block::BatchEncoder;
use super::super::fixture::server::{Server, Step};
use super::super::fixture::{column, inserts, layout, plain, target};
use super::super::pool::Pool;
use super::*;
use crate::event::{ColumnType, TableId, TableLayout};
use crate::sink::Batch;

/// A pool whose clock runs while something waits for it, so that minutes of patience pass at once.
struct Client {
    pool: Pool,
    clock: Clock,
    targets: Mutex<BTreeMap<TableId, Arc<Target>>>,
}

impl Client {
    fn new(url: &str) -> Client {
        let clock = Clock::manual();
        let link = Link {
            endpoint: super::super::endpoint(url).unwrap(),
            tokens: Tokens::None,
            trace_id: Bytes::from_static(b"replicator:test"),
            clock: clock.clone(),
        };
        Client {
            pool: Pool::new(link),
            clock,
            targets: Mutex::default(),
        }
    }

    /// Sends one block whose only row has this key.
    async fn send(&self, layout: &Arc<TableLayout>, key: i64) -> oneshot::Receiver<Result<(), Error>> {
        let piece = inserts(layout, 16, &[(key, "v"), (key + 1_000_000, "v")]);
        let batch = Batch {
            layout: Arc::clone(layout),
            pieces: vec![piece],
        };
        let target = Arc::clone(
            self.targets
                .lock()
                .unwrap()
                .entry(layout.table.clone())
                .or_insert_with(|| target(Arc::clone(layout))),
        );
        let block = BatchEncoder::new(Arc::clone(&target), batch)
            .next_block()
            .unwrap()
            .unwrap();
        let room = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        let (done, answer) = oneshot::channel();
        let delivery = Delivery {
            target,
            block,
            room,
            done,
        };
        self.pool.send(&layout.table, delivery).await.unwrap();
        answer
    }

    /// Waits for an answer and turns the clock meanwhile, `step` a time.
    async fn answer(
        &self,
        mut answer: oneshot::Receiver<Result<(), Error>>,
        step: Duration,
    ) -> Result<(), Error> {
        let real = Clock::real();
        let deadline = real.now() + Duration::from_secs(20);
        loop {
            match answer.try_recv() {
                Ok(result) => return result,
                Err(oneshot::error::TryRecvError::Closed) => panic!("the connection's task ended"),
                Err(oneshot::error::TryRecvError::Empty) => {}
            }
            assert!(real.now() < deadline, "no answer in time");
            self.clock.advance(step);
            real.sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Far below every limit of patience in all, far above every pause.
const STEP: Duration = Duration::from_millis(100);

async fn run_keys(steps: Vec<Step>, keys: std::ops::Range<i64>) -> (Server, Vec<Result<(), Error>>) {
    let server = Server::scripted(steps);
    let (url, _task) = server.start().await;
    let client = Client::new(&url);
    let mut answers = Vec::new();
    for key in keys {
        answers.push(client.send(&plain(), key).await);
    }
    let mut results = Vec::new();
    for answer in answers {
        results.push(client.answer(answer, STEP).await);
    }
    (server, results)
}

fn all_ok(results: &[Result<(), Error>]) {
    for result in results {
        assert!(result.is_ok(), "{result:?}");
    }
}

#[tokio::test]
async fn requests_do_not_wait_for_each_others_answers() {
    let (server, results) = run_keys(vec![Step::TakeAfter(8)], 0..8).await;
    all_ok(&results);
    assert_eq!(server.keys(), (0..8).collect::<Vec<_>>());
    let seen = server.seen();
    assert_eq!(seen.streams.len(), 1);
    let with_schema: Vec<bool> = seen.applied.iter().map(|applied| applied.with_schema).collect();
    assert_eq!(
        with_schema,
        [true, false, false, false, false, false, false, false]
    );
    assert_eq!(
        seen.streams[0].0,
        "write_stream=projects/p/datasets/shop/tables/orders/streams/_default"
    );
}

#[tokio::test]
async fn what_is_unanswered_when_the_stream_ends_is_sent_again_in_order() {
    for step in [
        Step::End(Code::Unavailable),
        Step::End(Code::Aborted),
        Step::TakeAndDrop,
    ] {
        let steps = vec![Step::Take, Step::Take, step.clone()];
        let (server, results) = run_keys(steps, 0..6).await;
        all_ok(&results);
        let keys = server.keys();
        let again = keys.len() - 4;
        assert_eq!(&keys[..2], [0, 1]);
        // Everything after the last acknowledged request once more, oldest first.
        assert_eq!(&keys[again..], [2, 3, 4, 5], "{step:?}: {keys:?}");
        assert_eq!(server.seen().streams.len(), 2);
    }
}

#[tokio::test]
async fn many_ends_lose_nothing() {
    let steps = (0..40).map(|n| match n % 4 {
        0 => Step::End(Code::Internal),
        1 => Step::Take,
        2 => Step::Refuse(Code::Internal),
        _ => Step::TakeAndDrop,
    });
    let (server, results) = run_keys(steps.collect(), 0..30).await;
    all_ok(&results);
    let mut keys = server.keys();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys, (0..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn exhausted_resources_are_waited_out_on_the_same_stream() {
    let steps = vec![
        Step::Refuse(Code::ResourceExhausted),
        Step::Refuse(Code::ResourceExhausted),
        Step::Refuse(Code::Internal),
    ];
    let (server, results) = run_keys(steps, 0..1).await;
    all_ok(&results);
    assert_eq!(server.keys(), [0]);
    let seen = server.seen();
    assert_eq!(seen.streams.len(), 1);
    // The request that was refused may have been the only one with the schema.
    assert!(seen.applied[0].with_schema);
}

#[tokio::test]
async fn an_answer_without_a_result_acknowledges_nothing() {
    let (server, results) = run_keys(vec![Step::NoWord], 0..1).await;
    all_ok(&results);
    assert_eq!(server.keys(), [0]);
    assert_eq!(server.seen().streams.len(), 2);
}

#[tokio::test]
async fn a_bad_row_is_named_by_its_place_in_the_log() {
    let (server, results) = run_keys(vec![Step::RowErrors(1)], 0..1).await;
    assert!(server.keys().is_empty());
    let Err(error) = &results[0] else { panic!() };
    let Error::RowRefused {
        table, at, message, ..
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!(table.to_string(), "shop.orders");
    assert_eq!((at.txn.coord.offset, at.ordinal.0), (16, 2));
    assert_eq!(message, "field v is bad");
    assert_eq!(error.fault(), Fault::Table(TableId::new("shop", "orders")));
}

#[tokio::test]
async fn row_errors_that_name_no_row_still_refuse_the_request() {
    for index in [-1, 2] {
        let (_, results) = run_keys(vec![Step::RowErrors(index)], 0..1).await;
        assert!(matches!(results[0], Err(Error::Refused { .. })), "{results:?}");
    }
}

#[tokio::test]
async fn a_request_that_ends_the_stream_is_found_among_its_neighbours() {
    // The first stream ends at the second request; alone, each of the others passes.
    let steps = vec![
        Step::Take,
        Step::End(Code::InvalidArgument),
        Step::End(Code::InvalidArgument),
    ];
    let (server, results) = run_keys(steps, 0..5).await;
    let failed: Vec<usize> = (0..5).filter(|index| results[*index].is_err()).collect();
    assert_eq!(failed, [1]);
    assert!(matches!(results[1], Err(Error::Refused { .. })));
    assert_eq!(server.keys(), [0, 2, 3, 4]);
}

#[tokio::test]
async fn a_missing_table_is_waited_for_and_then_given_up() {
    let steps = vec![
        Step::Refuse(Code::NotFound),
        Step::End(Code::NotFound),
        Step::Take,
    ];
    let (server, results) = run_keys(steps, 0..1).await;
    all_ok(&results);
    assert_eq!(server.seen().streams.len(), 3);

    let server = Server::scripted(vec![Step::End(Code::NotFound); 10_000]);
    let (url, _task) = server.start().await;
    let client = Client::new(&url);
    let mut answers = Vec::new();
    for key in 0..10 {
        answers.push(client.send(&plain(), key).await);
    }
    for answer in answers {
        let error = client.answer(answer, Duration::from_secs(1)).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    }
    assert!(server.seen().streams.len() > 5);
    // What waited behind was given up with it, not tried for ten minutes each.
    let turned = client.clock.unix_seconds() - Clock::manual().unix_seconds();
    assert!(turned < 1_000, "{turned}");
}

#[tokio::test]
async fn a_lasting_lack_of_permission_stops_the_process() {
    let server = Server::scripted(vec![Step::End(Code::PermissionDenied); 10_000]);
    let (url, _task) = server.start().await;
    let client = Client::new(&url);
    let answer = client.send(&plain(), 1).await;
    let error = client.answer(answer, Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Fatal);
    assert!(error.hint().unwrap().contains("roles/bigquery.dataEditor"));
}

#[tokio::test]
async fn a_server_that_says_nothing_is_left() {
    let server = Server::scripted([Step::TakeAfter(usize::MAX)]);
    let (url, _task) = server.start().await;
    let client = Client::new(&url);
    let answer = client.send(&plain(), 1).await;
    assert!(client.answer(answer, Duration::from_secs(10)).await.is_ok());
    assert!(server.seen().streams.len() > 1);
}

#[tokio::test]
async fn an_idle_stream_that_was_closed_is_opened_again_by_the_next_request() {
    let server = Server::scripted([Step::Take]);
    let (url, _task) = server.start().await;
    let client = Client::new(&url);
    let first = client.send(&plain(), 1).await;
    client.answer(first, STEP).await.unwrap();
    // The second request meets a stream that ends as servers end idle ones.
    server.seen().script.push_back(Step::End(Code::Aborted));
    let second = client.send(&plain(), 2).await;
    client.answer(second, STEP).await.unwrap();
    assert_eq!(server.keys(), [1, 2]);
}

#[tokio::test]
async fn tables_past_the_limit_share_connections_and_name_their_schema_at_each_switch() {
    let server = Server::default();
    let (url, _task) = server.start().await;
    let client = Client::new(&url);
    let layouts: Vec<Arc<TableLayout>> = (0..21)
        .map(|n| {
            let columns = layout(vec![
                column("id", ColumnType::Int64, Some(0)),
                column("v", ColumnType::Text, None),
            ]);
            Arc::new(TableLayout {
                table: TableId::new("shop", format!("t{n}")),
                ..TableLayout::clone(&columns)
            })
        })
        .collect();
    for layout in &layouts {
        let answer = client.send(layout, 1).await;
        client.answer(answer, STEP).await.unwrap();
    }
    let again = client.send(&layouts[0], 2).await;
    client.answer(again, STEP).await.unwrap();
    let seen = server.seen();
    assert_eq!(seen.streams.len(), 20);
    assert_eq!(seen.streams[0].1, 3);
    assert!(seen.applied.iter().all(|applied| applied.with_schema));
    assert!(seen.applied[20].write_stream.contains("/t20/"));
    assert!(seen.applied[21].write_stream.contains("/t0/"));
}
