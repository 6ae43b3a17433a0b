//! `stage-name-casing`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "stage-name-casing",
    aliases: &["StageNameCasing"],
    severity: Severity::Style,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "A stage name has capital letters.",
    why: "Stage names are stored in lower case: `FROM Build` does not find the stage `AS Build`, while `COPY --from=Build` does.",
    bad: "FROM debian:12-slim AS Build\nUSER 10001\n",
    good: "FROM debian:12-slim AS build\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for stage in &context.stages {
        let word = &stage.from.image;
        if matches!(stage.base, Base::Stage(_)) && word.value != word.value.to_lowercase() && !word.value.contains('$')
        {
            report
                .report(word.span, format!("FROM finds the stage '{}' in lowercase only", word.value))
                .severity(Severity::Error)
                .safe_fix("Use lower case", vec![TextEdit::replace(word.span, word.value.to_lowercase())]);
        }
        let Some(violation) = bake_checks::stage_name_casing(stage.from) else { continue };
        let (Some(name), Some(written)) = (&stage.name, &stage.from.name) else { continue };
        let references = context.instructions.iter().flat_map(|located| from_words(located.instruction));
        let mut edits = vec![TextEdit::replace(written.span, name.clone())];
        edits.extend(
            references
                .filter(|word| {
                    word.value.to_lowercase() == *name && word.value != *name && context.source(word.span) == word.value
                })
                .map(|word| TextEdit::replace(word.span, name.clone())),
        );
        report.violation(violation).safe_fix("Use lower case", edits);
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{fixed, lines};

    #[test]
    fn from_knows_names_in_lower_case_only() {
        let text = "FROM a:1 AS build\nFROM Build\nFROM build\nCOPY --from=Build /a /a\n";
        assert_eq!(lines("stage-name-casing", text), [2]);
        assert_eq!(fixed("stage-name-casing", text), text.replace("FROM Build", "FROM build"));
    }

    #[test]
    fn references_follow() {
        let text = "FROM a:1 AS Build\nFROM a:1\nCOPY --from=Build /a /\n";
        assert_eq!(fixed("stage-name-casing", text), "FROM a:1 AS build\nFROM a:1\nCOPY --from=build /a /\n");
    }
}
