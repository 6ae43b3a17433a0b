//! `workdir-relative`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "workdir-relative",
    aliases: &["WorkdirRelativePath", "DL3000", "DS-0009", "AVD-DS-0009", "CKV_DOCKER_10"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::None,
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
                let help = format!("make it absolute: `WORKDIR /{}`", path.trim_start_matches("./"));
                report.violation(violation).help(help);
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
    use crate::testing::lines;

    #[test]
    fn chains_and_variables_are_followed() {
        let text = "FROM a:1 AS b\nWORKDIR /x\nWORKDIR y\nFROM b\nWORKDIR z\nFROM a:1\nENV D=/d\nWORKDIR $D\nWORKDIR q\n\
                    FROM a:1\nENV D=d\nWORKDIR $D/x\nFROM a:1\nWORKDIR $UNKNOWN\nWORKDIR C:/x\n";
        assert_eq!(lines("workdir-relative", text), [12]);
        let text = "FROM a:1 AS b\nONBUILD WORKDIR /x\nFROM b\nWORKDIR y\n";
        assert_eq!(lines("workdir-relative", text), [0; 0]);
    }
}
