//! Numbers of DynamoDB: decimals of up to 38 digits and magnitudes from 1E-130 to 9.99E+125, which no binary type
//! holds. One number has many texts (`1`, `1.0`, `1E0`); [`Number`] has one for each, so that it serves as a key.

use std::cmp::Ordering;
use std::fmt;

/// Places before the point up to which a number is written without an exponent.
const WHOLE: i64 = 39;
/// Zeros between the point and the first digit up to which a number is written without an exponent.
const ZEROS: i64 = 38;
/// Characters of a text, far above what 38 digits and an exponent need.
const LONGEST: usize = 400;

/// A decimal number, exact: `± 0.digits · 10^point`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Number {
    negative: bool,
    /// Without leading and trailing zeros; empty for zero.
    digits: String,
    /// Place of the point counted from the first digit; 0 for zero.
    point: i64,
}

/// Text that is no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a number")]
pub struct NotANumber;

impl Number {
    /// Reads a text of DynamoDB: digits, perhaps with a sign, a point and an exponent.
    ///
    /// # Errors
    /// [`NotANumber`].
    pub fn parse(text: &str) -> Result<Number, NotANumber> {
        if text.len() > LONGEST {
            return Err(NotANumber);
        }
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, i64::from(exponent_of(exponent)?)),
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(NotANumber);
        }
        let significant = digits.trim_start_matches('0');
        let leading = length(&digits) - length(significant);
        let significant = significant.trim_end_matches('0');
        if significant.is_empty() {
            return Ok(Number {
                negative: false,
                digits: String::new(),
                point: 0,
            });
        }
        Ok(Number {
            negative,
            digits: significant.to_owned(),
            point: length(whole) - leading + exponent,
        })
    }

    /// The number as `unscaled / 10^scale`, with as few places as it needs, if it has at most so many digits before the
    /// point and at most so many places behind it: 38 each at most.
    pub fn decimal(&self, whole: u8, places: u8) -> Option<(i128, u8)> {
        let behind = u8::try_from((length(&self.digits) - self.point).max(0)).ok()?;
        if self.point > i64::from(whole) || behind > places {
            return None;
        }
        let zeros = u32::try_from((self.point - length(&self.digits)).max(0)).ok()?;
        let digits = if self.digits.is_empty() { "0" } else { &self.digits };
        let unscaled = digits
            .parse::<i128>()
            .ok()?
            .checked_mul(10_i128.checked_pow(zeros)?)?;
        Some((if self.negative { -unscaled } else { unscaled }, behind))
    }

    /// The number as a whole one of 64 bits, if it is one.
    pub fn int64(&self) -> Option<i64> {
        i64::try_from(self.decimal(19, 0)?.0).ok()
    }

    /// The nearest double.
    pub fn double(&self) -> Option<f64> {
        self.to_string().parse().ok()
    }

    fn magnitude(&self, other: &Number) -> Ordering {
        match (self.digits.is_empty(), other.digits.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => (self.point, &self.digits).cmp(&(other.point, &other.digits)),
        }
    }
}

fn exponent_of(text: &str) -> Result<i16, NotANumber> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(NotANumber);
    }
    text.parse().map_err(|_| NotANumber)
}

fn length(text: &str) -> i64 {
    i64::try_from(text.len()).unwrap_or(i64::MAX)
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Number) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Number) -> Ordering {
        match (self.negative, other.negative) {
            (false, false) => self.magnitude(other),
            (true, true) => other.magnitude(self),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }
}

/// The number's one text, which is also a JSON number: without an exponent where that takes few zeros.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.digits.is_empty() {
            return f.write_str("0");
        }
        if self.negative {
            f.write_str("-")?;
        }
        let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or(0));
        let count = length(&self.digits);
        if self.point > WHOLE || self.point < -ZEROS {
            let (first, rest) = self.digits.split_at(1);
            let point = if rest.is_empty() { "" } else { "." };
            write!(f, "{first}{point}{rest}e{}", self.point - 1)
        } else if self.point <= 0 {
            write!(f, "0.{}{}", zeros(-self.point), self.digits)
        } else if self.point >= count {
            write!(f, "{}{}", self.digits, zeros(self.point - count))
        } else {
            let (whole, fraction) = self.digits.split_at(usize::try_from(self.point).unwrap_or(0));
            write!(f, "{whole}.{fraction}")
        }
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canonical(text: &str) -> String {
        Number::parse(text).unwrap().to_string()
    }

    #[test]
    fn one_number_has_one_text() {
        for (texts, expected) in [
            (&["1", "1.0", "1E0", "+1", "0.1e1", "10e-1", "001"][..], "1"),
            (&["0", "-0", "0.000", "0E125", "-0e-130"], "0"),
            (&["-1.50", "-15e-1", "-0.0150E2"], "-1.5"),
            (&["100", "1e2", "1E+2", "0.1E3"], "100"),
            (&["0.001", "1E-3", "10e-4"], "0.001"),
            (&["1E125", "10E124"], "1e125"),
            (&["-9.99E+125"], "-9.99e125"),
            (&["1E-130"], "1e-130"),
            (
                &["12345678901234567890123456789012345678"],
                "12345678901234567890123456789012345678",
            ),
            (
                &["0.12345678901234567890123456789012345678"],
                "0.12345678901234567890123456789012345678",
            ),
            (
                &["1.2345678901234567890123456789012345678E-100"],
                "1.2345678901234567890123456789012345678e-100",
            ),
        ] {
            for text in texts {
                assert_eq!(canonical(text), expected, "{text}");
            }
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in [
            "", "-", "+", ".", "e1", "1e", "1e+", "--1", "1..2", "1.2.3", "NaN", "Infinity", "1_0", " 1",
            "0x1", "١", "1e99999", "1e+-1",
        ] {
            assert_eq!(Number::parse(text), Err(NotANumber), "{text}");
        }
        assert!(Number::parse(&"1".repeat(5000)).is_err());
    }

    /// Digits, and the power of ten of the last one.
    fn scaled(digits: u128, exponent: i32, negative: bool) -> Number {
        let sign = if negative { "-" } else { "" };
        Number::parse(&format!("{sign}{digits}e{exponent}")).unwrap()
    }

    proptest! {
        #[test]
        fn texts_are_injective_and_json(
            (a, b) in ((0u128..10u128.pow(38), -130i32..88, any::<bool>()), (0u128..1000, -130i32..88, any::<bool>())),
        ) {
            let (a, b) = (scaled(a.0, a.1, a.2), scaled(b.0, b.1, b.2));
            prop_assert_eq!(a == b, a.to_string() == b.to_string());
            for number in [&a, &b] {
                let text = number.to_string();
                prop_assert_eq!(&Number::parse(&text).unwrap(), number);
                prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
            }
        }

        #[test]
        fn order_is_that_of_the_values(a in -10i64.pow(15)..10i64.pow(15), b in -10i64.pow(15)..10i64.pow(15), power in 0u32..3) {
            let b = if power == 0 { b } else { a / 10i64.pow(power) };
            let number = |value: i64| Number::parse(&value.to_string()).unwrap();
            prop_assert_eq!(number(a).cmp(&number(b)), a.cmp(&b));
            prop_assert_eq!(scaled(a.unsigned_abs().into(), -20, a < 0).cmp(&scaled(b.unsigned_abs().into(), -20, b < 0)), a.cmp(&b));
        }

        #[test]
        fn hostile_text_never_panics(text in "[-+0-9.eE a-cé]{0,60}") {
            if let Ok(number) = Number::parse(&text) {
                prop_assert_eq!(Number::parse(&number.to_string()), Ok(number));
            }
        }
    }
}
