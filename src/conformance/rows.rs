//! Rows for the sink and rows for the wire, of a few cells each.

use std::sync::Arc;

use bytes::Bytes;

use crate::event::{
    BinlogCoord, CellVisitor, Change, Column, ColumnName, ColumnType, Epoch, Op, Ordinal, RowChanges,
    RowError, RowImages, RowRef, TableId, TableLayout, TxnStart, Value,
};
use crate::proto::descriptor::field_descriptor_proto::{Label, Type};
use crate::proto::descriptor::{DescriptorProto, FieldDescriptorProto};
use crate::proto::storage::append_rows_request::{ProtoData, Rows};
use crate::proto::storage::{AppendRowsRequest, ProtoRows, ProtoSchema};
use crate::sink::Batch;

/// Rows by index.
#[derive(Debug)]
struct Images(Vec<Vec<Value<'static>>>);

impl RowImages for Images {
    fn visit(&self, row: RowRef, visitor: &mut dyn CellVisitor) -> Result<(), RowError> {
        let found = usize::try_from(row.at).ok().and_then(|at| self.0.get(at));
        let cells = found.ok_or_else(|| RowError::Malformed {
            column: 0,
            reason: "no such row".to_owned(),
        })?;
        let mut cells = cells.iter().enumerate();
        cells.try_for_each(|(column, value)| visitor.cell(column, *value))
    }

    fn bytes(&self) -> usize {
        self.0.len()
    }
}

/// What happens to a row.
#[derive(Debug, Clone)]
pub(super) enum Row {
    Put(Vec<Value<'static>>),
    Gone(Vec<Value<'static>>),
}

/// A layout whose first column is the key.
pub(super) fn layout(table: &str, columns: &[(&str, ColumnType)]) -> Arc<TableLayout> {
    let column = |(at, (name, kind)): (usize, &(&str, ColumnType))| Column {
        name: ColumnName::new(*name),
        kind: *kind,
        declared: "conformance".to_owned(),
        nullable: at > 0,
        key: (at == 0).then_some(0),
    };
    Arc::new(TableLayout {
        table: TableId::new("conformance", table),
        columns: columns.iter().enumerate().map(column).collect(),
    })
}

/// Rows of one transaction at `offset` of a log.
pub(super) fn batch(layout: &Arc<TableLayout>, offset: u64, rows: Vec<Row>) -> Batch {
    let (mut images, mut changes) = (Vec::new(), Vec::new());
    for ((row, at), ordinal) in rows.into_iter().zip(0..).zip(1..) {
        let place = RowRef { at, len: 100 };
        let (op, cells) = match row {
            Row::Put(cells) => (Op::Insert { after: place }, cells),
            Row::Gone(cells) => (Op::Delete { before: place }, cells),
        };
        images.push(cells);
        changes.push(Change {
            op,
            ordinal: Ordinal(ordinal),
        });
    }
    let piece = RowChanges {
        layout: Arc::clone(layout),
        changes,
        images: Arc::new(Images(images)),
        txn: TxnStart {
            epoch: Epoch(1),
            coord: BinlogCoord { file: 1, offset },
        },
        committed_micros: 0,
        snapshot: false,
    };
    Batch {
        layout: Arc::clone(layout),
        pieces: vec![piece],
    }
}

/// `id`, `name` and the pseudo-columns, as [`change`] writes them.
pub(super) const CHANGES: &[(&str, Type)] = &[
    ("id", Type::Int64),
    ("name", Type::String),
    ("_CHANGE_TYPE", Type::String),
    ("_CHANGE_SEQUENCE_NUMBER", Type::String),
];

/// A row of [`CHANGES`], an upsert if it has a name.
pub(super) fn change(id: i64, name: Option<&str>, number: &str) -> Bytes {
    let mut row = Vec::new();
    prost::encoding::int64::encode(1, &id, &mut row);
    let texts = [
        name,
        Some(if name.is_some() { "UPSERT" } else { "DELETE" }),
        Some(number),
    ];
    for (field, text) in (2..).zip(texts) {
        if let Some(text) = text {
            prost::encoding::string::encode(field, &text.to_owned(), &mut row);
        }
    }
    row.into()
}

/// A request, whose rows have fields numbered from 1.
pub(super) fn request(stream: &str, fields: &[(&str, Type)], rows: Vec<Bytes>) -> AppendRowsRequest {
    let field = |((name, kind), number): (&(&str, Type), i32)| FieldDescriptorProto {
        name: Some((*name).to_owned()),
        number: Some(number),
        label: Some(Label::Optional.into()),
        r#type: Some((*kind).into()),
        ..FieldDescriptorProto::default()
    };
    let descriptor = DescriptorProto {
        name: Some("row".to_owned()),
        field: fields.iter().zip(1..).map(field).collect(),
        ..DescriptorProto::default()
    };
    AppendRowsRequest {
        write_stream: stream.to_owned(),
        rows: Some(Rows::ProtoRows(ProtoData {
            writer_schema: Some(ProtoSchema {
                proto_descriptor: Some(descriptor),
            }),
            rows: Some(ProtoRows {
                serialized_rows: rows,
            }),
        })),
        ..AppendRowsRequest::default()
    }
}
