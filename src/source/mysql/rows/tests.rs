//! Bytes by hand: what an event is made of, cut off everywhere and made up at random. The values that
//! servers write are held to the servers' own words in `tests/rows.rs`.

use proptest::prelude::*;

use super::*;
use crate::event::{BinlogCoord, ColumnName, Epoch, Unrepresentable};
use crate::fault::{Classify, Fault};
use crate::source::mysql::server::Flavour;
use crate::source::mysql::table_map::{TableMap, TableMapError};

/// A table map of `id int unsigned NOT NULL` (key), `name varchar(10) utf8mb4 NULL`, `tag binary(4) NULL`.
fn table_map() -> Vec<u8> {
    let mut body = vec![7, 0, 0, 0, 0, 0, 1, 0, 1, b's', 0, 1, b't', 0];
    body.extend([3, 3, 15, 254]);
    body.extend([4, 40, 0, 254, 4]);
    body.push(0b110);
    body.extend([1, 1, 0x80]);
    // The commonest collation is binary; character column 0 has 45.
    body.extend([2, 3, 63, 0, 45]);
    body.extend([
        4, 12, 2, b'i', b'd', 4, b'n', b'a', b'm', b'e', 3, b't', b'a', b'g',
    ]);
    body.extend([8, 1, 0]);
    // What a newer server may add, and a field that comes again.
    body.extend([99, 2, 1, 2, 1, 1, 0]);
    body
}

fn parse(body: &[u8]) -> Result<TableMap, TableMapError> {
    TableMap::parse(&Bytes::copy_from_slice(body), Flavour::Mysql)
}

fn decoder() -> Arc<Decoder> {
    let map = parse(&table_map()).unwrap();
    assert!(map.has_full);
    Arc::new(Decoder::from_table_map(&map, None).unwrap())
}

fn at(first_ordinal: u64) -> RowsAt {
    RowsAt {
        txn: TxnStart {
            epoch: Epoch(1),
            coord: BinlogCoord::file_start(1),
        },
        first_ordinal,
        committed_micros: 0,
    }
}

fn image(id: u32, name: Option<&[u8]>, tag: Option<&[u8]>) -> Vec<u8> {
    let nulls = 0b1111_1000 | u8::from(name.is_none()) << 1 | u8::from(tag.is_none()) << 2;
    let mut image = vec![nulls];
    image.extend(id.to_le_bytes());
    for text in [name, tag].into_iter().flatten() {
        image.push(u8::try_from(text.len()).unwrap());
        image.extend(text);
    }
    image
}

fn length(image: &[u8]) -> u64 {
    u64::try_from(image.len()).unwrap()
}

fn event(v2: bool, bitmaps: &[u8], images: &[Vec<u8>]) -> Bytes {
    let mut body = vec![7, 0, 0, 0, 0, 0, 1, 0];
    if v2 {
        body.extend([5, 0, 9, 9, 9]);
    }
    body.push(3);
    body.extend(bitmaps);
    body.extend(images.iter().flatten());
    Bytes::from(body)
}

#[derive(Default)]
struct Cells(Vec<String>);

impl CellVisitor for Cells {
    fn cell(&mut self, column: usize, value: Value<'_>) -> Result<(), RowError> {
        assert_eq!(column, self.0.len(), "cells come in order");
        self.0.push(format!("{value:?}"));
        Ok(())
    }
}

fn cells(changes: &RowChanges, row: RowRef) -> Vec<String> {
    let mut cells = Cells::default();
    changes.images.visit(row, &mut cells).unwrap();
    cells.0
}

#[test]
fn rows_are_found_numbered_and_walked() {
    let (decoder, kind) = (decoder(), RowsKind::Write { v2: true });
    let columns: Vec<_> = decoder
        .layout()
        .columns
        .iter()
        .map(|column| column.declared.as_str())
        .collect();
    assert_eq!(
        columns,
        ["int unsigned", "varchar(10) charset utf8mb4", "binary(4)"]
    );
    assert_eq!(decoder.layout().key_columns(), [0]);
    assert_eq!(decoder.layout().columns[1].name, ColumnName::new("name"));
    let images = [
        image(4_000_000_000, Some("é".as_bytes()), Some(&[1])),
        image(2, None, None),
        image(3, Some(&[0xff]), Some(&[1, 2, 3, 4])),
    ];
    let (changes, next) = decode_rows(&decoder, kind, event(true, &[0xff], &images), at(1)).unwrap();
    let sizes: Vec<u64> = images.iter().map(|image| length(image)).collect();
    let ordinals: Vec<u64> = changes.changes.iter().map(|change| change.ordinal.0).collect();
    assert_eq!(ordinals, [1, 1 + sizes[0], 1 + sizes[0] + sizes[1]]);
    assert_eq!(next, 1 + sizes.iter().sum::<u64>());
    assert_eq!(
        image_bytes(kind, &event(true, &[0xff], &images)).unwrap(),
        next - 1
    );
    let rows: Vec<Vec<String>> = changes
        .changes
        .iter()
        .map(|change| {
            let Op::Insert { after } = change.op else {
                panic!("an insert");
            };
            cells(&changes, after)
        })
        .collect();
    let invalid = format!(
        "{:?}",
        Value::Unrepresentable(Unrepresentable::InvalidText(&[0xff]))
    );
    assert_eq!(rows[0], ["Int(4000000000)", "Text(\"é\")", "Bytes([1, 0, 0, 0])"]);
    assert_eq!(rows[1], ["Int(2)", "Null", "Null"]);
    assert_eq!(rows[2], ["Int(3)", &invalid, "Bytes([1, 2, 3, 4])"]);
}

#[test]
fn an_update_knows_whether_its_key_changed() {
    let kind = RowsKind::Update { v2: false };
    for (new, expected) in [(1, false), (2, true)] {
        let images = [image(1, Some(b"a"), None), image(new, Some(b"b"), Some(b"x"))];
        let body = event(false, &[7, 7], &images);
        let (changes, next) = decode_rows(&decoder(), kind, body, at(5)).unwrap();
        let [change] = changes.changes[..] else {
            panic!("one update");
        };
        assert_eq!(change.ordinal.0, 5);
        assert_eq!(next, 5 + length(&images[0]) + length(&images[1]));
        let Op::Update {
            before,
            after,
            key_changed,
        } = change.op
        else {
            panic!("an update");
        };
        assert_eq!(key_changed, expected);
        assert_eq!(cells(&changes, before)[1], "Text(\"a\")");
        assert_eq!(cells(&changes, after)[1], "Text(\"b\")");
    }
}

#[test]
fn images_without_all_columns_are_refused() {
    let decoder = decoder();
    let table = decoder.layout().table.clone();
    let partial = RowsError::PartialImage { table: table.clone() };
    let write = event(false, &[0b011], &[]);
    let update = event(false, &[0b101, 0b101], &[]);
    let refused = |kind, body| decode_rows(&decoder, kind, body, at(1)).unwrap_err();
    assert_eq!(refused(RowsKind::Write { v2: false }, write), partial);
    assert_eq!(refused(RowsKind::Update { v2: false }, update), partial);
    assert_eq!(partial.fault(), Fault::Table(table));
}

#[test]
fn images_are_made_whole_where_the_event_holds_what_is_missing() {
    let decoder = decoder();
    // A delete with the key alone; an update of the other columns; one whose after image lacks what the
    // before image has.
    let delete = event(true, &[0b001], &[vec![0, 5, 0, 0, 0], vec![0, 6, 0, 0, 0]]);
    let (changes, next) = decode_rows(&decoder, RowsKind::Delete { v2: true }, delete, at(3)).unwrap();
    assert_eq!(next, 13);
    let deletes: Vec<(u64, String)> = changes
        .changes
        .iter()
        .map(|change| {
            let Op::Delete { before } = change.op else {
                panic!("a delete");
            };
            (change.ordinal.0, cells(&changes, before)[0].clone())
        })
        .collect();
    assert_eq!(deletes, [(3, "Int(5)".to_owned()), (8, "Int(6)".to_owned())]);
    for (bitmaps, images, key_changed) in [
        ([0b001, 0b110], [vec![0, 5, 0, 0, 0], vec![0b10, 1, b'n']], false),
        (
            [0b011, 0b111],
            [vec![0, 5, 0, 0, 0, 1, b'o'], image(9, Some(b"n"), None)],
            true,
        ),
        (
            [0b111, 0b011],
            [image(9, Some(b"o"), None), vec![0, 5, 0, 0, 0, 1, b'n']],
            true,
        ),
    ] {
        let body = event(true, &bitmaps, &images);
        for end in 0..body.len() {
            drop(decode_rows(
                &decoder,
                RowsKind::Update { v2: true },
                body.slice(..end),
                at(1),
            ));
        }
        let (changes, next) = decode_rows(&decoder, RowsKind::Update { v2: true }, body, at(1)).unwrap();
        assert_eq!(next, 1 + length(&images[0]) + length(&images[1]));
        let Op::Update {
            after,
            key_changed: found,
            ..
        } = changes.changes[0].op
        else {
            panic!("an update");
        };
        assert_eq!(found, key_changed);
        assert_eq!(cells(&changes, after)[1..], ["Text(\"n\")", "Null"]);
    }
}

#[test]
fn every_truncation_of_an_event_is_an_error_or_ends_between_rows() {
    let decoder = decoder();
    let images = [image(1, Some(b"abc"), Some(b"xy")), image(2, None, Some(b"z"))];
    let body = event(true, &[7], &images);
    for end in 0..body.len() {
        let cut = decode_rows(&decoder, RowsKind::Write { v2: true }, body.slice(..end), at(1));
        let head = body.len() - images[0].len() - images[1].len();
        let whole = [head, head + images[0].len()].contains(&end);
        assert_eq!(cut.is_ok(), whole, "cut at {end}");
    }
    // A table map may end between its optional fields: only the checksum tells that one is gone.
    let (map, field_ends) = (table_map(), [24, 27, 32, 46, 49, 53]);
    for end in 0..map.len() {
        let cut = parse(&map[..end]);
        assert_eq!(cut.is_ok(), field_ends.contains(&end), "cut at {end}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_rows_or_an_error(body: Vec<u8>, images in proptest::collection::vec(any::<u8>(), 0..200)) {
        let decoder = decoder();
        for event_type in 0..=255 {
            let Some(kind) = RowsKind::of(event_type) else { continue };
            drop(decode_rows(&decoder, kind, Bytes::from(body.clone()), at(1)));
            let mut made = vec![7, 0, 0, 0, 0, 0, 1, 0];
            if kind.has_extra() {
                made.extend([2, 0]);
            }
            made.push(3);
            made.extend(if kind.is_update() { &[7, 7][..] } else { &[7] });
            made.extend(&images);
            let Ok((changes, next)) = decode_rows(&decoder, kind, Bytes::from(made), at(1)) else { continue };
            prop_assert_eq!(next, 1 + length(&images));
            for change in &changes.changes {
                if let Op::Insert { after } | Op::Update { after, .. } = change.op {
                    let mut cells = Cells::default();
                    let walked = changes.images.visit(after, &mut cells);
                    prop_assert!(walked.is_err() || cells.0.len() == 3);
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_a_table_map_or_an_error(body: Vec<u8>, cut in 0usize..70, byte: u8) {
        drop(parse(&body));
        let mut bent = table_map();
        if let Some(slot) = bent.get_mut(cut) {
            *slot = byte;
        }
        if let Ok(map) = parse(&bent) {
            drop(Decoder::from_table_map(&map, None));
        }
    }
}
