//! Points in time as OCI documents and layer archives write them: RFC 3339 text and Unix seconds.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds in a second.
const NANOSECONDS: u32 = 1_000_000_000;

/// Seconds in a day.
const DAY_SECONDS: i64 = 86_400;

/// The last second of the year 9999, the largest that RFC 3339 can write.
const YEAR_9999_END_SECONDS: i64 = 253_402_300_799;

/// The first second of the year 0, the smallest that RFC 3339 can write.
const YEAR_0_START_SECONDS: i64 = -62_167_219_200;

/// A point in time: seconds since 1970-01-01T00:00:00Z, and nanoseconds after that second (always 0 to 999,999,999,
/// also before 1970: half a second before the epoch is `seconds: -1, nanoseconds: 500_000_000`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    /// Whole seconds since the Unix epoch, rounded down.
    pub seconds: i64,
    /// Nanoseconds after `seconds`, below 1,000,000,000.
    pub nanoseconds: u32,
}

/// A text that is not an RFC 3339 point in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a time such as 2006-01-02T15:04:05Z")]
pub struct TimeError {
    /// The text as given, cut to 64 characters.
    pub text: String,
}

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self { seconds: 0, nanoseconds: 0 };

    /// A whole second.
    pub fn from_seconds(seconds: i64) -> Self {
        Self { seconds, nanoseconds: 0 }
    }

    /// The present, by the system's clock.
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// Parses an RFC 3339 time with any offset and up to nine digits of fraction; the result is in UTC.
    pub fn parse_rfc3339(text: &str) -> Result<Self, TimeError> {
        parse(text.as_bytes()).ok_or_else(|| TimeError { text: text.chars().take(64).collect() })
    }

    /// RFC 3339 text in UTC, with the fraction only as long as it needs to be (as Go's `time.RFC3339Nano`).
    ///
    /// Times outside the years 0 to 9999 cannot be written; they are clamped to that range.
    pub fn to_rfc3339(self) -> String {
        let seconds = self.seconds.clamp(YEAR_0_START_SECONDS, YEAR_9999_END_SECONDS);
        let (year, month, day) = civil_from_days(seconds.div_euclid(DAY_SECONDS));
        let of_day = seconds.rem_euclid(DAY_SECONDS);
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
        if self.nanoseconds > 0 {
            let fraction = format!(".{:09}", self.nanoseconds % NANOSECONDS);
            text.push_str(fraction.trim_end_matches('0'));
        }
        text.push('Z');
        text
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => {
                Self { seconds: i64::try_from(after.as_secs()).unwrap_or(i64::MAX), nanoseconds: after.subsec_nanos() }
            }
            Err(error) => {
                let before = error.duration();
                let seconds = i64::try_from(before.as_secs()).map_or(i64::MIN, |seconds| -seconds);
                match before.subsec_nanos() {
                    0 => Self { seconds, nanoseconds: 0 },
                    nanoseconds => Self { seconds: seconds.saturating_sub(1), nanoseconds: NANOSECONDS - nanoseconds },
                }
            }
        }
    }
}

fn parse(text: &[u8]) -> Option<Timestamp> {
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        text.get(range)?
            .iter()
            .try_fold(0_i64, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0')))
    };
    let is = |at: usize, allowed: &[u8]| text.get(at).is_some_and(|byte| allowed.contains(byte));
    if !(is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":")) {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    // A leap second (60) is read as the first second of the next minute, as `timegm` does.
    if !(1..=12).contains(&month) || !(1..=days_in_month(year, month)).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut at = 19;
    let mut nanoseconds = 0_u32;
    if is(at, b".,") {
        let digits = text[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 || digits > 9 {
            return None;
        }
        for byte in &text[at + 1..=at + digits] {
            nanoseconds = nanoseconds * 10 + u32::from(byte - b'0');
        }
        for _ in digits..9 {
            nanoseconds *= 10;
        }
        at += digits + 1;
    }
    let offset_seconds = if is(at, b"Zz") && text.len() == at + 1 {
        0
    } else if is(at, b"+-") && is(at + 3, b":") && text.len() == at + 6 {
        let (hours, minutes) = (number(at + 1..at + 3)?, number(at + 4..at + 6)?);
        if hours > 23 || minutes > 59 {
            return None;
        }
        let offset = hours * 3600 + minutes * 60;
        if is(at, b"-") { -offset } else { offset }
    } else {
        return None;
    };
    let days = days_from_civil(year, month, day);
    let seconds = days * DAY_SECONDS + hour * 3600 + minute * 60 + second - offset_seconds;
    Some(Timestamp { seconds, nanoseconds })
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date in the proleptic Gregorian calendar. Years are counted from March, so that the
/// leap day is the last of its year, in eras of 400 years (146,097 days).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    #[test]
    fn times_round_trip() {
        for (text, seconds, nanoseconds) in [
            ("1970-01-01T00:00:00Z", 0, 0),
            ("2023-10-11T22:37:26.5Z", 1_697_063_846, 500_000_000),
            ("2000-02-29T12:00:00.000000001Z", 951_825_600, 1),
            ("1969-12-31T23:59:59.25Z", -1, 250_000_000),
            ("0001-01-01T00:00:00Z", -62_135_596_800, 0),
            ("9999-12-31T23:59:59Z", YEAR_9999_END_SECONDS, 0),
        ] {
            let time = Timestamp::parse_rfc3339(text).unwrap();
            assert_eq!(time, Timestamp { seconds, nanoseconds }, "{text}");
            assert_eq!(time.to_rfc3339(), text);
        }
    }

    #[test]
    fn offsets_are_taken_off() {
        let time = Timestamp::parse_rfc3339("2023-10-12T00:37:26+02:00").unwrap();
        assert_eq!(time.to_rfc3339(), "2023-10-11T22:37:26Z");
        let time = Timestamp::parse_rfc3339("2023-10-11T17:07:26-05:30").unwrap();
        assert_eq!(time.to_rfc3339(), "2023-10-11T22:37:26Z");
    }

    #[test]
    fn bad_times_are_refused() {
        for text in [
            "",
            "2023",
            "2023-13-01T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2023-01-01T24:00:00Z",
            "2023-01-01T00:00:00",
            "2023-01-01T00:00:00.Z",
            "2023-01-01T00:00:00.0123456789Z",
            "2023-01-01T00:00:00Zx",
            "+023-01-01T00:00:00Z",
            "2023-01-01T00:00:00+0200",
        ] {
            assert!(Timestamp::parse_rfc3339(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_day_of_many_years_round_trips() {
        for days in -800_000..800_000 {
            let (year, month, day) = civil_from_days(days);
            assert_eq!(days_from_civil(year, month, day), days);
        }
    }
}
