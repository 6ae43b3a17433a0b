//! Going to a name, finding it, and changing it.

use bake_dockerfile::Span;
use serde_json::{Value, json};

use crate::actions::{changes, text_edit};
use crate::document::Document;
use crate::language::PLATFORM_ARGUMENTS;
use crate::message::{ErrorCode, Refusal};
use crate::symbols::{Occurrence, Symbol, Symbols};
use crate::variables::is_name;

/// Names that a stage cannot have.
const RESERVED_STAGES: [&str; 2] = ["scratch", "context"];

fn location(document: &Document, span: Span) -> Value {
    json!({ "uri": document.uri, "range": document.range(span) })
}

/// Where the name at a byte is defined.
pub(crate) fn definition(document: &Document, offset: usize) -> Value {
    let symbols = Symbols::new(&document.tree);
    let Some(found) = symbols.at(offset) else { return Value::Null };
    if let Some(definition) = symbols.definition(found) {
        return location(document, definition.span);
    }
    // A stage that is called by its number may have no name: its `FROM` is as good.
    match &found.symbol {
        Symbol::Stage(index) => {
            let stage = document.tree.stages.get(*index);
            let from = stage.and_then(|stage| document.tree.instructions.get(stage.from));
            from.map_or(Value::Null, |from| location(document, from.keyword.span))
        }
        Symbol::Variable(..) => Value::Null,
    }
}

/// Where the name at a byte is used, and if asked for where it is defined.
pub(crate) fn references(document: &Document, offset: usize, with_definition: bool) -> Value {
    let symbols = Symbols::new(&document.tree);
    let Some(found) = symbols.at(offset) else { return json!([]) };
    let wanted = |occurrence: &&Occurrence| with_definition || !occurrence.is_definition;
    symbols.of(&found.symbol).filter(wanted).map(|occurrence| location(document, occurrence.span)).collect()
}

/// The places of the name at a byte: 3 where it is set, 2 where it is read.
pub(crate) fn highlights(document: &Document, offset: usize) -> Value {
    let symbols = Symbols::new(&document.tree);
    let Some(found) = symbols.at(offset) else { return json!([]) };
    let kind = |occurrence: &Occurrence| if occurrence.is_definition { 3 } else { 2 };
    symbols
        .of(&found.symbol)
        .map(|occurrence| json!({ "range": document.range(occurrence.span), "kind": kind(occurrence) }))
        .collect()
}

/// The name that would be changed.
pub(crate) fn prepare_rename(document: &Document, offset: usize) -> Result<Value, Refusal> {
    let symbols = Symbols::new(&document.tree);
    let found = renamable(document, &symbols, offset)?;
    Ok(json!({ "range": document.range(found.span), "placeholder": document.tree.source.slice(found.span) }))
}

/// The edits that give the name at a byte another one everywhere.
pub(crate) fn rename(document: &Document, offset: usize, new_name: &str) -> Result<Value, Refusal> {
    let symbols = Symbols::new(&document.tree);
    let found = renamable(document, &symbols, offset)?;
    let refused = |problem: String| Err(Refusal::new(ErrorCode::RequestFailed, problem));
    match &found.symbol {
        Symbol::Stage(index) => {
            if !is_stage_name(new_name) {
                return refused(format!(
                    "`{new_name}` cannot name a stage: letters, digits, `-`, `_` and `.`, a letter first"
                ));
            }
            if RESERVED_STAGES.iter().any(|reserved| reserved.eq_ignore_ascii_case(new_name)) {
                return refused(format!("`{new_name}` cannot name a stage: it is reserved"));
            }
            let same = |name: &str| name.eq_ignore_ascii_case(new_name);
            let other = document.tree.stages.iter().find(|stage| stage.name.as_ref().is_some_and(|n| same(&n.value)));
            if other.is_some_and(|other| other.index != *index) {
                return refused(format!("there is a stage `{new_name}` already"));
            }
        }
        Symbol::Variable(..) => {
            if !is_name(new_name) {
                return refused(format!(
                    "`{new_name}` cannot name a variable: letters, digits and `_`, no digit first"
                ));
            }
            if is_known_to_builds(new_name) {
                return refused(format!("`{new_name}` is set by the build"));
            }
            if symbols.meets(&found.symbol, new_name) {
                return refused(format!("there is a variable `{new_name}` already"));
            }
        }
    }
    let named = symbols.of(&found.symbol).filter(|occurrence| occurrence.is_name);
    Ok(changes(document, named.map(|occurrence| text_edit(document, occurrence.span, new_name)).collect()))
}

/// The name at a byte, if it can be changed here.
fn renamable<'s>(document: &Document, symbols: &'s Symbols, offset: usize) -> Result<&'s Occurrence, Refusal> {
    let refused = |problem: String| Refusal::new(ErrorCode::RequestFailed, problem);
    let found = symbols.at(offset).ok_or_else(|| refused("there is no stage or variable here".to_owned()))?;
    let text = document.tree.source.slice(found.span);
    if !found.is_name {
        return Err(refused(format!("`{text}` is a stage by its number")));
    }
    match &found.symbol {
        Symbol::Variable(_, name) if is_known_to_builds(name) => {
            Err(refused(format!("`{name}` is set by the build: under another name it would be empty")))
        }
        symbol if !symbols.of(symbol).any(|occurrence| occurrence.is_definition) => {
            Err(refused(format!("`{text}` is not defined in this file")))
        }
        _ => Ok(found),
    }
}

fn is_known_to_builds(name: &str) -> bool {
    let proxy = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];
    PLATFORM_ARGUMENTS.iter().any(|(known, _)| *known == name)
        || proxy.iter().any(|known| known.eq_ignore_ascii_case(name))
}

fn is_stage_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}
