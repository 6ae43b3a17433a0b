//! Several adjacent layers put together in one: for stacks that are too long to be mounted quickly.
//!
//! The layers are laid over each other from the lowest up. Files become hard links, since layers are never written to;
//! directories are made. In the end the result is committed on top of what is below the layers, which leaves the deletions
//! that mean something: overlay lists those that do not.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bake_oci::Timestamp;
use bake_sys::{AtFlags, Errno, Mode, xattr};

use crate::commit::{Committed, commit, make_whiteout, prepare_root};
use crate::copy::copy_node;
use crate::error::{At, Result};
use crate::format::LayerFormat;
use crate::layer_digest::Contents;
use crate::node::{Kind, Node, NodeReader};
use crate::ownership::{Attributes, set_mtime};
use crate::snapshotter::Lower;
use crate::walk::{Event, Walk, list_names, open_beneath, open_directory_at, open_root, remove_tree};

/// Puts `layers` (adjacent in a stack, lowest first) into the empty directory `into`, which then is one layer that does
/// to the stack `below` what all of them do. It must be on the file system of the layers.
///
/// # Errors
/// [`crate::SnapshotError::Io`], [`crate::SnapshotError::TooDeep`]; the directory may then be half filled.
pub fn squash(below: &[&Path], layers: &[&Path], into: &Path, format: LayerFormat) -> Result<Committed> {
    let root = open_root(into)?;
    if !list_names(root.as_fd()).at("list", b"")?.is_empty() {
        return Err(Errno::NOTEMPTY).at("put layers into", into.as_os_str().as_bytes());
    }
    let mut squash = Squash { format, reader: format.into(), directories: BTreeMap::new(), top: None, time: None };
    for layer in layers {
        squash.add(layer, &root)?;
    }
    prepare_root(into, &Lower::layers(below), format)?;
    squash.finish(&root)?;
    drop(root);
    commit(into, below, format, &Contents::new())
}

struct Squash {
    format: LayerFormat,
    reader: NodeReader,
    /// The directories made so far, by path, with the attributes that they get when nothing is put into them any more.
    directories: BTreeMap<Vec<u8>, Node>,
    /// The root directory of the topmost layer that changed it.
    top: Option<Node>,
    /// The time of the root directory of the topmost layer.
    time: Option<Timestamp>,
}

impl Squash {
    /// Lays one layer over what is there.
    fn add(&mut self, layer: &Path, root: &OwnedFd) -> Result<()> {
        let from = open_root(layer)?;
        let node = self.reader.read(from.as_fd(), b"").at("examine", b"")?;
        if node.opaque {
            self.hide_below(root.as_fd(), b"")?;
        }
        self.time = Some(node.mtime);
        if node.root_changed {
            self.top = Some(node);
        }
        // The open directories of the result, from the root to where the walk is.
        let mut open = vec![open_beneath(root.as_fd(), b"", crate::walk::DIRECTORY).at("open", b"")?];
        let mut walk = Walk::new(from)?;
        while let Some(event) = walk.next() {
            if event == Event::Leave {
                open.pop();
                continue;
            }
            let node = self.reader.read(walk.directory(), walk.name()).at("examine", walk.path())?;
            let Some(parent) = open.last() else { break };
            if node.is_directory() {
                let child = self.directory(parent.as_fd(), &walk, node)?;
                open.push(child);
                walk.descend()?;
            } else {
                self.other(parent.as_fd(), &walk, &node)?;
            }
        }
        Ok(())
    }

    /// Makes the directory where the walk is, or takes the one that is there.
    fn directory(&mut self, parent: BorrowedFd<'_>, walk: &Walk, mut node: Node) -> Result<OwnedFd> {
        let (name, path) = (walk.name(), walk.path());
        let there = match self.reader.read(parent, name) {
            Ok(there) => Some(there.kind),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(errno).at("examine", path),
        };
        if let Some(Kind::Directory) = there {
            // What was hidden stays hidden, and what this layer hides is what the ones before it put here.
            let hidden = self.directories.get(path).is_some_and(|before| before.opaque);
            if node.opaque {
                let opened = open_directory_at(parent, name).at("open", path)?;
                self.hide_below(opened.as_fd(), path)?;
            }
            node.opaque |= hidden;
        } else {
            if there.is_some() {
                rustix::fs::unlinkat(parent, name, AtFlags::empty()).at("replace", path)?;
                node.opaque = true;
            }
            rustix::fs::mkdirat(parent, name, Mode::RWXU).at("create", path)?;
        }
        let opened = open_directory_at(parent, name).at("open", path)?;
        self.directories.insert(path.to_vec(), node);
        Ok(opened)
    }

    /// Puts a file, link, device or deletion in the place of what is there.
    fn other(&mut self, parent: BorrowedFd<'_>, walk: &Walk, node: &Node) -> Result<()> {
        let (name, path) = (walk.name(), walk.path());
        self.clear(parent, name, path)?;
        if node.kind == Kind::Whiteout {
            return make_whiteout(self.format, parent, name).at("make a deletion at", path);
        }
        match rustix::fs::linkat(walk.directory(), name, parent, name, AtFlags::empty()) {
            // Too many names, or a file system that has none.
            Err(Errno::MLINK | Errno::PERM | Errno::OPNOTSUPP) => {
                copy_node(self.format, walk.directory(), name, node, parent, name, path)
            }
            linked => linked.at("link", path),
        }
    }

    /// Removes what is called `name`, with all below it.
    fn clear(&mut self, parent: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<()> {
        match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR) => {
                self.forget(path);
                remove_tree(parent, name, path)
            }
            Err(errno) => Err(errno).at("replace", path),
        }
    }

    /// Empties the directory at `path`: the layer being added hides what is in it.
    fn hide_below(&mut self, directory: BorrowedFd<'_>, path: &[u8]) -> Result<()> {
        for name in list_names(directory).at("list", path)? {
            let child = if path.is_empty() { name.clone() } else { [path, b"/", &name].concat() };
            self.clear(directory, &name, &child)?;
        }
        Ok(())
    }

    /// Forgets the directories at and below `path`.
    fn forget(&mut self, path: &[u8]) {
        let below = [path, b"/"].concat();
        self.directories.retain(|known, _| known != path && !known.starts_with(&below));
    }

    /// Gives all directories their attributes, the deepest first.
    fn finish(self, root: &OwnedFd) -> Result<()> {
        for (path, node) in self.directories.iter().rev() {
            let directory = open_beneath(root.as_fd(), path, crate::walk::DIRECTORY).at("open", path)?;
            if node.opaque {
                xattr::set_open(&directory, self.format.overlay_xattrs.opaque(), b"y").at("mark as opaque", path)?;
            }
            Attributes::from(node).apply(self.format, directory.as_fd(), Kind::Directory, path)?;
        }
        if let Some(node) = &self.top {
            Attributes::from(node).apply(self.format, root.as_fd(), Kind::Directory, b"")?;
        }
        if let Some(time) = self.time {
            set_mtime(root.as_fd(), time).at("set the time of", b"")?;
        }
        Ok(())
    }
}
