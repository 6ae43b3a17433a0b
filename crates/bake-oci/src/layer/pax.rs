//! PAX extended headers: `length key=value` records (POSIX.1-2024, pax, "pax Extended Header").

use crate::time::Timestamp;

/// What the keys of extended attributes start with.
pub(crate) const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";

/// Why PAX records cannot be read. Skipping a bad record would make this reader see another archive than others do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PaxError {
    /// The length is not a plain decimal number, or does not end at a newline within the header.
    #[error("a record's length is wrong")]
    Length,
    /// There is no `=`, or nothing before it.
    #[error("a record has no key")]
    Key,
    /// The value is not what its key asks for.
    #[error("the value of `{0}` is not valid")]
    Value(&'static str),
}

/// A key and its value.
pub(crate) type Record<'a> = (&'a [u8], &'a [u8]);

/// The records of an extended header, in order.
pub(crate) fn parse(mut bytes: &[u8]) -> Result<Vec<Record<'_>>, PaxError> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().take(20).position(|byte| *byte == b' ').ok_or(PaxError::Length)?;
        let length = decimal(&bytes[..space]).and_then(|n| usize::try_from(n).ok()).ok_or(PaxError::Length)?;
        if length < space + 2 || length > bytes.len() || bytes[length - 1] != b'\n' {
            return Err(PaxError::Length);
        }
        let record = &bytes[space + 1..length - 1];
        let equals = record.iter().position(|byte| *byte == b'=').ok_or(PaxError::Key)?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        if key.is_empty() || key.contains(&0) {
            return Err(PaxError::Key);
        }
        records.push((key, value));
        bytes = &bytes[length..];
    }
    Ok(records)
}

/// Appends one record.
pub(crate) fn push_record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // The length counts its own digits: grow it until it is right.
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length.to_string().len() + rest != length {
        length = length.to_string().len() + rest;
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// A plain decimal number: digits only, so no sign, blank or prefix that readers could disagree about.
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |value, byte| {
        byte.is_ascii_digit().then_some(())?;
        value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))
    })
}

/// A time: decimal seconds with an optional sign and fraction; digits beyond nanoseconds are dropped.
pub(crate) fn parse_time(text: &[u8]) -> Option<Timestamp> {
    let (negative, text) = text.strip_prefix(b"-").map_or((false, text), |rest| (true, rest));
    let dot = text.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = dot.map_or((text, b"".as_slice()), |dot| (&text[..dot], &text[dot + 1..]));
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds = i64::try_from(decimal(whole)?).ok()?;
    let nanoseconds =
        (0..9).fold(0_u32, |value, place| value * 10 + fraction.get(place).map_or(0, |digit| u32::from(digit - b'0')));
    Some(match (negative, nanoseconds) {
        (false, _) => Timestamp { seconds, nanoseconds },
        (true, 0) => Timestamp { seconds: -seconds, nanoseconds: 0 },
        (true, _) => Timestamp { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

/// The text of a time, the inverse of [`parse_time`].
pub(crate) fn format_time(time: Timestamp) -> String {
    let (seconds, nanoseconds) = (i128::from(time.seconds), i128::from(time.nanoseconds));
    let total = seconds * 1_000_000_000 + nanoseconds;
    let sign = if total < 0 { "-" } else { "" };
    let (whole, fraction) = (total.abs() / 1_000_000_000, total.abs() % 1_000_000_000);
    if fraction == 0 {
        return format!("{sign}{whole}");
    }
    let fraction = format!("{fraction:09}");
    format!("{sign}{whole}.{}", fraction.trim_end_matches('0'))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    #[test]
    fn records_round_trip_at_every_length() {
        for length in (0..1100).chain([9_990, 99_980, 99_990]) {
            let value = vec![b'\n'; length];
            let mut bytes = Vec::new();
            push_record(&mut bytes, b"key", &value);
            push_record(&mut bytes, b"other", b"a=b");
            assert_eq!(parse(&bytes).unwrap(), [(b"key".as_slice(), value.as_slice()), (b"other", b"a=b")]);
        }
    }

    #[test]
    fn bad_records_are_refused() {
        for bad in [
            b"4 a=\n".as_slice(),
            b"6 a=b",
            b"6 a=b\nx",
            b"+6 a=b\n",
            b" 6 a=b\n",
            b"06a=b\n",
            b"7 a=b\n\n\n",
            b"5 =b\n",
            b"6 abc\n",
            b"99999999999999999999 a=b\n",
            b"0 a=b\n",
            b"\0\0\0",
            b"9 a\0b=c\n\n",
        ] {
            assert!(parse(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
        assert_eq!(parse(b"6 a=b\n").unwrap(), [(b"a".as_slice(), b"b".as_slice())]);
        assert_eq!(parse(b"006 a=\n"), Err(PaxError::Length));
    }

    #[test]
    fn times_round_trip() {
        for (text, seconds, nanoseconds) in [
            ("0", 0, 0),
            ("1.5", 1, 500_000_000),
            ("-1", -1, 0),
            ("-0.5", -1, 500_000_000),
            ("-1.25", -2, 750_000_000),
            ("123456789012.000000001", 123_456_789_012, 1),
        ] {
            let time = Timestamp { seconds, nanoseconds };
            assert_eq!(parse_time(text.as_bytes()), Some(time), "{text}");
            assert_eq!(format_time(time), text);
        }
        assert_eq!(parse_time(b"1.1234567899"), Some(Timestamp { seconds: 1, nanoseconds: 123_456_789 }));
        assert_eq!(parse_time(b"1."), Some(Timestamp { seconds: 1, nanoseconds: 0 }));
        for bad in ["", "-", ".5", "1e3", "+1", "1.x", "99999999999999999999"] {
            assert_eq!(parse_time(bad.as_bytes()), None, "{bad}");
        }
        format_time(Timestamp { seconds: i64::MIN, nanoseconds: 0 });
    }
}
