//! The one mapping of types, shared by stream and snapshot: a column as MySQL declares it becomes a
//! `SqlType`, whether the log or the catalog describes it, and from that follow the neutral
//! [`ColumnType`], the text that a layout shows and the cell's decoder. What only one of the two knows
//! (display widths, collations, SRIDs, DOUBLE's digits) is left out, so that both give equal layouts.
//!
//! MariaDB's UUID, INET4 and INET6 look like BINARY in the log, whatever its metadata: that they are not, only
//! the catalog tells. Its JSON is LONGTEXT in both, and a compressed column is what it is without compression.

mod agreement;
mod column_type;

use std::sync::Arc;

use super::address::Address;
use super::charset::Charset;
use super::table_map::{MapColumn, code};
use crate::event::ColumnType;

pub(crate) use column_type::parse;

/// Labels of an ENUM or SET in order.
pub(crate) type Labels = Arc<[Box<str>]>;

/// A column's type, as far as log and catalog both know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SqlType {
    /// Of 1, 2, 3, 4 or 8 bytes.
    Int {
        bytes: u8,
        unsigned: bool,
    },
    Float {
        unsigned: bool,
    },
    Double {
        unsigned: bool,
    },
    Decimal {
        precision: u8,
        scale: u8,
        unsigned: bool,
    },
    /// 1…64 bits.
    Bit(u8),
    Year,
    Date,
    /// Fraction digits, 0…6.
    Time(u8),
    DateTime(u8),
    Timestamp(u8),
    /// Length in characters.
    Char {
        length: u16,
        charset: &'static Charset,
    },
    VarChar {
        length: u16,
        charset: &'static Charset,
    },
    /// Width of its length, 1…4 bytes: TINYTEXT … LONGTEXT.
    Text {
        width: u8,
        charset: &'static Charset,
    },
    Binary(u16),
    /// MariaDB's UUID, INET4 and INET6.
    Address(Address),
    VarBinary(u16),
    Blob(u8),
    Enum {
        labels: Labels,
        charset: &'static Charset,
    },
    Set {
        labels: Labels,
        charset: &'static Charset,
    },
    Json,
    /// Index into [`GEOMETRIES`].
    Geometry(u8),
    /// Dimensions.
    Vector(u32),
}

/// Names of the spatial types by the log's numbers.
const GEOMETRIES: [&str; 8] = [
    "geometry",
    "point",
    "linestring",
    "polygon",
    "multipoint",
    "multilinestring",
    "multipolygon",
    "geometrycollection",
];

/// Why a type cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TypeError {
    /// No exact decoder for the character set.
    #[error("character set {0} cannot be decoded exactly")]
    Charset(String),
    /// A collation whose character set is unknown.
    #[error("collation number {0} is unknown")]
    Collation(u32),
    /// A type of the log without a mapping.
    #[error("type number {0} of the log is not supported")]
    Code(u8),
    /// A type of the catalog without a mapping.
    #[error("type `{0}` is not supported")]
    Declared(String),
    /// The log leaves out what is needed to read the column.
    #[error("the log does not state {0}")]
    Missing(&'static str),
    /// Labels that only the log has as they are.
    #[error("the catalog has `?` in its labels, and for every character of four bytes")]
    Labels,
    /// The log's metadata of the column contradicts itself.
    #[error("the log's metadata is wrong: {0}")]
    Metadata(&'static str),
    /// The log and the catalog describe different columns.
    #[error("the log describes {log}, the catalog {catalog}")]
    Differs {
        /// As the log says.
        log: String,
        /// As the catalog says.
        catalog: String,
    },
}

impl SqlType {
    /// The type that a table map with FULL metadata states.
    pub(crate) fn from_log(column: &MapColumn) -> Result<SqlType, TypeError> {
        use code::*;
        Ok(match column.code {
            TINY | SHORT | INT24 | LONG | LONGLONG | FLOAT | DOUBLE | NEWDECIMAL => {
                let unsigned = column
                    .unsigned
                    .ok_or(TypeError::Missing("whether it is UNSIGNED"))?;
                number_from_log(column, unsigned)?
            }
            YEAR => SqlType::Year,
            BIT => SqlType::Bit(within(column.meta, 1, 64)?),
            DATE | NEWDATE => SqlType::Date,
            TIME | TIME2 => SqlType::Time(within(column.meta, 0, 6)?),
            DATETIME | DATETIME2 => SqlType::DateTime(within(column.meta, 0, 6)?),
            TIMESTAMP | TIMESTAMP2 => SqlType::Timestamp(within(column.meta, 0, 6)?),
            STRING | VARCHAR | VAR_STRING | BLOB | TINY_BLOB | MEDIUM_BLOB | LONG_BLOB | BLOB_COMPRESSED
            | VARCHAR_COMPRESSED => string_from_log(column, charset_from_log(column)?)?,
            ENUM | SET => labelled_from_log(column)?,
            JSON => SqlType::Json,
            GEOMETRY => {
                let kind = column.geometry.ok_or(TypeError::Missing("its spatial type"))?;
                let kind = u8::try_from(kind).map_err(|_| TypeError::Metadata("spatial type"))?;
                if usize::from(kind) >= GEOMETRIES.len() {
                    return Err(TypeError::Metadata("spatial type"));
                }
                SqlType::Geometry(kind)
            }
            VECTOR => SqlType::Vector(column.dimensions.ok_or(TypeError::Missing("its dimensions"))?),
            other => return Err(TypeError::Code(other)),
        })
    }

    /// What its values mean.
    pub(crate) fn kind(&self) -> ColumnType {
        match self {
            SqlType::Int {
                bytes: 8,
                unsigned: true,
            }
            | SqlType::Bit(64) => ColumnType::UInt64,
            SqlType::Bit(1) => ColumnType::Bool,
            SqlType::Int { .. } | SqlType::Year | SqlType::Bit(_) => ColumnType::Int64,
            SqlType::Float { .. } => ColumnType::Float32,
            SqlType::Double { .. } => ColumnType::Float64,
            SqlType::Decimal { precision, scale, .. } => ColumnType::Decimal {
                precision: *precision,
                scale: *scale,
            },
            SqlType::Date => ColumnType::Date,
            SqlType::Time(_) => ColumnType::Time,
            SqlType::DateTime(_) => ColumnType::DateTime,
            SqlType::Timestamp(_) => ColumnType::Timestamp,
            SqlType::Char { .. }
            | SqlType::VarChar { .. }
            | SqlType::Text { .. }
            | SqlType::Enum { .. }
            | SqlType::Set { .. }
            | SqlType::Address(_) => ColumnType::Text,
            SqlType::Binary(_)
            | SqlType::VarBinary(_)
            | SqlType::Blob(_)
            | SqlType::Geometry(_)
            | SqlType::Vector(_) => ColumnType::Bytes,
            SqlType::Json => ColumnType::Json,
        }
    }

    /// The type in MySQL's words, lower case.
    pub(crate) fn declared(&self) -> String {
        match self {
            SqlType::Int { bytes, unsigned } => {
                let name = match bytes {
                    1 => "tinyint",
                    2 => "smallint",
                    3 => "mediumint",
                    4 => "int",
                    _ => "bigint",
                };
                signed(name, *unsigned)
            }
            SqlType::Float { unsigned } => signed("float", *unsigned),
            SqlType::Double { unsigned } => signed("double", *unsigned),
            SqlType::Decimal {
                precision,
                scale,
                unsigned,
            } => signed(&format!("decimal({precision},{scale})"), *unsigned),
            SqlType::Bit(bits) => format!("bit({bits})"),
            SqlType::Year => "year".to_owned(),
            SqlType::Date => "date".to_owned(),
            SqlType::Time(digits) => fraction("time", *digits),
            SqlType::DateTime(digits) => fraction("datetime", *digits),
            SqlType::Timestamp(digits) => fraction("timestamp", *digits),
            SqlType::Char { length, charset } => format!("char({length}) charset {}", charset.name),
            SqlType::VarChar { length, charset } => format!("varchar({length}) charset {}", charset.name),
            SqlType::Text { width, charset } => format!("{}text charset {}", size(*width), charset.name),
            SqlType::Binary(length) => format!("binary({length})"),
            SqlType::Address(address) => address.declared().to_owned(),
            SqlType::VarBinary(length) => format!("varbinary({length})"),
            SqlType::Blob(width) => format!("{}blob", size(*width)),
            SqlType::Enum { labels, charset } => labelled("enum", labels, charset),
            SqlType::Set { labels, charset } => labelled("set", labels, charset),
            SqlType::Json => "json".to_owned(),
            SqlType::Geometry(kind) => GEOMETRIES
                .get(usize::from(*kind))
                .map_or_else(String::new, |name| (*name).to_owned()),
            SqlType::Vector(dimensions) => format!("vector({dimensions})"),
        }
    }

    /// Whether its values can be read exactly, whatever describes it.
    pub(crate) fn check(&self) -> Result<(), TypeError> {
        match self.charset() {
            Some(charset) if charset.codec.is_none() && !charset.is_binary() => {
                Err(TypeError::Charset(charset.name.to_owned()))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether the catalog can have shown the labels as they are: it makes `?` of characters of four bytes.
    pub(crate) fn check_labels(&self) -> Result<(), TypeError> {
        if let SqlType::Enum { labels, charset } | SqlType::Set { labels, charset } = self
            && charset.max_len == 4
            && labels.iter().any(|label| label.contains('?'))
        {
            return Err(TypeError::Labels);
        }
        Ok(())
    }

    fn charset(&self) -> Option<&'static Charset> {
        match self {
            SqlType::Char { charset, .. }
            | SqlType::VarChar { charset, .. }
            | SqlType::Text { charset, .. }
            | SqlType::Enum { charset, .. }
            | SqlType::Set { charset, .. } => Some(charset),
            SqlType::Int { .. }
            | SqlType::Float { .. }
            | SqlType::Double { .. }
            | SqlType::Decimal { .. }
            | SqlType::Bit(_)
            | SqlType::Year
            | SqlType::Date
            | SqlType::Time(_)
            | SqlType::DateTime(_)
            | SqlType::Timestamp(_)
            | SqlType::Binary(_)
            | SqlType::Address(_)
            | SqlType::VarBinary(_)
            | SqlType::Blob(_)
            | SqlType::Json
            | SqlType::Geometry(_)
            | SqlType::Vector(_) => None,
        }
    }

    /// Whether the log would describe this type so.
    fn looks_like(&self, logged: &SqlType) -> bool {
        if let SqlType::Address(address) = self {
            return *logged == SqlType::Binary(address.bytes());
        }
        self == logged
    }

    /// The type of a column of the log, or the catalog's where that is one that the log cannot name.
    pub(crate) fn named_by_catalog(self, catalog: Option<&str>) -> SqlType {
        let named = catalog.and_then(Address::parse).map(SqlType::Address);
        named.filter(|named| named.looks_like(&self)).unwrap_or(self)
    }
}

/// Bytes of an ENUM's number.
pub(crate) fn enum_width(labels: usize) -> u8 {
    if labels < 256 { 1 } else { 2 }
}

/// Bytes of a SET's bits: 1, 2, 3, 4 or 8.
pub(crate) fn set_width(labels: usize) -> u8 {
    match labels.div_ceil(8) {
        0 | 1 => 1,
        2 => 2,
        3 => 3,
        4 => 4,
        _ => 8,
    }
}

fn within(meta: u16, low: u8, high: u8) -> Result<u8, TypeError> {
    u8::try_from(meta)
        .ok()
        .filter(|value| (low..=high).contains(value))
        .ok_or(TypeError::Metadata("a length is out of range"))
}

fn number_from_log(column: &MapColumn, unsigned: bool) -> Result<SqlType, TypeError> {
    let int = |bytes| SqlType::Int { bytes, unsigned };
    Ok(match column.code {
        code::TINY => int(1),
        code::SHORT => int(2),
        code::INT24 => int(3),
        code::LONG => int(4),
        code::LONGLONG => int(8),
        code::FLOAT => SqlType::Float { unsigned },
        code::DOUBLE => SqlType::Double { unsigned },
        _ => {
            let [precision, scale] = column.meta.to_be_bytes();
            if !(1..=65).contains(&precision) || scale > 30.min(precision) {
                return Err(TypeError::Metadata("DECIMAL digits are out of range"));
            }
            SqlType::Decimal {
                precision,
                scale,
                unsigned,
            }
        }
    })
}

fn charset_from_log(column: &MapColumn) -> Result<&'static Charset, TypeError> {
    let id = column.collation.ok_or(TypeError::Missing("its character set"))?;
    Charset::by_collation(id).ok_or(TypeError::Collation(id))
}

fn string_from_log(column: &MapColumn, charset: &'static Charset) -> Result<SqlType, TypeError> {
    use code::*;
    let binary = charset.is_binary();
    // Every length in the log is in bytes of the longest character.
    // A compressed one has one more for its head.
    let head = u16::from(column.code == VARCHAR_COMPRESSED);
    let length = column.meta.saturating_sub(head) / charset.max_len;
    Ok(match column.code {
        STRING if binary => SqlType::Binary(length),
        STRING => SqlType::Char { length, charset },
        VARCHAR | VAR_STRING | VARCHAR_COMPRESSED if binary => SqlType::VarBinary(length),
        VARCHAR | VAR_STRING | VARCHAR_COMPRESSED => SqlType::VarChar { length, charset },
        _ if binary => SqlType::Blob(within(column.meta, 1, 4)?),
        _ => SqlType::Text {
            width: within(column.meta, 1, 4)?,
            charset,
        },
    })
}

fn labelled_from_log(column: &MapColumn) -> Result<SqlType, TypeError> {
    let charset = charset_from_log(column)?;
    let raw = column.labels.as_ref().ok_or(TypeError::Missing("its labels"))?;
    let mut scratch = String::new();
    let mut labels: Vec<Box<str>> = Vec::with_capacity(raw.len());
    for label in raw {
        // Labels of a binary ENUM are bytes that the catalog shows as text.
        let text = match charset.codec {
            Some(codec) => codec.decode(label, &mut scratch),
            None if charset.is_binary() => std::str::from_utf8(label).ok(),
            None => return Err(TypeError::Charset(charset.name.to_owned())),
        };
        labels.push(
            text.ok_or(TypeError::Metadata("a label is not text in its character set"))?
                .into(),
        );
    }
    let labels: Labels = labels.into();
    let (width, built) = if column.code == code::ENUM {
        (enum_width(labels.len()), SqlType::Enum { labels, charset })
    } else if labels.len() > 64 {
        return Err(TypeError::Metadata("a SET of more than 64 labels"));
    } else {
        (set_width(labels.len()), SqlType::Set { labels, charset })
    };
    if u16::from(width) != column.meta {
        return Err(TypeError::Metadata(
            "the labels do not fit the width of the number",
        ));
    }
    Ok(built)
}

fn signed(name: &str, unsigned: bool) -> String {
    if unsigned {
        format!("{name} unsigned")
    } else {
        name.to_owned()
    }
}

fn fraction(name: &str, digits: u8) -> String {
    if digits == 0 {
        name.to_owned()
    } else {
        format!("{name}({digits})")
    }
}

fn size(width: u8) -> &'static str {
    match width {
        1 => "tiny",
        3 => "medium",
        4 => "long",
        _ => "",
    }
}

fn labelled(name: &str, labels: &Labels, charset: &Charset) -> String {
    let quoted: Vec<String> = labels
        .iter()
        .map(|label| format!("'{}'", label.replace('\'', "''")))
        // As the catalog shows them, which has no characters of four bytes.
        .map(|label| label.replace(|letter: char| letter > '\u{ffff}', "?"))
        .collect();
    format!("{name}({}) charset {}", quoted.join(","), charset.name)
}
