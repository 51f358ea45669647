//! Each line of the table of errors: what is sent again and how, what is given up and after how long.

use std::sync::atomic::{AtomicUsize, Ordering};

use prost::Message;
use serde_json::json;
use tokio::sync::oneshot;

use super::super::super::auth::Tokens;
use super::super::super::fixture::client::failed;
use super::super::super::fixture::rest::{Answer, Server as RestServer, answer, refusal};
use super::*;
use crate::event::TableId;
use crate::fault::{Classify, Fault};
use crate::proto::rpc;
use crate::proto::storage::StorageError;
use crate::proto::storage::storage_error::StorageErrorCode;

/// A second at a time: minutes of patience in seconds.
const SECOND: Duration = Duration::from_secs(1);

/// The clock may run on by so many seconds, for the last wait and while the answer is on its way.
const LATE: u64 = 300;

const TABLE: &str = "GET projects/p/datasets/shop/tables/orders";

/// One delivery to a server with a script and, where tables are asked for, a REST server with another.
async fn one(steps: Vec<Step>, answers: Vec<Answer>) -> (Server, Client, Outcome) {
    let (server, rest) = (Server::scripted(steps), RestServer::scripted(answers));
    let (url, _task) = server.start().await;
    let (rest_url, _rest_task) = rest.start().await;
    let client = Client::of(link(&url, &rest_url), Limits::default());
    let outcome = client.one(&plain(), 7, SECOND).await;
    (server, client, outcome)
}

fn orders() -> Fault {
    Fault::Table(TableId::new("shop", "orders"))
}

#[tokio::test]
async fn a_stream_that_ends_is_opened_again_and_what_is_unanswered_sent_in_order() {
    for step in [
        Step::End(Code::Unavailable),
        Step::End(Code::Aborted),
        Step::End(Code::Cancelled),
        Step::End(Code::Internal),
        Step::End(Code::DeadlineExceeded),
        Step::End(Code::Unknown),
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
async fn an_outage_is_waited_out_with_growing_waits_between_streams() {
    let server = Server::scripted(vec![Step::End(Code::Unavailable); 10_000]);
    let (url, _task) = server.start().await;
    let client = Client::new(&url);
    let answer = client.send(&plain(), 1).await;
    client.until(SECOND, || client.passed() >= 900).await;
    let streams = server.seen().streams.len();
    // Ten doublings from 50 ms to a minute, then one a minute; jitter adds at most as much again.
    assert!((8..40).contains(&streams), "{streams}");
    server.seen().script.clear();
    all_appended(&[client.answer(answer, SECOND).await]);
}

#[tokio::test]
async fn exhausted_resources_are_waited_out_for_ten_minutes_on_the_same_stream() {
    let server = Server::scripted(vec![Step::Refuse(Code::ResourceExhausted); 100_000]);
    let (url, _task) = server.start().await;
    let client = Client::new(&url);
    let mut answers = Vec::new();
    for key in 0..10 {
        answers.push(client.send(&plain(), key).await);
    }
    client.until(SECOND, || client.passed() >= 600).await;
    let asked = server.seen().streams[0].1;
    // Ten at first; then one at a time, less and less often.
    assert!((11..60).contains(&asked), "{asked}");
    server.seen().script.clear();
    for answer in answers {
        all_appended(&[client.answer(answer, STEP).await]);
    }
    assert_eq!(server.keys(), (0..10).collect::<Vec<_>>());
    let seen = server.seen();
    assert_eq!(seen.streams.len(), 1);
    // The request that was refused may have been the only one with the schema.
    assert!(seen.applied[0].with_schema);
}

#[tokio::test]
async fn exhausted_resources_at_the_opening_are_waited_out() {
    let (server, client, outcome) = one(vec![Step::End(Code::ResourceExhausted); 3], Vec::new()).await;
    all_appended(&[outcome]);
    assert_eq!(server.seen().streams.len(), 4);
    assert!(client.passed() >= 7, "{}", client.passed());
}

#[tokio::test]
async fn errors_in_band_that_pass_are_sent_again_on_the_same_stream() {
    for code in [Code::Internal, Code::Aborted, Code::Unavailable, Code::Unknown] {
        let (server, _, outcome) = one(vec![Step::Refuse(code); 3], Vec::new()).await;
        all_appended(&[outcome]);
        assert_eq!(server.seen().streams.len(), 1);
    }
}

#[tokio::test]
async fn a_stream_that_goes_on_refusing_is_exchanged() {
    let (server, _, outcome) = one(vec![Step::Refuse(Code::Internal); 6], Vec::new()).await;
    all_appended(&[outcome]);
    let requests: Vec<usize> = server.seen().streams.iter().map(|stream| stream.1).collect();
    assert_eq!(requests, [5, 2]);
}

#[tokio::test]
async fn a_request_without_the_schema_that_the_server_forgot_is_no_bad_request() {
    let steps = vec![
        Step::Refuse(Code::ResourceExhausted),
        Step::Refuse(Code::InvalidArgument),
        Step::Refuse(Code::InvalidArgument),
    ];
    let (server, outcomes) = run_keys(steps, 0..3).await;
    all_appended(&outcomes);
    assert_eq!(server.keys(), [0, 1, 2]);

    let steps = vec![
        Step::Refuse(Code::ResourceExhausted),
        Step::End(Code::InvalidArgument),
    ];
    let (_, outcomes) = run_keys(steps, 0..2).await;
    all_appended(&outcomes);
}

#[tokio::test]
async fn a_request_that_is_refused_as_a_whole_comes_back() {
    let (server, outcomes) = run_keys(vec![Step::Refuse(Code::InvalidArgument)], 0..2).await;
    let Outcome::Refused { block, message, .. } = &outcomes[0] else {
        panic!("{outcomes:?}");
    };
    assert_eq!((block.rows, message.as_str()), (2, "scripted"));
    assert!(matches!(outcomes[1], Outcome::Appended));
    assert_eq!(server.seen().streams.len(), 1);
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
async fn a_failed_precondition_ends_what_the_table_has() {
    for step in [
        Step::Refuse(Code::FailedPrecondition),
        Step::End(Code::FailedPrecondition),
    ] {
        let (_, client, outcome) = one(vec![step; 2], Vec::new()).await;
        let error = failed(outcome);
        assert!(matches!(error, Error::Refused { .. }), "{error:?}");
        assert_eq!(error.fault(), orders());
        assert!(client.passed() < LATE);
    }
}

/// The ways in which BigQuery says that the writer's schema is not the table's.
fn mismatches() -> Vec<Step> {
    let storage = StorageError {
        code: StorageErrorCode::SchemaMismatchExtraFields.into(),
        ..StorageError::default()
    };
    let detail = prost_types::Any {
        type_url: crate::proto::STORAGE_ERROR_URL.to_owned(),
        value: storage.encode_to_vec(),
    };
    let said = |message: &str, details| {
        Step::RefuseWith(rpc::Status {
            code: Code::InvalidArgument.into(),
            message: message.to_owned(),
            details,
        })
    };
    vec![
        said("scripted", vec![detail]),
        said("Input schema has more fields than BigQuery schema", Vec::new()),
        said("The proto field mismatched with BigQuery field at v", Vec::new()),
        said("Field v is missing in the proto message", Vec::new()),
        said("There are extra proto fields: v", Vec::new()),
        said("The table is re-created", Vec::new()),
        said("The table is truncated", Vec::new()),
    ]
}

#[tokio::test]
async fn a_schema_that_has_not_spread_yet_is_tried_on_new_streams() {
    for step in mismatches() {
        let (server, _, outcome) = one(vec![step; 4], Vec::new()).await;
        all_appended(&[outcome]);
        let requests: Vec<usize> = server.seen().streams.iter().map(|stream| stream.1).collect();
        assert_eq!(requests, [1; 5]);
    }
}

#[tokio::test]
async fn a_schema_that_does_not_spread_is_given_up_after_ten_minutes() {
    let step = mismatches().swap_remove(1);
    let (server, client, outcome) = one(vec![step; 10_000], Vec::new()).await;
    let error = failed(outcome);
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains("has more fields than"), "{error}");
    assert_eq!(error.fault(), orders());
    let streams = server.seen().streams.len();
    assert!((10..40).contains(&streams), "{streams}");
    let passed = client.passed();
    assert!((600..600 + LATE).contains(&passed), "{passed}");
}

#[tokio::test]
async fn a_table_that_exists_and_is_not_found_is_waited_for() {
    for step in [Step::Refuse(Code::NotFound), Step::End(Code::NotFound)] {
        let known = answer(TABLE, 200, json!({}));
        let (server, _, outcome) = one(vec![step; 3], vec![known; 3]).await;
        all_appended(&[outcome]);
        assert_eq!(server.seen().streams.len(), 4);
    }
}

#[tokio::test]
async fn a_table_that_nobody_can_answer_for_is_waited_for() {
    let steps = vec![Step::Refuse(Code::NotFound)];
    let (_, _, outcome) = one(steps, vec![refusal(TABLE, 403, "accessDenied")]).await;
    all_appended(&[outcome]);
}

#[tokio::test]
async fn a_table_that_exists_and_stays_unknown_is_given_up_with_all_that_waits_for_it() {
    let server = Server::scripted(vec![Step::End(Code::NotFound); 10_000]);
    let rest = RestServer::scripted(vec![answer(TABLE, 200, json!({})); 1000]);
    let ((url, _task), (rest_url, _rest_task)) = (server.start().await, rest.start().await);
    let client = Client::of(link(&url, &rest_url), Limits::default());
    let mut answers = Vec::new();
    for key in 0..10 {
        answers.push(client.send(&plain(), key).await);
    }
    for answer in answers {
        let error = failed(client.answer(answer, SECOND).await);
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    }
    assert!(server.seen().streams.len() > 5);
    // What waited behind was given up with it, not tried for ten minutes each.
    let passed = client.passed();
    assert!((600..600 + LATE).contains(&passed), "{passed}");
}

#[tokio::test]
async fn a_table_that_is_gone_is_told_within_a_minute() {
    for step in [Step::Refuse(Code::NotFound), Step::End(Code::NotFound)] {
        let missing = refusal(TABLE, 404, "notFound");
        let (server, client, outcome) = one(vec![step; 9], vec![missing; 9]).await;
        let error = failed(outcome);
        assert!(matches!(error, Error::Gone { .. }), "{error:?}");
        assert_eq!(error.fault(), orders());
        assert!(error.hint().unwrap().contains("p.shop.orders"));
        assert!(server.seen().streams.len() >= 3);
        assert!((10..10 + LATE).contains(&client.passed()));
    }
}

#[tokio::test]
async fn a_table_that_is_shown_late_is_not_gone() {
    let missing = refusal(TABLE, 404, "notFound");
    let answers = vec![
        missing.clone(),
        missing.clone(),
        answer(TABLE, 200, json!({})),
        missing,
    ];
    let (server, _, outcome) = one(vec![Step::End(Code::NotFound); 4], answers).await;
    all_appended(&[outcome]);
    assert_eq!(server.seen().streams.len(), 5);
}

#[tokio::test]
async fn refusals_that_come_by_chance_add_up_to_nothing() {
    // Each time a minute of patience is over, but between two of the same kind another one came.
    let codes = [Code::PermissionDenied, Code::Unavailable].repeat(8);
    let steps = codes.into_iter().map(Step::End).collect();
    let (_, client, outcome) = one(steps, Vec::new()).await;
    all_appended(&[outcome]);
    assert!(client.passed() > 120, "{}", client.passed());
}

#[tokio::test]
async fn a_lack_of_permission_may_pass_within_a_minute_and_then_stops_the_process() {
    let (_, _, outcome) = one(vec![Step::End(Code::PermissionDenied); 2], Vec::new()).await;
    all_appended(&[outcome]);

    for step in [
        Step::End(Code::PermissionDenied),
        Step::Refuse(Code::PermissionDenied),
    ] {
        let (_, client, outcome) = one(vec![step; 1000], Vec::new()).await;
        let error = failed(outcome);
        assert_eq!(error.fault(), Fault::Fatal);
        assert!(error.hint().unwrap().contains("roles/bigquery.dataEditor"));
        let passed = client.passed();
        assert!((60..60 + LATE).contains(&passed), "{passed}");
    }
}

/// A client whose tokens are numbered by how often its credentials were made.
fn with_tokens(url: &str, made: &Arc<AtomicUsize>) -> Client {
    let mut link = link(url, url);
    let made = Arc::clone(made);
    link.tokens = Tokens::numbered(link.clock.clone(), move || {
        made.fetch_add(1, Ordering::Relaxed) + 1
    });
    Client::of(link, Limits::default())
}

#[tokio::test]
async fn a_refused_token_is_replaced_and_a_lasting_refusal_stops_the_process() {
    let server = Server::scripted([Step::End(Code::Unauthenticated)]);
    let (url, _task) = server.start().await;
    let made = Arc::default();
    let client = with_tokens(&url, &made);
    all_appended(&[client.one(&plain(), 1, SECOND).await]);
    let tokens = ["Bearer 1", "Bearer 2"].map(|token| Some(token.to_owned()));
    assert_eq!(server.seen().bearers, tokens);

    server
        .seen()
        .script
        .extend(vec![Step::Refuse(Code::Unauthenticated); 1000]);
    let error = failed(client.one(&plain(), 2, SECOND).await);
    assert_eq!(error.fault(), Fault::Fatal);
    // A new token now and then, not one for each refusal.
    assert!((2..8).contains(&made.load(Ordering::Relaxed)), "{made:?}");
    let passed = client.passed();
    assert!((60..60 + LATE).contains(&passed), "{passed}");
}

#[tokio::test]
async fn a_table_in_trouble_keeps_no_neighbour_waiting() {
    let steps = vec![Step::End(Code::NotFound); 3];
    let server = Server::scripted(steps);
    let sick = "GET projects/p/datasets/shop/tables/sick";
    let rest = RestServer::scripted(vec![refusal(sick, 503, "backendError"); 1000]);
    let ((url, _task), (rest_url, _rest_task)) = (server.start().await, rest.start().await);
    let client = Client::of(link(&url, &rest_url), SHARED);
    let mut waiting = client.send(&table("sick"), 1).await;
    // Alone on the first stream, it is known to be the sick one; the others go on without it.
    client.until(STEP, || !rest.calls().is_empty()).await;
    server.seen().script.clear();
    for key in 2..5 {
        all_appended(&[client.one(&table("well"), key, STEP).await]);
    }
    assert_eq!(server.keys(), [2, 3, 4]);
    let unanswered = waiting.try_recv().unwrap_err();
    assert_eq!(unanswered, oneshot::error::TryRecvError::Empty);
    all_appended(&[client.answer(waiting, SECOND).await]);
    // It was tried again first on a stream of its own.
    let seen = server.seen();
    assert_eq!(seen.streams.len(), 3);
    assert!(seen.streams[2].0.contains("/sick/"));
}

#[tokio::test]
async fn a_neighbour_of_a_fatal_request_is_sent_again_and_no_more() {
    let steps = vec![
        Step::TakeAfter(2),
        Step::End(Code::InvalidArgument),
        Step::Take,
        Step::End(Code::InvalidArgument),
    ];
    let server = Server::scripted(steps);
    let (url, _task) = server.start().await;
    let client = Client::of(link(&url, &url), SHARED);
    let well = client.send(&table("well"), 1).await;
    let sick = client.send(&table("sick"), 2).await;
    all_appended(&[client.answer(well, STEP).await]);
    let outcome = client.answer(sick, STEP).await;
    assert!(matches!(outcome, Outcome::Refused { .. }), "{outcome:?}");
    assert_eq!(server.keys(), [1, 1]);
}
