//! DynamoDB tables: their streams are followed, and what they hold already is read beside them.
//!
//! [`number`] and [`item`] are the values, [`layout`] the columns, [`rows`] the images that travel.

pub mod item;
pub mod layout;
pub mod number;
pub mod rows;
