//! The command line of `bake analyze`.

use std::path::PathBuf;

use clap::Args;

/// Arguments of `bake analyze`.
#[derive(Debug, Args)]
#[command(
    after_help = "IMAGE is an image of the store, or docker://NAME, docker-archive:FILE, oci-archive:FILE, oci:DIRECTORY, or the\n\
        path of such a file or directory.\n\n\
        Examples:\n  bake analyze myapp:1.0\n  bake analyze --wasted --depth 4 myapp:1.0\n  \
        bake analyze --min-efficiency 0.95 --max-wasted 20MB myapp:ci\n  \
        bake analyze --json ./image.tar | jq .Efficiency\n\n\
        Exit codes: 0, 1 when a limit is exceeded, 2 usage or input."
)]
pub struct AnalyzeArguments {
    /// Write one JSON object.
    #[arg(long)]
    pub json: bool,

    /// How many levels of directories the tree shows; 0 for no tree.
    #[arg(long, value_name = "LEVELS", default_value = "2", value_parser = clap::value_parser!(u8).range(0..=64))]
    pub depth: u8,

    /// Show the tree of what this layer brought (the first is 1), instead of that of the image.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub layer: Option<u32>,

    /// Show the tree of what is in layers, but not in the image.
    #[arg(long, conflicts_with = "layer")]
    pub wasted: bool,

    /// How many of the largest wasted files are listed. Without it 10, and 1000 with `--json`.
    #[arg(long, value_name = "NUMBER")]
    pub top: Option<usize>,

    /// Fail when a smaller share of the bytes is visible, such as 0.95.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub min_efficiency: Option<f64>,

    /// Fail when more bytes are wasted, such as 20MB or 20MiB.
    #[arg(long, value_name = "SIZE", value_parser = exact_size_bytes)]
    pub max_wasted: Option<u64>,

    /// Fail when a larger part of all bytes is wasted, in percent.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub max_wasted_percent: Option<f64>,

    /// Read limits from a file of dive (`.dive-ci`).
    #[arg(long, value_name = "FILE")]
    pub ci_config: Option<PathBuf>,

    /// The platform, of images with several.
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,

    /// What is analyzed.
    #[arg(value_name = "IMAGE")]
    pub image: String,
}

/// Parses a share from 0 to 1.
pub fn share(text: &str) -> Result<f64, String> {
    within(text, 1.0).ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

fn percent(text: &str) -> Result<f64, String> {
    within(text.strip_suffix('%').unwrap_or(text), 100.0).ok_or_else(|| "expected a number from 0 to 100".to_owned())
}

fn within(text: &str, most: f64) -> Option<f64> {
    text.trim().parse().ok().filter(|number| (0.0..=most).contains(number))
}

/// Parses a size whose unit is what it says: `MB` is a million bytes, `MiB` is 1024². So it is in the limits of dive, and in what
/// `bake analyze` prints.
pub fn exact_size_bytes(text: &str) -> Result<u64, String> {
    let invalid = || "expected a size such as `20MB` or `20MiB`".to_owned();
    let text = text.trim();
    let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits_end);
    let unit: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return Err(invalid()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u64 = whole.parse().map_err(|_| invalid())?;
    let bytes = whole.checked_mul(unit).ok_or_else(|| "the size is too large".to_owned())?;
    // Four decimal places are more than anybody types.
    let fraction: String = fraction.chars().take(4).collect();
    let scale = 10_u64.pow(u32::try_from(fraction.len()).map_err(|_| invalid())?);
    let part: u64 = if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| invalid())? };
    bytes.checked_add(part.saturating_mul(unit) / scale).ok_or_else(|| "the size is too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_what_they_say() {
        for (text, bytes) in [
            ("20MB", Some(20_000_000)),
            ("20 MiB", Some(20 << 20)),
            ("1.5kB", Some(1500)),
            ("7", Some(7)),
            ("0", Some(0)),
            ("99999999999TB", None),
            ("1.2.3", None),
            ("20XB", None),
            ("MB", None),
            ("-1", None),
        ] {
            assert_eq!(exact_size_bytes(text).ok(), bytes, "{text}");
        }
    }

    #[test]
    fn shares_and_percents_have_bounds() {
        assert_eq!(share("0.95"), Ok(0.95));
        assert_eq!(percent("20%"), Ok(20.0));
        for text in ["1.1", "-0.1", "NaN", "x", ""] {
            assert!(share(text).is_err(), "{text}");
        }
        assert!(percent("101").is_err());
    }
}
