//! Times, amounts and places as people read them.

use bake_analyze::ByteSize;
use bake_oci::Timestamp;

/// A time in the unit that suits it: `45 ms`, `3.2 s`, `2 min 05 s`, `1 h 02 min`.
pub(crate) fn duration(microseconds: u64) -> String {
    let milliseconds = microseconds / 1000;
    let seconds = milliseconds / 1000;
    match milliseconds {
        0 if microseconds > 0 => "< 1 ms".to_owned(),
        0..1000 => format!("{milliseconds} ms"),
        // Rounded, as everywhere else.
        1000..59_950 => format!("{}.{} s", (milliseconds + 50) / 1000, (milliseconds + 50) % 1000 / 100),
        59_950..60_000 => "60.0 s".to_owned(),
        60_000..3_600_000 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A number of bytes: `12.3 MB`.
pub(crate) fn size(bytes: u64) -> String {
    let text = ByteSize(bytes).to_string();
    let unit = text.find(|character: char| character.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit);
    format!("{number} {unit}")
}

/// A point in time: `2026-11-29 13:05:31 UTC`, and as machines read it.
pub(crate) fn moment(unix_s: i64) -> (String, String) {
    let exact = Timestamp::from_seconds(unix_s).to_rfc3339();
    (exact.replace('T', " ").replace('Z', " UTC"), exact)
}

/// `1 step`, `2 steps`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// Why the result of a past run was used, of which the step had read this many paths.
pub fn reused(paths: usize) -> String {
    match paths {
        0 => "reused: it read none of the copied files".to_owned(),
        1 => "reused: the one path it read has not changed".to_owned(),
        _ => format!("reused: none of the {paths} paths it read changed"),
    }
}

/// That a step left something else than a run with the same answers before, `path` first, and what to do.
pub fn refuted(path: Option<&str>) -> String {
    let what = match path {
        Some(path) => format!("another `{path}`"),
        None => "other files".to_owned(),
    };
    format!(
        "run again to verify it, this step left {what}, although nothing that it read has changed: it is not deterministic, or \
         depends on something that is not recorded. What it read is forgotten, and the new result counts; write \
         `# bake: trace=off` above the instruction to have it found by its inputs alone"
    )
}

/// How large `part` is, in percent of `whole`, with two decimal places: exact enough for a screen.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    let hundredths = if whole == 0 { 0 } else { u128::from(part) * 10_000 / u128::from(whole) };
    let hundredths = hundredths.min(10_000);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_have_units_that_suit() {
        for (microseconds, text) in [
            (0, "0 ms"),
            (900, "< 1 ms"),
            (45_000, "45 ms"),
            (3_290_000, "3.3 s"),
            (59_990_000, "60.0 s"),
            (125_000_000, "2 min 05 s"),
            (3_720_000_000, "1 h 02 min"),
        ] {
            assert_eq!(duration(microseconds), text);
        }
        assert_eq!((size(0).as_str(), size(12_345_678).as_str()), ("0 B", "12.3 MB"));
        assert_eq!(reused(19), "reused: none of the 19 paths it read changed");
        assert_eq!(reused(1), "reused: the one path it read has not changed");
        assert_eq!(reused(0), "reused: it read none of the copied files");
        assert_eq!(moment(0), ("1970-01-01 00:00:00 UTC".into(), "1970-01-01T00:00:00Z".into()));
        assert_eq!(
            (percent(1, 3).as_str(), percent(5, 0).as_str(), percent(9, 3).as_str()),
            ("33.33", "0.00", "100.00")
        );
    }
}
