//! `from-arg-undefined`

use super::prelude::*;
use crate::context::PLATFORM_ARGS;

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
        let platform_names = stage.from.platform.as_ref().map(|platform| {
            let expansion = context.expander().expand(&platform.value, &|name| context.global_value(name));
            (platform.span, expansion.map(|e| e.undefined).unwrap_or_default())
        });
        let image_names = (stage.from.image.span, stage.undeclared.clone());
        for (span, names) in std::iter::once(image_names).chain(platform_names) {
            for name in names.iter().filter(|name| !context.global_args.contains_key(*name)) {
                let suggestion = suggest(name, known.iter().copied(), false);
                let text = suggestion.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
                let finding = report.report(span, format!("FROM argument `{name}` is not declared{text}"));
                finding.help(format!("declare it before the first FROM: `ARG {name}=DEFAULT`"));
                if let Some(near) = suggestion
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
