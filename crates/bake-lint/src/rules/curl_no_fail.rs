//! `curl-no-fail`

use super::prelude::*;
use crate::shell::{Connector, ShellWord};

pub(super) const RULE: Rule = Rule {
    id: "curl-no-fail",
    aliases: &[],
    severity: Severity::Info,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "`curl` without `-f` writes error pages into the file.",
    why: "When the server answers 404, `curl` succeeds and the error page becomes the file; what fails is a later step, or nothing.",
    bad: "FROM debian:12-slim\nRUN curl -sSL -o /app.tgz https://example.com/app.tgz\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN curl -fsSL -o /app.tgz https://example.com/app.tgz\nUSER 10001\n",
    check,
};

/// Short options that take a value: what follows in the same word is no option.
const VALUED: &str = "AbcCdDeEFhHKmoPQrtTuUvwxXyYz";

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        for command in run.script.commands.iter().filter(|command| command.program() == "curl") {
            let has = |letters: &[char], long: &[&str]| {
                command
                    .arguments()
                    .iter()
                    .any(|word| long.iter().any(|option| word.text.starts_with(option)) || has_letter(word, letters))
            };
            let fails = has(&['f'], &["--fail"]);
            let keeps = has(&['o', 'O'], &["--output", "--remote-name"])
                || command.followed_by == Some(Connector::Pipe)
                || command
                    .redirects
                    .iter()
                    .any(|redirect| matches!(redirect.operator.as_str(), ">" | ">>") && redirect.descriptor != Some(2));
            // Uploads and questions for the status alone want the answer whatever it is.
            let asks = has(&['I', 'T', 'w', 'K'], &["--head", "--upload-file", "--write-out", "--config"]);
            let Some(word) = command.words.get(command.program_index).filter(|_| keeps && !fails && !asks) else {
                continue;
            };
            let finding = report.report(word.span, "`curl` without `-f` takes an error page for the file");
            if word.span != run.instruction.span {
                finding.safe_fix("Add `-f`", vec![TextEdit::insert(word.span.end, " -f")]);
            }
        }
    }
}

/// Whether a cluster of short options has one of `letters`.
fn has_letter(word: &ShellWord, letters: &[char]) -> bool {
    let Some(cluster) = word.text.strip_prefix('-').filter(|cluster| !cluster.starts_with('-')) else { return false };
    for letter in cluster.chars() {
        if letters.contains(&letter) {
            return true;
        }
        if VALUED.contains(letter) {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_bodies, fixed_body};

    #[test]
    fn only_downloads_count() {
        check_bodies(
            "curl-no-fail",
            &["curl -o x y", "curl -sSLO y", "curl -L y > x", "curl -sL y | tar xz", "curl -Hf:x -O y"],
            &[
                "curl -fsSLO y",
                "curl --fail -o x y",
                "curl y",
                "curl -sS --fail-with-body -o x y",
                "curl -o /dev/null -w '%{http_code}' y",
                "curl -I y | grep x",
                "apt-get install curl",
                "curl -sSLf y | b",
            ],
        );
        assert_eq!(fixed_body("curl-no-fail", "curl -sSLO y"), "curl -f -sSLO y");
    }
}
