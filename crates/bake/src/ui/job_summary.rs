//! The summary of a build on the page of a job of GitHub Actions, in Markdown.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use bake_graph::VertexId;
use bake_report::refuted;
use bake_solver::{BuildEvent, Outcome};

use super::measure::{seconds, size, timer};
use super::report::Summary;
use super::sanitize::sanitize_line;

/// The slowest steps that are named.
const SLOWEST_MAX: usize = 5;

/// The most warnings about steps.
const REFUTED_MAX: usize = 20;

/// Faster steps are of no interest.
const SLOW_FROM: Duration = Duration::from_millis(500);

/// The most bytes of a failure's text; the file may hold 1 MiB for all steps of a job.
const FAILURE_BYTES_MAX: usize = 64 << 10;

/// How long the slowest steps took.
#[derive(Debug, Default)]
pub(super) struct Timings {
    labels: HashMap<VertexId, String>,
    /// Steps that left something else than before, and what that was.
    refuted: Vec<String>,
    /// The slowest first.
    slowest: Vec<(Duration, String)>,
}

impl Timings {
    /// Takes note of an event.
    pub(super) fn note(&mut self, event: &BuildEvent) {
        match event {
            BuildEvent::Planned { steps } => {
                self.labels.extend(steps.iter().map(|step| (step.id, sanitize_line(&step.label.to_string()))));
            }
            BuildEvent::Finished { step, outcome: Outcome::Ran, elapsed } if *elapsed >= SLOW_FROM => {
                let Some(label) = self.labels.remove(step) else { return };
                let place = self.slowest.partition_point(|(time, _)| time >= elapsed);
                self.slowest.insert(place, (*elapsed, label));
                self.slowest.truncate(SLOWEST_MAX);
            }
            BuildEvent::Refuted { step, path } if self.refuted.len() < REFUTED_MAX => {
                let label = self.labels.get(step).map(|label| code(label)).unwrap_or_default();
                self.refuted.push(format!("{label}: {}", code(&refuted(path.as_deref()))));
            }
            _ => {}
        }
    }
}

/// The summary of a build that went well.
pub(super) fn success(summary: &Summary, timings: &Timings) -> String {
    let steps = summary.ran + summary.cached;
    let name = summary.tags.first().map(|tag| format!(" of {}", code(tag))).unwrap_or_default();
    let mut text = format!("### bake build{name}\n\n| | |\n|---|---|\n");
    // Writing to a string cannot fail, here and below.
    if let Some(digest) = &summary.digest {
        let _ = writeln!(text, "| Digest | {} |", code(digest));
    }
    if !summary.tags.is_empty() {
        let tags: Vec<String> = summary.tags.iter().map(|tag| code(tag)).collect();
        let _ = writeln!(text, "| Tags | {} |", tags.join("<br>"));
    }
    for destination in &summary.destinations {
        let _ = writeln!(text, "| Output | {} |", code(destination));
    }
    if let Some(bytes) = summary.size_bytes {
        let _ = writeln!(text, "| Size | {} |", size(bytes));
    }
    let _ = writeln!(text, "| Time | {} |", timer(summary.elapsed));
    let _ = writeln!(text, "| Steps | {steps}: {} ran, {} cached |", summary.ran, summary.cached);
    if !timings.slowest.is_empty() {
        text.push_str("\n| Slowest steps | Time |\n|---|---:|\n");
        for (time, label) in &timings.slowest {
            let _ = writeln!(text, "| {} | {} |", code(label), seconds(*time));
        }
    }
    if !timings.refuted.is_empty() {
        text.push('\n');
        for refuted in &timings.refuted {
            let _ = writeln!(text, "- Warning: {refuted}");
        }
    }
    text.push('\n');
    text
}

/// The summary of a build that failed; `details` is what was written of it.
pub fn failure(message: &str, details: &str) -> String {
    let mut text = format!("### bake failed\n\n{}\n", code(&sanitize_line(message)));
    let start = details.ceil_char_boundary(details.len().saturating_sub(FAILURE_BYTES_MAX));
    let details = details[start..].trim_end();
    if !details.is_empty() {
        // A fence that is longer than any row of backticks in it.
        let longest = details.split(|character| character != '`').map(str::len).max().unwrap_or(0);
        let fence = "`".repeat(longest.max(2) + 1);
        let _ = write!(text, "\n{fence}text\n{details}\n{fence}\n");
    }
    text.push('\n');
    text
}

/// Adds text to the summary of the job, to which other steps of the job add too.
///
/// # Errors
/// The file cannot be opened or written.
pub fn append(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().append(true).create(true).open(path)?.write_all(text.as_bytes())
}

/// Text from outside, as it is, in a cell of a table.
fn code(text: &str) -> String {
    let escaped = sanitize_line(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    // Bars end cells even in code.
    format!("<code>{}</code>", escaped.replace('|', "&#124;"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_a_table() {
        let summary = Summary {
            ran: 2,
            cached: 1,
            elapsed: Duration::from_secs(125),
            tags: vec!["app:1".to_owned()],
            size_bytes: Some(1000),
            destinations: vec!["pushed r/app:1@sha256:12".to_owned()],
            digest: Some("sha256:12".to_owned()),
        };
        let timings = Timings {
            labels: HashMap::new(),
            refuted: Vec::new(),
            slowest: vec![(Duration::from_secs(3), "[2/2] RUN a | b <c> `d`".to_owned())],
        };
        assert_eq!(
            success(&summary, &timings),
            "### bake build of <code>app:1</code>\n\n| | |\n|---|---|\n| Digest | <code>sha256:12</code> |\n\
             | Tags | <code>app:1</code> |\n| Output | <code>pushed r/app:1@sha256:12</code> |\n| Size | 1.00kB |\n\
             | Time | 2m05s |\n| Steps | 3: 2 ran, 1 cached |\n\n| Slowest steps | Time |\n|---|---:|\n\
             | <code>[2/2] RUN a &#124; b &lt;c&gt; `d`</code> | 3.0s |\n\n"
        );
    }

    #[test]
    fn a_failure_cannot_leave_its_fence() {
        let text = failure("the step failed", "a\n```\n### no heading\n````\n");
        assert_eq!(
            text,
            "### bake failed\n\n<code>the step failed</code>\n\n`````text\na\n```\n### no heading\n````\n`````\n\n"
        );
        assert!(failure("x", &"ü".repeat(FAILURE_BYTES_MAX)).len() < FAILURE_BYTES_MAX + 100);
    }
}
