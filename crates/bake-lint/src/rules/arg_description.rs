//! `arg-description`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "arg-description",
    aliases: &["InvalidDefinitionDescription"],
    severity: Severity::Style,
    default: false,
    since: 2026,
    fix: FixSafety::None,
    summary: "The comment above an `ARG` or a named `FROM` does not describe it as `# NAME ...`.",
    why: "Lists of build arguments and targets show comments that begin with the name. Off by default: most comments are not meant for \
          such lists.",
    bad: "# the release of Debian\nARG RELEASE=12\nFROM debian:${RELEASE}-slim\nUSER 10001\n",
    good: "# RELEASE the release of Debian\nARG RELEASE=12\n# something else\n\nFROM debian:${RELEASE}-slim AS base\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for located in context.instructions.iter().filter(|located| !located.onbuild) {
        let instruction = located.instruction;
        let names: Vec<String> = match &instruction.kind {
            InstructionKind::Arg(declarations) => declarations.iter().map(|arg| arg.name.value.clone()).collect(),
            InstructionKind::From(from) => from.name.iter().map(|name| name.value.to_lowercase()).collect(),
            _ => continue,
        };
        let (Some(comment), Some(first)) = (instruction.comments.last(), names.first()) else { continue };
        let text = context.source(*comment).trim().trim_start_matches('#').trim();
        let word = text.split(' ').next().unwrap_or_default();
        if !names.iter().any(|name| name == word) {
            let example = if names.len() == 1 { first } else { "NAME" };
            let keyword = instruction.keyword.value.to_uppercase();
            report
                .report(*comment, format!("The comment above {keyword} does not begin with its name: `# {example} ...`"))
                .help("put a blank line between them when the comment is no description");
        }
    }
}
