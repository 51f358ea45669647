//! Dates and times as the log stores them. The forms with a fraction (`TIME2`, `DATETIME2`, `TIMESTAMP2`,
//! since MySQL 5.6) are big-endian, biased so that bytes sort like values, the fraction in the fewest
//! bytes; the older forms are little-endian
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/my__time_8h.html>).

use super::cursor::{be_uint, le_uint};
use crate::event::{CivilDate, CivilDateTime};

pub(crate) const MICROS: i64 = 1_000_000;
const SECONDS_A_DAY: i64 = 86_400;

/// Bytes of a fraction with so many digits.
pub(crate) fn fraction_bytes(digits: u8) -> u8 {
    digits.div_ceil(2)
}

/// What one unit of a fraction of so many bytes is, in microseconds.
fn fraction_unit(bytes: usize) -> u32 {
    match bytes {
        1 => 10_000,
        2 => 100,
        _ => 1,
    }
}

/// A number that fits its type by construction of the masks around it.
fn narrow<T: TryFrom<u64> + Default>(number: u64) -> T {
    T::try_from(number).unwrap_or_default()
}

/// DATE: day in 5 bits, month in 4, year above.
pub(crate) fn date(bytes: [u8; 3]) -> CivilDate {
    let number = le_uint(&bytes);
    CivilDate {
        year: narrow(number >> 9),
        month: narrow((number >> 5) & 15),
        day: narrow(number & 31),
    }
}

/// The whole part of a packed datetime: `((year · 13 + month) << 5 | day) << 17 | hour << 12 | minute << 6 | second`.
fn civil(whole: u64, micros: u32) -> Option<CivilDateTime> {
    let months = whole >> 22;
    let year = u16::try_from(months / 13).ok().filter(|year| *year <= 9999)?;
    Some(CivilDateTime {
        date: CivilDate {
            year,
            month: narrow(months % 13),
            day: narrow((whole >> 17) & 31),
        },
        hour: narrow((whole >> 12) & 31),
        minute: narrow((whole >> 6) & 63),
        second: narrow(whole & 63),
        micros,
    })
}

/// DATETIME2 of 5 bytes and a fraction. `None`: not a date.
pub(crate) fn datetime2(bytes: &[u8]) -> Option<CivilDateTime> {
    let (whole, fraction) = bytes.split_at_checked(5)?;
    let whole = be_uint(whole).checked_sub(0x80_0000_0000)?;
    let micros = narrow::<u32>(be_uint(fraction)).checked_mul(fraction_unit(fraction.len()))?;
    civil(whole, micros)
}

/// DATETIME before 5.6: the decimal number YYYYMMDDhhmmss.
pub(crate) fn old_datetime(bytes: [u8; 8]) -> Option<CivilDateTime> {
    let number = u64::from_le_bytes(bytes);
    let (day, time) = (number / 1_000_000, number % 1_000_000);
    Some(CivilDateTime {
        date: CivilDate {
            year: u16::try_from(day / 10_000).ok().filter(|year| *year <= 9999)?,
            month: narrow(day / 100 % 100),
            day: narrow(day % 100),
        },
        hour: narrow(time / 10_000),
        minute: narrow(time / 100 % 100),
        second: narrow(time % 100),
        micros: 0,
    })
}

/// TIMESTAMP2 of 4 bytes of unsigned seconds (MariaDB 11.5 uses all 32 bits) and a fraction, as
/// microseconds since 1970. `None`: the zero timestamp.
pub(crate) fn timestamp2(bytes: &[u8]) -> Option<i64> {
    let (seconds, fraction) = bytes.split_at_checked(4)?;
    let (seconds, fraction_units) = (narrow::<i64>(be_uint(seconds)), narrow::<i64>(be_uint(fraction)));
    let micros = seconds * MICROS + fraction_units * i64::from(fraction_unit(fraction.len()));
    (micros != 0).then_some(micros)
}

/// TIME2 of 3 bytes and a fraction, as signed microseconds. Below zero the whole is the two's complement
/// of both parts together.
pub(crate) fn time2(bytes: &[u8]) -> Option<i64> {
    let bits = u32::try_from(bytes.len()).ok()?.checked_mul(8)?;
    let bias = 1_i64.checked_shl(bits.checked_sub(1)?)?;
    let packed = i64::try_from(be_uint(bytes)).ok()?.checked_sub(bias)?;
    let fraction_len = bytes.len().checked_sub(3)?;
    let fraction_bits = u32::try_from(fraction_len).ok()? * 8;
    let magnitude = packed.unsigned_abs();
    let fraction = magnitude & ((1 << fraction_bits) - 1);
    let whole = magnitude >> fraction_bits;
    let (minutes, seconds) = ((whole >> 6) & 63, whole & 63);
    let fraction = narrow::<i64>(fraction).checked_mul(i64::from(fraction_unit(fraction_len)))?;
    if minutes > 59 || seconds > 59 || fraction >= MICROS {
        return None;
    }
    let micros = clock_seconds((whole >> 12) & 0x3ff, minutes, seconds) * MICROS + fraction;
    Some(if packed < 0 { -micros } else { micros })
}

fn clock_seconds(hours: u64, minutes: u64, seconds: u64) -> i64 {
    narrow(hours * 3600 + minutes * 60 + seconds)
}

/// TIME before 5.6: the signed decimal number hhmmss.
pub(crate) fn old_time(bytes: [u8; 3]) -> i64 {
    let [a, b, c] = bytes;
    // The sign is in the highest of three bytes: shifted up and back it spreads.
    let number = i32::from_le_bytes([0, a, b, c]) >> 8;
    let magnitude = u64::from(number.unsigned_abs());
    let seconds = clock_seconds(magnitude / 10_000, magnitude / 100 % 100, magnitude % 100);
    seconds * MICROS * i64::from(number.signum())
}

/// An instant from a civil time in UTC, microseconds since 1970. `None`: there is no such day.
pub(crate) fn instant(civil: CivilDateTime) -> Option<i64> {
    let seconds = i64::from(civil.hour) * 3600 + i64::from(civil.minute) * 60 + i64::from(civil.second);
    let days = i64::from(civil.date.days()?);
    Some((days * SECONDS_A_DAY + seconds) * MICROS + i64::from(civil.micros))
}

/// A temporal value inside a JSON document: the packed whole in the upper 40 bits, microseconds in the
/// lower 24 (`my_time_packed`).
pub(crate) fn packed_datetime(packed: i64) -> Option<CivilDateTime> {
    let packed = u64::try_from(packed).ok()?;
    civil(packed >> 24, narrow(packed & 0xff_ffff))
}

/// A TIME inside a JSON document, as signed microseconds.
pub(crate) fn packed_time(packed: i64) -> i64 {
    let magnitude = packed.unsigned_abs();
    let whole = magnitude >> 24;
    let seconds = clock_seconds((whole >> 12) & 0x3ff, (whole >> 6) & 63, whole & 63);
    let micros = seconds * MICROS + narrow::<i64>(magnitude & 0xff_ffff);
    if packed < 0 { -micros } else { micros }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_below_zero_with_every_fraction() {
        // Bytes as MySQL writes them: the bias less the magnitude.
        let micros = |h: i64, m: i64, s: i64, f: i64| -(((h * 60 + m) * 60 + s) * MICROS + f);
        for (digits, fraction) in [(0u8, 0i64), (2, 780_000), (4, 789_900), (6, 789_912)] {
            let width = 3 + usize::from(fraction_bytes(digits));
            let unit = i64::from(fraction_unit(width - 3));
            let whole = (12i64 << 12) | (34 << 6) | 56;
            let shift = 8 * (width - 3);
            let magnitude = if digits == 0 {
                whole
            } else {
                (whole << shift) | (fraction / unit)
            };
            let packed = (1i64 << (8 * width - 1)) - magnitude;
            let bytes = packed.to_be_bytes();
            assert_eq!(
                time2(&bytes[8 - width..]),
                Some(micros(12, 34, 56, fraction)),
                "{digits}"
            );
        }
    }

    #[test]
    fn the_smallest_negative_fraction() {
        // '-00:00:00.01' as TIME(2) is 7FFFFFFF, so the bias 80000000 less one.
        assert_eq!(time2(&[0x7f, 0xff, 0xff, 0xff]), Some(-10_000));
        assert_eq!(time2(&[0x80, 0, 0]), Some(0));
    }

    #[test]
    fn old_forms() {
        assert_eq!(old_time([0x40, 0xe2, 0x01]), (12 * 3600 + 34 * 60 + 56) * MICROS);
        let negative = (-123_456i32).to_le_bytes();
        assert_eq!(
            old_time([negative[0], negative[1], negative[2]]),
            -(12 * 3600 + 34 * 60 + 56) * MICROS
        );
        let civil = old_datetime(20_201_231_235_958u64.to_le_bytes()).unwrap();
        assert_eq!(
            (civil.date.year, civil.date.month, civil.date.day),
            (2020, 12, 31)
        );
        assert_eq!((civil.hour, civil.minute, civil.second), (23, 59, 58));
        assert_eq!(old_datetime(u64::MAX.to_le_bytes()), None);
    }

    #[test]
    fn seconds_beyond_2038_are_unsigned() {
        assert_eq!(
            timestamp2(&[0xff, 0xff, 0xff, 0xff]),
            Some(4_294_967_295 * MICROS)
        );
        assert_eq!(timestamp2(&[0, 0, 0, 0, 0, 0]), None);
        assert_eq!(timestamp2(&[0, 0, 0, 1, 0x27, 0x0f]), Some(MICROS + 999_900));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_value_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..9), packed: i64) {
            let limit = 1024 * 3600 * MICROS;
            prop_assert!(time2(&bytes).is_none_or(|micros| micros.abs() < limit));
            prop_assert!(datetime2(&bytes).is_none_or(|civil| civil.date.year <= 9999));
            prop_assert!(timestamp2(&bytes).is_none_or(|micros| micros > 0));
            prop_assert!(packed_datetime(packed).is_none_or(|civil| civil.date.month <= 12));
            prop_assert!(packed_time(packed).signum() * packed.signum() >= 0);
        }
    }
}
