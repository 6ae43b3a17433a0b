//! Links in Markdown: files and headings that are linked to exist, and the index of the documentation has every page.

use std::collections::{BTreeSet, HashMap};
use std::path::{Component, Path, PathBuf};

use super::Problem;
use crate::workspace::display;

/// The page that lists the others.
const INDEX: &str = "docs/README.md";

/// Checks the links of all Markdown files below `root`.
pub(super) fn check(root: &Path, files: &[(PathBuf, String)]) -> Vec<Problem> {
    let pages: HashMap<&Path, &str> = files
        .iter()
        .filter(|(path, _)| path.extension().is_some_and(|extension| extension == "md"))
        .map(|(path, text)| (path.as_path(), text.as_str()))
        .collect();
    let mut problems = Vec::new();
    let mut listed = BTreeSet::new();
    for (path, text) in &pages {
        for (line, link) in links(text) {
            let place = format!("{}:{line}", display(path));
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.to_path_buf() } else { plain(&path.with_file_name(file)) };
            if path.ends_with(INDEX) {
                listed.insert(target.clone());
            }
            if !target.exists() {
                let message = format!("the link `{link}` leads nowhere");
                problems.push(Problem { place, message, cure: "links are relative to the file that they are in" });
            } else if !heading.is_empty()
                && pages.get(target.as_path()).is_some_and(|text| !anchors(text).contains(heading))
            {
                let message = format!("`{}` has no heading `#{heading}`", display(&target));
                let cure = "headings become anchors in lower case, with `-` for blanks and without punctuation";
                problems.push(Problem { place, message, cure });
            }
        }
    }
    let missing = |path: &&&Path| path.parent() == Some(&root.join("docs")) && !path.ends_with(INDEX);
    for path in pages.keys().filter(missing).filter(|path| !listed.contains(**path)) {
        let message = format!("{INDEX} does not list this page");
        problems.push(Problem {
            place: display(path),
            message,
            cure: "add a row that says what a reader can do afterwards",
        });
    }
    problems.sort_by(|one, other| one.place.cmp(&other.place));
    problems
}

/// Links to files and headings, with their lines; not those to other servers, nor what only looks like one in code.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (line, content) in prose(text) {
        // What stands between back quotes is every second piece.
        for piece in content.split('`').step_by(2) {
            for rest in piece.split("](").skip(1) {
                let link = rest.split([')', ' ']).next().unwrap_or_default();
                if !link.contains(':') && !link.is_empty() {
                    found.push((line, link));
                }
            }
        }
    }
    found
}

/// The lines outside of blocks of code, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_block = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let fence = line.trim_start().starts_with("```");
        in_block ^= fence;
        (!in_block && !fence).then_some((index + 1, line))
    })
}

/// The anchors that GitHub gives the headings of a page.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for (_, line) in prose(text) {
        let heading = line.trim_start_matches('#');
        if heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let kept = |character: &char| character.is_alphanumeric() || matches!(character, ' ' | '-' | '_');
        let anchor: String = heading.trim().to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-");
        let mut number = 0;
        while !anchors.insert(numbered(&anchor, number)) {
            number += 1;
        }
    }
    anchors
}

fn numbered(anchor: &str, number: usize) -> String {
    if number == 0 { anchor.to_owned() } else { format!("{anchor}-{number}") }
}

/// A path without `..` and `.`.
fn plain(path: &Path) -> PathBuf {
    let mut result = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                result.pop();
            }
            Component::CurDir => {}
            other => result.push(other),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_outside_of_code() {
        let text = "see [a](a.md#x \"title\") and `[b](b.md)`, [`c`](c.md)\n```\n[d](d.md)\n```\n[e](https://e.example)\n[f](#f)\n";
        assert_eq!(links(text), [(1, "a.md#x"), (1, "c.md"), (6, "#f")]);
    }

    #[test]
    fn anchors_are_those_of_github() {
        let text = "# Rules about images: `--policy`\n## A, b\n## A b\n```\n# no\n```\n#no\n";
        let expected = ["rules-about-images---policy", "a-b", "a-b-1"].map(str::to_owned);
        assert_eq!(anchors(text), BTreeSet::from(expected));
    }

    #[test]
    fn links_that_lead_nowhere_and_pages_that_nobody_lists_are_found() {
        let root = crate::workspace::root();
        let page = |name: &str, text: &str| (root.join(name), text.to_owned());
        let files = [
            page("docs/README.md", "[a](architecture.md) [b](nowhere.md)"),
            page("docs/architecture.md", "# Title\n[a](#title) [b](#nothing)"),
            page("docs/dependencies.md", "[up](../Cargo.toml)"),
        ];
        let problems = check(&root, &files);
        let messages: Vec<_> =
            problems.iter().map(|problem| (problem.place.as_str(), problem.message.as_str())).collect();
        assert_eq!(
            messages,
            [
                ("docs/README.md:1", "the link `nowhere.md` leads nowhere"),
                ("docs/architecture.md:2", "`docs/architecture.md` has no heading `#nothing`"),
                ("docs/dependencies.md", "docs/README.md does not list this page"),
            ]
        );
    }
}
