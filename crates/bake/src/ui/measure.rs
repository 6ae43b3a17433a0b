//! Sizes and times as they are shown.

use std::time::Duration;

/// A number of bytes in decimal units with three significant digits: `512B`, `3.15MB`, `120GB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 5] =
        [("PB", 10u64.pow(15)), ("TB", 10u64.pow(12)), ("GB", 10u64.pow(9)), ("MB", 10u64.pow(6)), ("kB", 1000)];
    for (name, unit) in UNITS {
        if bytes >= unit {
            let (whole, rest) = (bytes / unit, bytes % unit);
            return match whole {
                0..10 => format!("{whole}.{:02}{name}", rest / (unit / 100)),
                10..100 => format!("{whole}.{}{name}", rest / (unit / 10)),
                _ => format!("{whole}{name}"),
            };
        }
    }
    format!("{bytes}B")
}

/// A time in seconds with one decimal place: `0.3s`.
pub fn seconds(time: Duration) -> String {
    format!("{:.1}s", time.as_secs_f64())
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
    fn sizes_have_three_digits() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1.00kB"),
            (3_159_999, "3.15MB"),
            (12_345_678, "12.3MB"),
            (120_000_000_000, "120GB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn rates_need_time() {
        assert_eq!(rate(1000, Duration::from_millis(5)), "");
        assert_eq!(rate(10_000_000, Duration::from_secs(2)), "5.00MB/s");
        assert_eq!(seconds(Duration::from_millis(1250)), "1.2s");
    }
}
