//! `shell-single-quoted-variable`

use super::prelude::*;
use crate::shell::{PartKind, Quoting, is_name};
use crate::variables::Variables;

pub(super) const RULE: Rule = Rule {
    id: "shell-single-quoted-variable",
    aliases: &["SC2016"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::Unsafe,
    summary: "A variable of the Dockerfile stands in single quotes, where it is not expanded.",
    why: "`mkdir '$APP_DIR'` makes a directory whose name begins with a dollar sign. Only programs that cannot expand it themselves are \
          looked at, so `sh -c '...'`, awk, sed and texts written to files are left alone.",
    bad: "FROM debian:12-slim\nENV APP_DIR=/srv/app\nRUN mkdir -p '$APP_DIR'\nUSER 10001\n",
    good: "FROM debian:12-slim\nENV APP_DIR=/srv/app\nRUN mkdir -p \"$APP_DIR\" && echo 'cd $APP_DIR' > /etc/profile.d/app.sh\nUSER 10001\n",
    check,
};

/// Programs that take what they are given as it is.
const PROGRAMS: [&str; 24] = [
    "cd", "cp", "mv", "rm", "mkdir", "rmdir", "ln", "chown", "chgrp", "chmod", "touch", "tar", "unzip", "curl", "wget",
    "cat", "useradd", "adduser", "groupadd", "addgroup", "apt-get", "apk", "test", "[",
];

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        let mut variables = None;
        for command in run.script.commands.iter().filter(|command| PROGRAMS.contains(&command.program())) {
            let session = run.script.sessions.get(command.session);
            for word in command.arguments() {
                let quoted =
                    word.parts.iter().filter(|part| part.kind == PartKind::Literal && part.quoting == Quoting::Single);
                for part in quoted.filter(|part| part.span != run.instruction.span) {
                    let Some(name) = variable_in(word.text_of(part)) else { continue };
                    let variables = variables.get_or_insert_with(|| Variables::of(context, run));
                    if !variables.is_declared(name) && !variables.is_assigned(name) {
                        continue;
                    }
                    let finding = report
                        .report(part.span, format!("`${name}` is not expanded in single quotes"))
                        .help("use double quotes");
                    let text = word.text_of(part);
                    let (start, end) = (part.span.start.saturating_sub(1), part.span.end + 1);
                    let simple = !text.contains(['"', '\\', '`'])
                        && context.source(Span::new(start, end)) == format!("'{text}'");
                    if simple && session.is_some_and(crate::shell::Session::is_verbatim) {
                        finding.unsafe_fix(
                            "Use double quotes",
                            vec![TextEdit::replace(Span::new(start, end), format!("\"{text}\""))],
                        );
                    }
                }
            }
        }
    }
}

/// The first variable that `text` would expand in double quotes.
fn variable_in(text: &str) -> Option<&str> {
    text.match_indices('$').find_map(|(at, _)| {
        let rest = &text[at + 1..];
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        let end = rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        Some(&rest[..end]).filter(|name| is_name(name))
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_bodies, fixed_body};

    #[test]
    fn only_known_names_in_plain_programs_count() {
        check_bodies(
            "shell-single-quoted-variable",
            &["mkdir '$SET/x'", "curl -o x 'https://x/${GIVEN}.tgz'", "y=1; rm a-'$y'"],
            &[
                "mkdir \"$SET\"",
                "mkdir '$OTHER'",
                "echo '$SET' > /x",
                "sh -c 'mkdir $SET'",
                "awk '{ print $SET }'",
                "sed 's/x$/y/' /x",
                "test 'a$' = b",
                "curl -H 'x: $1' y",
            ],
        );
        assert_eq!(fixed_body("shell-single-quoted-variable", "mkdir '$SET/x'"), "mkdir \"$SET/x\"");
    }
}
