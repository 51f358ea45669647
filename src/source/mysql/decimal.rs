//! MySQL's binary DECIMAL: base 10⁹ words, the outer words shortened, sign in the first bit and all bits
//! inverted below zero, so that the bytes sort like the numbers
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/decimal_8h.html>, `decimal2bin`).

use super::cursor::be_uint;

/// Bytes of a group of 0…9 digits.
const GROUP_BYTES: [u8; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];
const GROUP_DIGITS: u8 = 9;
/// Digits that any `i128` can hold.
pub(crate) const I128_DIGITS: u8 = 38;

fn group_bytes(digits: u8) -> u8 {
    GROUP_BYTES.get(usize::from(digits)).copied().unwrap_or(0)
}

/// Bytes of a DECIMAL(precision, scale); at most 30.
pub(crate) fn width(precision: u8, scale: u8) -> u8 {
    let side = |digits: u8| digits / GROUP_DIGITS * 4 + group_bytes(digits % GROUP_DIGITS);
    side(precision.saturating_sub(scale)) + side(scale)
}

/// The groups of digits from left to right: (digits, bytes).
fn groups(precision: u8, scale: u8) -> impl Iterator<Item = (u8, u8)> {
    let integer = precision.saturating_sub(scale);
    let full = |digits: u8| std::iter::repeat_n(GROUP_DIGITS, usize::from(digits / GROUP_DIGITS));
    std::iter::once(integer % GROUP_DIGITS)
        .chain(full(integer))
        .chain(full(scale))
        .chain(std::iter::once(scale % GROUP_DIGITS))
        .filter(|digits| *digits > 0)
        .map(|digits| (digits, group_bytes(digits)))
}

/// Bytes of the longest decimal, one of 81 digits; columns have 65 at most.
const MAX_BYTES: usize = 40;

/// The bytes as they would be above zero, and whether the number is below.
fn unmask(bytes: &[u8]) -> Option<([u8; MAX_BYTES], bool)> {
    let mut plain = [0; MAX_BYTES];
    plain.get_mut(..bytes.len())?.copy_from_slice(bytes);
    let negative = bytes.first()? & 0x80 == 0;
    for byte in plain.iter_mut().take(bytes.len()) {
        *byte ^= if negative { 0xff } else { 0 };
    }
    *plain.first_mut()? ^= 0x80;
    Some((plain, negative))
}

/// The digits without the point. `None`: not a number of at most 38 digits.
pub(crate) fn unscaled(bytes: &[u8], precision: u8, scale: u8) -> Option<i128> {
    let (plain, negative) = unmask(bytes)?;
    let mut rest = &plain[..];
    let mut number: i128 = 0;
    for (digits, width) in groups(precision, scale) {
        let (group, after) = rest.split_at_checked(usize::from(width))?;
        rest = after;
        let power = 10_u64.pow(u32::from(digits));
        let value = be_uint(group);
        if value >= power {
            return None;
        }
        number = number
            .checked_mul(i128::from(power))?
            .checked_add(i128::from(value))?;
    }
    Some(if negative { -number } else { number })
}

/// Appends the number as the server prints it: no leading zeros, one digit before the point at least.
/// `None`: not a number.
pub(crate) fn text(bytes: &[u8], precision: u8, scale: u8, out: &mut String) -> Option<()> {
    let (plain, negative) = unmask(bytes)?;
    let mut rest = &plain[..];
    let mut whole_left = precision.saturating_sub(scale);
    let (mut started, mut point) = (false, false);
    if negative {
        out.push('-');
    }
    for (count, width) in groups(precision, scale) {
        let (group, after) = rest.split_at_checked(usize::from(width))?;
        rest = after;
        let value = be_uint(group);
        if value >= 10_u64.pow(u32::from(count)) {
            return None;
        }
        let is_whole = whole_left > 0;
        whole_left = whole_left.saturating_sub(count);
        if is_whole && !started && value == 0 {
            continue;
        }
        if !is_whole && !point {
            out.push_str(if started { "." } else { "0." });
            point = true;
        }
        let mut buffer = itoa::Buffer::new();
        let shown = buffer.format(value);
        if started || !is_whole {
            out.extend(std::iter::repeat_n(
                '0',
                usize::from(count).saturating_sub(shown.len()),
            ));
        }
        started = true;
        out.push_str(shown);
    }
    if !started {
        out.push('0');
    }
    Some(())
}

/// The unscaled number of decimal text with at most `scale` digits after the point. `None`: it is no
/// decimal number, or none of at most 38 digits.
pub(crate) fn unscaled_text(text: &str, scale: u8) -> Option<i128> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let missing = usize::from(scale).checked_sub(fraction.len())?;
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut number: i128 = 0;
    let zeros = std::iter::repeat_n(b'0', missing);
    for digit in whole.bytes().chain(fraction.bytes()).chain(zeros) {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
    }
    Some(if negative { -number } else { number })
}

/// Appends decimal text without the leading zeros that ZEROFILL adds. `None`: it is no decimal number.
pub(crate) fn normal_text(text: &str, out: &mut String) -> Option<()> {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (whole, fraction) = digits
        .split_once('.')
        .map_or((digits, None), |(a, b)| (a, Some(b)));
    let numeric = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !numeric(whole) || !fraction.is_none_or(numeric) {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    out.push_str(sign);
    out.push_str(if whole.is_empty() { "0" } else { whole });
    if let Some(fraction) = fraction {
        out.push('.');
        out.push_str(fraction);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `decimal2bin`, written the other way round: from a digit string.
    fn encode(digits: &str, negative: bool, precision: u8, scale: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = digits;
        for (count, width) in groups(precision, scale) {
            let (group, after) = rest.split_at(usize::from(count));
            rest = after;
            let value: u32 = group.parse().unwrap();
            bytes.extend(&value.to_be_bytes()[4 - usize::from(width)..]);
        }
        bytes[0] ^= 0x80;
        if negative {
            for byte in &mut bytes {
                *byte ^= 0xff;
            }
        }
        bytes
    }

    fn columns() -> impl Strategy<Value = (u8, u8, String, bool)> {
        (1u8..=65)
            .prop_flat_map(|precision| (Just(precision), 0..=precision.min(30)))
            .prop_flat_map(|(precision, scale)| {
                let digit = (b'0'..=b'9').prop_map(char::from);
                let digits = proptest::collection::vec(digit, usize::from(precision));
                (
                    Just(precision),
                    Just(scale),
                    digits.prop_map(String::from_iter),
                    any::<bool>(),
                )
            })
    }

    proptest! {
        #[test]
        fn digits_come_back((precision, scale, digits, negative) in columns()) {
            let bytes = encode(&digits, negative, precision, scale);
            prop_assert_eq!(bytes.len(), usize::from(width(precision, scale)));
            let mut shown = String::new();
            text(&bytes, precision, scale, &mut shown).unwrap();
            let (whole, fraction) = digits.split_at(usize::from(precision - scale));
            let point = if scale > 0 { "." } else { "" };
            let sign = if negative { "-" } else { "" };
            let mut expected = String::new();
            normal_text(&format!("{sign}{whole}{point}{fraction}"), &mut expected).unwrap();
            prop_assert_eq!(&shown, &expected);
            if precision <= I128_DIGITS {
                let number = unscaled(&bytes, precision, scale);
                prop_assert_eq!(number, Some(format!("{sign}{digits}").parse::<i128>().unwrap()));
                prop_assert_eq!(number, unscaled_text(&shown, scale));
            }
        }

        #[test]
        fn any_bytes_give_a_number_or_nothing(bytes: Vec<u8>, precision in 0u8..=70, scale in 0u8..=40) {
            let mut shown = String::new();
            if text(&bytes, precision, scale, &mut shown).is_some() && precision <= I128_DIGITS {
                prop_assert_eq!(unscaled(&bytes, precision, scale), unscaled_text(&shown, scale));
            }
        }
    }

    #[test]
    fn text_that_is_no_number() {
        for bad in ["", "-", ".", "1e5", "1.2.3", "+1"] {
            assert_eq!(unscaled_text(bad, 3), None, "{bad}");
        }
        assert_eq!(unscaled_text("1.2345", 3), None, "more digits than the scale");
        assert_eq!(unscaled_text("-0012.5", 3), Some(-12_500));
    }
}
