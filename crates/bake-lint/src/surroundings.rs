//! What a caller may know beyond the text of a Dockerfile: the build context, and the configs of the images it begins from.
//!
//! Rules never look themselves: linting the same text with the same surroundings gives the same findings. A rule that needs what is
//! not known stays silent.

use std::fmt;

/// The build context that the Dockerfile would be built with. Asked lazily: a context may be large.
pub trait BuildContext: fmt::Debug + Send + Sync {
    /// The ignore file in force, if there is one.
    fn ignore_file(&self) -> Option<IgnoreFile>;

    /// What a source of `COPY` or `ADD` (a path or pattern, expanded, relative to the context) would find.
    fn find(&self, source: &str) -> Found;

    /// What is sent to builds although hardly any image wants it (`.git`, `node_modules`, keys, ...), the largest first.
    fn unwanted(&self) -> Vec<UnwantedPath>;
}

/// The ignore file of a build context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IgnoreFile {
    /// Its name for messages, such as `.dockerignore`.
    pub name: String,
    /// What it holds.
    pub text: String,
}

/// What a source of `COPY` finds in the build context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// At least one file or directory that is sent.
    Present,
    /// Nothing of that name.
    Missing {
        /// A name in the context that is close to it.
        near: Option<String>,
    },
    /// Only what the ignore file excludes.
    Ignored {
        /// The pattern that excludes it, as written.
        pattern: String,
    },
}

/// Something in the build context that images rarely want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnwantedPath {
    /// Relative to the context.
    pub path: String,
    /// Bytes of all files in it; a lower bound where counting stopped at a limit.
    pub bytes: u64,
    /// Whether it is likely to be secret (`.env`, `*.pem`, `id_rsa`), not just large.
    pub secret: bool,
}

/// What the config of an image says, as far as rules ask.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageFacts {
    /// `User`; empty for none.
    pub user: String,
    /// `Shell`; empty for the default.
    pub shell: Vec<String>,
    /// Names of the environment variables.
    pub environment: Vec<String>,
    /// `WorkingDir`; empty for none.
    pub working_directory: String,
    /// Whether it has a health check.
    pub has_healthcheck: bool,
    /// Operating system and architecture, such as `linux/arm64`.
    pub platform: String,
}
