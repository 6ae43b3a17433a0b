//! Sizes and times as they are shown.

use std::time::Duration;

use bake_analyze::ByteSize;

/// A number of bytes in decimal units with three significant digits: `512B`, `3.15MB`, `120GB`.
pub fn size(bytes: u64) -> String {
    ByteSize(bytes).to_string()
}

/// A time in seconds with one decimal place: `0.3s`.
pub fn seconds(time: Duration) -> String {
    format!("{:.1}s", time.as_secs_f64())
}

/// A time for people who wait: `0.3s`, from 100 s on `2m05s`, from an hour on `1h02m`.
pub fn timer(time: Duration) -> String {
    let whole = time.as_secs();
    match whole {
        0..100 => seconds(time),
        100..3600 => format!("{}m{:02}s", whole / 60, whole % 60),
        _ => format!("{}h{:02}m", whole / 3600, whole / 60 % 60),
    }
}

/// Bytes per second over a time: `5.12MB/s`; empty where the time is too short to tell.
pub fn rate(bytes: u64, time: Duration) -> String {
    let milliseconds = time.as_millis();
    if milliseconds < 100 {
        return String::new();
    }
    let per_second = u128::from(bytes) * 1000 / milliseconds;
    format!("{}/s", size(u64::try_from(per_second).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_need_time() {
        assert_eq!(rate(1000, Duration::from_millis(5)), "");
        assert_eq!(rate(10_000_000, Duration::from_secs(2)), "5.00MB/s");
        assert_eq!(seconds(Duration::from_millis(1250)), "1.2s");
        for (time, text) in [(5, "5.0s"), (99, "99.0s"), (125, "2m05s"), (3600, "1h00m"), (90_000, "25h00m")] {
            assert_eq!(timer(Duration::from_secs(time)), text);
        }
    }
}
