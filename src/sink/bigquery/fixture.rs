//! Rows and tables for this module's tests, and a reader of protobuf that shares nothing with the encoder.

use std::sync::Arc;

use crate::event::{
    BinlogCoord, CellVisitor, Change, CivilDate, CivilDateTime, Column, ColumnName, ColumnType, Epoch, Op,
    Ordinal, RowChanges, RowError, RowImages, RowRef, TableId, TableLayout, TxnStart, Unrepresentable, Value,
};

use super::delivery::Mode;
use super::plan::{Place, Target};
use crate::config::Values;

pub(super) mod client;
pub(super) mod rest;
pub(super) mod server;

/// A value that owns its bytes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Decimal(i128, u8),
    DecimalText(String),
    Float(f32),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    Json(String),
    Date(u16, u8, u8),
    DateTime(CivilDateTime),
    Timestamp(i64),
    Time(i64),
    ZeroTimestamp,
    InvalidText,
    OtherType,
}

impl Cell {
    fn value(&self) -> Value<'_> {
        match self {
            Cell::Null => Value::Null,
            Cell::Bool(value) => Value::Bool(*value),
            Cell::Int(value) => Value::Int(*value),
            Cell::UInt(value) => Value::UInt(*value),
            Cell::Decimal(unscaled, scale) => Value::Decimal {
                unscaled: *unscaled,
                scale: *scale,
            },
            Cell::DecimalText(text) => Value::DecimalText(text),
            Cell::Float(value) => Value::Float(*value),
            Cell::Double(value) => Value::Double(*value),
            Cell::Text(text) => Value::Text(text),
            Cell::Bytes(bytes) => Value::Bytes(bytes),
            Cell::Json(text) => Value::Json(text),
            Cell::Date(year, month, day) => Value::Date(date(*year, *month, *day)),
            Cell::DateTime(value) => Value::DateTime(*value),
            Cell::Timestamp(micros) => Value::Timestamp(*micros),
            Cell::Time(micros) => Value::Time(*micros),
            Cell::ZeroTimestamp => Value::Unrepresentable(Unrepresentable::ZeroTimestamp),
            Cell::OtherType => Value::Unrepresentable(Unrepresentable::OtherType),
            Cell::InvalidText => Value::Unrepresentable(Unrepresentable::InvalidText(&[0xFF])),
        }
    }
}

pub(super) fn date(year: u16, month: u8, day: u8) -> CivilDate {
    CivilDate { year, month, day }
}

/// Images by index.
#[derive(Debug)]
pub(super) struct Images(pub(super) Vec<Vec<Cell>>);

impl RowImages for Images {
    fn visit(&self, row: RowRef, visitor: &mut dyn CellVisitor) -> Result<(), RowError> {
        let cells = &self.0[usize::try_from(row.at).unwrap()];
        for (index, cell) in cells.iter().enumerate() {
            visitor.cell(index, cell.value())?;
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.0.len() * 64
    }
}

pub(super) fn image(index: usize) -> RowRef {
    RowRef {
        at: u32::try_from(index).unwrap(),
        len: 64,
    }
}

/// A column; `key` is its place in the key.
pub(super) fn column(name: &str, kind: ColumnType, key: Option<u16>) -> Column {
    Column {
        name: ColumnName::new(name),
        kind,
        declared: format!("{kind:?}"),
        nullable: key.is_none(),
        key,
    }
}

pub(super) fn layout(columns: Vec<Column>) -> Arc<TableLayout> {
    Arc::new(TableLayout {
        table: TableId::new("shop", "orders"),
        columns,
    })
}

/// `id` INT64 key, `v` text.
pub(super) fn plain() -> Arc<TableLayout> {
    layout(vec![
        column("id", ColumnType::Int64, Some(0)),
        column("v", ColumnType::Text, None),
    ])
}

pub(super) fn target(layout: Arc<TableLayout>) -> Arc<Target> {
    target_of(layout, Values::default(), Mode::Cdc)
}

pub(super) fn target_with(layout: Arc<TableLayout>, values: Values) -> Arc<Target> {
    target_of(layout, values, Mode::Cdc)
}

/// A target that holds changes.
pub(super) fn log_target(layout: Arc<TableLayout>) -> Arc<Target> {
    target_of(layout, Values::default(), Mode::Append)
}

fn target_of(layout: Arc<TableLayout>, values: Values, mode: Mode) -> Arc<Target> {
    let place = Place {
        project: "p".to_owned(),
        dataset: "shop".to_owned(),
        table: layout.table.name().to_owned(),
    };
    Arc::new(Target::new(layout, place, mode, values).unwrap())
}

pub(super) fn txn(offset: u64) -> TxnStart {
    TxnStart {
        epoch: Epoch(1),
        coord: BinlogCoord { file: 2, offset },
    }
}

/// Changes of one transaction; ordinals 1, 2, …
pub(super) fn changes(
    layout: &Arc<TableLayout>,
    offset: u64,
    rows: Vec<Vec<Cell>>,
    ops: Vec<Op>,
) -> RowChanges {
    RowChanges {
        layout: Arc::clone(layout),
        images: Arc::new(Images(rows)),
        txn: txn(offset),
        committed_micros: 1_700_000_000_000_000,
        changes: ops
            .into_iter()
            .zip(1..)
            .map(|(op, ordinal)| Change {
                op,
                ordinal: Ordinal(ordinal),
            })
            .collect(),
        snapshot: false,
    }
}

/// Inserts of `plain` rows.
pub(super) fn inserts(layout: &Arc<TableLayout>, offset: u64, rows: &[(i64, &str)]) -> RowChanges {
    let cells = rows
        .iter()
        .map(|(id, text)| vec![Cell::Int(*id), Cell::Text((*text).to_owned())])
        .collect();
    let ops = rows
        .iter()
        .enumerate()
        .map(|(index, (_, text))| Op::Insert {
            after: RowRef {
                len: u32::try_from(text.len() + 8).unwrap(),
                ..image(index)
            },
        })
        .collect();
    changes(layout, offset, cells, ops)
}

/// A field as it is on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Field {
    Varint(u64),
    Fixed(u64),
    Bytes(Vec<u8>),
}

impl Field {
    pub(super) fn text(&self) -> String {
        match self {
            Field::Bytes(bytes) => String::from_utf8(bytes.clone()).unwrap(),
            Field::Varint(_) | Field::Fixed(_) => panic!("{self:?} is no text"),
        }
    }
}

/// Splits a message into its fields.
pub(super) fn fields(mut bytes: &[u8]) -> Vec<(u32, Field)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let number = u32::try_from(tag >> 3).unwrap();
        let field = match tag & 7 {
            0 => Field::Varint(varint(&mut bytes)),
            1 => {
                let (value, rest) = bytes.split_at(8);
                bytes = rest;
                Field::Fixed(u64::from_le_bytes(value.try_into().unwrap()))
            }
            2 => {
                let len = usize::try_from(varint(&mut bytes)).unwrap();
                let (value, rest) = bytes.split_at(len);
                bytes = rest;
                Field::Bytes(value.to_vec())
            }
            other => panic!("wire type {other}"),
        };
        found.push((number, field));
    }
    found
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in 0.. {
        let (first, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(first & 0x7F) << (7 * shift);
        if first & 0x80 == 0 {
            break;
        }
    }
    value
}
