//! Copies a selection of files to a destination (BuildKit's rules for where things land and what they become).

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

use bake_graph::ModeChange;
use rustix::fs::{FileType, Mode, Stat, Timespec, symlinkat};

use crate::chmod::changed_mode;
use crate::destination::{Attributes, Destination, DestinationError, Directory, Target, failed};
use crate::reuse::Copied;
use crate::select::{Item, Selection};
use crate::source_tree::{SourceTree, TreeError, join, shown, split};

/// Larger files are copied in pieces of this size, so that it can be told how far they are.
const PIECE_BYTES: u64 = 16 * 1024 * 1024;

/// Files up to this size are copied through a buffer: for small files that is cheaper than `copy_file_range`.
const SMALL_FILE_MAX: u64 = 256 * 1024;

/// What went wrong while copying.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    /// The source could not be read.
    #[error(transparent)]
    Source(#[from] TreeError),
    /// The destination could not be written.
    #[error(transparent)]
    Destination(#[from] DestinationError),
    /// A file could not be copied.
    #[error("cannot copy \"/{path}\": {source}")]
    Content {
        /// The file, as the source knows it.
        path: String,
        /// What lies underneath.
        #[source]
        source: std::io::Error,
    },
    /// A file became another one while it was read.
    #[error("\"/{0}\" changed while it was copied; run the build again when nothing writes to the build context")]
    Changed(String),
}

/// What becomes of the files that are copied.
#[derive(Debug, Clone)]
pub(crate) struct CopyOptions {
    /// New owner; the source's when absent.
    pub owner: Option<(u32, u32)>,
    /// Whether the source's owner is root, whoever it is on disk.
    pub root_owned: bool,
    /// New permission bits.
    pub mode: Option<ModeChange>,
    /// The name under a directory destination, where the source has none of its own.
    pub file_name: Option<String>,
    /// Whether extended attributes are copied.
    pub xattrs: bool,
}

impl CopyOptions {
    /// The attributes of directories that are made on the way to the destination.
    pub(crate) fn new_directories(&self) -> Attributes {
        let mode = match self.mode {
            // As `mkdir` gives it: permission bits only, less the usual umask.
            Some(ModeChange::Octal(mode)) => mode & 0o755,
            _ => 0o755,
        };
        Attributes { owner: self.owner.unwrap_or((0, 0)), mode, mtime: None }
    }

    fn attributes(&self, tree: &SourceTree, item: &Item) -> Result<Attributes, TreeError> {
        let stat = &item.node.stat;
        let owner = match self.owner {
            Some(owner) => owner,
            None if self.root_owned => (0, 0),
            None => tree.owner(&item.node)?,
        };
        Ok(Attributes {
            owner,
            mode: changed_mode(self.mode.as_ref(), stat.st_mode & 0o7777, item.node.is_directory()),
            mtime: Some(mtime(stat)),
        })
    }
}

/// The time of last change.
pub(crate) fn mtime(stat: &Stat) -> Timespec {
    Timespec { tv_sec: stat.st_mtime, tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or(0) }
}

/// Copies `selection` to `destination`, a path in `into`; a trailing slash means a directory. What is known of the copies
/// then is in `copied`. Calls `told` with the number of bytes after every piece of a file.
pub(crate) fn copy(
    tree: &SourceTree,
    selection: &Selection,
    into: &Destination,
    destination: &str,
    options: &CopyOptions,
    copied: &mut Copied,
    told: &dyn Fn(u64),
) -> Result<(), CopyError> {
    let Some((top, below)) = selection.items.split_first() else { return Ok(()) };
    let contents = selection.contents.get().map_or(&[][..], Vec::as_slice);
    let path = destination.as_bytes();
    let made = options.new_directories();
    if destination.ends_with('/') {
        into.make_directories(path, made)?;
    }
    let target = into.target(path, made)?;
    let mut copy = Copier { tree, into, options, copied, told, links: HashMap::new(), times: Vec::new(), cursor: None };
    if selection.is_directory {
        let directory = match target {
            Target::Directory(directory) => {
                // An existing directory keeps its owner and mode.
                copy.times.push((directory.path().to_vec(), mtime(&top.node.stat)));
                directory
            }
            // A new one is like those on the way to it: only what is in the source keeps owner and mode.
            Target::Name(..) => {
                let directory = into.make_directories(path, made)?;
                copy.times.push((directory.path().to_vec(), mtime(&top.node.stat)));
                directory
            }
        };
        copy.below(directory, below, contents.get(1..).unwrap_or_default())?;
    } else {
        let name = options.file_name.as_ref().map_or(selection.name.as_slice(), |name| name.as_bytes());
        let (parent, name) = match target {
            Target::Directory(directory) => (directory, name.to_vec()),
            Target::Name(parent, name) => (parent, name),
        };
        copy.file(&parent, &name, top, contents.first().copied().flatten())?;
    }
    copy.set_directory_times()
}

/// One copy under way.
struct Copier<'a> {
    tree: &'a SourceTree,
    into: &'a Destination,
    options: &'a CopyOptions,
    copied: &'a mut Copied,
    told: &'a dyn Fn(u64),
    /// Files of the source with several names, and where the first was copied to: directory and name.
    links: HashMap<(u64, u64), (Vec<u8>, Vec<u8>)>,
    /// Times of directories, to be set when nothing is written to them any more.
    times: Vec<(Vec<u8>, Timespec)>,
    /// The directory of the source that the last file was in.
    cursor: Option<(Vec<u8>, OwnedFd)>,
}

impl Copier<'_> {
    /// Copies everything below a source directory into `top`.
    fn below(&mut self, top: Directory, items: &[Item], contents: &[Option<[u8; 32]>]) -> Result<(), CopyError> {
        // The open directories on the way to the present one, with their relative paths.
        let mut open: Vec<(Vec<u8>, Directory)> = vec![(Vec::new(), top)];
        for (index, item) in items.iter().enumerate() {
            self.tree.check_cancelled()?;
            let split = item.relative.iter().rposition(|b| *b == b'/');
            let (parent, name) = match split {
                Some(slash) => (&item.relative[..slash], &item.relative[slash + 1..]),
                None => (&b""[..], &item.relative[..]),
            };
            while open.len() > 1 && open.last().is_some_and(|(relative, _)| relative != parent) {
                open.pop();
            }
            let (_, directory) = open.last().expect("the top directory is never taken off");
            match item.node.file_type() {
                FileType::Directory => {
                    let child = self.directory(directory, name, item)?;
                    open.push((item.relative.clone(), child));
                }
                _ => self.file(directory, name, item, contents.get(index).copied().flatten())?,
            }
        }
        Ok(())
    }

    /// Makes a directory, or updates the one that is there.
    fn directory(&mut self, parent: &Directory, name: &[u8], item: &Item) -> Result<Directory, CopyError> {
        let attributes = self.options.attributes(self.tree, item)?;
        let directory = match self.into.make_child(parent, name) {
            Ok(directory) => directory,
            Err(DestinationError::Io { source: rustix::io::Errno::EXIST, .. }) => parent.child(name)?,
            Err(error) => return Err(error.into()),
        };
        self.into.set_attributes(directory.fd(), directory.path(), Attributes { mtime: None, ..attributes })?;
        if self.options.xattrs {
            self.copy_xattrs(item, directory.fd())?;
        }
        self.times.push((directory.path().to_vec(), mtime(&item.node.stat)));
        Ok(directory)
    }

    /// Copies anything that is not a directory; `content` is the hash of what a regular file holds, where it is known.
    fn file(
        &mut self,
        parent: &Directory,
        name: &[u8],
        item: &Item,
        content: Option<[u8; 32]>,
    ) -> Result<(), CopyError> {
        let attributes = self.options.attributes(self.tree, item)?;
        let stat = &item.node.stat;
        let path = join(parent.path(), name);
        self.copied.forget(&path);
        let several_names = stat.st_nlink > 1;
        if several_names {
            let key = (stat.st_dev, stat.st_ino);
            if let Some((directory, existing)) = self.links.get(&key) {
                parent.make_room(name)?;
                let directory = self.into.make_directories(directory, self.options.new_directories())?;
                return Ok(self.into.link((&directory, existing), parent, name)?);
            }
            self.links.insert(key, (parent.path().to_vec(), name.to_vec()));
        }
        if item.node.file_type() != FileType::RegularFile {
            parent.make_room(name)?;
        }
        match item.node.file_type() {
            FileType::RegularFile => {
                // A file that gets further names is not shared: the archive would tell them apart.
                if let Some(content) = content.filter(|_| !several_names && !self.options.xattrs)
                    && self.copied.link_from_before(parent, name, attributes, stat, content)?
                {
                    (self.told)(u64::try_from(stat.st_size).unwrap_or(0));
                    return Ok(());
                }
                let output = parent.create_anew(name)?;
                let hash = self.content(item, &output, content)?;
                if let Some(hash) = hash.filter(|_| !several_names) {
                    self.copied.note(path.clone(), hash);
                }
                self.into.set_attributes(&output, &path, attributes)?;
                // After the owner: a change of it takes file capabilities away.
                if self.options.xattrs {
                    self.copy_xattrs(item, output.as_fd())?;
                }
            }
            FileType::Symlink => {
                let target = self.tree.read_link(&item.node.path)?;
                symlinkat(&*target, parent.fd(), name).map_err(failed("make the link", &path))?;
                self.into.set_link_attributes(parent, name, attributes)?;
            }
            kind @ (FileType::Fifo | FileType::CharacterDevice | FileType::BlockDevice) => {
                let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
                let mode = Mode::from_raw_mode(attributes.mode & 0o7777);
                self.into.make_node(parent, name, kind, device)?;
                rustix::fs::chmodat(parent.fd(), name, mode, rustix::fs::AtFlags::empty())
                    .map_err(failed("set the mode of", &path))?;
                self.into.set_link_attributes(parent, name, attributes)?;
            }
            FileType::Socket | FileType::Unknown | FileType::Directory => {}
        }
        Ok(())
    }

    fn open_source(&mut self, item: &Item) -> Result<OwnedFd, CopyError> {
        let path = &item.node.path;
        let (parent, name) = split(path);
        if self.cursor.as_ref().is_none_or(|(open, _)| open != parent) {
            let directory = self.tree.open_directory(parent)?;
            let directory = directory.ok_or_else(|| TreeError::NotFound { path: shown(path), ignored: false })?;
            self.cursor = Some((parent.to_vec(), directory));
        }
        let (_, directory) = self.cursor.as_ref().expect("it was set a moment ago");
        Ok(crate::source_tree::open_for_reading(directory.as_fd(), name, path)?)
    }

    /// Copies the bytes of a file. The answer is their hash where it came about on the way; `expected` is what they must be.
    fn content(
        &mut self,
        item: &Item,
        output: &OwnedFd,
        expected: Option<[u8; 32]>,
    ) -> Result<Option<[u8; 32]>, CopyError> {
        let size = u64::try_from(item.node.stat.st_size).unwrap_or(0);
        if size == 0 {
            return Ok(None);
        }
        let path = &item.node.path;
        let failed = |source: std::io::Error| CopyError::Content { path: shown(path), source };
        let mut input = File::from(self.open_source(item)?);
        if size <= SMALL_FILE_MAX {
            let mut buffer = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
            (&mut input).take(SMALL_FILE_MAX + 1).read_to_end(&mut buffer).map_err(failed)?;
            let mut rest = buffer.as_slice();
            while !rest.is_empty() {
                let written = rustix::io::write(output, rest).map_err(|errno| failed(errno.into()))?;
                rest = &rest[written..];
            }
            let hash = *blake3::hash(&buffer).as_bytes();
            if buffer.len() as u64 != size || expected.is_some_and(|expected| expected != hash) {
                return Err(CopyError::Changed(shown(path)));
            }
            (self.told)(size);
            return Ok(Some(hash));
        }
        let mut output = File::from(output.try_clone().map_err(failed)?);
        let copied = if i64::try_from(size).is_ok_and(|size| item.node.stat.st_blocks * 512 < size) {
            let copied = copy_sparse(&input, &output, size).map_err(failed)?;
            (self.told)(copied);
            copied
        } else {
            self.in_pieces(&mut input, &mut output).map_err(failed)?
        };
        if copied != size || self.has_changed(item, &input) {
            return Err(CopyError::Changed(shown(path)));
        }
        Ok(None)
    }

    fn in_pieces(&self, input: &mut File, output: &mut File) -> std::io::Result<u64> {
        let mut copied = 0;
        loop {
            let piece = std::io::copy(&mut input.take(PIECE_BYTES), output)?;
            if piece == 0 {
                return Ok(copied);
            }
            copied += piece;
            (self.told)(piece);
        }
    }

    /// Whether a file of the build context is not the one that was selected and digested, or was written to since: its
    /// copy would be cached under the digest of something else.
    fn has_changed(&self, item: &Item, open: &File) -> bool {
        if !self.tree.is_context() {
            return false;
        }
        let identity = |stat: &Stat| {
            let times = (stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec);
            (stat.st_dev, stat.st_ino, stat.st_size, times)
        };
        rustix::fs::fstat(open).map_or(true, |now| identity(&now) != identity(&item.node.stat))
    }

    fn copy_xattrs(&mut self, item: &Item, output: std::os::fd::BorrowedFd<'_>) -> Result<(), CopyError> {
        let path = &item.node.path;
        let failed = |source: rustix::io::Errno| CopyError::Content { path: shown(path), source: source.into() };
        let source = if item.node.is_directory() {
            match self.tree.open_directory(path)? {
                Some(directory) => directory,
                None => return Ok(()),
            }
        } else {
            self.open_source(item)?
        };
        for name in bake_sys::xattr::list_open(&source).map_err(failed)? {
            if !crate::source_tree::is_layer_xattr(&name) {
                continue;
            }
            if let Some(value) = bake_sys::xattr::get_open(&source, &name).map_err(failed)? {
                bake_sys::xattr::set_open(output, &name, &value).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn set_directory_times(self) -> Result<(), CopyError> {
        for (path, time) in self.times.iter().rev() {
            let directory = self.into.make_directories(path, self.options.new_directories())?;
            let times = rustix::fs::Timestamps { last_access: *time, last_modification: *time };
            rustix::fs::futimens(directory.fd(), &times).map_err(failed("set the time of", path))?;
        }
        Ok(())
    }
}

/// Copies the parts of a file that hold data, and leaves holes as holes; returns the size.
fn copy_sparse(input: &File, output: &File, size: u64) -> std::io::Result<u64> {
    use rustix::fs::{SeekFrom, ftruncate, seek};
    ftruncate(output, size)?;
    let mut position = 0;
    while position < size {
        let data = match seek(input, SeekFrom::Data(position)) {
            Ok(data) => data,
            // No data up to the end.
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let hole = seek(input, SeekFrom::Hole(data))?.min(size);
        let end = copy_range(input, output, data, hole)?;
        if end < hole {
            return Ok(end);
        }
        position = hole;
    }
    Ok(size)
}

/// Copies the bytes from `start` to `end`; returns where the input ended, if that was before.
fn copy_range(input: &File, output: &File, start: u64, end: u64) -> std::io::Result<u64> {
    use std::os::unix::fs::FileExt;

    use rustix::fs::copy_file_range;
    use rustix::io::Errno;

    let mut position = start;
    while position < end {
        let wanted = usize::try_from(end - position).unwrap_or(usize::MAX);
        let (mut from, mut to) = (position, position);
        match copy_file_range(input, Some(&mut from), output, Some(&mut to), wanted) {
            Ok(0) => return Ok(position),
            Ok(_) => position = from,
            // The kernel copies within one file system only, and the overlay is another one than that of the context.
            Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => break,
            Err(error) => return Err(error.into()),
        }
    }
    let mut buffer = vec![0; 128 * 1024];
    while position < end {
        let wanted = usize::try_from(end - position).unwrap_or(usize::MAX).min(buffer.len());
        let count = input.read_at(&mut buffer[..wanted], position)?;
        if count == 0 {
            break;
        }
        output.write_all_at(&buffer[..count], position)?;
        position += count as u64;
    }
    Ok(position)
}
