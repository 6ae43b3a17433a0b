//! `password-in-layer`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "password-in-layer",
    aliases: &["CKV2_DOCKER_17", "DKL-LI-0001"],
    severity: Severity::Error,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "A `RUN` gives a user a password, or an empty one.",
    why: "The password is in the history of the image and its hash in a layer, the same in every container; an empty one lets anybody in. \
          Users of images need no passwords.",
    bad: "FROM debian:12-slim\nRUN echo 'root:hunter2' | chpasswd\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN useradd --uid 10001 app && usermod --lock app\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        for command in &run.script.commands {
            let arguments = command.arguments();
            let has = |options: &[&str]| command.has_argument(options);
            let source = command.piped_from.and_then(|from| run.script.commands.get(from));
            let given_as_text = source.is_some_and(|source| matches!(source.program(), "echo" | "printf"))
                || command.redirects.iter().any(|redirect| redirect.operator.starts_with("<<"));
            let found = match command.program() {
                "chpasswd" => given_as_text.then_some("sets a password"),
                "passwd" if has(&["-d", "--delete"]) => Some("removes a password, so that none is asked"),
                "passwd" => (has(&["--stdin"]) || given_as_text).then_some("sets a password"),
                "useradd" | "usermod" => {
                    let value = arguments
                        .windows(2)
                        .find(|pair| matches!(pair[0].text.as_str(), "-p" | "--password"))
                        .map(|pair| &pair[1]);
                    match value.map(|value| value.text.as_str()) {
                        // What no password hashes to: nobody can log in.
                        Some("!" | "*" | "!!" | "x") | None => None,
                        Some("") => Some("sets an empty password"),
                        Some(_) => Some("sets a password"),
                    }
                }
                _ => None,
            };
            if let (Some(found), Some(word)) = (found, command.words.get(command.program_index)) {
                report
                    .report(word.span, format!("`{}` {found}", command.program()))
                    .help("leave the user without a password: `usermod --lock NAME`");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::check_bodies;

    #[test]
    fn every_way_to_set_one_is_known() {
        check_bodies(
            "password-in-layer",
            &[
                "echo root:x | chpasswd",
                "chpasswd <<< root:x",
                "passwd -d root",
                "useradd -p '' app",
                "usermod --password '$6$x' app",
                "printf 'a\\na\\n' | passwd app",
            ],
            &[
                "useradd app",
                "usermod -p '!' app",
                "usermod -L app",
                "chpasswd < /run/secrets/passwords",
                "passwd -l root",
                "echo passwd -d root",
                "apt-get install passwd",
            ],
        );
    }
}
