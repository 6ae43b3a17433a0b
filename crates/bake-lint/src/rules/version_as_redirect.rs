//! `version-as-redirect`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "version-as-redirect",
    aliases: &[],
    severity: Severity::Error,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "A version limit such as `>=1.2` stands unquoted, where the shell takes `>` as a redirect.",
    why: "`pip install flask>=2` installs any version of flask and writes what pip says to a file called `=2`; `<3` even reads a file.",
    bad: "FROM python:3.13-slim\nRUN pip install --no-cache-dir flask>=2\nUSER 10001\n",
    good: "FROM python:3.13-slim\nRUN pip install --no-cache-dir 'flask>=2' && pip list > /packages\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        for command in &run.script.commands {
            for redirect in &command.redirects {
                let target = &redirect.target;
                if !matches!(redirect.operator.as_str(), ">" | "<") || target.expands {
                    continue;
                }
                // The word that the operator follows without a blank.
                let before = target.span.start.saturating_sub(redirect.operator.len());
                let Some(name) = command.words.iter().find(|word| word.span.end == before) else { continue };
                let is_limit = match target.text.strip_prefix('=') {
                    Some(version) => version.starts_with(|c: char| c.is_ascii_digit()),
                    None => installs_by_pip(command) && target.text.starts_with(|c: char| c.is_ascii_digit()),
                };
                // Another limit may follow: `a>=1,<2`.
                let rest = &context.dockerfile.source.text()[target.span.end..];
                let more = rest.find(|c: char| c.is_whitespace() || ";&|)\\".contains(c)).unwrap_or(rest.len());
                let whole = Span::new(name.span.start, target.span.end + more);
                if !is_limit || context.source(whole).contains(['\'', '\n']) {
                    continue;
                }
                report
                    .report(
                        whole,
                        format!("`{}{}` is a redirect to a file, not a version", redirect.operator, target.text),
                    )
                    .help("put the name with its version into quotes")
                    .safe_fix("Quote it", vec![TextEdit::insert(whole.start, "'"), TextEdit::insert(whole.end, "'")]);
            }
        }
    }
}

/// Whether the command is `pip install` in one of its spellings.
fn installs_by_pip(command: &SimpleCommand) -> bool {
    let installs = command.has_argument(&["install"]);
    let program = command.program();
    let as_module = program.starts_with("python") && command.has_argument(&["pip"]);
    installs && (program.starts_with("pip") || program == "uv" || as_module)
}

#[cfg(test)]
mod tests {
    use crate::testing::{fixed, lines};

    #[test]
    fn redirects_are_left() {
        let text = "FROM python:3\nRUN pip install a>=1 'b>=2' \"c<3\" d\nRUN pip install a<2\nRUN conda install a>=1.0\nRUN echo a >=1\n\
                    RUN echo a >x 2>&1 && cat <3 && b >2\nRUN pip install a > 1\nRUN pip list>x\nRUN test a>=b\n";
        assert_eq!(lines("version-as-redirect", text), [2, 3, 4]);
    }

    #[test]
    fn the_whole_requirement_is_quoted() {
        let text = "FROM python:3\nRUN pip install \\\n  a[b]>=1,<2 \\\n  c\n";
        assert_eq!(fixed("version-as-redirect", text), "FROM python:3\nRUN pip install \\\n  'a[b]>=1,<2' \\\n  c\n");
    }
}
