//! What the sandbox's first process tells the process that started it, over a pipe.
//!
//! Each message is one line of JSON, shorter than `PIPE_BUF` so that it arrives whole also when two processes write.
//! A process that fails before it executes its program writes a [`StartFailure`] instead, which begins with a byte that
//! begins no JSON.

use std::os::fd::BorrowedFd;

use bake_sys::Errno;
use bake_sys::process::StartFailure;
use serde::{Deserialize, Serialize};

use crate::error::ExecuteFailure;

/// The most bytes of messages that are read: a handful of lines of at most 4 KiB.
pub(crate) const STATUS_BYTES_MAX: usize = 64 * 1024;
/// Longer texts are cut, so that a message stays below `PIPE_BUF` also when every byte needs escaping.
const TEXT_BYTES_MAX: usize = 512;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Message {
    /// Everything is set up, the command is about to be started.
    Ready,
    /// The sandbox could not be set up.
    SetupFailed(SetupFailure),
    /// The command could not be executed.
    ExecuteFailed(ExecuteFailure),
    /// The command has ended, and so has everything it left running.
    Ended(CommandEnd),
}

/// A failed stage of the set-up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SetupFailure {
    pub(crate) stage: String,
    pub(crate) errno: i32,
    pub(crate) hint: Option<String>,
}

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CommandEnd {
    pub(crate) exit_code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) user_us: u64,
    pub(crate) system_us: u64,
    pub(crate) max_rss_bytes: u64,
    pub(crate) read_bytes: u64,
    pub(crate) written_bytes: u64,
    pub(crate) wall_us: u64,
}

/// The writing end.
pub(crate) fn send(pipe: BorrowedFd<'_>, message: &Message) {
    let Ok(mut line) = serde_json::to_vec(message) else { return };
    line.push(b'\n');
    // A reader that is gone has killed this sandbox or is about to: there is nobody to tell.
    while matches!(rustix::io::write(pipe, &line), Err(Errno::INTR)) {}
}

impl SetupFailure {
    pub(crate) fn new(stage: impl Into<String>, errno: Errno) -> Self {
        Self { stage: cut(stage.into()), errno: errno.raw_os_error(), hint: None }
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(cut(hint.into()));
        self
    }
}

/// Cuts a text that came from outside to [`TEXT_BYTES_MAX`].
pub(crate) fn cut(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text.push_str("...");
    }
    text
}

/// Names what a failed call was for.
pub(crate) trait Stage<T> {
    /// Turns an error number into a [`SetupFailure`] at this stage.
    fn stage(self, stage: impl FnOnce() -> String) -> Result<T, SetupFailure>;
}

impl<T> Stage<T> for Result<T, Errno> {
    fn stage(self, stage: impl FnOnce() -> String) -> Result<T, SetupFailure> {
        self.map_err(|errno| SetupFailure::new(stage(), errno))
    }
}

/// The bytes received so far.
#[derive(Debug, Default)]
pub(crate) struct Received {
    bytes: Vec<u8>,
}

/// One received message.
#[derive(Debug)]
pub(crate) enum Report {
    Message(Message),
    NotStarted(StartFailure),
}

impl Received {
    /// Adds what was read; what is beyond [`STATUS_BYTES_MAX`] is dropped.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        let room = STATUS_BYTES_MAX.saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
    }

    /// Takes the next complete message; lines that are none are dropped.
    pub(crate) fn next(&mut self) -> Option<Report> {
        if let Some(failure) = StartFailure::decode(&self.bytes) {
            self.bytes.clear();
            return Some(Report::NotStarted(failure));
        }
        loop {
            let end = self.bytes.iter().position(|byte| *byte == b'\n')?;
            let line: Vec<u8> = self.bytes.drain(..=end).collect();
            if let Ok(message) = serde_json::from_slice(&line) {
                return Some(Report::Message(message));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;

    #[test]
    fn messages_arrive_in_pieces() {
        let failure = SetupFailure::new("mounting `/proc`", Errno::PERM).with_hint("x".repeat(5000));
        let mut line = serde_json::to_vec(&Message::SetupFailed(failure.clone())).unwrap();
        assert!(line.len() < 4096);
        line.push(b'\n');
        let mut received = Received::default();
        for byte in &line[..line.len() - 1] {
            received.extend(&[*byte]);
            assert!(received.next().is_none());
        }
        received.extend(b"\n");
        let Some(Report::Message(message)) = received.next() else { panic!("a message") };
        assert_eq!(message, Message::SetupFailed(failure));
    }
}
