//! Sequence numbers of DynamoDB's streams: decimal texts of 21 to 40 digits that order as numbers
//! (<https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_StreamRecord.html>). Forty digits
//! need 133 bits, so a number is three parts that are also the three last sections of an [`super::OrderKey`].

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::order::Ordinal;
use super::position::{BinlogCoord, Epoch, TxnStart};

/// Bits of the lowest part: an [`Ordinal`] leaves the last bit of its section to the operation.
const LOW_BITS: u32 = 63;
/// Digits that are admitted, leading zeros included.
const DIGITS: usize = 40;

/// The number alone: `high · 2^127 + middle · 2^63 + low`. Derived `Ord` is the order of the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Parts {
    high: u64,
    middle: u64,
    low: u64,
}

/// A record's number in its stream. Its text stays as the service gave it, because the service is asked with it
/// again; order and equality are those of the number.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SequenceNumber {
    text: Arc<str>,
    parts: Parts,
}

/// Text that is no sequence number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a sequence number of 1 to {DIGITS} digits above zero: {0:?}")]
pub struct SequenceError(pub String);

impl SequenceNumber {
    /// The text that the service gave.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Where a record with this number stands in a generation: above the generation's first place, where rows of a
    /// first load stand, and in the order of the numbers.
    pub fn place(&self, generation: Epoch) -> (TxnStart, Ordinal) {
        let start = TxnStart {
            epoch: generation,
            coord: BinlogCoord {
                file: self.parts.high,
                offset: self.parts.middle,
            },
        };
        (start, Ordinal(self.parts.low))
    }

    /// The number of the record at a place, in decimal digits without leading zeros: the reverse of
    /// [`SequenceNumber::place`].
    pub fn digits(coord: BinlogCoord, ordinal: Ordinal) -> String {
        let (mut high, mut middle, mut low) = (coord.file, coord.offset, ordinal.0);
        let mut digits = Vec::with_capacity(DIGITS);
        loop {
            let rest = high % 10;
            high /= 10;
            let (next, rest) = divide(rest, middle, u64::BITS);
            middle = next;
            let (next, rest) = divide(rest, low, LOW_BITS);
            low = next;
            digits.push(char::from(b'0' + u8::try_from(rest).unwrap_or(0)));
            if (high, middle, low) == (0, 0, 0) {
                return digits.iter().rev().collect();
            }
        }
    }
}

/// A tenth of `rest · 2^bits + part`, and what is left; `rest` is below ten, so the tenth fits.
fn divide(rest: u64, part: u64, bits: u32) -> (u64, u64) {
    let whole = (u128::from(rest) << bits) | u128::from(part);
    (low_bits(whole / 10), low_bits(whole % 10))
}

fn low_bits(number: u128) -> u64 {
    u64::try_from(number & u128::from(u64::MAX)).unwrap_or(0)
}

/// `part · 10 + carry` as its lowest `bits` and what is above them.
fn multiply(part: u64, carry: u64, bits: u32) -> (u64, u64) {
    let whole = u128::from(part) * 10 + u128::from(carry);
    let mask = (1_u128 << bits) - 1;
    (low_bits(whole & mask), low_bits(whole >> bits))
}

impl FromStr for SequenceNumber {
    type Err = SequenceError;

    fn from_str(text: &str) -> Result<SequenceNumber, SequenceError> {
        let wrong = || SequenceError(text.chars().take(DIGITS * 2).collect());
        if text.is_empty() || text.len() > DIGITS {
            return Err(wrong());
        }
        let mut parts = Parts {
            high: 0,
            middle: 0,
            low: 0,
        };
        for digit in text.bytes() {
            if !digit.is_ascii_digit() {
                return Err(wrong());
            }
            let (low, carry) = multiply(parts.low, u64::from(digit - b'0'), LOW_BITS);
            let (middle, carry) = multiply(parts.middle, carry, u64::BITS);
            // Forty digits leave six bits for this part.
            let (high, _none) = multiply(parts.high, carry, u64::BITS);
            parts = Parts { high, middle, low };
        }
        // Zero is the place of rows of a first load.
        if (parts.high, parts.middle, parts.low) == (0, 0, 0) {
            return Err(wrong());
        }
        Ok(SequenceNumber {
            text: text.into(),
            parts,
        })
    }
}

impl TryFrom<String> for SequenceNumber {
    type Error = SequenceError;

    fn try_from(text: String) -> Result<SequenceNumber, SequenceError> {
        text.parse()
    }
}

impl From<SequenceNumber> for String {
    fn from(number: SequenceNumber) -> String {
        number.text.as_ref().to_owned()
    }
}

impl PartialEq for SequenceNumber {
    fn eq(&self, other: &SequenceNumber) -> bool {
        self.parts == other.parts
    }
}

impl Eq for SequenceNumber {}

impl PartialOrd for SequenceNumber {
    fn partial_cmp(&self, other: &SequenceNumber) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SequenceNumber {
    fn cmp(&self, other: &SequenceNumber) -> std::cmp::Ordering {
        self.parts.cmp(&other.parts)
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::order::OrderKey;
    use super::*;

    fn number(text: &str) -> SequenceNumber {
        text.parse().unwrap()
    }

    fn key(text: &str, generation: u64) -> OrderKey {
        let (start, ordinal) = number(text).place(Epoch(generation));
        OrderKey::upsert(start, ordinal)
    }

    /// Order of decimal texts, written independently: by length without leading zeros, then by digits.
    fn by_digits(a: &str, b: &str) -> std::cmp::Ordering {
        let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
        a.len().cmp(&b.len()).then_with(|| a.cmp(b))
    }

    proptest! {
        #[test]
        fn order_is_that_of_the_numbers(a in "[0-9]{0,39}[1-9]", b in "[0-9]{0,39}[1-9]", near in 0u8..10) {
            prop_assert_eq!(number(&a).cmp(&number(&b)), by_digits(&a, &b));
            prop_assert_eq!(key(&a, 7).cmp(&key(&b, 7)), by_digits(&a, &b));
            // Numbers of one length that differ in the last digit only.
            let mut neighbour = a.clone();
            neighbour.pop();
            neighbour = format!("{neighbour}{near}");
            if let Ok(other) = neighbour.parse::<SequenceNumber>() {
                prop_assert_eq!(number(&a).cmp(&other), by_digits(&a, &neighbour));
            }
        }

        #[test]
        fn a_place_gives_the_digits_back(text in "[1-9][0-9]{0,39}", generation: u64) {
            let (start, ordinal) = number(&text).place(Epoch(generation));
            prop_assert!(ordinal <= Ordinal::MAX);
            prop_assert_eq!(&SequenceNumber::digits(start.coord, ordinal), &text);
            let read: SequenceNumber = serde_json::from_str(&serde_json::to_string(&number(&text)).unwrap()).unwrap();
            prop_assert_eq!(read.as_str(), &text);
        }

        #[test]
        fn every_record_lies_above_the_first_load_of_its_generation_and_below_the_next(text in "[0-9]{0,39}[1-9]", generation in 0..u64::MAX) {
            let start = |epoch| TxnStart { epoch: Epoch(epoch), coord: BinlogCoord { file: 0, offset: 0 } };
            prop_assert!(key(&text, generation) > OrderKey::snapshot(start(generation)));
            prop_assert!(key(&text, generation) < OrderKey::sweep(start(generation + 1)));
        }
    }

    #[test]
    fn the_text_stays_as_it_was_given() {
        let padded = number("000000000000000000042");
        assert_eq!(padded.as_str(), "000000000000000000042");
        assert_eq!(padded, number("42"));
        let (start, ordinal) = number(&"9".repeat(40)).place(Epoch(1));
        assert_eq!(SequenceNumber::digits(start.coord, ordinal), "9".repeat(40));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in [
            "",
            "0",
            "000",
            "-1",
            "+1",
            "1.0",
            "1e3",
            " 1",
            "12a",
            "é",
            &"1".repeat(41),
        ] {
            assert!(text.parse::<SequenceNumber>().is_err(), "{text}");
        }
    }
}
