//! The forms hold what their readers look for.

#![expect(clippy::unwrap_used, reason = "a failed test should panic")]

use bake_dockerfile::{SourceText, parse};
use serde_json::Value;

use super::*;
use crate::{LintOptions, lint};

fn findings(text: &str) -> (SourceText, Vec<crate::Finding>) {
    let source = SourceText::new("dir/Docker file", text);
    let findings = lint(&parse(source.clone()), &LintOptions::default());
    (source, findings)
}

#[test]
fn json_holds_places_and_fixes() {
    let (source, findings) = findings("FROM debian:12\nRUN ä && sudo make\nUSER 1\n");
    let text = json(&[FileFindings { source: &source, findings: &findings }]);
    let list: Value = serde_json::from_str(&text).unwrap();
    let sudo = list.as_array().unwrap().iter().find(|finding| finding["rule"] == "sudo").unwrap();
    assert_eq!((sudo["line"].as_u64(), sudo["column"].as_u64()), (Some(2), Some(10)));
    assert_eq!(sudo["file"], "dir/Docker file");
    assert_eq!(sudo["severity"], "warning");
    assert_eq!(sudo["fix"]["edits"][0]["replacement"], "");
}

#[test]
fn sarif_is_complete() {
    let (source, findings) = findings("FROM debian:latest\nCMD a\nCMD b\nUSER 1\n");
    let text = sarif(&[FileFindings { source: &source, findings: &findings }], "1.2.3");
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["version"], "2.1.0");
    let run = &document["runs"][0];
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), findings.len());
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(run["tool"]["driver"]["rules"][index]["id"], result["ruleId"]);
        assert_eq!(result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], "dir/Docker%20file");
    }
    assert!(
        results
            .iter()
            .any(|result| result["fixes"][0]["artifactChanges"][0]["replacements"][0]["deletedRegion"].is_object())
    );
}

/// A file whose name and text try to end everything that they are put into.
fn hostile() -> (SourceText, Vec<crate::Finding>) {
    let name = "./a\n::error::b\",<x>&\u{1b}[2J\u{202e}]]>,title=c\r\0d";
    let text =
        "FROM debian:12 AS a\u{1b}]0;x\u{7}\nRUN sudo \u{1b}[31m\"<b>&\nCOPY --from=no\u{202e}pe%0A::x, / /\nUSER 1\n";
    let source = SourceText::new(name, text);
    let options = LintOptions { select: vec!["all".to_owned()], ..LintOptions::default() };
    let findings = lint(&parse(source.clone()), &options);
    assert!(findings.len() > 3, "{findings:?}");
    (source, findings)
}

/// A form by its name.
type Form = (&'static str, fn(&[FileFindings<'_>]) -> String);

const FORMS: [Form; 10] = [
    ("json", json),
    ("sarif", |files| sarif(files, "1.2.3")),
    ("checkstyle", checkstyle),
    ("codeclimate", codeclimate),
    ("gitlab", gitlab),
    ("junit", junit),
    ("gnu", gnu),
    ("github", github),
    ("sonarqube", sonarqube),
    ("codacy", codacy),
];

#[test]
fn nothing_breaks_out_of_a_form() {
    let (source, findings) = hostile();
    let files = [FileFindings { source: &source, findings: &findings }];
    for (name, form) in FORMS {
        let text = form(&files);
        let wild = |c: char| c.is_control() && c != '\n' && !(name == "codeclimate" && c == '\0');
        assert!(!text.contains(wild), "{name}: {text:?}");
        match name {
            "json" | "sarif" | "gitlab" | "sonarqube" => drop(serde_json::from_str::<Value>(&text).unwrap()),
            "codacy" => text.lines().for_each(|line| drop(serde_json::from_str::<Value>(line).unwrap())),
            "codeclimate" => {
                text.split_terminator('\0').for_each(|issue| drop(serde_json::from_str::<Value>(issue).unwrap()));
            }
            "gnu" => assert_eq!(text.lines().count(), findings.len(), "{text}"),
            "github" => {
                assert_eq!(text.lines().count(), findings.len(), "{text}");
                for line in text.lines() {
                    let (properties, _) = line[2..].split_once("::").unwrap();
                    assert_eq!(properties.matches("file=").count(), 1, "{line}");
                    assert_eq!(properties.matches(",title=").count(), 1, "{line}");
                }
            }
            _ => {
                assert!(!text.contains("<x>") && !text.contains("<b>"), "{name}: {text}");
                let quotes = text.lines().map(|line| line.matches('"').count());
                assert!(quotes.clone().all(|count| count % 2 == 0), "{name}: {text}");
            }
        }
    }
}

#[test]
fn every_form_has_every_finding_at_its_place() {
    let (source, findings) = findings("FROM debian:12\nRUN ä && sudo make\nMAINTAINER x\n");
    let files = [FileFindings { source: &source, findings: &findings }];
    let sudo = findings.iter().find(|finding| finding.rule.id == "sudo").unwrap();
    let (count, message) = (findings.len(), super::issue::issue(&source, sudo).message());
    let xml_message = super::issue::xml(&message);
    assert!(gnu(&files).contains(&format!("dir/Docker file:2:10: warning: {message} [sudo]\n")), "{}", gnu(&files));
    let github = github(&files);
    let wanted = format!("::warning file=dir/Docker file,line=2,endLine=2,col=10,endColumn=14,title=sudo::{message}\n");
    assert!(github.contains(&wanted) && github.lines().count() == count, "{github}");
    let checkstyle = checkstyle(&files);
    let wanted = format!(
        "<error line=\"2\" column=\"10\" severity=\"warning\" message=\"{xml_message}\" source=\"bake.sudo\"/>"
    );
    assert!(checkstyle.contains(&wanted) && checkstyle.matches("<error ").count() == count, "{checkstyle}");
    let junit = junit(&files);
    assert!(junit.contains("name=\"sudo (2:10)\"") && junit.matches("<testcase ").count() == count, "{junit}");
    let gitlab: Vec<Value> = serde_json::from_str(&gitlab(&files)).unwrap();
    let issue = gitlab.iter().find(|issue| issue["check_name"] == "sudo").unwrap();
    assert_eq!((issue["severity"].as_str(), issue["location"]["lines"]["begin"].as_u64()), (Some("major"), Some(2)));
    assert_eq!((gitlab.len(), issue["location"]["path"].as_str()), (count, Some("dir/Docker file")));
    assert_eq!(codeclimate(&files).matches('\0').count(), count);
    let sonarqube: Value = serde_json::from_str(&sonarqube(&files)).unwrap();
    let issues = sonarqube["issues"].as_array().unwrap();
    let place = &issues.iter().find(|issue| issue["ruleId"] == "sudo").unwrap()["primaryLocation"]["textRange"];
    assert_eq!((place["startColumn"].as_u64(), place["endColumn"].as_u64()), (Some(9), Some(13)));
    assert_eq!(codacy(&files).lines().count(), count);
}

#[test]
fn a_clean_file_is_a_test_that_passed() {
    let source = SourceText::new("Dockerfile", "FROM scratch\n");
    let files = [FileFindings { source: &source, findings: &[] }];
    assert!(junit(&files).contains("tests=\"1\" failures=\"0\" errors=\"0\""));
    for (name, form) in FORMS {
        let text = form(&files);
        assert!(!text.contains("sudo"), "{name}");
    }
}

#[test]
fn fingerprints_differ_and_stay_when_lines_are_added() {
    let prints = |text: &str| -> Vec<String> {
        let (source, findings) = findings(text);
        let text = gitlab(&[FileFindings { source: &source, findings: &findings }]);
        let issues: Vec<Value> = serde_json::from_str(&text).unwrap();
        issues.iter().map(|issue| issue["fingerprint"].as_str().unwrap().to_owned()).collect()
    };
    let before = prints("FROM debian:12\nRUN sudo make\nRUN sudo make\nUSER 1\n");
    let after = prints("# more\n\nFROM debian:12\nRUN sudo make\nRUN sudo make\nUSER 1\n");
    assert_eq!(before, after);
    let distinct: std::collections::BTreeSet<&String> = before.iter().collect();
    assert_eq!(distinct.len(), before.len());
}
