//! Values whose wire form is text, appended to a buffer that the caller reuses: no allocation a cell.

use crate::event::{CivilDate, CivilDateTime, OrderKey};

/// Microseconds of a second.
const SECOND: u64 = 1_000_000;

/// `unscaled / 10^scale` as `-?digits(.digits)?` with `scale` fraction digits.
pub(super) fn decimal(out: &mut Vec<u8>, unscaled: i128, scale: u8) {
    if unscaled < 0 {
        out.push(b'-');
    }
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(unscaled.unsigned_abs()).as_bytes();
    let scale = usize::from(scale);
    let zeros = (scale + 1).saturating_sub(digits.len());
    let whole = (digits.len() + zeros).saturating_sub(scale);
    let padded = std::iter::repeat_n(b'0', zeros).chain(digits.iter().copied());
    for (index, digit) in padded.enumerate() {
        if index == whole {
            out.push(b'.');
        }
        out.push(digit);
    }
}

/// A decimal text in the one form that equal values share: no leading zeros, no negative zero.
pub(super) fn canonical_decimal(out: &mut Vec<u8>, text: &str) {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.len() != text.len() && digits.bytes().any(|byte| byte.is_ascii_digit() && byte != b'0') {
        out.push(b'-');
    }
    let stripped = digits.trim_start_matches('0');
    if stripped.is_empty() || stripped.starts_with('.') {
        out.push(b'0');
    }
    out.extend_from_slice(stripped.as_bytes());
}

/// A duration as `[-]H:MM:SS[.ffffff]`, hours not wrapped into days.
pub(super) fn time(out: &mut Vec<u8>, micros: i64) {
    if micros < 0 {
        out.push(b'-');
    }
    let micros = micros.unsigned_abs();
    let (seconds, fraction) = (micros / SECOND, micros % SECOND);
    integer(out, seconds / 3600, 1);
    out.push(b':');
    integer(out, seconds / 60 % 60, 2);
    out.push(b':');
    integer(out, seconds % 60, 2);
    if fraction > 0 {
        out.push(b'.');
        integer(out, fraction, 6);
    }
}

/// A duration as INTERVAL in BigQuery's canonical form, `Y-M D [-]H:M:S[.f]`.
pub(super) fn interval(out: &mut Vec<u8>, micros: i64) {
    out.extend_from_slice(b"0-0 0 ");
    time(out, micros);
}

/// A date as `YYYY-MM-DD`, whether there is such a day or not.
pub(super) fn date(out: &mut Vec<u8>, date: CivilDate) {
    integer(out, date.year.into(), 4);
    out.push(b'-');
    integer(out, date.month.into(), 2);
    out.push(b'-');
    integer(out, date.day.into(), 2);
}

/// A civil time as `YYYY-MM-DD HH:MM:SS.ffffff`, whether there is such a day or not.
pub(super) fn date_time(out: &mut Vec<u8>, value: CivilDateTime) {
    date(out, value.date);
    for (part, before) in [(value.hour, b' '), (value.minute, b':'), (value.second, b':')] {
        out.push(before);
        integer(out, part.into(), 2);
    }
    out.push(b'.');
    integer(out, value.micros.into(), 6);
}

/// An instant as `YYYY-MM-DD HH:MM:SS.ffffff UTC`; one outside years 1…9999 as its microseconds.
pub(super) fn timestamp(out: &mut Vec<u8>, micros: i64) {
    const DAY: i64 = 86_400_000_000;
    let day = i32::try_from(micros.div_euclid(DAY)).ok().and_then(day);
    let Some(date) = day else {
        out.extend_from_slice(itoa::Buffer::new().format(micros).as_bytes());
        return;
    };
    let in_day = micros.rem_euclid(DAY).unsigned_abs();
    let seconds = in_day / SECOND;
    let narrow = |part: u64| u8::try_from(part).unwrap_or(0);
    let civil = CivilDateTime {
        date,
        hour: narrow(seconds / 3600),
        minute: narrow(seconds / 60 % 60),
        second: narrow(seconds % 60),
        micros: u32::try_from(in_day % SECOND).unwrap_or(0),
    };
    date_time(out, civil);
    out.extend_from_slice(b" UTC");
}

/// The date of a day counted from 1970-01-01; `None` outside years 1…9999.
fn day(days: i32) -> Option<CivilDate> {
    let first = |year, month| CivilDate { year, month, day: 1 }.days();
    // Never too early, and too late by no more than a few years: a year has 365 or 366 days.
    let late = 1971 + days.div_euclid(if days < 0 { 366 } else { 365 });
    let mut years = (1..=late.clamp(1, 9999))
        .rev()
        .filter_map(|year| u16::try_from(year).ok());
    let year = years.find(|year| first(*year, 1).is_some_and(|first| first <= days))?;
    let month = (1..=12)
        .rev()
        .find(|month| first(year, *month).is_some_and(|first| first <= days))?;
    let day = u8::try_from(days - first(year, month)? + 1).ok()?;
    let date = CivilDate { year, month, day };
    (date.days() == Some(days)).then_some(date)
}

/// A floating-point key: the shortest decimal that reads back, one form for both zeros.
pub(super) fn float(out: &mut Vec<u8>, shortest: &str) {
    let text = match shortest {
        "-0.0" => "0.0",
        other => other,
    };
    out.extend_from_slice(text.as_bytes());
}

/// Bytes as lower-case hexadecimal digits.
pub(super) fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        out.push(hex_digit(byte >> 4, b'a'));
        out.push(hex_digit(byte & 15, b'a'));
    }
}

/// The sections of a sequence number that all rows of a transaction share, each with its `/`.
pub(super) fn order_prefix(out: &mut Vec<u8>, order: OrderKey) {
    let [first, second, third, _] = order.sections();
    for section in [first, second, third] {
        hex_section(out, section);
        out.push(b'/');
    }
}

/// A change's number so that texts sort as the numbers do: sections of sixteen digits. Rows of a snapshot, which
/// share their number, go on with when their read began, in microseconds, and their place in it.
pub(super) fn sortable(out: &mut Vec<u8>, order: OrderKey, read: Option<[u64; 2]>) {
    for (place, section) in order
        .sections()
        .into_iter()
        .chain(read.into_iter().flatten())
        .enumerate()
    {
        if place > 0 {
            out.push(b'/');
        }
        sixteen_digits(out, section);
    }
}

/// What the numbers of all rows of a read begin with, and nothing else does: the number of its end.
pub(super) fn read_mark(out: &mut Vec<u8>, order: OrderKey, began: u64) {
    sortable(out, order, None);
    out.push(b'/');
    sixteen_digits(out, began);
}

fn sixteen_digits(out: &mut Vec<u8>, section: u64) {
    for byte in section.to_be_bytes() {
        out.push(hex_digit(byte >> 4, b'A'));
        out.push(hex_digit(byte & 15, b'A'));
    }
}

/// The last section of a sequence number.
pub(super) fn order_last(out: &mut Vec<u8>, order: OrderKey) {
    let [.., last] = order.sections();
    hex_section(out, last);
}

fn hex_section(out: &mut Vec<u8>, value: u64) {
    let digits = (64 - value.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        let nibble = (value >> (place * 4)) & 15;
        out.push(hex_digit(u8::try_from(nibble).unwrap_or(0), b'A'));
    }
}

fn hex_digit(nibble: u8, ten: u8) -> u8 {
    if nibble < 10 {
        b'0' + nibble
    } else {
        ten + (nibble - 10)
    }
}

/// `value` with at least `width` digits.
fn integer(out: &mut Vec<u8>, value: u64, width: usize) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(value).as_bytes();
    out.extend(std::iter::repeat_n(b'0', width.saturating_sub(digits.len())));
    out.extend_from_slice(digits);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::{BinlogCoord, Epoch, Ordinal, TxnStart};

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn decimals() {
        for (unscaled, scale, expected) in [
            (0, 0, "0"),
            (0, 2, "0.00"),
            (5, 3, "0.005"),
            (-5, 1, "-0.5"),
            (12345, 2, "123.45"),
            (-100, 0, "-100"),
        ] {
            assert_eq!(written(|out| decimal(out, unscaled, scale)), expected);
        }
        for (text, expected) in [
            ("007.10", "7.10"),
            ("-0.00", "0.00"),
            ("-00.01", "-0.01"),
            ("000", "0"),
        ] {
            assert_eq!(written(|out| canonical_decimal(out, text)), expected);
        }
    }

    #[test]
    fn times() {
        for (micros, expected) in [
            (0, "0:00:00"),
            (-1, "-0:00:00.000001"),
            (3_020_399_999_999, "838:59:59.999999"),
            (-3_020_399_000_000, "-838:59:59"),
        ] {
            assert_eq!(written(|out| time(out, micros)), expected);
        }
        assert_eq!(written(|out| interval(out, -60_000_000)), "0-0 0 -0:01:00");
    }

    #[test]
    fn instants() {
        for (micros, expected) in [
            (0, "1970-01-01 00:00:00.000000 UTC"),
            (-1, "1969-12-31 23:59:59.999999 UTC"),
            (951_782_400_000_001, "2000-02-29 00:00:00.000001 UTC"),
            (-62_135_596_800_000_000, "0001-01-01 00:00:00.000000 UTC"),
            (253_402_300_799_999_999, "9999-12-31 23:59:59.999999 UTC"),
            (-62_135_596_800_000_001, "-62135596800000001"),
            (253_402_300_800_000_000, "253402300800000000"),
        ] {
            assert_eq!(written(|out| timestamp(out, micros)), expected);
        }
    }

    #[test]
    fn keys_that_are_equal_in_the_source_are_equal_here() {
        assert_eq!(
            written(|out| float(out, "-0.0")),
            written(|out| float(out, "0.0"))
        );
        assert_eq!(written(|out| hex(out, &[0, 0xAB, 0xFF])), "00abff");
    }

    proptest! {
        #[test]
        fn every_day_has_its_date(days in -719_162..=2_932_896i32) {
            prop_assert_eq!(day(days).and_then(CivilDate::days), Some(days));
        }

        #[test]
        fn sequence_numbers_are_written_as_displayed(epoch: u64, file: u64, offset: u64, ordinal in 0..u64::MAX / 2) {
            let txn = TxnStart { epoch: Epoch(epoch), coord: BinlogCoord { file, offset } };
            let order = OrderKey::upsert(txn, Ordinal(ordinal));
            let text = written(|out| {
                order_prefix(out, order);
                order_last(out, order);
            });
            prop_assert_eq!(text, order.to_string());
        }
    }
}
