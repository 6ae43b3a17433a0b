//! `shell-unquoted-substitution`

use super::prelude::*;
use crate::shell::PartKind;
use crate::variables::{is_split, prints_one_word};

pub(super) const RULE: Rule = Rule {
    id: "shell-unquoted-substitution",
    aliases: &["SC2046"],
    severity: Severity::Info,
    default: true,
    since: 2026,
    fix: FixSafety::Unsafe,
    summary: "The output of `$(...)` is used without quotes where one word is meant.",
    why: "The shell splits it at blanks, and nothing at all makes the word vanish: `[ $(cat /x) = y ]` is an error when the file is \
          empty. Substitutions that stand alone as arguments are taken for lists, and programs that print one word are known.",
    bad: "FROM debian:12-slim\nRUN if [ $(cat /etc/flavour) = small ]; then rm -rf /usr/share/doc; fi\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN if [ \"$(cat /etc/flavour)\" = small ]; then make -j$(nproc); fi\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        for command in &run.script.commands {
            let Some(session) =
                run.script.sessions.get(command.session).filter(|session| !session.is_expanded_outside())
            else {
                continue;
            };
            let is_test = matches!(command.program(), "[" | "test" | "cd");
            if matches!(
                command.program(),
                "[[" | "export" | "local" | "declare" | "readonly" | "typeset" | "echo" | "printf"
            ) {
                continue;
            }
            for word in command.arguments().iter().filter(|word| word.expands) {
                let around = word.parts.iter().any(|part| part.kind == PartKind::Literal);
                if !around && !is_test {
                    continue;
                }
                let substitutions = word.parts.iter().filter(|part| {
                    matches!(part.kind, PartKind::Command | PartKind::Backquoted) && is_split(part.quoting)
                });
                for part in substitutions.filter(|part| !prints_one_word(&run.script, part.span.start, part.span.end)) {
                    let finding =
                        report.report(part.span, "What this prints is split at blanks: put it in double quotes");
                    if session.is_verbatim() && part.kind == PartKind::Command {
                        finding.unsafe_fix("Put it in quotes", TextEdit::in_quotes(part.span));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_bodies, fixed_body};

    #[test]
    fn lists_and_single_words_are_left_alone() {
        check_bodies(
            "shell-unquoted-substitution",
            &["[ -z $(cat /x) ]", "cd $(cat /x)", "tar xf app-$(cat /version).tgz", "make X=`cat /x`"],
            &[
                "[ -z \"$(cat /x)\" ]",
                "x=$(cat /x)",
                "export X=$(cat /x)",
                "[[ -z $(cat /x) ]]",
                "apt-get install -y $(cat /packages)",
                "rm $(find . -name x)",
                "make -j$(nproc)",
                "curl -O https://x/app-$(uname -m).tgz",
                "curl -O https://x/app-$(dpkg --print-architecture | sed s/a/b/ | wc -c).tgz",
                "echo a-$(b)",
                "for x in $(a); do b; done",
            ],
        );
    }

    #[test]
    fn quotes_are_added() {
        assert_eq!(fixed_body("shell-unquoted-substitution", "cp a-$(b \"c\").x y"), "cp a-\"$(b \"c\")\".x y");
    }
}
