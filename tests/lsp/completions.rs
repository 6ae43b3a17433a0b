//! What can be typed.

use serde_json::Value;

use crate::editor::{Editor, edited, place};
use crate::support::{Environment, Outcome, check, equal};
use crate::{DOCUMENT, all, at, open, session_with};

/// The completions where `|` stands, which is no part of the text.
fn completions(editor: &mut Editor, uri: &str, marked: &str) -> Result<(String, Vec<Value>), String> {
    let text = marked.replacen('|', "", 1);
    open(editor, uri, &text)?;
    let list = editor.ask("textDocument/completion", at(uri, &place(marked, "|", 0)?))?;
    let items = list["items"].as_array().cloned().ok_or_else(|| format!("no items: {list}"))?;
    Ok((text, items))
}

/// Checks which completions are offered at some places, and which are not.
fn expect(editor: &mut Editor, uri: &str, cases: &[(&str, &[&str], &[&str])]) -> Outcome {
    for (marked, wanted, unwanted) in cases {
        let (_, items) = completions(editor, uri, marked)?;
        let labels = all(&items.into(), "label");
        for label in *wanted {
            check(labels.iter().any(|found| found == label), || format!("{marked:?} lacks {label}: {labels:?}"))?;
        }
        for label in *unwanted {
            check(!labels.iter().any(|found| found == label), || format!("{marked:?} offers {label}: {labels:?}"))?;
        }
    }
    Ok(())
}

/// The text after a completion was chosen.
fn chosen(editor: &mut Editor, uri: &str, marked: &str, label: &str) -> Result<String, String> {
    let (text, items) = completions(editor, uri, marked)?;
    let item = items.iter().find(|item| item["label"] == label).ok_or_else(|| format!("{label}: {items:?}"))?;
    edited(&text, &Value::Array(vec![item["textEdit"].clone()]))
}

pub(crate) fn language(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let mut editor = session_with(environment, &scratch, DOCUMENT, "")?;
    expect(
        &mut editor,
        DOCUMENT,
        &[
            ("|", &["FROM", "RUN", "HEALTHCHECK"], &["--mount="]),
            ("FROM a\nRU|", &["RUN", "COPY"], &[]),
            ("FROM a\nCO|\nRUN b\n", &["COPY"], &[]),
            ("FROM a\nONBUILD |", &["RUN"], &["--mount="]),
            ("FROM a\nRUN --|", &["--mount=", "--network=", "--security=", "--device="], &["--from=", "--chown="]),
            ("FROM a\nRUN --network=none \\\n  --|", &["--mount="], &["--network="]),
            ("FROM a\nRUN echo --|", &[], &["--mount="]),
            ("FROM a\nCOPY --link --|", &["--from=", "--chown=", "--parents"], &["--link", "--checksum="]),
            ("FROM a\nADD --|", &["--checksum=", "--unpack="], &["--from="]),
            ("FROM --|", &["--platform="], &["--mount="]),
            ("FROM --platform=|", &["$BUILDPLATFORM", "linux/arm64"], &[]),
            ("FROM a\nRUN --network=|", &["none", "host", "default"], &[]),
            ("FROM a\nRUN --mount=|", &["type=", "target=", "from="], &["sharing="]),
            ("FROM a\nRUN --mount=type=|", &["bind", "cache", "tmpfs", "secret", "ssh"], &[]),
            ("FROM a\nRUN --mount=type=cache,|", &["sharing=", "id=", "target="], &["type=", "env=", "size="]),
            ("FROM a\nRUN --mount=type=tmpfs,|", &["size="], &["sharing="]),
            ("FROM a\nRUN --mount=type=cache,sharing=|", &["locked", "private"], &[]),
            ("FROM a\nHEALTHCHECK --interval=5s |", &["CMD", "NONE", "--timeout="], &["--interval="]),
            ("FROM a |", &["AS"], &["scratch"]),
            ("FROM a\nSTOPSIGNAL |", &["SIGTERM"], &[]),
            ("FROM a\nCOPY <<EOF /x\nRU|\nEOF\n", &[], &["RUN"]),
        ],
    )?;
    equal(&chosen(&mut editor, DOCUMENT, "FROM a\nru|", "RUN")?.as_str(), &"FROM a\nRUN ", "an instruction")?;
    equal(
        &chosen(&mut editor, DOCUMENT, "FROM a\nRUN --mo|", "--mount=")?.as_str(),
        &"FROM a\nRUN --mount=",
        "a flag",
    )?;
    let text = chosen(&mut editor, DOCUMENT, "FROM a\nRUN --mount=type=ca|,target=/x b\n", "cache")?;
    equal(&text.as_str(), &"FROM a\nRUN --mount=type=cache,target=/x b\n", "a value")?;
    let (_, items) = completions(&mut editor, DOCUMENT, "FROM a\nRUN --|")?;
    let mount = items.iter().find(|item| item["label"] == "--mount=").ok_or("no --mount=")?;
    check(mount["documentation"]["value"].as_str().is_some_and(|text| !text.is_empty()), || mount.to_string())?;
    equal(&editor.end()?, &Some(0), "exit code")
}

pub(crate) fn names(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let mut editor = session_with(environment, &scratch, DOCUMENT, "")?;
    let stages = "ARG V=1\nFROM debian:12 AS base\nENV HERE=x\nFROM base AS build\nARG V\n";
    let with = |rest: &str| format!("{stages}{rest}");
    expect(
        &mut editor,
        DOCUMENT,
        &[
            (&with("FROM |"), &["base", "build", "scratch", "debian:12"], &[]),
            (&with("FROM a AS last\nCOPY --from=|"), &["base", "build"], &["last"]),
            (&with("FROM a AS last\nCOPY --from=b| /a /b\n"), &["base", "build"], &["last"]),
            (&with("RUN --mount=type=bind,from=|"), &["base"], &["build"]),
            (&with("RUN echo $|"), &["V", "HERE"], &["TARGETARCH"]),
            (&with("WORKDIR /${H|}/y\n"), &["HERE"], &[]),
            (&with("FROM a:$|"), &["V", "TARGETARCH"], &["HERE"]),
            (&with("FROM a\nRUN echo $|"), &[], &["HERE", "V"]),
            (&with("FROM a\nARG |"), &["V", "TARGETARCH"], &[]),
            (&with("RUN echo \\$|"), &[], &["V"]),
        ],
    )?;
    let text = chosen(&mut editor, DOCUMENT, &with("RUN echo \"ö😀${HE|\"\n"), "HERE")?;
    check(text.ends_with("RUN echo \"ö😀${HERE}\"\n"), || text.clone())?;
    let text = chosen(&mut editor, DOCUMENT, &with("WORKDIR /${H|}/y\n"), "HERE")?;
    check(text.ends_with("WORKDIR /${HERE}/y\n"), || text.clone())?;
    equal(&editor.end()?, &Some(0), "exit code")
}

pub(crate) fn paths(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    for file in ["src/main.c", "src/secret/key", "kept.log", "other.log", "package.json", "docker/Dockerfile"] {
        scratch.write(&format!("context/{file}"), "")?;
    }
    scratch.write("context/.dockerignore", "*.log\n!kept.log\nsrc/secret\n")?;
    let uri = format!("file://{}", scratch.at("context/docker/Dockerfile"));
    let mut editor = session_with(environment, &scratch, &uri, "")?;
    expect(
        &mut editor,
        &uri,
        &[
            ("FROM a\nCOPY |", &["src/", "package.json", "kept.log"], &["other.log"]),
            ("FROM a\nCOPY --chmod=755 package.json |", &["src/"], &["other.log"]),
            ("FROM a\nCOPY src/|", &["main.c"], &["secret/", "package.json"]),
            ("FROM a\nCOPY ./src/ma|", &["main.c"], &[]),
            ("FROM a\nCOPY [\"src/|", &["main.c"], &[]),
            ("FROM a\nCOPY ../|", &[], &["context/"]),
            ("FROM a AS b\nFROM a\nCOPY --from=b |", &[], &["src/"]),
            ("FROM a\nRUN --mount=type=bind,source=|", &["package.json"], &[]),
            ("FROM a\nRUN |", &[], &["package.json"]),
        ],
    )?;
    let text = chosen(&mut editor, &uri, "FROM a\nCOPY src/ma| /x\n", "main.c")?;
    equal(&text.as_str(), &"FROM a\nCOPY src/main.c /x\n", "a path")?;
    equal(&editor.end()?, &Some(0), "exit code")
}

pub(crate) fn comments(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let mut editor = session_with(environment, &scratch, DOCUMENT, "")?;
    expect(
        &mut editor,
        DOCUMENT,
        &[
            ("# |", &["syntax=", "escape=", "check=", "bake: ignore="], &["FROM"]),
            ("FROM a\n# |\nRUN b\n", &["bake: ignore=", "bake: trace=off"], &["syntax=", "RUN"]),
            ("FROM a\n# bake: ignore=|\nRUN b\n", &["sudo", "pipefail-missing"], &["syntax="]),
            ("FROM a\n# bake: ignore=sudo, pi|\nRUN b\n", &["pip-cache"], &[]),
            ("FROM a\n# hadolint ignore=|\nRUN b\n", &["sudo"], &[]),
            ("FROM a\nRUN b \\\n  # bake: ignore=|\n  c\n", &["sudo"], &["RUN"]),
        ],
    )?;
    let text = chosen(&mut editor, DOCUMENT, "FROM a\n# bake: ignore=sudo,pi|\nRUN b\n", "pip-cache")?;
    equal(&text.as_str(), &"FROM a\n# bake: ignore=sudo,pip-cache\nRUN b\n", "a rule")?;
    equal(&editor.end()?, &Some(0), "exit code")
}
