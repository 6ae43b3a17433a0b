//! Values of flags that have a syntax of their own.

use std::time::Duration;

/// The value of a flag that is written `NAME=VALUE`, or `NAME` alone where that means something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// What stands before the first `=`.
    pub name: String,
    /// What stands after it; none where there is no `=`.
    pub value: Option<String>,
}

/// Parses `NAME` or `NAME=VALUE`.
pub(super) fn assignment(text: &str) -> Result<Assignment, String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    if name.trim().is_empty() {
        return Err("expected NAME or NAME=VALUE".into());
    }
    Ok(Assignment { name: name.to_owned(), value })
}

/// Parses `NAME=VALUE`, where the value may not be missing.
pub(super) fn full_assignment(text: &str) -> Result<Assignment, String> {
    let assignment = assignment(text)?;
    match assignment.value.as_deref() {
        Some(value) if !value.is_empty() => Ok(assignment),
        _ => Err("expected NAME=VALUE".into()),
    }
}

/// How a filter compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `!=`
    Unequal,
    /// `~=`, with a regular expression
    Matches,
}

/// A filter for what is in the store: `NAME=VALUE`, `NAME!=VALUE`, `NAME~=EXPRESSION`; `NAME` alone means `NAME=true`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreFilter {
    /// What is compared.
    pub name: String,
    /// How.
    pub comparison: Comparison,
    /// With what.
    pub value: String,
}

/// Parses a [`StoreFilter`].
pub(super) fn store_filter(text: &str) -> Result<StoreFilter, String> {
    let (name, comparison, value) = match text.split_once('=') {
        None => (text, Comparison::Equal, "true"),
        Some((name, value)) => {
            let value = value.strip_prefix('=').unwrap_or(value);
            if let Some(name) = name.strip_suffix('!') {
                (name, Comparison::Unequal, value)
            } else if let Some(name) = name.strip_suffix('~') {
                (name, Comparison::Matches, value)
            } else {
                (name, Comparison::Equal, value)
            }
        }
    };
    if name.trim().is_empty() || value.is_empty() {
        return Err("expected NAME=VALUE, NAME!=VALUE or NAME~=EXPRESSION".into());
    }
    Ok(StoreFilter { name: name.trim().to_owned(), comparison, value: value.to_owned() })
}

/// Parses what Go's flags take for a truth value, so that `--push=$PUSH` works as it does with Docker.
pub(super) fn truth(text: &str) -> Result<bool, String> {
    bake_dockerfile::parse_boolean(text).ok_or_else(|| "expected `true` or `false`".into())
}

/// Parses a size as Docker writes it: digits and perhaps a unit of `b`, `k`, `m`, `g`, `t` (powers of 1024), with `b`
/// or `ib` after it if one likes. Returns bytes.
pub fn size_bytes(text: &str) -> Result<u64, String> {
    let invalid = || "expected a size such as `64m` or `10GB`".to_owned();
    let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits_end);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(invalid()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u64 = whole.parse().map_err(|_| invalid())?;
    let bytes = whole.checked_mul(1 << shift).ok_or_else(|| "the size is too large".to_owned())?;
    // Four decimal places are more than anybody types; further ones are below a byte of rounding that nobody sees.
    let fraction = fraction.get(..fraction.len().min(4)).ok_or_else(invalid)?;
    let scale = 10u64.pow(u32::try_from(fraction.len()).map_err(|_| invalid())?);
    let part: u64 = if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| invalid())? };
    bytes.checked_add(part.saturating_mul(1 << shift) / scale).ok_or_else(|| "the size is too large".to_owned())
}

/// An amount of disk space: bytes, or hundredths of the file system it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// So many bytes.
    Bytes(u64),
    /// So many hundredths.
    Percent(u8),
}

/// Parses a size, or a share of the file system such as `60%`.
pub fn space(text: &str) -> Result<Space, String> {
    let Some(percent) = text.trim_end().strip_suffix('%') else { return size_bytes(text).map(Space::Bytes) };
    match percent.trim().parse() {
        Ok(percent) if percent <= 100 => Ok(Space::Percent(percent)),
        _ => Err("expected a share from `0%` to `100%`".to_owned()),
    }
}

/// Parses a duration as Go writes it: `90s`, `1h30m`, `24h`; days (`7d`) are understood too.
pub fn duration(text: &str) -> Result<Duration, String> {
    let invalid = || "expected a duration such as `24h` or `1h30m`".to_owned();
    let mut rest = text;
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(invalid());
    }
    while !rest.is_empty() {
        let digits_end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits_end);
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let number: u64 = number.parse().map_err(|_| invalid())?;
        let seconds = match unit {
            "ms" => {
                total = total.checked_add(Duration::from_millis(number)).ok_or_else(invalid)?;
                0
            }
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            "" if number == 0 && text == "0" => 0,
            _ => return Err(invalid()),
        };
        let seconds = number.checked_mul(seconds).ok_or_else(invalid)?;
        total = total.checked_add(Duration::from_secs(seconds)).ok_or_else(invalid)?;
        rest = after;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size_bytes("0"), Ok(0));
        assert_eq!(size_bytes("64m"), Ok(64 << 20));
        assert_eq!(size_bytes("10GB"), Ok(10 << 30));
        assert_eq!(size_bytes("1.5GiB"), Ok(3 << 29));
        for wrong in ["", "m", "-1", "1x", "1.2.3k", "99999999999999999999", "20000000t", ".5g"] {
            assert!(size_bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn spaces() {
        assert_eq!(space("20GB"), Ok(Space::Bytes(20 << 30)));
        assert_eq!(space("60%"), Ok(Space::Percent(60)));
        for wrong in ["101%", "-1%", "%", "half", "1.5%"] {
            assert!(space(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(duration("24h"), Ok(Duration::from_hours(24)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_mins(90)));
        assert_eq!(duration("7d"), Ok(Duration::from_hours(168)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        for wrong in ["", "h", "5", "5x", "-5h", "1h5", "99999999999999999999h", "18446744073709551615d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn store_filters() {
        let parse = |text: &str| {
            store_filter(text).map(|filter| (filter.name, filter.comparison, filter.value)).map_err(|_| ())
        };
        assert_eq!(parse("id=ab"), Ok(("id".into(), Comparison::Equal, "ab".into())));
        assert_eq!(parse("id==ab"), Ok(("id".into(), Comparison::Equal, "ab".into())));
        assert_eq!(parse("type!=blob"), Ok(("type".into(), Comparison::Unequal, "blob".into())));
        assert_eq!(parse("description~=a=b"), Ok(("description".into(), Comparison::Matches, "a=b".into())));
        assert_eq!(parse("inuse"), Ok(("inuse".into(), Comparison::Equal, "true".into())));
        assert!(parse("=a").is_err() && parse("a=").is_err() && parse("").is_err());
    }

    #[test]
    fn assignments() {
        assert_eq!(assignment("A=b=c"), Ok(Assignment { name: "A".into(), value: Some("b=c".into()) }));
        assert_eq!(assignment("A="), Ok(Assignment { name: "A".into(), value: Some(String::new()) }));
        assert!(assignment("=x").is_err());
        assert!(full_assignment("A").is_err() && full_assignment("A=").is_err());
    }
}
