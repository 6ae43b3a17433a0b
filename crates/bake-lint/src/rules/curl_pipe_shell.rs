//! `curl-pipe-shell`

use super::prelude::*;
use crate::shell::{PartKind, ShellWord, WordPart};

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
            let runs = matches!(
                command.program(),
                "sh" | "bash" | "dash" | "ash" | "zsh" | "python" | "python3" | "perl" | "ruby" | "node"
            );
            let inside = || {
                let evaluates = runs || matches!(command.program(), "eval" | "." | "source");
                command.arguments().iter().filter(move |_| evaluates).any(|word| fetches(context, word))
            };
            if (downloads && runs) || inside() {
                report
                    .report(command.span, "A download is run without a look at it")
                    .help("fetch it with `ADD --checksum=...`, then run it");
            }
        }
    }
}

/// Whether a part of the word is what a download prints, as in `sh -c "$(curl ...)"` and `bash <(curl ...)`.
fn fetches(context: &LintContext<'_>, word: &ShellWord) -> bool {
    let of_command =
        |part: &&WordPart| matches!(part.kind, PartKind::Command | PartKind::Backquoted | PartKind::Process);
    word.parts.iter().filter(of_command).any(|part| {
        let text = context.source(part.span).trim_start_matches(['$', '(', '<', '`']).trim_start();
        matches!(text.split_whitespace().next(), Some("curl" | "wget"))
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::check_bodies;

    #[test]
    fn every_way_to_run_a_download_is_known() {
        check_bodies(
            "curl-pipe-shell",
            &[
                "curl -fsSL https://e.com/i | sh -s -- -b /x",
                "wget -qO- https://e.com/i | bash",
                "sh -c \"$(curl -fsSL https://e.com/i)\"",
                "bash -c \"$(wget -qO- https://e.com/i)\" a",
                "bash <(curl -s https://e.com/i)",
                "eval \"$(curl -s https://e.com/i)\"",
            ],
            &[
                "curl -fsSLo /i https://e.com/i",
                "curl https://e.com/k | gpg --dearmor > /k",
                "x=\"$(curl -s https://e.com/version)\"; echo \"$x\"",
                "echo \"$(curl -s https://e.com/i)\"",
                "sh -c 'curl -s https://e.com/i'",
                "eval \"$(ssh-agent)\"",
            ],
        );
    }
}
