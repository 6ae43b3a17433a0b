//! Whatever a document holds and wherever the cursor is, every request is answered and the session ends in order.
#![expect(clippy::unwrap_used, reason = "a failed test should panic")]

use std::io::Cursor;
use std::path::{Path, PathBuf};

use bake_dockerfile::Dockerfile;
use bake_lint::LintOptions;
use bake_lsp::{ContextEntry, SessionEnd, Workspace, serve};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A build context with two entries.
#[derive(Debug)]
struct TwoEntries;

impl Workspace for TwoEntries {
    fn lint_options(&self, _document: Option<&Path>, _tree: &Dockerfile) -> Result<LintOptions, String> {
        Ok(LintOptions { select: vec!["all".to_owned()], ..LintOptions::default() })
    }

    fn forget(&self) {}

    fn context_entries(&self, _document: &Path, _directory: &str) -> Vec<ContextEntry> {
        let entry = |name: &str, is_directory| ContextEntry { name: name.to_owned(), is_directory };
        vec![entry("ö.txt", false), entry("src", true)]
    }

    fn context_directory(&self, _document: &Path) -> Option<PathBuf> {
        Some(PathBuf::from("/x"))
    }

    fn watched_files(&self) -> Vec<String> {
        vec!["bake.toml".to_owned()]
    }
}

const PIECES: [&str; 52] = [
    "FROM a AS b",
    "from b",
    "FROM $A",
    "RUN",
    "COPY --from=b",
    "COPY --from=0",
    "ENV A=1",
    "ENV B=$A",
    "ARG A",
    "ONBUILD",
    "HEALTHCHECK",
    "SHELL [\"",
    "--mount=type=",
    "cache,",
    "target=/x",
    "--",
    "=",
    "$",
    "${",
    "}",
    "$A",
    "${B:-$A}",
    " ",
    "\t",
    "\n",
    "\n",
    "\n",
    "\r\n",
    "\r",
    " \\\n",
    "\\\n",
    "# bake: ignore=",
    "sudo",
    ",",
    "# ",
    "# escape=`\n",
    "# syntax=a/b\n",
    "\"",
    "'",
    "<<EOF",
    "\nEOF\n",
    "<<-'E'",
    "ö",
    "😀",
    "\u{feff}",
    "\u{a0}",
    "apt-get install x",
    "\u{0}",
    "/",
    "RUN A=2; echo $A",
    "USER",
    "%",
];

const METHODS: [&str; 8] =
    ["hover", "completion", "definition", "references", "documentHighlight", "prepareRename", "rename", "codeAction"];

/// A range, as line and column of its start and of its end, and what takes its place.
type Change = ([u32; 4], String);

/// A document, changes of it, and places.
fn sessions() -> impl Strategy<Value = (String, Vec<Change>, Vec<[u32; 2]>)> {
    let text = prop::collection::vec(prop::sample::select(&PIECES[..]), 0..30).prop_map(|pieces| pieces.concat());
    let part = prop::collection::vec(prop::sample::select(&PIECES[..]), 0..4).prop_map(|pieces| pieces.concat());
    let range = [0_u32..12, 0..20, 0..12, 0..20];
    let place = [0_u32..14, 0..40];
    (text, prop::collection::vec((range, part), 0..4), prop::collection::vec(place, 1..6))
}

fn run(messages: &[Value]) -> Vec<Value> {
    let mut input = Vec::new();
    for message in messages {
        let body = message.to_string();
        input.extend(format!("Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes());
    }
    let mut output = Vec::new();
    assert_eq!(serve(Cursor::new(input), &mut output, &TwoEntries, "test").unwrap(), SessionEnd::Orderly);
    let text = String::from_utf8(output).unwrap();
    let bodies = text.split("Content-Length: ").skip(1).map(|part| part.split_once("\r\n\r\n").unwrap().1.to_owned());
    bodies.map(|body| serde_json::from_str(&body).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_request_is_answered((text, changes, places) in sessions(), encoding in prop::sample::select(&["utf-8", "utf-16", "utf-32"][..])) {
        let request = |id: usize, method: &str, params: Value| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let notification = |method: &str, params: Value| json!({ "jsonrpc": "2.0", "method": method, "params": params });
        let name = json!({ "uri": "file:///x/Dockerfile", "version": 1 });
        let mut messages = vec![
            request(0, "initialize", json!({ "capabilities": { "general": { "positionEncodings": [encoding] } } })),
            notification("initialized", json!({})),
            notification("textDocument/didOpen", json!({ "textDocument": { "uri": "file:///x/Dockerfile", "version": 1, "text": text } })),
        ];
        for ([line, column, end_line, end_column], part) in changes {
            let range = json!({ "start": { "line": line, "character": column }, "end": { "line": end_line, "character": end_column } });
            let change = json!([{ "range": range, "text": part }]);
            messages.push(notification("textDocument/didChange", json!({ "textDocument": name, "contentChanges": change })));
        }
        let mut id = 0;
        for [line, character] in places {
            let place = json!({ "line": line, "character": character });
            for method in METHODS {
                id += 1;
                let params = json!({
                    "textDocument": name,
                    "position": place,
                    "range": { "start": place, "end": place },
                    "context": { "includeDeclaration": true, "diagnostics": [] },
                    "newName": "other",
                });
                messages.push(request(id, &format!("textDocument/{method}"), params));
            }
        }
        for method in ["documentSymbol", "foldingRange", "formatting"] {
            id += 1;
            messages.push(request(id, &format!("textDocument/{method}"), json!({ "textDocument": name })));
        }
        id += 1;
        messages.push(request(id, "shutdown", Value::Null));
        messages.push(notification("exit", Value::Null));
        let answers: Vec<u64> = run(&messages).iter().filter(|m| m.get("method").is_none()).filter_map(|m| m["id"].as_u64()).collect();
        prop_assert_eq!(answers, (0..=id as u64).collect::<Vec<_>>());
    }
}

#[test]
fn changes_lead_to_the_same_text_as_the_whole() {
    let open = |text: &str| json!({ "jsonrpc": "2.0", "method": "textDocument/didOpen", "params": { "textDocument": { "uri": "x:y", "version": 1, "text": text } } });
    let begin = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": { "capabilities": {} } });
    let symbols = json!({ "jsonrpc": "2.0", "id": 1, "method": "textDocument/documentSymbol", "params": { "textDocument": { "uri": "x:y" } } });
    let end =
        [json!({ "jsonrpc": "2.0", "id": 2, "method": "shutdown" }), json!({ "jsonrpc": "2.0", "method": "exit" })];
    let after = |middle: Vec<Value>| {
        let all: Vec<Value> =
            [begin.clone()].into_iter().chain(middle).chain([symbols.clone()]).chain(end.clone()).collect();
        run(&all).into_iter().find(|message| message["id"] == 1).unwrap()
    };
    let edit = json!({ "jsonrpc": "2.0", "method": "textDocument/didChange", "params": {
        "textDocument": { "uri": "x:y", "version": 2 },
        "contentChanges": [
            { "range": { "start": { "line": 1, "character": 4 }, "end": { "line": 2, "character": 5 } }, "text": "z\r\nFROM c AS d" },
            { "range": { "start": { "line": 0, "character": 5 }, "end": { "line": 0, "character": 8 } }, "text": "é" },
        ],
    } });
    let changed = after(vec![open("FROM 😀a AS b\r\nRUN x\r\nRUN y\r\n"), edit]);
    let whole = after(vec![open("FROM é AS b\r\nRUN z\r\nFROM c AS d\r\n")]);
    assert_eq!(changed, whole);
}
