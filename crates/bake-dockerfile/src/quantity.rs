//! Durations and sizes as the Dockerfile language writes them.

/// A duration or size that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not a duration at all, or beyond 292 years.
    #[error("invalid duration {0:?}")]
    Duration(String),
    /// A number without its unit.
    #[error("missing unit in duration {0:?}")]
    MissingUnit(String),
    /// A unit that does not exist.
    #[error("unknown unit {unit:?} in duration {text:?}")]
    UnknownUnit {
        /// The unit.
        unit: String,
        /// The whole text.
        text: String,
    },
    /// Not a size, or beyond 8 EiB.
    #[error("invalid size {0:?}")]
    Size(String),
}

/// Nanoseconds per unit.
const DURATION_UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads a duration such as `1m30s`, `1.5h` or `-2ms` (the syntax of Go's `time.ParseDuration`) as nanoseconds.
pub fn parse_duration_ns(text: &str) -> Result<i64, QuantityError> {
    let invalid = || QuantityError::Duration(text.to_owned());
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let whole_length = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (whole, after) = rest.split_at(whole_length);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(after.bytes().take_while(u8::is_ascii_digit).count()),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let unit_length = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_length);
        if unit.is_empty() {
            return Err(QuantityError::MissingUnit(text.to_owned()));
        }
        let Some((_, scale)) = DURATION_UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(QuantityError::UnknownUnit { unit: unit.to_owned(), text: text.to_owned() });
        };
        let scale = u128::from(*scale);
        let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        let mut part = whole.checked_mul(scale).ok_or_else(invalid)?;
        // Eighteen digits are far below one nanosecond of the largest unit.
        let mut digit_scale = scale;
        for digit in fraction.bytes().take(18) {
            digit_scale *= 10;
            part = part
                .checked_mul(10)
                .ok_or_else(invalid)?
                .checked_add(u128::from(digit - b'0') * scale)
                .ok_or_else(invalid)?;
        }
        total = total.checked_add(part / (digit_scale / scale)).ok_or_else(invalid)?;
        rest = after;
    }
    let total = i64::try_from(total).map_err(|_| invalid())?;
    Ok(if negative { -total } else { total })
}

/// Reads a size such as `64m`, `1.5GiB` or `1024` (powers of 1024 in any case) as bytes.
pub fn parse_byte_size(text: &str) -> Result<u64, QuantityError> {
    let invalid = || QuantityError::Size(text.to_owned());
    let last = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ').ok_or_else(invalid)?;
    let number = text[..=last].strip_suffix(' ').unwrap_or(&text[..=last]);
    let suffix = text[last + 1..].to_ascii_lowercase();
    let number = number.strip_prefix('+').unwrap_or(number);
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Err(invalid());
    }
    let multiplier: u64 = match suffix.as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        "p" | "pb" | "pib" => 1 << 50,
        _ => return Err(invalid()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return Err(invalid());
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
    let mut bytes = u128::from(whole) * u128::from(multiplier);
    // Below a byte of a pebibyte nothing counts.
    let mut numerator: u128 = 0;
    let mut denominator: u128 = 1;
    for digit in fraction.bytes().take(16) {
        numerator = numerator * 10 + u128::from(digit - b'0');
        denominator *= 10;
    }
    bytes += numerator * u128::from(multiplier) / denominator;
    u64::try_from(bytes).ok().filter(|bytes| i64::try_from(*bytes).is_ok()).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expected) in [
            ("0", 0),
            ("5s", 5_000_000_000),
            ("1m30s", 90_000_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("1us2ns", 1_002),
            ("3µs", 3_000),
            ("-2ms", -2_000_000),
            ("+1s", 1_000_000_000),
            ("0.3333333333333333333h", 1_200_000_000_000 - 1),
        ] {
            assert_eq!(parse_duration_ns(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "-",
            "5",
            "s",
            "5x",
            "1 s",
            ".s",
            "é",
            "1.2.3s",
            "99999999999999h",
            "999999999999999999999999999999999999999999s",
        ] {
            assert!(parse_duration_ns(text).is_err(), "{text}");
        }
        assert_eq!(parse_duration_ns("5"), Err(QuantityError::MissingUnit("5".into())));
    }

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("0", 0),
            ("64m", 64 << 20),
            ("1GiB", 1 << 30),
            ("1.5k", 1536),
            ("12 b", 12),
            ("7kb", 7 << 10),
            ("2P", 2 << 50),
            (".5k", 512),
        ] {
            assert_eq!(parse_byte_size(text), Ok(expected), "{text}");
        }
        for text in ["", "m", "1x", "-1", "1kk", "1bb", "1e3", "1..2", ".", "99999999999p", "1 2", "é"] {
            assert!(parse_byte_size(text).is_err(), "{text}");
        }
    }
}
