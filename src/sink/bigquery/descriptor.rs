//! The writer schema of a table: one message type that refers to nothing outside itself, fields of
//! proto2 (absent means NULL), a field a column in column order, CDC's pseudo-columns last
//! (<https://cloud.google.com/bigquery/docs/change-data-capture#specify_changes_to_existing_records>).

use crate::proto::descriptor::field_descriptor_proto::{Label, Type};
use crate::proto::descriptor::{DescriptorProto, FieldDescriptorProto, FieldOptions};

/// Pseudo-column that says what a row does: `UPSERT` or `DELETE`.
pub(super) const CHANGE_TYPE: &str = "_CHANGE_TYPE";

/// Pseudo-column that orders the rows of a key.
pub(super) const CHANGE_SEQUENCE_NUMBER: &str = "_CHANGE_SEQUENCE_NUMBER";

/// A descriptor of fields in order, numbered from 1, and then those of a change.
pub(super) fn of<'a>(columns: impl Iterator<Item = (&'a str, Type)>) -> DescriptorProto {
    let pseudo = [
        (CHANGE_TYPE, Type::String),
        (CHANGE_SEQUENCE_NUMBER, Type::String),
    ];
    plain(columns.chain(pseudo))
}

/// A descriptor of fields in order, numbered from 1. Every field is optional, also where the table's
/// column is REQUIRED: a DELETE carries the key alone.
pub(super) fn plain<'a>(columns: impl Iterator<Item = (&'a str, Type)>) -> DescriptorProto {
    let field = columns
        .zip(1..)
        .map(|((column, wire), number)| {
            let (name, options) = named(column, number);
            FieldDescriptorProto {
                name: Some(name),
                number: Some(number),
                label: Some(Label::Optional.into()),
                r#type: Some(wire.into()),
                options,
                ..FieldDescriptorProto::default()
            }
        })
        .collect();
    DescriptorProto {
        name: Some("row".to_owned()),
        field,
        ..DescriptorProto::default()
    }
}

/// A field's name, which is the column's where that is an identifier of protobuf; else the column's name
/// stands in BigQuery's annotation, and the field's own says nothing
/// (<https://cloud.google.com/bigquery/docs/schemas#flexible-column-names>).
fn named(column: &str, number: i32) -> (String, Option<FieldOptions>) {
    let is_identifier = column
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !column.starts_with(|first: char| first.is_ascii_digit());
    if is_identifier {
        return (column.to_owned(), None);
    }
    let options = FieldOptions {
        packed: None,
        column_name: Some(column.to_owned()),
    };
    // A prefix of ours, which no column of a source has in its target.
    (format!("_replicator_column_{number}"), Some(options))
}
