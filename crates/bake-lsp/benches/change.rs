//! What an editor waits for: the time from a key to the diagnostics of the changed text, completion, and formatting. Prints the
//! median of several, by the clock, since somebody is waiting; and the fastest, which neighbours on the machine disturb least.
//!
//! `cargo bench -p bake-lsp`.
#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]
#![expect(clippy::unwrap_used, reason = "the inputs are made here")]

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use bake_lint::LintOptions;
use bake_lsp::{ContextEntry, Workspace, serve};
use serde_json::{Value, json};

const ITERATIONS: usize = 41;

/// 12 lines of a stage, a quarter of them `RUN`.
const STAGE: &str = "FROM docker.io/library/debian:12.5-slim AS stage-NUMBER
ARG VERSION=1.2.3
ENV PATH=\"/opt/tool/bin:$PATH\" LANG=C.UTF-8
LABEL org.opencontainers.image.title=\"service\"
RUN apt-get update && apt-get install -y --no-install-recommends curl git && rm -rf /var/lib/apt/lists/*
WORKDIR /src/service
COPY --chown=1000:1000 go.mod go.sum /src/service/
RUN --mount=type=cache,target=/root/.cache go build -ldflags \"-X main.version=${VERSION}\" -o /out/service ./cmd
RUN set -eux; test \"$(/out/service --version)\" = \"${VERSION}\" || { echo 'wrong' >&2; exit 1; }
USER 1000:1000
EXPOSE 8080/tcp
CMD [\"/out/service\", \"--log-level\", \"info\"]
";

/// Nothing around the document.
#[derive(Debug)]
struct Nothing;

impl Workspace for Nothing {
    fn lint_options(
        &self,
        _document: Option<&Path>,
        _tree: &bake_dockerfile::Dockerfile,
    ) -> Result<LintOptions, String> {
        Ok(LintOptions::default())
    }

    fn forget(&self) {}

    fn context_entries(&self, _document: &Path, _directory: &str) -> Vec<ContextEntry> {
        Vec::new()
    }

    fn context_directory(&self, _document: &Path) -> Option<PathBuf> {
        None
    }

    fn watched_files(&self) -> Vec<String> {
        Vec::new()
    }
}

/// One end of a pipe in memory.
struct PipeReader {
    receiver: Receiver<Vec<u8>>,
    rest: Vec<u8>,
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            match self.receiver.recv() {
                Ok(bytes) => self.rest = bytes,
                Err(_) => return Ok(0),
            }
        }
        let length = buffer.len().min(self.rest.len());
        buffer[..length].copy_from_slice(&self.rest[..length]);
        self.rest.drain(..length);
        Ok(length)
    }
}

/// The other end: hands over whole messages, which are written in one piece and flushed.
struct PipeWriter {
    sender: Sender<Vec<u8>>,
    written: Vec<u8>,
}

impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = self.sender.send(std::mem::take(&mut self.written));
        Ok(())
    }
}

fn frame(message: &Value) -> Vec<u8> {
    let body = message.to_string();
    format!("Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// The median and the fastest.
fn shown(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    format!("{:.1} ms ({:.1})", milliseconds(times[times.len() / 2]), milliseconds(times[0]))
}

fn main() {
    for lines in [100, 1_000, 5_000] {
        let (to_server, input) = channel();
        let (sender, from_server) = channel();
        std::thread::spawn(move || {
            let output = PipeWriter { sender, written: Vec::new() };
            serve(PipeReader { receiver: input, rest: Vec::new() }, output, &Nothing, "bench").unwrap();
        });
        let send = |message: &Value| to_server.send(frame(message)).unwrap();
        let ask = |id: u64, method: &str, params: Value| {
            let start = Instant::now();
            send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
            let answer: Vec<u8> = from_server.recv().unwrap();
            assert!(String::from_utf8_lossy(&answer).contains("\"result\""), "{method} was refused");
            start.elapsed()
        };
        ask(1, "initialize", json!({ "capabilities": {} }));
        send(&json!({ "jsonrpc": "2.0", "method": "initialized", "params": {} }));
        let text: String = (0..lines / 12).map(|number| STAGE.replace("NUMBER", &number.to_string())).collect();
        let document = json!({ "uri": "x:Dockerfile", "languageId": "dockerfile", "version": 1, "text": text });
        send(&json!({ "jsonrpc": "2.0", "method": "textDocument/didOpen", "params": { "textDocument": document } }));
        from_server.recv().unwrap();
        let place = json!({ "line": lines / 2, "character": 0 });
        let mut changes = Vec::new();
        for version in 0..ITERATIONS {
            let change = json!([{ "range": { "start": place, "end": place }, "text": "#" }]);
            let params = json!({
                "textDocument": { "uri": "x:Dockerfile", "version": version + 2 },
                "contentChanges": change,
            });
            let start = Instant::now();
            send(&json!({ "jsonrpc": "2.0", "method": "textDocument/didChange", "params": params }));
            let found = from_server.recv().unwrap();
            changes.push(start.elapsed());
            assert!(String::from_utf8_lossy(&found).contains("publishDiagnostics"));
        }
        let at = json!({ "textDocument": { "uri": "x:Dockerfile" }, "position": place });
        let times = |method: &str| shown((0..ITERATIONS).map(|_| ask(2, method, at.clone())).collect());
        println!(
            "{lines:>5} lines: change to diagnostics {}, completion {}, hover {}, formatting {}",
            shown(changes),
            times("textDocument/completion"),
            times("textDocument/hover"),
            times("textDocument/formatting"),
        );
    }
}
