//! Identity of a row: the values of its primary key as one byte string. Different keys have different
//! bytes, and bytes sort as keys do.

use super::value::Cell;

/// A value that cannot be part of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a primary key column has no value")]
pub(crate) struct NoKey;

/// Appends one key column's value to `key`.
pub(crate) fn push(key: &mut Vec<u8>, cell: &Cell<'_>) -> Result<(), NoKey> {
    match cell {
        Cell::Null => return Err(NoKey),
        Cell::Int(value) => {
            key.push(1);
            // With the sign bit turned, negative numbers sort first.
            let [first, rest @ ..] = value.to_be_bytes();
            key.push(first ^ 0x80);
            key.extend_from_slice(&rest);
        }
        Cell::Decimal(stored) => {
            key.push(2);
            key.extend_from_slice(stored);
        }
        Cell::Text(text) => push_escaped(key, 3, text.as_bytes()),
        Cell::Blob(bytes) => push_escaped(key, 4, bytes),
        Cell::Real(value) => {
            key.push(5);
            key.extend_from_slice(&value.to_bits().to_be_bytes());
        }
    }
    Ok(())
}

/// Zero bytes become `00 FF`, and `00 00` ends the value: a prefix sorts first and never runs into what follows.
fn push_escaped(key: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    key.push(tag);
    for byte in bytes {
        key.push(*byte);
        if *byte == 0 {
            key.push(0xFF);
        }
    }
    key.extend_from_slice(&[0, 0]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(number: i64, text: &str, other: &str) -> Vec<u8> {
        let mut key = Vec::new();
        push(&mut key, &Cell::Int(number)).unwrap();
        push(&mut key, &Cell::Text(text.into())).unwrap();
        push(&mut key, &Cell::Text(other.into())).unwrap();
        key
    }

    #[test]
    fn null_is_no_key() {
        assert_eq!(push(&mut Vec::new(), &Cell::Null), Err(NoKey));
    }

    #[test]
    fn neighbours_do_not_run_together() {
        assert_ne!(key(1, "a\0", "b"), key(1, "a", "\0b"));
        assert_ne!(key(1, "ab", ""), key(1, "a", "b"));
    }

    proptest! {
        #[test]
        fn bytes_sort_as_keys(
            a in (any::<i64>(), "[a\0\u{1}\u{ff}]{0,4}", "[a\0b]{0,3}"),
            b in (-2..2_i64, "[a\0\u{1}\u{ff}]{0,4}", "[a\0b]{0,3}"),
        ) {
            let bytes = |row: &(i64, String, String)| key(row.0, &row.1, &row.2);
            prop_assert_eq!(bytes(&a).cmp(&bytes(&b)), a.cmp(&b));
        }
    }
}
