//! One entry of a layer archive, apart from its content.

use std::collections::BTreeMap;

use crate::layer::{COMPONENT_BYTES_MAX, PATH_BYTES_MAX};
use crate::time::Timestamp;

/// The bits of a mode that an archive holds: permissions, set-user-ID, set-group-ID and sticky.
pub const MODE_MASK: u32 = 0o7777;

/// A file, directory, link or device in a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name relative to the root, without leading `/` or `./` and without trailing `/`; empty for the root itself.
    /// Any bytes but NUL.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits with set-user-ID, set-group-ID and sticky, `0o7777` at most.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// When the content was last modified.
    pub mtime: Timestamp,
    /// Extended attributes: names such as `security.capability`, raw values.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What an [`Entry`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file with `size` bytes of content.
    File {
        /// Bytes of content.
        size: u64,
    },
    /// Another name of a file that came earlier, or that is in a lower layer.
    HardLink {
        /// The file's name, in the form of [`Entry::path`].
        target: Vec<u8>,
    },
    /// A symbolic link.
    Symlink {
        /// What the link says, byte for byte.
        target: Vec<u8>,
    },
    /// A directory.
    Directory,
    /// A character device.
    CharacterDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

impl Entry {
    /// An entry owned by root at the epoch, without extended attributes.
    pub fn new(path: impl Into<Vec<u8>>, kind: EntryKind, mode: u32) -> Self {
        Self { path: path.into(), kind, mode, uid: 0, gid: 0, mtime: Timestamp::EPOCH, xattrs: BTreeMap::new() }
    }

    /// The bytes of content that follow the entry; zero for everything but files.
    pub fn size(&self) -> u64 {
        match self.kind {
            EntryKind::File { size } => size,
            _ => 0,
        }
    }

    /// The part of the name after the last `/`.
    pub fn file_name(&self) -> &[u8] {
        self.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }

    /// The part of the name before the last `/`; empty for entries in the root.
    pub fn parent(&self) -> &[u8] {
        self.path.iter().rposition(|byte| *byte == b'/').map_or(&[], |slash| &self.path[..slash])
    }

    /// The name for people: lossy UTF-8, with control characters escaped so that it is safe on a terminal.
    pub fn display_path(&self) -> String {
        display_path(&self.path)
    }
}

/// A name for people: lossy UTF-8, with control characters escaped so that it is safe on a terminal, at most 256
/// characters.
pub fn display_path(path: &[u8]) -> String {
    if path.is_empty() {
        return "/".to_owned();
    }
    let mut text = String::new();
    for (count, character) in String::from_utf8_lossy(path).chars().enumerate() {
        if count == 256 {
            text.push_str("...");
            break;
        }
        if character.is_control() {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
    text
}

/// Why a name is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A `..` would lead out of the directory it stands in.
    #[error("it has a `..` component")]
    ParentComponent,
    /// No file system can hold it.
    #[error("it has a NUL byte")]
    Nul,
    /// No file system can hold it.
    #[error("it is longer than {PATH_BYTES_MAX} bytes")]
    TooLong,
    /// No file system can hold it.
    #[error("it has a component longer than {COMPONENT_BYTES_MAX} bytes")]
    ComponentTooLong,
    /// Only a directory can be the root.
    #[error("it is empty")]
    Empty,
    /// A leading or trailing slash, an empty or a `.` component, where a clean name is asked for.
    #[error("it is not in its shortest form")]
    NotClean,
}

/// Brings a name out of an archive into the form of [`Entry::path`]: leading `/` and `./`, repeated slashes, `.`
/// components and trailing slashes are dropped; `..`, NUL and names too long for Linux are errors.
pub fn clean_name(raw: &[u8]) -> Result<Vec<u8>, NameError> {
    if raw.contains(&0) {
        return Err(NameError::Nul);
    }
    let mut clean = Vec::with_capacity(raw.len());
    for component in raw.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => continue,
            b".." => return Err(NameError::ParentComponent),
            _ if component.len() > COMPONENT_BYTES_MAX => return Err(NameError::ComponentTooLong),
            _ => {}
        }
        if !clean.is_empty() {
            clean.push(b'/');
        }
        clean.extend_from_slice(component);
    }
    if clean.len() > PATH_BYTES_MAX {
        return Err(NameError::TooLong);
    }
    Ok(clean)
}

/// Checks that a name is in the form of [`Entry::path`].
pub fn check_name(path: &[u8]) -> Result<(), NameError> {
    if clean_name(path)? == path { Ok(()) } else { Err(NameError::NotClean) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned() {
        for (raw, clean) in [
            ("a/b", "a/b"),
            ("/a", "a"),
            ("./a/", "a"),
            (".//./a///b/./c/", "a/b/c"),
            ("./", ""),
            ("/", ""),
            ("", ""),
            ("..a/b..", "..a/b.."),
        ] {
            assert_eq!(clean_name(raw.as_bytes()), Ok(clean.as_bytes().to_vec()), "{raw}");
        }
        assert_eq!(clean_name(b"a/../b"), Err(NameError::ParentComponent));
        assert_eq!(clean_name(b".."), Err(NameError::ParentComponent));
        assert_eq!(clean_name(b"a\0b"), Err(NameError::Nul));
        assert_eq!(clean_name(&[b'a'; 256]), Err(NameError::ComponentTooLong));
        assert_eq!(clean_name(&b"abc/".repeat(2000)), Err(NameError::TooLong));
        assert_eq!(check_name(b"a/"), Err(NameError::NotClean));
        assert_eq!(check_name(b"a"), Ok(()));
    }

    #[test]
    fn parts_of_names() {
        let entry = Entry::new("a/b/c", EntryKind::Directory, 0o755);
        assert_eq!(entry.file_name(), b"c");
        assert_eq!(entry.parent(), b"a/b");
        assert_eq!(Entry::new("c", EntryKind::Directory, 0o755).parent(), b"");
        assert_eq!(display_path(b"a\x1b[31m\n\xff"), "a\\u{1b}[31m\\n\u{fffd}");
    }
}
