//! What the crate reads through: the files of one tree.

use std::io;

/// A tree of files: that of an image, of a stage, or of a build context.
///
/// Paths are relative to the root of the tree, without a leading slash, as bytes: names in images need not be UTF-8.
pub trait Files {
    /// Shows every name below the root, each directory before what is in it, in byte order. Symbolic links are shown, not
    /// followed.
    ///
    /// # Errors
    /// [`FilesError`] when a directory cannot be listed or is nested too deeply.
    fn walk(&self, visit: &mut dyn FnMut(&Entry<'_>) -> Visit) -> Result<(), FilesError>;

    /// Opens the regular file at `path`, following links, none of which leads out of the tree. `None` when there is nothing
    /// or something that is no regular file.
    ///
    /// # Errors
    /// [`FilesError`] when the file is there but cannot be opened.
    fn open(&self, path: &[u8]) -> Result<Option<Box<dyn RandomAccess>>, FilesError>;
}

/// Something whose bytes can be read in any order.
pub trait RandomAccess {
    /// How many bytes there are.
    fn size_bytes(&self) -> u64;

    /// Reads into `buffer` from `offset` on; the number of bytes read is 0 only at the end.
    ///
    /// # Errors
    /// As `pread(2)`.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl RandomAccess for Vec<u8> {
    fn size_bytes(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
}

/// A name in a tree.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// The path from the root.
    pub path: &'a [u8],
    /// What stands there.
    pub kind: EntryKind,
}

impl<'a> Entry<'a> {
    /// The last component of the path.
    pub fn name(&self) -> &'a [u8] {
        self.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }
}

/// A type of file, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File {
        /// Whether anybody may execute it.
        executable: bool,
        /// Its size.
        size_bytes: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link, a device, a pipe or a socket.
    Other,
}

/// What a walk does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visit {
    /// Goes on.
    Continue,
    /// Leaves out what is in this directory.
    Skip,
    /// Ends.
    Stop,
}

/// A tree that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{path}`")]
pub struct FilesError {
    /// What was attempted, as an infinitive.
    pub action: &'static str,
    /// On which path, with what is no text replaced.
    pub path: String,
    /// Why it failed.
    #[source]
    pub source: io::Error,
}

/// A path as people and documents see it: what is no UTF-8 is replaced, control characters are escaped.
pub(crate) fn shown(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    if text.chars().any(char::is_control) { text.escape_debug().to_string() } else { text.into_owned() }
}
