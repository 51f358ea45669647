//! NUMERIC and BIGNUMERIC on the wire: the value times 10⁹ or 10³⁸ as a two's complement integer,
//! little-endian, as few bytes as hold it
//! (<https://cloud.google.com/bigquery/docs/supported-data-types>, type NUMERIC as `bytes`).

/// Fraction digits of NUMERIC.
const NUMERIC_SCALE: u32 = 9;

/// Fraction digits of BIGNUMERIC.
const BIGNUMERIC_SCALE: u32 = 38;

/// NUMERIC holds 29 integer and 9 fraction digits: below 10³⁸ once scaled.
const NUMERIC_LIMIT: u128 = 10u128.pow(38);

/// A wire form of at most 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wire {
    bytes: [u8; 32],
    len: usize,
}

impl Wire {
    /// The bytes.
    pub(super) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }
}

/// `unscaled / 10^scale` as NUMERIC; `None` if it has more digits than the type.
pub(super) fn numeric(unscaled: i128, scale: u8) -> Option<Wire> {
    let power = NUMERIC_SCALE.checked_sub(u32::from(scale))?;
    let scaled = unscaled.checked_mul(10i128.checked_pow(power)?)?;
    if scaled.unsigned_abs() >= NUMERIC_LIMIT {
        return None;
    }
    let bits = 128 - if scaled < 0 { !scaled } else { scaled }.leading_zeros();
    let mut bytes = [0; 32];
    for (to, from) in bytes.iter_mut().zip(scaled.to_le_bytes()) {
        *to = from;
    }
    Some(Wire {
        bytes,
        len: signed_len(bits),
    })
}

/// `unscaled / 10^scale` as BIGNUMERIC; `None` if it has more digits than the type.
pub(super) fn bignumeric(unscaled: i128, scale: u8) -> Option<Wire> {
    let mut magnitude = Magnitude::from(unscaled.unsigned_abs());
    magnitude.scale_up(BIGNUMERIC_SCALE.checked_sub(u32::from(scale))?)?;
    magnitude.signed(unscaled < 0)
}

/// `-?digits(.digits)?` as BIGNUMERIC; `None` if it is no such text or has more digits than the type.
pub(super) fn bignumeric_from_text(text: &str) -> Option<Wire> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() {
        return None;
    }
    let mut magnitude = Magnitude::default();
    for digit in whole.bytes().chain(fraction.bytes()) {
        if !digit.is_ascii_digit() {
            return None;
        }
        magnitude.multiply_add(10, u64::from(digit - b'0'))?;
    }
    let scale = u32::try_from(fraction.len()).ok()?;
    magnitude.scale_up(BIGNUMERIC_SCALE.checked_sub(scale)?)?;
    magnitude.signed(negative)
}

/// Bytes of a two's complement integer whose magnitude part has `bits` bits: one more for the sign.
fn signed_len(bits: u32) -> usize {
    usize::try_from(bits / 8 + 1).unwrap_or(32)
}

/// An unsigned integer of 256 bits, lowest limb first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Magnitude([u64; 4]);

impl From<u128> for Magnitude {
    fn from(value: u128) -> Magnitude {
        let (low, high) = halves(value);
        Magnitude([low, high, 0, 0])
    }
}

impl Magnitude {
    /// `self * factor + addend`, or `None` if that needs more than 256 bits.
    fn multiply_add(&mut self, factor: u64, addend: u64) -> Option<()> {
        let mut carry = addend;
        for limb in &mut self.0 {
            let product = u128::from(*limb) * u128::from(factor) + u128::from(carry);
            (*limb, carry) = halves(product);
        }
        (carry == 0).then_some(())
    }

    /// `self * 10^power`.
    fn scale_up(&mut self, mut power: u32) -> Option<()> {
        /// The highest power of ten that a limb holds.
        const STEP: u32 = 19;
        while power > 0 {
            let step = power.min(STEP);
            self.multiply_add(10u64.pow(step), 0)?;
            power -= step;
        }
        Some(())
    }

    fn bits(&self) -> u32 {
        let mut below = 256;
        for limb in self.0.iter().rev() {
            below -= 64;
            if *limb != 0 {
                return below + 64 - limb.leading_zeros();
            }
        }
        0
    }

    /// The two's complement of the number with this sign; `None` if it needs more than 32 bytes.
    fn signed(mut self, negative: bool) -> Option<Wire> {
        let mut bits = self.bits();
        if negative && bits > 0 {
            // -m is the complement of m - 1, which decides how many bits there are.
            let mut borrow = true;
            for limb in &mut self.0 {
                (*limb, borrow) = limb.overflowing_sub(u64::from(borrow));
            }
            bits = self.bits();
            for limb in &mut self.0 {
                *limb = !*limb;
            }
        }
        if bits > 255 {
            return None;
        }
        let mut bytes = [0; 32];
        for (chunk, limb) in bytes.chunks_exact_mut(8).zip(self.0) {
            chunk.copy_from_slice(&limb.to_le_bytes());
        }
        Some(Wire {
            bytes,
            len: signed_len(bits),
        })
    }
}

/// Low and high 64 bits.
fn halves(value: u128) -> (u64, u64) {
    let low = value & u128::from(u64::MAX);
    // Both fit by construction.
    (
        u64::try_from(low).unwrap_or(u64::MAX),
        u64::try_from(value >> 64).unwrap_or(u64::MAX),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a little-endian two's complement integer, written independently of the encoder.
    fn read(bytes: &[u8]) -> i128 {
        let negative = bytes.last().unwrap() & 0x80 != 0;
        let mut full = [if negative { 0xFF } else { 0 }; 16];
        full[..bytes.len()].copy_from_slice(bytes);
        i128::from_le_bytes(full)
    }

    fn minimal(bytes: &[u8]) -> bool {
        match bytes {
            [.., below, 0x00] => below & 0x80 != 0,
            [.., below, 0xFF] => below & 0x80 == 0,
            _ => true,
        }
    }

    /// Decimal text of a little-endian two's complement integer of any length, by schoolbook division.
    fn text(bytes: &[u8]) -> String {
        let negative = bytes.last().unwrap() & 0x80 != 0;
        let mut magnitude: Vec<u8> = bytes.to_vec();
        if negative {
            let mut carry = 1u16;
            for byte in &mut magnitude {
                let sum = u16::from(!*byte) + carry;
                *byte = u8::try_from(sum & 0xFF).unwrap();
                carry = sum >> 8;
            }
        }
        let mut digits = String::new();
        while magnitude.iter().any(|byte| *byte != 0) {
            let mut rest = 0u16;
            for byte in magnitude.iter_mut().rev() {
                let value = rest * 256 + u16::from(*byte);
                *byte = u8::try_from(value / 10).unwrap();
                rest = value % 10;
            }
            digits.insert(0, char::from(b'0' + u8::try_from(rest).unwrap()));
        }
        if digits.is_empty() {
            return "0".to_owned();
        }
        format!("{}{digits}", if negative { "-" } else { "" })
    }

    #[test]
    fn known_numerics() {
        let cases: [(i128, &[u8]); 6] = [
            (0, &[0]),
            (1, &[0x00, 0xCA, 0x9A, 0x3B]),
            (-1, &[0x00, 0x36, 0x65, 0xC4]),
            (
                18_446_744_073_709_551_615,
                &[
                    0x00, 0x36, 0x65, 0xC4, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xC9, 0x9A, 0x3B,
                ],
            ),
            (3, &[0x00, 0x5E, 0xD0, 0xB2, 0x00]),
            (-3, &[0x00, 0xA2, 0x2F, 0x4D, 0xFF]),
        ];
        for (value, expected) in cases {
            assert_eq!(numeric(value, 0).unwrap().as_slice(), expected, "{value}");
        }
    }

    #[test]
    fn numerics_past_the_type_are_none() {
        assert!(numeric(10i128.pow(29), 0).is_none());
        assert!(numeric(-(10i128.pow(29)), 0).is_none());
        assert!(numeric(10i128.pow(29) - 1, 0).is_some());
        assert!(numeric(1, 10).is_none());
        assert!(bignumeric(1, 39).is_none());
        assert!(bignumeric_from_text("578960446186580977117854925043439539267").is_none());
        for text in ["", "-", ".5", "1e5", "1.2.3", "+1"] {
            assert!(bignumeric_from_text(text).is_none(), "{text}");
        }
    }

    /// ±2²⁵⁵ units of 10⁻³⁸ and their neighbours
    /// (<https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#bignumeric_type>).
    #[test]
    fn the_ends_of_bignumeric_are_those_of_256_bits() {
        let number = |last: u32| {
            format!("578960446186580977117854925043439539266.3499233282028201972879200395656481996{last}")
        };
        let mut most = [0xFF; 32];
        most[31] = 0x7F;
        let mut least = [0; 32];
        least[31] = 0x80;
        let read = |text: String| bignumeric_from_text(&text);
        assert_eq!(read(number(7)).unwrap().as_slice(), most);
        assert_eq!(read(number(8)), None);
        assert_eq!(read(format!("-{}", number(8))).unwrap().as_slice(), least);
        assert_eq!(read(format!("-{}", number(9))), None);
        assert_eq!(read("-0.00".to_owned()).unwrap().as_slice(), [0]);
        assert_eq!(read(format!("0.{}1", "0".repeat(37))).unwrap().as_slice(), [1]);
        assert_eq!(read(format!("0.{}", "0".repeat(39))), None);
    }

    #[test]
    fn the_ends_of_numeric_are_29_and_9_nines() {
        let limit = 10i128.pow(38);
        for value in [limit - 1, 1 - limit] {
            let wire = numeric(value, 9).unwrap();
            assert_eq!(read(wire.as_slice()), value);
            assert_eq!(wire.as_slice().len(), 16);
        }
        assert_eq!(numeric(limit, 9), None);
        assert_eq!(numeric(-limit, 9), None);
        for value in [i128::MIN, i128::MAX] {
            assert_eq!(numeric(value, 0), None);
            assert_eq!(numeric(value, 9), None);
        }
    }

    #[test]
    fn the_widest_mysql_decimal_is_exact() {
        let (whole, fraction) = ("9".repeat(35), "9".repeat(30));
        let wire = bignumeric_from_text(&format!("-{whole}.{fraction}")).unwrap();
        assert_eq!(text(wire.as_slice()), format!("-{whole}{fraction}00000000"));
        assert!(minimal(wire.as_slice()));
    }

    proptest! {
        #[test]
        fn numeric_reads_back(unscaled in -(10i128.pow(38))..10i128.pow(38), scale in 0u8..=9) {
            if let Some(wire) = numeric(unscaled, scale) {
                prop_assert_eq!(read(wire.as_slice()), unscaled * 10i128.pow(9 - u32::from(scale)));
                prop_assert!(minimal(wire.as_slice()));
            } else {
                prop_assert!(unscaled.unsigned_abs() >= 10u128.pow(29 + u32::from(scale)));
            }
        }

        #[test]
        fn bignumeric_reads_back(unscaled in -(10i128.pow(38))..10i128.pow(38), scale in 0u8..=30) {
            let wire = bignumeric(unscaled, scale).unwrap();
            let expected = if unscaled == 0 {
                "0".to_owned()
            } else {
                format!("{unscaled}{}", "0".repeat(38 - usize::from(scale)))
            };
            prop_assert_eq!(text(wire.as_slice()), expected);
            prop_assert!(minimal(wire.as_slice()));
        }

        #[test]
        fn both_ways_to_a_bignumeric_agree(whole in 0i128..10i128.pow(20), fraction in 0i128..10i128.pow(9), negative: bool) {
            let unscaled = (whole * 10i128.pow(9) + fraction) * if negative { -1 } else { 1 };
            let text = format!("{}{whole}.{fraction:09}", if negative { "-" } else { "" });
            prop_assert_eq!(bignumeric_from_text(&text), bignumeric(unscaled, 9));
        }
    }
}
