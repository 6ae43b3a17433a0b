//! `docs/troubleshooting.md`: each heading is a message as the program writes it.
//!
//! A comment `<!-- says: COMMANDS -->` below a heading makes the program say it, `<!-- says as root: COMMANDS -->` if root runs the
//! test. Without one, the words are looked for in the sources, so that a message that was changed there is noticed.

use std::fs;
use std::path::Path;

use bake_testkit::host;

use super::ground::{Base, Ground};
use super::support::{Environment, Outcome, check};
use super::{ROOT, RULES};

/// The page.
const PAGE: &str = "docs/troubleshooting.md";
/// The headings that are messages.
const LEVEL: &str = "### ";
/// How many messages there are at least.
const MESSAGES_MIN: usize = 50;

/// How many tests share the page, so that they can run at the same time.
pub(crate) const PARTS: usize = 4;

/// That each message of one part of the page is still written.
pub(crate) fn are_written(environment: &Environment, base: &Result<Base, String>, part: usize) -> Outcome {
    let base = base.as_ref().map_err(Clone::clone)?;
    let path = Path::new(ROOT).join(PAGE);
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let ground = Ground::new(environment, base)?;
    let sources = sources()?;
    let mut problems = Vec::new();
    let mut count = 0;
    for (index, entry) in text.split("\n### ").skip(1).enumerate() {
        count += 1;
        if index % PARTS != part {
            continue;
        }
        let (heading, entry) = entry.split_once('\n').unwrap_or((entry, ""));
        let as_root = if host::is_root() { "<!-- says:" } else { "" };
        let entry = entry.replace("<!-- says as root:", as_root);
        let said =
            entry.split("<!-- says:").skip(1).filter_map(|rest| rest.split_once("-->")).map(|(said, _)| said.trim());
        let mut provoked = false;
        for commands in said {
            provoked = true;
            let output = ground.run(&format!("( {commands}\n) || true"))?.output();
            if !output.lines().any(|line| contains(line, heading)) {
                problems.push(format!("`{LEVEL}{heading}`: `{commands}` does not say this, but:\n{output}"));
            }
        }
        if !provoked && !sources.iter().any(|text| contains(text, heading)) {
            problems.push(format!("`{LEVEL}{heading}`: no source says this"));
        }
    }
    problems.extend((count < MESSAGES_MIN).then(|| format!("only {count} messages")));
    check(problems.is_empty(), || format!("{PAGE}: {}\n{RULES}", problems.join("\n")))
}

/// Whether the pieces of a message, between its `...`, come in `text` in their order.
fn contains(text: &str, message: &str) -> bool {
    let mut rest = text;
    message.split("...").map(str::trim).filter(|piece| !piece.is_empty()).all(|piece| {
        let found = rest.split_once(piece);
        rest = found.map_or("", |(_, after)| after);
        found.is_some()
    })
}

/// What stands between quotes in the sources of the program, tests aside.
fn sources() -> Result<Vec<String>, String> {
    let mut literals = Vec::new();
    let mut waiting = vec![Path::new(ROOT).join("crates")];
    while let Some(directory) = waiting.pop() {
        let entries = fs::read_dir(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                waiting.extend(
                    (!matches!(name.as_str(), "tests" | "benches" | "fuzz" | "bake-testkit" | "xtask")).then_some(path),
                );
            } else if path.extension().is_some_and(|extension| extension == "rs") && !name.ends_with("tests.rs") {
                let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
                let program = text.split("#[cfg(test)]\nmod ").next().unwrap_or(&text);
                let program = program.split("#[cfg(test)]\n#[expect").next().unwrap_or(program);
                literals.extend(quoted(program));
            }
        }
    }
    Ok(literals)
}

/// The string literals of a source file, as they are when the program runs.
fn quoted(source: &str) -> Vec<String> {
    let mut literals = Vec::new();
    for line in joined(source) {
        let mut literal: Option<String> = None;
        let mut characters = line.chars();
        while let Some(character) = characters.next() {
            match (character, &mut literal) {
                ('\\', Some(literal)) => literal.extend(characters.next()),
                ('"', Some(_)) => literals.extend(literal.take()),
                ('"', None) => literal = Some(String::new()),
                // A character, not the begin of a text.
                ('\'', None) if characters.as_str().starts_with("\"'") => drop(characters.next()),
                (_, Some(literal)) => literal.push(character),
                (_, None) => {}
            }
        }
    }
    literals
}

/// Lines without comments, those that a backslash continues as one.
fn joined(source: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut continued = false;
    for line in source.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
        let (text, goes_on) = line.strip_suffix('\\').map_or((line, false), |text| (text, true));
        match lines.last_mut().filter(|_| continued) {
            Some(last) => last.push_str(text),
            None => lines.push(text.to_owned()),
        }
        continued = goes_on;
    }
    lines
}
