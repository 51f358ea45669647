//! MySQL and MariaDB: connections, judgement of a server, catalog, statements, snapshot chunks, and values.
//!
//! Values: [`table_map`] and [`catalog`] describe a table, [`decoder`] turns either into a layout with a
//! plan, [`rows`] and [`snapshot_rows`] walk the rows of the log and of a SELECT by that plan.

mod address;
pub mod catalog;
pub mod catalog_read;
mod cell;
mod charset;
pub mod chunks;
mod compressed;
pub mod connect;
mod cursor;
pub mod ddl;
mod decimal;
pub mod decoder;
pub mod domains;
mod dump;
pub mod error;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod grants;
mod injective;
mod jsonb;
pub mod lexer;
pub mod preflight;
pub mod query_event;
mod quoting;
mod replica;
pub mod rows;
pub mod server;
mod sessions;
pub mod snapshot_rows;
pub mod source;
pub mod stream;
pub mod table_map;
mod temporal;
mod token;
pub mod types;
pub mod writes;

pub use catalog::{CatalogColumn, CatalogTable};
pub use decoder::{Decoder, LayoutError};
pub use quoting::{quoted, quoted_table};
pub use rows::{RowsAt, RowsError, RowsHead, RowsKind, decode_rows, image_bytes};
pub use snapshot_rows::snapshot_changes;
pub use source::Mysql;
pub use table_map::{TableMap, TableMapError, TableMapHead};
