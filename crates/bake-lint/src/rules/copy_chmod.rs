//! `copy-chmod`

use super::prelude::*;
use bake_dockerfile::instruction::CopySource;

pub(super) const RULE: Rule = Rule {
    id: "copy-chmod",
    aliases: &["prefer-copy-chmod"],
    severity: Severity::Info,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "`RUN chmod` or `chown` of files that the instruction before has just copied.",
    why: "Changing the mode or owner in a later layer stores every file a second time. `COPY --chmod` and `--chown` do it in one layer.",
    bad: "FROM debian:12-slim\nCOPY entry.sh /entry.sh\nRUN chmod +x /entry.sh\nUSER 10001\n",
    good: "FROM debian:12-slim\nCOPY --chmod=755 entry.sh /entry.sh\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in context.runs.iter().filter(|run| !run.onbuild && run.index > 0) {
        let previous = &context.dockerfile.instructions[run.index - 1];
        let (InstructionKind::Copy(copy), Some(_)) = (&previous.kind, run.stage) else { continue };
        let destination = copy.destination.value.trim_end_matches('/');
        let into_directory = copy.destination.value.ends_with('/');
        let copied = |path: &str| {
            path.trim_end_matches('/') == destination
                || (into_directory
                    && copy.sources.iter().any(|source| match source {
                        CopySource::Path(word) => {
                            let name = word.value.rsplit('/').next().unwrap_or_default();
                            path.strip_prefix(destination).is_some_and(|rest| rest.trim_start_matches('/') == name)
                        }
                        CopySource::Heredoc(_) => false,
                    }))
        };
        let Some(command) = run.script.commands.first() else { continue };
        let (flag, given) = match command.program() {
            "chmod" => ("--chmod", copy.chmod.is_some()),
            "chown" => ("--chown", copy.chown.is_some()),
            _ => continue,
        };
        let mut operands = command.operands().skip(1);
        if !given && destination.starts_with('/') && destination.len() > 1 && operands.any(|word| copied(&word.text)) {
            report
                .report(command.span, format!("`{}` of what was just copied stores the files twice", command.program()))
                .label(previous.keyword.span, "copied here")
                .help(format!("use `COPY {flag}=...`"));
        }
    }
}
