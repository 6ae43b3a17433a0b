//! The one error type of the crate.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use bake_oci::{LayerReadError, LayerWriteError};
use bake_sys::Errno;

use crate::overlay::LOWERS_MAX;
use crate::walk::DEPTH_MAX;

/// What went wrong with a layer directory, a mount or a layer archive, and on which path.
///
/// Paths are escaped: they come from images and build steps and may hold any byte.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// A system call on a file failed.
    #[error("cannot {action} `{path}`")]
    Io {
        /// What was attempted, as an infinitive.
        action: &'static str,
        /// On which path.
        path: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The kernel refused the overlay mount.
    #[error("cannot mount an overlay of {lowers} layers: {stage}{messages}")]
    Mount {
        /// How many lower directories there were.
        lowers: usize,
        /// Which part of the mounting failed.
        stage: &'static str,
        /// What the kernel said, with a leading separator; empty when it said nothing.
        messages: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The file system cannot be mounted with mapped ids; mount without an id map, or copy.
    #[error("the file system of `{path}` does not support id-mapped mounts")]
    IdMapRefused {
        /// The layer directory.
        path: String,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// Overlay fell back to a read-only mount, which it does silently when the work directory is unusable.
    #[error("the overlay on `{upper}` came up read-only: the work directory is stale or not writable{messages}")]
    ReadOnlyMount {
        /// The upper directory.
        upper: String,
        /// What the kernel said, with a leading separator.
        messages: String,
    },
    /// Overlay takes at most [`LOWERS_MAX`] lower directories.
    #[error("{count} layers are more than overlay's limit of {LOWERS_MAX}; some must be flattened first")]
    TooManyLowers {
        /// How many there were.
        count: usize,
    },
    /// Where layers are copied instead of mounted, none of them can be a mount.
    #[error("a served tree can only be mounted, and layers are copied here")]
    ServedRefused,
    /// The upper and the work directory must be two different directories of one parent directory.
    #[error("`{upper}` and `{work}` are not two directories of one parent directory")]
    NotSiblings {
        /// The upper directory.
        upper: String,
        /// The work directory.
        work: String,
    },
    /// A directory tree is nested too deeply.
    #[error("`{path}` is nested deeper than {DEPTH_MAX} directories")]
    TooDeep {
        /// The directory.
        path: String,
    },
    /// A file was written to while it was being read.
    #[error("`{path}` changed while it was being read")]
    Changed {
        /// The file.
        path: String,
    },
    /// A file of a layer holds something else than when the layer was made.
    #[error("`{path}` of the layer is damaged: its content is not what it was when the layer was made")]
    Damaged {
        /// The file.
        path: String,
    },
    /// A file name that layer archives reserve for deletions (OCI image layer specification, "Whiteouts").
    #[error("`{path}` cannot be stored in a layer: names beginning with `.wh.` mean deletions there")]
    ReservedName {
        /// The file.
        path: String,
    },
    /// An entry of a layer archive that is not applied.
    #[error("refused layer entry `{path}`: {reason}")]
    RefusedEntry {
        /// The entry's name.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A layer archive exceeds a limit.
    #[error("the layer has more than {limit} {what}")]
    Limit {
        /// What was counted.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A layer archive could not be written.
    #[error("cannot write the layer archive")]
    WriteLayer {
        /// Why.
        #[source]
        source: LayerWriteError,
    },
    /// A layer archive could not be read.
    #[error("cannot read the layer archive")]
    ReadLayer {
        /// Why.
        #[source]
        source: LayerReadError,
    },
    /// A hard link names a file that is nowhere.
    #[error("`{path}` is a hard link to `{target}`, which neither its layer nor the layers below hold")]
    MissingLinkTarget {
        /// The link.
        path: String,
        /// What it should be the same file as.
        target: String,
    },
    /// Something else than a regular file stands where a file is needed.
    #[error("`{path}` is not a regular file")]
    NotAFile {
        /// The path.
        path: String,
    },
    /// A file that is read as a whole is larger than its reader allows.
    #[error("`{path}` is larger than {limit} bytes")]
    TooLarge {
        /// The file.
        path: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// A file that must be text is not UTF-8.
    #[error("`{path}` is not UTF-8 text")]
    NotText {
        /// The file.
        path: String,
    },
}

/// The result of an operation of this crate.
pub type Result<T> = std::result::Result<T, SnapshotError>;

impl SnapshotError {
    /// The error number of the system call that failed, if one did.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Io { source, .. } | Self::Mount { source, .. } | Self::IdMapRefused { source, .. } => {
                source.raw_os_error().map(Errno::from_raw_os_error)
            }
            _ => None,
        }
    }
}

/// Attaches what was attempted, and on what, to the error of a system call.
pub(crate) trait At<T> {
    /// `action` is an infinitive: "open", "set the owner of".
    fn at(self, action: &'static str, path: &[u8]) -> Result<T>;
}

impl<T> At<T> for std::result::Result<T, Errno> {
    fn at(self, action: &'static str, path: &[u8]) -> Result<T> {
        self.map_err(|errno| SnapshotError::Io { action, path: display(path), source: errno.into() })
    }
}

impl<T> At<T> for io::Result<T> {
    fn at(self, action: &'static str, path: &[u8]) -> Result<T> {
        self.map_err(|source| SnapshotError::Io { action, path: display(path), source })
    }
}

/// `path` for people: printable text as it is, control characters and invalid UTF-8 escaped, `/` for the empty path.
pub(crate) fn display(path: &[u8]) -> String {
    if path.is_empty() {
        return "/".to_owned();
    }
    let mut text = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// [`display`] of a host path.
pub(crate) fn display_path(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    display(path.as_os_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_escaped() {
        assert_eq!(display(b""), "/");
        assert_eq!(display("a/é".as_bytes()), "a/é");
        assert_eq!(display(b"a\x1b[31m\n\xff"), "a\\u{1b}[31m\\n\\xff");
    }
}
