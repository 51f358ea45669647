//! DynamoDB tables: their streams are followed, and what they hold already is read beside them.
//!
//! [`number`] and [`item`] are the values, [`layout`] and `columns` the columns, `promote` what some of them show of an item, [`rows`]
//! the images that travel, made of `cells`, and `pages` makes such of a stream's records. [`lineage`] is the tree of a stream's shards, `reader` one stream as it is read,
//! `stream` all of them as one log, `catalog` the columns that a checkpoint kept, and [`api`] what they ask DynamoDB. [`load`] is what is read of a table before
//! its stream, [`preflight`] what is looked at before anything, and [`Dynamodb`] what the pipeline sees of it all.

pub mod api;
mod catalog;
mod cells;
mod columns;
mod error;
pub mod item;
pub mod layout;
pub mod lineage;
pub mod load;
pub mod number;
mod pages;
pub mod preflight;
mod promote;
mod reader;
pub mod rows;
mod source;
mod stream;

pub use error::StreamError;
pub use source::Dynamodb;
pub use stream::{DISORDERS, EXPIRED, READS};
