//! Whether a column of the log is of the type that the catalog states, where the log does not say everything itself.

use super::{Charset, MapColumn, SqlType, TypeError, code, enum_width, set_width};

impl SqlType {
    /// Checks that a column of the log, whose metadata is not FULL, is of this type as far as the log
    /// states it: storage type, metadata, and, except in logs of MySQL before 8.0.1 and of MariaDB with NO_LOG,
    /// signedness and character set. What is not in the log, as labels never are then, no fingerprint covers; its
    /// change is a DDL statement in the log.
    pub(crate) fn agrees(&self, column: &MapColumn) -> Result<(), TypeError> {
        let agrees = if let SqlType::Enum { labels, charset } = self {
            labelled_agrees(column, code::ENUM, enum_width(labels.len()), charset)
        } else if let SqlType::Set { labels, charset } = self {
            labelled_agrees(column, code::SET, set_width(labels.len()), charset)
        } else {
            self.looks_like(&SqlType::from_log(&self.filled(column))?)
        };
        if agrees {
            return Ok(());
        }
        Err(TypeError::Differs {
            log: describe(column),
            catalog: self.declared(),
        })
    }

    /// A column of the log, with this type's word for what the log leaves out.
    fn filled(&self, column: &MapColumn) -> MapColumn {
        let mut filled = column.clone();
        match self {
            SqlType::Int { unsigned, .. }
            | SqlType::Float { unsigned }
            | SqlType::Double { unsigned }
            | SqlType::Decimal { unsigned, .. } => {
                filled.unsigned = column.unsigned.or(Some(*unsigned));
            }
            SqlType::Char { charset, .. }
            | SqlType::VarChar { charset, .. }
            | SqlType::Text { charset, .. } => {
                filled.collation = column.collation.or_else(|| charset.a_collation());
            }
            SqlType::Binary(_) | SqlType::VarBinary(_) | SqlType::Blob(_) | SqlType::Address(_) => {
                filled.collation = column.collation.or(Some(Charset::BINARY));
            }
            SqlType::Vector(dimensions) => {
                filled.dimensions = column.dimensions.or(Some(*dimensions));
            }
            SqlType::Geometry(kind) => {
                filled.geometry = column.geometry.or_else(|| Some(u32::from(*kind)));
            }
            SqlType::Bit(_)
            | SqlType::Year
            | SqlType::Date
            | SqlType::Time(_)
            | SqlType::DateTime(_)
            | SqlType::Timestamp(_)
            | SqlType::Enum { .. }
            | SqlType::Set { .. }
            | SqlType::Json => {}
        }
        filled
    }
}

fn labelled_agrees(column: &MapColumn, of: u8, width: u8, charset: &'static Charset) -> bool {
    let same_charset = column
        .collation
        .is_none_or(|id| Charset::by_collation(id) == Some(charset));
    column.code == of && column.meta == u16::from(width) && same_charset
}

/// A column of the log in words, for the message that it does not fit.
fn describe(column: &MapColumn) -> String {
    SqlType::from_log(column).map_or_else(
        |_| format!("type number {} with metadata {}", column.code, column.meta),
        |known| known.declared(),
    )
}
