//! JSON numbers that BigQuery would change without a word: it keeps integers of 64 bits and doubles,
//! and rounds the rest. Such a number becomes a string, digits untouched, or null; everything else passes as it is.

/// A literal of at most this many bytes without an exponent has at most 15 significant digits, which
/// a double always gives back.
const SAFE_LEN: usize = 15;

/// Rewrites a document into `out` if it holds a number that does not survive, such numbers as strings or as
/// null; returns how many, and leaves `out` untouched where there is none.
pub(super) fn guard_numbers(out: &mut Vec<u8>, document: &str, as_null: bool) -> u64 {
    let mut changed = 0;
    let mut copied = 0;
    let mut at = 0;
    while let Some(next) = next_number(document, at) {
        let (start, end) = next;
        at = end;
        let literal = document.get(start..end).unwrap_or("");
        if survives(literal) {
            continue;
        }
        out.extend_from_slice(document.get(copied..start).unwrap_or("").as_bytes());
        if as_null {
            out.extend_from_slice(b"null");
        } else {
            out.push(b'"');
            out.extend_from_slice(literal.as_bytes());
            out.push(b'"');
        }
        copied = end;
        changed += 1;
    }
    if changed > 0 {
        out.extend_from_slice(document.get(copied..).unwrap_or("").as_bytes());
    }
    changed
}

/// The next number literal outside strings, at or after `at`.
fn next_number(document: &str, mut at: usize) -> Option<(usize, usize)> {
    let bytes = document.as_bytes();
    loop {
        let rest = bytes.get(at..)?;
        at += rest
            .iter()
            .position(|byte| matches!(byte, b'"' | b'-' | b'0'..=b'9'))?;
        if bytes.get(at) == Some(&b'"') {
            at = string_end(bytes, at + 1)?;
            continue;
        }
        let literal = bytes.get(at + 1..)?.iter();
        let len = literal
            .take_while(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
            .count();
        return Some((at, at + 1 + len));
    }
}

/// What follows the string whose content begins at `at`.
fn string_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let rest = bytes.get(at..)?;
        at += rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        if bytes.get(at) == Some(&b'"') {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// Whether a number literal comes back as the same number.
fn survives(literal: &str) -> bool {
    let exponent = literal.bytes().any(|byte| byte == b'e' || byte == b'E');
    if literal.len() <= SAFE_LEN && !exponent {
        return true;
    }
    let whole = !exponent && !literal.contains('.');
    if whole && (literal.parse::<i64>().is_ok() || literal.parse::<u64>().is_ok()) {
        return true;
    }
    let Ok(double) = literal.parse::<f64>() else {
        return false;
    };
    double.is_finite() && decimal_parts(literal) == decimal_parts(zmij::Buffer::new().format_finite(double))
}

/// A literal's significant digits and the power of ten of the digit after them: equal for equal numbers.
fn decimal_parts(literal: &str) -> Option<(Vec<u8>, i64)> {
    let digits = literal.strip_prefix('-').unwrap_or(literal);
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (digits, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut all: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    let mut power = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?;
    while all.last() == Some(&b'0') {
        all.pop();
        power = power.checked_add(1)?;
    }
    let leading = all.iter().take_while(|digit| **digit == b'0').count();
    all.drain(..leading);
    if all.is_empty() {
        power = 0;
    }
    Some((all, power))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn guarded(document: &str) -> String {
        let mut out = Vec::new();
        match guard_numbers(&mut out, document, false) {
            0 => {
                assert!(out.is_empty());
                document.to_owned()
            }
            _ => String::from_utf8(out).unwrap(),
        }
    }

    #[test]
    fn numbers_that_survive_are_left_alone() {
        for document in [
            "null",
            "[1, -9223372036854775808, 18446744073709551615]",
            r#"{"a": 0.1, "b": 1.5e300, "c": -0.0, "d": 123456789012345678}"#,
            r#"{"12345678901234567890123": "12345678901234567890123", "x\"99999999999999999999": 1}"#,
            "[1.7976931348623157e308, 5e-324, 100000000000000000000, 1.10]",
        ] {
            assert_eq!(guarded(document), document);
        }
    }

    #[test]
    fn numbers_that_do_not_survive_become_strings() {
        for (document, expected) in [
            ("18446744073709551617", r#""18446744073709551617""#),
            ("[-9223372036854775809,1]", r#"["-9223372036854775809",1]"#),
            (
                r#"{"a":0.12345678901234567890123,"b":1e400}"#,
                r#"{"a":"0.12345678901234567890123","b":"1e400"}"#,
            ),
            ("1e-400", r#""1e-400""#),
        ] {
            assert_eq!(guarded(document), expected);
        }
    }

    #[test]
    fn numbers_that_do_not_survive_can_become_null() {
        let mut out = Vec::new();
        assert_eq!(
            guard_numbers(&mut out, r#"{"1e999": [1e999, -1e999, 2]}"#, true),
            2
        );
        assert_eq!(out, br#"{"1e999": [null, null, 2]}"#);
    }

    proptest! {
        #[test]
        fn doubles_and_integers_always_survive(double in proptest::num::f64::NORMAL, int: i64, uint: u64) {
            let document = format!("[{}, {int}, {uint}]", zmij::Buffer::new().format_finite(double));
            prop_assert_eq!(guarded(&document), document);
        }

        #[test]
        fn hostile_text_neither_panics_nor_loses_a_byte_outside_of_quotes(document in "[-0-9.eE\"\\\\{}:, a-cé]{0,60}") {
            let quotes = |text: &str| text.matches('"').count();
            let guarded = guarded(&document);
            prop_assert_eq!(guarded.replace('"', ""), document.replace('"', ""));
            prop_assert!((quotes(&guarded) - quotes(&document)).is_multiple_of(2));
        }
    }
}
