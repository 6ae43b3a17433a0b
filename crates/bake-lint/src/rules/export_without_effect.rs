//! `export-without-effect`

use super::prelude::*;
use crate::shell::Connector;

pub(super) const RULE: Rule = Rule {
    id: "export-without-effect",
    aliases: &[],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::Unsafe,
    summary: "A `RUN` ends with `export`, `source`, `alias`, `ulimit` or `umask`.",
    why: "They change the shell of the step, which ends there: the next instruction knows nothing of it. `ENV` is for what has to last.",
    bad: "FROM debian:12-slim\nRUN export PATH=\"/opt/tool/bin:$PATH\"\nUSER 10001\n",
    good: "FROM debian:12-slim\nENV PATH=\"/opt/tool/bin:$PATH\"\nRUN export CGO_ENABLED=0 && go build ./...\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        let Some(last) = run.script.commands.iter().rev().find(|command| command.session == 0) else { continue };
        let changes_shell = matches!(last.program(), "export" | "source" | "." | "alias" | "ulimit" | "umask")
            && last.program_index == 0;
        let effective = changes_shell
            && last.depth == 0
            && !matches!(last.connector, Connector::Or | Connector::Pipe)
            && last.redirects.is_empty();
        if !effective || last.arguments().is_empty() || last.span == run.instruction.span {
            continue;
        }
        // A script that is sourced may do anything else as well: only those that exist to change the shell are known.
        let sourced = last.arguments().first().map_or("", |file| file.text.as_str());
        let known = [
            "/activate",
            ".bashrc",
            ".profile",
            "/environment",
            "setup.bash",
            "nvm.sh",
            "_profile",
            "/profile",
            "/env",
            "vars.sh",
        ];
        if matches!(last.program(), "." | "source") && !known.iter().any(|end| sourced.ends_with(end)) {
            continue;
        }
        let finding = report.report(last.span, format!("`{}` has no effect on what follows the step", last.program()));
        if last.program() != "export" {
            continue;
        }
        finding.help("set variables that have to last with ENV");
        let alone =
            run.script.commands.len() == 1 && run.instruction.flags.is_empty() && run.instruction.heredocs.is_empty();
        let assigns = last.arguments().iter().all(|word| !word.text.starts_with('-') && word.text.contains('='));
        if let (Some(first), true) =
            (last.arguments().first(), alone && assigns && run.instruction.span.end == last.span.end)
        {
            let edit = TextEdit::replace(Span::new(run.instruction.keyword.span.start, first.span.start), "ENV ");
            finding.unsafe_fix("Use ENV", vec![edit]);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_bodies, fixed};

    #[test]
    fn only_the_end_of_a_step_counts() {
        check_bodies(
            "export-without-effect",
            &[
                "export A=b",
                "a && export A=b",
                ". /venv/bin/activate",
                "source ~/.bashrc",
                "<<EOF\na\nexport B=c\nEOF",
                "umask 022",
            ],
            &[
                "export A=b && a",
                "(export A=b); a",
                "a || export A=b",
                ". ./install.sh",
                "export -p > /x",
                "bash -c 'export A=b; c'",
                "echo export A=b",
            ],
        );
        assert_eq!(
            fixed("export-without-effect", "FROM a:1\nRUN export A=b C=\"d e\"\n"),
            "FROM a:1\nENV A=b C=\"d e\"\n"
        );
    }
}
