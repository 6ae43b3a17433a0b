//! The server as a function: a message in, messages out. [`crate::serve`] does the reading and writing.

use std::collections::{BTreeMap, BTreeSet};

use bake_dockerfile::Span;
use bake_dockerfile::limits::FILE_BYTES_MAX;
use bake_format::{FormatError, format, format_edits};
use bake_lint::{LintOptions, lint};
use serde_json::{Value, json};

use crate::document::Document;
use crate::message::{ErrorCode, Refusal, notification, request, response};
use crate::position::{Encoding, LineIndex};
use crate::protocol::{
    ActionParams, ChangeParams, Client, DocumentParams, OpenParams, PositionParams, RangeParams, ReferenceParams,
    RenameParams, parameters,
};
use crate::workspace::Workspace;
use crate::{actions, completion, diagnostics, hover, names, outline};

/// Most documents that may be open at the same time.
const DOCUMENTS_MAX: usize = 1_000;

/// Largest text of a document in bytes: beyond it changes are not followed. It is above what the parser looks at, so that a document
/// that has grown too large is told to be so.
const DOCUMENT_BYTES_MAX: usize = 2 * FILE_BYTES_MAX;

/// How far the session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// `initialize` has not come.
    New,
    Running,
    /// `shutdown` has come: only `exit` may follow.
    ShutDown,
    /// `exit` has come; whether after `shutdown`, as it should.
    Ended {
        orderly: bool,
    },
}

/// A session with an editor.
#[derive(Debug)]
pub(crate) struct Server<'w> {
    workspace: &'w dyn Workspace,
    version: &'w str,
    phase: Phase,
    client: Client,
    encoding: Encoding,
    documents: BTreeMap<String, Document>,
    /// Documents whose text, or what it is checked with, has changed since they were checked.
    unchecked: BTreeSet<String>,
    /// What was last said to be wrong with the configuration, so that it is not said at every change.
    complaint: Option<String>,
    requests: u64,
    outgoing: Vec<Value>,
}

impl<'w> Server<'w> {
    pub(crate) fn new(workspace: &'w dyn Workspace, version: &'w str) -> Self {
        Self {
            workspace,
            version,
            phase: Phase::New,
            client: Client::default(),
            encoding: Encoding::default(),
            documents: BTreeMap::new(),
            unchecked: BTreeSet::new(),
            complaint: None,
            requests: 0,
            outgoing: Vec::new(),
        }
    }

    /// Whether the session has ended, and if so in order.
    pub(crate) fn ended(&self) -> Option<bool> {
        match self.phase {
            Phase::Ended { orderly } => Some(orderly),
            _ => None,
        }
    }

    /// Whether there are documents to be checked.
    pub(crate) fn has_work(&self) -> bool {
        !self.unchecked.is_empty()
    }

    /// Takes a message, and returns what is to be sent.
    pub(crate) fn handle(&mut self, mut message: Value) -> Vec<Value> {
        let id = message.get_mut("id").map(Value::take);
        let method = message.get("method").and_then(Value::as_str).map(str::to_owned);
        let params = message.get_mut("params").map(Value::take).unwrap_or_default();
        match (method, id) {
            (Some(method), Some(id)) => {
                let result = self.request(&method, params);
                self.outgoing.push(response(&id, result));
            }
            (Some(method), None) => {
                // Nobody waits for an answer to a notification; what is wrong with it goes to the editor's log.
                if let Err(refusal) = self.notification(&method, params) {
                    self.log(&refusal.message);
                }
            }
            // The answer to a request of ours: there is nothing to do about it.
            (None, Some(_)) if message.get("result").is_some() || message.get("error").is_some() => {}
            (None, id) => {
                let refusal = Refusal::new(ErrorCode::InvalidRequest, "the message has no `method`");
                self.outgoing.push(response(&id.unwrap_or_default(), Err(refusal)));
            }
        }
        std::mem::take(&mut self.outgoing)
    }

    /// The answer to what is no message at all.
    pub(crate) fn broken(problem: &str) -> Vec<Value> {
        vec![response(&Value::Null, Err(Refusal::new(ErrorCode::ParseError, problem)))]
    }

    /// Checks one document that has changed, and returns what is to be sent.
    pub(crate) fn check_next(&mut self) -> Vec<Value> {
        if let Some(uri) = self.unchecked.pop_first() {
            self.check(&uri);
        }
        std::mem::take(&mut self.outgoing)
    }

    fn request(&mut self, method: &str, params: Value) -> Result<Value, Refusal> {
        match (self.phase, method) {
            (Phase::New, "initialize") => return Ok(self.initialize(&params)),
            (Phase::New, _) => {
                return Err(Refusal::new(ErrorCode::NotInitialized, format!("`{method}` before `initialize`")));
            }
            (Phase::Running, "shutdown") => {
                self.phase = Phase::ShutDown;
                return Ok(Value::Null);
            }
            (Phase::Running, "initialize") => {
                return Err(Refusal::new(ErrorCode::InvalidRequest, "`initialize` for the second time"));
            }
            (Phase::Running, _) => {}
            (Phase::ShutDown | Phase::Ended { .. }, _) => {
                return Err(Refusal::new(ErrorCode::InvalidRequest, format!("`{method}` after `shutdown`")));
            }
        }
        match method {
            "textDocument/codeAction" => self.code_action(&parameters(method, params)?),
            "textDocument/hover" => self.hover(&parameters(method, params)?),
            "textDocument/completion" => self.completion(&parameters(method, params)?),
            "textDocument/definition" => {
                let PositionParams { text_document, position } = parameters(method, params)?;
                let document = self.document(&text_document.uri)?;
                Ok(names::definition(document, document.offset(position)))
            }
            "textDocument/references" => {
                let ReferenceParams { text_document, position, context } = parameters(method, params)?;
                let document = self.document(&text_document.uri)?;
                Ok(names::references(document, document.offset(position), context.include_declaration))
            }
            "textDocument/documentHighlight" => {
                let PositionParams { text_document, position } = parameters(method, params)?;
                let document = self.document(&text_document.uri)?;
                Ok(names::highlights(document, document.offset(position)))
            }
            "textDocument/prepareRename" => {
                let PositionParams { text_document, position } = parameters(method, params)?;
                let document = self.document(&text_document.uri)?;
                names::prepare_rename(document, document.offset(position))
            }
            "textDocument/rename" => {
                let RenameParams { text_document, position, new_name } = parameters(method, params)?;
                let document = self.document(&text_document.uri)?;
                names::rename(document, document.offset(position), &new_name)
            }
            "textDocument/documentSymbol" => {
                let DocumentParams { text_document } = parameters(method, params)?;
                Ok(outline::symbols(self.document(&text_document.uri)?, self.client).into())
            }
            "textDocument/foldingRange" => {
                let DocumentParams { text_document } = parameters(method, params)?;
                Ok(outline::folding_ranges(self.document(&text_document.uri)?).into())
            }
            "textDocument/formatting" => {
                let DocumentParams { text_document } = parameters(method, params)?;
                formatting(self.document(&text_document.uri)?, None)
            }
            "textDocument/rangeFormatting" => {
                let RangeParams { text_document, range } = parameters(method, params)?;
                let document = self.document(&text_document.uri)?;
                formatting(document, Some(document.span(range)))
            }
            _ => Err(Refusal::new(ErrorCode::MethodNotFound, format!("there is no method `{method}`"))),
        }
    }

    fn notification(&mut self, method: &str, params: Value) -> Result<(), Refusal> {
        if method == "exit" {
            self.phase = Phase::Ended { orderly: self.phase == Phase::ShutDown };
            return Ok(());
        }
        if self.phase != Phase::Running {
            return Ok(());
        }
        match method {
            "initialized" => self.watch_files(),
            "textDocument/didOpen" => {
                let OpenParams { text_document } = parameters(method, params)?;
                self.open(text_document.uri, text_document.version, &text_document.text)?;
            }
            "textDocument/didChange" => self.change(parameters(method, params)?)?,
            "textDocument/didClose" => {
                let DocumentParams { text_document } = parameters(method, params)?;
                self.unchecked.remove(&text_document.uri);
                if self.documents.remove(&text_document.uri).is_some() {
                    self.publish(&text_document.uri, None, &[]);
                }
            }
            "textDocument/didSave" => {
                let DocumentParams { text_document } = parameters(method, params)?;
                self.workspace.forget();
                if self.documents.contains_key(&text_document.uri) {
                    self.unchecked.insert(text_document.uri);
                }
            }
            "workspace/didChangeWatchedFiles" | "workspace/didChangeConfiguration" => {
                self.complaint = None;
                self.workspace.forget();
                self.unchecked.extend(self.documents.keys().cloned());
            }
            // `$/cancelRequest` is dealt with before requests are begun; notifications that are not known are to be ignored.
            _ => {}
        }
        Ok(())
    }

    fn initialize(&mut self, params: &Value) -> Value {
        self.client = Client::new(params);
        let offered: Vec<String> = params
            .pointer("/capabilities/general/positionEncodings")
            .and_then(|names| serde_json::from_value(names.clone()).ok())
            .unwrap_or_default();
        self.encoding = Encoding::best_of(&offered);
        self.phase = Phase::Running;
        json!({
            "capabilities": {
                "positionEncoding": self.encoding.name(),
                "textDocumentSync": { "openClose": true, "change": 2, "save": true },
                "completionProvider": { "triggerCharacters": ["-", "=", ",", "$", "{", "/", ":"] },
                "hoverProvider": true,
                "definitionProvider": true,
                "referencesProvider": true,
                "documentHighlightProvider": true,
                "documentSymbolProvider": true,
                "documentFormattingProvider": true,
                "documentRangeFormattingProvider": true,
                "foldingRangeProvider": true,
                "renameProvider": { "prepareProvider": true },
                "codeActionProvider": { "codeActionKinds": ["quickfix", actions::FIX_ALL] },
            },
            "serverInfo": { "name": "bake", "version": self.version },
        })
    }

    /// Asks the client to tell of changes of the files that decide about findings.
    fn watch_files(&mut self) {
        if !self.client.watches_files {
            return;
        }
        let watchers: Vec<Value> =
            self.workspace.watched_files().iter().map(|name| json!({ "globPattern": format!("**/{name}") })).collect();
        self.requests += 1;
        let registration = json!({
            "id": "watched-files",
            "method": "workspace/didChangeWatchedFiles",
            "registerOptions": { "watchers": watchers },
        });
        let params = json!({ "registrations": [registration] });
        self.outgoing.push(request(self.requests, "client/registerCapability", params));
    }

    fn open(&mut self, uri: String, version: Option<i64>, text: &str) -> Result<(), Refusal> {
        if self.documents.len() >= DOCUMENTS_MAX && !self.documents.contains_key(&uri) {
            let message = format!("`{uri}` is not checked: {DOCUMENTS_MAX} documents are open");
            return Err(Refusal::new(ErrorCode::RequestFailed, message));
        }
        check_size(&uri, text.len())?;
        self.workspace.forget();
        self.unchecked.insert(uri.clone());
        self.documents.insert(uri.clone(), Document::new(uri, version, text, self.encoding));
        Ok(())
    }

    fn change(&mut self, change: ChangeParams) -> Result<(), Refusal> {
        let uri = change.text_document.uri;
        let Some(document) = self.documents.remove(&uri) else {
            return Err(Refusal::new(ErrorCode::InvalidParams, format!("`{uri}` is not open")));
        };
        let version = change.text_document.version.or(document.version);
        let mut text = document.text().to_owned();
        for change in change.content_changes {
            match change.range {
                None => text = change.text,
                Some(range) => {
                    // Each change counts in the text that the one before has left.
                    let index = LineIndex::new(&text);
                    let start = index.offset(&text, range.start, self.encoding);
                    let end = index.offset(&text, range.end, self.encoding).max(start);
                    text.replace_range(start..end, &change.text);
                }
            }
            if let Err(refusal) = check_size(&uri, text.len()) {
                // A text that is not followed must not be spoken about: what is known of it is forgotten.
                self.unchecked.remove(&uri);
                self.publish(&uri, version, &[]);
                return Err(refusal);
            }
        }
        self.unchecked.insert(uri.clone());
        self.documents.insert(uri, document.with_text(version, &text));
        Ok(())
    }

    /// Lints a document and publishes what was found.
    fn check(&mut self, uri: &str) {
        let Some(document) = self.documents.get(uri) else { return };
        let options = self.workspace.lint_options(document.path.as_deref(), &document.tree);
        let options = self.usable(options);
        let Some(document) = self.documents.get_mut(uri) else { return };
        document.findings = lint(&document.tree, &options);
        let (version, found) = (document.version, diagnostics::diagnostics(document));
        self.publish(uri, version, &found);
    }

    /// The configuration, or the defaults. What is wrong with it is said once.
    fn usable(&mut self, options: Result<LintOptions, String>) -> LintOptions {
        match options {
            Ok(options) => options,
            Err(problem) => {
                if self.complaint.as_ref() != Some(&problem) {
                    let params = json!({ "type": 1, "message": format!("bake: {problem}") });
                    self.outgoing.push(notification("window/showMessage", params));
                    self.complaint = Some(problem);
                }
                LintOptions::default()
            }
        }
    }

    fn publish(&mut self, uri: &str, version: Option<i64>, found: &[Value]) {
        let mut params = json!({ "uri": uri, "diagnostics": found });
        if let Some(version) = version {
            params["version"] = version.into();
        }
        self.outgoing.push(notification("textDocument/publishDiagnostics", params));
    }

    fn log(&mut self, message: &str) {
        let params = json!({ "type": 2, "message": format!("bake: {message}") });
        self.outgoing.push(notification("window/logMessage", params));
    }

    fn document(&self, uri: &str) -> Result<&Document, Refusal> {
        let problem = || Refusal::new(ErrorCode::InvalidParams, format!("`{uri}` is not open"));
        self.documents.get(uri).ok_or_else(problem)
    }

    /// A document whose findings are those of its present text.
    fn checked(&mut self, uri: &str) -> Result<&Document, Refusal> {
        if self.unchecked.remove(uri) {
            self.check(uri);
        }
        self.document(uri)
    }

    fn code_action(&mut self, params: &ActionParams) -> Result<Value, Refusal> {
        let workspace = self.workspace;
        let document = self.checked(&params.text_document.uri)?;
        let options = workspace.lint_options(document.path.as_deref(), &document.tree).unwrap_or_default();
        let document = self.document(&params.text_document.uri)?;
        let (range, only) = (document.span(params.range), params.context.only.as_deref());
        Ok(actions::actions(document, self.workspace, &options, self.client, range, only).into())
    }

    fn hover(&mut self, params: &PositionParams) -> Result<Value, Refusal> {
        let client = self.client;
        let document = self.checked(&params.text_document.uri)?;
        let Some((text, span)) = hover::hover(document, document.offset(params.position)) else {
            return Ok(Value::Null);
        };
        Ok(json!({ "contents": client.markup(&text), "range": document.range(span) }))
    }

    fn completion(&self, params: &PositionParams) -> Result<Value, Refusal> {
        let document = self.document(&params.text_document.uri)?;
        let offset = document.offset(params.position);
        let items = completion::completions(document, self.workspace, self.client, offset);
        Ok(json!({ "isIncomplete": false, "items": items }))
    }
}

fn check_size(uri: &str, bytes: usize) -> Result<(), Refusal> {
    if bytes <= DOCUMENT_BYTES_MAX {
        return Ok(());
    }
    let message = format!("`{uri}` is not checked: it is larger than {DOCUMENT_BYTES_MAX} bytes");
    Err(Refusal::new(ErrorCode::RequestFailed, message))
}

/// The edits that format a document, or the lines of a range.
fn formatting(document: &Document, range: Option<Span>) -> Result<Value, Refusal> {
    let refused = |error: FormatError| Refusal::new(ErrorCode::RequestFailed, format!("cannot format: {error}"));
    // Only a text whose formatted form has been checked is changed.
    format(&document.tree).map_err(refused)?;
    let edits = format_edits(&document.tree).map_err(refused)?;
    let touches = |span: Span| range.is_none_or(|range| span.start <= range.end && range.start <= span.end);
    let wanted = edits.iter().filter(|edit| touches(edit.span));
    Ok(wanted.map(|edit| actions::text_edit(document, edit.span, &edit.replacement)).collect())
}
