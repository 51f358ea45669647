//! Rows travel undecoded: a source hands over shared bytes, and the one who encodes asks each row to
//! walk its cells once, in column order, into a visitor. No cell is copied on the way.

use std::fmt;

use super::value::Value;

/// Where one row image lies within its [`RowImages`]; meaningful to that object only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowRef {
    /// Start (binlog: byte offset; snapshot: row index).
    pub at: u32,
    /// Size of the image in bytes, for accounting.
    pub len: u32,
}

/// Receives a row's cells.
pub trait CellVisitor {
    /// One cell; `column` counts from 0 in the layout's order, every column once, ascending.
    ///
    /// # Errors
    /// The cells are not those of the layout; the walk stops and returns it.
    fn cell(&mut self, column: usize, value: Value<'_>) -> Result<(), RowError>;
}

/// A set of row images of one layout that share their bytes.
pub trait RowImages: fmt::Debug + Send + Sync {
    /// Walks one image.
    ///
    /// # Errors
    /// [`RowError::Malformed`] if the bytes are no such image, or what the visitor returned.
    fn visit(&self, row: RowRef, visitor: &mut dyn CellVisitor) -> Result<(), RowError>;

    /// Bytes that this object keeps alive, for queue bounds.
    fn bytes(&self) -> usize;
}

/// Why a row could not be walked. Never carries the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// The image does not match its layout: the log, the layout or this program is wrong.
    #[error("row image is malformed at column {column}: {reason}")]
    Malformed {
        /// Column index, from 0.
        column: usize,
        /// What is wrong.
        reason: String,
    },
    /// A column is absent from the image (row image MINIMAL or NOBLOB).
    #[error("row image lacks column {column}: the session that wrote it did not use binlog_row_image=FULL")]
    Partial {
        /// Column index, from 0.
        column: usize,
    },
}
