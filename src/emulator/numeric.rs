//! NUMERIC and BIGNUMERIC as one exact number: a signed 256-bit integer of units of 10^-38, which holds
//! the whole range of both. Its stored form sorts as the numbers do.

use std::cmp::Ordering;
use std::fmt;

/// Fraction digits of the unit.
const SCALE: usize = 38;
/// Fraction digits of NUMERIC.
pub(crate) const NUMERIC_SCALE: u32 = 9;
/// Fraction digits of BIGNUMERIC.
pub(crate) const BIGNUMERIC_SCALE: u32 = 38;
/// Integer digits of NUMERIC.
pub(crate) const NUMERIC_INTEGER_DIGITS: u32 = 29;
/// Integer digits of a BIGNUMERIC column with declared precision.
pub(crate) const BIGNUMERIC_INTEGER_DIGITS: u32 = 38;

/// Why something is no number that BigQuery can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NumericError {
    #[error("it is no decimal number")]
    Syntax,
    #[error("it is out of range")]
    Range,
}

/// Unsigned 256-bit integer, least significant limb first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Magnitude([u64; 4]);

fn low(value: u128) -> u64 {
    u64::try_from(value & u128::from(u64::MAX)).unwrap_or(u64::MAX)
}

fn high(value: u128) -> u64 {
    low(value >> 64)
}

impl Magnitude {
    /// `self * factor + addend`, or `None` past 256 bits.
    fn mul_add(self, factor: u64, addend: u64) -> Option<Magnitude> {
        let mut out = [0; 4];
        let mut carry = addend;
        for (limb, slot) in self.0.iter().zip(&mut out) {
            let product = u128::from(*limb) * u128::from(factor) + u128::from(carry);
            *slot = low(product);
            carry = high(product);
        }
        (carry == 0).then_some(Magnitude(out))
    }

    /// Quotient and remainder; `divisor` is not zero.
    fn div_rem(self, divisor: u64) -> (Magnitude, u64) {
        let mut out = [0; 4];
        let mut rest = 0;
        for (limb, slot) in self.0.iter().zip(&mut out).rev() {
            let dividend = (u128::from(rest) << 64) | u128::from(*limb);
            let divisor = u128::from(divisor);
            *slot = low(dividend.checked_div(divisor).unwrap_or(0));
            rest = low(dividend.checked_rem(divisor).unwrap_or(0));
        }
        (Magnitude(out), rest)
    }

    fn add(self, other: Magnitude) -> Option<Magnitude> {
        let mut out = [0; 4];
        let mut carry = 0;
        for ((a, b), slot) in self.0.iter().zip(&other.0).zip(&mut out) {
            let sum = u128::from(*a) + u128::from(*b) + u128::from(carry);
            *slot = low(sum);
            carry = high(sum);
        }
        (carry == 0).then_some(Magnitude(out))
    }

    /// `self - other`; the caller knows that it is not negative.
    fn sub(self, other: Magnitude) -> Magnitude {
        let mut out = [0; 4];
        let mut borrow = false;
        for ((a, b), slot) in self.0.iter().zip(&other.0).zip(&mut out) {
            let (first, one) = a.overflowing_sub(*b);
            let (second, two) = first.overflowing_sub(u64::from(borrow));
            *slot = second;
            borrow = one || two;
        }
        Magnitude(out)
    }

    fn compare(&self, other: &Magnitude) -> Ordering {
        self.0.iter().rev().cmp(other.0.iter().rev())
    }

    fn is_zero(&self) -> bool {
        self.0 == [0; 4]
    }

    /// `10^exponent`, which fits for exponents up to 77.
    fn power_of_ten(exponent: u32) -> Option<Magnitude> {
        (0..exponent).try_fold(Magnitude([1, 0, 0, 0]), |power, _| power.mul_add(10, 0))
    }
}

/// A decimal number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decimal {
    negative: bool,
    magnitude: Magnitude,
}

impl Decimal {
    pub(crate) const ZERO: Decimal = Decimal {
        negative: false,
        magnitude: Magnitude([0; 4]),
    };

    fn new(negative: bool, magnitude: Magnitude) -> Result<Decimal, NumericError> {
        let top = magnitude.0.last().copied().unwrap_or(0);
        // BIGNUMERIC's bounds are those of a 256-bit integer.
        let smallest = negative && magnitude.0 == [0, 0, 0, 1 << 63];
        if top >> 63 == 1 && !smallest {
            return Err(NumericError::Range);
        }
        Ok(Decimal {
            negative: negative && !magnitude.is_zero(),
            magnitude,
        })
    }

    /// Reads `[+-]digits[.digits][e[+-]digits]`; digits beyond the 38th of the fraction round half away from zero.
    pub(crate) fn parse(text: &str) -> Result<Decimal, NumericError> {
        let text = text.trim();
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse().map_err(|_| NumericError::Syntax)?),
            None => (text, 0_i64),
        };
        let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits: Vec<u8> = integer.bytes().chain(fraction.bytes()).collect();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Err(NumericError::Syntax);
        }
        let point = i64::try_from(integer.len())
            .unwrap_or(i64::MAX)
            .saturating_add(exponent);
        let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
        if zeros == digits.len() {
            return Ok(Decimal::ZERO);
        }
        Decimal::from_digits(negative, &digits, point, zeros)
    }

    /// The number whose digits have their point before index `point`; the first `zeros` digits are zeros.
    fn from_digits(negative: bool, digits: &[u8], point: i64, zeros: usize) -> Result<Decimal, NumericError> {
        let zeros = i64::try_from(zeros).map_err(|_| NumericError::Range)?;
        if point.saturating_sub(zeros) > 39 {
            return Err(NumericError::Range);
        }
        let Ok(end) = usize::try_from(point.saturating_add(38)) else {
            return Ok(Decimal::ZERO);
        };
        let mut magnitude = Magnitude::default();
        for index in usize::try_from(zeros).unwrap_or(0)..end {
            let digit = digits.get(index).map_or(0, |digit| u64::from(digit - b'0'));
            magnitude = magnitude.mul_add(10, digit).ok_or(NumericError::Range)?;
        }
        if digits.get(end).is_some_and(|digit| *digit >= b'5') {
            magnitude = magnitude.mul_add(1, 1).ok_or(NumericError::Range)?;
        }
        Decimal::new(negative, magnitude)
    }

    /// Reads the little-endian two's complement of the number without its point, `scale` digits after it.
    pub(crate) fn from_little_endian(bytes: &[u8], scale: u32) -> Result<Decimal, NumericError> {
        let negative = bytes.last().ok_or(NumericError::Syntax)? >> 7 == 1;
        let fill = if negative { 0xFF } else { 0 };
        if bytes.iter().skip(32).any(|byte| *byte != fill) {
            return Err(NumericError::Range);
        }
        let mut limbs = [0; 4];
        for (index, limb) in limbs.iter_mut().enumerate() {
            let mut part = [fill; 8];
            for (slot, byte) in part.iter_mut().zip(bytes.iter().skip(index * 8)) {
                *slot = *byte;
            }
            *limb = u64::from_le_bytes(part);
        }
        let mut magnitude = Magnitude(limbs);
        if negative {
            // Two's complement: invert and add one; only the smallest number overflows, and it stays itself.
            let inverted = Magnitude(limbs.map(|limb| !limb));
            magnitude = inverted.mul_add(1, 1).ok_or(NumericError::Range)?;
        }
        for _ in scale..BIGNUMERIC_SCALE {
            magnitude = magnitude.mul_add(10, 0).ok_or(NumericError::Range)?;
        }
        Decimal::new(negative, magnitude)
    }

    /// The exact value of a finite double, rounded to 38 fraction digits.
    pub(crate) fn from_f64(value: f64) -> Result<Decimal, NumericError> {
        if !value.is_finite() {
            return Err(NumericError::Range);
        }
        Decimal::parse(&format!("{value:.40}"))
    }

    /// The nearest number with `scale` fraction digits, half away from zero.
    pub(crate) fn rounded(self, scale: u32) -> Result<Decimal, NumericError> {
        let drop = BIGNUMERIC_SCALE.saturating_sub(scale);
        let mut magnitude = self.magnitude;
        let mut last = 0;
        for _ in 0..drop {
            (magnitude, last) = magnitude.div_rem(10);
        }
        if last >= 5 {
            magnitude = magnitude.mul_add(1, 1).ok_or(NumericError::Range)?;
        }
        for _ in 0..drop {
            magnitude = magnitude.mul_add(10, 0).ok_or(NumericError::Range)?;
        }
        Decimal::new(self.negative, magnitude)
    }

    /// Whether the number has at most `digits` digits before the point.
    pub(crate) fn has_integer_digits(&self, digits: u32) -> bool {
        match Magnitude::power_of_ten(digits.saturating_add(BIGNUMERIC_SCALE)) {
            Some(bound) => self.magnitude.compare(&bound).is_lt(),
            None => true,
        }
    }

    /// The sum.
    pub(crate) fn add(self, other: Decimal) -> Result<Decimal, NumericError> {
        if self.negative == other.negative {
            let sum = self.magnitude.add(other.magnitude).ok_or(NumericError::Range)?;
            return Decimal::new(self.negative, sum);
        }
        if self.magnitude.compare(&other.magnitude).is_lt() {
            Decimal::new(other.negative, other.magnitude.sub(self.magnitude))
        } else {
            Decimal::new(self.negative, self.magnitude.sub(other.magnitude))
        }
    }

    /// The number with its sign turned.
    pub(crate) fn negated(self) -> Decimal {
        Decimal {
            negative: !self.negative && !self.magnitude.is_zero(),
            magnitude: self.magnitude,
        }
    }

    /// The stored form: big-endian two's complement with the sign bit turned, so that bytes sort as numbers.
    pub(crate) fn to_stored(self) -> [u8; 32] {
        let limbs = if self.negative {
            Magnitude::default().sub(self.magnitude).0
        } else {
            self.magnitude.0
        };
        let mut bytes = [0; 32];
        for (chunk, limb) in bytes.chunks_exact_mut(8).zip(limbs.iter().rev()) {
            chunk.copy_from_slice(&limb.to_be_bytes());
        }
        if let Some(first) = bytes.first_mut() {
            *first ^= 0x80;
        }
        bytes
    }

    /// Reads the stored form.
    pub(crate) fn from_stored(bytes: &[u8]) -> Result<Decimal, NumericError> {
        let mut little: Vec<u8> = bytes.iter().rev().copied().collect();
        if little.len() != 32 {
            return Err(NumericError::Syntax);
        }
        if let Some(top) = little.last_mut() {
            *top ^= 0x80;
        }
        Decimal::from_little_endian(&little, BIGNUMERIC_SCALE)
    }

    /// The nearest double.
    pub(crate) fn to_f64(self) -> f64 {
        self.to_string().parse().unwrap_or(f64::NAN)
    }

    /// The nearest integer, half away from zero.
    pub(crate) fn to_i64(self) -> Result<i64, NumericError> {
        let text = self.rounded(0)?.to_string();
        text.parse().map_err(|_| NumericError::Range)
    }
}

impl From<i64> for Decimal {
    fn from(value: i64) -> Decimal {
        Decimal::parse(itoa::Buffer::new().format(value)).unwrap_or(Decimal::ZERO)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = Vec::new();
        let mut rest = self.magnitude;
        while !rest.is_zero() || digits.len() <= SCALE {
            let (next, digit) = rest.div_rem(10);
            digits.push(char::from_digit(u32::try_from(digit).unwrap_or(0), 10).unwrap_or('0'));
            rest = next;
        }
        let fraction: String = digits.iter().take(SCALE).rev().collect();
        let integer: String = digits.iter().skip(SCALE).rev().collect();
        if self.negative {
            f.write_str("-")?;
        }
        f.write_str(&integer)?;
        let fraction = fraction.trim_end_matches('0');
        if !fraction.is_empty() {
            write!(f, ".{fraction}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(input: &str) -> String {
        Decimal::parse(input).map_or_else(|error| error.to_string(), |number| number.to_string())
    }

    #[test]
    fn texts_are_canonical() {
        for (input, output) in [
            ("0", "0"),
            ("-0.0", "0"),
            ("+1.500", "1.5"),
            ("1e3", "1000"),
            ("12e-4", "0.0012"),
            (".5", "0.5"),
            (
                "0.00000000000000000000000000000000000005",
                "0.00000000000000000000000000000000000005",
            ),
            (
                "0.000000000000000000000000000000000000005",
                "0.00000000000000000000000000000000000001",
            ),
            ("1e39", "it is out of range"),
            ("1e999999999999", "it is out of range"),
            ("1e-999999999999", "0"),
            ("", "it is no decimal number"),
            ("1.2.3", "it is no decimal number"),
            ("١", "it is no decimal number"),
        ] {
            assert_eq!(text(input), output, "{input}");
        }
    }

    #[test]
    fn bignumerics_bounds() {
        let most = "578960446186580977117854925043439539266.34992332820282019728792003956564819967";
        assert_eq!(text(most), most);
        let least = "-578960446186580977117854925043439539266.34992332820282019728792003956564819968";
        assert_eq!(text(least), least);
        assert_eq!(
            text("578960446186580977117854925043439539266.34992332820282019728792003956564819968"),
            "it is out of range"
        );
        let stored = Decimal::parse(least).unwrap().to_stored();
        assert_eq!(Decimal::from_stored(&stored).unwrap().to_string(), least);
    }

    #[test]
    fn little_endian_bytes_of_scale_nine() {
        let read =
            |bytes: &[u8]| Decimal::from_little_endian(bytes, NUMERIC_SCALE).map(|number| number.to_string());
        assert_eq!(read(&[0]).unwrap(), "0");
        assert_eq!(read(&[1]).unwrap(), "0.000000001");
        assert_eq!(read(&[0xFF]).unwrap(), "-0.000000001");
        assert_eq!(read(&1_500_000_000_i64.to_le_bytes()).unwrap(), "1.5");
        assert_eq!(read(&[]), Err(NumericError::Syntax));
        assert_eq!(read(&[1; 33]), Err(NumericError::Range));
    }

    #[test]
    fn rounding_is_half_away_from_zero() {
        let rounded = |input: &str, scale| Decimal::parse(input).unwrap().rounded(scale).unwrap().to_string();
        assert_eq!(rounded("1.005", 2), "1.01");
        assert_eq!(rounded("-1.005", 2), "-1.01");
        assert_eq!(rounded("1.00499", 2), "1");
        assert_eq!(rounded("-0.4", 0), "0");
    }

    proptest! {
        #[test]
        fn stored_bytes_sort_as_numbers(a in any::<i128>(), b in any::<i128>()) {
            let number = |value: i128| Decimal::from_little_endian(&value.to_le_bytes(), BIGNUMERIC_SCALE).unwrap();
            let (left, right) = (number(a), number(b));
            prop_assert_eq!(left.to_stored().cmp(&right.to_stored()), a.cmp(&b));
            prop_assert_eq!(Decimal::from_stored(&left.to_stored()).unwrap(), left);
            prop_assert_eq!(Decimal::parse(&left.to_string()).unwrap(), left);
            if let Some(sum) = a.checked_add(b) {
                prop_assert_eq!(left.add(right).unwrap(), number(sum));
            }
        }

        #[test]
        fn hostile_input_never_panics(text in ".{0,60}", bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _parsed = Decimal::parse(&text).is_ok();
            let _read = Decimal::from_little_endian(&bytes, NUMERIC_SCALE).is_ok();
            let _stored = Decimal::from_stored(&bytes).is_ok();
        }
    }
}
