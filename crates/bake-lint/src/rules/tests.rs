//! What holds for all rules.

#![expect(clippy::unwrap_used, reason = "a failed test should panic")]

use std::collections::BTreeSet;

use bake_dockerfile::{InstructionKind, SourceText, parse};

use crate::testing::{findings, lines};
use crate::{Finding, RULES};

#[test]
fn the_list_is_the_directory() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/rules");
    let files: BTreeSet<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".rs").map(|stem| stem.replace('_', "-")))
        .filter(|stem| !["mod", "prelude", "tests"].contains(&stem.as_str()))
        .collect();
    let listed: BTreeSet<String> = RULES.iter().map(|rule| rule.id.to_owned()).collect();
    assert_eq!(files, listed, "every rule is named like its file and listed in rules/mod.rs");
    assert_eq!(listed.len(), RULES.len(), "no rule is listed twice");
}

#[test]
fn every_example_shows_what_it_says() {
    for rule in RULES {
        // Their examples need options that other tests give.
        let needs_options = [
            "base-platform-mismatch",
            "copy-ignored",
            "dockerignore-missing",
            "image-untrusted-registry",
            "shellcheck",
        ];
        let needs_schema = rule.id.starts_with("label-") && rule.id != "label-key-invalid";
        if !needs_schema && !needs_options.contains(&rule.id) {
            assert!(!lines(rule.id, rule.bad).is_empty(), "{}: the bad example is not flagged:\n{}", rule.id, rule.bad);
        }
        let good = lines(rule.id, rule.good);
        assert!(good.is_empty(), "{}: the good example is flagged on {good:?}:\n{}", rule.id, rule.good);
    }
}

#[test]
fn texts_are_sentences_and_names_are_unique() {
    let mut names = BTreeSet::new();
    for rule in RULES {
        assert!(rule.summary.ends_with('.') && rule.why.ends_with('.'), "{}", rule.id);
        assert!(rule.id.chars().all(|c| c == '-' || c.is_ascii_lowercase() || c.is_ascii_digit()), "{}", rule.id);
        assert!(names.insert(rule.id), "{}", rule.id);
        assert!(!rule.aliases.iter().any(|alias| RULES.iter().any(|other| other.id == *alias)), "{}", rule.id);
    }
}

#[test]
fn fixes_remove_their_finding_and_keep_to_their_safety() {
    for rule in RULES {
        let before = lines(rule.id, rule.bad).len();
        for finding in findings(rule.bad).iter().filter(|finding| finding.rule.id == rule.id) {
            if let Some(fix) = &finding.fix {
                let most = if fix.safe { crate::FixSafety::Safe } else { crate::FixSafety::Unsafe };
                assert!(rule.fix >= most, "{} declares {:?}", rule.id, rule.fix);
                let text = crate::fix::apply_fixes(rule.bad, std::slice::from_ref(finding), true).text;
                let after = lines(rule.id, &text).len();
                assert!(after < before, "{}: the fix leaves the finding:\n{text}", rule.id);
            }
        }
    }
}

/// A file's stages: names, bases, and the kinds of their instructions.
fn stages(text: &str) -> Vec<(Option<String>, String, Vec<String>)> {
    let dockerfile = parse(SourceText::new("Dockerfile", text));
    let of = |stage: &bake_dockerfile::Stage| {
        let base = match &dockerfile.instructions[stage.from].kind {
            InstructionKind::From(from) => from.image.value.to_lowercase(),
            other => panic!("a stage begins with {other:?}"),
        };
        let kinds = dockerfile.stage_instructions(stage).iter().map(|i| i.keyword.value.to_uppercase()).collect();
        (stage.name.as_ref().map(|name| name.value.to_lowercase()), base, kinds)
    };
    dockerfile.stages.iter().map(of).collect()
}

/// The findings that stop a build, by rule.
fn errors(text: &str) -> Vec<&'static str> {
    findings(text).iter().filter(|f| f.severity == bake_dockerfile::Severity::Error).map(|f| f.rule.id).collect()
}

/// `text` after the safe fixes of `rule`, as often as there are any.
fn safely_fixed(rule: &str, text: &str) -> String {
    let mut text = text.to_owned();
    for _ in 0..10 {
        let found: Vec<Finding> = findings(&text).into_iter().filter(|finding| finding.rule.id == rule).collect();
        let fixed = crate::fix::apply_fixes(&text, &found, false);
        if fixed.applied == 0 {
            break;
        }
        text = fixed.text;
    }
    text
}

#[test]
fn safe_fixes_leave_nothing_and_break_nothing() {
    // What the fix of a rule is about: instructions that go, come, or become others.
    let changes_kinds = [
        "add-instead-of-copy",
        "apt-update-alone",
        "cd-instead-of-workdir",
        "copy-chmod",
        "cleanup-in-later-layer",
        "maintainer",
        "multiple-cmd",
        "multiple-entrypoint",
        "multiple-healthcheck",
    ];
    for rule in RULES.iter().filter(|rule| rule.fix == crate::FixSafety::Safe) {
        // Its fix is a file beside the Dockerfile; it has tests of its own.
        if rule.id == "dockerignore-missing" {
            continue;
        }
        let continued = rule.bad.replace(" && ", " \\\n    # why\n    && ");
        for bad in [rule.bad.to_owned(), rule.bad.replace('\n', "\r\n"), continued] {
            let text = safely_fixed(rule.id, &bad);
            assert_ne!(text, bad, "{}: the bad example has no safe fix", rule.id);
            assert!(lines(rule.id, &text).is_empty(), "{}: the fix leaves the finding:\n{text}", rule.id);
            assert_eq!(safely_fixed(rule.id, &text), text, "{}: fixing again changes the text", rule.id);
            let parsed = parse(SourceText::new("Dockerfile", text.as_str()));
            assert!(!parsed.has_errors(), "{}: {:?}\n{text}", rule.id, parsed.diagnostics);
            let (before, after) = (errors(&bad), errors(&text));
            assert!(after.iter().all(|id| before.contains(id)), "{}: {before:?} became {after:?}\n{text}", rule.id);
            if bad.contains("\r\n") {
                assert_eq!(text.matches('\n').count(), text.matches("\r\n").count(), "{}: {text:?}", rule.id);
            }
            let (before, after) = (stages(&bad), stages(&text));
            let names = |stages: &[(Option<String>, String, Vec<String>)]| {
                stages.iter().map(|(name, base, _)| (name.clone(), base.clone())).collect::<Vec<_>>()
            };
            assert_eq!(names(&before), names(&after), "{}", rule.id);
            if !changes_kinds.contains(&rule.id) {
                assert_eq!(before, after, "{}", rule.id);
            }
        }
    }
}

#[test]
fn more_than_half_of_the_rules_have_a_fix() {
    let fixable = RULES.iter().filter(|rule| rule.fix != crate::FixSafety::None).count();
    assert!(fixable * 2 > RULES.len(), "{fixable} of {}", RULES.len());
}
