use std::time::Duration;

use tonic::Code;

use super::super::fixture::client::{Client, STEP, all_appended, link, table};
use super::super::fixture::plain;
use super::super::fixture::server::{Server, Step};
use super::super::pool::Limits;
use super::*;
use crate::sink::bigquery::delivery::Outcome;

mod retries;

/// Everything on one connection.
const SHARED: Limits = Limits { own: 1, most: 1 };

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
async fn more_requests_than_the_window_holds_are_sent_as_it_moves() {
    let (server, outcomes) = run_keys(vec![Step::TakeAfter(WINDOW)], 0..200).await;
    all_appended(&outcomes);
    assert_eq!(server.keys(), (0..200).collect::<Vec<_>>());
    assert_eq!(server.seen().streams.len(), 1);
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
async fn a_server_that_says_nothing_is_left() {
    let server = Server::scripted([Step::TakeAfter(usize::MAX)]);
    let (url, _task) = server.start().await;
    let client = Client::new(&url);
    all_appended(&[client.one(&plain(), 1, Duration::from_secs(10)).await]);
    assert!(server.seen().streams.len() > 1);
    assert!(client.passed() >= SILENCE.as_secs());
}

#[tokio::test]
async fn a_stream_without_traffic_is_closed_and_opened_again_by_the_next_request() {
    let server = Server::default();
    let (url, _task) = server.start().await;
    let client = Client::new(&url);
    all_appended(&[client.one(&plain(), 1, STEP).await]);
    let before = client.passed();
    client
        .until(Duration::from_secs(1), || server.seen().ended == 1)
        .await;
    let idle = client.passed() - before;
    // Well before BigQuery would end it, with some real time for the news to arrive.
    assert!((539..600).contains(&idle), "{idle}");
    all_appended(&[client.one(&plain(), 2, STEP).await]);
    assert_eq!(server.keys(), [1, 2]);
    assert_eq!(server.seen().streams.len(), 2);
}

#[tokio::test]
async fn a_stream_that_the_server_ends_while_idle_is_opened_again_by_the_next_request() {
    let server = Server::default();
    let (url, _task) = server.start().await;
    let client = Client::new(&url);
    for (key, code) in [
        (1, Code::Aborted),
        (2, Code::Unavailable),
        (3, Code::NotFound),
        (4, Code::Ok),
    ] {
        all_appended(&[client.one(&plain(), key, STEP).await]);
        server
            .end_last(Status::new(code, "inactive for 600 seconds"))
            .await;
        let ended = usize::try_from(key).unwrap();
        client.until(STEP, || server.seen().ended == ended).await;
    }
    assert_eq!(server.keys(), [1, 2, 3, 4]);
    assert_eq!(server.seen().streams.len(), 4);
}

#[tokio::test]
async fn tables_that_share_a_connection_name_their_schema_at_each_switch() {
    let server = Server::default();
    let (url, _task) = server.start().await;
    let client = Client::of(link(&url, &url), SHARED);
    let mut answers = Vec::new();
    for (name, key) in [("a", 1), ("a", 2), ("b", 3), ("a", 4), ("a", 5)] {
        answers.push(client.send(&table(name), key).await);
    }
    for answer in answers {
        all_appended(&[client.answer(answer, STEP).await]);
    }
    let seen = server.seen();
    assert_eq!(seen.streams.len(), 1);
    let applied = seen.applied.iter().map(|applied| {
        let name = applied.write_stream.split('/').nth(5).unwrap().to_owned();
        (name, applied.first_key, applied.with_schema)
    });
    let expected = [
        ("a", 1, true),
        ("a", 2, false),
        ("b", 3, true),
        ("a", 4, true),
        ("a", 5, false),
    ];
    assert_eq!(
        applied.collect::<Vec<_>>(),
        expected.map(|(name, key, schema)| (name.to_owned(), key, schema))
    );
}
