use std::sync::Mutex;

use tokio::sync::{Semaphore, oneshot};
use tonic::Code;

use super::super::block::{BatchEncoder, Block};
use super::super::delivery::{Mode, Outcome};
use super::super::fixture::server::{Server, Step};
use super::super::fixture::{column, inserts, layout, plain, target};
use super::super::plan::Target;
use super::super::pool::Pool;
use super::*;
use crate::event::{ColumnType, TableId, TableLayout};
use crate::proto::descriptor::DescriptorProto;
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
            server: super::super::connect::Server::new(url).unwrap(),
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

    /// Sends one block whose first row has this key.
    async fn send(&self, layout: &Arc<TableLayout>, key: i64) -> oneshot::Receiver<Outcome> {
        let target = Arc::clone(
            self.targets
                .lock()
                .unwrap()
                .entry(layout.table.clone())
                .or_insert_with(|| target(Arc::clone(layout))),
        );
        let destination = Arc::clone(&target.destination);
        self.deliver(destination, block(&target, key)).await
    }

    async fn deliver(&self, destination: Arc<Destination>, block: Block) -> oneshot::Receiver<Outcome> {
        let room = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        let (done, answer) = oneshot::channel();
        let delivery = Delivery {
            destination,
            block,
            room,
            done,
        };
        self.pool.send(delivery).await.unwrap();
        answer
    }

    /// Waits for an answer and turns the clock meanwhile, `step` a time.
    async fn answer(&self, mut answer: oneshot::Receiver<Outcome>, step: Duration) -> Outcome {
        let real = Clock::real();
        let deadline = real.now() + Duration::from_secs(20);
        loop {
            match answer.try_recv() {
                Ok(outcome) => return outcome,
                Err(oneshot::error::TryRecvError::Closed) => panic!("the connection's task ended"),
                Err(oneshot::error::TryRecvError::Empty) => {}
            }
            assert!(real.now() < deadline, "no answer in time");
            self.clock.advance(step);
            real.sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Two rows, the first of which has this key.
fn block(target: &Arc<Target>, key: i64) -> Block {
    let layout = Arc::clone(&target.layout);
    let piece = inserts(&layout, 16, &[(key, "v"), (key + 1_000_000, "v")]);
    let batch = Batch {
        layout,
        pieces: vec![piece],
    };
    let mut encoder = BatchEncoder::new(Arc::clone(target), Arc::new(batch));
    encoder.next_block().unwrap().unwrap().part.block
}

/// Far below every limit of patience in all, far above every pause.
const STEP: Duration = Duration::from_millis(100);

async fn run_keys(steps: Vec<Step>, keys: std::ops::Range<i64>) -> (Server, Vec<Outcome>) {
    let server = Server::scripted(steps);
    let (url, _task) = server.start().await;
    let client = Client::new(&url);
    let mut answers = Vec::new();
    for key in keys {
        answers.push(client.send(&plain(), key).await);
    }
    let mut outcomes = Vec::new();
    for answer in answers {
        outcomes.push(client.answer(answer, STEP).await);
    }
    (server, outcomes)
}

fn all_appended(outcomes: &[Outcome]) {
    for outcome in outcomes {
        assert!(matches!(outcome, Outcome::Appended), "{outcome:?}");
    }
}

fn failed(outcome: Outcome) -> Error {
    match outcome {
        Outcome::Failed(error) => error,
        Outcome::Appended | Outcome::Rows { .. } | Outcome::Refused { .. } => panic!("{outcome:?}"),
    }
}

#[tokio::test]
async fn requests_do_not_wait_for_each_others_answers() {
    let (server, outcomes) = run_keys(vec![Step::TakeAfter(8)], 0..8).await;
    all_appended(&outcomes);
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
        let (server, outcomes) = run_keys(steps, 0..6).await;
        all_appended(&outcomes);
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
    let (server, outcomes) = run_keys(steps.collect(), 0..30).await;
    all_appended(&outcomes);
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
    let (server, outcomes) = run_keys(steps, 0..1).await;
    all_appended(&outcomes);
    assert_eq!(server.keys(), [0]);
    let seen = server.seen();
    assert_eq!(seen.streams.len(), 1);
    // The request that was refused may have been the only one with the schema.
    assert!(seen.applied[0].with_schema);
}

#[tokio::test]
async fn an_answer_without_a_result_acknowledges_nothing() {
    let (server, outcomes) = run_keys(vec![Step::NoWord], 0..1).await;
    all_appended(&outcomes);
    assert_eq!(server.keys(), [0]);
    assert_eq!(server.seen().streams.len(), 2);
}

#[tokio::test]
async fn a_block_with_bad_rows_comes_back_with_all_that_the_server_named() {
    let steps = vec![Step::RowErrors(vec![1, 0, -1, 2])];
    let (server, mut outcomes) = run_keys(steps, 7..8).await;
    assert!(server.keys().is_empty());
    let Some(Outcome::Rows { block, errors, .. }) = outcomes.pop() else {
        panic!("{outcomes:?}");
    };
    let message = "field v is bad".to_owned();
    assert_eq!(errors, [(1, message.clone()), (0, message)]);
    assert_eq!(block.rows, 2);
    assert_eq!(server.seen().streams.len(), 1);
}

#[tokio::test]
async fn row_errors_that_name_no_row_still_refuse_the_request() {
    for index in [-1, 2] {
        let (_, outcomes) = run_keys(vec![Step::RowErrors(vec![index])], 0..1).await;
        assert!(matches!(outcomes[0], Outcome::Refused { .. }), "{outcomes:?}");
    }
}

#[tokio::test]
async fn a_request_that_is_refused_as_a_whole_comes_back() {
    for code in [Code::InvalidArgument, Code::FailedPrecondition] {
        let (server, outcomes) = run_keys(vec![Step::Refuse(code)], 0..2).await;
        let Outcome::Refused {
            block,
            code: refused,
            message,
            ..
        } = &outcomes[0]
        else {
            panic!("{outcomes:?}");
        };
        assert_eq!((block.rows, *refused, message.as_str()), (2, code, "scripted"));
        assert!(matches!(outcomes[1], Outcome::Appended));
        assert_eq!(server.seen().streams.len(), 1);
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
    let (server, outcomes) = run_keys(steps, 0..5).await;
    let failed: Vec<usize> = (0..5)
        .filter(|index| !matches!(outcomes[*index], Outcome::Appended))
        .collect();
    assert_eq!(failed, [1]);
    assert!(matches!(outcomes[1], Outcome::Refused { .. }));
    assert_eq!(server.keys(), [0, 2, 3, 4]);
}

#[tokio::test]
async fn a_missing_table_is_waited_for_and_then_given_up() {
    let steps = vec![
        Step::Refuse(Code::NotFound),
        Step::End(Code::NotFound),
        Step::Take,
    ];
    let (server, outcomes) = run_keys(steps, 0..1).await;
    all_appended(&outcomes);
    assert_eq!(server.seen().streams.len(), 3);

    let server = Server::scripted(vec![Step::End(Code::NotFound); 10_000]);
    let (url, _task) = server.start().await;
    let client = Client::new(&url);
    let mut answers = Vec::new();
    for key in 0..10 {
        answers.push(client.send(&plain(), key).await);
    }
    for answer in answers {
        let error = failed(client.answer(answer, Duration::from_secs(1)).await);
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
    let error = failed(client.answer(answer, Duration::from_secs(1)).await);
    assert_eq!(error.fault(), Fault::Fatal);
    assert!(error.hint().unwrap().contains("roles/bigquery.dataEditor"));
}

#[tokio::test]
async fn a_server_that_says_nothing_is_left() {
    let server = Server::scripted([Step::TakeAfter(usize::MAX)]);
    let (url, _task) = server.start().await;
    let client = Client::new(&url);
    let answer = client.send(&plain(), 1).await;
    all_appended(&[client.answer(answer, Duration::from_secs(10)).await]);
    assert!(server.seen().streams.len() > 1);
}

#[tokio::test]
async fn an_idle_stream_that_was_closed_is_opened_again_by_the_next_request() {
    let server = Server::scripted([Step::Take]);
    let (url, _task) = server.start().await;
    let client = Client::new(&url);
    let first = client.send(&plain(), 1).await;
    all_appended(&[client.answer(first, STEP).await]);
    // The second request meets a stream that ends as servers end idle ones.
    server.seen().script.push_back(Step::End(Code::Aborted));
    let second = client.send(&plain(), 2).await;
    all_appended(&[client.answer(second, STEP).await]);
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
        all_appended(&[client.answer(answer, STEP).await]);
    }
    let again = client.send(&layouts[0], 2).await;
    all_appended(&[client.answer(again, STEP).await]);
    let seen = server.seen();
    assert_eq!(seen.streams.len(), 20);
    assert_eq!(seen.streams[0].1, 3);
    assert!(seen.applied.iter().all(|applied| applied.with_schema));
    assert!(seen.applied[20].write_stream.contains("/t20/"));
    assert!(seen.applied[21].write_stream.contains("/t0/"));
}

#[tokio::test]
async fn changes_and_plain_rows_of_a_table_never_share_a_connection() {
    let server = Server::default();
    let (url, _task) = server.start().await;
    let client = Client::new(&url);
    let place = target(plain()).destination.place.clone();
    for (mode, key) in [
        (Mode::Cdc, 1),
        (Mode::Append, 2),
        (Mode::Cdc, 3),
        (Mode::Append, 4),
    ] {
        let table = plain().table.clone();
        let destination = Destination::new(table, place.clone(), mode, DescriptorProto::default());
        let answer = client
            .deliver(Arc::new(destination), block(&target(plain()), key))
            .await;
        all_appended(&[client.answer(answer, STEP).await]);
    }
    assert_eq!(server.keys(), [1, 2, 3, 4]);
    let requests: Vec<usize> = server.seen().streams.iter().map(|stream| stream.1).collect();
    assert_eq!(requests, [2, 2]);
}
