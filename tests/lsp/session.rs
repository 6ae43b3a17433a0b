//! From the first message to the last one.

use serde_json::{Value, json};

use crate::editor::{Editor, frame};
use crate::support::{Environment, Outcome, check, equal};
use crate::{DOCUMENT, capabilities, named, open};

pub(crate) fn lifecycle(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let mut editor = Editor::start(environment.command(&scratch.store()))?;
    let early = editor.refused("textDocument/hover", json!({}))?;
    equal(&early.0, &-32002, "a request before `initialize`")?;
    let answer = editor.ask("initialize", json!({ "capabilities": capabilities() }))?;
    equal(&answer["serverInfo"]["name"], &"bake".into(), "name")?;
    equal(&answer["capabilities"]["positionEncoding"], &"utf-16".into(), "encoding")?;
    for capability in [
        "completionProvider",
        "hoverProvider",
        "definitionProvider",
        "referencesProvider",
        "documentHighlightProvider",
        "documentSymbolProvider",
        "documentFormattingProvider",
        "documentRangeFormattingProvider",
        "foldingRangeProvider",
        "renameProvider",
        "codeActionProvider",
    ] {
        check(!answer["capabilities"][capability].is_null(), || format!("{capability} is not offered"))?;
    }
    equal(&editor.refused("initialize", json!({}))?.0, &-32600, "a second `initialize`")?;
    editor.tell("initialized", json!({}))?;
    equal(&editor.ask("shutdown", Value::Null)?, &Value::Null, "the answer to `shutdown`")?;
    equal(&editor.refused("textDocument/hover", named(DOCUMENT))?.0, &-32600, "a request after `shutdown`")?;
    editor.tell("exit", Value::Null)?;
    equal(&editor.exit_code()?, &Some(0), "exit code")?;
    check(!scratch.store().exists(), || "a store was made".to_owned())
}

pub(crate) fn abrupt_ends(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let mut editor = Editor::open_session(environment.command(&scratch.store()), json!({}))?;
    editor.tell("exit", Value::Null)?;
    equal(&editor.exit_code()?, &Some(1), "`exit` without `shutdown`")?;
    let editor = Editor::open_session(environment.command(&scratch.store()), json!({}))?;
    equal(&editor.exit_code()?, &Some(1), "the end of the input")
}

pub(crate) fn broken_messages(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let mut editor = Editor::open_session(environment.command(&scratch.store()), capabilities())?;
    editor.write(b"Content-Length: 4\r\n\r\n{]}{")?;
    equal(&editor.answer_to(&Value::Null)?["error"]["code"], &(-32700).into(), "no JSON")?;
    editor.write(b"what is this\r\nContent-Length: x\r\n")?;
    equal(&editor.answer_to(&Value::Null)?["error"]["code"], &(-32700).into(), "no length")?;
    editor.send(&json!([1, 2]))?;
    equal(&editor.answer_to(&Value::Null)?["error"]["code"], &(-32600).into(), "a list")?;
    editor.send(&json!({ "id": 77 }))?;
    equal(&editor.answer_to(&77.into())?["error"]["code"], &(-32600).into(), "no method")?;
    editor.send(&json!({ "jsonrpc": "2.0", "id": 78, "result": null }))?;
    editor.tell("textDocument/didChange", json!({ "textDocument": 5 }))?;
    editor.tell("textDocument/didOpen", json!("x"))?;
    editor.tell("no/such", json!({}))?;
    editor.tell("$/setTrace", Value::Null)?;
    // Places that are nowhere.
    open(&mut editor, DOCUMENT, "FROM a\n")?;
    let nowhere = json!({ "line": 4_000_000_000_u32, "character": 4_000_000_000_u32 });
    let range = json!({ "start": nowhere, "end": { "line": 0, "character": 0 } });
    let changes = json!([{ "range": range, "text": "RUN b\n" }]);
    let document = json!({ "uri": DOCUMENT, "version": 2 });
    editor.tell("textDocument/didChange", json!({ "textDocument": document, "contentChanges": changes }))?;
    editor.ask("textDocument/hover", json!({ "textDocument": { "uri": DOCUMENT }, "position": nowhere }))?;
    editor.diagnostics(2)?;
    equal(&editor.end()?, &Some(0), "exit code")
}

pub(crate) fn refusals(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let mut editor = Editor::open_session(environment.command(&scratch.store()), capabilities())?;
    equal(&editor.refused("textDocument/semanticTokens/full", named(DOCUMENT))?.0, &-32601, "an unknown method")?;
    equal(&editor.refused("textDocument/hover", json!({ "position": [] }))?.0, &-32602, "wrong parameters")?;
    for method in ["textDocument/documentSymbol", "textDocument/formatting", "textDocument/foldingRange"] {
        let (code, message) = editor.refused(method, named(DOCUMENT))?;
        equal(&code, &-32602, "a document that is not open")?;
        check(message.contains(DOCUMENT), || message.clone())?;
    }
    open(&mut editor, DOCUMENT, &"x".repeat(11 << 20))?;
    let log = editor.told("window/logMessage")?;
    check(log["params"]["message"].as_str().is_some_and(|text| text.contains("larger than")), || log.to_string())?;
    // What the parser does not look at is a finding.
    open(&mut editor, DOCUMENT, &"# x\n".repeat(1_500_000))?;
    let found = editor.diagnostics(1)?;
    check(found.iter().any(|f| f["severity"] == 1), || format!("{found:?}"))?;
    equal(&editor.end()?, &Some(0), "exit code")
}

pub(crate) fn cancellation(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let mut editor = Editor::open_session(environment.command(&scratch.store()), capabilities())?;
    // The hover has to check the document first, which takes longer than reading two more messages.
    let text = format!("FROM debian:12-slim\n{}", "RUN apt-get install -y curl\n".repeat(3_000));
    open(&mut editor, DOCUMENT, &text)?;
    let position = json!({ "line": 0, "character": 0 });
    let params = json!({ "textDocument": { "uri": DOCUMENT }, "position": position });
    let request = |id: u64| json!({ "jsonrpc": "2.0", "id": id, "method": "textDocument/hover", "params": params });
    let cancel = json!({ "jsonrpc": "2.0", "method": "$/cancelRequest", "params": { "id": 902 } });
    let bytes: Vec<u8> = [request(901), request(902), cancel, request(903)].iter().flat_map(frame).collect();
    editor.write(&bytes)?;
    check(editor.answer_to(&901.into())?["result"].is_object(), || "the first was not answered".to_owned())?;
    equal(&editor.answer_to(&902.into())?["error"]["code"], &(-32800).into(), "the second")?;
    check(editor.answer_to(&903.into())?["result"].is_object(), || "the third was not answered".to_owned())?;
    // Cancelling what was answered, or never asked, is nothing.
    editor.tell("$/cancelRequest", json!({ "id": 901 }))?;
    editor.tell("$/cancelRequest", json!({}))?;
    equal(&editor.end()?, &Some(0), "exit code")
}

pub(crate) fn watched_files(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let watches = json!({ "workspace": { "didChangeWatchedFiles": { "dynamicRegistration": true } } });
    let mut editor = Editor::open_session(environment.command(&scratch.store()), watches)?;
    let request = editor.told("client/registerCapability")?;
    check(request.to_string().contains(".dockerignore"), || request.to_string())?;
    editor.send(&json!({ "jsonrpc": "2.0", "id": request["id"], "result": null }))?;
    open(&mut editor, DOCUMENT, "FROM a\n")?;
    editor.diagnostics(1)?;
    editor.tell("workspace/didChangeWatchedFiles", json!({ "changes": [] }))?;
    editor.diagnostics(1)?;
    equal(&editor.end()?, &Some(0), "exit code")
}
