//! The TABLE_MAP event: what the log says about a table right before its rows
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/classbinary__log_1_1Table__map__event.html>).
//!
//! Post-header: table id (6 bytes), flags (2). Body: schema, table, column types, their metadata, NULL
//! bits, then optional fields of (type, length, value), many of which are indexed not by column but by
//! *numeric*, *character*, *enum*, *set*, *geometry* or *vector* column. Fields of an unknown type are
//! skipped, so a newer server does not stop the reader; of a field that comes twice the first counts.

mod optional;

use bytes::Bytes;

use super::cursor::{Cursor, Truncated};
use super::server::Flavour;
use crate::event::{ColumnName, TableId};

/// Column types of the log (`enum_field_types`).
pub(crate) mod code {
    pub(crate) const TINY: u8 = 1;
    pub(crate) const SHORT: u8 = 2;
    pub(crate) const LONG: u8 = 3;
    pub(crate) const FLOAT: u8 = 4;
    pub(crate) const DOUBLE: u8 = 5;
    pub(crate) const TIMESTAMP: u8 = 7;
    pub(crate) const LONGLONG: u8 = 8;
    pub(crate) const INT24: u8 = 9;
    pub(crate) const DATE: u8 = 10;
    pub(crate) const TIME: u8 = 11;
    pub(crate) const DATETIME: u8 = 12;
    pub(crate) const YEAR: u8 = 13;
    pub(crate) const NEWDATE: u8 = 14;
    pub(crate) const VARCHAR: u8 = 15;
    pub(crate) const BIT: u8 = 16;
    pub(crate) const TIMESTAMP2: u8 = 17;
    pub(crate) const DATETIME2: u8 = 18;
    pub(crate) const TIME2: u8 = 19;
    pub(crate) const BLOB_COMPRESSED: u8 = 140;
    pub(crate) const VARCHAR_COMPRESSED: u8 = 141;
    pub(crate) const VECTOR: u8 = 242;
    pub(crate) const JSON: u8 = 245;
    pub(crate) const NEWDECIMAL: u8 = 246;
    pub(crate) const ENUM: u8 = 247;
    pub(crate) const SET: u8 = 248;
    pub(crate) const TINY_BLOB: u8 = 249;
    pub(crate) const MEDIUM_BLOB: u8 = 250;
    pub(crate) const LONG_BLOB: u8 = 251;
    pub(crate) const BLOB: u8 = 252;
    pub(crate) const VAR_STRING: u8 = 253;
    pub(crate) const STRING: u8 = 254;
    pub(crate) const GEOMETRY: u8 = 255;
}

/// Why an event is no table map.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableMapError {
    /// It ends too early, or a length in it points past its end.
    #[error("the table map event is truncated")]
    Truncated,
    /// A name is not UTF-8.
    #[error("a name in the table map event is not UTF-8")]
    Name,
    /// A column type whose metadata has an unknown size, so that what follows cannot be read.
    #[error("the table map event of {table} has a column of the unknown type {code}")]
    UnknownType {
        /// Which table.
        table: TableId,
        /// The type's number.
        code: u8,
    },
    /// Two parts of it contradict each other.
    #[error("the table map event of {table} is inconsistent: {reason}")]
    Inconsistent {
        /// Which table.
        table: TableId,
        /// What does not fit.
        reason: &'static str,
    },
}

impl From<Truncated> for TableMapError {
    fn from(_: Truncated) -> TableMapError {
        TableMapError::Truncated
    }
}

/// The part of a table map that tells whose rows follow; cheap to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableMapHead<'a> {
    /// The number by which rows events name the table until it is mapped again.
    pub table_id: u64,
    /// The schema (MySQL: database).
    pub schema: &'a str,
    /// The table.
    pub table: &'a str,
}

impl<'a> TableMapHead<'a> {
    /// Reads the head of an event's body (without header and checksum).
    ///
    /// # Errors
    /// [`TableMapError::Truncated`] or [`TableMapError::Name`].
    pub fn parse(body: &'a [u8]) -> Result<TableMapHead<'a>, TableMapError> {
        TableMapHead::read(&mut Cursor::new(body))
    }

    fn read(cursor: &mut Cursor<'a>) -> Result<TableMapHead<'a>, TableMapError> {
        let table_id = cursor.u48()?;
        cursor.u16()?;
        let schema = short_name(cursor)?;
        let table = short_name(cursor)?;
        Ok(TableMapHead {
            table_id,
            schema,
            table,
        })
    }
}

/// A name behind one length byte, before a NUL.
fn short_name<'a>(cursor: &mut Cursor<'a>) -> Result<&'a str, TableMapError> {
    let length = cursor.u8()?;
    let name = cursor.take(usize::from(length))?;
    cursor.u8()?;
    std::str::from_utf8(name).map_err(|_| TableMapError::Name)
}

/// A TABLE_MAP event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableMap {
    /// The number by which rows events name the table until it is mapped again.
    pub table_id: u64,
    /// Which table.
    pub table: TableId,
    /// Whether column names, and all that comes with them (`binlog_row_metadata=FULL`), are there.
    pub has_full: bool,
    pub(crate) columns: Vec<MapColumn>,
    /// The body after the table id.
    identity: Bytes,
}

/// A column of a table map. `None`: the log does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MapColumn {
    /// One of [`code`]; the true type where the event disguises it (ENUM and SET as STRING).
    pub(crate) code: u8,
    /// Its metadata as one number: DECIMAL `precision·256 + scale`, BIT the bits, strings the bytes, BLOB
    /// and its kin, ENUM and SET the width of the length or number, temporal types the fraction digits.
    pub(crate) meta: u16,
    pub(crate) nullable: bool,
    pub(crate) unsigned: Option<bool>,
    /// The collation's number, of character, ENUM and SET columns.
    pub(crate) collation: Option<u32>,
    pub(crate) name: Option<ColumnName>,
    /// ENUM and SET labels in the column's character set.
    pub(crate) labels: Option<Vec<Bytes>>,
    /// 0 geometry, 1 point … 7 geometrycollection.
    pub(crate) geometry: Option<u32>,
    pub(crate) dimensions: Option<u32>,
    /// Place in the primary key, from 0.
    pub(crate) key: Option<u16>,
}

impl TableMap {
    /// Parses an event's body (without header and checksum), written by a server of `flavour`: the two
    /// count columns differently.
    ///
    /// # Errors
    /// [`TableMapError`].
    pub fn parse(body: &Bytes, flavour: Flavour) -> Result<TableMap, TableMapError> {
        let mut cursor = Cursor::new(body);
        let head = TableMapHead::read(&mut cursor)?;
        let table = TableId::new(head.schema, head.table);
        let count = cursor.lenenc_size()?;
        let codes = cursor.take(count)?;
        let mut metadata = Cursor::new(cursor.lenenc_bytes()?);
        let mut columns = Vec::with_capacity(count);
        for declared in codes {
            let Some((code, meta)) = physical(*declared, &mut metadata)? else {
                let code = *declared;
                return Err(TableMapError::UnknownType { table, code });
            };
            columns.push(MapColumn {
                code,
                meta,
                ..MapColumn::default()
            });
        }
        let inconsistent = |reason| TableMapError::Inconsistent {
            table: table.clone(),
            reason,
        };
        if !metadata.is_empty() {
            return Err(inconsistent("more type metadata than columns"));
        }
        let null_bits = cursor.take(count.div_ceil(8))?;
        for (index, column) in columns.iter_mut().enumerate() {
            column.nullable = bit(null_bits, index);
        }
        optional::read(&mut cursor, &mut columns, flavour).map_err(|fault| match fault {
            optional::Bad::Truncated(truncated) => TableMapError::from(truncated),
            optional::Bad::Name => TableMapError::Name,
            optional::Bad::Inconsistent(reason) => inconsistent(reason),
        })?;
        let has_full = !columns.is_empty() && columns.iter().all(|column| column.name.is_some());
        Ok(TableMap {
            table_id: head.table_id,
            table,
            has_full,
            columns,
            identity: body.slice(TABLE_ID_LENGTH..),
        })
    }

    /// Whether another event's body says the same of the same table, whatever its table id: what was
    /// prepared for this map then holds for that one too.
    pub fn same_as(&self, body: &[u8]) -> bool {
        body.get(TABLE_ID_LENGTH..) == Some(&self.identity[..])
    }

    /// How many columns a row image has.
    pub fn column_count(&self) -> usize {
        self.columns.len()
    }
}

const TABLE_ID_LENGTH: usize = 6;

/// Bit `index` of a bitmap whose least significant bits come first.
pub(crate) fn bit(bitmap: &[u8], index: usize) -> bool {
    bitmap
        .get(index / 8)
        .is_some_and(|byte| byte & (1 << (index % 8)) != 0)
}

/// Reads a type's metadata; `None` for a type whose metadata has an unknown size.
fn physical(declared: u8, metadata: &mut Cursor<'_>) -> Result<Option<(u8, u16)>, Truncated> {
    use code::*;
    let meta = match declared {
        TINY | SHORT | LONG | TIMESTAMP | LONGLONG | INT24 | DATE | TIME | DATETIME | YEAR | NEWDATE => 0,
        FLOAT | DOUBLE | TIMESTAMP2 | DATETIME2 | TIME2 | VECTOR | JSON | TINY_BLOB | MEDIUM_BLOB
        | LONG_BLOB | BLOB | GEOMETRY | BLOB_COMPRESSED => u16::from(metadata.u8()?),
        VARCHAR | VAR_STRING | VARCHAR_COMPRESSED => metadata.u16()?,
        NEWDECIMAL => u16::from_be_bytes(metadata.array()?),
        BIT => {
            let [bits, bytes] = metadata.array()?;
            u16::from(bytes) * 8 + u16::from(bits)
        }
        ENUM | SET => u16::from_be_bytes(metadata.array()?) & 0xff,
        STRING => return Ok(Some(string(metadata.array()?))),
        _ => return Ok(None),
    };
    Ok(Some((declared, meta)))
}

/// STRING: the true type and its length. Lengths above 255 hide two bits, inverted, in the type's bits 4 and 5.
fn string([kind, length]: [u8; 2]) -> (u8, u16) {
    if kind & 0x30 == 0x30 {
        return (kind, u16::from(length));
    }
    let high = u16::from((kind & 0x30) ^ 0x30) << 4;
    (kind | 0x30, high | u16::from(length))
}
