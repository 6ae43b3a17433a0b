//! `wget-progress`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "wget-progress",
    aliases: &["DL3047"],
    severity: Severity::Info,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "`wget` draws its progress into the log.",
    why: "Without a terminal it writes a line for each few kilobytes: the log of a large download has thousands of lines.",
    bad: "FROM debian:12-slim\nRUN wget https://example.com/app.tgz\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN wget -nv https://example.com/app.tgz\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        // The `wget` of busybox knows other options.
        let busybox = run
            .stage
            .and_then(|stage| context.root_image(stage))
            .is_some_and(crate::image::ImageName::shell_is_busybox);
        for command in run.script.commands.iter().filter(|command| command.program() == "wget" && !busybox) {
            let quiet = command.arguments().iter().any(|word| {
                let text = word.text.as_str();
                let letters = text.strip_prefix('-').filter(|letters| !letters.starts_with('-'));
                let long = [
                    "--quiet",
                    "--no-verbose",
                    "--progress",
                    "--output-file",
                    "--append-output",
                    "--version",
                    "--help",
                    "--spider",
                    "--config",
                ];
                long.iter().any(|option| text.starts_with(option))
                    || letters
                        .is_some_and(|letters| letters.starts_with("nv") || letters.contains(['q', 'o', 'a', 'V', 'b']))
            });
            let all_hidden =
                command.redirects.iter().any(|redirect| redirect.descriptor == Some(2) && redirect.operator == ">");
            let Some(word) = command
                .words
                .get(command.program_index)
                .filter(|_| !quiet && !all_hidden && !command.arguments().is_empty())
            else {
                continue;
            };
            let finding = report
                .report(word.span, "`wget` draws its progress into the log")
                .help("use `-nv`, or `--progress=dot:giga`");
            if word.span != run.instruction.span {
                finding.safe_fix("Add `-nv`", vec![TextEdit::insert(word.span.end, " -nv")]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_bodies, fixed_body, lines};

    #[test]
    fn quiet_ones_are_known() {
        check_bodies(
            "wget-progress",
            &["wget x", "wget -O /x y", "sudo wget x"],
            &[
                "wget -q x",
                "wget -qO- x",
                "wget -nv x",
                "wget --progress=dot:giga x",
                "wget x 2> /dev/null",
                "apt-get install wget",
                "wget --quiet x",
            ],
        );
        assert_eq!(fixed_body("wget-progress", "wget x && y"), "wget -nv x && y");
        assert_eq!(lines("wget-progress", "FROM alpine:3\nRUN wget x\n"), [0_usize; 0]);
    }
}
