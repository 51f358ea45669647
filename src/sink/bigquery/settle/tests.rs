use std::collections::BTreeSet;

use serde_json::json;
use tonic::Code;

use super::super::fixture::rest::{Answer, answer, refusal};
use super::super::fixture::server::{Step, key};
use super::super::fixture::{Cell, changes, column, fields, image, inserts, layout, plain};
use super::super::tests::{DATASET, Ends, ends};
use super::*;
use crate::event::{ColumnType, Op, RowChanges};
use crate::fault::{Fault, chain};
use crate::sink::{Durable, Sink, SinkError};

const LETTERS_TABLE: &str = "GET projects/p/datasets/shop/tables/_replicator_dead_letters";

/// REST answers for a data set without a table of dead letters.
fn made() -> Vec<Answer> {
    vec![
        refusal(LETTERS_TABLE, 404, "notFound"),
        answer(DATASET, 200, json!({})),
        answer("POST projects/p/datasets/shop/tables", 200, json!({})),
    ]
}

impl Ends {
    async fn settled(&self, pieces: Vec<RowChanges>) -> Result<Durable, SinkError> {
        let layout = Arc::clone(&pieces[0].layout);
        let pending = self.passing(self.sink.write(Batch { layout, pieces })).await?;
        self.passing(pending).await
    }

    /// Keys of the rows that the table has, in the order in which they were applied.
    fn keys_of(&self, table: &str) -> Vec<u64> {
        self.write.rows_of(table).iter().map(|row| key(row)).collect()
    }

    /// A text field of every dead letter.
    fn letters(&self, field: u32) -> Vec<String> {
        let texts = |row: &Vec<u8>| {
            fields(row)
                .into_iter()
                .find(|(number, _)| *number == field)
                .unwrap()
                .1
                .text()
        };
        self.write
            .rows_of("_replicator_dead_letters")
            .iter()
            .map(texts)
            .collect()
    }
}

/// Field numbers of dead letters.
const SEQUENCE: u32 = 9;
const KEY: u32 = 12;
const REASON: u32 = 14;

fn rows(count: u64) -> Vec<RowChanges> {
    let rows: Vec<(i64, &str)> = (0..count).map(|id| (id.cast_signed(), "secret")).collect();
    vec![inserts(&plain(), 16, &rows)]
}

#[tokio::test]
async fn the_rows_at_fault_are_put_aside_and_all_others_are_sent_once() {
    for named in [0, 1, 3, 50] {
        for bad in [vec![0], vec![29], vec![0, 1, 2, 3, 4, 5, 6, 15, 28, 29]] {
            let ends = ends(made(), Vec::new()).await;
            let bad: BTreeSet<u64> = bad.into_iter().collect();
            ends.write.seen().bad = bad.clone();
            ends.write.seen().named = named;
            let durable = ends.settled(rows(30)).await.unwrap();
            let aside = u64::try_from(bad.len()).unwrap();
            assert_eq!(
                (durable.rows, durable.dead_letters),
                (30 - aside, aside),
                "{named} {bad:?}"
            );
            let mut taken = ends.keys_of("orders");
            taken.sort_unstable();
            assert_eq!(taken, (0..30).filter(|id| !bad.contains(id)).collect::<Vec<_>>());
            let mut letters = ends.letters(KEY);
            letters.sort_unstable();
            let mut expected: Vec<String> = bad.iter().map(|id| format!("{{\"id\":{id}}}")).collect();
            expected.sort_unstable();
            assert_eq!(letters, expected);
            let last = durable.last_dead_letter.unwrap();
            assert!(last.contains("000002:16") && !last.contains("bad"), "{last}");
            assert_eq!(ends.rest.left(), 0);
            let room = usize::try_from(super::super::ROOM_BYTES).unwrap();
            assert_eq!(ends.sink.room.available_permits(), room);
        }
    }
}

#[tokio::test]
async fn a_key_whose_last_version_is_refused_gets_no_older_one() {
    let ends = ends(made(), Vec::new()).await;
    let cells = vec![
        vec![Cell::Int(1), Cell::Text("old".to_owned())],
        vec![Cell::Int(1), Cell::InvalidText],
    ];
    let ops = vec![
        Op::Insert { after: image(0) },
        Op::Update {
            before: image(0),
            after: image(1),
            key_changed: false,
        },
    ];
    let durable = ends
        .settled(vec![changes(&plain(), 16, cells, ops)])
        .await
        .unwrap();
    assert_eq!((durable.rows, durable.dead_letters), (1, 1));
    assert_eq!(ends.keys_of("orders"), [0u64; 0]);
    assert_eq!(ends.letters(SEQUENCE), ["1/2/10/5"]);
    assert_eq!(ends.letters(13), ["v"]);
    let letters = ends.write.rows_of("_replicator_dead_letters");
    let stale = fields(&letters[0])
        .into_iter()
        .find(|(number, _)| *number == 15)
        .unwrap()
        .1;
    assert_eq!(stale, super::super::fixture::Field::Varint(1));
}

#[tokio::test]
async fn a_key_that_cannot_be_written_puts_its_row_aside() {
    let ends = ends(made(), Vec::new()).await;
    let layout = layout(vec![column("on", ColumnType::Date, Some(0))]);
    let ops = vec![Op::Insert { after: image(0) }];
    let piece = changes(&layout, 16, vec![vec![Cell::Date(0, 0, 0)]], ops);
    let durable = ends.settled(vec![piece]).await.unwrap();
    assert_eq!(durable.dead_letters, 1);
    assert_eq!(ends.letters(KEY), ["{\"on\":\"0000-00-00\"}"]);
}

#[tokio::test]
async fn a_table_none_of_whose_rows_is_taken_is_given_up() {
    for named in [0, 50] {
        let ends = ends(made(), Vec::new()).await;
        ends.write.seen().bad = (0..5_000).collect();
        ends.write.seen().named = named;
        let error = ends.settled(rows(5_000)).await.unwrap_err();
        assert_eq!(
            error.fault(),
            Fault::Table(TableId::new("shop", "orders")),
            "{error}"
        );
        let text = chain(&*error);
        assert!(
            text.contains("more rows of shop.orders are refused") && !text.contains("bad"),
            "{text}"
        );
        let letters = ends.letters(KEY).len();
        assert!((100..=1_100).contains(&letters), "{letters}");
        assert_eq!(ends.keys_of("orders"), [0u64; 0]);
    }
}

#[tokio::test]
async fn requests_of_one_row_each_are_counted_together() {
    let ends = ends(made(), Vec::new()).await;
    ends.write.seen().bad = (0..5_000).collect();
    ends.write.seen().named = 1;
    for id in 0..99 {
        let piece = inserts(&plain(), 16, &[(id, "v")]);
        assert_eq!(ends.settled(vec![piece]).await.unwrap().dead_letters, 1);
    }
    let last = vec![inserts(&plain(), 16, &[(99, "v")])];
    assert!(ends.settled(last).await.is_err());
}

#[test]
fn a_refused_row_is_made_up_for_by_a_hundred_that_are_taken() {
    let mut allowance = Allowance::default();
    assert!(!allowance.put_aside(IN_ALL));
    assert!(!allowance.ended(99, IN_ALL));
    assert!(allowance.put_aside(1));
    let mut allowance = Allowance::default();
    assert!(!allowance.put_aside(IN_ALL));
    assert!(!allowance.ended(100, IN_ALL));
    assert!(!allowance.put_aside(1));
    assert!(!allowance.ended(0, IN_A_ROW - 1));
    assert!(allowance.ended(0, 1));
    // What was taken long ago makes up for nothing.
    let mut allowance = Allowance::default();
    assert!(!allowance.ended(1_000_000_000, 0));
    assert!(allowance.put_aside(IN_ALL + 1));
}

#[tokio::test]
async fn a_dead_letter_that_cannot_be_written_stops_everything() {
    let misfit = json!({ "schema": { "fields": [{ "name": "key", "type": "STRING" }] } });
    // A refusal of letters is believed the third time.
    let refused = |step: Step| {
        let mut steps = vec![step; 4];
        steps[0] = Step::RowErrors(vec![0]);
        (made(), steps)
    };
    for ((answers, steps), cause) in [
        (refused(Step::Refuse(Code::InvalidArgument)), "scripted"),
        (
            refused(Step::Refuse(Code::FailedPrecondition)),
            "FailedPrecondition",
        ),
        (refused(Step::RowErrors(vec![0])), "1 of 1 rows"),
        (
            (
                vec![answer(LETTERS_TABLE, 200, misfit)],
                vec![Step::RowErrors(vec![0])],
            ),
            "column key is STRING and should be JSON",
        ),
        (
            (
                vec![refusal(LETTERS_TABLE, 403, "accessDenied")],
                vec![Step::RowErrors(vec![0])],
            ),
            "not allowed",
        ),
    ] {
        let ends = ends(answers, steps).await;
        let error = ends.settled(rows(1)).await.unwrap_err();
        assert_eq!(error.fault(), Fault::Fatal, "{cause}");
        let text = chain(&*error);
        assert!(
            text.contains("dead letter of a row of shop.orders at transaction") && text.contains(cause),
            "{text}"
        );
        assert!(error.hint().is_some());
    }
}

#[tokio::test]
async fn letters_that_are_refused_once_or_find_an_outage_are_written() {
    let mut answers = vec![refusal(LETTERS_TABLE, 503, "backendError"); 30];
    answers.extend(made());
    let steps = vec![
        Step::RowErrors(vec![0]),
        Step::Refuse(Code::InvalidArgument),
        Step::RowErrors(vec![0]),
    ];
    let ends = ends(answers, steps).await;
    assert_eq!(ends.settled(rows(1)).await.unwrap().dead_letters, 1);
    assert_eq!(ends.letters(KEY).len(), 1);
}

#[tokio::test]
async fn an_answer_that_is_no_fault_of_a_row_puts_nothing_aside() {
    let ends = ends(Vec::new(), vec![Step::Refuse(Code::FailedPrecondition)]).await;
    let error = ends.settled(rows(4)).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Table(TableId::new("shop", "orders")));
    assert_eq!(ends.letters(KEY), [""; 0]);
}

#[tokio::test]
async fn rows_too_large_for_a_request_are_kept_by_reference() {
    let ends = ends(made(), Vec::new()).await;
    let text = "x".repeat(19_000_000);
    let piece = inserts(&plain(), 16, &[(1, "a"), (2, &text)]);
    assert_eq!(ends.settled(vec![piece]).await.unwrap().dead_letters, 1);
    assert_eq!(ends.keys_of("orders"), [1]);
    let reasons = ends.letters(REASON);
    assert!(reasons[0].contains("a request takes"), "{reasons:?}");
    let letter = fields(&ends.write.rows_of("_replicator_dead_letters")[0]);
    let numbers: Vec<u32> = letter.iter().map(|(number, _)| *number).collect();
    // Neither a column nor the row itself, but its length and its hash.
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 15, 17, 18]);
}

#[tokio::test]
async fn what_is_refused_gives_its_memory_back_although_nobody_asks_for_it_yet() {
    let ends = ends(made(), Vec::new()).await;
    ends.write.seen().bad = (0..1_000).collect();
    ends.write.seen().named = 1;
    let text = "x".repeat(3_000_000);
    let mut pendings = Vec::new();
    // Together far more than there is room for.
    for id in 0..30 {
        let layout = plain();
        let pieces = vec![inserts(&layout, 16, &[(2 * id, &text), (2 * id + 1, &text)])];
        let written = ends.passing(ends.sink.write(Batch { layout, pieces })).await;
        pendings.push(written.unwrap());
    }
    let mut letters = 0;
    for pending in pendings {
        letters += ends.passing(pending).await.unwrap().dead_letters;
    }
    assert_eq!(letters, 60);
}
