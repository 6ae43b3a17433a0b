//! An editor of few words: starts `bake lsp`, says what a test wants said, and keeps what comes back.

use std::collections::VecDeque;
use std::io::{BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

/// Far longer than any answer takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running session.
pub(crate) struct Editor {
    child: Child,
    input: Option<ChildStdin>,
    messages: Receiver<Value>,
    /// Messages of the server that nobody has asked for yet.
    kept: VecDeque<Value>,
    next_id: u64,
}

impl Editor {
    /// Starts the server and does nothing else.
    pub(crate) fn start(mut command: Command) -> Result<Self, String> {
        command.arg("lsp").arg("--stdio").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let input = child.stdin.take();
        let output = child.stdout.take().ok_or("no output")?;
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            let mut output = BufReader::new(output);
            while let Some(message) = read(&mut output) {
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, input, messages, kept: VecDeque::new(), next_id: 0 })
    }

    /// Starts a session with the capabilities of a client.
    pub(crate) fn open_session(command: Command, capabilities: Value) -> Result<Self, String> {
        let mut editor = Self::start(command)?;
        editor.ask("initialize", json!({ "processId": null, "rootUri": null, "capabilities": capabilities }))?;
        editor.tell("initialized", json!({}))?;
        Ok(editor)
    }

    /// Writes bytes as they are.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        let input = self.input.as_mut().ok_or("the input is closed")?;
        input.write_all(bytes).and_then(|()| input.flush()).map_err(|error| error.to_string())
    }

    pub(crate) fn send(&mut self, message: &Value) -> Result<(), String> {
        self.write(&frame(message))
    }

    pub(crate) fn tell(&mut self, method: &str, params: Value) -> Result<(), String> {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params }))
    }

    /// Asks, and returns the result or the error.
    pub(crate) fn response(&mut self, method: &str, params: Value) -> Result<Value, String> {
        self.next_id += 1;
        let id = self.next_id;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))?;
        self.answer_to(&id.into())
    }

    /// Waits for the answer to a request.
    pub(crate) fn answer_to(&mut self, id: &Value) -> Result<Value, String> {
        let is_meant = |message: &Value| message.get("method").is_none() && message.get("id") == Some(id);
        if let Some(place) = self.kept.iter().position(is_meant) {
            return self.kept.remove(place).ok_or_else(String::new);
        }
        loop {
            let message = self.next()?;
            if is_meant(&message) {
                return Ok(message);
            }
            self.kept.push_back(message);
        }
    }

    /// Asks, and returns the result; an error is a failure.
    pub(crate) fn ask(&mut self, method: &str, params: Value) -> Result<Value, String> {
        let mut response = self.response(method, params)?;
        match response.get_mut("result") {
            Some(result) => Ok(result.take()),
            None => Err(format!("{method}: {response}")),
        }
    }

    /// Asks, and returns the code and message of the error; a result is a failure.
    pub(crate) fn refused(&mut self, method: &str, params: Value) -> Result<(i64, String), String> {
        let response = self.response(method, params)?;
        let text = response.pointer("/error/message").and_then(Value::as_str).unwrap_or_default().to_owned();
        let code = response.pointer("/error/code").and_then(Value::as_i64);
        code.map(|code| (code, text)).ok_or_else(|| format!("{method} was not refused: {response}"))
    }

    /// Waits for a message of the server with this method, and returns the whole message.
    pub(crate) fn told(&mut self, method: &str) -> Result<Value, String> {
        let is_meant = |message: &Value| message.get("method").is_some_and(|found| found == method);
        if let Some(place) = self.kept.iter().position(is_meant) {
            return self.kept.remove(place).ok_or_else(String::new);
        }
        loop {
            let message = self.next()?;
            if is_meant(&message) {
                return Ok(message);
            }
            self.kept.push_back(message);
        }
    }

    /// Waits for the diagnostics of a version of a document; those of other versions are dropped.
    pub(crate) fn diagnostics(&mut self, version: i64) -> Result<Vec<Value>, String> {
        loop {
            let mut message = self.told("textDocument/publishDiagnostics")?;
            if message.pointer("/params/version") == Some(&version.into()) {
                let found = message.pointer_mut("/params/diagnostics").map(Value::take);
                return found.and_then(|found| found.as_array().cloned()).ok_or_else(|| "no list".to_owned());
            }
        }
    }

    /// Ends the session, and returns the exit code.
    pub(crate) fn end(mut self) -> Result<Option<i32>, String> {
        self.ask("shutdown", Value::Null)?;
        self.tell("exit", Value::Null)?;
        self.exit_code()
    }

    /// Closes the input and waits for the server to end.
    pub(crate) fn exit_code(mut self) -> Result<Option<i32>, String> {
        self.input = None;
        self.child.wait().map(|status| status.code()).map_err(|error| error.to_string())
    }

    fn next(&mut self) -> Result<Value, String> {
        self.messages.recv_timeout(PATIENCE).map_err(|_| "the server says nothing more".to_owned())
    }
}

impl Drop for Editor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A message with its header.
pub(crate) fn frame(message: &Value) -> Vec<u8> {
    let body = message.to_string();
    format!("Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn read(output: &mut impl std::io::BufRead) -> Option<Value> {
    let mut length = None;
    loop {
        let mut line = String::new();
        if output.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.trim().parse::<usize>().ok();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length?];
    output.read_exact(&mut body).ok()?;
    serde_json::from_slice(&body).ok()
}

/// The place of the `nth` occurrence (from 0) of `what`, counted as the protocol does without being told otherwise.
pub(crate) fn place(text: &str, what: &str, nth: usize) -> Result<Value, String> {
    let (at, _) = text.match_indices(what).nth(nth).ok_or_else(|| format!("`{what}` is not in the text"))?;
    Ok(position(text, at))
}

/// The place of a byte.
fn position(text: &str, at: usize) -> Value {
    let before = &text[..at];
    let line = before.matches('\n').count();
    let column = before.rsplit('\n').next().unwrap_or_default().encode_utf16().count();
    json!({ "line": line, "character": column })
}

/// The text after the edits, all of which are of the text before.
pub(crate) fn edited(text: &str, edits: &Value) -> Result<String, String> {
    let mut changes: Vec<(usize, usize, String)> = Vec::new();
    for edit in edits.as_array().ok_or_else(|| format!("no edits: {edits}"))? {
        let offset = |end: &str| {
            let line = edit.pointer(&format!("/range/{end}/line")).and_then(Value::as_u64);
            let column = edit.pointer(&format!("/range/{end}/character")).and_then(Value::as_u64);
            line.zip(column).and_then(|place| byte(text, place)).ok_or_else(|| format!("no place: {edit}"))
        };
        let replacement = edit.get("newText").and_then(Value::as_str).unwrap_or_default();
        changes.push((offset("start")?, offset("end")?, replacement.to_owned()));
    }
    changes.sort_by_key(|(start, end, _)| (*start, *end));
    let mut result = text.to_owned();
    for (start, end, replacement) in changes.iter().rev() {
        result.replace_range(*start..*end, replacement);
    }
    Ok(result)
}

/// The byte at a place.
fn byte(text: &str, (line, column): (u64, u64)) -> Option<usize> {
    let line = usize::try_from(line).ok()?;
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let mut left = usize::try_from(column).ok()?;
    for (at, character) in text[start..].char_indices() {
        if left == 0 {
            return Some(start + at);
        }
        left = left.checked_sub(character.len_utf16())?;
    }
    (left == 0).then_some(text.len())
}
