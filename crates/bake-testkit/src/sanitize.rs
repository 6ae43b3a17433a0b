//! Takes out of a text what differs from run to run: times, temporary paths, ports, digests, sizes.

use std::path::Path;

use regex::Regex;

/// Rewrites texts.
#[derive(Debug)]
pub struct Sanitizer {
    literals: Vec<(String, String)>,
    patterns: Vec<(Regex, &'static str)>,
}

/// What is replaced by what, in this order.
const PATTERNS: [(&str, &str); 8] = [
    // The time in front of a line of a step's output: `#3 0.123 text`.
    (r"(?m)^(#\d+) \d+\.\d+ ", "$1 [TIME] "),
    // The same where the last lines of a step that failed are shown again: `0.123 text`.
    (r"(?m)^\d+\.\d{3} ", "[TIME] "),
    // Durations as the display writes them: `0.3s`, `12ms`, `1m02s`.
    (r"(?m)(^|[ (])\d+m\d+(\.\d+)?s\b", "$1[TIME]"),
    (r"(?m)(^|[ (])\d+(\.\d+)?(ms|s)\b", "$1[TIME]"),
    (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z\b", "[DATE]"),
    (r"\b(127\.0\.0\.1|localhost):\d{2,5}\b", "$1:[PORT]"),
    (r"\bsha256:[0-9a-f]{64}\b", "sha256:[DIGEST]"),
    (r"\b\d+(\.\d+)?(B|kB|MB|GB)\b", "[SIZE]"),
];

impl Default for Sanitizer {
    fn default() -> Self {
        Self::new()
    }
}

impl Sanitizer {
    /// Replaces times, dates, ports, digests and sizes.
    pub fn new() -> Self {
        let patterns = PATTERNS
            .iter()
            .map(|(pattern, replacement)| {
                (Regex::new(pattern).expect("the patterns above are regular expressions"), *replacement)
            })
            .collect();
        Self { literals: Vec::new(), patterns }
    }

    /// Replaces a path, too; the first that fits wins, so longer ones are to be added first.
    #[must_use]
    pub fn path(self, path: &Path, name: &str) -> Self {
        self.literal(&path.display().to_string(), name)
    }

    /// Replaces a text, too.
    #[must_use]
    pub fn literal(mut self, text: &str, name: &str) -> Self {
        self.literals.push((text.to_owned(), format!("[{name}]")));
        self
    }

    /// The text with everything replaced, without spaces at the ends of lines, and with a newline at its end.
    pub fn sanitize(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (literal, replacement) in &self.literals {
            text = text.replace(literal, replacement);
        }
        for (pattern, replacement) in &self.patterns {
            text = pattern.replace_all(&text, *replacement).into_owned();
        }
        let mut clean = String::with_capacity(text.len());
        for line in text.trim_end().lines() {
            clean.push_str(line.trim_end());
            clean.push('\n');
        }
        clean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_moves_is_replaced() {
        let sanitizer = Sanitizer::new().path(Path::new("/tmp/abc/context"), "CONTEXT");
        for (text, expected) in [
            ("#3 0.123 text 1.5", "#3 [TIME] text 1.5\n"),
            ("0.123 text", "[TIME] text\n"),
            ("write `30s`", "write `30s`\n"),
            ("took 0.3s, then 12ms, then 1m02s", "took [TIME], then [TIME], then [TIME]\n"),
            ("at 2026-01-02T03:04:05.6Z  ", "at [DATE]\n"),
            ("http://127.0.0.1:41234/v2/", "http://127.0.0.1:[PORT]/v2/\n"),
            ("`/tmp/abc/context/a`\n\n", "`[CONTEXT]/a`\n"),
            ("12.3MB in 4 files, 12s3", "[SIZE] in 4 files, 12s3\n"),
        ] {
            assert_eq!(sanitizer.sanitize(text), expected);
        }
    }
}
