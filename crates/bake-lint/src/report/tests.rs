//! The forms hold what their readers look for.

#![expect(clippy::unwrap_used, reason = "a failed test should panic")]

use bake_dockerfile::{SourceText, parse};
use serde_json::Value;

use super::{FileFindings, json, sarif};
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
