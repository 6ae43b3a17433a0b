//! `curl-pipe-shell`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "curl-pipe-shell",
    aliases: &[],
    severity: Severity::Info,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "A download is piped into a shell.",
    why: "The script is run unseen, as root, in whatever version the server has today; a download that breaks off is run by half.",
    bad: "FROM debian:12-slim\nSHELL [\"bash\", \"-o\", \"pipefail\", \"-c\"]\nRUN curl -fsSL https://example.com/install.sh | sh\nUSER 10001\n",
    good: "FROM debian:12-slim\n\
           ADD --checksum=sha256:4b0a0dd4a4e5d5f1b2c3d4e5f60718293a4b5c6d7e8f90123456789abcdef012 https://example.com/i.sh /i.sh\n\
           RUN sh /i.sh\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        for command in &run.script.commands {
            let source = command.piped_from.and_then(|from| run.script.commands.get(from));
            let downloads = source.is_some_and(|source| matches!(source.program(), "curl" | "wget"));
            let runs = matches!(command.program(), "sh" | "bash" | "dash" | "ash" | "zsh" | "python" | "python3" | "perl" | "ruby" | "node");
            if downloads && runs {
                report
                    .report(command.span, "A download is run without a look at it")
                    .help("fetch it with `ADD --checksum=...`, then run it");
            }
        }
    }
}
