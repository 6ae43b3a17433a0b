//! A language server for Dockerfiles: the linter, the formatter and the parser, in an editor.
//!
//! Purpose: diagnostics, quick fixes, hovers, completions, names (go to, find, rename), outline, folding and formatting, by the language
//! server protocol 3.17.
//!
//! Entry point: [`serve`], which speaks to one editor until it ends the session. What it has to know of the files around a document
//! comes through [`Workspace`].
//!
//! Invariants: nothing that a client sends ends the session but `exit` and the end of the input; every request is answered once, in
//! order unless it is cancelled; diagnostics are those of the text whose version they carry. A document's tree and findings are always
//! of the same text.
//!
//! Must not: open files or sockets, start programs, read the environment, print: input and output are given.
#![forbid(unsafe_code)]

mod actions;
mod completion;
mod diagnostics;
mod document;
mod hover;
mod language;
mod message;
mod names;
mod outline;
mod position;
mod protocol;
mod server;
mod symbols;
mod variables;
mod workspace;

use std::collections::VecDeque;
use std::io::{self, BufReader, Read, Write};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use serde_json::Value;

use crate::message::{ErrorCode, Incoming, Refusal, read_message, response, write_message};
use crate::server::Server;
pub use crate::workspace::{ContextEntry, Workspace};

/// Most messages that are read ahead. A client that sends more waits.
const MESSAGES_AHEAD_MAX: usize = 256;

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEnd {
    /// By `shutdown` and `exit`.
    Orderly,
    /// By `exit` alone, or the input ended.
    Abrupt,
}

/// Why a session could not go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The editor cannot be written to.
    #[error("cannot write to the editor")]
    Write(#[source] io::Error),
    /// The editor cannot be read from.
    #[error("cannot read from the editor")]
    Read(#[source] io::Error),
}

/// Speaks to an editor until the session ends. `version` is what the server calls its version.
///
/// Messages are read on a thread of their own, so that a request that was cancelled while others were answered is not begun, and a
/// document is checked when nothing else is waiting: fast typing is checked once. That thread ends when `input` does.
///
/// # Errors
/// The editor cannot be read from or written to.
pub fn serve(
    input: impl Read + Send + 'static,
    output: impl Write,
    workspace: &dyn Workspace,
    version: &str,
) -> Result<SessionEnd, ServeError> {
    let (sender, receiver) = sync_channel(MESSAGES_AHEAD_MAX);
    std::thread::spawn(move || {
        let mut input = BufReader::new(input);
        loop {
            let read = read_message(&mut input).transpose();
            let is_last = !matches!(read, Some(Ok(_)));
            // Nobody listens any more when the session has ended.
            if sender.send(read).is_err() || is_last {
                return;
            }
        }
    });
    let mut session =
        Session { server: Server::new(workspace, version), output, waiting: VecDeque::new(), is_over: false };
    session.run(&receiver)
}

/// What the reader hands over: a message, the end of the input, or that it cannot be read.
type ReadResult = Option<io::Result<Incoming>>;

struct Session<'w, O> {
    server: Server<'w>,
    output: O,
    waiting: VecDeque<Incoming>,
    /// Whether the input has ended.
    is_over: bool,
}

impl<O: Write> Session<'_, O> {
    fn run(&mut self, receiver: &Receiver<ReadResult>) -> Result<SessionEnd, ServeError> {
        loop {
            self.take_all(receiver)?;
            if let Some(incoming) = self.waiting.pop_front() {
                let replies = match incoming {
                    Incoming::Message(message) => self.server.handle(message),
                    Incoming::Broken(problem) => Server::broken(&problem),
                };
                self.send(&replies)?;
                if let Some(orderly) = self.server.ended() {
                    return Ok(if orderly { SessionEnd::Orderly } else { SessionEnd::Abrupt });
                }
            } else if self.server.has_work() {
                let replies = self.server.check_next();
                self.send(&replies)?;
            } else if self.is_over {
                return Ok(SessionEnd::Abrupt);
            } else {
                match receiver.recv() {
                    Ok(read) => self.take(read)?,
                    Err(_) => self.is_over = true,
                }
            }
        }
    }

    /// Takes what has been read so far.
    fn take_all(&mut self, receiver: &Receiver<ReadResult>) -> Result<(), ServeError> {
        while self.waiting.len() < MESSAGES_AHEAD_MAX {
            match receiver.try_recv() {
                Ok(read) => self.take(read)?,
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => {
                    self.is_over = true;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, read: ReadResult) -> Result<(), ServeError> {
        match read {
            None => self.is_over = true,
            Some(Err(error)) => return Err(ServeError::Read(error)),
            Some(Ok(Incoming::Message(message))) if message.get("method") == Some(&"$/cancelRequest".into()) => {
                self.cancel(message.pointer("/params/id"))?;
            }
            Some(Ok(incoming)) => self.waiting.push_back(incoming),
        }
        Ok(())
    }

    /// Drops a request that has not been begun. One that has been answered cannot be cancelled.
    fn cancel(&mut self, id: Option<&Value>) -> Result<(), ServeError> {
        let Some(id) = id else { return Ok(()) };
        let is_meant = |incoming: &Incoming| match incoming {
            Incoming::Message(message) => message.get("id") == Some(id) && message.get("method").is_some(),
            Incoming::Broken(_) => false,
        };
        if let Some(place) = self.waiting.iter().position(is_meant) {
            self.waiting.remove(place);
            let refusal = Refusal::new(ErrorCode::RequestCancelled, "cancelled");
            self.send(&[response(id, Err(refusal))])?;
        }
        Ok(())
    }

    fn send(&mut self, messages: &[Value]) -> Result<(), ServeError> {
        messages.iter().try_for_each(|message| write_message(&mut self.output, message)).map_err(ServeError::Write)
    }
}
