//! Bodies of `RUN` in the forms that people write, with real shells as the judges of what is a syntax error.

#![expect(clippy::print_stderr, reason = "a skipped judge has to be seen")]
#![expect(clippy::unwrap_used, reason = "a failed test should panic")]

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Dialect, Script, read, read_as};

/// Bodies that every POSIX shell reads.
const POSIX: &[&str] = &[
    "apt-get update && apt-get install -y make && rm -rf /var/lib/apt/lists/*",
    "a && \\\n  b && \\\n  c",
    "set -eux; a; b; c",
    "set -eux; \\\n\tarch=\"$(dpkg --print-architecture)\"; \\\n\tcase \"$arch\" in \\\n\t\tamd64) x=1 ;; \\\n\t\tarm64 | armhf) x=2 ;; \\\n\t\t*) exit 1 ;; \\\n\tesac; \\\n\techo \"$x\"",
    "if [ -f /x ]; then rm /x; fi",
    "if [ \"$A\" = b ] && [ -n \"$C\" ]; then d; elif e; then f; else g; fi && h",
    "if ! command -v make; then apt-get install make; fi",
    "if ! (a; b); then c; fi",
    "! a && b",
    "! { a; b; }",
    "for x in a b c; do echo \"$x\"; done",
    "for x in a b; do echo $x; done > /list 2>&1",
    "for x; do echo $x; done",
    "for x in $(ls); do for y in 1 2; do z $x $y; done; done",
    "for f in *.tar.gz; do tar xf \"$f\" && rm \"$f\"; done",
    "while read -r line; do echo \"$line\"; done < /etc/passwd",
    "while true; do a || break; sleep 1; done",
    "until a; do sleep 1; done",
    "case $x in a) b;; (c) d;; *) e; esac",
    "case \"$x\" in *'a b'*) c ;; [!a-z]*) d ;; esac",
    "case x in x) if a; then b; fi;; esac",
    "case x in esac",
    "{ a; b; } && c",
    "{ a; } > x 2>&1; b",
    "(cd /x && make) && make install",
    "( (a) ; (b) )",
    "f() { a \"$1\"; }; f x",
    "f() ( a ); f",
    "f () {\n a\n}\nf",
    "x=1; y=$((x + 1)); echo $((y * (2 + 3)))",
    "x=$(a | b); echo \"$x\"",
    "x=\"$(a \"$(b \"c d\")\" 'e')\"",
    "x=`a \\`b\\``",
    "echo \"`a`\"",
    "echo \"${x:-\"a b\"}\" ${y:-'c d'} ${z:=e} ${w:+f} ${v:?g}",
    "echo \"${x%'}'}\" ${x##*/} ${x%.tar.*} ${#x}",
    "echo ${x:-{} ${x:-\\}}",
    "echo $1 $@ $* $# $? $$ $! $- \"$@\"",
    "echo a#b # comment",
    "a; # comment with ' quote\nb",
    "echo 'it'\\''s'",
    "echo \"a \\\" b\" 'c \" d' e\\ f",
    "echo a\\\nb",
    "cat <<EOF > /x\na $b $(c)\nEOF\nd",
    "cat <<'EOF' > /x\na $b $(c ' \"\nEOF\nd",
    "cat <<-EOF\n\ta\n\tEOF\nb",
    "cat <<A <<B\na\nA\nb\nB\nc",
    "sh <<EOF\na && b\nEOF",
    "a < x > y 2> z >> w 2>&1 <&3 3<> v >| u",
    "a 2>/dev/null || true",
    "a >&2",
    ">x",
    "x=1 y=2",
    "x=1 y=\"a b\" z",
    "A=1 B=2 env C=3 d",
    "sudo -u app sh -c 'cd /x && make'",
    "su app -c \"a && b\"",
    "bash -c \"a && b 'c d'\"",
    "sh -ec 'a; b'",
    "eval \"$(a)\"",
    "exec a b",
    "exec >x",
    "time make",
    "nice -n 10 make",
    "xargs -a list -n1 rm -f",
    "find / -name '*.pyc' -exec rm -f {} +",
    "find . -type f -exec sh -c 'a \"$1\"' _ {} \\;",
    "find . \\( -name a -o -name b \\) -delete",
    "timeout 30 sh -c 'until a; do sleep 1; done'",
    "nohup a &\nb",
    "a & b & wait",
    "a | b | c",
    "a |\n b",
    "a &&\n b ||\n c",
    "a\n\n\nb",
    "a;\nb",
    "test -n \"$x\" -a -z \"$y\"",
    "[ ! -e /x ] || rm /x",
    "[ \"$(id -u)\" = 0 ]",
    "awk '{ print $1 }' /x | sed -e 's/(a)/b/' -e \"s|$x|y|\"",
    "sed -i '/^#/d; s/a/b/' /x",
    "printf '%s\\n' \"a\" 'b' > /x",
    "echo '{\"a\": [1, 2]}' > /x.json",
    "gosu app a b",
    "chroot /mnt /bin/sh -c 'a'",
    "grep -q '^a(b|c)$' /x && d",
    "echo \"$(cat <<X\na\nX\n)\"",
    "if a; then\n  b # c\nelse\n  # d\n  e\nfi",
    "trap 'rm -f x' EXIT; a",
    "set -- a b; shift; echo \"$@\"",
    "export A=1 B=\"$C\"; d",
    "readonly x; unset y",
    "local_name=a; echo \"$local_name\"",
    "a; if b; then c; fi; d",
    "while a; do b; done | c",
    "if a; then b; fi | c",
    "{ a | b; } 2>&1 | c",
    ": \"${x:?must be set}\"",
    ". /etc/os-release && echo \"$ID\"",
    "a$(b)c`d`e",
    "a '' \"\" b",
    "echo in do done then fi esac",
    "a=in; b=done",
    "echo if; echo then",
    "make -j\"$(nproc)\" V=1 CFLAGS='-O2 -g'",
    "curl -fsSL https://x/y?a=b\\&c=d | tar xz",
    "git clone https://x/y.git && cd y && ./configure --prefix=/usr && make && make install",
    "$x $y",
    "$(a) b",
    "\"$x\" a",
    "~/bin/a ~",
    "((a); (b))",
    "x=$( (a) | b )",
    "x=$( ( a; b ) )",
    "echo $((1+2)) $(( (3) ))",
    "echo \"$((x))\" '$((' $",
    "echo a $ b \"$\" \"a$\"",
    "a \\\n  # comment in between\n  b",
];

/// Bodies that bash reads, and POSIX shells do not or otherwise.
const BASH: &[&str] = &[
    "arr=(a b \"c d\"); echo \"${arr[@]}\"",
    "arr=(\n a\n b # c\n)\necho ${#arr[@]}",
    "declare -A m=([a]=b [c]=d); echo \"${m[a]}\"",
    "arr+=(x); arr[0]=y",
    "local -a x=(a)",
    "[[ -n $x && ( $y == a* || $z =~ ^[0-9]+(a|b)$ ) ]] && c",
    "[[ $x =~ (a|b) ]]",
    "[[ a < b ]] || c",
    "[[\n a == b &&\n c == d\n]] && e",
    "diff <(a | b) <(c) > >(d)",
    "cat <<< \"$x\"",
    "a |& b",
    "a &> /dev/null",
    "a &>> /log",
    "for ((i = 0; i < 3; i++)); do echo $i; done",
    "for ((;;)) do a; break; done",
    "(( x++ )) || true",
    "((x = (1 + 2) * 3))",
    "function f { a; }; f",
    "function f() { a; }; f",
    "select x in a b; do break; done",
    "time { a; b; }",
    "time -p ( a )",
    "coproc a b",
    "coproc X { a; b; }",
    "shopt -s extglob\nrm -rf !(a|b)",
    "shopt -s extglob\nls @(a|b)*.txt ?(c) +([0-9])",
    "echo $'a\\n\\'b' $\"c\"",
    "echo ${x^^} ${x,,} ${x/a/b} ${x//a} ${x:1:2} ${!x} ${!x*} ${x@Q}",
    "echo {a,b}{1..3}",
    "source /x && a",
    "pushd /x && a && popd",
    "case $x in a) b ;& c) d ;;& *) e ;; esac",
    "mapfile -t x < <(a)",
    "while IFS= read -r -d '' f; do a \"$f\"; done < <(find . -print0)",
    "echo \"${x[@]:1}\" \"${#x}\"",
    "if [[ $x == @(a|b) ]]; then c; fi",
    "x=$(<file)",
    "printf -v x '%s' a",
    "let x=1+2",
];

/// Bodies that no shell reads.
const BROKEN: &[&str] = &[
    "if a; then b",
    "if a; then b; done",
    "if a; b; fi",
    "if; then a; fi",
    "if a; then; b; fi",
    "if a; then fi",
    "for x in a; echo $x; done",
    "for x in a b do c; done",
    "for x in a; do done",
    "while a; b; done",
    "while a; do b; fi",
    "case x in a) b",
    "case x a) b;; esac",
    "{ a; b",
    "{ a; ) b",
    "(a; b",
    "a ) b",
    "a 'b",
    "a \"b",
    "a `b",
    "a $(b",
    "a ${b",
    "a && && b",
    "a || ; b",
    "&& a",
    "| a",
    "; a",
    "a ;; b",
    "a & ; b",
    "a |",
    "a &&",
    "a || ",
    "fi",
    "done",
    "then a",
    "esac",
    "}",
    "a > ; b",
    "a >",
    "()",
    "a (b)",
    "f() { a; ",
    "(a) b",
    "if a; then b; fi c",
    "if a; then b; else c; else d; fi",
    "if a; then b; else fi",
    "while a; do b; done; done",
];

/// Bytes of the bodies whose reading is timed.
const LENGTH: usize = 1 << 18;

/// What a real shell says; `None` where it is not installed.
fn accepts(shell: &str, text: &str) -> Option<bool> {
    let child =
        Command::new(shell).arg("-n").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = child.ok()?;
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    // bash only warns of a heredoc without an end.
    Some(output.status.success())
}

/// Holds our reading of every body against those of real shells.
fn judge(dialect: Dialect, shells: &[&str], bodies: &[&str], valid: bool) {
    for body in bodies {
        let errors = read_as(dialect, body).errors;
        assert_eq!(errors.is_empty(), valid, "{body:?}: {errors:?}");
        for shell in shells {
            match accepts(shell, body) {
                Some(accepted) => assert_eq!(accepted, valid, "{shell} does not agree about {body:?}"),
                None => eprintln!("skipped: there is no {shell} to judge {body:?}"),
            }
        }
    }
}

#[test]
fn bodies_for_any_shell_are_read() {
    judge(Dialect::Posix, &["dash"], POSIX, true);
    judge(Dialect::Bash, &["bash"], POSIX, true);
    judge(Dialect::Posix, &["dash"], &["echo \"${x:-it's}\""], true);
}

#[test]
fn bodies_for_bash_are_read() {
    // `bash -n` does not perform `shopt`, so it cannot judge the patterns that it switches on.
    let judged: Vec<&str> = BASH.iter().copied().filter(|body| !body.contains("extglob")).collect();
    judge(Dialect::Bash, &["bash"], &judged, true);
    judge(Dialect::Bash, &[], BASH, true);
}

#[test]
fn broken_bodies_are_told() {
    judge(Dialect::Posix, &["dash"], BROKEN, false);
    judge(Dialect::Bash, &["bash"], BROKEN, false);
    // bash finds this out only when it runs.
    judge(Dialect::Posix, &["dash"], &["for 1x in a; do b; done"], false);
}

#[test]
fn line_ends_of_windows_change_nothing() {
    for body in POSIX.iter().chain(BASH) {
        let script = read_as(Dialect::Bash, &body.replace('\n', "\r\n"));
        assert!(script.errors.is_empty(), "{body:?}: {:?}", script.errors);
        let programs = |script: &Script| script.commands.iter().map(|c| c.program().to_owned()).collect::<Vec<_>>();
        assert_eq!(programs(&script), programs(&read_as(Dialect::Bash, body)), "{body:?}");
    }
}

#[test]
fn parts_of_words_are_the_word() {
    for body in POSIX.iter().chain(BASH).chain(BROKEN) {
        let script = read(body);
        for word in script.commands.iter().flat_map(|command| &command.words).filter(|word| !word.parts.is_empty()) {
            let joined: String = word.parts.iter().map(|part| word.text_of(part)).collect();
            assert_eq!(joined, word.text, "{body:?}");
            for part in &word.parts {
                assert!(word.span.start <= part.span.start && part.span.end <= word.span.end, "{body:?}: {word:?}");
                assert!(body.get(part.span.start..part.span.end).is_some(), "{body:?}: {word:?}");
            }
        }
    }
}

#[test]
fn every_beginning_of_a_body_is_read() {
    for body in POSIX.iter().chain(BASH).chain(BROKEN) {
        for (end, _) in body.char_indices() {
            read(&body[..end]);
        }
    }
}

#[test]
fn a_long_body_of_anything_takes_no_long_time() {
    let pieces = [
        "a ",
        "'",
        "\"",
        "`",
        "$(",
        "$((",
        "((",
        "(",
        ")",
        "{ ",
        "}",
        "${a:-",
        "${",
        "$'",
        "a=(",
        "a=(b) ",
        "!(",
        "@(a|",
        "[[ ",
        "]] ",
        "<<E ",
        "<<E\n",
        "<<A\nA\n",
        "case x in ",
        "case x in a) ",
        ";;",
        "if ",
        "if a; then ",
        "fi; ",
        "for x in ",
        "for x in a; do ",
        "while a; do ",
        "\\\n",
        "# c\n",
        "a && ",
        "sh -c 'a' ",
        "eval a; ",
        "eval 'eval ",
        "find -exec ",
        "find -exec a \\; ",
        "a | ",
        "x=",
        "x=$((a)b) ",
        "<(",
        "$[",
        "\"$(",
        "`\\`",
        "é",
        "f() ",
        "time ",
        "coproc ",
        "time ! ",
        "\"${a:-",
        "${a:-\"",
        "$((`",
        "! ",
        "a > ",
        "2>&1 ",
        "${x//a/b} ",
        "\"${x:-'",
        "a\n",
    ];
    for piece in pieces {
        let text = piece.repeat(LENGTH / piece.len());
        let began = Instant::now();
        read(&text);
        let took = began.elapsed();
        // Twenty times what the slowest takes in a build without optimisation; a quadratic one takes many minutes.
        assert!(took < Duration::from_secs(10), "{piece:?} took {took:?}");
    }
}
