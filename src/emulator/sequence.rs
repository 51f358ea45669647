//! `_CHANGE_SEQUENCE_NUMBER`: which of two changes of a key is the later one. One to four sections of
//! one to sixteen hexadecimal digits, separated by `/`, compared from the left as unsigned numbers
//! (BigQuery, "Stream table updates with change data capture ingestion"). A number that is the beginning
//! of another is the smaller one (assumed: the document says only that its absent sections rank lower).

use std::fmt;

/// A parsed sequence number. Its order is the order of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sequence {
    sections: [u64; Sequence::SECTIONS],
    used: usize,
}

/// Why a text is no sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SequenceError {
    #[error("it has more than four sections")]
    Sections,
    #[error("a section has not 1 to 16 hexadecimal digits")]
    Digits,
}

impl Sequence {
    /// Most sections a number may have.
    const SECTIONS: usize = 4;
    /// Most digits a section may have.
    const DIGITS: usize = 16;

    /// Reads the text of the pseudo-column.
    pub(crate) fn parse(text: &[u8]) -> Result<Sequence, SequenceError> {
        let mut sections = [0; Sequence::SECTIONS];
        let mut used = 0;
        for part in text.split(|byte| *byte == b'/') {
            let section = sections.get_mut(used).ok_or(SequenceError::Sections)?;
            *section = hex(part).ok_or(SequenceError::Digits)?;
            used += 1;
        }
        Ok(Sequence { sections, used })
    }

    fn sections(&self) -> &[u64] {
        self.sections.get(..self.used).unwrap_or_default()
    }

    /// Whether the last of four sections is zero or one: by this project's convention the number of a row that a
    /// snapshot read, and may read again with a later content, or of the delete of one that it did not find.
    pub(crate) fn is_of_snapshot(&self) -> bool {
        self.used == Sequence::SECTIONS && self.sections().last().is_some_and(|last| *last <= 1)
    }

    /// A form whose byte order is the numbers' order.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.used * 8);
        for section in self.sections() {
            bytes.extend_from_slice(&section.to_be_bytes());
        }
        bytes
    }
}

fn hex(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > Sequence::DIGITS {
        return None;
    }
    digits.iter().try_fold(0, |number: u64, digit| {
        let value = char::from(*digit).to_digit(16)?;
        Some((number << 4) | u64::from(value))
    })
}

impl PartialOrd for Sequence {
    fn partial_cmp(&self, other: &Sequence) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Sequence {
    fn cmp(&self, other: &Sequence) -> std::cmp::Ordering {
        self.sections().cmp(other.sections())
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, section) in self.sections().iter().enumerate() {
            if index > 0 {
                f.write_str("/")?;
            }
            write!(f, "{section:X}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(text: &str) -> Sequence {
        Sequence::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_documents_own_examples() {
        assert!(number("FFF/B") < number("FFF/ABC"));
        assert!(number("BA/FFFFFFFF") < number("ABC"));
        assert!(number("ABC") < number("FFF/ABC"));
    }

    #[test]
    fn sections_are_unsigned_numbers_and_not_text() {
        assert_eq!(number("00fF/1"), number("FF/01"));
        assert!(number("7FFFFFFFFFFFFFFF") < number("8000000000000000"));
        assert!(number("9") < number("10"));
        assert!(number("ABC") < number("ABC/0"));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in [
            "",
            "/",
            "1/",
            "/1",
            "1//2",
            "g",
            "-1",
            "+1",
            " 1",
            "0x1",
            "1.0",
            "12345678901234567",
        ] {
            assert_eq!(
                Sequence::parse(text.as_bytes()),
                Err(SequenceError::Digits),
                "{text}"
            );
        }
        assert_eq!(Sequence::parse(b"1/2/3/4/5"), Err(SequenceError::Sections));
    }

    proptest! {
        #[test]
        fn bytes_keep_the_order(
            a in prop::collection::vec(any::<u64>(), 1..=4),
            b in prop::collection::vec(prop_oneof![any::<u64>(), 0..3_u64], 1..=4),
        ) {
            let text = |parts: &[u64]| parts.iter().map(|part| format!("{part:x}")).collect::<Vec<_>>().join("/");
            let (left, right) = (number(&text(&a)), number(&text(&b)));
            prop_assert_eq!(left.cmp(&right), a.cmp(&b));
            prop_assert_eq!(left.to_bytes().cmp(&right.to_bytes()), a.cmp(&b));
            prop_assert_eq!(number(&left.to_string()), left);
        }

        #[test]
        fn hostile_text_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ignored = Sequence::parse(&bytes).is_ok();
        }
    }
}
