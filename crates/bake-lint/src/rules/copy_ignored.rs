//! `copy-ignored`

use super::add_instead_of_copy::is_remote;
use super::prelude::*;
use crate::surroundings::Found;
use bake_dockerfile::instruction::{CopySource, MountKind, Word};

pub(super) const RULE: Rule = Rule {
    id: "copy-ignored",
    aliases: &["CopyIgnoredFile"],
    severity: Severity::Error,
    default: true,
    since: 2026,
    fix: FixSafety::Unsafe,
    summary: "A source of `COPY`, `ADD` or a bind mount is not in the build context, or excluded from it by the ignore file.",
    why: "The build stops when it comes to the step, which may be minutes from now. Needs to know the build context: \
          `bake lint --context DIR`.",
    bad: "FROM debian:12-slim\nCOPY missing.txt /\nUSER 10001\n",
    good: "FROM debian:12-slim\nCOPY present.txt /\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    let Some(build_context) = &context.options.context else { return };
    for located in context.instructions.iter().filter(|located| !located.onbuild) {
        let Some(stage) = located.stage else { continue };
        for word in sources(&located.instruction.kind) {
            let lookup = |name: &str| context.environment_value(stage, located.index, name);
            let Ok(expansion) = context.expander().expand(&word.value, &lookup) else { continue };
            let path = expansion.text.as_str();
            // The values of variables may hold variables themselves.
            if !expansion.undefined.is_empty() || path.contains('$') || is_remote(path) {
                continue;
            }
            match build_context.find(path) {
                Found::Present => {}
                Found::Ignored { pattern } => {
                    let file = build_context.ignore_file().map_or_else(|| ".dockerignore".to_owned(), |file| file.name);
                    report.report(word.span, format!("`{path}` is left out of the build context by `{pattern}`")).help(
                        format!(
                            "take it in with `!{}` at the end of `{file}`",
                            path.trim_start_matches("./").trim_matches('/')
                        ),
                    );
                }
                // A pattern that matches nothing copies nothing, which is how optional files are copied.
                Found::Missing { .. } if path.contains(['*', '?', '[']) => {}
                Found::Missing { near } => {
                    let text = near.as_ref().map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
                    let finding = report.report(word.span, format!("`{path}` is not in the build context{text}"));
                    if let Some(near) = near.filter(|_| context.source(word.span) == path) {
                        finding.unsafe_fix(format!("Use `{near}`"), vec![TextEdit::replace(word.span, near)]);
                    }
                }
            }
        }
    }
}

/// The words that name files of the build context.
fn sources(kind: &InstructionKind) -> Vec<&Word> {
    match kind {
        InstructionKind::Copy(copy) | InstructionKind::Add(copy) if copy.from.is_none() => copy
            .sources
            .iter()
            .filter_map(|source| match source {
                CopySource::Path(word) => Some(word),
                CopySource::Heredoc(_) => None,
            })
            .collect(),
        InstructionKind::Run(run) => run
            .mounts
            .iter()
            .filter(|mount| mount.kind == MountKind::Bind && mount.from.is_none() && mount.variable_type.is_none())
            .filter_map(|mount| mount.source.as_ref())
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{ListedContext, findings_with};

    #[test]
    fn sources_are_looked_up_as_the_build_would() {
        let context = ListedContext::new(&["src/a.c", "config.json"], &["*.log"]);
        let text = "ARG G=src\nFROM a:1 AS b\nARG N=config\nCOPY src $N.json /\nCOPY cnfig.json app.log opt* /\nCOPY --from=b /x /y\nADD https://a/b /\n\
                    RUN --mount=type=bind,source=src,target=/s --mount=type=bind,source=nothing,target=/n true\nCOPY $UNKNOWN /\nCOPY <<E /x\nE\n";
        let found = findings_with(text, &context.options());
        let messages: Vec<&str> =
            found.iter().filter(|f| f.rule.id == "copy-ignored").map(|f| f.message.as_str()).collect();
        assert_eq!(
            messages,
            [
                "`cnfig.json` is not in the build context (did you mean config.json?)",
                "`app.log` is left out of the build context by `*.log`",
                "`nothing` is not in the build context",
            ]
        );
        assert!(findings_with(text, &crate::LintOptions::default()).iter().all(|f| f.rule.id != "copy-ignored"));
    }
}
