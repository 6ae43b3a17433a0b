//! Dockerfiles with everything that is to be found in them: `cases/NAME.Dockerfile` and `cases/NAME.expect`.
//!
//! An expectation has one `LINE RULE` for each finding, LINE being that of the offending token. Without more it lists all findings of the
//! rules that run by default, so a rule that begins to complain about a file of the kind that people write shows here. With
//! `# focus: RULE RULE` as its first line it lists those of these rules, whether they run by default or not. Other lines that begin
//! with `#` are remarks, which say why where it is not plain.
//!
//! `BAKE_BLESS=1` (`cargo xtask bless`) writes the expectations; the difference is what the author claims to be right.

#![expect(clippy::unwrap_used, reason = "a failed test should panic")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use bake_dockerfile::{SourceText, parse};
use bake_lint::{LintOptions, lint};

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases");

/// Line and rule.
type Findings = BTreeSet<(usize, String)>;

/// What stands in a file `NAME.expect`.
struct Expectation {
    /// The rules that it speaks about; `None` for all that run by default.
    focus: Option<Vec<String>>,
    /// Lines that begin with `#`, kept when it is written.
    remarks: Vec<String>,
    findings: Findings,
}

impl Expectation {
    fn parse(text: &str) -> Self {
        let (remarks, lines): (Vec<&str>, Vec<&str>) =
            text.lines().filter(|line| !line.trim().is_empty()).partition(|line| line.starts_with('#'));
        let focus = remarks.iter().find_map(|line| line.strip_prefix("# focus:"));
        let rules = |list: &str| list.split_whitespace().map(str::to_owned).collect();
        let finding = |line: &str| {
            let (number, rule) = line.split_once(' ').unwrap_or_else(|| panic!("`{line}` is not LINE RULE"));
            (number.parse().unwrap_or_else(|_| panic!("`{line}` has no line number")), rule.trim().to_owned())
        };
        Self {
            focus: focus.filter(|list| list.trim() != "*").map(rules),
            remarks: remarks.into_iter().map(str::to_owned).collect(),
            findings: lines.into_iter().map(finding).collect(),
        }
    }

    fn write(&self, findings: &Findings) -> String {
        let mut text = String::new();
        for remark in &self.remarks {
            let _ = writeln!(text, "{remark}");
        }
        for (line, rule) in findings {
            let _ = writeln!(text, "{line} {rule}");
        }
        text
    }
}

fn found(dockerfile: &str, focus: Option<&[String]>) -> Findings {
    let source = SourceText::new("Dockerfile", dockerfile);
    let options = LintOptions { extend_select: focus.unwrap_or_default().to_vec(), ..LintOptions::default() };
    let findings = lint(&parse(source.clone()), &options);
    let in_focus = |rule: &str| focus.is_none_or(|rules| rules.iter().any(|name| name == rule));
    let places = findings.iter().map(|found| (source.position(found.span.start).line, found.rule.id.to_owned()));
    places.filter(|(_, rule)| in_focus(rule)).collect()
}

fn cases() -> Vec<PathBuf> {
    let files = fs::read_dir(CASES).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|end| end == "Dockerfile")).collect();
    cases.sort();
    cases
}

#[test]
fn everything_is_found_and_nothing_else() {
    let bless = std::env::var_os("BAKE_BLESS").is_some();
    let mut problems = String::new();
    for path in cases() {
        let expected = path.with_extension("expect");
        let expectation = Expectation::parse(&fs::read_to_string(&expected).unwrap_or_default());
        let actual = found(&fs::read_to_string(&path).unwrap(), expectation.focus.as_deref());
        if bless {
            fs::write(&expected, expectation.write(&actual)).unwrap();
            continue;
        }
        let name = path.file_stem().unwrap_or_default().display();
        for (line, rule) in expectation.findings.difference(&actual) {
            let _ = writeln!(problems, "{name}:{line} {rule} is not found");
        }
        for (line, rule) in actual.difference(&expectation.findings) {
            let _ = writeln!(problems, "{name}:{line} {rule} is found but not expected");
        }
    }
    assert!(problems.is_empty(), "\n{problems}(BAKE_BLESS=1 accepts it)");
}

#[test]
fn rules_and_files_of_expectations_exist() {
    for entry in fs::read_dir(CASES).unwrap() {
        let path = entry.unwrap().path();
        assert!(path.with_extension("Dockerfile").is_file(), "{} belongs to no Dockerfile", path.display());
        if path.extension().is_some_and(|end| end == "expect") {
            let expectation = Expectation::parse(&fs::read_to_string(&path).unwrap());
            let named = expectation.findings.iter().map(|(_, rule)| rule).chain(expectation.focus.iter().flatten());
            let unknown: Vec<&String> =
                named.filter(|rule| bake_lint::rule_named(rule).is_none_or(|r| r.id != **rule)).collect();
            assert!(unknown.is_empty(), "{}: no rules: {unknown:?}", path.display());
        }
    }
    assert!(Path::new(CASES).is_dir() && cases().len() >= 50);
}
