//! Blocks of changes: nothing is left out, and texts sort as the changes came.

use super::super::fixture::{Cell, Field, changes, column, fields, image, inserts, layout, log_target};
use super::*;
use crate::event::{ColumnType, TableLayout};

/// A sent row: value, commit time, operation, sequence.
type Sent = (Option<String>, bool, String, String);

fn keyless() -> Arc<TableLayout> {
    layout(vec![
        column("v", ColumnType::Text, None),
        column("w", ColumnType::Text, None),
    ])
}

fn keyed() -> Arc<TableLayout> {
    layout(vec![
        column("v", ColumnType::Text, Some(0)),
        column("w", ColumnType::Text, None),
    ])
}

fn row(text: &str) -> Vec<Cell> {
    vec![Cell::Text(text.to_owned()), Cell::Null]
}

fn cuts(layout: &Arc<TableLayout>, pieces: Vec<RowChanges>) -> Vec<Cut> {
    let batch = Batch {
        layout: Arc::clone(layout),
        pieces,
    };
    let mut encoder = BatchEncoder::new(log_target(Arc::clone(layout)), Arc::new(batch));
    std::iter::from_fn(|| encoder.next_block().unwrap()).collect()
}

fn read(body: &[u8]) -> Vec<Sent> {
    let rows = fields(body).into_iter();
    let sent = rows.map(|(_, row)| {
        let Field::Bytes(row) = row else { panic!() };
        let row: std::collections::BTreeMap<u32, Field> = fields(&row).into_iter().collect();
        let value = row.get(&1).map(Field::text);
        (value, row.contains_key(&3), row[&4].text(), row[&5].text())
    });
    sent.collect()
}

fn sent(cuts: &[Cut]) -> Vec<Sent> {
    cuts.iter().flat_map(|cut| read(&cut.part.block.body)).collect()
}

fn short(sent: &[Sent]) -> Vec<(&str, &str)> {
    let each = sent.iter();
    each.map(|row| (row.0.as_deref().unwrap(), row.2.as_str()))
        .collect()
}

fn all_operations(layout: &Arc<TableLayout>, key_changed: bool) -> Vec<Cut> {
    let rows = vec![row("a"), row("a"), row("b"), row("b")];
    let ops = vec![
        Op::Insert { after: image(0) },
        Op::Update {
            before: image(1),
            after: image(2),
            key_changed,
        },
        Op::Delete { before: image(3) },
    ];
    cuts(layout, vec![changes(layout, 16, rows, ops)])
}

#[test]
fn without_a_key_every_image_is_a_row() {
    let sent = sent(&all_operations(&keyless(), false));
    assert_eq!(
        short(&sent),
        [
            ("a", "INSERT"),
            ("a", "UPDATE_BEFORE"),
            ("b", "UPDATE"),
            ("b", "DELETE")
        ]
    );
    assert!(sent.iter().all(|row| row.1), "all have a commit time");
    let sequences: Vec<&str> = sent.iter().map(|row| row.3.as_str()).collect();
    assert_eq!(
        sequences,
        [
            "0000000000000001/0000000000000002/0000000000000010/0000000000000003",
            "0000000000000001/0000000000000002/0000000000000010/0000000000000004",
            "0000000000000001/0000000000000002/0000000000000010/0000000000000005",
            "0000000000000001/0000000000000002/0000000000000010/0000000000000006",
        ]
    );
}

#[test]
fn with_a_key_an_update_is_one_row_unless_the_key_changed() {
    let same = sent(&all_operations(&keyed(), false));
    assert_eq!(short(&same), [("a", "INSERT"), ("b", "UPDATE"), ("b", "DELETE")]);
    let changed = sent(&all_operations(&keyed(), true));
    assert_eq!(
        short(&changed),
        [
            ("a", "INSERT"),
            ("a", "UPDATE_BEFORE"),
            ("b", "UPDATE"),
            ("b", "DELETE")
        ]
    );
}

#[test]
fn rows_of_a_read_are_told_apart_and_sort_below_the_stream_and_above_their_mark() {
    let layout = keyless();
    let mut piece = inserts(&layout, 16, &[]);
    piece.images = Arc::new(super::super::fixture::Images(vec![row("a"), row("a")]));
    piece.snapshot = true;
    let change = |index, ordinal| Change {
        op: Op::Insert { after: image(index) },
        ordinal: Ordinal(ordinal),
    };
    piece.changes = vec![change(0, 9), change(1, 10)];
    let at = ReadAt {
        low: piece.txn,
        began_micros: piece.committed_micros,
    };
    let mark = read(&Block::seal(&log_target(Arc::clone(&layout)), at).body);
    assert_eq!(
        (mark[0].0.as_deref(), mark[0].2.as_str()),
        (None, "SNAPSHOT_DONE")
    );
    let rows = sent(&cuts(&layout, vec![piece]));
    assert_eq!(short(&rows), [("a", "SNAPSHOT"), ("a", "SNAPSHOT")]);
    let stream = sent(&all_operations(&layout, false));
    for row in &rows {
        assert!(row.3.starts_with(&mark[0].3), "{row:?}");
        assert!(row.3 < stream[0].3);
    }
    assert!(mark[0].3 < rows[0].3 && rows[0].3 < rows[1].3);
}

#[test]
fn what_is_cleared_sorts_between_what_was_there_and_what_came() {
    let layout = keyless();
    let mut piece = inserts(&layout, 16, &[]);
    piece.images = Arc::new(super::super::fixture::Images(vec![row("a")]));
    piece.snapshot = true;
    piece.changes = vec![Change {
        op: Op::Insert { after: image(0) },
        ordinal: Ordinal(1),
    }];
    let at = ReadAt {
        low: piece.txn,
        began_micros: piece.committed_micros,
    };
    let target = log_target(Arc::clone(&layout));
    let sequence = |block: &Block| read(&block.body)[0].3.clone();
    let (cleared, seal) = (
        sequence(&Block::cleared(&target, at.low, 7)),
        sequence(&Block::seal(&target, at)),
    );
    let block = Block::cleared(&target, at.low, 7);
    assert_eq!(
        (read(&block.body)[0].0.as_deref(), read(&block.body)[0].2.as_str()),
        (None, "CLEARED")
    );
    let copied = sent(&cuts(&layout, vec![piece]));
    let streamed = |offset| {
        sent(&cuts(
            &layout,
            vec![changes(
                &layout,
                offset,
                vec![row("a")],
                vec![Op::Insert { after: image(0) }],
            )],
        ))
    };
    // What began before the place, and what begins at it: the copy that was made there lies between.
    let (before, since) = (streamed(15), streamed(16));
    assert!(before[0].3 < cleared && cleared < seal);
    assert!(seal < copied[0].3 && copied[0].3 < since[0].3);
    assert!(!copied[0].3.starts_with(&cleared));
}

#[test]
fn both_images_of_an_update_are_in_one_block() {
    let layout = keyless();
    let large = |text: &str| row(&text.repeat(wire::TARGET_BYTES / 5 * 2));
    let rows = vec![large("a"), large("a"), large("b")];
    let ops = vec![
        Op::Insert { after: image(0) },
        Op::Update {
            before: image(1),
            after: image(2),
            key_changed: false,
        },
    ];
    let cuts = cuts(&layout, vec![changes(&layout, 16, rows, ops)]);
    let each: Vec<Vec<String>> = cuts
        .iter()
        .map(|cut| read(&cut.part.block.body).into_iter().map(|row| row.2).collect())
        .collect();
    assert_eq!(each, [vec!["INSERT"], vec!["UPDATE_BEFORE", "UPDATE"]]);
    assert_eq!(cuts.iter().map(|cut| cut.changes).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn a_refused_change_leaves_nothing_old_behind() {
    let layout = keyed();
    let rows = vec![vec![Cell::Text("k".to_owned()), Cell::InvalidText]];
    let ops = vec![Op::Delete { before: image(0) }];
    let cuts = cuts(&layout, vec![changes(&layout, 16, rows, ops)]);
    assert_eq!(cuts[0].part.block.rows, 0);
    assert!(!cuts[0].refused[0].0.stale);
}

proptest::proptest! {
    #[test]
    fn texts_sort_as_numbers_do(a: [u64; 4], b: [u64; 4]) {
        let key = |sections: [u64; 4]| -> OrderKey {
            serde_json::from_value(serde_json::json!(sections)).unwrap()
        };
        let text = |sections| {
            let mut out = Vec::new();
            text::sortable(&mut out, key(sections), None);
            out
        };
        proptest::prop_assert_eq!(a.cmp(&b), text(a).cmp(&text(b)));
    }
}
