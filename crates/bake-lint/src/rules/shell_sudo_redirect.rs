//! `shell-sudo-redirect`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "shell-sudo-redirect",
    aliases: &["SC2024"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "`sudo program > FILE` opens the file as the user, not as root.",
    why: "The shell opens the file before it starts `sudo`. Reported only where the step does not run as root.",
    bad: "FROM debian:12-slim\nUSER 10001\nRUN sudo echo nameserver 192.0.2.1 > /etc/resolv.conf\n",
    good: "FROM debian:12-slim\nUSER 10001\nRUN echo nameserver 192.0.2.1 | sudo tee /etc/resolv.conf\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        for command in run.script.commands.iter().filter(|command| command.wrapper("sudo").is_some()) {
            let of_root = |path: &str| {
                path.starts_with('/') && !["/tmp/", "/dev/", "/home/"].iter().any(|open| path.starts_with(open))
            };
            let redirect = command.redirects.iter().find(|redirect| {
                redirect.operator.contains('>') && redirect.operator != ">&" && of_root(&redirect.target.text)
            });
            if let Some(redirect) = redirect.filter(|_| !context.is_root(run)) {
                report
                    .report(redirect.span, format!("`{}` is opened without `sudo`", redirect.target.text))
                    .help("use `| sudo tee FILE`");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::lines;

    #[test]
    fn only_files_of_root_count() {
        let text = "FROM a:1\nRUN sudo a > /etc/x\nUSER app\nRUN sudo a > /etc/x\nRUN sudo a > /dev/null 2>&1\nRUN sudo a >> /tmp/x\nRUN a > /etc/x\n\
                    RUN sudo sh -c 'a > /etc/x'\nUSER root\nRUN sudo a > /etc/x\n";
        assert_eq!(lines("shell-sudo-redirect", text), [4]);
    }
}
