//! The same text through the parser of the crate `dockerfile-parser`, for the part of the language it supports: no heredocs, no flags
//! of `RUN`, no escape directive, one name per `ARG`.

use bake_dockerfile::instruction::{Command, CopySource, KeyValues};
use bake_dockerfile::{Expander, InstructionKind, SourceText, parse};
use dockerfile_parser::{Dockerfile as OtherDockerfile, Instruction as Other, ShellOrExecExpr};
use proptest::prelude::*;

/// A form both trees can be brought to.
#[derive(Debug, PartialEq, Eq)]
enum Common {
    From { image: String, name: Option<String>, flags: usize },
    Arg { name: String, default: Option<String> },
    Pairs { keyword: &'static str, pairs: Vec<(String, String)> },
    Shell { keyword: &'static str, command: String },
    Exec { keyword: &'static str, arguments: Vec<String> },
    Copy { sources: Vec<String>, destination: String, flags: Vec<(String, String)> },
    Miscellaneous { keyword: String },
}

fn ours(text: &str) -> Vec<Common> {
    let dockerfile = parse(SourceText::new("Dockerfile", text));
    assert_eq!(dockerfile.diagnostics, [], "{text}");
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
                flags: instruction.flags.len(),
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
                        CopySource::Path(word) => word.value.clone(),
                        CopySource::Heredoc(index) => panic!("heredoc {index}"),
                    })
                    .collect(),
                destination: copy.destination.value.clone(),
                flags: instruction
                    .flags
                    .iter()
                    .map(|flag| {
                        (flag.name.value.clone(), flag.value.as_ref().map_or(String::new(), |v| v.value.clone()))
                    })
                    .collect(),
            },
            _ => Common::Miscellaneous { keyword: instruction.keyword.value.clone() },
        })
        .collect()
}

fn theirs(text: &str) -> Vec<Common> {
    let dockerfile = OtherDockerfile::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
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
                flags: from.flags.len(),
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
            Other::Misc(other) => Common::Miscellaneous { keyword: other.instruction.content.clone() },
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
    for (ours, theirs) in ours.iter().zip(theirs(text)) {
        assert_eq!(*ours, theirs);
    }
}

fn instruction() -> impl Strategy<Value = String> {
    let word = "[a-z][a-z0-9./_-]{0,8}";
    let name = "[A-Za-z][A-Za-z0-9]{0,6}";
    prop_oneof![
        (word, proptest::option::of("[a-z][a-z0-9]{0,5}")).prop_map(|(image, name)| match name {
            Some(name) => format!("FROM {image} AS {name}"),
            None => format!("FROM {image}"),
        }),
        (name, proptest::option::of(word)).prop_map(|(name, default)| match default {
            Some(default) => format!("ARG {name}={default}"),
            None => format!("ARG {name}"),
        }),
        proptest::collection::vec((name, word), 1..4).prop_map(|pairs| {
            pairs.into_iter().fold("ENV".to_owned(), |line, (name, value)| format!("{line} {name}={value}"))
        }),
        proptest::collection::vec((name, word), 1..3).prop_map(|pairs| {
            pairs.into_iter().fold("LABEL".to_owned(), |line, (name, value)| format!("{line} {name}=\"{value} x\""))
        }),
        proptest::collection::vec(word, 1..5).prop_map(|words| format!("RUN {}", words.join(" "))),
        proptest::collection::vec(word, 1..4).prop_map(|words| format!("RUN {}", words.join(" && \\\n  "))),
        proptest::collection::vec(word, 1..4).prop_map(|words| format!("CMD [\"{}\"]", words.join("\", \""))),
        proptest::collection::vec(word, 2..5).prop_map(|words| format!("COPY --from=x {}", words.join(" "))),
        word.prop_map(|word| format!("USER {word}")),
        word.prop_map(|word| format!("# {word}\nWORKDIR /{word}")),
    ]
}

proptest! {
    #[test]
    fn both_read_the_same(instructions in proptest::collection::vec(instruction(), 1..8)) {
        let mut text = "FROM base\n".to_owned();
        // Repeated stage names are only a warning here, but `ours` wants none.
        let mut names = std::collections::HashSet::new();
        for line in instructions {
            if line.split_once(" AS ").is_none_or(|(_, name)| names.insert(name.to_owned())) {
                text.push_str(&line);
                text.push('\n');
            }
        }
        prop_assert_eq!(ours(&text), theirs(&text));
    }
}
