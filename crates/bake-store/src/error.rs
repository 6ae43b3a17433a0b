//! What can go wrong in the store, and on what.

use std::io;
use std::path::{Path, PathBuf};

use bake_oci::Digest;

/// Why an operation on the store failed.
///
/// The text names the attempt and its object; the cause is in [`std::error::Error::source`] and is not repeated.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no store at the path and creating one was not asked for.
    #[error("there is no bake store at `{path}`")]
    Missing {
        /// The directory that was to be opened.
        path: PathBuf,
    },

    /// The directory holds other things than a store, so it is not taken over.
    #[error("`{path}` is not a bake store and is not empty (it holds `{found}`)")]
    NotAStore {
        /// The directory that was to be opened.
        path: PathBuf,
        /// The name of one entry that does not belong to a store.
        found: String,
    },

    /// The store belongs to another user.
    #[error("the store `{path}` is owned by user {owner}, but this process runs as user {user}")]
    ForeignOwner {
        /// The file or directory with the wrong owner.
        path: PathBuf,
        /// The user ID that owns it.
        owner: u32,
        /// The user ID of this process.
        user: u32,
    },

    /// Others than the owner may write to the store.
    #[error("the store `{path}` can be written by other users (mode {mode:04o}); its mode must be 0700")]
    WritableByOthers {
        /// The file or directory with the wrong mode.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },

    /// The store was made by a bake with another on-disk format.
    #[error("`{path}` has store format {found}, but this bake reads format {supported}")]
    UnknownVersion {
        /// The file that holds the version.
        path: PathBuf,
        /// The version found, or the text that is no version.
        found: String,
        /// The version this code reads and writes.
        supported: u32,
    },

    /// The store keeps file owners in another way than the one asked for.
    #[error("the store `{path}` keeps file owners in `{found}` form, but `{wanted}` form is needed here")]
    OtherOwnership {
        /// The store's directory.
        path: PathBuf,
        /// The form that the store was created with.
        found: &'static str,
        /// The form that was asked for.
        wanted: &'static str,
    },

    /// The file system, or the user's quota on it, is full.
    #[error("no space left to {action} `{path}`")]
    DiskFull {
        /// What was attempted, as a verb phrase.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// A file operation failed.
    #[error("failed to {action} `{path}`")]
    Io {
        /// What was attempted, as a verb phrase.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },

    /// The content that was to be stored could not be read from its source.
    #[error("failed to read the content of blob {digest}")]
    Source {
        /// The digest of the blob, or `(new)` where it was not known.
        digest: String,
        /// The reader's error.
        #[source]
        source: io::Error,
    },

    /// The index failed.
    #[error("failed to {action} in the index `{path}`")]
    Index {
        /// What was attempted, as a verb phrase.
        action: &'static str,
        /// The index file.
        path: PathBuf,
        /// `SQLite`'s answer.
        #[source]
        source: Box<rusqlite::Error>,
    },

    /// The index file is damaged; `bake fsck --rebuild` makes a new one.
    #[error("the index `{path}` is damaged")]
    IndexDamaged {
        /// The index file.
        path: PathBuf,
        /// `SQLite`'s answer.
        #[source]
        source: Box<rusqlite::Error>,
    },

    /// Another process held the index for longer than the time-out.
    #[error("another process kept the index `{path}` locked for more than {waited_s} s")]
    IndexBusy {
        /// The index file.
        path: PathBuf,
        /// How long this process waited, in seconds.
        waited_s: u64,
    },

    /// Another process holds what an exclusive operation needs.
    #[error("{what} is in use by {holder}")]
    Locked {
        /// What is held.
        what: String,
        /// Who holds it, as far as known.
        holder: String,
    },

    /// The content is not what its digest says.
    #[error("the content has digest {actual}, but {expected} was expected")]
    DigestMismatch {
        /// The digest that was asked for.
        expected: Digest,
        /// The digest of the bytes.
        actual: Digest,
    },

    /// The content is longer than allowed.
    #[error("the content of {what} is larger than the limit of {limit_bytes} bytes")]
    TooLarge {
        /// What was being written or read.
        what: String,
        /// The limit in bytes.
        limit_bytes: u64,
    },

    /// Something that is referred to is not in the store.
    #[error("{what} is not in the store")]
    NotFound {
        /// What was looked for.
        what: String,
    },

    /// A name or text given by the caller cannot be stored.
    #[error("cannot use `{text}` as {role}: {reason}")]
    InvalidText {
        /// The text, cut to 128 characters.
        text: String,
        /// What it was to be used as.
        role: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// A small file of the store does not hold what it should.
    #[error("`{path}` is damaged")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// Whether the cause is a full disk or quota (the hint is then to prune).
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::DiskFull { .. })
    }

    /// An error of a file operation; a full disk or quota becomes its own variant.
    pub(crate) fn io(action: &'static str, path: impl AsRef<Path>, source: io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        if is_full(&source) {
            Self::DiskFull { action, path, source: Box::new(source) }
        } else {
            Self::Io { action, path, source }
        }
    }

    /// An error for text that a caller passed and the store refuses.
    pub(crate) fn invalid_text(text: &str, role: &'static str, reason: &'static str) -> Self {
        Self::InvalidText { text: text.chars().take(128).collect(), role, reason }
    }
}

/// Whether `error` means that the file system or the quota is exhausted.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Attaches what was attempted on which path to an I/O error.
pub(crate) trait AtPath<T> {
    /// Turns the error into a [`StoreError`] for `action` on `path`.
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T, StoreError>;
}

impl<T> AtPath<T> for io::Result<T> {
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::io(action, path, source))
    }
}

impl<T> AtPath<T> for rustix::io::Result<T> {
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T, StoreError> {
        self.map_err(|errno| StoreError::io(action, path, errno.into()))
    }
}
