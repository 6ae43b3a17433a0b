//! Ages and points in time as people read them.

use bake_oci::Timestamp;

/// What stands where a time is not known.
const UNKNOWN: &str = "N/A";

/// How long ago something was, in docker's words: `About an hour ago`, `3 weeks ago`.
pub(super) fn ago(created: Option<Timestamp>, now: Timestamp) -> String {
    match created {
        Some(created) => format!("{} ago", duration(now.seconds.saturating_sub(created.seconds).max(0))),
        None => UNKNOWN.to_owned(),
    }
}

/// The time of a text such as an image config holds; none where it is missing or makes no sense.
pub(super) fn parse(text: Option<&str>) -> Option<Timestamp> {
    text.and_then(|text| Timestamp::parse_rfc3339(text).ok())
}

/// A time for programs.
pub(super) fn exact(created: Option<Timestamp>) -> String {
    created.map_or_else(|| UNKNOWN.to_owned(), Timestamp::to_rfc3339)
}

fn duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match (seconds, minutes, hours) {
        (0, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (2..60, ..) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, ..60, _) => format!("{minutes} minutes"),
        (_, _, ..=1) => "About an hour".to_owned(),
        (_, _, ..48) => format!("{hours} hours"),
        (_, _, ..336) => format!("{} days", hours / 24),
        (_, _, ..1440) => format!("{} weeks", hours / 24 / 7),
        (_, _, ..17_520) => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_dockers() {
        const HOUR: i64 = 3600;
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (45 * 60, "45 minutes"),
            (HOUR, "About an hour"),
            (HOUR + 1800, "2 hours"),
            (47 * HOUR, "47 hours"),
            (48 * HOUR, "2 days"),
            (14 * 24 * HOUR, "2 weeks"),
            (60 * 24 * HOUR, "2 months"),
            (2 * 365 * 24 * HOUR, "2 years"),
            (56 * 365 * 24 * HOUR, "56 years"),
        ] {
            assert_eq!(duration(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn unknown_and_future_times_are_harmless() {
        let now = Timestamp::from_seconds(1000);
        assert_eq!(ago(None, now), "N/A");
        assert_eq!(ago(Some(Timestamp::from_seconds(2000)), now), "Less than a second ago");
        assert_eq!(parse(Some("yesterday")), None);
    }
}
