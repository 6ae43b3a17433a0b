//! `shell-unquoted-variable`

use super::prelude::*;
use crate::shell::{PartKind, ShellWord, parameter_name};
use crate::variables::{Value, Variables, is_plural_name, is_split};

pub(super) const RULE: Rule = Rule {
    id: "shell-unquoted-variable",
    aliases: &["SC2086", "SC2070"],
    severity: Severity::Info,
    default: true,
    since: 2026,
    fix: FixSafety::Unsafe,
    summary: "A variable whose value is not known stands without quotes where one word is meant.",
    why: "The shell splits its value at blanks and expands patterns in it, and an empty value vanishes: `rm -rf $DIR` removes several \
          things, and `[ -n $X ]` is true when X is empty. Not reported: values that are known to be one word, names in the plural, and \
          places where a list makes sense, such as the packages of `apt-get install`.",
    bad: "FROM debian:12-slim\nARG TARGET\nRUN if [ $TARGET = test ]; then touch /test; fi\nUSER 10001\n",
    good: "FROM debian:12-slim\nARG TARGET\nARG VERSION=1.2\nARG PACKAGES\n\
           RUN if [ \"$TARGET\" = test ]; then curl -fsSLO https://example.com/app-$VERSION.tgz; fi\n\
           RUN apt-get update && apt-get install -y --no-install-recommends $PACKAGES && rm -rf /var/lib/apt/lists/*\nUSER 10001\n",
    check,
};

/// Programs of whose operands each is one word that somebody chose: paths, addresses, names of users.
const SINGLE_WORD_PROGRAMS: [&str; 27] = [
    "cd", "cp", "mv", "rm", "mkdir", "rmdir", "ln", "chown", "chgrp", "chmod", "touch", "tar", "unzip", "curl", "wget",
    "git", "cat", "tee", "useradd", "adduser", "groupadd", "addgroup", "usermod", "test", "[", "sed", "grep",
];

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        let mut variables = None;
        for command in &run.script.commands {
            let Some(session) =
                run.script.sessions.get(command.session).filter(|session| !session.is_expanded_outside())
            else {
                continue;
            };
            if matches!(command.program(), "[[" | "export" | "local" | "declare" | "readonly" | "typeset" | "let") {
                continue;
            }
            let is_test = matches!(command.program(), "[" | "test");
            for word in command.arguments().iter().filter(|word| word.expands) {
                let parts = word.parts.iter().filter(|part| part.kind == PartKind::Parameter && is_split(part.quoting));
                for part in parts {
                    let Some((name, rest)) = parameter_name(word.text_of(part)) else { continue };
                    // `${x:-a b}` and the like are written to be split; `$@` has a rule of its own.
                    if !rest.is_empty()
                        || matches!(name, "@" | "*")
                        || is_plural_name(name)
                        || !wants_one_word(command, word)
                    {
                        continue;
                    }
                    let variables = variables.get_or_insert_with(|| Variables::of(context, run));
                    if variables.value(name) != Value::Unknown {
                        continue;
                    }
                    let finding = report.report(
                        part.span,
                        format!("`{}` is split at blanks: put it in double quotes", word.text_of(part)),
                    );
                    if is_test {
                        finding.severity(Severity::Warning);
                    }
                    if session.is_verbatim() && context.source(part.span) == word.text_of(part) {
                        finding.unsafe_fix("Put it in quotes", TextEdit::in_quotes(part.span));
                    }
                }
            }
        }
    }
}

/// Whether `word` is meant to be one argument: it has other text around the variable, or the program takes such arguments.
fn wants_one_word(command: &SimpleCommand, word: &ShellWord) -> bool {
    let around =
        word.parts.iter().any(|part| part.kind == PartKind::Literal) && !matches!(command.program(), "echo" | "printf");
    around || SINGLE_WORD_PROGRAMS.contains(&command.program())
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_bodies, fixed_body};

    #[test]
    fn only_words_that_are_meant_to_be_one_count() {
        check_bodies(
            "shell-unquoted-variable",
            &[
                "[ -n $GIVEN ]",
                "if test $GIVEN = x; then a; fi",
                "rm -rf $GIVEN",
                "tar xf app-$GIVEN.tgz",
                "x=$(curl x) && cd $x",
                "while read -r f; do cp $f /x; done < /list",
                "f() { mkdir $1; }; f x",
                "sh -c 'rm $GIVEN'",
                "make PREFIX=$GIVEN/x",
            ],
            &[
                "[ -n \"$GIVEN\" ]",
                "[[ -n $GIVEN ]]",
                "x=$GIVEN; export Y=$GIVEN",
                "case $GIVEN in a) b;; esac",
                "echo $GIVEN",
                "cd $SET && tar xf app-$WITH_DEFAULT.tgz",
                "x=a; rm $x",
                "x=$(nproc); make -j$x",
                "x=\"a b\"; rm $x",
                "rm -rf $GIVEN_DIRS $BUILD_DEPS",
                "apt-get install -y $GIVEN",
                "$GIVEN x",
                "make $GIVEN",
                "for x in $GIVEN; do a; done",
                "for x in a b; do rm $x; done",
                "sh -c \"rm $GIVEN\"",
                "cat <<EOF > /x\n$GIVEN\nEOF",
                "awk '{ print $1 }' /x",
                "rm ${GIVEN:+x}",
                "echo $((GIVEN + 1)) $# $?",
                "a > $GIVEN",
                "cp x-${TARGETARCH} /y; cd $HOME",
            ],
        );
    }

    #[test]
    fn quotes_are_added_around_the_expansion() {
        assert_eq!(fixed_body("shell-unquoted-variable", "cp a-$GIVEN.x ${GIVEN}"), "cp a-\"$GIVEN\".x \"${GIVEN}\"");
    }
}
