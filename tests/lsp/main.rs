//! `bake lsp` as an editor sees it: every method, over standard input and output.

#![expect(clippy::needless_pass_by_value, reason = "parameters of messages are written where they are used")]

#[path = "../support/mod.rs"]
mod support;

mod completions;
mod editor;
mod findings;
mod names;
mod session;

use serde_json::{Value, json};

use editor::Editor;
use support::{Environment, Scratch, Test};

/// The address of a document that is on no disk.
const DOCUMENT: &str = "untitled:Dockerfile";

const TESTS: &[Test] = &[
    ("session_from_initialize_to_exit", &[], session::lifecycle),
    ("session_ends_without_a_word", &[], session::abrupt_ends),
    ("session_survives_what_is_no_message", &[], session::broken_messages),
    ("session_refuses_what_it_cannot_do", &[], session::refusals),
    ("session_cancels_requests", &[], session::cancellation),
    ("session_asks_to_watch_files", &[], session::watched_files),
    ("findings_follow_changes", &[], findings::changes),
    ("findings_count_columns_as_agreed", &[], findings::encodings),
    ("findings_obey_the_configuration", &[], findings::configuration),
    ("findings_of_a_broken_document", &[], findings::broken),
    ("findings_are_fixed", &[], findings::quick_fixes),
    ("findings_are_hidden_by_comments", &[], findings::hidden),
    ("findings_are_all_fixed", &[], findings::fix_all),
    ("findings_are_explained", &[], findings::hovers),
    ("documents_are_formatted", &[], findings::formatting),
    ("completions_of_instructions_and_flags", &[], completions::language),
    ("completions_of_names", &[], completions::names),
    ("completions_of_paths", &[], completions::paths),
    ("completions_in_comments", &[], completions::comments),
    ("names_are_found", &[], names::places),
    ("names_are_changed", &[], names::rename),
    ("names_make_an_outline", &[], names::outline),
    ("names_are_explained", &[], names::hovers),
];

fn main() -> std::process::ExitCode {
    support::run(TESTS)
}

/// What a modern editor can do.
fn capabilities() -> Value {
    json!({
        "textDocument": {
            "hover": { "contentFormat": ["markdown", "plaintext"] },
            "documentSymbol": { "hierarchicalDocumentSymbolSupport": true },
        },
        "workspace": { "workspaceEdit": { "documentChanges": true, "resourceOperations": ["create"] } },
    })
}

/// A session with one document.
fn session_with(environment: &Environment, scratch: &Scratch, uri: &str, text: &str) -> Result<Editor, String> {
    let mut editor = Editor::open_session(environment.command(&scratch.store()), capabilities())?;
    open(&mut editor, uri, text)?;
    Ok(editor)
}

fn open(editor: &mut Editor, uri: &str, text: &str) -> Result<(), String> {
    let document = json!({ "uri": uri, "languageId": "dockerfile", "version": 1, "text": text });
    editor.tell("textDocument/didOpen", json!({ "textDocument": document }))
}

fn named(uri: &str) -> Value {
    json!({ "textDocument": { "uri": uri } })
}

/// The parameters of a request about a place.
fn at(uri: &str, position: &Value) -> Value {
    json!({ "textDocument": { "uri": uri }, "position": position })
}

/// What a list of objects holds under a key.
fn all(list: &Value, key: &str) -> Vec<String> {
    let values = list.as_array().map(Vec::as_slice).unwrap_or_default();
    values.iter().filter_map(|value| value.get(key)?.as_str()).map(str::to_owned).collect()
}
