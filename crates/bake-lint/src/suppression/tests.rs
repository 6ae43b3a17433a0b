//! Which comments hide what, and which are not needed.

use bake_dockerfile::{SourceText, parse};

use crate::testing::lines;
use crate::{LintOptions, apply_fixes, lint};

#[test]
fn every_spelling_hides_the_instruction_below() {
    for comment in [
        "# bake: ignore=sudo",
        "# bake ignore=sudo",
        "# bake: ignore=pipefail-missing, sudo reason=\"x\"",
        "# bake: ignore=sud*",
        "#hadolint ignore=DL3004 # why",
        "# hadolint ignore=DL3006,DL3004",
        "# hadolint ignore=DL3006 , DL3004",
        "# check=skip=all",
        "# tally ignore=sudo;reason=x",
        "# tally ignore=hadolint/DL3004",
        "# check=skip=DL3004;error=true",
        "# check = error=true; skip=DL3004",
        "# nosemgrep: sudo",
    ] {
        let text = format!("FROM debian:12\nRUN sudo a\n{comment}\nRUN sudo a\nRUN sudo a\n");
        assert_eq!(lines("sudo", &text), [2, 5], "{comment}");
    }
}

#[test]
fn global_ones_hide_everywhere() {
    for comment in [
        "# check=skip=DL3004",
        "# hadolint global ignore=DL3004",
        "# bake: global ignore=sudo",
        "# tally global ignore=sudo;reason=x",
        "# checkov:skip=CKV2_DOCKER_1:why",
        "# trivy:ignore:DS-0010",
        "# trivy:ignore:AVD-DS-0001 #trivy:ignore:DS-0010:exp:2999-12-31",
    ] {
        let text = format!("{comment}\n\nFROM debian:12\nRUN sudo a\nRUN sudo a\n");
        assert_eq!(lines("sudo", &text), [0; 0], "{comment}");
    }
    let expired = "# trivy:ignore:DS-0010:exp:2020-01-31\n\nFROM debian:12\nRUN sudo a\n";
    assert_eq!(lines("sudo", expired), [4]);
}

#[test]
fn comments_that_only_look_like_it_hide_nothing() {
    for comment in [
        "# ignore=sudo",
        "# hadolint",
        "# hadolint ignore=",
        "# baked ignore=sudo",
        "# check=error=true",
        "# trivy:ignore:",
    ] {
        let text = format!("FROM debian:12\n{comment}\nRUN sudo a\n");
        assert_eq!(lines("sudo", &text), [3], "{comment}");
    }
}

/// The findings of `rule` as message and text under it, and the text after the fixes.
fn found(rule: &str, text: &str) -> (Vec<(String, String)>, String) {
    let options = LintOptions { extend_select: vec![rule.to_owned()], ..LintOptions::default() };
    let source = SourceText::new("Dockerfile", text);
    let mut findings = lint(&parse(source.clone()), &options);
    findings.retain(|finding| finding.rule.id == rule);
    let shown = findings.iter().map(|f| (f.message.clone(), source.slice(f.span).to_owned())).collect();
    (shown, apply_fixes(text, &findings, false).text)
}

#[test]
fn unneeded_ones_are_reported_and_deleted() {
    let text = "FROM debian:12\n# bake: ignore=sudo,nonsense\nRUN a\n# hadolint ignore=DL3004\nRUN a\n";
    let (shown, fixed) = found("unused-suppression", text);
    assert_eq!(shown[0], ("Nothing to ignore for `sudo`".to_owned(), "sudo".to_owned()));
    assert_eq!(shown[1], ("There is no rule `nonsense`".to_owned(), "nonsense".to_owned()));
    assert_eq!((shown.len(), fixed.as_str()), (2, "FROM debian:12\nRUN a\n# hadolint ignore=DL3004\nRUN a\n"));
    let (shown, fixed) = found("unused-foreign-suppression", text);
    assert_eq!((shown.len(), shown[0].1.as_str()), (1, "DL3004"));
    assert_eq!(fixed, "FROM debian:12\n# bake: ignore=sudo,nonsense\nRUN a\nRUN a\n");
}

#[test]
fn one_name_of_several_is_deleted_with_its_comma() {
    for (list, left) in [
        ("maintainer, sudo", "sudo"),
        ("sudo, maintainer", "sudo"),
        ("maintainer,sudo,chmod-777", "sudo"),
        ("chmod-777 , maintainer,sudo", "sudo"),
    ] {
        let text = |list: &str| format!("FROM debian:12\n# bake: ignore={list} reason=\"x\"\nRUN sudo a\n");
        let mut fixed = text(list);
        for _ in 0..3 {
            fixed = found("unused-suppression", &fixed).1;
        }
        assert_eq!(fixed, text(left), "{list}");
    }
}

#[test]
fn a_comment_that_keeps_another_from_being_a_directive_stays() {
    let text = "# bake: global ignore=sudo\n# escape=`\nFROM debian:12\nRUN a\n";
    let (shown, fixed) = found("unused-suppression", text);
    assert_eq!((shown.len(), fixed.as_str()), (1, text));
}

#[test]
fn what_did_not_run_is_not_judged() {
    let text = "FROM debian:12\n# bake: ignore=healthcheck-missing,SC9999\nRUN a\n";
    assert_eq!(found("unused-suppression", text).0, []);
}

#[test]
fn reasons_are_asked_for() {
    let missing = |comment: &str| {
        let text = format!("FROM debian:12\n{comment}\nRUN sudo a\n");
        !found("suppression-without-reason", &text).0.is_empty()
    };
    for comment in [
        "# bake: ignore=sudo",
        "# bake: ignore=sudo reason=\"\"",
        "# hadolint ignore=DL3004 #",
        "# hadolint ignore=DL3004",
        "# tally ignore=sudo;reason=",
        "# checkov:skip=CKV2_DOCKER_1",
        "# nosemgrep: sudo",
    ] {
        assert!(missing(comment), "{comment}");
    }
    for comment in [
        "# bake: ignore=sudo reason=\"the installer asks for it\"",
        "# hadolint ignore=DL3004 # installer",
        "# tally ignore=sudo;reason=installer",
        "# checkov:skip=CKV2_DOCKER_1:installer",
        "# just a comment",
    ] {
        assert!(!missing(comment), "{comment}");
    }
}

#[test]
fn nothing_hides_that_something_is_hidden() {
    let text = "# hadolint global ignore=all\n\nFROM debian:12\n# bake: ignore=suppression-forbidden\nRUN sudo a\n";
    assert_eq!(found("suppression-forbidden", text).0.len(), 2);
}

#[test]
fn comments_can_be_disobeyed() {
    let text = "FROM debian:12\n# bake: ignore=sudo\nRUN sudo a\n";
    let options = LintOptions { obey_suppressions: false, ..LintOptions::default() };
    let findings = lint(&parse(SourceText::new("Dockerfile", text)), &options);
    assert!(findings.iter().any(|finding| finding.rule.id == "sudo"));
    assert!(!findings.iter().any(|finding| finding.rule.id == "unused-suppression"));
}

#[test]
fn a_directive_makes_build_checks_errors() {
    let text = "# check=error=true\nFROM debian:12 as x\nRUN sudo a\n";
    let findings = lint(&parse(SourceText::new("Dockerfile", text)), &LintOptions::default());
    let of = |id: &str| findings.iter().find(|finding| finding.rule.id == id).map(|finding| finding.severity);
    assert_eq!(of("from-as-casing"), Some(bake_dockerfile::Severity::Error));
    assert_eq!(of("sudo"), Some(bake_dockerfile::Severity::Warning));
}

#[test]
fn a_hint_names_the_shell_where_nothing_else_does() {
    let found = |text: &str| lines("pipefail-missing", text);
    assert_eq!(found("FROM corp/base:1\nRUN a | b\n"), [2]);
    assert_eq!(
        found("FROM corp/base:1\n# hadolint shell=powershell\nRUN a | b\nRUN a | b\nFROM corp/base:1\nRUN a | b\n"),
        [6]
    );
    assert_eq!(found("FROM corp/base:1\nSHELL [\"/bin/bash\", \"-c\"]\n# bake: shell=pwsh\nRUN a | b\n"), [4]);
}
