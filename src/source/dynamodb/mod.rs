//! DynamoDB tables: their streams are followed, and what they hold already is read beside them.
//!
//! [`number`] and [`item`] are the values, [`layout`] the columns, [`rows`] the images that travel, [`load`] what is
//! read of a table before its stream, and [`preflight`] what is looked at before anything.

pub mod item;
pub mod layout;
pub mod load;
pub mod number;
pub mod preflight;
pub mod rows;
