//! Dates, times and intervals: BigQuery's literals, the packed integers of the Storage Write API (the
//! layout of Google's `CivilTimeEncoder`), and the text that the REST API shows. Inside, a date is days
//! since 1970-01-01, a time of day is microseconds since midnight, DATETIME and TIMESTAMP are
//! microseconds since 1970-01-01T00:00:00.

use std::fmt::Write as _;

use crate::event::CivilDate;

/// 0001-01-01.
pub(crate) const FIRST_DAY: i64 = -719_162;
/// 9999-12-31.
pub(crate) const LAST_DAY: i64 = 2_932_896;
/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;
/// 0001-01-01T00:00:00.
pub(crate) const FIRST_MICRO: i64 = FIRST_DAY * DAY;
/// 9999-12-31T23:59:59.999999.
pub(crate) const LAST_MICRO: i64 = (LAST_DAY + 1) * DAY - 1;

fn date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let date = CivilDate {
        year: u16::try_from(year).ok()?,
        month: u8::try_from(month).ok()?,
        day: u8::try_from(day).ok()?,
    };
    date.days().map(i64::from)
}

fn clock(hour: i64, minute: i64, second: i64, micros: i64) -> Option<i64> {
    let fits = (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..60).contains(&second)
        && (0..1_000_000).contains(&micros);
    fits.then(|| ((hour * 60 + minute) * 60 + second) * 1_000_000 + micros)
}

/// `YYYY-MM-DD` of days since 1970-01-01.
pub(crate) fn date_text(days: i64) -> String {
    let (year, month, day) = date(days);
    format!("{year:04}-{month:02}-{day:02}")
}

/// `HH:MM:SS[.ffffff]` of microseconds since midnight.
pub(crate) fn time_text(micros: i64) -> String {
    let (seconds, fraction) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    let mut text = format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    );
    if fraction != 0 {
        let _infallible = write!(text, ".{fraction:06}");
    }
    text
}

/// `YYYY-MM-DDTHH:MM:SS[.ffffff]`.
pub(crate) fn datetime_text(micros: i64) -> String {
    format!(
        "{}T{}",
        date_text(micros.div_euclid(DAY)),
        time_text(micros.rem_euclid(DAY))
    )
}

/// `YYYY-MM-DD HH:MM:SS[.ffffff]+00`, as a cast to STRING shows a TIMESTAMP.
pub(crate) fn timestamp_text(micros: i64) -> String {
    format!(
        "{} {}+00",
        date_text(micros.div_euclid(DAY)),
        time_text(micros.rem_euclid(DAY))
    )
}

/// Seconds with six fraction digits.
pub(crate) fn seconds_text(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let size = micros.unsigned_abs();
    format!("{sign}{}.{:06}", size / 1_000_000, size % 1_000_000)
}

/// A cursor over the digits and marks of a literal.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn digits(&mut self, least: usize, most: usize) -> Option<i64> {
        let count = self
            .0
            .iter()
            .take(most)
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let (digits, rest) = self.0.split_at_checked(count)?;
        if count < least {
            return None;
        }
        self.0 = rest;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    fn mark(&mut self, marks: &[u8]) -> bool {
        match self.0.split_first() {
            Some((first, rest)) if marks.contains(first) => {
                self.0 = rest;
                true
            }
            Some(_) | None => false,
        }
    }

    fn date(&mut self) -> Option<i64> {
        let year = self.digits(4, 4)?;
        let month = self.mark(b"-").then(|| self.digits(1, 2))??;
        let day = self.mark(b"-").then(|| self.digits(1, 2))??;
        days(year, month, day)
    }

    fn time(&mut self) -> Option<i64> {
        let hour = self.digits(1, 2)?;
        let minute = self.mark(b":").then(|| self.digits(1, 2))??;
        let second = self.mark(b":").then(|| self.digits(1, 2))??;
        clock(hour, minute, second, self.fraction()?)
    }

    /// Up to nine digits after a point, of which the first six count.
    fn fraction(&mut self) -> Option<i64> {
        if !self.mark(b".") {
            return Some(0);
        }
        let before = self.0.len();
        let mut value = self.digits(1, 9)?;
        let count = before - self.0.len();
        for _ in count..6 {
            value *= 10;
        }
        for _ in 6..count {
            value /= 10;
        }
        Some(value)
    }

    /// Nothing, `Z`, ` UTC` or `±HH[:MM]`: microseconds to subtract.
    fn zone(&mut self) -> Option<i64> {
        if self.mark(b"Zz") || self.0.is_empty() {
            return Some(0);
        }
        if self.0 == b" UTC" {
            self.0 = &[];
            return Some(0);
        }
        let west = self.0.first() == Some(&b'-');
        if !self.mark(b"+-") {
            return None;
        }
        let hours = self.digits(1, 2)?;
        let minutes = if self.mark(b":") { self.digits(2, 2)? } else { 0 };
        let offset = clock(hours, minutes, 0, 0)?;
        Some(if west { -offset } else { offset })
    }

    fn end<T>(&self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}

/// Reads a DATE literal.
pub(crate) fn parse_date(text: &str) -> Option<i64> {
    let mut reader = Reader(text.as_bytes());
    let value = reader.date()?;
    reader.end(value)
}

/// Reads a TIME literal.
pub(crate) fn parse_time(text: &str) -> Option<i64> {
    let mut reader = Reader(text.as_bytes());
    let value = reader.time()?;
    reader.end(value)
}

fn date_and_time(reader: &mut Reader<'_>) -> Option<i64> {
    let day = reader.date()? * DAY;
    if reader.mark(b"Tt ") {
        return Some(day + reader.time()?);
    }
    Some(day)
}

/// Reads a DATETIME literal.
pub(crate) fn parse_datetime(text: &str) -> Option<i64> {
    let mut reader = Reader(text.as_bytes());
    let value = date_and_time(&mut reader)?;
    reader.end(value)
}

/// Reads a TIMESTAMP literal; without a zone it is UTC.
pub(crate) fn parse_timestamp(text: &str) -> Option<i64> {
    let mut reader = Reader(text.as_bytes());
    let local = date_and_time(&mut reader)?;
    let value = local - reader.zone()?;
    reader
        .end(value)
        .filter(|micros| (FIRST_MICRO..=LAST_MICRO).contains(micros))
}

fn bits(value: i64, at: u32, width: u32) -> i64 {
    (value >> at) & ((1 << width) - 1)
}

/// Reads a packed TIME: hour, minute, second, microseconds.
pub(crate) fn unpack_time(packed: i64) -> Option<i64> {
    if packed >> 37 != 0 {
        return None;
    }
    clock(
        bits(packed, 32, 5),
        bits(packed, 26, 6),
        bits(packed, 20, 6),
        bits(packed, 0, 20),
    )
}

/// Reads a packed DATETIME: year, month, day, then as TIME.
pub(crate) fn unpack_datetime(packed: i64) -> Option<i64> {
    if packed >> 60 != 0 {
        return None;
    }
    let day = days(bits(packed, 46, 14), bits(packed, 42, 4), bits(packed, 37, 5))?;
    Some(day * DAY + unpack_time(packed & ((1 << 37) - 1))?)
}

/// Reads an INTERVAL literal `[-]Y-M [-]D [-]H:M:S[.f]` (or `[-]H:M:S[.f]` alone) and gives its canonical text.
pub(crate) fn parse_interval(text: &str) -> Option<String> {
    let (months, days, micros) = interval_parts(text)?;
    interval_text(months, days, micros)
}

/// An interval as microseconds, a month as 30 days.
pub(crate) fn interval_micros(text: &str) -> Option<i64> {
    let (months, days, micros) = interval_parts(text)?;
    let days = months.checked_mul(30)?.checked_add(days)?;
    days.checked_mul(DAY)?.checked_add(micros)
}

fn interval_parts(text: &str) -> Option<(i64, i64, i64)> {
    let parts: Vec<&str> = text.split(' ').collect();
    match parts.as_slice() {
        [time] => Some((0, 0, span(time)?)),
        [months, days, time] => Some((year_month(months)?, days.parse().ok()?, span(time)?)),
        _ => None,
    }
}

/// The canonical text of an interval, or `None` outside BigQuery's range.
pub(crate) fn interval_text(months: i64, days: i64, micros: i64) -> Option<String> {
    let fits = months.abs() <= 120_000 && days.abs() <= 3_660_000 && micros.abs() <= 316_224_000_000_000_000;
    if !fits {
        return None;
    }
    let sign = |value: i64| if value < 0 { "-" } else { "" };
    let (size, seconds) = (micros.abs(), micros.abs() / 1_000_000);
    let mut text = format!(
        "{}{}-{} {days} {}{}:{}:{}",
        sign(months),
        months.abs() / 12,
        months.abs() % 12,
        sign(micros),
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    );
    if size % 1_000_000 != 0 {
        let fraction = format!("{:06}", size % 1_000_000);
        let _infallible = write!(text, ".{}", fraction.trim_end_matches('0'));
    }
    Some(text)
}

fn signed(text: &str) -> (i64, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    }
}

fn year_month(text: &str) -> Option<i64> {
    let (sign, text) = signed(text);
    let mut reader = Reader(text.as_bytes());
    let years = reader.digits(1, 5)?;
    let months = reader.mark(b"-").then(|| reader.digits(1, 6))??;
    reader.end(sign * (years * 12 + months))
}

fn span(text: &str) -> Option<i64> {
    let (sign, text) = signed(text);
    let mut reader = Reader(text.as_bytes());
    let hours = reader.digits(1, 8)?;
    let minutes = reader.mark(b":").then(|| reader.digits(1, 10))??;
    let seconds = reader.mark(b":").then(|| reader.digits(1, 12))??;
    let fraction = reader.fraction()?;
    let total = (hours * 3600 + minutes * 60)
        .checked_add(seconds)?
        .checked_mul(1_000_000)?;
    reader.end(sign * total.checked_add(fraction)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn literals() {
        assert_eq!(parse_date("1970-01-02"), Some(1));
        assert_eq!(parse_date("2021-02-29"), None);
        assert_eq!(parse_time("1:2:3.5"), Some(3_723_500_000));
        assert_eq!(parse_time("24:00:00"), None);
        assert_eq!(parse_datetime("1970-01-01 00:00:01.123456789"), Some(1_123_456));
        assert_eq!(parse_timestamp("1970-01-01T09:00:00+09:00"), Some(0));
        assert_eq!(parse_timestamp("1969-12-31 23:59:59 UTC"), Some(-1_000_000));
        assert_eq!(parse_timestamp("0001-01-01T00:00:00+01"), None);
        assert_eq!(parse_timestamp("1970-01-01T00:00:00 "), None);
    }

    #[test]
    fn texts() {
        assert_eq!(date_text(FIRST_DAY), "0001-01-01");
        assert_eq!(datetime_text(LAST_MICRO), "9999-12-31T23:59:59.999999");
        assert_eq!(datetime_text(-1), "1969-12-31T23:59:59.999999");
        assert_eq!(seconds_text(-1_500_000), "-1.500000");
    }

    #[test]
    fn packed_forms() {
        let time = (23 << 32) | (59 << 26) | (58 << 20) | 999_999;
        assert_eq!(
            unpack_time(time).map(time_text).as_deref(),
            Some("23:59:58.999999")
        );
        assert_eq!(unpack_time(time | 1 << 40), None);
        assert_eq!(unpack_time((1 << 20) - 1), None);
        assert_eq!(unpack_time(-1), None);
        let datetime = (2024 << 46) | (2 << 42) | (29 << 37) | time;
        let text = unpack_datetime(datetime).map(datetime_text);
        assert_eq!(text.as_deref(), Some("2024-02-29T23:59:58.999999"));
        assert_eq!(unpack_datetime((2023 << 46) | (2 << 42) | (29 << 37)), None);
    }

    #[test]
    fn intervals() {
        for (input, output) in [
            ("0-0 0 838:59:59.000001", Some("0-0 0 838:59:59.000001")),
            ("-838:59:59", Some("0-0 0 -838:59:59")),
            ("1-14 -3 00:90:05.50", Some("2-2 -3 1:30:5.5")),
            ("0-0 0", None),
            ("1 day", None),
        ] {
            assert_eq!(parse_interval(input).as_deref(), output, "{input}");
        }
        assert_eq!(interval_micros("0-0 0 0:15:0"), Some(900_000_000));
        assert_eq!(interval_micros("0-1 1 0:0:0.5"), Some(31 * DAY + 500_000));
    }

    proptest! {
        #[test]
        fn texts_read_back(micros in FIRST_MICRO..=LAST_MICRO) {
            prop_assert_eq!(parse_datetime(&datetime_text(micros)), Some(micros));
            prop_assert_eq!(parse_timestamp(&timestamp_text(micros)), Some(micros));
            let day = micros.div_euclid(DAY);
            prop_assert_eq!(parse_date(&date_text(day)), Some(day));
        }

        #[test]
        fn hostile_input_never_panics(text in "[-0-9:. TZ+]{0,50}", packed in any::<i64>()) {
            let _date = parse_timestamp(&text).is_some() || parse_time(&text).is_some();
            let _interval = parse_interval(&text).is_some();
            let _unpacked = unpack_datetime(packed).is_some() || unpack_time(packed).is_some();
        }
    }
}
