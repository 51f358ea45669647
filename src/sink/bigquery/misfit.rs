//! Values that BigQuery cannot hold: their kinds, the policy of each, and how many of each kind a row has.
//! Every one is counted, whatever becomes of it.

use crate::config::{ValuePolicy, Values};

/// A kind of value that BigQuery cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Misfit {
    /// A date or time that BigQuery's calendar lacks.
    ZeroDate,
    /// A number that the column's type has no room for.
    OutOfRange,
    /// Bytes that are no text in their column's character set.
    InvalidText,
    /// A number in JSON that neither 64 bits nor a double give back.
    JsonNumber,
    /// A value of another type than its column's.
    OtherType,
}

/// Every kind, in the order of [`Misfits`].
pub(super) const KINDS: [Misfit; 5] = [
    Misfit::ZeroDate,
    Misfit::OutOfRange,
    Misfit::InvalidText,
    Misfit::JsonNumber,
    Misfit::OtherType,
];

impl Misfit {
    /// The kind's name in metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Misfit::ZeroDate => "zero_date",
            Misfit::OutOfRange => "out_of_range",
            Misfit::InvalidText => "invalid_text",
            Misfit::JsonNumber => "json_number",
            Misfit::OtherType => "other_type",
        }
    }

    /// What is to become of it.
    pub(super) fn policy(self, values: &Values) -> ValuePolicy {
        match self {
            Misfit::ZeroDate => values.zero_dates,
            Misfit::OutOfRange => values.out_of_range,
            Misfit::InvalidText => values.invalid_text,
            Misfit::JsonNumber => values.json_numbers,
            Misfit::OtherType => values.other_types,
        }
    }

    /// Why a row is put aside for it.
    pub(super) fn reason(self, key: bool) -> &'static str {
        match self {
            Misfit::ZeroDate if key => "a date or time that BigQuery cannot hold, in a key column",
            Misfit::ZeroDate => "a date or time that BigQuery cannot hold",
            Misfit::OutOfRange => "a number that the target's type has no room for",
            Misfit::InvalidText => "bytes that are no text in the column's character set",
            Misfit::JsonNumber => "a JSON number that neither 64 bits nor a double give back",
            Misfit::OtherType => "a value of another type than the column's",
        }
    }
}

/// How many of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Misfits([u64; KINDS.len()]);

impl Misfits {
    /// Counts some more.
    pub(super) fn add(&mut self, misfit: Misfit, more: u64) {
        for (kind, count) in KINDS.iter().zip(&mut self.0) {
            if *kind == misfit {
                *count += more;
            }
        }
    }

    /// Each kind of which there are any, and how many.
    pub(super) fn counts(&self) -> impl Iterator<Item = (Misfit, u64)> {
        KINDS.into_iter().zip(self.0).filter(|(_, count)| *count > 0)
    }
}
