//! `shell-bashism`

use super::prelude::*;
use crate::image::ImageName;
use crate::shell::{Dialect, PartKind, Quoting, ShellWord};

pub(super) const RULE: Rule = Rule {
    id: "shell-bashism",
    aliases: &[
        "SC3001", "SC3003", "SC3004", "SC3005", "SC3006", "SC3009", "SC3010", "SC3011", "SC3014", "SC3020", "SC3024",
        "SC3028", "SC3030", "SC3036", "SC3037", "SC3040", "SC3044", "SC3045", "SC3046", "SC3047", "SC3051", "SC3053",
        "SC3054", "SC3057", "SC3059", "SC3060", "SC2039", "SC2112",
    ],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "A construct of bash is used where `sh` runs, and the image's `sh` does not know it.",
    why: "On Debian and Ubuntu `sh` is dash, which does not know arrays, `[[`, `<<<`, `source`, `==`, `pipefail` or process substitution: \
          the step fails or, worse, takes the other branch, or writes `{a,b}` and `-e` as they stand. The `sh` of Alpine knows more of \
          it, and only what it does not know is reported there.",
    bad: "FROM debian:12-slim\nRUN if [ \"$(cat /x)\" == y ]; then rm /x; fi\nUSER 10001\n",
    good: "FROM debian:12-slim\nSHELL [\"/bin/bash\", \"-c\"]\nRUN if [[ -f /x ]]; then rm /x; fi\nUSER 10001\n",
    check,
};

/// What dash does not know but the shell of busybox does.
const KNOWN_TO_BUSYBOX: [&str; 13] = [
    "`[[`",
    "process substitution",
    "`source`",
    "`function`",
    "`&>`",
    "`$'...'`",
    "`==` in a test",
    "`echo -e`",
    "`set -o pipefail`",
    "`let`",
    "`read` with this option",
    "`${x/a/b}` or `${x:1}`",
    "`$RANDOM`",
];

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    let replacing: Vec<&RunFacts<'_>> = context.runs.iter().filter(|run| replaces_sh(run)).collect();
    for run in &context.runs {
        // `sh` is another shell then.
        let is_base =
            |earlier: usize| run.stage.is_some_and(|stage| context.ancestors(stage).any(|base| base == earlier));
        if replacing.iter().any(|earlier| earlier.index <= run.index && earlier.stage.is_some_and(is_base)) {
            continue;
        }
        let image = run.stage.and_then(|stage| context.root_image(stage));
        let (dash, busybox) =
            (image.is_some_and(ImageName::shell_is_dash), image.is_some_and(ImageName::shell_is_busybox));
        if !dash && !busybox {
            continue;
        }
        let name = if dash { "dash" } else { "that of busybox" };
        let mut found = |span: Span, what: &str, edits: Vec<TextEdit>| {
            if busybox && KNOWN_TO_BUSYBOX.contains(&what) {
                return;
            }
            let finding = report
                .report(span, format!("{what} is bash, but `sh` of this image is {name}"))
                .help("put `SHELL [\"/bin/bash\", \"-c\"]` before it, or write it in POSIX shell");
            if !edits.is_empty() && span != run.instruction.span {
                finding.safe_fix("Write it in POSIX shell", edits);
            }
        };
        let is_posix =
            |session: usize| run.script.sessions.get(session).is_some_and(|session| session.dialect == Dialect::Posix);
        for session in run.script.sessions.iter().filter(|session| session.dialect == Dialect::Posix) {
            for (span, what) in session.bashisms.iter().filter(|(_, what)| *what != "`&>`") {
                found(*span, what, Vec::new());
            }
        }
        for parameter in
            run.script.parameters.iter().filter(|parameter| parameter.name == "RANDOM" && is_posix(parameter.session))
        {
            found(parameter.span, "`$RANDOM`", Vec::new());
        }
        for command in run.script.commands.iter().filter(|command| is_posix(command.session)) {
            check_command(context, command, &mut found);
        }
    }
}

/// Whether the `RUN` makes `/bin/sh` another shell: `ln -sf bash /bin/sh`, `dpkg-reconfigure dash`.
fn replaces_sh(run: &RunFacts<'_>) -> bool {
    let is_sh = |path: &str| matches!(path, "/bin/sh" | "/usr/bin/sh");
    run.script.commands.iter().any(|command| match command.program() {
        "ln" | "cp" | "mv" => command.operands().last().is_some_and(|target| is_sh(&target.text)),
        "dpkg-reconfigure" => command.has_argument(&["dash"]),
        _ => false,
    })
}

fn check_command(
    context: &LintContext<'_>,
    command: &SimpleCommand,
    found: &mut impl FnMut(Span, &str, Vec<TextEdit>),
) {
    for redirect in command.redirects.iter().filter(|redirect| redirect.operator.starts_with("&>")) {
        let operator = redirect.operator.trim_start_matches('&');
        let target = context.source(redirect.target.span);
        let edit = TextEdit::replace(redirect.span, format!("{operator} {target} 2>&1"));
        found(redirect.span, "`&>`", vec![edit]);
    }
    let Some(program) = command.words.get(command.program_index) else { return };
    let arguments = command.arguments();
    let option = |letters: &[char]| {
        let options = arguments.iter().take_while(|word| word.text.starts_with('-') && !word.text.starts_with("--"));
        options.into_iter().find(|word| word.text.contains(letters))
    };
    let builtin = command.program_index == 0 && !program.expands;
    match program.text.as_str() {
        "source" if builtin => {
            // Without a slash `.` looks the file up in PATH, `source` also in the directory.
            let has_slash = arguments.first().is_some_and(|file| file.text.contains('/'));
            let edit = TextEdit::replace(program.span, ".");
            found(program.span, "`source`", if has_slash { vec![edit] } else { Vec::new() });
        }
        "pushd" | "popd" | "dirs" if builtin => found(program.span, "`pushd` and `popd`", Vec::new()),
        "shopt" | "declare" | "typeset" | "mapfile" | "readarray" | "disown" | "enable" if builtin => {
            found(program.span, &format!("`{}`", program.text), Vec::new());
        }
        "let" if builtin => found(program.span, "`let`", Vec::new()),
        "echo" if builtin => {
            let first = arguments.first().filter(|word| word.text.starts_with('-') && word.text.len() > 1);
            let options = first.filter(|word| {
                word.text[1..].chars().all(|c| matches!(c, 'n' | 'e' | 'E')) && word.text.contains(['e', 'E'])
            });
            if let Some(word) = options {
                found(word.span, "`echo -e`", Vec::new());
            }
        }
        "set" if builtin => {
            if let Some(word) = arguments.iter().find(|word| word.text == "pipefail") {
                found(word.span, "`set -o pipefail`", Vec::new());
            }
        }
        "[" | "test" => {
            let is_operator = |word: &&ShellWord| word.text == "==" && !word.is_quoted();
            for word in arguments.iter().filter(is_operator) {
                found(word.span, "`==` in a test", vec![TextEdit::replace(word.span, "=")]);
            }
        }
        "printf" if builtin => {
            if let Some(word) = option(&['v']) {
                found(word.span, "`printf -v`", Vec::new());
            }
        }
        "read" if builtin => {
            if let Some(word) = option(&['a', 'd', 'n', 's', 't', 'N', 'i', 'u']) {
                let what = if word.text.contains(['a', 'N', 'i']) { "`read -a`" } else { "`read` with this option" };
                found(word.span, what, Vec::new());
            }
        }
        "export" if builtin => {
            if let Some(word) = option(&['f']) {
                found(word.span, "`export -f`", Vec::new());
            }
        }
        _ => {}
    }
    for word in command.words.iter().filter(|word| has_braces(word)) {
        found(word.span, "`{a,b}`", Vec::new());
    }
}

/// Whether the word has a list in braces that bash would turn into several words.
fn has_braces(word: &ShellWord) -> bool {
    // What is quoted or expanded counts as a letter.
    let text: String = if word.parts.is_empty() {
        word.text.clone()
    } else {
        let part = |part: &crate::shell::WordPart| match (part.kind, part.quoting) {
            (PartKind::Literal, Quoting::None) => word.text_of(part).to_owned(),
            _ => "x".to_owned(),
        };
        word.parts.iter().map(part).collect()
    };
    let mut open: Vec<bool> = Vec::new();
    for (index, character) in text.char_indices() {
        match character {
            '{' => open.push(false),
            ',' => open.iter_mut().rev().take(1).for_each(|has_comma| *has_comma = true),
            '.' if text[index..].starts_with("..") => {
                open.iter_mut().rev().take(1).for_each(|has_comma| *has_comma = true);
            }
            '}' if open.pop() == Some(true) => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_bodies, fixed_body, lines};

    #[test]
    fn dash_knows_little() {
        check_bodies(
            "shell-bashism",
            &[
                "[[ -f /x ]] && a",
                "source /x",
                "[ a == b ]",
                "echo -e 'a\\tb'",
                "mkdir -p /x/{a,b}",
                "touch x{1..3}",
                "a &> /x",
                "a <<< b",
                "function f { a; }; f",
                "x=(a b)",
                "set -o pipefail; a | b",
                "echo ${x//a/b}",
                "echo $RANDOM",
                "read -a x",
                "pushd /x",
                "a $'b'",
                "printf -v x a",
            ],
            &[
                "[ a = b ] && . /x",
                "f() { local x=1; }; f",
                "echo '[[ a == b ]]' \"{a,b}\" a,b {} {a}",
                "bash -c '[[ a == b ]]'",
                "find . -exec rm {} +",
                "curl -w %{http_code},%{size_download} x",
                "awk '$1 == 2 { print }' /x",
                "export A=b; printf 'x %s' -v",
                "echo ${x:-a} ${x%b} ${#x}",
                "read -r x",
                "echo - -e",
                "test x = y",
                "a > /x 2>&1",
            ],
        );
    }

    #[test]
    fn another_shell_may_be_put_in_its_place() {
        let text = "FROM debian:12\nRUN [[ a ]]\nRUN rm /bin/sh && ln -s /bin/bash /bin/sh\nRUN [[ a ]]\nFROM debian:12\nRUN [[ a ]]\n";
        assert_eq!(lines("shell-bashism", text), [2, 6]);
    }

    #[test]
    fn busybox_knows_more() {
        let text = "FROM node:22-alpine\nRUN [[ a == b ]] && source /x && echo -e a &> /x\nRUN a=(b c)\nRUN mkdir {a,b}\nSHELL [\"bash\", \"-c\"]\nRUN a=(b)\n";
        assert_eq!(lines("shell-bashism", text), [3, 4]);
    }

    #[test]
    fn what_has_a_posix_form_gets_it() {
        assert_eq!(
            fixed_body("shell-bashism", "source /x && [ a == b ] && c &> /y"),
            ". /x && [ a = b ] && c > /y 2>&1"
        );
    }
}
