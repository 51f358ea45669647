//! One cell, borrowed from the image it was decoded from. No variant allocates.

/// A calendar date as a source stores it. MySQL admits zero (`0000-00-00`) and partial dates
/// (`2020-00-00`), so a date is three numbers and not a day count; [`CivilDate::days`] says whether
/// it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CivilDate {
    /// 0…9999.
    pub year: u16,
    /// 0…12.
    pub month: u8,
    /// 0…31.
    pub day: u8,
}

/// A civil date and time of day without zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CivilDateTime {
    /// The date, possibly zero or partial.
    pub date: CivilDate,
    /// 0…23.
    pub hour: u8,
    /// 0…59.
    pub minute: u8,
    /// 0…59.
    pub second: u8,
    /// 0…999,999.
    pub micros: u32,
}

/// A value that a source holds and no target type can: the sink's policy decides, and counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unrepresentable<'a> {
    /// MySQL's TIMESTAMP `0000-00-00 00:00:00`.
    ZeroTimestamp,
    /// Bytes of a text column that are not text in the column's character set.
    InvalidText(&'a [u8]),
    /// Of a key column: a text that another value of the column has, too, so that it is no key.
    SharedText(&'a str),
    /// A value of another type than the one that was asked for; the row has it elsewhere too.
    OtherType,
}

/// One cell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// SQL NULL.
    Null,
    /// Of a `Bool` column.
    Bool(bool),
    /// Of an `Int64` column.
    Int(i64),
    /// Of a `UInt64` column.
    UInt(u64),
    /// Of a `Decimal` column: `unscaled / 10^scale`, exact.
    Decimal {
        /// The digits without the point.
        unscaled: i128,
        /// The column's scale.
        scale: u8,
    },
    /// Of a `Decimal` column with more than 38 digits: `-?digits(.digits)?`, exact.
    DecimalText(&'a str),
    /// Of a `Float32` column.
    Float(f32),
    /// Of a `Float64` column.
    Double(f64),
    /// Of a `Text` column.
    Text(&'a str),
    /// Of a `Bytes` column.
    Bytes(&'a [u8]),
    /// Of a `Json` column: a document as JSON text. JSON `null` is `Json("null")`, not `Null`.
    Json(&'a str),
    /// Of a `Date` column.
    Date(CivilDate),
    /// Of a `DateTime` column.
    DateTime(CivilDateTime),
    /// Of a `Timestamp` column: microseconds since 1970-01-01T00:00:00Z.
    Timestamp(i64),
    /// Of a `Time` column: signed microseconds.
    Time(i64),
    /// What the target cannot hold.
    Unrepresentable(Unrepresentable<'a>),
}

/// Days in each month of a common year.
const MONTH_DAYS: [u8; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

impl CivilDate {
    /// Days since 1970-01-01 in the proleptic Gregorian calendar, or `None` if the day does not exist
    /// or lies outside years 1…9999 (BigQuery's DATE range).
    pub fn days(self) -> Option<i32> {
        if self.year == 0 || self.year > 9999 || self.day == 0 {
            return None;
        }
        let month_index = usize::from(self.month.checked_sub(1)?);
        let leap =
            self.year.is_multiple_of(4) && (!self.year.is_multiple_of(100) || self.year.is_multiple_of(400));
        let last = *MONTH_DAYS.get(month_index)? + u8::from(leap && self.month == 2);
        if self.day > last {
            return None;
        }
        // Years begin in March, so that the leap day is the last day of its year; 400 years have
        // 146,097 days; 719,468 days lie between 0000-03-01 and 1970-01-01.
        let year = i32::from(self.year) - i32::from(self.month <= 2);
        let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let month_from_march = (i32::from(self.month) + 9) % 12;
        let day_of_year = (153 * month_from_march + 2) / 5 + i32::from(self.day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        Some(era * 146_097 + day_of_era - 719_468)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(year: u16, month: u8, day: u8) -> Option<i32> {
        CivilDate { year, month, day }.days()
    }

    #[test]
    fn known_days() {
        assert_eq!(days(1970, 1, 1), Some(0));
        assert_eq!(days(1, 1, 1), Some(-719_162));
        assert_eq!(days(9999, 12, 31), Some(2_932_896));
        assert_eq!(days(2000, 2, 29), Some(11_016));
    }

    #[test]
    fn days_that_do_not_exist() {
        for (year, month, day) in [
            (0, 0, 0),
            (2020, 0, 1),
            (2020, 1, 0),
            (1900, 2, 29),
            (2021, 4, 31),
            (2021, 13, 1),
        ] {
            assert_eq!(days(year, month, day), None, "{year}-{month}-{day}");
        }
    }

    #[test]
    fn every_day_of_the_calendar_follows_its_predecessor() {
        let mut expected = -719_162;
        for year in 1..=9999 {
            for month in 1..=12 {
                for day in 1..=31 {
                    if let Some(found) = days(year, month, day) {
                        assert_eq!(found, expected, "{year}-{month}-{day}");
                        expected += 1;
                    }
                }
            }
        }
        assert_eq!(expected, 2_932_897);
    }
}
