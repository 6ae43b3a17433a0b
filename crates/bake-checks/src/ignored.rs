//! Copies of what the ignore file leaves out.

use bake_dockerfile::{IgnorePatterns, Span};

use crate::Violation;
use crate::table::COPY_IGNORED_FILE;

/// Patterns that leave nothing of a context.
const EVERYTHING: [&[u8]; 3] = [b"*", b"**", b"**/*"];

/// `CopyIgnoredFile`: a source, expanded, of a COPY or ADD (`verb`: "Copy" or "Add") from the build context, that the ignore file leaves
/// out.
pub fn copy_ignored(source: &str, verb: &str, patterns: &IgnorePatterns, span: Span) -> Option<Violation> {
    let source = ignored_source(source, patterns)?;
    let message = format!("Attempting to {verb} file {source:?} that is excluded by .dockerignore");
    Some(Violation::new(&COPY_IGNORED_FILE, span, message))
}

/// The source as it is named in the finding, when the ignore file leaves it out. With exceptions in the file that cannot
/// be told from the name alone, so nothing is.
fn ignored_source(source: &str, patterns: &IgnorePatterns) -> Option<String> {
    if patterns.has_exceptions() || patterns.is_empty() {
        return None;
    }
    let path = clean(source);
    let ignored = if path == "." || path == "/" {
        patterns.patterns().iter().any(|pattern| EVERYTHING.contains(&pattern.text()))
    } else {
        // Patterns are relative; BuildKit compares names as they are written.
        !path.starts_with('/') && patterns.matches(&path)
    };
    ignored.then_some(path)
}

/// The path without `.`, doubled slashes and what `..` takes back; relative if it was.
fn clean(path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if absolute => {}
            part => parts.push(part),
        }
    }
    match (absolute, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;
    use bake_dockerfile::IgnoreFile;

    #[test]
    fn sources_are_compared_with_the_ignore_file() {
        let found = |source: &str, file: &str| ignored_source(source, &IgnoreFile::parse(file.as_bytes()).unwrap());
        assert_eq!(found("./a/", "a\n"), Some("a".into()));
        assert_eq!(found("a/b", "a\n"), Some("a/b".into()));
        assert_eq!(found("b", "a\n"), None);
        assert_eq!(found("a", "a\n!a/b\n"), None);
        assert_eq!(found(".", "a\n"), None);
        assert_eq!(found(".", "**\n"), Some(".".into()));
        assert_eq!(found("/a", "a\n"), None);
        assert_eq!(found("a", ""), None);
    }

    #[test]
    fn paths_are_cleaned() {
        for (path, cleaned) in [("a//b/../c/.", "a/c"), ("./", "."), ("/", "/"), ("../a", "../a"), ("/../a", "/a")] {
            assert_eq!(clean(path), cleaned, "{path}");
        }
    }
}
