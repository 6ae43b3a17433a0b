//! The same text through the parser of the crate `dockerfile-parser`, for the part of the language it supports.
//!
//! What it cannot do, and so is compared nowhere: heredocs, the escape directive and other directives, a byte-order mark, flags of
//! `RUN`, flags without a value, several names in one `ARG`, empty lines inside a command, values that are partly quoted (`a"b c"`),
//! escaped blanks, anything but words and JSON in the arguments of other instructions. What it takes and nobody else does: any word as
//! an instruction, a comma at the end of a JSON list, single quotes in one.

use std::fs;
use std::path::{Path, PathBuf};

use bake_dockerfile::instruction::{Command, CopySource, KeyValues};
use bake_dockerfile::{Expander, Instruction, InstructionKind, SourceText, parse};
use dockerfile_parser::{Dockerfile as OtherDockerfile, Instruction as Other, ShellOrExecExpr};
use proptest::prelude::*;

/// A form both trees can be brought to.
#[derive(Debug, PartialEq, Eq)]
enum Common {
    From { image: String, name: Option<String>, flags: Vec<(String, String)> },
    Arg { name: String, default: Option<String> },
    Pairs { keyword: &'static str, pairs: Vec<(String, String)> },
    Shell { keyword: &'static str, command: String },
    Exec { keyword: &'static str, arguments: Vec<String> },
    Copy { sources: Vec<String>, destination: String, flags: Vec<(String, String)> },
    Miscellaneous { keyword: String, arguments: String },
}

fn ours(text: &str) -> Vec<Common> {
    let dockerfile = parse(SourceText::new("Dockerfile", text));
    assert!(!dockerfile.has_errors(), "{:?} in {text}", dockerfile.diagnostics);
    let flags = |instruction: &Instruction| {
        let flags = instruction.flags.iter();
        flags
            .map(|flag| (flag.name.value.clone(), flag.value.as_ref().map_or(String::new(), |v| v.value.clone())))
            .collect()
    };
    let unquote = |word: &str| Expander::default().unquote(word);
    let pairs = |keyword, values: &KeyValues| Common::Pairs {
        keyword,
        pairs: values.pairs.iter().map(|(key, value)| (unquote(&key.value), unquote(&value.value))).collect(),
    };
    let command = |keyword, command: &Command| match command {
        Command::Shell(word) => Common::Shell { keyword, command: word.value.clone() },
        Command::Exec(arguments) => Common::Exec { keyword, arguments: arguments.clone() },
    };
    dockerfile
        .instructions
        .iter()
        .map(|instruction| match &instruction.kind {
            InstructionKind::From(from) => Common::From {
                image: from.image.value.clone(),
                name: from.name.as_ref().map(|name| name.value.clone()),
                flags: flags(instruction),
            },
            InstructionKind::Arg(declarations) => Common::Arg {
                name: declarations[0].name.value.clone(),
                default: declarations[0].default.as_ref().map(|default| unquote(&default.value)),
            },
            InstructionKind::Env(values) => pairs("ENV", values),
            InstructionKind::Label(values) => pairs("LABEL", values),
            InstructionKind::Run(run) => command("RUN", &run.command),
            InstructionKind::Cmd(value) => command("CMD", value),
            InstructionKind::Entrypoint(value) => command("ENTRYPOINT", value),
            InstructionKind::Copy(copy) => Common::Copy {
                sources: copy
                    .sources
                    .iter()
                    .map(|source| match source {
                        CopySource::Path(word) => unquote(&word.value),
                        CopySource::Heredoc(index) => panic!("heredoc {index}"),
                    })
                    .collect(),
                destination: unquote(&copy.destination.value),
                flags: flags(instruction),
            },
            _ => Common::Miscellaneous {
                keyword: instruction.keyword.value.clone(),
                arguments: instruction.text[instruction.keyword.value.len()..].trim().to_owned(),
            },
        })
        .collect()
}

fn other(text: &str) -> OtherDockerfile {
    OtherDockerfile::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn theirs(dockerfile: &OtherDockerfile) -> Vec<Common> {
    let expression = |keyword, expression: &ShellOrExecExpr| match expression {
        ShellOrExecExpr::Shell(command) => Common::Shell { keyword, command: command.to_string() },
        ShellOrExecExpr::Exec(list) => {
            Common::Exec { keyword, arguments: list.as_str_vec().into_iter().map(str::to_owned).collect() }
        }
    };
    dockerfile
        .instructions
        .iter()
        .map(|instruction| match instruction {
            Other::From(from) => Common::From {
                image: from.image.content.clone(),
                name: from.alias.as_ref().map(|name| name.content.clone()),
                flags: from.flags.iter().map(|flag| (flag.name.content.clone(), flag.value.content.clone())).collect(),
            },
            Other::Arg(arg) => Common::Arg {
                name: arg.name.content.clone(),
                default: arg.value.as_ref().map(|value| value.content.clone()),
            },
            Other::Env(env) => Common::Pairs {
                keyword: "ENV",
                pairs: env.vars.iter().map(|var| (var.key.content.clone(), var.value.to_string())).collect(),
            },
            Other::Label(label) => Common::Pairs {
                keyword: "LABEL",
                pairs: label
                    .labels
                    .iter()
                    .map(|label| (label.name.content.clone(), label.value.content.clone()))
                    .collect(),
            },
            Other::Run(run) => expression("RUN", &run.expr),
            Other::Cmd(cmd) => expression("CMD", &cmd.expr),
            Other::Entrypoint(entrypoint) => expression("ENTRYPOINT", &entrypoint.expr),
            Other::Copy(copy) => Common::Copy {
                sources: copy.sources.iter().map(|source| source.content.clone()).collect(),
                destination: copy.destination.content.clone(),
                flags: copy.flags.iter().map(|flag| (flag.name.content.clone(), flag.value.content.clone())).collect(),
            },
            Other::Misc(other) => Common::Miscellaneous {
                keyword: other.instruction.content.clone(),
                arguments: other.arguments.to_string().trim().to_owned(),
            },
        })
        .collect()
}

#[test]
fn an_ordinary_file() {
    let text = r#"# build
ARG VERSION=1.21
FROM golang:${VERSION} AS build
WORKDIR /src
ENV CGO_ENABLED=0 GOFLAGS="-mod=mod -v"
LABEL org.example.name="app" org.example.version=1
COPY go.mod go.sum ./
RUN go mod download && \
    # vendored tools
    go install ./tools
COPY . .
RUN ["go", "build", "-o", "/out/app"]

FROM --platform=linux/amd64 scratch
COPY --from=build --chown=1000:1000 /out/app /app
EXPOSE 8080/tcp
USER 1000
CMD ["--help"]
ENTRYPOINT ["/app"]
"#;
    let ours = ours(text);
    assert_eq!(ours.len(), 15);
    for (ours, theirs) in ours.iter().zip(theirs(&other(text))) {
        assert_eq!(*ours, theirs);
    }
}

/// A keyword in capitals or not.
fn keyword(name: &'static str) -> impl Strategy<Value = String> {
    prop_oneof![3 => Just(name.to_owned()), 1 => Just(name.to_lowercase())]
}

/// What stands between two arguments: blanks, or continued lines with comments between them.
fn gap() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        6 => Just(" "),
        1 => Just("\t  "),
        2 => Just(" \\\n  "),
        1 => Just(" \\\n# why\n  "),
        1 => Just(" \\\n  # why\n# and what\n\t"),
    ]
}

/// A list of words with gaps.
fn words(word: &'static str, count: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    proptest::collection::vec((gap(), word), count)
        .prop_map(|words| words.into_iter().map(|(gap, word)| gap.to_owned() + &word).collect())
}

/// A value as written: plain, or in either kind of quotes.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9./:$_-]{1,8}",
        "[a-z0-9 ./:#=-]{0,8}".prop_map(|text| format!("\"{text}\"")),
        "[a-z]{1,3}".prop_map(|text| format!("\"a \\\"{text}\\\" \\\\ b\"")),
        "[a-z0-9 ./:#=-]{0,8}".prop_map(|text| format!("'{text}'")),
    ]
}

/// A list in JSON form.
fn list() -> impl Strategy<Value = String> {
    let element = prop_oneof!["[a-zé0-9 ./:$#'-]{0,8}", Just("a \\\"b\\\" \\\\ \\n \\u00e9".to_owned())];
    let elements = proptest::collection::vec((prop_oneof![Just(""), gap()], element), 1..4);
    (elements, prop_oneof![Just(""), gap()]).prop_map(|(elements, end)| {
        let elements: Vec<_> = elements.into_iter().map(|(gap, text)| format!("{gap}\"{text}\"")).collect();
        format!("[{}{end}]", elements.join(","))
    })
}

fn instruction() -> impl Strategy<Value = String> {
    let word = "[a-z][a-z0-9./_-]{0,8}";
    let name = "[A-Za-z][A-Za-z0-9_]{0,6}";
    let shell_word = "[a-z0-9./&|;$\"'{}=-]{1,8}";
    let pairs = |name: &'static str| {
        proptest::collection::vec((gap(), name, value()), 1..4).prop_map(|pairs| {
            pairs.into_iter().fold(String::new(), |line, (gap, name, value)| format!("{line}{gap}{name}={value}"))
        })
    };
    let command = || prop_oneof![("[a-z]", words(shell_word, 0..5)).prop_map(|(first, rest)| first + &rest), list()];
    let from_flag = prop_oneof![Just(""), Just("--platform=linux/amd64 "), Just("--platform=$TARGETPLATFORM \\\n ")];
    let from_name = proptest::option::of((prop_oneof![Just("AS"), Just("as"), Just("As")], "[a-z][a-z0-9]{0,5}"));
    let copy_flags =
        prop_oneof![Just(""), Just(" --from=x"), Just(" --chown=a:b \\\n --chmod=0644"), Just(" --from=0 --chown=1")];
    let other_arguments = prop_oneof![
        words(word, 1..2).prop_map(|words| "WORKDIR".to_owned() + &words),
        words(word, 1..2).prop_map(|words| "USER".to_owned() + &words),
        words("[1-9]{1,4}", 1..4).prop_map(|words| "EXPOSE".to_owned() + &words),
        words(word, 2..4).prop_map(|words| "ADD --checksum=sha256:0".to_owned() + &words),
        list().prop_map(|list| format!("SHELL {list}")),
        command().prop_map(|command| format!("HEALTHCHECK --interval=5s CMD {command}")),
        command().prop_map(|command| format!("ONBUILD RUN {command}")),
        Just("STOPSIGNAL SIGTERM".to_owned()),
        Just("HEALTHCHECK NONE".to_owned()),
        Just("MAINTAINER somebody <a@b>".to_owned()),
    ];
    prop_oneof![
        (
            keyword("FROM"),
            gap(),
            from_flag,
            "[a-z]{1,4}(/[a-z]{1,4})?(:[a-z0-9.]{1,4}|@[a-z]{1,4}|:\\$\\{V\\})?",
            from_name
        )
            .prop_map(|(keyword, gap, flag, image, name)| match name {
                Some((word, name)) => format!("{keyword}{gap}{flag}{image}{gap}{word} {name}"),
                None => format!("{keyword}{gap}{flag}{image}"),
            }),
        (keyword("ARG"), gap(), name, proptest::option::of(value())).prop_map(|(keyword, gap, name, default)| {
            match default {
                Some(default) => format!("{keyword}{gap}{name}={default}"),
                None => format!("{keyword}{gap}{name}"),
            }
        }),
        (keyword("ENV"), pairs(name)).prop_map(|(keyword, pairs)| keyword + &pairs),
        (keyword("ENV"), gap(), name, words("[a-z0-9./:$_=-]{1,8}", 1..4))
            .prop_map(|(keyword, gap, name, rest)| format!("{keyword}{gap}{name}{rest}")),
        (keyword("ENV"), name, "[a-z ]{0,8}").prop_map(|(keyword, name, text)| format!("{keyword} {name} \"{text}\"")),
        (keyword("LABEL"), pairs("[a-z]{1,3}\\.[a-z]{1,3}")).prop_map(|(keyword, pairs)| keyword + &pairs),
        (keyword("LABEL"), pairs("\"[a-z .]{1,5}\"")).prop_map(|(keyword, pairs)| keyword + &pairs),
        (keyword("LABEL"), gap(), word, gap(), word)
            .prop_map(|(keyword, one, name, other, value)| format!("{keyword}{one}{name}{other}{value}")),
        (keyword("LABEL"), word, word).prop_map(|(keyword, one, other)| format!("{keyword} a=\"{one}\\\n {other}\"")),
        (prop_oneof![keyword("RUN"), keyword("CMD"), keyword("ENTRYPOINT")], gap(), command())
            .prop_map(|(keyword, gap, command)| keyword + gap + &command),
        (keyword("COPY"), copy_flags, words(word, 2..5)).prop_map(|(keyword, flags, words)| keyword + flags + &words),
        other_arguments,
        "[a-z ]{0,8}".prop_map(|comment| format!("# {comment}\n\n  # indented")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_read_the_same(instructions in proptest::collection::vec(instruction(), 1..12)) {
        let mut text = "FROM base\n".to_owned();
        for instruction in instructions {
            // The other crate refuses comments in some places where it allows continued lines.
            if OtherDockerfile::parse(&format!("FROM base\n{instruction}\n")).is_ok() {
                text.push_str(&instruction);
                text.push('\n');
            }
        }
        prop_assert_eq!(ours(&text), theirs(&other(&text)), "{}", text);
    }
}

/// Where the other crate is wrong, and how.
const WRONG: [(&str, &str); 3] = [
    ("testdata/cases/args/env-of-one-line/Dockerfile", "keeps an escape character outside of quotes"),
    ("testdata/cases/args/value-verbatim/Dockerfile", "keeps quotes inside a substitution"),
    (
        "testdata/cases/parse/comments-are-not-instructions/Dockerfile",
        "takes `#` for the beginning of a comment within a line",
    ),
];

/// Fewer than this mean that the cases were not found.
const FILES_MIN: usize = 90;

#[test]
fn whole_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut waiting =
        ["crates/bake-dockerfile/tests/cases", "testdata/cases", "testdata/examples"].map(Into::into).to_vec();
    let mut compared = 0;
    let mut different = Vec::new();
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(root.join::<&PathBuf>(&folder)).expect("a folder") {
            let entry = entry.expect("an entry");
            let path = folder.join(entry.file_name());
            if entry.path().is_dir() {
                waiting.push(path);
            } else if entry.file_name().to_string_lossy().starts_with("Dockerfile")
                && let Ok(text) = fs::read_to_string(entry.path())
                && let Ok(other) = OtherDockerfile::parse(&text)
            {
                let Some(differences) = differences(&text, &other) else { continue };
                compared += 1;
                let wrong = WRONG.iter().any(|(known, _)| Path::new(known) == path);
                if wrong == differences.is_empty() {
                    different.push(format!("{}:\n{}", path.display(), differences.join("\n")));
                }
            }
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert!(compared >= FILES_MIN, "{compared} files");
}

/// The instructions that differ; `None` for a file with mistakes, of which the other crate sees few.
fn differences(text: &str, other: &OtherDockerfile) -> Option<Vec<String>> {
    let dockerfile = parse(SourceText::new("Dockerfile", text));
    if dockerfile.has_errors() {
        return None;
    }
    let (ours, theirs) = (ours(text), theirs(other));
    if ours.len() != theirs.len() {
        return Some(vec![format!("{} instructions, not {}", ours.len(), theirs.len())]);
    }
    let pairs = dockerfile.instructions.iter().zip(ours.iter().zip(&theirs));
    let different = pairs.filter(|(instruction, (ours, theirs))| supported(instruction) && ours != theirs);
    Some(different.map(|(_, (ours, theirs))| format!("  {ours:?}\n  {theirs:?}")).collect())
}

/// Whether the other crate knows the form of the instruction.
fn supported(instruction: &Instruction) -> bool {
    match instruction.kind {
        InstructionKind::Run(_) => instruction.flags.is_empty(),
        InstructionKind::Copy(_) => instruction.flags.iter().all(|flag| flag.value.is_some()),
        _ => true,
    }
}
