//! The optional fields of a table map. Each speaks only of the columns of its kind and numbers them among
//! themselves, which is the classic place to attribute a property to the wrong column.

use bytes::Bytes;

use super::{MapColumn, code};
use crate::event::ColumnName;
use crate::source::mysql::cursor::{Cursor, Truncated};
use crate::source::mysql::server::Flavour;

/// Why the fields cannot be read.
pub(super) enum Bad {
    Truncated(Truncated),
    Name,
    Inconsistent(&'static str),
}

impl From<Truncated> for Bad {
    fn from(truncated: Truncated) -> Bad {
        Bad::Truncated(truncated)
    }
}

const SIGNEDNESS: u8 = 1;
const DEFAULT_CHARSET: u8 = 2;
const COLUMN_CHARSET: u8 = 3;
const COLUMN_NAME: u8 = 4;
const SET_LABELS: u8 = 5;
const ENUM_LABELS: u8 = 6;
const GEOMETRY_TYPE: u8 = 7;
const SIMPLE_PRIMARY_KEY: u8 = 8;
const PRIMARY_KEY_WITH_PREFIX: u8 = 9;
const ENUM_AND_SET_DEFAULT_CHARSET: u8 = 10;
const ENUM_AND_SET_COLUMN_CHARSET: u8 = 11;
const VECTOR_DIMENSIONALITY: u8 = 13;

fn is_numeric(column: &MapColumn) -> bool {
    use code::*;
    matches!(
        column.code,
        TINY | SHORT | INT24 | LONG | LONGLONG | NEWDECIMAL | FLOAT | DOUBLE | YEAR
    )
}

fn is_character(column: &MapColumn) -> bool {
    use code::*;
    matches!(
        column.code,
        STRING
            | VAR_STRING
            | VARCHAR
            | BLOB
            | TINY_BLOB
            | MEDIUM_BLOB
            | LONG_BLOB
            | BLOB_COMPRESSED
            | VARCHAR_COMPRESSED
    )
}

/// MariaDB gives spatial columns the character set binary and counts them among the character columns.
fn is_character_or_spatial(column: &MapColumn) -> bool {
    is_character(column) || column.code == code::GEOMETRY
}

fn is_enum_or_set(column: &MapColumn) -> bool {
    matches!(column.code, code::ENUM | code::SET)
}

/// Reads all fields to the end of the event.
pub(super) fn read(cursor: &mut Cursor<'_>, columns: &mut [MapColumn], flavour: Flavour) -> Result<(), Bad> {
    let character = match flavour {
        Flavour::Mysql => is_character,
        Flavour::MariaDb => is_character_or_spatial,
    };
    let mut seen = [false; 256];
    while !cursor.is_empty() {
        let kind = cursor.u8()?;
        let mut field = Cursor::new(cursor.lenenc_bytes()?);
        let Some(slot) = seen.get_mut(usize::from(kind)) else {
            continue;
        };
        if std::mem::replace(slot, true) {
            continue;
        }
        read_field(kind, &mut field, columns, character)?;
    }
    Ok(())
}

fn read_field(
    kind: u8,
    field: &mut Cursor<'_>,
    columns: &mut [MapColumn],
    character: fn(&MapColumn) -> bool,
) -> Result<(), Bad> {
    match kind {
        SIGNEDNESS => signedness(field, columns),
        DEFAULT_CHARSET => default_charset(field, columns, character),
        COLUMN_CHARSET => column_charset(field, columns, character),
        COLUMN_NAME => names(field, columns),
        SET_LABELS => labels(field, columns, code::SET),
        ENUM_LABELS => labels(field, columns, code::ENUM),
        GEOMETRY_TYPE => numbers(field, columns, code::GEOMETRY, |column, value| {
            column.geometry = Some(value);
        }),
        SIMPLE_PRIMARY_KEY => primary_key(field, columns, false),
        PRIMARY_KEY_WITH_PREFIX => primary_key(field, columns, true),
        ENUM_AND_SET_DEFAULT_CHARSET => default_charset(field, columns, is_enum_or_set),
        ENUM_AND_SET_COLUMN_CHARSET => column_charset(field, columns, is_enum_or_set),
        VECTOR_DIMENSIONALITY => numbers(field, columns, code::VECTOR, |column, value| {
            column.dimensions = Some(value);
        }),
        // Visibility (12) changes nothing here, and what a newer server adds is not needed.
        _ => Ok(()),
    }
}

/// One bit for each numeric column, most significant first: set means UNSIGNED.
fn signedness(field: &mut Cursor<'_>, columns: &mut [MapColumn]) -> Result<(), Bad> {
    let bits = field.rest();
    for (index, column) in columns.iter_mut().filter(|column| is_numeric(column)).enumerate() {
        let byte = bits.get(index / 8).ok_or(Truncated)?;
        column.unsigned = Some(byte & (0x80 >> (index % 8)) != 0);
    }
    Ok(())
}

fn collation(field: &mut Cursor<'_>) -> Result<u32, Bad> {
    u32::try_from(field.lenenc()?).map_err(|_| Bad::Inconsistent("a collation number is out of range"))
}

/// The commonest collation, then (index among the columns of the kind, collation) for the others.
fn default_charset(
    field: &mut Cursor<'_>,
    columns: &mut [MapColumn],
    kind: fn(&MapColumn) -> bool,
) -> Result<(), Bad> {
    let default = collation(field)?;
    let mut of_kind: Vec<&mut MapColumn> = columns.iter_mut().filter(|column| kind(column)).collect();
    for column in &mut of_kind {
        column.collation = Some(default);
    }
    while !field.is_empty() {
        let index = field.lenenc_size()?;
        let other = collation(field)?;
        let column = of_kind.get_mut(index).ok_or(Bad::Inconsistent(
            "a collation names a column that does not exist",
        ))?;
        column.collation = Some(other);
    }
    Ok(())
}

/// A collation for each column of the kind.
fn column_charset(
    field: &mut Cursor<'_>,
    columns: &mut [MapColumn],
    kind: fn(&MapColumn) -> bool,
) -> Result<(), Bad> {
    for column in columns.iter_mut().filter(|column| kind(column)) {
        column.collation = Some(collation(field)?);
    }
    Ok(())
}

fn names(field: &mut Cursor<'_>, columns: &mut [MapColumn]) -> Result<(), Bad> {
    for column in columns {
        let name = std::str::from_utf8(field.lenenc_bytes()?).map_err(|_| Bad::Name)?;
        column.name = Some(ColumnName::new(name));
    }
    Ok(())
}

/// For each column of the type: how many labels, then each behind its length.
fn labels(field: &mut Cursor<'_>, columns: &mut [MapColumn], of: u8) -> Result<(), Bad> {
    for column in columns.iter_mut().filter(|column| column.code == of) {
        let count = field.lenenc_size()?;
        let mut labels = Vec::new();
        for _ in 0..count {
            labels.push(Bytes::copy_from_slice(field.lenenc_bytes()?));
        }
        column.labels = Some(labels);
    }
    Ok(())
}

fn numbers(
    field: &mut Cursor<'_>,
    columns: &mut [MapColumn],
    of: u8,
    set: fn(&mut MapColumn, u32),
) -> Result<(), Bad> {
    for column in columns.iter_mut().filter(|column| column.code == of) {
        let value =
            u32::try_from(field.lenenc()?).map_err(|_| Bad::Inconsistent("a type number is out of range"))?;
        set(column, value);
    }
    Ok(())
}

/// Column indexes in key order, each followed by its prefix length where the key has prefixes. A prefix
/// changes nothing here: rows that differ in the prefix differ in the whole value.
fn primary_key(field: &mut Cursor<'_>, columns: &mut [MapColumn], prefixes: bool) -> Result<(), Bad> {
    let mut place = 0;
    while !field.is_empty() {
        let index = field.lenenc_size()?;
        if prefixes {
            field.lenenc()?;
        }
        let column = columns
            .get_mut(index)
            .ok_or(Bad::Inconsistent("the key names a column that does not exist"))?;
        column.key = Some(place);
        place += 1;
    }
    Ok(())
}
