//! Layer directory to layer archive: the same bytes for the same directory, every time.
//!
//! Directories come before their content, names in byte order, every parent directory of what is in the layer is
//! there because it is in the directory (OCI image layer specification, "Representing Changes"). A deletion is
//! `.wh.NAME`, a directory that hides the one below begins with `.wh..wh..opq`. Of several names of one file the
//! first is the file and the others are hard links to it. Holes are written as zeros.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use bake_oci::layer::whiteout;
use bake_oci::{Entry, EntryKind, LayerWriter, Timestamp};

use crate::content::open_file;
use crate::error::{At, Result, SnapshotError, display};
use crate::format::LayerFormat;
use crate::layer_digest::Contents;
use crate::node::{Kind, Node, NodeReader};
use crate::walk::{Event, Walk, open_root};

/// Options of [`write_layer`].
#[derive(Debug, Clone, Copy, Default)]
pub struct WriteOptions<'a> {
    /// Later modification times are written as this one (`SOURCE_DATE_EPOCH` with `rewrite-timestamp`).
    pub mtime_max: Option<Timestamp>,
    /// What the files held when the layer was made: files are compared with it as they are read. Those that are not
    /// listed are taken as they are.
    pub contents: Option<&'a Contents>,
}

/// What went into an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LayerStats {
    /// Entries of the archive, deletions included.
    pub entries: u64,
    /// Bytes of file content.
    pub size_bytes: u64,
}

/// Writes the committed layer directory `layer` as an uncompressed archive to `out`, which should be buffered.
///
/// # Errors
/// [`SnapshotError::Damaged`] for a file that is not what `options` say; [`SnapshotError::WriteLayer`] when `out` fails, a file changes while it is read, or a name does not fit an archive;
/// [`SnapshotError::ReservedName`]; [`SnapshotError::TooDeep`]; otherwise [`SnapshotError::Io`].
pub fn write_layer(
    layer: &Path,
    format: LayerFormat,
    options: WriteOptions<'_>,
    out: impl Write,
) -> Result<LayerStats> {
    let reader = NodeReader::from(format);
    let mut archive =
        Archive { writer: LayerWriter::new(out), options, first_names: HashMap::new(), stats: LayerStats::default() };
    let root = open_root(layer)?;
    let node = reader.read(root.as_fd(), b"").at("examine", b"")?;
    if node.root_changed {
        archive.append(b"", &node, root.as_fd(), b"")?;
    }
    if node.opaque {
        archive.append_opaque(b"")?;
    }
    let mut walk = Walk::new(root)?;
    while let Some(event) = walk.next() {
        if event == Event::Leave {
            continue;
        }
        let node = reader.read(walk.directory(), walk.name()).at("examine", walk.path())?;
        if node.kind == Kind::Whiteout {
            archive.append_whiteout(walk.path(), walk.name())?;
            continue;
        }
        if walk.name().starts_with(whiteout::PREFIX) {
            return Err(SnapshotError::ReservedName { path: display(walk.path()) });
        }
        archive.append(walk.path(), &node, walk.directory(), walk.name())?;
        if node.is_directory() {
            if node.opaque {
                archive.append_opaque(walk.path())?;
            }
            walk.descend()?;
        }
    }
    let mut out = archive.writer.finish().map_err(|source| SnapshotError::WriteLayer { source })?;
    out.flush().at("write the layer archive of", b"")?;
    Ok(archive.stats)
}

struct Archive<'a, W> {
    writer: LayerWriter<W>,
    options: WriteOptions<'a>,
    /// The first path of every file with several names.
    first_names: HashMap<(u64, u64), Vec<u8>>,
    stats: LayerStats,
}

impl<W: Write> Archive<'_, W> {
    fn append(&mut self, path: &[u8], node: &Node, directory: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
        let first_name =
            if node.links > 1 && !node.is_directory() { self.first_names.get(&node.identity).cloned() } else { None };
        let is_link = first_name.is_some();
        let kind = match (first_name, node.kind) {
            (Some(target), _) => EntryKind::HardLink { target },
            (None, Kind::File) => EntryKind::File { size: node.size },
            (None, Kind::Directory) => EntryKind::Directory,
            (None, Kind::Symlink) => EntryKind::Symlink {
                target: rustix::fs::readlinkat(directory, name, Vec::new()).at("read the link", path)?.into_bytes(),
            },
            (None, Kind::CharacterDevice { major, minor }) => EntryKind::CharacterDevice { major, minor },
            (None, Kind::BlockDevice { major, minor }) => EntryKind::BlockDevice { major, minor },
            (None, Kind::Fifo) => EntryKind::Fifo,
            // A commit removes sockets; one that another program left here has no place in an archive.
            (None, Kind::Socket | Kind::Whiteout) => return Ok(()),
        };
        let mtime = self.options.mtime_max.map_or(node.mtime, |newest| node.mtime.min(newest));
        let entry = Entry {
            path: path.to_vec(),
            kind,
            // The mode of a link means nothing and differs between file systems.
            mode: if node.kind == Kind::Symlink { 0o777 } else { node.mode },
            uid: node.uid,
            gid: node.gid,
            mtime,
            // A hard link has the attributes of the file it is.
            xattrs: if is_link { std::collections::BTreeMap::new() } else { node.xattrs.clone() },
        };
        if let EntryKind::File { size } = entry.kind {
            let mut file = open_file(directory, name, path)?;
            match self.options.contents.and_then(|contents| contents.get(path)) {
                None => self.write(&entry, Some(&mut file))?,
                Some(expected) => {
                    let mut file = HashingReader { file, hasher: blake3::Hasher::new() };
                    self.write(&entry, Some(&mut file))?;
                    if file.hasher.finalize() != *expected {
                        return Err(SnapshotError::Damaged { path: display(path) });
                    }
                }
            }
            self.stats.size_bytes += size;
        } else {
            self.write(&entry, None)?;
        }
        if node.links > 1 && !is_link && !node.is_directory() {
            self.first_names.insert(node.identity, path.to_vec());
        }
        Ok(())
    }

    fn append_whiteout(&mut self, path: &[u8], name: &[u8]) -> Result<()> {
        let parent = path.get(..path.len() - name.len()).unwrap_or_default();
        let path = [parent, &whiteout::remove_name(name)].concat();
        self.write(&Entry::new(path, EntryKind::File { size: 0 }, 0), None)
    }

    fn append_opaque(&mut self, directory: &[u8]) -> Result<()> {
        let mut path = directory.to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(whiteout::OPAQUE);
        self.write(&Entry::new(path, EntryKind::File { size: 0 }, 0), None)
    }

    fn write(&mut self, entry: &Entry, content: Option<&mut dyn Read>) -> Result<()> {
        self.stats.entries += 1;
        self.writer.append(entry, content).map_err(|source| SnapshotError::WriteLayer { source })
    }
}

/// Hashes what is read through it.
struct HashingReader {
    file: std::fs::File,
    hasher: blake3::Hasher,
}

impl Read for HashingReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
