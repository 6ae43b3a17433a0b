//! `from-arg-undefined`

use super::prelude::*;
use crate::context::PLATFORM_ARGS;
use bake_checks::undeclared_args;

pub(super) const RULE: Rule = Rule {
    id: "from-arg-undefined",
    aliases: &["UndefinedArgInFrom"],
    severity: Severity::Error,
    default: true,
    since: 2026,
    fix: FixSafety::Unsafe,
    summary: "`FROM` uses a build argument that no `ARG` before the first `FROM` declares.",
    why: "Only global arguments are visible in `FROM`. An undeclared one is empty, and a value given with `--build-arg` does not \
          reach it.",
    bad: "ARG VERSION=12\nFROM debian:$VERISON\n",
    good: "ARG VERSION=12\nFROM debian:$VERSION\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    let known: Vec<&str> = context.global_args.keys().map(String::as_str).chain(PLATFORM_ARGS).collect();
    for stage in &context.stages {
        for word in std::iter::once(&stage.from.image).chain(&stage.from.platform) {
            let span = word.span;
            let Some(expanded) = context.expanded_global(word) else { continue };
            let violations = undeclared_args(&expanded, span, &known.iter().copied());
            let names = expanded.missing.iter().filter(|name| !known.contains(&name.as_str()));
            for (name, violation) in names.zip(violations) {
                let finding = report.violation(violation);
                finding.help(format!("declare it before the first FROM: `ARG {name}=DEFAULT`"));
                if let Some(near) = suggest(name, known.iter().copied(), true)
                    && let Some(at) = context.source(span).find(name.as_str())
                {
                    let start = span.start + at;
                    finding.unsafe_fix(
                        format!("Use `{near}`"),
                        vec![TextEdit::replace(Span::new(start, start + name.len()), near)],
                    );
                }
            }
        }
    }
}
