//! Why a tree could not be served, or its record is worth nothing.

use std::io;

use bake_snapshot::SnapshotError;
use rustix::io::Errno;

/// A tree cannot be served, or what was recorded of it must not be used.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// `/dev/fuse` is missing, may not be opened here, or is no FUSE device.
    #[error("cannot open `/dev/fuse`")]
    Device {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel refused the mount.
    #[error("cannot mount the traced tree: {stage}{messages}")]
    Mount {
        /// What was attempted.
        stage: &'static str,
        /// What the kernel said about it, in parentheses; empty when nothing.
        messages: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A thread or a descriptor for the server could not be had.
    #[error("cannot start serving the traced tree")]
    Start {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel's FUSE is older than Linux 5.4's.
    #[error("the kernel's FUSE protocol is too old for tracing")]
    TooOld,
    /// The tree could not be read. Whoever asked got an input/output error.
    #[error("the traced tree cannot be read")]
    Tree {
        /// Why.
        #[source]
        source: SnapshotError,
    },
    /// A file of the tree could not be read. Whoever asked got an input/output error.
    #[error("cannot read `{path}` of the traced tree")]
    Read {
        /// The file, escaped for people.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The tree is not any more what it was.
    #[error("`{path}` of the traced tree changed while it was served")]
    Changed {
        /// The file, escaped for people.
        path: String,
    },
    /// The kernel asked something that makes no sense.
    #[error("a request of the kernel was not understood: {what}")]
    Protocol {
        /// What is wrong with it.
        what: &'static str,
    },
    /// A message could not be exchanged with the kernel.
    #[error("cannot {action} the kernel")]
    Exchange {
        /// An infinitive with its preposition: "read from".
        action: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel ended the connection while the tree was in use.
    #[error("the kernel closed the connection to the traced tree")]
    Disconnected,
    /// More was asked than is kept.
    #[error("more than {limit} paths of the traced tree were asked for")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The server's thread panicked.
    #[error("the server of the traced tree ended unexpectedly")]
    Ended,
}

impl TraceError {
    pub(crate) fn changed(path: &[u8]) -> Self {
        Self::Changed { path: display(path) }
    }

    pub(crate) fn exchange(action: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| Self::Exchange { action, source: errno.into() }
    }
}

impl From<SnapshotError> for TraceError {
    fn from(source: SnapshotError) -> Self {
        Self::Tree { source }
    }
}

/// `path` for people.
pub(crate) fn display(path: &[u8]) -> String {
    if path.is_empty() { "/".to_owned() } else { String::from_utf8_lossy(path).escape_debug().to_string() }
}
