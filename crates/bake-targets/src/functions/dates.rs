//! Points in time.

use std::collections::BTreeMap;

use bake_oci::Timestamp;

use super::{Arguments, Outcome};
use crate::value::Value;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

fn two_digits(number: usize) -> String {
    format!("{number:02}")
}

/// A point in time with the offset that it was written with.
struct Moment {
    seconds: i64,
    offset: i64,
}

impl Moment {
    fn parse(text: &str) -> Result<Self, String> {
        let seconds = Timestamp::parse_rfc3339(text).map_err(|error| error.to_string())?.seconds;
        let zone = &text[text.len().saturating_sub(6)..];
        let number =
            |range: std::ops::Range<usize>| zone.get(range).and_then(|digits| digits.parse::<i64>().ok()).unwrap_or(0);
        let magnitude = number(1..3) * 3600 + number(4..6) * 60;
        let offset = match zone.as_bytes().first() {
            _ if text.ends_with(['Z', 'z']) => 0,
            Some(b'-') => -magnitude,
            _ => magnitude,
        };
        Ok(Self { seconds, offset })
    }

    /// `YYYY-MM-DDTHH:MM:SS` as the clocks of its place show it.
    fn local(&self) -> String {
        Timestamp::from_seconds(self.seconds.saturating_add(self.offset)).to_rfc3339()
    }

    /// `Z` or `+hh<separator>mm`.
    fn zone(&self, separator: &str, zero: &str) -> String {
        if self.offset == 0 {
            return zero.to_owned();
        }
        let sign = if self.offset < 0 { '-' } else { '+' };
        let minutes = self.offset.abs() / 60;
        format!("{sign}{:02}{separator}{:02}", minutes / 60, minutes % 60)
    }

    fn rfc3339(&self) -> String {
        let local = self.local();
        format!("{}{}", local.trim_end_matches('Z'), self.zone(":", "Z"))
    }

    fn format(&self, layout: &str) -> Result<String, String> {
        let local = self.local();
        let number = |range: std::ops::Range<usize>| local[range].parse::<usize>().unwrap_or(0);
        let (year, month, day) = (&local[..4], number(5..7), number(8..10));
        let (hour, minute, second) = (number(11..13), number(14..16), number(17..19));
        let days = self.seconds.saturating_add(self.offset).div_euclid(86_400);
        let weekday = DAYS[usize::try_from(days.rem_euclid(7)).unwrap_or(0)];
        let twelve = if hour % 12 == 0 { 12 } else { hour % 12 };
        let mut text = String::new();
        let mut rest = layout;
        while let Some(first) = rest.chars().next() {
            if first == '\'' {
                let end = rest[1..].find('\'').ok_or("a quote in the format is not closed")?;
                text.push_str(if end == 0 { "'" } else { &rest[1..=end] });
                rest = &rest[end + 2..];
                continue;
            }
            let run = rest.find(|character| character != first).unwrap_or(rest.len());
            let token = &rest[..run];
            rest = &rest[run..];
            match token {
                "YYYY" => text.push_str(year),
                "YY" => text.push_str(&year[2..]),
                "MMMM" => text.push_str(MONTHS[(month - 1).min(11)]),
                "MMM" => text.push_str(&MONTHS[(month - 1).min(11)][..3]),
                "MM" => text.push_str(&two_digits(month)),
                "M" => text.push_str(&month.to_string()),
                "DD" => text.push_str(&two_digits(day)),
                "D" => text.push_str(&day.to_string()),
                "EEEE" => text.push_str(weekday),
                "EEE" => text.push_str(&weekday[..3]),
                "hh" => text.push_str(&two_digits(hour)),
                "h" => text.push_str(&hour.to_string()),
                "HH" => text.push_str(&two_digits(twelve)),
                "H" => text.push_str(&twelve.to_string()),
                "AA" => text.push_str(if hour < 12 { "AM" } else { "PM" }),
                "aa" => text.push_str(if hour < 12 { "am" } else { "pm" }),
                "mm" => text.push_str(&two_digits(minute)),
                "m" => text.push_str(&minute.to_string()),
                "ss" => text.push_str(&two_digits(second)),
                "s" => text.push_str(&second.to_string()),
                "ZZZZZ" => text.push_str(&self.zone(":", "+00:00")),
                "ZZZZ" => text.push_str(&self.zone("", "+0000")),
                "ZZZ" => text.push_str(&self.zone("", "UTC")),
                "Z" => text.push_str(&self.zone(":", "Z")),
                other if first.is_ascii_alphabetic() => {
                    return Err(format!("`{other}` means nothing in a format of dates"));
                }
                other => text.push_str(other),
            }
        }
        Ok(text)
    }
}

pub(super) fn format_date(arguments: &Arguments<'_>) -> Outcome {
    Ok(Moment::parse(&arguments.text(1)?)?.format(&arguments.text(0)?)?.into())
}

/// Like `formatdate`, but the names of formats (`rfc3339`, `date`, ...) and seconds since 1970 are understood as well.
pub(super) fn format_timestamp(arguments: &Arguments<'_>) -> Outcome {
    let (layout, time) = (arguments.text(0)?, arguments.text(1)?);
    let moment = match time.parse::<i64>() {
        Ok(seconds) => Moment { seconds, offset: 0 },
        Err(_) => Moment::parse(&time)?,
    };
    Ok(moment.format(&layout)?.into())
}

#[expect(clippy::unnecessary_wraps, reason = "the table's functions may fail")]
pub(super) fn timestamp(arguments: &Arguments<'_>) -> Outcome {
    Ok(Timestamp::from_seconds(arguments.inputs.now).to_rfc3339().into())
}

pub(super) fn time_add(arguments: &Arguments<'_>) -> Outcome {
    let moment = Moment::parse(&arguments.text(0)?)?;
    let seconds = moment.seconds.saturating_add(duration_seconds(&arguments.text(1)?)?);
    Ok(Moment { seconds, ..moment }.rfc3339().into())
}

/// A duration such as `1h30m`, `-10s`, `1.5h`, in whole seconds.
fn duration_seconds(text: &str) -> Result<i64, String> {
    let wrong = || format!("`{text}` is no duration such as 1h30m");
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut seconds = 0.0;
    while rest != "0" && !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let amount: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        seconds += amount
            * match &rest[..unit] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return Err(wrong()),
            };
        rest = &rest[unit..];
    }
    if seconds > 1e12 {
        return Err(format!("`{text}` is too long"));
    }
    #[expect(clippy::cast_possible_truncation, reason = "the range was just checked, and fractions are not shown")]
    Ok((sign * seconds) as i64)
}

/// The parts of a point in time that is given in seconds since 1970.
pub(super) fn unix_timestamp_parse(arguments: &Arguments<'_>) -> Outcome {
    let seconds = arguments.whole(0)?;
    let moment = Moment { seconds, offset: 0 };
    let local = moment.local();
    let number = |range: std::ops::Range<usize>| Value::from(local[range].parse::<i128>().unwrap_or(0));
    let day_of_year = |date: &str| {
        let start =
            Timestamp::parse_rfc3339(&format!("{}-01-01T00:00:00Z", &date[..4])).map_or(0, |start| start.seconds);
        i128::from((seconds - start).div_euclid(86_400) + 1)
    };
    let month =
        usize::try_from(number(5..7).as_number().and_then(crate::value::Number::as_i64).unwrap_or(1)).unwrap_or(1);
    let week = iso_week(seconds, &local);
    let weekday = i128::from((seconds.div_euclid(86_400) + 4).rem_euclid(7));
    let parts: [(&str, Value); 12] = [
        ("day", number(8..10)),
        ("hour", number(11..13)),
        ("iso_week", week.1.into()),
        ("iso_year", week.0.into()),
        ("minute", number(14..16)),
        ("month", number(5..7)),
        ("month_name", MONTHS[(month - 1).min(11)].into()),
        ("rfc3339", local.as_str().into()),
        ("second", number(17..19)),
        ("weekday", weekday.into()),
        ("weekday_name", DAYS[usize::try_from((weekday + 3).rem_euclid(7)).unwrap_or(0)].into()),
        ("year", number(0..4)),
    ];
    let mut object: BTreeMap<String, Value> = parts.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    object.insert("year_day".to_owned(), day_of_year(&local).into());
    Ok(Value::Object(object))
}

/// Year and week by ISO 8601: the week belongs to the year in which its Thursday is.
fn iso_week(seconds: i64, local: &str) -> (i128, i128) {
    let day = seconds.div_euclid(86_400);
    // Monday is 0.
    let weekday = (day + 3).rem_euclid(7);
    let thursday = day - weekday + 3;
    let year = Timestamp::from_seconds(thursday * 86_400).to_rfc3339();
    let year: i128 = year[..4].parse().unwrap_or_else(|_| local[..4].parse().unwrap_or(0));
    let start = Timestamp::parse_rfc3339(&format!("{year:04}-01-01T00:00:00Z"))
        .map_or(0, |start| start.seconds.div_euclid(86_400));
    (year, i128::from((thursday - start) / 7 + 1))
}
