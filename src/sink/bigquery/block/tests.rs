use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::fixture::{Cell, Field, changes, fields, image, inserts, plain, target};
use super::*;
use crate::event::RowError;

fn encoder(pieces: Vec<RowChanges>) -> BatchEncoder {
    let layout = plain();
    let batch = Batch {
        layout: Arc::clone(&layout),
        pieces,
    };
    BatchEncoder::new(target(layout), batch)
}

fn blocks(pieces: Vec<RowChanges>) -> Result<Vec<Block>, Error> {
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

fn sent(blocks: &[Block]) -> Vec<Sent> {
    let mut sent = Vec::new();
    for block in blocks {
        let rows = fields(&block.body);
        assert_eq!(rows.len(), block.origins.len());
        for (number, row) in rows {
            assert_eq!(number, 1);
            let Field::Bytes(row) = row else { panic!() };
            let row: BTreeMap<u32, Field> = fields(&row).into_iter().collect();
            let Field::Varint(id) = row[&1] else { panic!() };
            let text = row.get(&2).map(Field::text);
            sent.push((id.cast_signed(), row[&4].text(), text, row[&5].text()));
        }
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
    assert_eq!(numbers, ["1/2/10/0", "1/2/10/0"]);
}

#[test]
fn a_refused_row_stops_the_batch_unless_a_later_change_took_its_place() {
    let layout = plain();
    let bad = || vec![Cell::Int(1), Cell::InvalidText];
    let insert = || vec![Op::Insert { after: image(0) }];
    let refused = blocks(vec![changes(&layout, 16, vec![bad()], insert())]).unwrap_err();
    let Error::Row { table, at, source } = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(
        (table.to_string().as_str(), at.txn.coord.offset),
        ("shop.orders", 16)
    );
    assert!(matches!(source, RowError::Refused { .. }));

    let cured = vec![
        changes(&layout, 16, vec![bad()], insert()),
        changes(&layout, 32, vec![row(1, "good")], insert()),
    ];
    assert_eq!(sent(&blocks(cured).unwrap())[0].2.as_deref(), Some("good"));
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
    let sizes: Vec<usize> = blocks.iter().map(|block| block.origins.len()).collect();
    assert_eq!(sizes, [2, 1, 1, 1]);
    assert_eq!(blocks.iter().map(|block| block.changes).sum::<u64>(), 5);
    assert_eq!(
        sent(&blocks).iter().map(|row| row.0).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5]
    );
}

#[test]
fn a_row_beyond_a_request_is_refused_with_its_place_and_size() {
    let layout = plain();
    let text = "x".repeat(19_000_000);
    let error = blocks(vec![inserts(&layout, 16, &[(1, "a"), (2, &text)])]).unwrap_err();
    let Error::RowTooLarge { at, bytes, limit, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!((at.txn.coord.offset, at.ordinal), (16, Ordinal(2)));
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
        rows: blocks[0].body.clone(),
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
