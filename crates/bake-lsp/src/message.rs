//! The base protocol: a header with `Content-Length`, a blank line, and so many bytes of JSON-RPC 2.0.
//!
//! Nothing that a client sends ends the server: what is no header is skipped, what is no JSON is answered with an error, and a message
//! above the limit is read past.

use std::io::{self, BufRead, Read as _, Write};

use serde_json::{Value, json};

/// Largest message in bytes: a document of the largest size the parser takes (5 MiB), every character of it escaped.
pub(crate) const MESSAGE_BYTES_MAX: u64 = 40 << 20;

/// Longest header line in bytes.
const HEADER_BYTES_MAX: u64 = 8 << 10;

/// What was read.
#[derive(Debug, PartialEq)]
pub(crate) enum Incoming {
    /// A message.
    Message(Value),
    /// Something that is no message, and why.
    Broken(String),
}

/// Reads a message; `None` at the end of the input.
///
/// # Errors
/// The input cannot be read.
pub(crate) fn read_message(input: &mut impl BufRead) -> io::Result<Option<Incoming>> {
    let mut length: Option<u64> = None;
    loop {
        let Some(line) = header_line(input)? else { return Ok(None) };
        match (line.trim(), length) {
            ("", Some(length)) => return body(input, length).map(Some),
            ("", None) => {}
            (line, _) => {
                if let Some((name, value)) = line.split_once(':')
                    && name.trim().eq_ignore_ascii_case("content-length")
                {
                    match value.trim().parse() {
                        Ok(bytes) => length = Some(bytes),
                        Err(_) => return Ok(Some(Incoming::Broken("the header `Content-Length` is no number".into()))),
                    }
                }
            }
        }
    }
}

/// One line of the header. What a line has beyond the limit counts as another line.
fn header_line(input: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    input.by_ref().take(HEADER_BYTES_MAX).read_until(b'\n', &mut line)?;
    if line.is_empty() { Ok(None) } else { Ok(Some(String::from_utf8_lossy(&line).into_owned())) }
}

fn body(input: &mut impl BufRead, length: u64) -> io::Result<Incoming> {
    if length > MESSAGE_BYTES_MAX {
        io::copy(&mut input.by_ref().take(length), &mut io::sink())?;
        return Ok(Incoming::Broken(format!("the message is larger than {MESSAGE_BYTES_MAX} bytes")));
    }
    let mut bytes = Vec::new();
    input.by_ref().take(length).read_to_end(&mut bytes)?;
    Ok(match serde_json::from_slice(&bytes) {
        Ok(message) => Incoming::Message(message),
        Err(error) => Incoming::Broken(format!("the message is no JSON: {error}")),
    })
}

/// Writes a message.
///
/// # Errors
/// The output cannot be written.
pub(crate) fn write_message(output: &mut impl Write, message: &Value) -> io::Result<()> {
    let body = message.to_string();
    write!(output, "Content-Length: {}\r\n\r\n{body}", body.len())?;
    output.flush()
}

/// Why a request is refused: the codes of JSON-RPC and of the language server protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorCode {
    ParseError = -32700,
    InvalidRequest = -32600,
    MethodNotFound = -32601,
    InvalidParams = -32602,
    NotInitialized = -32002,
    RequestFailed = -32803,
    RequestCancelled = -32800,
}

/// A request that is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// The answer to a request.
pub(crate) fn response(id: &Value, result: Result<Value, Refusal>) -> Value {
    match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(refusal) => {
            let error = json!({ "code": refusal.code as i32, "message": refusal.message });
            json!({ "jsonrpc": "2.0", "id": id, "error": error })
        }
    }
}

/// A message that wants no answer.
#[expect(clippy::needless_pass_by_value, reason = "it goes into the message")]
pub(crate) fn notification(method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "method": method, "params": params })
}

/// A request of the server.
#[expect(clippy::needless_pass_by_value, reason = "it goes into the message")]
pub(crate) fn request(id: u64, method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    fn all(mut input: &[u8]) -> Vec<Incoming> {
        let mut found = Vec::new();
        while let Some(incoming) = read_message(&mut input).unwrap() {
            found.push(incoming);
        }
        found
    }

    #[test]
    fn messages_are_read_back() {
        let mut bytes = Vec::new();
        write_message(&mut bytes, &json!({ "a": "ö" })).unwrap();
        write_message(&mut bytes, &json!(2)).unwrap();
        assert_eq!(all(&bytes), [Incoming::Message(json!({ "a": "ö" })), Incoming::Message(json!(2))]);
    }

    #[test]
    fn what_is_broken_is_skipped() {
        let good = "content-length:1\r\nContent-Type: x\r\n\r\n7";
        for bad in [
            "Content-Length: 3\r\n\r\n{]}",
            "Content-Length: many\r\n\r\n",
            "nonsense\n\n",
            "\r\n\r\n",
            "Content-Length: 0\r\n\r\n",
            "Content-Length: -1\r\n\r\n",
        ] {
            let found = all(format!("{bad}{good}").as_bytes());
            assert_eq!(found.last(), Some(&Incoming::Message(json!(7))), "{bad}");
        }
        let long = "x".repeat(20_000);
        assert_eq!(all(format!("{long}\n{good}").as_bytes()), [Incoming::Message(json!(7))]);
        let found = all(format!("Content-Length: {}\r\n\r\nabc", u64::MAX).as_bytes());
        assert!(matches!(found.as_slice(), [Incoming::Broken(_)]), "{found:?}");
    }
}
