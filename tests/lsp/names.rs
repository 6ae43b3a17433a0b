//! Stages and variables.

use serde_json::{Value, json};

use crate::editor::{Editor, edited, place};
use crate::support::{Environment, Outcome, check, equal};
use crate::{DOCUMENT, all, at, named, open, session_with};

const TEXT: &str = "ARG VERSION=12\r\nFROM debian:${VERSION} AS base\r\nARG VERSION\r\nENV PLACE=/ö😀/$VERSION\r\n\
                    FROM base AS build\r\nRUN echo 'ö😀' \"$PLACE\" '$PLACE' && \\\r\n    # of $PLACE\r\n    cat <<EOF > $PLACE/x\r\n$PLACE\r\nEOF\r\n\
                    FROM scratch\r\nCOPY --from=build /a /b\r\nCOPY --from=1 /a /b\r\nRUN --mount=type=bind,from=Build,target=/x [\"/x\"]\r\n";

/// The lines of a list of places.
fn lines(places: &Value, pointer: &str) -> Vec<u64> {
    let places = places.as_array().map(Vec::as_slice).unwrap_or_default();
    places.iter().filter_map(|place| place.pointer(pointer)?.as_u64()).collect()
}

fn references(editor: &mut Editor, position: &Value, with_definition: bool) -> Result<Vec<u64>, String> {
    let mut params = at(DOCUMENT, position);
    params["context"] = json!({ "includeDeclaration": with_definition });
    Ok(lines(&editor.ask("textDocument/references", params)?, "/range/start/line"))
}

pub(crate) fn places(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let mut editor = session_with(environment, &scratch, DOCUMENT, TEXT)?;
    let mut definition = |what: &str, nth: usize| -> Result<Value, String> {
        Ok(editor.ask("textDocument/definition", at(DOCUMENT, &place(TEXT, what, nth)?))?["range"]["start"].take())
    };
    equal(&definition("build /a", 0)?, &place(TEXT, "build", 0)?, "a stage by its name")?;
    equal(&definition("Build,", 0)?, &place(TEXT, "build", 0)?, "a stage by its name in other letters")?;
    equal(&definition("1 /a", 0)?, &place(TEXT, "build", 0)?, "a stage by its number")?;
    equal(&definition("base", 1)?, &place(TEXT, "base", 0)?, "a stage that is a base")?;
    equal(&definition("VERSION}", 0)?, &place(TEXT, "VERSION", 0)?, "a global argument")?;
    equal(&definition("VERSION\r\nFROM base", 0)?, &place(TEXT, "VERSION", 2)?, "an argument of the stage")?;
    equal(&definition("PLACE\"", 0)?, &place(TEXT, "PLACE", 0)?, "a variable of the stage below")?;
    equal(&definition("RUN", 0)?, &Value::Null, "what is no name")?;
    let build = place(TEXT, "build", 0)?;
    equal(&references(&mut editor, &build, false)?, &vec![11, 12, 13], "uses of a stage")?;
    equal(&references(&mut editor, &build, true)?, &vec![4, 11, 12, 13], "all places of a stage")?;
    // Not in single quotes, nor in a comment.
    let variable = place(TEXT, "PLACE", 0)?;
    equal(&references(&mut editor, &variable, true)?, &vec![3, 5, 7, 8], "all places of a variable")?;
    let highlights = editor.ask("textDocument/documentHighlight", at(DOCUMENT, &variable))?;
    equal(&lines(&highlights, "/kind"), &vec![3, 2, 2, 2], "kinds of places")?;
    equal(&lines(&highlights, "/range/start/line"), &vec![3, 5, 7, 8], "highlights")?;
    equal(&editor.end()?, &Some(0), "exit code")
}

pub(crate) fn rename(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let mut editor = session_with(environment, &scratch, DOCUMENT, TEXT)?;
    let params = |what: &str, nth: usize, name: &str| -> Result<Value, String> {
        let mut params = at(DOCUMENT, &place(TEXT, what, nth)?);
        params["newName"] = name.into();
        Ok(params)
    };
    let mut renamed = |what: &str, nth: usize, name: &str| -> Result<String, String> {
        let edit = editor.ask("textDocument/rename", params(what, nth, name)?)?;
        edited(TEXT, &edit["changes"][DOCUMENT])
    };
    let expected = TEXT.replace("AS build", "AS make").replace("=build", "=make").replace("=Build", "=make");
    equal(&renamed("build /a", 0, "make")?, &expected, "a stage renamed")?;
    let expected = TEXT.replace("PLACE", "WHERE").replace("'$WHERE'", "'$PLACE'").replace("of $WHERE", "of $PLACE");
    equal(&renamed("PLACE", 0, "WHERE")?, &expected, "a variable renamed")?;
    equal(&renamed("VERSION", 0, "RELEASE")?, &TEXT.replace("VERSION", "RELEASE"), "an argument renamed")?;
    let prepared = editor.ask("textDocument/prepareRename", at(DOCUMENT, &place(TEXT, "Build,", 0)?))?;
    equal(&prepared["placeholder"], &"Build".into(), "what is renamed")?;
    for (what, nth, name, reason) in [
        ("build", 0, "1st", "cannot name a stage"),
        ("build", 0, "base", "already"),
        ("build", 0, "Scratch", "reserved"),
        ("PLACE", 0, "a-b", "cannot name a variable"),
        ("PLACE", 0, "VERSION", "already"),
        ("PLACE", 0, "TARGETARCH", "set by the build"),
        ("1 /a", 0, "x", "by its number"),
        ("RUN", 0, "x", "no stage or variable"),
    ] {
        let refused = editor.refused("textDocument/rename", params(what, nth, name)?)?;
        check(refused.1.contains(reason), || format!("{what} to {name}: {}", refused.1))?;
    }
    equal(&editor.end()?, &Some(0), "exit code")
}

pub(crate) fn outline(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let mut editor = session_with(environment, &scratch, DOCUMENT, TEXT)?;
    let symbols = editor.ask("textDocument/documentSymbol", named(DOCUMENT))?;
    equal(
        &all(&symbols, "name"),
        &["ARG VERSION=12", "base", "build", "stage 2"].map(str::to_owned).to_vec(),
        "symbols",
    )?;
    equal(&symbols[1]["range"]["end"]["line"], &3.into(), "the end of a stage")?;
    let children = vec!["ARG VERSION".to_owned(), "ENV PLACE=/ö😀/$VERSION".to_owned()];
    equal(&all(&symbols[1]["children"], "name"), &children, "instructions of a stage")?;
    equal(&symbols[2]["selectionRange"]["start"], &place(TEXT, "build", 0)?, "the name of a stage")?;
    let folds = editor.ask("textDocument/foldingRange", named(DOCUMENT))?;
    let ends: Vec<(u64, u64)> = lines(&folds, "/startLine").into_iter().zip(lines(&folds, "/endLine")).collect();
    for expected in [(1, 3), (4, 9), (5, 9), (10, 13)] {
        check(ends.contains(&expected), || format!("{expected:?} is not in {ends:?}"))?;
    }
    open(&mut editor, DOCUMENT, "# a\n# b\nFROM a\nCOPY <<A <<B /\n1\nA\n2\n3\nB\n")?;
    let folds = editor.ask("textDocument/foldingRange", named(DOCUMENT))?;
    check(folds.as_array().is_some_and(|folds| folds.iter().any(|fold| fold["kind"] == "comment")), || {
        folds.to_string()
    })?;
    check(lines(&folds, "/startLine").contains(&6), || folds.to_string())?;
    equal(&editor.end()?, &Some(0), "exit code")?;
    // A client that knows no symbols inside symbols gets the stages.
    let mut editor = Editor::open_session(environment.command(&scratch.store()), json!({}))?;
    open(&mut editor, DOCUMENT, TEXT)?;
    let symbols = editor.ask("textDocument/documentSymbol", named(DOCUMENT))?;
    equal(&all(&symbols, "name"), &["base", "build", "stage 2"].map(str::to_owned).to_vec(), "flat symbols")?;
    equal(&symbols[0]["location"]["uri"], &DOCUMENT.into(), "place")?;
    equal(&editor.end()?, &Some(0), "exit code")
}

pub(crate) fn hovers(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let mut editor = session_with(environment, &scratch, DOCUMENT, TEXT)?;
    for (what, nth, words) in [
        ("FROM", 0, &["Begins a stage"][..]),
        ("--from", 0, &["--from=STAGE|IMAGE", "Copy from a stage"]),
        ("--mount", 0, &["--mount"]),
        ("type=bind", 0, &["Files of the build context"]),
        ("target=/x", 0, &["Where it is mounted"]),
        ("debian:$", 0, &["debian:12"]),
        ("VERSION}", 0, &["`12`", "line 1"]),
        ("VERSION\r\nENV", 0, &["`12`"]),
        ("PLACE\"", 0, &["`/ö😀/12`", "line 4"]),
        ("build /a", 0, &["**stage `build`**", "FROM base AS build"]),
        ("1 /a", 0, &["**stage `build`**"]),
    ] {
        let hover = editor.ask("textDocument/hover", at(DOCUMENT, &place(TEXT, what, nth)?))?;
        let shown = hover["contents"]["value"].as_str().unwrap_or_default().to_owned();
        for word in words {
            check(shown.contains(word), || format!("{what}: {word} is not in {shown:?}"))?;
        }
    }
    open(&mut editor, DOCUMENT, "# escape=`\nFROM a\n")?;
    let hover = editor.ask("textDocument/hover", at(DOCUMENT, &json!({ "line": 0, "character": 3 })))?;
    check(hover.to_string().contains("continues lines"), || hover.to_string())?;
    equal(&editor.end()?, &Some(0), "exit code")
}
