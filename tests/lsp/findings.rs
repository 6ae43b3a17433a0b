//! What the linter and the formatter say in an editor.

use serde_json::{Value, json};

use crate::editor::{Editor, edited, place};
use crate::support::{Environment, Outcome, check, equal};
use crate::{DOCUMENT, all, at, capabilities, named, open, session_with};

fn codes(found: &[Value]) -> Vec<String> {
    all(&found.into(), "code")
}

fn change(editor: &mut Editor, version: i64, changes: Value) -> Outcome {
    let document = json!({ "uri": DOCUMENT, "version": version });
    editor.tell("textDocument/didChange", json!({ "textDocument": document, "contentChanges": changes }))
}

pub(crate) fn changes(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let text = "FROM debian:12-slim\r\nRUN sudo make\r\nUSER 10001\r\n";
    let mut editor = session_with(environment, &scratch, DOCUMENT, text)?;
    let found = editor.diagnostics(1)?;
    let sudo = found.iter().find(|f| f["code"] == "sudo").ok_or_else(|| format!("{found:?}"))?;
    equal(&sudo["source"], &"bake".into(), "source")?;
    equal(&sudo["range"]["start"], &place(text, "sudo", 0)?, "start")?;
    // Several changes of one message follow each other; the second is of the text that the first leaves.
    let (start, end) = (place(text, "sudo", 0)?, place(text, "make", 0)?);
    let first = json!({ "range": { "start": start, "end": end }, "text": "" });
    let nothing = json!({ "range": { "start": start, "end": start }, "text": "make a\r\nRUN " });
    change(&mut editor, 2, json!([first, nothing]))?;
    let found = editor.diagnostics(2)?;
    check(!codes(&found).contains(&"sudo".to_owned()), || format!("{found:?}"))?;
    change(&mut editor, 3, json!([{ "text": "FROM debian:12-slim\nRUN make\nRUN sudo a\nUSER 10001\n" }]))?;
    let found = editor.diagnostics(3)?;
    let sudo = found.iter().find(|f| f["code"] == "sudo").ok_or_else(|| format!("{found:?}"))?;
    equal(&sudo["range"]["start"]["line"], &2.into(), "line")?;
    // Fast typing: the last version is spoken about, and none after it.
    for version in 4..40 {
        change(
            &mut editor,
            version,
            json!([{ "text": format!("FROM debian:12-slim\n{}", "RUN sudo a\n".repeat(40)) }]),
        )?;
    }
    check(editor.diagnostics(39)?.len() >= 40, || "too few findings".to_owned())?;
    editor.tell("textDocument/didSave", named(DOCUMENT))?;
    editor.diagnostics(39)?;
    editor.tell("textDocument/didClose", named(DOCUMENT))?;
    let closed = editor.told("textDocument/publishDiagnostics")?;
    equal(&closed["params"]["diagnostics"], &json!([]), "findings of a closed document")?;
    equal(&editor.end()?, &Some(0), "exit code")
}

pub(crate) fn configuration(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let text = "FROM debian:12-slim\nRUN sudo make\nCOPY . /x\nUSER 10001\n";
    scratch.write("project/a/Dockerfile", text)?;
    scratch.write("project/bake.toml", "[lint]\nignore = [\"sudo\"]\n")?;
    let uri = format!("file://{}", scratch.at("project/a/Dockerfile"));
    let mut editor = session_with(environment, &scratch, &uri, text)?;
    let found = codes(&editor.diagnostics(1)?);
    check(!found.contains(&"sudo".to_owned()), || format!("{found:?}"))?;
    check(found.contains(&"dockerignore-missing".to_owned()), || format!("{found:?}"))?;
    // The fix makes a file beside the Dockerfile.
    let place = place(text, ". /x", 0)?;
    let range = json!({ "start": place, "end": place });
    let params = json!({ "textDocument": { "uri": uri }, "range": range, "context": { "diagnostics": [] } });
    let actions = editor.ask("textDocument/codeAction", params)?;
    let new_file = actions.as_array().into_iter().flatten().find(|action| action["edit"]["documentChanges"].is_array());
    let created = &new_file.ok_or_else(|| actions.to_string())?["edit"]["documentChanges"];
    equal(&created[0]["kind"], &"create".into(), "what the fix does")?;
    equal(&created[0]["uri"], &format!("file://{}", scratch.at("project/a/.dockerignore")).into(), "the new file")?;
    // Changes of the files around the document count when the editor tells of them.
    scratch.write("project/a/.dockerignore", ".git\n")?;
    scratch.write("project/bake.toml", "[lint]\n[lint.severity]\nsudo = \"error\"\n")?;
    editor.tell("workspace/didChangeWatchedFiles", json!({ "changes": [] }))?;
    let found = editor.diagnostics(1)?;
    let sudo = found.iter().find(|f| f["code"] == "sudo").ok_or_else(|| format!("{found:?}"))?;
    equal(&sudo["severity"], &1.into(), "severity")?;
    check(!codes(&found).contains(&"dockerignore-missing".to_owned()), || format!("{found:?}"))?;
    // What is wrong with the configuration is said once, and the defaults hold.
    scratch.write("project/bake.toml", "[lint]\nno-such-key = 1\n")?;
    editor.tell("workspace/didChangeWatchedFiles", json!({ "changes": [] }))?;
    let said = editor.told("window/showMessage")?;
    check(said.to_string().contains("no-such-key"), || said.to_string())?;
    check(codes(&editor.diagnostics(1)?).contains(&"sudo".to_owned()), || "the defaults do not hold".to_owned())?;
    equal(&editor.end()?, &Some(0), "exit code")
}

pub(crate) fn encodings(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let text = "FROM debian:12-slim\nRUN echo 'ö😀' && sudo make\nUSER 10001\n";
    for (offered, agreed, column) in [
        (json!(["utf-16"]), "utf-16", 18),
        (json!(["utf-32", "utf-16"]), "utf-32", 17),
        (json!(["utf-16", "utf-8"]), "utf-8", 21),
        (Value::Null, "utf-16", 18),
    ] {
        let mut editor = Editor::start(environment.command(&scratch.store()))?;
        let capabilities = json!({ "general": { "positionEncodings": offered } });
        let answer = editor.ask("initialize", json!({ "capabilities": capabilities }))?;
        equal(&answer["capabilities"]["positionEncoding"], &agreed.into(), "encoding")?;
        editor.tell("initialized", json!({}))?;
        open(&mut editor, DOCUMENT, text)?;
        let found = editor.diagnostics(1)?;
        let sudo = found.iter().find(|f| f["code"] == "sudo").ok_or_else(|| format!("{found:?}"))?;
        equal(&sudo["range"]["start"], &json!({ "line": 1, "character": column }), agreed)?;
        // The same place is understood when the editor names it.
        let place = json!({ "line": 1, "character": column });
        let range = json!({ "start": place, "end": place });
        change(&mut editor, 2, json!([{ "range": range, "text": "true; " }]))?;
        let found = editor.diagnostics(2)?;
        let sudo = found.iter().find(|f| f["code"] == "sudo").ok_or_else(|| format!("{found:?}"))?;
        equal(&sudo["range"]["start"]["character"], &(column + 6).into(), agreed)?;
        equal(&editor.end()?, &Some(0), "exit code")?;
    }
    Ok(())
}

pub(crate) fn broken(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let text = "FROM\nRNU x\nCOPY a\nRUN <<EOF\n$( \" '\nENV\nARG =\n\u{feff}\nFROM x AS\n--from=";
    let mut editor = session_with(environment, &scratch, DOCUMENT, text)?;
    check(!editor.diagnostics(1)?.is_empty(), || "nothing was found".to_owned())?;
    // No place of it makes trouble for any method.
    for line in 0..11 {
        for character in [0, 1, 3, 5, 7] {
            let params = at(DOCUMENT, &json!({ "line": line, "character": character }));
            for method in ["hover", "completion", "definition", "documentHighlight"] {
                editor.ask(&format!("textDocument/{method}"), params.clone())?;
            }
        }
    }
    for method in ["documentSymbol", "foldingRange", "formatting"] {
        editor.ask(&format!("textDocument/{method}"), named(DOCUMENT))?;
    }
    equal(&editor.end()?, &Some(0), "exit code")
}

/// The actions for a word of the text.
fn actions(editor: &mut Editor, text: &str, word: &str, only: Value) -> Result<Vec<Value>, String> {
    let place = place(text, word, 0)?;
    let params = json!({
        "textDocument": { "uri": DOCUMENT },
        "range": { "start": place, "end": place },
        "context": { "diagnostics": [], "only": only },
    });
    let actions = editor.ask("textDocument/codeAction", params)?;
    actions.as_array().cloned().ok_or_else(|| format!("no list: {actions}"))
}

/// The text after an action.
fn done(text: &str, action: &Value) -> Result<String, String> {
    edited(text, &action["edit"]["changes"][DOCUMENT])
}

pub(crate) fn quick_fixes(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let text = "FROM debian:12-slim AS Ö\r\nFROM debian:12-slim\r\nADD a.txt /\r\nUSER 10001\r\n".replace('Ö', "B");
    let mut editor = session_with(environment, &scratch, DOCUMENT, &text)?;
    let found = actions(&mut editor, &text, "ADD", json!(["quickfix"]))?;
    let fix = found.iter().find(|action| action["diagnostics"][0]["code"] == "add-instead-of-copy");
    let fix = fix.ok_or_else(|| format!("{found:?}"))?;
    equal(&fix["kind"], &"quickfix".into(), "kind")?;
    equal(&fix["isPreferred"], &true.into(), "preferred")?;
    equal(&done(&text, fix)?, &text.replace("ADD a.txt", "COPY a.txt"), "fixed text")?;
    check(found.iter().all(|action| action["kind"] == "quickfix"), || format!("{found:?}"))?;
    equal(&actions(&mut editor, &text, "ADD", json!(["refactor"]))?, &vec![], "actions of another kind")?;
    let everything = actions(&mut editor, &text, "ADD", Value::Null)?;
    check(everything.iter().any(|action| action["kind"] == "source.fixAll.bake"), || format!("{everything:?}"))?;
    // Elsewhere the fix is not offered.
    let elsewhere = actions(&mut editor, &text, "USER", json!(["quickfix"]))?;
    check(!all(&elsewhere.into(), "title").contains(&"Ignore `add-instead-of-copy` here".to_owned()), String::new)?;
    equal(&editor.end()?, &Some(0), "exit code")
}

pub(crate) fn hidden(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let text = "# syntax=docker/dockerfile:1\nFROM debian:12-slim\n  RUN sudo \\\n    make && cd /x\nUSER 10001\n";
    let mut editor = session_with(environment, &scratch, DOCUMENT, text)?;
    let found = actions(&mut editor, text, "sudo", json!(["quickfix"]))?;
    let hide = found.iter().find(|action| action["title"] == "Ignore `sudo` here");
    let with_comment = done(text, hide.ok_or_else(|| format!("{found:?}"))?)?;
    equal(&with_comment, &text.replace("  RUN", "# bake: ignore=sudo\n  RUN"), "with a comment")?;
    change(&mut editor, 2, json!([{ "text": with_comment }]))?;
    let found = editor.diagnostics(2)?;
    check(!codes(&found).contains(&"sudo".to_owned()), || format!("{found:?}"))?;
    // A second rule goes into the comment that is there.
    let reason = with_comment.replace("ignore=sudo", "ignore=sudo reason=\"old\"");
    change(&mut editor, 3, json!([{ "text": reason }]))?;
    let found = actions(&mut editor, &reason, "cd /x", json!(["quickfix"]))?;
    let hide = found.iter().find(|action| action["title"] == "Ignore `cd-instead-of-workdir` here");
    let both = done(&reason, hide.ok_or_else(|| format!("{found:?}"))?)?;
    check(both.contains("# bake: ignore=sudo,cd-instead-of-workdir reason=\"old\"\n"), || both.clone())?;
    equal(&editor.end()?, &Some(0), "exit code")
}

pub(crate) fn fix_all(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let text = "from debian:12-slim as Build\nRUN echo ö😀\nFROM debian:12-slim\nADD a.txt /\nCOPY --from=Build /x /x\nUSER 10001\n";
    let mut editor = session_with(environment, &scratch, DOCUMENT, text)?;
    let found = actions(&mut editor, text, "ADD", json!(["source.fixAll"]))?;
    equal(&found.len(), &1, "number of actions")?;
    let after = done(text, &found[0])?;
    check(after.contains("COPY a.txt /") && after.contains("--from=build") && after.contains("ö😀"), || {
        after.clone()
    })?;
    change(&mut editor, 2, json!([{ "text": after }]))?;
    equal(&actions(&mut editor, &after, "COPY", json!(["source"]))?, &vec![], "actions the second time")?;
    equal(&editor.end()?, &Some(0), "exit code")
}

pub(crate) fn hovers(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let text = "FROM debian:12-slim\nRUN sudo make\nUSER 10001\n";
    let mut editor = session_with(environment, &scratch, DOCUMENT, text)?;
    let hover = editor.ask("textDocument/hover", at(DOCUMENT, &place(text, "sudo", 0)?))?;
    let shown = hover["contents"]["value"].as_str().unwrap_or_default().to_owned();
    check(shown.contains("**sudo**") && shown.contains("DL3004"), || shown.clone())?;
    equal(&hover["range"]["start"], &place(text, "sudo", 0)?, "range")?;
    let nothing = editor.ask("textDocument/hover", at(DOCUMENT, &place(text, "make", 0)?))?;
    equal(&nothing, &Value::Null, "where there is nothing to say")?;
    equal(&editor.end()?, &Some(0), "exit code")?;
    // A client that knows no Markdown gets none.
    let mut editor = Editor::open_session(environment.command(&scratch.store()), json!({}))?;
    open(&mut editor, DOCUMENT, text)?;
    let hover = editor.ask("textDocument/hover", at(DOCUMENT, &place(text, "FROM", 0)?))?;
    equal(&hover["contents"]["kind"], &"plaintext".into(), "kind")?;
    check(!hover.to_string().contains("```"), || hover.to_string())?;
    equal(&editor.end()?, &Some(0), "exit code")
}

pub(crate) fn formatting(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let text = "from debian:12-slim\r\nrun  a && \\\r\n  b 'ö😀'  \r\nFROM x";
    let formatted = "FROM debian:12-slim\r\nRUN a && \\\r\n    b 'ö😀'\r\n\r\nFROM x\r\n";
    let mut editor = session_with(environment, &scratch, DOCUMENT, text)?;
    let options = json!({ "tabSize": 2, "insertSpaces": true });
    let params = json!({ "textDocument": { "uri": DOCUMENT }, "options": options });
    let edits = editor.ask("textDocument/formatting", params)?;
    equal(&edited(text, &edits)?.as_str(), &formatted, "formatted")?;
    let range = json!({ "start": { "line": 1, "character": 0 }, "end": { "line": 2, "character": 0 } });
    let params = json!({ "textDocument": { "uri": DOCUMENT }, "options": options, "range": range });
    let edits = editor.ask("textDocument/rangeFormatting", params)?;
    let some = "from debian:12-slim\r\nRUN a && \\\r\n    b 'ö😀'  \r\nFROM x";
    equal(&edited(text, &edits)?.as_str(), &some, "a range formatted")?;
    change(&mut editor, 2, json!([{ "text": "# syntax=a/b\nfrom x\n" }]))?;
    let refused = editor.refused("textDocument/formatting", json!({ "textDocument": { "uri": DOCUMENT } }))?;
    check(refused.1.contains("another frontend"), || refused.1.clone())?;
    equal(&editor.end()?, &Some(0), "exit code")?;
    let mut editor = Editor::open_session(environment.command(&scratch.store()), capabilities())?;
    open(&mut editor, DOCUMENT, formatted)?;
    equal(&editor.ask("textDocument/formatting", named(DOCUMENT))?, &json!([]), "the second time")?;
    equal(&editor.end()?, &Some(0), "exit code")
}
