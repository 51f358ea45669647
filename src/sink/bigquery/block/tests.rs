use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::fixture::{Cell, Field, changes, column, fields, image, inserts, layout, plain, target};
use super::*;
use crate::event::ColumnType;

fn encoder(pieces: Vec<RowChanges>) -> BatchEncoder {
    let layout = plain();
    let batch = Batch {
        layout: Arc::clone(&layout),
        pieces,
    };
    BatchEncoder::new(target(layout), Arc::new(batch))
}

fn blocks(pieces: Vec<RowChanges>) -> Result<Vec<Cut>, Error> {
    let mut encoder = encoder(pieces);
    let mut blocks = Vec::new();
    while let Some(block) = encoder.next_block()? {
        blocks.push(block);
    }
    assert_eq!(encoder.image_bytes_left(), 0);
    Ok(blocks)
}

/// A sent row: key, `UPSERT` or `DELETE`, value, sequence number.
type Sent = (i64, String, Option<String>, String);

fn sent(cuts: &[Cut]) -> Vec<Sent> {
    cuts.iter().flat_map(|cut| sent_in(&cut.part)).collect()
}

fn sent_in(part: &Part) -> Vec<Sent> {
    let mut sent = Vec::new();
    let rows = fields(&part.block.body);
    assert_eq!(part.origins.len(), part.block.rows);
    assert_eq!(rows.len(), part.block.rows);
    for (number, row) in rows {
        assert_eq!(number, 1);
        let Field::Bytes(row) = row else { panic!() };
        let row: BTreeMap<u32, Field> = fields(&row).into_iter().collect();
        let Field::Varint(id) = row[&1] else { panic!() };
        let text = row.get(&2).map(Field::text);
        sent.push((id.cast_signed(), row[&4].text(), text, row[&5].text()));
    }
    sent
}

fn row(id: i64, text: &str) -> Vec<Cell> {
    vec![Cell::Int(id), Cell::Text(text.to_owned())]
}

#[test]
fn the_last_change_of_a_key_wins_and_an_insert_with_its_delete_leaves_the_delete() {
    let layout = plain();
    let rows = vec![row(1, "a"), row(1, "b"), row(2, "c"), row(2, "c")];
    let ops = vec![
        Op::Insert { after: image(0) },
        Op::Update {
            before: image(0),
            after: image(1),
            key_changed: false,
        },
        Op::Insert { after: image(2) },
        Op::Delete { before: image(3) },
    ];
    let blocks = blocks(vec![changes(&layout, 16, rows, ops)]).unwrap();
    assert_eq!(blocks[0].changes, 4);
    let expected = [
        (
            1,
            "UPSERT".to_owned(),
            Some("b".to_owned()),
            "1/2/10/5".to_owned(),
        ),
        (2, "DELETE".to_owned(), None, "1/2/10/8".to_owned()),
    ];
    assert_eq!(sent(&blocks), expected);
}

#[test]
fn a_key_change_deletes_the_old_key_below_the_upsert_of_the_new() {
    let layout = plain();
    let ops = vec![Op::Update {
        before: image(0),
        after: image(1),
        key_changed: true,
    }];
    let blocks = blocks(vec![changes(&layout, 16, vec![row(1, "a"), row(2, "a")], ops)]).unwrap();
    let expected = [
        (1, "DELETE".to_owned(), None, "1/2/10/2".to_owned()),
        (
            2,
            "UPSERT".to_owned(),
            Some("a".to_owned()),
            "1/2/10/3".to_owned(),
        ),
    ];
    assert_eq!(sent(&blocks), expected);
}

#[test]
fn snapshot_rows_carry_the_low_watermark() {
    let layout = plain();
    let mut piece = inserts(&layout, 16, &[(1, "a"), (2, "b")]);
    piece.snapshot = true;
    let numbers: Vec<String> = sent(&blocks(vec![piece]).unwrap())
        .into_iter()
        .map(|row| row.3)
        .collect();
    assert_eq!(numbers, ["1/2/10/1", "1/2/10/1"]);
}

/// The refused rows of the only block: number, whether stale, reason.
fn refused(pieces: Vec<RowChanges>) -> Vec<(String, bool, Refusal)> {
    let batch = Batch {
        layout: plain(),
        pieces,
    };
    let mut encoder = encoder(batch.pieces.clone());
    let cut = encoder.next_block().unwrap().unwrap();
    assert!(encoder.next_block().unwrap().is_none());
    let one = |(origin, refusal): (Origin, Refusal)| {
        let row = origin.refused(&batch).unwrap();
        (row.order.to_string(), row.stale, refusal)
    };
    cut.refused.into_iter().map(one).collect()
}

fn bad(id: i64) -> Vec<Cell> {
    vec![Cell::Int(id), Cell::InvalidText]
}

fn insert() -> Vec<Op> {
    vec![Op::Insert { after: image(0) }]
}

#[test]
fn a_refused_row_is_set_apart_unless_a_later_change_took_its_place() {
    let layout = plain();
    let pieces = vec![
        inserts(&layout, 8, &[(7, "x")]),
        changes(&layout, 16, vec![bad(1)], insert()),
    ];
    let cuts = blocks(pieces.clone()).unwrap();
    assert_eq!((cuts[0].changes, sent(&cuts).len()), (2, 1));
    let apart = refused(pieces);
    assert_eq!(apart.len(), 1);
    assert_eq!((apart[0].0.as_str(), apart[0].1), ("1/2/10/3", false));
    assert!(matches!(&apart[0].2, Refusal::Cell { column, .. } if column.as_str() == "v"));

    let cured = vec![
        changes(&layout, 16, vec![bad(1)], insert()),
        changes(&layout, 32, vec![row(1, "good")], insert()),
    ];
    assert_eq!(refused(cured.clone()), []);
    assert_eq!(sent(&blocks(cured).unwrap())[0].2.as_deref(), Some("good"));
}

#[test]
fn a_refused_last_change_does_not_bring_back_an_older_one() {
    let layout = plain();
    let update = |rows: Vec<Vec<Cell>>, key_changed| {
        let op = Op::Update {
            before: image(0),
            after: image(1),
            key_changed,
        };
        changes(&layout, 32, rows, vec![op])
    };
    let delete = changes(
        &layout,
        16,
        vec![row(1, "a")],
        vec![Op::Delete { before: image(0) }],
    );
    let again = changes(&layout, 32, vec![bad(1)], insert());
    for (pieces, stale) in [
        (
            vec![
                inserts(&layout, 16, &[(1, "a")]),
                update(vec![row(1, "a"), bad(1)], false),
            ],
            true,
        ),
        (vec![update(vec![row(1, "a"), bad(1)], false)], true),
        (vec![delete, again.clone()], true),
        // In whichever order they come.
        (vec![again.clone(), inserts(&layout, 16, &[(1, "a")])], true),
        (vec![again], false),
    ] {
        assert_eq!(sent(&blocks(pieces.clone()).unwrap()), []);
        let apart = refused(pieces);
        assert_eq!((apart.len(), apart[0].1), (1, stale), "{apart:?}");
    }
    // The old key goes in any case; the new one was not there before.
    let moved = vec![update(vec![row(1, "a"), bad(2)], true)];
    assert_eq!(sent(&blocks(moved.clone()).unwrap())[0].1, "DELETE");
    assert!(!refused(moved)[0].1);
}

#[test]
fn rows_without_a_key_that_can_be_written_do_not_share_one() {
    let layout = layout(vec![
        column("id", ColumnType::Text, Some(0)),
        column("v", ColumnType::Text, None),
    ]);
    let rows = vec![
        vec![Cell::InvalidText, Cell::Null],
        vec![Cell::InvalidText, Cell::Null],
    ];
    let ops = vec![Op::Insert { after: image(0) }, Op::Delete { before: image(1) }];
    let pieces = vec![changes(&layout, 16, rows, ops)];
    let batch = Batch {
        layout: Arc::clone(&layout),
        pieces,
    };
    let mut encoder = BatchEncoder::new(target(layout), Arc::new(batch));
    let cut = encoder.next_block().unwrap().unwrap();
    assert_eq!((cut.part.block.rows, cut.refused.len()), (0, 2));
}

#[test]
fn a_part_keeps_the_order_and_the_places_of_its_rows() {
    let layout = plain();
    let batch = Batch {
        layout: Arc::clone(&layout),
        pieces: vec![inserts(
            &layout,
            16,
            &[(1, "a"), (2, "b"), (3, "ccc"), (4, "d"), (5, "e")],
        )],
    };
    let cut = encoder(batch.pieces.clone()).next_block().unwrap().unwrap();
    let rest = cut.part.only(|index| index != 0 && index != 3);
    let again = rest.only(|index| index > 0);
    let ids = |part: &Part| sent_in(part).into_iter().map(|row| row.0).collect::<Vec<_>>();
    assert_eq!((ids(&rest), ids(&again)), (vec![2, 3, 5], vec![3, 5]));
    let ordinals: Vec<u64> = again
        .origins
        .iter()
        .map(|origin| origin.refused(&batch).unwrap().at.ordinal.0)
        .collect();
    assert_eq!(ordinals, [3, 5]);
}

#[test]
fn blocks_stay_below_the_target_and_large_rows_go_alone() {
    let layout = plain();
    let (large, huge) = ("x".repeat(3_000_000), "y".repeat(18_000_000));
    let rows = [
        (1, large.as_str()),
        (2, &large),
        (3, &large),
        (4, &huge),
        (5, "z"),
    ];
    let blocks = blocks(vec![inserts(&layout, 16, &rows)]).unwrap();
    let sizes: Vec<usize> = blocks.iter().map(|cut| cut.part.block.rows).collect();
    assert_eq!(sizes, [2, 1, 1, 1]);
    assert_eq!(blocks.iter().map(|block| block.changes).sum::<u64>(), 5);
    assert_eq!(
        sent(&blocks).iter().map(|row| row.0).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5]
    );
}

#[test]
fn a_row_beyond_a_request_is_set_apart_with_its_size() {
    let layout = plain();
    let text = "x".repeat(19_000_000);
    let pieces = vec![inserts(&layout, 16, &[(1, "a"), (2, &text), (3, "b")])];
    let ids: Vec<i64> = sent(&blocks(pieces.clone()).unwrap())
        .iter()
        .map(|row| row.0)
        .collect();
    assert_eq!(ids, [1, 3]);
    let apart = refused(pieces);
    let Refusal::TooLarge { bytes, limit } = apart[0].2 else {
        panic!("{apart:?}");
    };
    assert_eq!(apart[0].0, "1/2/10/5");
    assert!(bytes > 19_000_000 && limit < 19_000_000);
}

#[test]
fn the_largest_row_that_is_taken_fits_the_hard_limit_with_its_schema() {
    let layout = plain();
    let target = target(Arc::clone(&layout));
    let text = "x".repeat(wire::row_limit(&target.destination) - 100);
    let blocks = blocks(vec![inserts(&layout, 16, &[(1, &text)])]).unwrap();
    let frame = wire::Frame {
        stream: target.destination.stream.clone().into(),
        schema: Some(target.destination.schema.clone()),
        rows: blocks[0].part.block.body.clone(),
        trace_id: Bytes::from_static(b"replicator:pipeline-with-a-name-of-forty-characters"),
    };
    assert!(
        frame.len() <= 19_000_000 && frame.len() > 18_990_000,
        "{}",
        frame.len()
    );
}

proptest! {
    /// The target's state after the blocks equals that after every change one by one.
    #[test]
    fn nothing_is_lost_by_leaving_out_superseded_rows(steps in proptest::collection::vec((0i64..4, 0i64..4, 0u8..4), 1..40)) {
        let layout = plain();
        let mut rows = Vec::new();
        let mut ops = Vec::new();
        let mut expected: BTreeMap<i64, Option<String>> = BTreeMap::new();
        for (index, (id, other, op)) in steps.iter().enumerate() {
            let at = rows.len();
            rows.push(row(*id, &format!("before{index}")));
            rows.push(row(*other, &format!("after{index}")));
            rows.push(row(*id, &format!("same{index}")));
            ops.push(match op {
                0 => {
                    expected.insert(*id, Some(format!("before{index}")));
                    Op::Insert { after: image(at) }
                }
                1 => {
                    expected.insert(*id, None);
                    Op::Delete { before: image(at) }
                }
                2 => {
                    expected.insert(*id, Some(format!("same{index}")));
                    Op::Update { before: image(at), after: image(at + 2), key_changed: false }
                }
                _ => {
                    expected.insert(*id, None);
                    expected.insert(*other, Some(format!("after{index}")));
                    Op::Update { before: image(at), after: image(at + 1), key_changed: true }
                }
            });
        }
        let blocks = blocks(vec![changes(&layout, 16, rows, ops)]).unwrap();
        let sent = sent(&blocks);
        prop_assert_eq!(sent.len(), expected.len());
        for (id, kind, text, _) in sent {
            prop_assert_eq!(kind == "DELETE", text.is_none());
            prop_assert_eq!(&expected[&id], &text);
        }
    }
}

#[test]
fn altered_values_of_rows_that_go_out_are_counted_by_table() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        let layout = layout(vec![
            column("id", ColumnType::Int64, Some(0)),
            column("on", ColumnType::Date, None),
            column("doc", ColumnType::Json, None),
        ]);
        let row =
            |id, year, doc: &str| vec![Cell::Int(id), Cell::Date(year, 1, 1), Cell::Json(doc.to_owned())];
        let wide = "[18446744073709551617, 1e400, 1]";
        // The first row gives way to the second one of its key and is not sent.
        let rows = vec![
            row(1, 0, wide),
            row(1, 0, wide),
            row(2, 2000, "1"),
            row(3, 0, "2"),
        ];
        let ops = (0..4).map(|at| Op::Insert { after: image(at) }).collect();
        let batch = Batch {
            layout: Arc::clone(&layout),
            pieces: vec![changes(&layout, 16, rows, ops)],
        };
        let cut = BatchEncoder::new(target(layout), Arc::new(batch)).next_block();
        assert_eq!(cut.unwrap().unwrap().part.block.rows, 3);
    });
    let shown = recorder.handle().render();
    for line in [
        "replicator_sink_values_by_policy_total{table=\"shop.orders\",kind=\"zero_date\",policy=\"null\"} 2",
        "replicator_sink_values_by_policy_total{table=\"shop.orders\",kind=\"json_number\",policy=\"string\"} 2",
        "replicator_sink_values_by_policy_total{table=\"shop.orders\",kind=\"invalid_text\",policy=\"dead_letter\"} 0",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{shown}");
    }
}
