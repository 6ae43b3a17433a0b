//! Copying a merged tree: the snapshotter for hosts whose kernel or file system refuses overlay.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bake_sys::mount::{AttributeChange, MountAttrFlags, Recursion, clone_tree, set_attributes};
use bake_sys::{AtFlags, Errno, Mode};

use crate::commit::{Committed, Coverage, commit_as, prepare_root};
use crate::content::open_file;
use crate::error::{At, Result, SnapshotError, display};
use crate::format::LayerFormat;
use crate::layer_digest::Contents;
use crate::node::{Kind, Node};
use crate::ownership::{Attributes, DeviceKind, create_file, make_device, pin};
use crate::snapshotter::{Active, Lower, Snapshotter};
use crate::stack::MergedDirectory;
use crate::walk::{DEPTH_MAX, list_names, open_directory_at, open_root};

/// Copies the layers instead of laying them over each other: slow, and correct wherever bind mounts work.
///
/// A writable mount is a copy of the whole merged tree in the *upper* directory; the commit then takes out of it what
/// the lowers hold too. The copy shares blocks with the layers where the file system can do that.
#[derive(Debug)]
pub struct CopySnapshotter {
    format: LayerFormat,
    scratch: PathBuf,
    views: AtomicU64,
}

impl CopySnapshotter {
    /// `scratch` is an existing directory for the copies behind [`Snapshotter::view`]; the caller removes it when no
    /// view is open any more.
    pub fn new(format: LayerFormat, scratch: PathBuf) -> Self {
        Self { format, scratch, views: AtomicU64::new(0) }
    }

    fn fresh_scratch(&self) -> Result<PathBuf> {
        loop {
            let number = self.views.fetch_add(1, Ordering::Relaxed);
            let path = self.scratch.join(format!("view-{}-{number}", std::process::id()));
            match rustix::fs::mkdir(&path, Mode::RWXU) {
                Ok(()) => return Ok(path),
                // Left by a process of the same number that was killed.
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno).at("create the directory", path.as_os_str().as_bytes()),
            }
        }
    }
}

impl Snapshotter for CopySnapshotter {
    fn format(&self) -> LayerFormat {
        self.format
    }

    fn mount(&self, lowers: &[&Path], active: Active<'_>) -> Result<OwnedFd> {
        flatten(lowers, active.upper, self.format)?;
        bind(active.upper, MountAttrFlags::empty())
    }

    fn view(&self, lowers: &[&Path]) -> Result<OwnedFd> {
        let copy = self.fresh_scratch()?;
        flatten(lowers, &copy, self.format)?;
        bind(&copy, MountAttrFlags::MOUNT_ATTR_RDONLY)
    }

    fn mount_over(&self, lowers: &[Lower<'_>], active: Option<Active<'_>>) -> Result<OwnedFd> {
        let paths = lowers.iter().map(|lower| match lower {
            Lower::Layer(path) => Ok(*path),
            // A copy would be read before anybody asks for anything.
            Lower::Served { .. } => Err(SnapshotError::ServedRefused),
        });
        let paths = paths.collect::<Result<Vec<_>>>()?;
        match active {
            Some(active) => self.mount(&paths, active),
            None => self.view(&paths),
        }
    }

    fn commit(&self, lowers: &[&Path], active: Active<'_>, known: &Contents) -> Result<Committed> {
        commit_as(active.upper, lowers, self.format, Coverage::Everything, known)
    }
}

fn bind(path: &Path, extra: MountAttrFlags) -> Result<OwnedFd> {
    let bytes = path.as_os_str().as_bytes();
    let directory = open_root(path)?;
    let mount = clone_tree(&directory, c"", Recursion::Single).at("clone the mount of", bytes)?;
    let change = AttributeChange::setting(MountAttrFlags::MOUNT_ATTR_NODEV | extra);
    set_attributes(&mount, c"", Recursion::Single, change).at("set the mount attributes of", bytes)?;
    Ok(mount)
}

/// Copies the merged tree of `lowers` (base first) into the empty directory `into`, which is then a layer directory
/// that holds all of them: for stacks of more than [`crate::LOWERS_MAX`] layers. Its content is the merged tree, so
/// it takes the place of the lowers, not a place on top of them.
///
/// # Errors
/// [`SnapshotError::Io`], [`SnapshotError::TooDeep`]; the directory may then be half filled.
pub fn flatten(lowers: &[&Path], into: &Path, format: LayerFormat) -> Result<()> {
    struct Frame {
        merged: MergedDirectory,
        copy: OwnedFd,
        names: std::vec::IntoIter<Vec<u8>>,
        node: Node,
        path: Vec<u8>,
    }
    let merged = MergedDirectory::open(lowers, format)?;
    let root_node = merged.root_node()?;
    prepare_root(into, &Lower::layers(lowers), format)?;
    let copy = open_root(into)?;
    if !list_names(copy.as_fd()).at("list", b"")?.is_empty() {
        return Err(Errno::NOTEMPTY).at("copy layers into", into.as_os_str().as_bytes());
    }
    let names = merged.names(b"")?.into_iter();
    crate::commit::mark_root(copy.as_fd(), root_node.root_changed)?;
    let mut copied: HashMap<(u64, u64), Vec<u8>> = HashMap::new();
    let root = crate::walk::reopen_directory(copy.as_fd()).at("open", b"")?;
    let mut frames = vec![Frame { merged, copy, names, node: root_node, path: Vec::new() }];
    while let Some(frame) = frames.last_mut() {
        let Some(name) = frame.names.next() else {
            // The attributes come last: copying into a directory changes its times.
            let attributes = Attributes::from(&frame.node);
            attributes.apply(format, frame.copy.as_fd(), Kind::Directory, &frame.path)?;
            frames.pop();
            continue;
        };
        let path = if frame.path.is_empty() { name.clone() } else { [&frame.path, &b"/"[..], &name].concat() };
        let Some(found) = frame.merged.lookup(&name, &path)? else { continue };
        if found.node.is_directory() {
            if frames.len() >= DEPTH_MAX {
                return Err(SnapshotError::TooDeep { path: display(&path) });
            }
            let Some(frame) = frames.last() else { break };
            rustix::fs::mkdirat(&frame.copy, name.as_slice(), Mode::RWXU).at("create", &path)?;
            let copy = open_directory_at(frame.copy.as_fd(), &name).at("open", &path)?;
            let merged = frame.merged.child(&name, &found, &path)?;
            let names = merged.names(&path)?.into_iter();
            frames.push(Frame { merged, copy, names, node: found.node, path });
            continue;
        }
        if found.node.links > 1
            && let Some(first) = copied.get(&found.node.identity)
        {
            // Both names are in the copy, which nobody else writes to.
            rustix::fs::linkat(&root, first.as_slice(), &frame.copy, name.as_slice(), AtFlags::empty())
                .at("link", &path)?;
            continue;
        }
        copy_node(format, frame.merged.holder(&found), &name, &found.node, frame.copy.as_fd(), &name, &path)?;
        if found.node.links > 1 {
            copied.insert(found.node.identity, path);
        }
    }
    Ok(())
}

/// Copies one file that is no directory, with everything that belongs to it, to a name that does not exist.
pub(crate) fn copy_node(
    format: LayerFormat,
    from: BorrowedFd<'_>,
    from_name: &[u8],
    node: &Node,
    to: BorrowedFd<'_>,
    to_name: &[u8],
    path: &[u8],
) -> Result<()> {
    match node.kind {
        Kind::File => {
            let mut source = open_file(from, from_name, path)?;
            let mut copy = File::from(create_file(to, to_name).at("create", path)?);
            // Shares blocks, else copies inside the kernel, else by hand.
            if rustix::fs::ioctl_ficlone(&copy, &source).is_err() {
                std::io::copy(&mut source, &mut copy).at("copy", path)?;
            }
        }
        Kind::Symlink => {
            let target = rustix::fs::readlinkat(from, from_name, Vec::new()).at("read the link", path)?;
            rustix::fs::symlinkat(target, to, to_name).at("create", path)?;
        }
        Kind::CharacterDevice { major, minor } => {
            make_device(format.ownership, to, to_name, path, DeviceKind::Character, (major, minor))?;
        }
        Kind::BlockDevice { major, minor } => {
            make_device(format.ownership, to, to_name, path, DeviceKind::Block, (major, minor))?;
        }
        Kind::Fifo => rustix::fs::mkfifoat(to, to_name, Mode::RUSR | Mode::WUSR).at("create", path)?,
        Kind::Directory | Kind::Socket | Kind::Whiteout => return Ok(()),
    }
    let pinned = pin(to, to_name).at("open", path)?;
    Attributes::from(node).apply(format, pinned.as_fd(), node.kind, path).map(drop)
}
