//! The parts of the protocol's parameters that are looked at. What else a client sends is ignored.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::message::{ErrorCode, Refusal};
use crate::position::{Position, Range};

/// Reads the parameters of a message.
pub(crate) fn parameters<T: for<'de> Deserialize<'de>>(method: &str, params: Value) -> Result<T, Refusal> {
    serde_json::from_value(params)
        .map_err(|error| Refusal::new(ErrorCode::InvalidParams, format!("the parameters of `{method}`: {error}")))
}

#[derive(Debug, Deserialize)]
pub(crate) struct DocumentName {
    pub(crate) uri: String,
    #[serde(default)]
    pub(crate) version: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DocumentParams {
    pub(crate) text_document: DocumentName,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OpenParams {
    pub(crate) text_document: OpenedDocument,
}

#[derive(Debug, Deserialize)]
pub(crate) struct OpenedDocument {
    pub(crate) uri: String,
    #[serde(default)]
    pub(crate) version: Option<i64>,
    pub(crate) text: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChangeParams {
    pub(crate) text_document: DocumentName,
    pub(crate) content_changes: Vec<Change>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Change {
    /// What is replaced; the whole text where there is none.
    #[serde(default)]
    pub(crate) range: Option<Range>,
    pub(crate) text: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PositionParams {
    pub(crate) text_document: DocumentName,
    pub(crate) position: Position,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RangeParams {
    pub(crate) text_document: DocumentName,
    pub(crate) range: Range,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ActionParams {
    pub(crate) text_document: DocumentName,
    pub(crate) range: Range,
    #[serde(default)]
    pub(crate) context: ActionContext,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct ActionContext {
    /// The kinds that are wanted; any where there are none.
    #[serde(default)]
    pub(crate) only: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReferenceParams {
    pub(crate) text_document: DocumentName,
    pub(crate) position: Position,
    pub(crate) context: ReferenceContext,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReferenceContext {
    #[serde(default)]
    pub(crate) include_declaration: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RenameParams {
    pub(crate) text_document: DocumentName,
    pub(crate) position: Position,
    pub(crate) new_name: String,
}

/// What the client can do, as far as answers depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a capability of its own, as in the protocol")]
pub(crate) struct Client {
    /// Markdown in hovers and completions.
    pub(crate) markdown: bool,
    /// Symbols inside symbols.
    pub(crate) nested_symbols: bool,
    /// Edits that create files.
    pub(crate) new_files: bool,
    /// Being asked to watch files.
    pub(crate) watches_files: bool,
}

impl Client {
    /// Reads the parameters of `initialize`.
    pub(crate) fn new(params: &Value) -> Self {
        let capability = |path: &str| params.pointer(&format!("/capabilities/{path}"));
        let is_on = |path: &str| capability(path).and_then(Value::as_bool) == Some(true);
        let lists = |path: &str, name: &str| {
            capability(path).and_then(Value::as_array).is_some_and(|names| names.iter().any(|known| known == name))
        };
        Self {
            markdown: lists("textDocument/hover/contentFormat", "markdown"),
            nested_symbols: is_on("textDocument/documentSymbol/hierarchicalDocumentSymbolSupport"),
            new_files: is_on("workspace/workspaceEdit/documentChanges")
                && lists("workspace/workspaceEdit/resourceOperations", "create"),
            watches_files: is_on("workspace/didChangeWatchedFiles/dynamicRegistration"),
        }
    }

    /// A text as the client can show it.
    pub(crate) fn markup(self, markdown: &str) -> Value {
        if self.markdown {
            return json!({ "kind": "markdown", "value": markdown });
        }
        let plain: Vec<&str> = markdown.lines().filter(|line| !line.starts_with("```")).collect();
        json!({ "kind": "plaintext", "value": plain.join("\n").replace(['`', '*'], "") })
    }
}
