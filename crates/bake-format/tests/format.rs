//! Formatting as a whole: what it does, that it changes no meaning, and that a second time changes nothing.
#![expect(clippy::unwrap_used, reason = "a failed test should panic")]

use std::path::{Path, PathBuf};
use std::process::Command;

use bake_dockerfile::instruction::{Command as Form, Instruction, InstructionKind};
use bake_dockerfile::{Dockerfile, SourceText, parse};
use bake_format::{FormatError, format, format_edits};
use proptest::prelude::*;

fn parsed(text: &str) -> Dockerfile {
    parse(SourceText::new("Dockerfile", text))
}

fn formatted(text: &str) -> String {
    format(&parsed(text)).unwrap_or_else(|error| panic!("{error}: {text:?}"))
}

/// The tree without places, letter case of keywords and number of blanks in steps' commands.
fn meaning(text: &str) -> String {
    let mut file = parsed(text);
    for instruction in &mut file.instructions {
        one_blank(instruction);
    }
    let dump = file.dump();
    let mut lines = Vec::new();
    for line in dump.lines() {
        let is_diagnostic = ["error ", "warning ", "info ", "style "].iter().any(|start| line.starts_with(start));
        if is_diagnostic || line.trim_start().starts_with("comment ") {
            continue;
        }
        let words = line.split(' ').map(without_place).collect::<Vec<_>>();
        let mut line = words.join(" ");
        let keyword = line.len() - line.trim_start().len()
            + line.trim_start().chars().take_while(char::is_ascii_alphabetic).count();
        line[..keyword].make_ascii_uppercase();
        lines.push(line);
    }
    lines.join("\n")
}

/// Steps of shells may get other numbers of blanks; that these do not matter is tested with a shell.
fn one_blank(instruction: &mut Instruction) {
    if let InstructionKind::Run(run) = &mut instruction.kind
        && let Form::Shell(word) = &mut run.command
    {
        word.value = word.value.split_whitespace().collect::<Vec<_>>().join(" ");
    }
}

/// `1:2-3:4` as `@`.
fn without_place(word: &str) -> &str {
    let is_position = |text: &str| {
        text.split_once(':')
            .is_some_and(|(line, column)| line.parse::<usize>().is_ok() && column.parse::<usize>().is_ok())
    };
    if word.split_once('-').is_some_and(|(start, end)| is_position(start) && is_position(end)) { "@" } else { word }
}

fn check(text: &str) {
    let after = match format(&parsed(text)) {
        Ok(after) => after,
        Err(FormatError::OtherFrontend) => return,
        Err(error) => panic!("{error}: {text:?}"),
    };
    assert_eq!(meaning(&after), meaning(text), "{text:?} became {after:?}");
    assert_eq!(formatted(&after), after, "the second time: {text:?}");
}

#[test]
fn layout() {
    for (before, after) in [
        ("from a\n", "FROM a\n"),
        ("  FROM   a  as   b  ", "FROM a AS b\n"),
        ("FROM a\nRUN   x  y \\  \n  z\t\n", "FROM a\nRUN x  y \\\n    z\n"),
        ("FROM a\n\n\n\nRUN x\n\n\n", "FROM a\n\nRUN x\n"),
        ("FROM a\nRUN x\nFROM b\n", "FROM a\nRUN x\n\nFROM b\n"),
        ("FROM a\nRUN x\n# of b\nFROM b\n", "FROM a\nRUN x\n\n# of b\nFROM b\n"),
        ("ARG A\nFROM a\n", "ARG A\nFROM a\n"),
        ("FROM a\r\nrun x \\\n y\n\n\nRUN z", "FROM a\r\nRUN x \\\r\n    y\r\n\r\nRUN z\r\n"),
        ("\u{feff}from a\n", "\u{feff}FROM a\n"),
        ("FROM a\n  # note \n  RUN x\n", "FROM a\n# note\nRUN x\n"),
        ("FROM a\nRUN x\n\n\n  # bake: trace=off\nrun y\n", "FROM a\nRUN x\n\n# bake: trace=off\nRUN y\n"),
        ("\n\n# escape=`\nFROM a\n", "\n# escape=`\nFROM a\n"),
        ("\n\nFROM a\n", "FROM a\n"),
        ("# escape=`  \nFROM a\n", "# escape=`  \nFROM a\n"),
        ("FROM a\nCOPY   --link   --chmod=755   a b\n", "FROM a\nCOPY --link --chmod=755 a b\n"),
        ("FROM a\nLABEL a=b \\\n      c=d\n", "FROM a\nLABEL a=b \\\n    c=d\n"),
        ("FROM a\nLABEL a=\"b \\\n      c\" \\\n  d=e\n", "FROM a\nLABEL a=\"b \\\n      c\" \\\n    d=e\n"),
        ("FROM a\nRUN <<EOF\n  a  \n\nEOF\nrun b\n", "FROM a\nRUN <<EOF\n  a  \n\nEOF\nRUN b\n"),
        (
            "FROM a\nHEALTHCHECK --timeout=3s \\\n  CMD a \\\n  b\n",
            "FROM a\nHEALTHCHECK --timeout=3s \\\n    CMD a \\\n  b\n",
        ),
        ("FROM a\nCMD [\"a\", \\\n\"b\"]\n", "FROM a\nCMD [\"a\", \\\n    \"b\"]\n"),
        ("FROM a\nonbuild  run  x \n", "FROM a\nONBUILD run  x \n"),
        ("FROM a\nRNU   x \n", "FROM a\nRNU   x \n"),
        ("", ""),
        ("\n\n", ""),
    ] {
        assert_eq!(formatted(before), after, "{before:?}");
        check(before);
    }
}

#[test]
fn continuations_move_together() {
    for (before, after) in [
        (
            "a && \\\n  b && \\\n  if c; then \\\n      d; \\\n  fi",
            "a && \\\n    b && \\\n    if c; then \\\n        d; \\\n    fi",
        ),
        ("a && \\\n\tb && \\\n\t\tc", "a && \\\n    b && \\\n        c"),
        ("a && \\\nb && \\\n  # why\n  c", "a && \\\n    b && \\\n    # why\n    c"),
        ("echo 'a \\\n  b' \\\n  c", "echo 'a \\\n  b' \\\n    c"),
        ("echo a\\\nb \\\n c", "echo a\\\nb \\\n    c"),
        ("echo \"$(a \\\n  b)\" \\\n  c", "echo \"$(a \\\n  b)\" \\\n    c"),
        ("--mount=type=cache,target=/x \\\n  a", "--mount=type=cache,target=/x \\\n    a"),
    ] {
        let file = |run: &str| format!("FROM a\nRUN {run}\n");
        assert_eq!(formatted(&file(before)), file(after), "{before:?}");
        check(&file(before));
    }
}

#[test]
fn other_shells_are_left_alone() {
    for text in [
        "# escape=`\nFROM a\nRUN a `\n  b\n",
        "FROM a\nSHELL [\"pwsh\", \"-c\"]\nRUN a \\\n  b\n",
        "FROM a\nCMD a \\\n  b\n",
        "FROM a\nENV A b \\\n  c\n",
        "FROM a\nWORKDIR /a \\\n  b\n",
    ] {
        assert_eq!(formatted(text), text);
    }
    assert_eq!(format(&parsed("# syntax=a/b\nfrom x\n")), Err(FormatError::OtherFrontend));
}

#[test]
fn edits_are_the_changes_only() {
    let edits = format_edits(&parsed("from a\nRUN x\nRUN  y\n")).unwrap();
    let edits: Vec<_> = edits.iter().map(|edit| (edit.span.start, edit.span.end, edit.replacement.as_str())).collect();
    assert_eq!(edits, [(0, 4, "FROM"), (16, 18, " ")]);
}

fn dockerfiles(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            dockerfiles(&path, found);
        } else if path.file_name().is_some_and(|name| name.to_string_lossy().contains("Dockerfile")) {
            found.push(path);
        }
    }
}

#[test]
fn every_case_keeps_its_meaning() {
    let mut found = Vec::new();
    dockerfiles(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata"), &mut found);
    assert!(found.len() > 100, "{}", found.len());
    for path in found {
        if let Ok(text) = std::fs::read_to_string(&path) {
            check(&text);
        }
    }
}

/// Pieces that mean something next to each other.
const PIECES: [&str; 46] = [
    "FROM a",
    "from  b AS c",
    "RUN",
    "run ",
    "COPY",
    "ENV",
    "LABEL",
    "CMD",
    "ONBUILD",
    "HEALTHCHECK CMD",
    "WORKDIR",
    "SHELL",
    " ",
    "  ",
    "\t",
    "\n",
    "\n\n",
    "\r\n",
    " \\\n",
    "\\\n",
    "\\\n  ",
    "\\  \n\t",
    "\\\r\n",
    "# note",
    "  # note ",
    "# escape=`",
    "\"",
    "'",
    "$(",
    ")",
    "${",
    "}",
    "`",
    "\\",
    "a",
    "b c",
    "x=y",
    "<<EOF",
    "\nEOF\n",
    "<<-'E'",
    "\n\tE\n",
    "[\"a\", ",
    "\"b\"]",
    "\u{feff}",
    "--mount=type=cache,target=/x",
    "ö\u{a0}",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_keeps_its_meaning(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..24)) {
        check(&pieces.concat());
    }

    #[test]
    fn any_lines_keep_their_meaning(text in "([a-zA-Z#\"' \\\\`=\\[\\]<>-]{0,12}(\n|\r\n|\\\\\n)){0,10}") {
        check(&text);
    }
}

/// What a shell makes of the words of many commands, one line of output for each.
fn words_by_shell(shell: &str, commands: &[String]) -> Vec<String> {
    let mut script = String::new();
    for command in commands {
        // A command that is no valid shell has no words: it fails in a shell of its own.
        let line = format!("printf '[%s]' {command}");
        for part in [
            "(",
            shell,
            " -c \"$(cat <<'END-OF-COMMAND'\n",
            &line,
            "\nEND-OF-COMMAND\n)\") 2>/dev/null; printf '\\0'\n",
        ] {
            script.push_str(part);
        }
    }
    let output = Command::new(shell).arg("-c").arg(script).env_clear().env("PATH", "/usr/bin:/bin").output().unwrap();
    String::from_utf8_lossy(&output.stdout).split_terminator('\0').map(str::to_owned).collect()
}

#[test]
fn shells_see_the_same_words() {
    const PARTS: [&str; 30] = [
        "a",
        " b",
        "  c ",
        " \\\n    ",
        " \\\n",
        "\\\n  ",
        "\\\n",
        "\"",
        "'",
        "\"x  y\"",
        "'x  y'",
        "\\ ",
        "\\\\",
        "\\\"",
        "$(printf '%s' ",
        ")",
        "\"$(printf \"%s\" \"q  r\")\"",
        "${u:-",
        "}",
        "\"${u:-\"d  e\"}\"",
        "`echo ",
        "`",
        " # it's",
        "$'a'",
        "$'\\''",
        "$((1 + ",
        "))",
        "((",
        "\"$(case x in x) printf \"%s\" \"s  t\";; esac)\"",
        "$v",
    ];
    // A generator of its own, so that the commands are the same in every run.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % bound as u64).unwrap()
    };
    let (mut before, mut after) = (Vec::new(), Vec::new());
    while before.len() < 400 {
        let parts: String = (0..3 + next(9)).map(|_| PARTS[next(PARTS.len())]).collect();
        let text = format!("FROM a\nRUN {parts}\n");
        let changed = formatted(&text);
        let command = |text: &str| match parsed(text).instructions.get(1).map(|run| run.kind.clone()) {
            Some(InstructionKind::Run(run)) => match run.command {
                Form::Shell(word) => Some(word.value),
                Form::Exec(_) => None,
            },
            _ => None,
        };
        let (Some(old), Some(new)) = (command(&text), command(&changed)) else { continue };
        if old != new {
            before.push(old);
            after.push(new);
        }
    }
    for shell in ["sh", "bash"] {
        let (old, new) = (words_by_shell(shell, &before), words_by_shell(shell, &after));
        assert_eq!(old.len(), before.len());
        assert!(old.iter().filter(|words| !words.is_empty()).count() > 50, "too few commands are valid");
        for (index, (old, new)) in old.iter().zip(&new).enumerate() {
            assert_eq!(old, new, "{shell}: {:?} became {:?}", before[index], after[index]);
        }
    }
}
