//! Sizes as people read them.

use std::fmt;

/// A number of bytes, shown in decimal units with three significant digits: `512B`, `3.15MB`, `120GB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 5] =
            [("PB", 10u64.pow(15)), ("TB", 10u64.pow(12)), ("GB", 10u64.pow(9)), ("MB", 10u64.pow(6)), ("kB", 1000)];
        for (name, unit) in UNITS {
            if self.0 >= unit {
                let (whole, rest) = (self.0 / unit, self.0 % unit);
                return match whole {
                    0..10 => write!(f, "{whole}.{:02}{name}", rest / (unit / 100)),
                    10..100 => write!(f, "{whole}.{}{name}", rest / (unit / 10)),
                    _ => write!(f, "{whole}{name}"),
                };
            }
        }
        write!(f, "{}B", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::ByteSize;

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
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
    }
}
