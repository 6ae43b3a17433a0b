//! Rules about source files: headers, `unsafe`, size, words that must not stay.

use std::path::{Path, PathBuf};

use super::Problem;
use crate::workspace::{Crate, display, read, text_files};

/// Most lines of a file, tests and tables aside: what is longer holds more than one thing.
const LINES_MAX: usize = 800;

/// The only crate that may contain unsafe code.
const UNSAFE_CRATE: &str = "bake-sys";

/// What a crate's header has to say besides its purpose.
const HEADER_PARTS: [&str; 3] = ["entry point", "invariant", "must not"];

/// Module names that say nothing.
const EMPTY_NAMES: [&str; 7] = ["utils", "util", "common", "helpers", "misc", "manager", "data"];

/// Texts that must not stay in a source file. Written in two halves so that this file does not hold them.
const UNFINISHED: [&str; 5] = [
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("dbg", "!("),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
];

/// Calls that only some crates may make, tests aside: the call, the crates, what to do elsewhere.
const RESTRICTED: [(&str, &[&str], &str); 5] = [
    (concat!("env::", "var("), &["bake"], "settings are read in bake/src/settings.rs and passed in"),
    (concat!("env::", "var_os("), &["bake"], "settings are read in bake/src/settings.rs and passed in"),
    (
        concat!("Command", "::new("),
        &["bake", "bake-exporter", "bake-registry", "bake-sandbox", "bake-testkit", "bake-worker", "xtask"],
        "steps run in bake-sandbox; programs of the host are started by the crate whose job they do",
    ),
    (concat!("process::", "exit("), &["bake"], "return an error: the command line decides the exit code"),
    (
        concat!("tokio::", "spawn("),
        &["bake", "bake-testkit"],
        "use a JoinSet, so that the task is joined or cancelled with its owner",
    ),
];

/// Places of a developer's machine that no file may mention.
const FOREIGN_PLACES: [&str; 4] =
    [concat!("/work", "/shared"), concat!("/work", "/main"), concat!("/tmp", "/brief"), concat!("/home", "/user/")];

/// Checks the headers and files of all crates.
pub(super) fn check_crates(crates: &[Crate]) -> Result<Vec<Problem>, String> {
    let mut problems = Vec::new();
    for package in crates {
        let source = package.directory.join("src");
        let library = source.join("lib.rs");
        let main = source.join("main.rs");
        let roots: Vec<&PathBuf> = [&library, &main].into_iter().filter(|path| path.is_file()).collect();
        for path in &roots {
            let text = read(path)?;
            // A program with a library keeps its explanation in the library.
            let explains = **path == library || roots.len() == 1;
            problems.extend(check_root(&display(path), &text, package.name == UNSAFE_CRATE, explains));
        }
        for (path, text) in text_files(&source)? {
            if path.extension().is_some_and(|extension| extension == "rs") {
                problems.extend(check_file(&path, &text));
                problems.extend(check_calls(&package.name, &path, &text));
            }
        }
    }
    Ok(problems)
}

/// Checks a `lib.rs` or `main.rs`.
fn check_root(place: &str, text: &str, may_be_unsafe: bool, explains: bool) -> Vec<Problem> {
    let mut problems = Vec::new();
    if !may_be_unsafe && !text.contains("#![forbid(unsafe_code)]") {
        let message = "unsafe code is not forbidden".to_owned();
        problems.push(Problem {
            place: place.to_owned(),
            message,
            cure: "add `#![forbid(unsafe_code)]` below the header",
        });
    }
    if explains {
        let header: String =
            text.lines().take_while(|line| line.starts_with("//!")).collect::<Vec<_>>().join("\n").to_lowercase();
        for part in HEADER_PARTS.iter().filter(|part| !header.contains(*part)) {
            let message = format!("the header does not speak of the {part}");
            let cure = "begin the file with `//!` lines: purpose, entry point, invariant, what the crate must not do";
            problems.push(Problem { place: place.to_owned(), message, cure });
        }
    }
    problems
}

/// Checks any source file of a crate.
fn check_file(path: &Path, text: &str) -> Vec<Problem> {
    let place = display(path);
    let mut problems = Vec::new();
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let parent = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    let name = if stem == "mod" { parent } else { stem.clone() };
    if EMPTY_NAMES.contains(&name.as_ref()) {
        let message = format!("`{name}` says nothing about what is inside");
        problems.push(Problem { place: place.clone(), message, cure: "name the module after the thing it holds" });
    }
    // Tests beside the code, and tables that are data in Rust's syntax, may be as long as they like.
    let exempt = stem == "tests" || stem.ends_with("_tests") || stem.ends_with("_table") || stem == "table";
    let lines = code_lines(text);
    if !exempt && lines > LINES_MAX {
        let message = format!("{lines} lines, {LINES_MAX} are the most");
        problems.push(Problem { place, message, cure: "split it by noun: each file one thing with a name" });
    }
    problems
}

/// Checks a source file for calls that its crate may not make.
fn check_calls(package: &str, path: &Path, text: &str) -> Vec<Problem> {
    if path.components().any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs"))) {
        return Vec::new();
    }
    let mut problems = Vec::new();
    for (number, line) in text.lines().take(code_lines(text)).enumerate() {
        for (call, crates, cure) in RESTRICTED {
            if line.contains(call) && !crates.contains(&package) {
                let place = format!("{}:{}", display(path), number + 1);
                problems.push(Problem { place, message: format!("`{call})` in `{package}`"), cure });
            }
        }
    }
    problems
}

/// The lines of a file before the module of its tests.
fn code_lines(text: &str) -> usize {
    let mut lines = text.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        if line == "#[cfg(test)]"
            && lines.peek().is_some_and(|(_, next)| next.starts_with("mod ") && next.ends_with('{'))
        {
            return number;
        }
    }
    text.lines().count()
}

/// Checks all text files of the repository for words that must not stay.
pub(super) fn check_texts(files: &[(PathBuf, String)]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, text) in files {
        let rust = path.extension().is_some_and(|extension| extension == "rs");
        let mut look_for = |words: &[&str], message: &str, cure: &'static str| {
            for word in words {
                if let Some(at) = text.find(word) {
                    let line = text[..at].matches('\n').count() + 1;
                    let place = format!("{}:{line}", display(path));
                    problems.push(Problem {
                        place,
                        message: format!("`{}` {message}", word.trim_end_matches('(')),
                        cure,
                    });
                }
            }
        };
        if rust {
            look_for(&UNFINISHED, "marks unfinished work", "finish it, or describe the limit where users see it");
        }
        look_for(&FOREIGN_PLACES, "is a place of one machine", "leave it out, or use a path inside the repository");
    }
    problems
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{check_calls, check_file, check_root, check_texts, code_lines};

    #[test]
    fn headers_are_complete() {
        let good = "//! Does x. Entry point: y.\n//! Invariant: z. Must not w.\n#![forbid(unsafe_code)]\n";
        assert_eq!(check_root("x", good, false, true), []);
        assert_eq!(check_root("x", "//! Does x.\n", false, true).len(), 4);
        assert_eq!(check_root("x", "//! Does x.\n", true, false), []);
    }

    #[test]
    fn long_files_and_empty_names_are_found() {
        let long = "x\n".repeat(801);
        assert_eq!(check_file(Path::new("src/a.rs"), &long).len(), 1);
        assert_eq!(check_file(Path::new("src/tests.rs"), &long), []);
        assert_eq!(check_file(Path::new("src/utils.rs"), "").len(), 1);
        assert_eq!(check_file(Path::new("src/common/mod.rs"), "").len(), 1);
        assert_eq!(code_lines("a\n#[cfg(test)]\nmod tests {\nb\n}\n"), 1);
        assert_eq!(code_lines("a\n#[cfg(test)]\nmod tests;\nb\n"), 4);
    }

    #[test]
    fn calls_are_kept_to_their_crates() {
        let text = concat!("a\nstd::env::", "var(\"X\")\n#[cfg(test)]\nmod tests {\nstd::env::", "var(\"X\")\n}\n");
        assert_eq!(check_calls("bake-oci", Path::new("src/a.rs"), text).len(), 1);
        assert_eq!(check_calls("bake", Path::new("src/a.rs"), text), []);
        assert_eq!(check_calls("bake-oci", Path::new("src/a/tests.rs"), text), []);
    }

    #[test]
    fn words_are_found_with_their_line() {
        let unfinished = concat!("a\ntodo", "!()\n").to_owned();
        let problems = check_texts(&[(PathBuf::from("a.rs"), unfinished.clone()), (PathBuf::from("a.md"), unfinished)]);
        assert_eq!(problems.iter().map(|problem| problem.place.as_str()).collect::<Vec<_>>(), ["a.rs:2"]);
    }
}
