//! Layer archive to layer directory, without looking at the layers below.
//!
//! The archive is hostile until proven otherwise. Every name is taken apart and each component opened from the
//! descriptor of the one before, without following; a symbolic link of the same layer is read and resolved here, with
//! the layer's root as root. Leaves are created with `O_EXCL` and friends, so what is there already is replaced, never
//! written through.
//!
//! What needs the layers below is left for [`crate::complete`]: directories the archive does not describe but puts
//! files into, hard links to files of lower layers, and a whole layer that hides everything below.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use bake_oci::layer::sparse::Fragment;
use bake_oci::layer::whiteout::{self, Whiteout};
use bake_oci::{Entry, EntryKind, LayerReader, Timestamp};
use bake_sys::{AtFlags, Errno, Mode, OFlags, xattr};

use crate::commit::{make_whiteout, mark_root};
use crate::content::BUFFER_BYTES;
use crate::error::{At, Result, SnapshotError, display};
use crate::format::LayerFormat;
use crate::layer_digest::Contents;
use crate::node::{Kind, NodeReader, from_status, stat};
use crate::ownership::{Attributes, DeviceKind, create_file, make_device, pin, set_mtime};
use crate::stack::{LINKS_MAX, components, default_directory};
use crate::walk::{DEPTH_MAX, Event, Walk, list_names, open_beneath, open_directory_at, open_root, remove_tree};

/// The most entries of one layer by default: the largest public images have a few hundred thousand.
pub const UNPACK_ENTRIES_MAX: u64 = 4_000_000;

/// The most bytes of file content of one layer by default: ten times the largest machine-learning images.
pub const UNPACK_BYTES_MAX: u64 = 256 << 30;

/// Descriptors of directories that are kept open between entries: archives are sorted or nearly so.
const OPEN_DIRECTORIES_MAX: usize = 128;

/// [`BUFFER_BYTES`] as a file offset.
const BUFFER_BYTES_I64: i64 = 128 * 1024;
const _: () = assert!(BUFFER_BYTES == 128 * 1024, "the two constants say the same");

/// What one layer may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnpackLimits {
    /// Entries of the archive.
    pub entries_max: u64,
    /// Bytes of file content, holes included.
    pub bytes_max: u64,
}

impl Default for UnpackLimits {
    fn default() -> Self {
        Self { entries_max: UNPACK_ENTRIES_MAX, bytes_max: UNPACK_BYTES_MAX }
    }
}

/// What a layer still needs from the layers below ([`crate::complete`]).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pending {
    /// Directories that the archive puts files into without describing them, parents first.
    pub directories: Vec<Vec<u8>>,
    /// Hard links to files that are not in the layer.
    pub links: Vec<PendingLink>,
    /// The layer hides everything below it, which overlay cannot express for a root directory.
    pub hides_everything: bool,
}

impl Pending {
    /// Whether the layer is complete by itself. Then the same directory serves every stack that has the layer.
    pub fn is_empty(&self) -> bool {
        self.directories.is_empty() && self.links.is_empty() && !self.hides_everything
    }
}

/// A hard link to a file of a lower layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingLink {
    /// The new name, relative to the root.
    pub path: Vec<u8>,
    /// The file, relative to the root.
    pub target: Vec<u8>,
}

/// An unpacked layer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unpacked {
    /// Entries of the archive.
    pub entries: u64,
    /// Bytes of file content.
    pub size_bytes: u64,
    /// Owners and attributes that could not be kept, see [`crate::Ownership::Recorded`].
    pub lost_attributes: u64,
    /// Hashes of the content of regular files, taken while they were written. Files with several names may be here under
    /// any of them.
    pub contents: Contents,
    /// What [`crate::complete`] has to do before the layer is mounted.
    pub pending: Pending,
}

/// Applies one layer archive to the empty directory `into`, which becomes a layer directory.
///
/// The reader is left after the last entry: [`LayerReader::finish`] reads what follows, for a digest of every byte.
///
/// # Errors
/// [`SnapshotError::ReadLayer`] for a broken archive; otherwise as [`Unpacker::apply`]. `into` is then to be thrown
/// away.
pub fn unpack(
    archive: &mut LayerReader<impl Read>,
    into: &Path,
    format: LayerFormat,
    limits: UnpackLimits,
) -> Result<Unpacked> {
    let mut unpacker = Unpacker::new(into, format, limits)?;
    while let Some(mut read) = archive.next_entry().map_err(|source| SnapshotError::ReadLayer { source })? {
        let entry = std::mem::replace(&mut read.entry, Entry::new(Vec::new(), EntryKind::Directory, 0));
        let pieces = read.take_sparse_map();
        unpacker.apply_content(&entry, &mut Content { pieces: pieces.as_deref(), reader: &mut read })?;
    }
    unpacker.finish()
}

/// Applies the entries of one layer archive to an empty directory.
#[derive(Debug)]
pub struct Unpacker {
    root: Rc<Directory>,
    format: LayerFormat,
    limits: UnpackLimits,
    /// Open directories by the name under which an entry reached them.
    open: HashMap<Vec<u8>, Rc<Directory>>,
    /// Directories nobody described yet, by their real path.
    implicit: BTreeSet<Vec<u8>>,
    /// Times to set at the end, by real path: creating files in a directory changes its time.
    times: BTreeMap<Vec<u8>, Timestamp>,
    links: Vec<PendingLink>,
    /// Directories with deletions, and directories that hide those below, by real path.
    deletions_in: BTreeSet<Vec<u8>>,
    opaque: BTreeSet<Vec<u8>>,
    hides_everything: bool,
    result: Unpacked,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Directory {
    descriptor: OwnedFd,
    /// Its path in the layer without links.
    path: Vec<u8>,
}

impl Directory {
    fn join(&self, name: &[u8]) -> Vec<u8> {
        if self.path.is_empty() { name.to_vec() } else { [&self.path, &b"/"[..], name].concat() }
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Whether a missing directory is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Create,
    Report,
}

impl Unpacker {
    /// Begins with the empty directory `into`, which becomes a layer directory.
    ///
    /// # Errors
    /// [`SnapshotError::Io`], with `ENOTEMPTY` when `into` is not empty.
    pub fn new(into: &Path, format: LayerFormat, limits: UnpackLimits) -> Result<Self> {
        let descriptor = open_root(into)?;
        if !list_names(descriptor.as_fd()).at("list", b"")?.is_empty() {
            use std::os::unix::ffi::OsStrExt;
            return Err(Errno::NOTEMPTY).at("unpack a layer into", into.as_os_str().as_bytes());
        }
        let default = default_directory();
        Attributes::from(&default).apply(format, descriptor.as_fd(), Kind::Directory, b"")?;
        mark_root(descriptor.as_fd(), false)?;
        Ok(Self {
            root: Rc::new(Directory { descriptor, path: Vec::new() }),
            format,
            limits,
            open: HashMap::new(),
            implicit: BTreeSet::new(),
            times: BTreeMap::from([(Vec::new(), default.mtime)]),
            links: Vec::new(),
            deletions_in: BTreeSet::new(),
            opaque: BTreeSet::new(),
            hides_everything: false,
            result: Unpacked::default(),
            buffer: vec![0; BUFFER_BYTES],
        })
    }

    /// Applies one entry; `content` gives the bytes of a regular file. Later entries replace earlier ones.
    ///
    /// # Errors
    /// [`SnapshotError::RefusedEntry`], [`SnapshotError::Limit`], [`SnapshotError::TooDeep`], [`SnapshotError::Io`].
    /// The directory is then to be thrown away.
    pub fn apply(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<()> {
        self.apply_content(entry, &mut Content { pieces: None, reader: content })
    }

    fn apply_content(&mut self, entry: &Entry, content: &mut Content<'_>) -> Result<()> {
        self.result.entries += 1;
        if self.result.entries > self.limits.entries_max {
            return Err(SnapshotError::Limit { what: "entries", limit: self.limits.entries_max });
        }
        if entry.uid == u32::MAX || entry.gid == u32::MAX {
            return Err(refused(&entry.path, "4294967295 is not an owner but means \"no change\" to the kernel"));
        }
        let Some((parent, name)) = checked_name(&entry.path)? else { return self.apply_root(entry) };
        for component in components(parent) {
            match whiteout::classify(component) {
                Whiteout::None => {}
                // The inner life of aufs, which such layers were once made with.
                Whiteout::Reserved => return Ok(()),
                Whiteout::Opaque | Whiteout::Remove(_) => {
                    return Err(refused(&entry.path, "it is below the name of a deletion"));
                }
            }
        }
        match whiteout::classify(name) {
            Whiteout::Reserved => Ok(()),
            Whiteout::Opaque => {
                let parent = self.directory(parent, Missing::Create)?.expect("it is made when missing");
                self.hide_lower(&parent)
            }
            Whiteout::Remove(name) => {
                let parent = self.directory(parent, Missing::Create)?.expect("it is made when missing");
                self.apply_whiteout(&parent, name)
            }
            Whiteout::None => {
                let parent = self.directory(parent, Missing::Create)?.expect("it is made when missing");
                self.apply_file(&parent, name, entry, content)
            }
        }
    }

    /// Sets what had to wait for the last entry, and says what the layer needs from the layers below.
    ///
    /// # Errors
    /// [`SnapshotError::Io`].
    pub fn finish(mut self) -> Result<Unpacked> {
        self.open.clear();
        self.finish_deletions()?;
        for (path, mtime) in &self.times {
            let directory = open_beneath(self.root.as_fd(), path, OFlags::PATH | OFlags::DIRECTORY).at("open", path)?;
            set_mtime(directory.as_fd(), *mtime).at("set the time of", path)?;
        }
        self.result.pending = Pending {
            directories: self.implicit.into_iter().collect(),
            links: self.links,
            hides_everything: self.hides_everything,
        };
        Ok(self.result)
    }

    /// Overlay takes the names of deletions out of a directory's listing only where it merges directories, or where
    /// the directory says that it was copied up and so may hold some. Neither may the others be seen: those in
    /// directories that hide what is below are removed, and directories with deletions are marked as copied up (from
    /// an unknown origin: the empty value).
    fn finish_deletions(&mut self) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        for path in &self.opaque {
            let directory = open_beneath(self.root.as_fd(), path, flags).at("open", path)?;
            remove_deletions(self.format, directory, path)?;
        }
        let attribute = self.format.overlay_xattrs.origin();
        for path in &self.deletions_in {
            match open_beneath(self.root.as_fd(), path, flags) {
                Ok(directory) => xattr::set_open(&directory, attribute, b"").at("mark", path)?,
                // A later entry took its place.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(errno) => return Err(errno).at("open", path),
            }
        }
        Ok(())
    }

    fn apply_root(&mut self, entry: &Entry) -> Result<()> {
        if entry.kind != EntryKind::Directory {
            return Err(refused(&entry.path, "the root must be a directory"));
        }
        attributes(entry).apply(self.format, self.root.as_fd(), Kind::Directory, b"")?;
        self.times.insert(Vec::new(), entry.mtime);
        mark_root(self.root.as_fd(), true)
    }

    fn apply_file(
        &mut self,
        parent: &Rc<Directory>,
        name: &[u8],
        entry: &Entry,
        content: &mut Content<'_>,
    ) -> Result<()> {
        let path = parent.join(name);
        match &entry.kind {
            EntryKind::Directory => return self.apply_directory(parent, name, entry),
            EntryKind::HardLink { target } => return self.apply_link(parent, name, target),
            EntryKind::File { size } => {
                let file = self.replace(parent, name, &path, |directory| create_file(directory, name))?;
                let mut file = File::from(file);
                let blake3 = self.write_content(&mut file, *size, content, &path)?;
                let attributes = attributes(entry);
                self.result.lost_attributes += attributes.apply(self.format, file.as_fd(), Kind::File, &path)?;
                self.result.contents.insert(path, blake3);
                return Ok(());
            }
            EntryKind::Symlink { target } => {
                self.replace(parent, name, &path, |to| rustix::fs::symlinkat(target.as_slice(), to, name))?;
            }
            EntryKind::Fifo => {
                self.replace(parent, name, &path, |to| rustix::fs::mkfifoat(to, name, Mode::RUSR | Mode::WUSR))?;
            }
            EntryKind::CharacterDevice { major, minor } => {
                self.clear(parent, name, &path)?;
                let number = (*major, *minor);
                make_device(self.format.ownership, parent.as_fd(), name, &path, DeviceKind::Character, number)?;
            }
            EntryKind::BlockDevice { major, minor } => {
                self.clear(parent, name, &path)?;
                let number = (*major, *minor);
                make_device(self.format.ownership, parent.as_fd(), name, &path, DeviceKind::Block, number)?;
            }
        }
        let kind = match entry.kind {
            EntryKind::Symlink { .. } => Kind::Symlink,
            // Only whether it is a link, and whether it carries attributes, matters from here on.
            _ => Kind::Fifo,
        };
        let pinned = pin(parent.as_fd(), name).at("open", &path)?;
        let attributes = attributes(entry);
        self.result.lost_attributes += attributes.apply(self.format, pinned.as_fd(), kind, &path)?;
        Ok(())
    }

    fn apply_directory(&mut self, parent: &Rc<Directory>, name: &[u8], entry: &Entry) -> Result<()> {
        let path = parent.join(name);
        let directory = match open_directory_at(parent.as_fd(), name) {
            Ok(directory) => {
                self.forget_attributes(directory.as_fd(), &path)?;
                directory
            }
            Err(Errno::NOENT) => make_directory(parent, name, &path)?,
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let hides = self.is_whiteout(parent, name, &path)?;
                self.clear(parent, name, &path)?;
                let directory = make_directory(parent, name, &path)?;
                if hides {
                    self.make_opaque(directory.as_fd(), &path)?;
                }
                directory
            }
            Err(errno) => return Err(errno).at("open", &path),
        };
        let attributes = attributes(entry);
        self.result.lost_attributes += attributes.apply(self.format, directory.as_fd(), Kind::Directory, &path)?;
        self.implicit.remove(&path);
        self.times.insert(path, entry.mtime);
        Ok(())
    }

    /// Takes the attributes of an earlier entry off a directory that is described a second time.
    fn forget_attributes(&self, directory: BorrowedFd<'_>, path: &[u8]) -> Result<()> {
        let node = NodeReader::from(self.format).read(directory, b"").at("examine", path)?;
        for name in node.xattrs.keys() {
            match xattr::remove_open(directory, name) {
                Ok(()) | Err(Errno::NODATA | Errno::PERM | Errno::OPNOTSUPP) => {}
                Err(errno) => return Err(errno).at("remove an attribute of", path),
            }
        }
        Ok(())
    }

    fn apply_link(&mut self, parent: &Rc<Directory>, name: &[u8], target: &[u8]) -> Result<()> {
        let path = parent.join(name);
        let Some((target_parent, target_name)) = checked_name(target)? else {
            return Err(refused(&path, "it is a hard link to the root directory"));
        };
        let holder = self.directory(target_parent, Missing::Report)?;
        let node = match &holder {
            Some(holder) => match NodeReader::from(self.format).read(holder.as_fd(), target_name) {
                Ok(node) => Some(node),
                Err(Errno::NOENT) => None,
                Err(errno) => return Err(errno).at("examine", target),
            },
            None => None,
        };
        match (holder, node) {
            (_, Some(node)) if node.is_directory() => Err(refused(&path, "it is a hard link to a directory")),
            (Some(holder), Some(node)) if node.kind != Kind::Whiteout => {
                if let Ok(status) = stat(parent.as_fd(), name)
                    && from_status(&status).identity == node.identity
                {
                    return Ok(());
                }
                self.replace(parent, name, &path, |to| {
                    rustix::fs::linkat(holder.as_fd(), target_name, to, name, AtFlags::empty())
                })
            }
            _ => {
                self.clear(parent, name, &path)?;
                self.links.retain(|link| link.path != path);
                self.links.push(PendingLink { path, target: target.to_vec() });
                Ok(())
            }
        }
    }

    /// A deletion concerns the layers below only: what this layer has under the name stays, whichever came first
    /// (OCI image layer specification, "Whiteouts").
    fn apply_whiteout(&mut self, parent: &Rc<Directory>, name: &[u8]) -> Result<()> {
        let path = parent.join(name);
        match stat(parent.as_fd(), name) {
            Ok(status) if from_status(&status).is_directory() => {
                let directory = open_directory_at(parent.as_fd(), name).at("open", &path)?;
                self.implicit.remove(&path);
                self.make_opaque(directory.as_fd(), &path)
            }
            Ok(_) => Ok(()),
            Err(Errno::NOENT) => {
                self.deletions_in.insert(parent.path.clone());
                make_whiteout(self.format, parent.as_fd(), name).at("make the deletion", &path)
            }
            Err(errno) => Err(errno).at("examine", &path),
        }
    }

    fn hide_lower(&mut self, directory: &Rc<Directory>) -> Result<()> {
        if directory.path.is_empty() {
            self.hides_everything = true;
            return Ok(());
        }
        self.make_opaque(directory.as_fd(), &directory.path)
    }

    fn make_opaque(&mut self, directory: BorrowedFd<'_>, path: &[u8]) -> Result<()> {
        self.opaque.insert(path.to_vec());
        set_opaque(self.format, directory, path)
    }

    /// Creates something at a name; what an earlier entry put there goes.
    fn replace<T>(
        &mut self,
        parent: &Directory,
        name: &[u8],
        path: &[u8],
        create: impl Fn(BorrowedFd<'_>) -> std::result::Result<T, Errno>,
    ) -> Result<T> {
        match create(parent.as_fd()) {
            Err(Errno::EXIST) => {
                self.clear(parent, name, path)?;
                create(parent.as_fd()).at("create", path)
            }
            other => other.at("create", path),
        }
    }

    /// Removes what an earlier entry put at a name.
    fn clear(&mut self, parent: &Directory, name: &[u8], path: &[u8]) -> Result<()> {
        let kind = match stat(parent.as_fd(), name) {
            Ok(status) => from_status(&status).kind,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(errno).at("examine", path),
        };
        if matches!(kind, Kind::Directory | Kind::Symlink) {
            // Names may have led through it.
            self.open.clear();
        }
        if kind != Kind::Directory {
            self.result.contents.remove(path);
            return rustix::fs::unlinkat(parent.as_fd(), name, AtFlags::empty()).at("replace", path);
        }
        let below = [path, b"/"].concat();
        self.implicit.retain(|directory| directory != path && !directory.starts_with(&below));
        self.opaque.retain(|directory| directory != path && !directory.starts_with(&below));
        self.times.retain(|directory, _| directory != path && !directory.starts_with(&below));
        self.result.contents.retain(|file, _| !file.starts_with(&below));
        self.links.retain(|link| !link.path.starts_with(&below));
        remove_tree(parent.as_fd(), name, path)
    }

    fn is_whiteout(&self, parent: &Directory, name: &[u8], path: &[u8]) -> Result<bool> {
        let node = NodeReader::from(self.format).read(parent.as_fd(), name).at("examine", path)?;
        Ok(node.kind == Kind::Whiteout)
    }

    /// The directory that entries at `path` go into, after links of this layer. Directories that no entry described
    /// are made, if `missing` says so; else `None`.
    fn directory(&mut self, path: &[u8], missing: Missing) -> Result<Option<Rc<Directory>>> {
        if let Some(directory) = self.open.get(path) {
            return Ok(Some(Rc::clone(directory)));
        }
        let mut links = 0;
        let directory = self.walk(Rc::clone(&self.root), path, missing, &mut links)?;
        if let Some(directory) = &directory {
            if self.open.len() >= OPEN_DIRECTORIES_MAX {
                self.open.clear();
            }
            self.open.insert(path.to_vec(), Rc::clone(directory));
        }
        Ok(directory)
    }

    fn walk(
        &mut self,
        start: Rc<Directory>,
        path: &[u8],
        missing: Missing,
        links: &mut u32,
    ) -> Result<Option<Rc<Directory>>> {
        // A sorted archive stays below the directory it was in: begin at the longest part that is open.
        let mut current = start;
        let mut rest: &[u8] = path;
        if current.path.is_empty() {
            let mut end = path.len();
            while let Some(slash) = path.get(..end).and_then(|part| part.iter().rposition(|byte| *byte == b'/')) {
                if let Some(directory) = path.get(..slash).and_then(|part| self.open.get(part)) {
                    current = Rc::clone(directory);
                    rest = path.get(slash + 1..).unwrap_or_default();
                    break;
                }
                end = slash;
            }
        }
        for name in components(rest) {
            let next = if name == b".." {
                let parent = current.path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                let path = current.path.get(..parent).unwrap_or_default().to_vec();
                let descriptor =
                    open_beneath(self.root.as_fd(), &path, OFlags::RDONLY | OFlags::DIRECTORY).at("open", &path)?;
                Some(Rc::new(Directory { descriptor, path }))
            } else {
                self.step(&current, name, missing, links)?
            };
            match next {
                Some(next) => current = next,
                None => return Ok(None),
            }
        }
        Ok(Some(current))
    }

    /// One component: a directory, a link of this layer to one, or nothing yet.
    fn step(
        &mut self,
        parent: &Rc<Directory>,
        name: &[u8],
        missing: Missing,
        links: &mut u32,
    ) -> Result<Option<Rc<Directory>>> {
        let path = parent.join(name);
        match open_directory_at(parent.as_fd(), name) {
            Ok(descriptor) => return Ok(Some(Rc::new(Directory { descriptor, path }))),
            Err(Errno::NOENT) if missing == Missing::Report => return Ok(None),
            Err(Errno::NOENT) => {
                let descriptor = self.make_implicit(parent, name, &path)?;
                self.implicit.insert(path.clone());
                return Ok(Some(Rc::new(Directory { descriptor, path })));
            }
            Err(Errno::NOTDIR | Errno::LOOP) => {}
            Err(errno) => return Err(errno).at("open", &path),
        }
        let node = NodeReader::from(self.format).read(parent.as_fd(), name).at("examine", &path)?;
        match node.kind {
            Kind::Symlink => {
                *links += 1;
                if *links > LINKS_MAX {
                    return Err(refused(&path, "it passes too many symbolic links"));
                }
                let target =
                    rustix::fs::readlinkat(parent.as_fd(), name, Vec::new()).at("read the link", &path)?.into_bytes();
                let start = if target.first() == Some(&b'/') { &self.root } else { parent };
                self.walk(Rc::clone(start), &target, missing, links)
            }
            Kind::Whiteout if missing == Missing::Report => Ok(None),
            // Deleted below, and now needed as a directory: a new one, through which nothing shows.
            Kind::Whiteout => {
                rustix::fs::unlinkat(parent.as_fd(), name, AtFlags::empty()).at("replace", &path)?;
                let descriptor = self.make_implicit(parent, name, &path)?;
                self.make_opaque(descriptor.as_fd(), &path)?;
                Ok(Some(Rc::new(Directory { descriptor, path })))
            }
            _ if missing == Missing::Report => Ok(None),
            _ => Err(refused(&path, "an earlier entry of this name is not a directory")),
        }
    }

    fn make_implicit(&mut self, parent: &Directory, name: &[u8], path: &[u8]) -> Result<OwnedFd> {
        let directory = make_directory(parent, name, path)?;
        let default = default_directory();
        Attributes::from(&default).apply(self.format, directory.as_fd(), Kind::Directory, path)?;
        self.times.insert(path.to_vec(), default.mtime);
        Ok(directory)
    }

    /// Writes a file of `size` bytes, without its holes; gives the hash of all of it.
    fn write_content(
        &mut self,
        file: &mut File,
        size: u64,
        content: &mut Content<'_>,
        path: &[u8],
    ) -> Result<[u8; 32]> {
        self.result.size_bytes = self.result.size_bytes.saturating_add(size);
        if self.result.size_bytes > self.limits.bytes_max {
            return Err(SnapshotError::Limit { what: "bytes of file content", limit: self.limits.bytes_max });
        }
        let whole = [Fragment { offset: 0, length: size }];
        let pieces = content.pieces.unwrap_or(&whole);
        let mut hasher = blake3::Hasher::new();
        let mut written_to = 0;
        let mut hashed_to = 0;
        for piece in pieces {
            if piece.offset != written_to {
                file.seek(SeekFrom::Start(piece.offset)).at("write", path)?;
            }
            hash_zeros(&mut hasher, piece.offset - hashed_to);
            let ends_with_hole = self.write_piece(file, piece.length, content.reader, &mut hasher, path)?;
            hashed_to = piece.offset + piece.length;
            written_to = if ends_with_hole { u64::MAX } else { hashed_to };
        }
        hash_zeros(&mut hasher, size - hashed_to);
        if written_to != size {
            file.set_len(size).at("write", path)?;
        }
        Ok(*hasher.finalize().as_bytes())
    }

    /// Copies exactly `length` bytes; parts of zeros become holes. Whether there is one at the end.
    fn write_piece(
        &mut self,
        file: &mut File,
        length: u64,
        reader: &mut dyn Read,
        hasher: &mut blake3::Hasher,
        path: &[u8],
    ) -> Result<bool> {
        let mut left = length;
        let mut ends_with_hole = false;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let part = self.buffer.get_mut(..wanted).unwrap_or_default();
            reader.read_exact(part).at("read the content of", path)?;
            hasher.update(part);
            ends_with_hole = wanted == BUFFER_BYTES && part.iter().all(|byte| *byte == 0);
            if ends_with_hole {
                file.seek(SeekFrom::Current(BUFFER_BYTES_I64)).at("write", path)?;
            } else {
                file.write_all(part).at("write", path)?;
            }
            left -= wanted as u64;
        }
        Ok(ends_with_hole)
    }
}

/// Adds a hole to the hash of a file.
fn hash_zeros(hasher: &mut blake3::Hasher, mut count: u64) {
    static ZEROS: [u8; BUFFER_BYTES] = [0; BUFFER_BYTES];
    while count > 0 {
        let part = usize::try_from(count).unwrap_or(usize::MAX).min(ZEROS.len());
        hasher.update(ZEROS.get(..part).unwrap_or_default());
        count -= part as u64;
    }
}

/// The bytes of a file.
struct Content<'a> {
    /// Where in the file they go; `None` when they are all of it.
    pieces: Option<&'a [Fragment]>,
    /// The pieces, one after the other.
    reader: &'a mut dyn Read,
}

fn attributes(entry: &Entry) -> Attributes<'_> {
    Attributes { mode: entry.mode, uid: entry.uid, gid: entry.gid, mtime: entry.mtime, xattrs: &entry.xattrs }
}

fn make_directory(parent: &Directory, name: &[u8], path: &[u8]) -> Result<OwnedFd> {
    if components(path).count() >= DEPTH_MAX {
        return Err(SnapshotError::TooDeep { path: display(path) });
    }
    rustix::fs::mkdirat(parent.as_fd(), name, Mode::RWXU).at("create", path)?;
    open_directory_at(parent.as_fd(), name).at("open", path)
}

/// Splits a name into the directory part and the last component; `None` for the root. The reader of archives has
/// cleaned names already: this is the second pair of eyes.
fn checked_name(path: &[u8]) -> Result<Option<(&[u8], &[u8])>> {
    if path.contains(&0) {
        return Err(refused(path, "its name has a NUL byte"));
    }
    if components(path).any(|component| component == b"..") {
        return Err(refused(path, "its name has a `..` component"));
    }
    Ok(bake_sys::path::split_leaf(path).map(|(parent, name)| (parent.strip_suffix(b"/").unwrap_or(parent), name)))
}

/// Removes the deletions in a directory and everything below it.
fn remove_deletions(format: LayerFormat, directory: OwnedFd, path: &[u8]) -> Result<()> {
    let reader = NodeReader::from(format);
    let mut walk = Walk::new(directory)?;
    while let Some(event) = walk.next() {
        if event == Event::Leave {
            continue;
        }
        let node = reader.read(walk.directory(), walk.name()).at("examine", path)?;
        match node.kind {
            // The times of directories are set after this.
            Kind::Whiteout => rustix::fs::unlinkat(walk.directory(), walk.name(), AtFlags::empty()).at("drop", path)?,
            Kind::Directory => walk.descend()?,
            _ => {}
        }
    }
    Ok(())
}

/// Makes a directory hide the one below.
pub(crate) fn set_opaque(format: LayerFormat, directory: BorrowedFd<'_>, path: &[u8]) -> Result<()> {
    xattr::set_open(directory, format.overlay_xattrs.opaque(), b"y").at("make opaque", path)
}

pub(crate) fn refused(path: &[u8], reason: &'static str) -> SnapshotError {
    SnapshotError::RefusedEntry { path: display(path), reason }
}
