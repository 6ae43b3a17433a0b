//! What holds for all rules.

#![expect(clippy::unwrap_used, reason = "a failed test should panic")]

use std::collections::BTreeSet;

use crate::RULES;
use crate::testing::{findings, lines};

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
        // Those that ask for nothing until they are configured.
        let needs_options = rule.id == "image-untrusted-registry" || rule.id.starts_with("label-");
        if !needs_options || rule.id == "label-key-invalid" {
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
