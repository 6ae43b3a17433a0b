//! Why a step ran, on one line.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bake_solver::{Difference, Explanation};

use super::sanitize::sanitize_line;

/// The longest reason on a line of its own, in characters.
const REASON_CHARS_MAX: usize = 160;

/// The reason, and how old the record is that it was compared with: `why: package.json changed (record from 2 h ago)`, or what
/// the step read before: ``ran: `package.json` changed (content)``. Nothing where there was nothing to compare with.
pub(super) fn reason(explanation: &Explanation, now: SystemTime) -> Option<String> {
    explanation.is_telling().then(|| format!("{}: {}", explanation.word(), short_reason(explanation, now)))
}

/// What most likely made a step run, in a few words; for any explanation.
pub fn short_reason(explanation: &Explanation, now: SystemTime) -> String {
    let mut text: String = sanitize_line(&explanation.to_string());
    if text.chars().count() > REASON_CHARS_MAX {
        text = text.chars().take(REASON_CHARS_MAX - 3).chain("...".chars()).collect();
    }
    let Some(nearest) = &explanation.nearest else { return text };
    let made = ago(nearest.made_unix_s, now);
    match &nearest.evicted {
        Some(evicted) if explanation.differences == [Difference::Evicted] => {
            format!("{text} by {} {} (it was made {made})", sanitize_line(&evicted.by), ago(evicted.at_unix_s, now))
        }
        _ => format!("{text} (record from {made})"),
    }
}

/// How long ago something was: `5 min ago`.
pub fn ago(unix_s: i64, now: SystemTime) -> String {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let seconds = now.saturating_sub(u64::try_from(unix_s).unwrap_or(0));
    match seconds {
        0..5 => "just now".to_owned(),
        5..120 => format!("{seconds} s ago"),
        120..7200 => format!("{} min ago", seconds / 60),
        7200..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use bake_solver::{Change, Eviction, How, NearestRecord};

    use super::*;

    fn explanation(differences: Vec<Difference>, evicted: Option<Eviction>) -> Explanation {
        let nearest = NearestRecord { step: "RUN x".into(), key: String::new(), made_unix_s: 1000, evicted };
        Explanation { nearest: Some(nearest), differences }
    }

    #[test]
    fn reasons_are_short_and_say_how_old_the_record_is() {
        let now = UNIX_EPOCH + Duration::from_secs(1000 + 7300);
        let change =
            Change { name: "user".into(), how: How::Changed, from: Some("a".into()), to: Some("\u{1b}[2J".into()) };
        let changed = explanation(vec![Difference::Setting(change)], None);
        assert_eq!(
            reason(&changed, now).as_deref(),
            Some("why: user changed from `a` to `\\x1b[2J` (record from 2 h ago)")
        );
        let evicted = Eviction { at_unix_s: 8200, by: "bake prune".into() };
        let removed = explanation(vec![Difference::Evicted], Some(evicted));
        assert_eq!(
            reason(&removed, now).as_deref(),
            Some("why: its result was removed by bake prune 100 s ago (it was made 2 h ago)")
        );
        let long = Change { name: "x".repeat(500), how: How::Added, from: None, to: None };
        let long = explanation(vec![Difference::Variable(long)], None);
        assert!(short_reason(&long, now).len() < 200);
        let first = Explanation { nearest: None, differences: vec![Difference::NeverBuilt] };
        assert_eq!(reason(&first, now), None);
    }

    #[test]
    fn ages_are_rough() {
        for (seconds, text) in
            [(0, "just now"), (60, "60 s ago"), (600, "10 min ago"), (7200, "2 h ago"), (864_000, "10 days ago")]
        {
            assert_eq!(ago(0, UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
        // A clock that was set back.
        assert_eq!(ago(5000, UNIX_EPOCH), "just now");
    }
}
