//! What labels an image is to have, and of what kind their values are.

use std::collections::BTreeMap;

/// Labels that are asked for, by name, with the kind of their values.
pub type LabelSchema = BTreeMap<String, LabelKind>;

/// What the value of a label is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelKind {
    /// Any text.
    Text,
    /// An address such as `https://example.com/docs` (RFC 3986, with a scheme and a host).
    Url,
    /// A version such as `1.2.3-rc.1` (Semantic Versioning 2.0.0).
    Semver,
    /// A commit: 7 to 40, or 64, hexadecimal digits.
    Hash,
    /// A time such as `2026-11-01T12:00:00Z` (RFC 3339).
    Rfc3339,
    /// A licence expression such as `MIT OR Apache-2.0` (SPDX).
    Spdx,
    /// An address such as `jo@example.com`.
    Email,
}

impl LabelKind {
    /// All kinds, by the names that schemas use.
    pub const NAMES: [(&'static str, Self); 7] = [
        ("text", Self::Text),
        ("url", Self::Url),
        ("semver", Self::Semver),
        ("hash", Self::Hash),
        ("rfc3339", Self::Rfc3339),
        ("spdx", Self::Spdx),
        ("email", Self::Email),
    ];

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }

    /// Whether `value` is of this kind.
    pub fn accepts(self, value: &str) -> bool {
        match self {
            Self::Text => true,
            Self::Url => is_url(value),
            Self::Semver => is_semver(value),
            Self::Hash => matches!(value.len(), 7..=40 | 64) && value.bytes().all(|byte| byte.is_ascii_hexdigit()),
            Self::Rfc3339 => is_rfc3339(value),
            Self::Spdx => spdx::Expression::parse(value).is_ok(),
            Self::Email => is_email(value),
        }
    }

    /// What it is, with an example, for messages.
    pub(crate) fn description(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Url => "a URL such as `https://example.com/docs`",
            Self::Semver => "a semantic version such as `1.2.3`",
            Self::Hash => "the hash of a commit: 7 to 40 hexadecimal digits",
            Self::Rfc3339 => "a time by RFC 3339 such as `2026-11-01T12:00:00Z`",
            Self::Spdx => "an SPDX licence expression such as `Apache-2.0`",
            Self::Email => "a mail address such as `jo@example.com`",
        }
    }
}

/// A scheme, `://`, a host, and nothing that has to be encoded.
fn is_url(value: &str) -> bool {
    let Some((scheme, rest)) = value.split_once("://") else { return false };
    let scheme_is_right = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let clean = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
    scheme_is_right && !host.is_empty() && rest.bytes().all(clean)
}

/// Three numbers without leading zeros, then `-` and identifiers, then `+` and identifiers.
fn is_semver(value: &str) -> bool {
    let (value, build) = value.split_once('+').map_or((value, None), |(value, build)| (value, Some(build)));
    let (numbers, release) = value.split_once('-').map_or((value, None), |(value, release)| (value, Some(release)));
    let is_number = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'))
    };
    let is_identifier =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let is_release =
        |text: &str| is_identifier(text) && (is_number(text) || !text.bytes().all(|byte| byte.is_ascii_digit()));
    numbers.split('.').count() == 3
        && numbers.split('.').all(is_number)
        && release.is_none_or(|release| release.split('.').all(is_release))
        && build.is_none_or(|build| build.split('.').all(is_identifier))
}

/// `YYYY-MM-DDTHH:MM:SS`, a fraction, and `Z` or an offset; with days that exist.
fn is_rfc3339(value: &str) -> bool {
    let bytes = value.as_bytes();
    let number = |from: usize, to: usize| -> Option<u32> {
        let digits = value.get(from..to).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
        digits.parse().ok()
    };
    let marked = |place: usize, marks: &[u8]| bytes.get(place).is_some_and(|byte| marks.contains(byte));
    let within =
        |number: Option<u32>, least: u32, most: u32| number.is_some_and(|number| (least..=most).contains(&number));
    let days = match (number(0, 4), number(5, 7)) {
        (Some(year), Some(2)) if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        (_, Some(2)) => 28,
        (_, Some(4 | 6 | 9 | 11)) => 30,
        _ => 31,
    };
    let date = number(0, 4).is_some() && marked(4, b"-") && within(number(5, 7), 1, 12) && marked(7, b"-");
    let time = marked(10, b"Tt ") && within(number(11, 13), 0, 23) && marked(13, b":") && within(number(14, 16), 0, 59);
    let seconds = marked(16, b":") && within(number(17, 19), 0, 60);
    if !(date && within(number(8, 10), 1, days) && time && seconds) {
        return false;
    }
    let mut rest = &value[19..];
    if let Some(fraction) = rest.strip_prefix('.') {
        rest = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
        if rest.len() == fraction.len() {
            return false;
        }
    }
    let offset = |rest: &str| {
        let digits = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        rest.strip_prefix(['+', '-'])
            .and_then(|rest| rest.split_once(':'))
            .is_some_and(|(hours, minutes)| digits(hours) && digits(minutes) && hours <= "23" && minutes <= "59")
    };
    rest.eq_ignore_ascii_case("z") || offset(rest)
}

/// Something, one `@`, and a host name with a dot, without blanks.
fn is_email(value: &str) -> bool {
    let Some((local, domain)) = value.rsplit_once('@') else { return false };
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !"@<>()[],;:\\\"".contains(c);
    let label = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.chars().all(|c| c.is_alphanumeric() || c == '-')
    };
    !local.is_empty() && local.chars().all(plain) && domain.contains('.') && domain.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::LabelKind;

    #[test]
    fn values_are_told_apart() {
        for (kind, right, wrong) in [
            (LabelKind::Text, &["", "any ä"][..], &[][..]),
            (
                LabelKind::Url,
                &["https://example.com", "git+ssh://git@host/a?b#c", "http://[::1]/"],
                &["example.com", "https://", "https:///a", "http://a b", "://x", "1a://x"],
            ),
            (
                LabelKind::Semver,
                &["0.0.0", "1.2.3", "1.2.3-rc.1+build.007", "1.0.0--", "1.0.0+a-b"],
                &["1.2", "v1.2.3", "01.2.3", "1.2.3-", "1.2.3-01", "1.2.3+", "1.2.3.4", ""],
            ),
            (
                LabelKind::Hash,
                &["a1b2c3d", "0123456789012345678901234567890123456789"],
                &["a1b2c3", "g1b2c3d", "", "01234567890123456789012345678901234567890"],
            ),
            (
                LabelKind::Rfc3339,
                &["2026-11-01T12:00:00Z", "2024-02-29t23:59:60.123+05:30", "2000-02-29 00:00:00z"],
                &[
                    "2026-11-01",
                    "2026-13-01T00:00:00Z",
                    "2025-02-29T00:00:00Z",
                    "2026-11-01T12:00:00",
                    "2026-11-01T24:00:00Z",
                    "2026-11-01T12:00:00.Z",
                    "2026-11-01T12:00:00+5:30",
                    "2026-11-01T12:00:00Zx",
                    "202ä-11-01T12:00:00Z",
                    "",
                ],
            ),
            (LabelKind::Spdx, &["MIT", "MIT OR Apache-2.0"], &["mine", "", "MIT OR"]),
            (
                LabelKind::Email,
                &["jo@example.com", "j.o+x@mail.example.co"],
                &["jo", "@example.com", "jo@host", "a b@c.d", "a@b..c", "a@b@c.d"],
            ),
        ] {
            for value in right {
                assert!(kind.accepts(value), "{kind:?} `{value}`");
            }
            for value in wrong {
                assert!(!kind.accepts(value), "{kind:?} `{value}`");
            }
        }
    }
}
