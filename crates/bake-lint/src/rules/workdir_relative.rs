//! `workdir-relative`

use super::prelude::*;
use crate::context::join_path;

pub(super) const RULE: Rule = Rule {
    id: "workdir-relative",
    aliases: &["WorkdirRelativePath", "DL3000", "DS-0009", "AVD-DS-0009", "CKV_DOCKER_10"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "A relative `WORKDIR` with no absolute one before it.",
    why: "It is relative to the base image's directory, which is nowhere to be seen and can change with the image.",
    bad: "FROM debian:12-slim\nWORKDIR app\nUSER 10001\n",
    good: "FROM debian:12-slim\nWORKDIR /srv\nWORKDIR app\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    let mut anchored = vec![false; context.stages.len()];
    for (index, stage) in context.stages.iter().enumerate() {
        let has_trigger = |base: usize| {
            let mut triggers = context.stage_instructions(base).filter(|located| located.onbuild);
            triggers.any(|located| matches!(located.instruction.kind, InstructionKind::Workdir(_)))
        };
        anchored[index] = matches!(stage.base, Base::Stage(base) if anchored[base] || has_trigger(base));
        for located in context.stage_instructions(index).filter(|located| !located.onbuild) {
            let InstructionKind::Workdir(word) = &located.instruction.kind else { continue };
            if std::mem::replace(&mut anchored[index], true) {
                continue;
            }
            // What cannot be told here is taken to be right.
            let Some(path) = context.expanded_word(index, located.index, word) else { continue };
            if let Some(violation) = bake_checks::relative_workdir(&path, word.span)
                && !path.is_empty()
                && !is_absolute_on_windows(&path)
            {
                let base = context.base_directory(index);
                let absolute = join_path(base.unwrap_or("/"), &path);
                let finding = report.violation(violation);
                finding.help(format!("make it absolute: `WORKDIR {absolute}`"));
                if base.is_some() && context.source(word.span) == path {
                    finding.safe_fix("Make it absolute", vec![TextEdit::replace(word.span, absolute)]);
                }
            }
        }
    }
}

/// Whether the path is absolute on Windows: `\\path` or `C:...`.
fn is_absolute_on_windows(path: &str) -> bool {
    let drive = path.as_bytes();
    path.starts_with('\\') || (drive.len() >= 2 && drive[0].is_ascii_alphabetic() && drive[1] == b':')
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::testing::{findings_with, fixed, lines};
    use crate::{ImageFacts, LintOptions};

    #[test]
    fn a_known_base_makes_it_absolute() {
        assert_eq!(fixed("workdir-relative", "FROM alpine:3\nWORKDIR ./app\n"), "FROM alpine:3\nWORKDIR /app\n");
        assert_eq!(fixed("workdir-relative", "FROM x:1\nWORKDIR app\n"), "FROM x:1\nWORKDIR app\n");
        let facts = ImageFacts { working_directory: "/srv".to_owned(), ..ImageFacts::default() };
        let options = LintOptions { images: BTreeMap::from([("x:1".to_owned(), facts)]), ..LintOptions::default() };
        let found = findings_with("FROM x:1\nWORKDIR app\n", &options);
        let fix = found.iter().find(|f| f.rule.id == "workdir-relative").and_then(|f| f.fix.as_ref());
        assert_eq!(fix.map(|fix| fix.edits[0].replacement.as_str()), Some("/srv/app"));
    }

    #[test]
    fn chains_and_variables_are_followed() {
        let text = "FROM a:1 AS b\nWORKDIR /x\nWORKDIR y\nFROM b\nWORKDIR z\nFROM a:1\nENV D=/d\nWORKDIR $D\nWORKDIR q\n\
                    FROM a:1\nENV D=d\nWORKDIR $D/x\nFROM a:1\nWORKDIR $UNKNOWN\nWORKDIR C:/x\n\
                    FROM a:1\nENV A=\"/q\" B=\"$X\"\nENV C=\"$A/r\"\nWORKDIR $C\nFROM a:1\nENV B=$X/y\nWORKDIR $B\n";
        assert_eq!(lines("workdir-relative", text), [12]);
        let text = "FROM a:1 AS b\nONBUILD WORKDIR /x\nFROM b\nWORKDIR y\n";
        assert_eq!(lines("workdir-relative", text), [0; 0]);
    }
}
