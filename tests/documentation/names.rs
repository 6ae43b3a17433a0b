//! Names of tests and source files in the documentation: they are there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::support::{Outcome, check};
use super::{ROOT, RULES, page};

/// The pages that name tests and files.
const PAGES: [&str; 4] = ["docs/security.md", "docs/architecture.md", "docs/store.md", "CONTRIBUTING.md"];
/// How many names there are at least: fewer mean that they are not found in the pages any more.
const NAMES_MIN: usize = 100;

/// Looks all of them up.
pub(crate) fn are_there() -> Outcome {
    let known = known_names()?;
    let mut problems = Vec::new();
    let mut count = 0;
    for page in PAGES {
        let text = fs::read_to_string(Path::new(ROOT).join(page)).map_err(|error| format!("{page}: {error}"))?;
        for (line, span) in page::spans(&text) {
            let plain = |character: char| character.is_ascii_alphanumeric() || "_-./".contains(character);
            // What a reader is to put something in for is written in capitals.
            let placeholder = span.split(['/', '.', '-']).any(|word| word.len() > 2 && word.to_uppercase() == word);
            if !span.chars().all(plain) || span.starts_with('/') || placeholder || span.contains("your_rule") {
                continue;
            }
            let is_there = if Path::new(span).extension().is_some_and(|extension| extension == "rs")
                || span.starts_with("crates/")
                || span.starts_with("testdata/")
            {
                ["", "crates", "crates/bake/src"]
                    .iter()
                    .any(|directory| Path::new(ROOT).join(directory).join(span).exists())
                    || !span.contains('/')
            } else if span.contains('_') && !span.contains(['/', '.', '-']) && span.to_lowercase() == *span {
                known.iter().any(|name| name.contains(span))
            } else {
                continue;
            };
            count += 1;
            problems.extend((!is_there).then(|| format!("{page}:{line}: `{span}` is nowhere")));
        }
    }
    problems.extend((count < NAMES_MIN).then(|| format!("only {count} names")));
    check(problems.is_empty(), || format!("{}\n{RULES}", problems.join("\n")))
}

/// All words with underscores in the sources and tests.
fn known_names() -> Result<BTreeSet<String>, String> {
    let mut names = BTreeSet::new();
    let mut waiting = vec![Path::new(ROOT).join("crates"), Path::new(ROOT).join("tests")];
    while let Some(directory) = waiting.pop() {
        for path in fs::read_dir(&directory).map_err(|error| format!("{}: {error}", directory.display()))?.flatten() {
            let path = path.path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
                let words = text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
                names.extend(words.filter(|word| word.contains('_')).map(str::to_owned));
            }
        }
    }
    // Test programs.
    let files = fs::read_dir(Path::new(ROOT).join("tests")).map_err(|error| format!("tests: {error}"))?;
    names.extend(files.flatten().filter_map(|file| Some(file.path().file_stem()?.to_string_lossy().into_owned())));
    Ok(names)
}
