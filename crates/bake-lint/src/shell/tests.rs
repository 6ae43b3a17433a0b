//! What the reader makes of shell text.

mod corpus;

use bake_dockerfile::Span;

use super::{Dialect, Script, Session, characters, read_into};

pub(super) fn read(text: &str) -> Script {
    read_as(Dialect::Posix, text)
}

pub(super) fn read_as(dialect: Dialect, text: &str) -> Script {
    let mut script = Script::default();
    script.sessions.push(Session::new(dialect, Span::new(0, text.len())));
    let input = characters::join_continuations(text, 0, '\\');
    read_into(&mut script, &input, 0);
    script
}

/// The commands as `word|word`, one per line.
fn commands(text: &str) -> String {
    let script = read(text);
    assert_eq!(script.errors, [], "{text}");
    for command in &script.commands {
        assert!(command.span.start < command.span.end && command.span.end <= text.len(), "{text}: {command:?}");
    }
    let lines: Vec<String> = script
        .commands
        .iter()
        .map(|command| command.words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join("|"))
        .collect();
    lines.join("\n")
}

#[test]
fn connectors_separate_commands() {
    assert_eq!(commands("a b && c || d; e | f & g"), "a|b\nc\nd\ne\nf\ng");
}

#[test]
fn quotes_keep_words_together() {
    assert_eq!(commands(r#"echo "a && b" 'c; d' e\ f"#), "echo|a && b|c; d|e f");
}

#[test]
fn continuations_and_comments_are_skipped() {
    assert_eq!(commands("a && \\\n  # a comment\n\n  b \\\n   c # end"), "a\nb|c");
    assert_eq!(commands("echo a#b"), "echo|a#b");
}

#[test]
fn substitutions_come_first() {
    assert_eq!(commands("x=$(a b) y=`c d` e \"$(f \"$(g)\")\""), "a|b\nc|d\ng\nf|$(g)\ne|$(f \"$(g)\")");
}

#[test]
fn compound_commands_are_entered() {
    assert_eq!(commands("if a; then b && c; elif d; then e; else f; fi"), "a\nb\nc\nd\ne\nf");
    assert_eq!(commands("for p in make gcc; do i \"$p\"; done"), "i|$p");
    assert_eq!(commands("while read x; do y; done < z"), "read|x\ny");
    assert_eq!(
        commands("case \"$(uname -m)\" in x86_64) a b;; arm|arm64) c;; *) exit 1;; esac && d"),
        "uname|-m\na|b\nc\nexit|1\nd"
    );
    assert_eq!(commands("( a; b ) && { c; }"), "a\nb\nc");
    assert_eq!(commands("f() { a; }; f"), "a\nf");
}

#[test]
fn inner_shells_are_read() {
    assert_eq!(commands("bash -o pipefail -c 'a | b'"), "bash|-o|pipefail|-c|a | b\na\nb");
    let script = read("bash -euo pipefail -c 'a | b'");
    assert!(script.sessions[1].pipefail && script.sessions[1].errexit);
    assert_eq!(script.pipes[0].session, 1);
    assert_eq!(commands("su app -c 'a b'"), "su|app|-c|a b\na|b");
}

#[test]
fn heredocs_inside_are_data_or_scripts() {
    assert_eq!(commands("cat <<X > /f\nsudo rm\nX\nb"), "cat\nb");
    assert_eq!(commands("bash <<X\nc d\nX\nb"), "bash\nc|d\nb");
}

#[test]
fn arrays_tests_and_process_substitutions() {
    assert_eq!(commands("arr=(a b)\necho \"${arr[@]}\" | cat"), "\necho|${arr[@]}\ncat");
    assert_eq!(commands("[[ -n \"$HOME\" && a < b ]] && echo ok"), "[[|-n|$HOME|&|&|a|<|b|]]\necho|ok");
    assert_eq!(commands("diff <(a) <(b)"), "a\nb\ndiff|<(a)|<(b)");
    assert_eq!(read("[[ a ]]").sessions[0].bashisms.len(), 1);
}

#[test]
fn redirects_are_not_words() {
    let script = read("a > x 2>&1 < y >> z b");
    assert_eq!(script.commands[0].words.len(), 2);
    assert_eq!(
        script.commands[0].redirects.iter().map(|r| r.target.text.as_str()).collect::<Vec<_>>(),
        ["x", "1", "y", "z"]
    );
}

#[test]
fn wrappers_are_looked_through() {
    for (text, program) in [
        ("sudo -E apt-get update", "apt-get"),
        ("env A=1 B=2 pip install x", "pip"),
        ("A=1 exec /usr/bin/apt-get update", "apt-get"),
        ("xargs -a list apt-get install", "apt-get"),
        ("timeout 30 curl x", "curl"),
        ("command -v make", "command"),
        ("sudo", "sudo"),
    ] {
        assert_eq!(read(text).commands[0].program(), program, "{text}");
    }
}

#[test]
fn options_of_set_are_followed() {
    let script = read("set -euo pipefail; a | b; set +o pipefail; c | d");
    assert!(script.has_pipefail_before(0, script.pipes[0].position));
    assert!(!script.has_pipefail_before(0, script.pipes[1].position));
    assert!(script.has_errexit_before(0, 1) && !script.has_errexit_before(0, 0));
}

#[test]
fn pipes_know_their_sides() {
    let script = read("yes | apt-get install x");
    assert_eq!(script.pipes[0].left, Some(0));
    assert_eq!(script.commands[1].piped_from, Some(0));
    let script = read("for x in a; do b; done | c");
    assert_eq!(script.pipes[0].left, None);
}

#[test]
fn nonsense_is_an_error_and_reading_goes_on() {
    for text in [
        "if a; then b",
        "a 'b",
        "a \"b",
        "a ) b",
        "fi",
        "${",
        "a $(b",
        "case",
        "((",
        "a ;; b",
        "<",
        "&",
        "|",
        "`",
        "[[",
    ] {
        let script = read(text);
        assert!(script.commands.len() < 5, "{text}");
    }
    assert!(!read("if a; then b").errors.is_empty());
    assert!(!read("a 'b").errors.is_empty());
    let deep = "$(".repeat(10_000);
    assert!(!read(&deep).errors.is_empty());
    let deep = "(".repeat(10_000);
    assert!(!read(&deep).errors.is_empty());
    let deep = "${a:-".repeat(10_000);
    assert!(!read(&deep).errors.is_empty());
}

#[test]
fn positions_survive_continuations() {
    let text = "a && \\\n  # c\n  bcd e";
    let script = read(text);
    let command = &script.commands[1];
    assert_eq!(&text[command.span.start..command.span.end], "bcd e");
}
