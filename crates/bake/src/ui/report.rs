//! The last lines of a build.

use std::fmt::Write as _;
use std::time::Duration;

use super::colour::Colour;
use super::measure::{seconds, size};
use super::sanitize::sanitize_line;

/// What a successful build came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// How many steps were carried out.
    pub ran: usize,
    /// How many results from before were used.
    pub cached: usize,
    /// The time from the start of the command.
    pub elapsed: Duration,
    /// The names that the image was given.
    pub tags: Vec<String>,
    /// The size of the image's layers, where an image was made.
    pub size_bytes: Option<u64>,
    /// What else was done with the result, for example `pushed registry.example.com/app:1.0`, one line each.
    pub destinations: Vec<String>,
    /// The digest of the image, where one was made. It is what the command writes to standard output.
    pub digest: Option<String>,
}

/// The report: `built 5 steps (3 cached) in 2.3s, 12.3MB`, then one line per name and destination.
pub fn summary_lines(summary: &Summary, colour: Colour) -> Vec<String> {
    let steps = summary.ran + summary.cached;
    let mut first = format!("{steps} {}", if steps == 1 { "step" } else { "steps" });
    // Writing to a string cannot fail, here and below.
    if summary.cached > 0 {
        let cached =
            if summary.cached == steps { "all cached".to_owned() } else { format!("{} cached", summary.cached) };
        let _ = write!(first, " ({cached})");
    }
    let _ = write!(first, " in {}", seconds(summary.elapsed));
    if let Some(bytes) = summary.size_bytes {
        let _ = write!(first, ", {}", size(bytes));
    }
    let mut lines = vec![format!("{} {first}", colour.done("built"))];
    lines.extend(summary.tags.iter().map(|tag| format!("{} {}", colour.done("tagged"), sanitize_line(tag))));
    lines.extend(summary.destinations.iter().map(|line| sanitize_line(line)));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_counts_steps_names_and_bytes() {
        let summary = Summary {
            ran: 2,
            cached: 3,
            elapsed: Duration::from_millis(2310),
            tags: vec!["myapp:1.0".into()],
            size_bytes: Some(12_345_678),
            destinations: vec!["pushed registry/app:1".into()],
            digest: None,
        };
        assert_eq!(
            summary_lines(&summary, Colour::Plain),
            ["built 5 steps (3 cached) in 2.3s, 12.3MB", "tagged myapp:1.0", "pushed registry/app:1"]
        );
        let cached = Summary { cached: 1, ..Summary::default() };
        assert_eq!(summary_lines(&cached, Colour::Plain), ["built 1 step (all cached) in 0.0s"]);
    }
}
