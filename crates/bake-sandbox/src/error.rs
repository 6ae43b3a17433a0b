//! What can go wrong with a step other than its own failure.

use std::io;

use serde::{Deserialize, Serialize};

/// A step could not be run. A command that ran and failed is not an error but an exit code.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The step's description makes no sense; nothing was started.
    #[error("the step cannot be run: {reason}")]
    InvalidStep {
        /// What is wrong, naming the field.
        reason: String,
    },
    /// A system call of this process failed, before or while the step ran.
    #[error("failed to run the sandbox while {action}")]
    Host {
        /// What was attempted.
        action: String,
        /// Why it failed.
        #[source]
        source: io::Error,
        /// What the user can do about it, if anything is known.
        hint: Option<String>,
    },
    /// The sandbox could not be set up; the command was not started.
    #[error("failed to set up the sandbox while {stage}")]
    Setup {
        /// What was attempted, for example ``mounting `/proc` ``.
        stage: String,
        /// Why it failed.
        #[source]
        source: io::Error,
        /// What the user can do about it, if anything is known.
        hint: Option<String>,
    },
    /// The command could not be executed.
    #[error("{0}")]
    Execute(ExecuteFailure),
    /// The sandbox's first process ended without a report, although nobody killed it through a `Killer`.
    #[error("the sandbox ended unexpectedly ({how})")]
    Died {
        /// The signal or status with which it ended.
        how: String,
    },
}

impl SandboxError {
    /// What the user can do about it, if anything is known.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Host { hint, .. } | Self::Setup { hint, .. } => hint.as_deref(),
            Self::Execute(failure) => failure.hint(),
            Self::InvalidStep { .. } | Self::Died { .. } => None,
        }
    }

    /// Whether the cause is a full disk or quota.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Host { source, .. } | Self::Setup { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            Self::InvalidStep { .. } | Self::Execute(_) | Self::Died { .. } => false,
        }
    }

    pub(crate) fn host(action: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Host { action: action.into(), source: source.into(), hint: None }
    }
}

/// Why the command of a step could not be executed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecuteFailure {
    /// The first of the step's arguments.
    pub program: String,
    /// What kind of failure.
    pub kind: ExecuteFailureKind,
}

/// The kinds of [`ExecuteFailure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExecuteFailureKind {
    /// A name without a slash is in none of the directories of `PATH`.
    NotInPath,
    /// A path names nothing.
    NotFound,
    /// The file exists, but the interpreter of its first line, or its dynamic loader, does not.
    InterpreterNotFound,
    /// Not executable, a directory, or in a directory the user may not enter.
    PermissionDenied,
    /// Neither a program of this machine nor a script with `#!`.
    FormatUnknown,
    /// Anything else.
    Other {
        /// The error number.
        errno: i32,
    },
}

impl ExecuteFailure {
    /// The exit code shells give: 127 when the command was not found, 126 when it could not be executed.
    pub fn exit_code(&self) -> i32 {
        match self.kind {
            ExecuteFailureKind::NotInPath | ExecuteFailureKind::NotFound => 127,
            _ => 126,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self.kind {
            ExecuteFailureKind::InterpreterNotFound => Some(
                "the file is there, but the interpreter in its `#!` line or its dynamic loader is not in the image",
            ),
            ExecuteFailureKind::FormatUnknown => {
                Some("the file may be for another architecture, or a script without a `#!` line")
            }
            _ => None,
        }
    }
}

impl std::fmt::Display for ExecuteFailure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Debug quotes and escapes: the program's name comes from outside and ends up on terminals.
        write!(formatter, "exec: {:?}: ", self.program)?;
        match self.kind {
            ExecuteFailureKind::NotInPath => formatter.write_str("executable file not found in $PATH"),
            ExecuteFailureKind::NotFound | ExecuteFailureKind::InterpreterNotFound => {
                formatter.write_str("no such file or directory")
            }
            ExecuteFailureKind::PermissionDenied => formatter.write_str("permission denied"),
            ExecuteFailureKind::FormatUnknown => formatter.write_str("exec format error"),
            ExecuteFailureKind::Other { errno } => io::Error::from_raw_os_error(errno).fmt(formatter),
        }
    }
}
