//! What one layer holds, as a list.

use std::collections::HashMap;
use std::io::{self, Read};

use bake_oci::layer::whiteout::{self, Whiteout};
use bake_oci::{LayerReadError, LayerReader, Timestamp};

/// The entries of one layer in the order in which they are applied.
pub type Listing = Vec<Entry>;

/// One name in a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the root, without leading or trailing `/`; empty for the root itself.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// When the content changed last.
    pub mtime: Timestamp,
}

/// What an [`Entry`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File {
        /// Bytes of content.
        size_bytes: u64,
        /// BLAKE3 of the content, where it is known.
        content: Option<[u8; 32]>,
    },
    /// Another name of a file that came earlier in this layer, or that is in a layer below.
    HardLink {
        /// That name, in the form of [`Entry::path`].
        target: Vec<u8>,
    },
    /// A directory.
    Directory {
        /// Nothing of the directory below shows through.
        opaque: bool,
    },
    /// A symbolic link, device or pipe: a name without bytes.
    Other,
    /// The name is deleted from the layers below.
    Whiteout,
}

/// The most entries of one layer: the largest public images have a few hundred thousand.
const ENTRIES_MAX: usize = 4_000_000;

/// Why an archive cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    /// It is broken, or beyond the limits of its reader.
    #[error("Failed to read the layer archive")]
    Archive(#[from] LayerReadError),
    /// The content of a file.
    #[error("Failed to read `{path}` in the layer archive")]
    Content {
        /// Which file, for people.
        path: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// It has too many entries.
    #[error("the layer archive has more than {ENTRIES_MAX} entries")]
    TooManyEntries,
}

/// Lists the archive of a layer. The content of files is hashed on the way, that of sparse files is not: a small archive can
/// describe terabytes of holes.
///
/// # Errors
/// [`ListingError`], for a broken archive or one beyond the limits.
pub fn read_archive(archive: &mut LayerReader<impl Read>) -> Result<Listing, ListingError> {
    let mut listing = Listing::new();
    // An archive marks a directory as opaque by a file in it, which may come before or after the directory.
    let mut opaque: HashMap<Vec<u8>, bool> = HashMap::new();
    while let Some(mut read) = archive.next_entry()? {
        let path = read.entry.path.clone();
        let in_deletion = read
            .entry
            .parent()
            .split(|byte| *byte == b'/')
            .any(|component| whiteout::classify(component) != Whiteout::None);
        if in_deletion {
            continue;
        }
        let (mode, uid, gid, mtime) = (read.entry.mode, read.entry.uid, read.entry.gid, read.entry.mtime);
        let (path, kind) = match whiteout::classify(read.entry.file_name()) {
            Whiteout::Reserved => continue,
            Whiteout::Opaque => {
                opaque.insert(read.entry.parent().to_vec(), false);
                continue;
            }
            Whiteout::Remove(name) => {
                let parent = read.entry.parent();
                let joined = if parent.is_empty() { name.to_vec() } else { [parent, b"/", name].concat() };
                (joined, EntryKind::Whiteout)
            }
            Whiteout::None => {
                let kind = match &read.entry.kind {
                    bake_oci::EntryKind::File { size } => {
                        let size_bytes = *size;
                        let sparse = read.take_sparse_map().is_some();
                        let content = if sparse { None } else { Some(hash(&mut read, &path)?) };
                        EntryKind::File { size_bytes, content }
                    }
                    bake_oci::EntryKind::HardLink { target } => EntryKind::HardLink { target: target.clone() },
                    bake_oci::EntryKind::Directory => EntryKind::Directory { opaque: false },
                    _ => EntryKind::Other,
                };
                (path, kind)
            }
        };
        if listing.len() >= ENTRIES_MAX {
            return Err(ListingError::TooManyEntries);
        }
        listing.push(Entry { path, kind, mode, uid, gid, mtime });
    }
    for entry in &mut listing {
        if let (EntryKind::Directory { opaque: hides }, Some(described)) =
            (&mut entry.kind, opaque.get_mut(&entry.path))
        {
            (*hides, *described) = (true, true);
        }
    }
    let undescribed = opaque.into_iter().filter(|(_, described)| !described).map(|(path, _)| Entry {
        path,
        kind: EntryKind::Directory { opaque: true },
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: Timestamp::EPOCH,
    });
    listing.extend(undescribed);
    Ok(listing)
}

fn hash(content: &mut impl Read, path: &[u8]) -> Result<[u8; 32], ListingError> {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update_reader(content)
        .map_err(|source| ListingError::Content { path: bake_oci::layer::entry::display_path(path), source })?;
    Ok(*hasher.finalize().as_bytes())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use bake_oci::{Entry as ArchiveEntry, EntryKind as ArchiveKind, LayerWriter};

    use super::*;

    fn archive(entries: &[(&str, ArchiveKind, &[u8])]) -> Vec<u8> {
        let mut writer = LayerWriter::new(Vec::new());
        for (path, kind, content) in entries {
            let mut content = *content;
            let entry = ArchiveEntry::new(*path, kind.clone(), 0o644);
            let content: Option<&mut dyn Read> =
                if matches!(kind, ArchiveKind::File { .. }) { Some(&mut content) } else { None };
            writer.append(&entry, content).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn archives_are_listed_with_deletions_and_links() {
        let bytes = archive(&[
            ("d", ArchiveKind::Directory, b""),
            ("d/.wh..wh..opq", ArchiveKind::File { size: 0 }, b""),
            ("d/a", ArchiveKind::File { size: 3 }, b"abc"),
            ("d/b", ArchiveKind::HardLink { target: b"d/a".to_vec() }, b""),
            ("e/.wh.gone", ArchiveKind::File { size: 0 }, b""),
            ("e/.wh..wh..opq", ArchiveKind::File { size: 0 }, b""),
            (".wh..wh.plnk/x", ArchiveKind::File { size: 1 }, b"x"),
            ("l", ArchiveKind::Symlink { target: b"d".to_vec() }, b""),
        ]);
        let listing = read_archive(&mut LayerReader::new(bytes.as_slice())).unwrap();
        let told: Vec<(String, EntryKind)> =
            listing.into_iter().map(|entry| (String::from_utf8(entry.path).unwrap(), entry.kind)).collect();
        let content = Some(*blake3::hash(b"abc").as_bytes());
        assert_eq!(
            told,
            [
                ("d".to_owned(), EntryKind::Directory { opaque: true }),
                ("d/a".to_owned(), EntryKind::File { size_bytes: 3, content }),
                ("d/b".to_owned(), EntryKind::HardLink { target: b"d/a".to_vec() }),
                ("e/gone".to_owned(), EntryKind::Whiteout),
                ("l".to_owned(), EntryKind::Other),
                ("e".to_owned(), EntryKind::Directory { opaque: true }),
            ]
        );
    }

    #[test]
    fn broken_archives_are_errors() {
        let bytes = archive(&[("a", ArchiveKind::File { size: 1000 }, &[7; 1000])]);
        for end in [100, 600, 1000] {
            assert!(read_archive(&mut LayerReader::new(&bytes[..end])).is_err(), "{end}");
        }
    }
}
