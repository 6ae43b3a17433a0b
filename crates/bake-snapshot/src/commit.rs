//! Upper directory to committed layer: what did not really change is dropped, the rest is digested.
//!
//! Outline of [`commit`]:
//! 1. walk the upper directory once, with the merged lower directories beside it;
//! 2. drop what equals the lower file, deletions of nothing, and sockets; put deletions in the one form that
//!    [`crate::write_layer`] needs no lower layers for: no opaque directories, one deletion per lower name;
//! 3. restore the times of directories that step 2 wrote to, and of those that overlay copied from a served tree;
//! 4. mark the root directory if its metadata changed;
//! 5. digest what is left ([`crate::layer_digest`]).

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use bake_oci::digest::TreeDigest;
use bake_sys::{AtFlags, Errno, Mode, xattr};
use rustix::fs::FileType;

use crate::content::{open_file, same_content};
use crate::error::{At, Result, SnapshotError, display};
use crate::format::{LayerFormat, ROOT_XATTR};
use crate::layer_digest::{Contents, DigestBuilder};
use crate::layer_tree::{LayerTraits, SERVED_DIRECTORY_TIME};
use crate::node::{Kind, Node, NodeReader, proc_path};
use crate::ownership::{Attributes, create_file, set_mtime};
use crate::snapshotter::Lower;
use crate::stack::{Found, MergedDirectory, default_directory};
use crate::walk::{Event, Walk, list_names, open_directory_at, open_root};

/// A committed layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// What the layer holds, without times: equal digests mean interchangeable layers.
    pub tree: TreeDigest,
    /// Files, directories and deletions in it.
    pub entries: u64,
    /// Apparent bytes of file content, hard-linked files counted once.
    pub size_bytes: u64,
    /// The content of each regular file; further names of a file are left out.
    pub contents: Contents,
    /// Whether files have extended attributes, or several names.
    pub traits: LayerTraits,
}

/// What an upper directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coverage {
    /// The changes to the lowers, as overlay leaves them.
    Changes,
    /// The whole tree: a lower file that is missing was deleted.
    Everything,
}

/// Makes the upper directory of a step a committed layer, in place. No mount may use it any more.
///
/// Kept is what differs from the merged `lowers` (base first): files by type, mode, owner, attributes, size, time and
/// content; links by target; directories when they are new, hold something kept, or changed in anything but their
/// time. The root directory's metadata belongs to the layer only if it changed.
///
/// Files in `known` are not read again: whoever wrote them knows the hash of what was written.
///
/// # Errors
/// [`SnapshotError::ReservedName`] for a file named `.wh.*`; [`SnapshotError::TooDeep`]; otherwise
/// [`SnapshotError::Io`]. The directory may then be half normalised and should be thrown away.
pub fn commit(upper: &Path, lowers: &[&Path], format: LayerFormat, known: &Contents) -> Result<Committed> {
    commit_as(upper, lowers, format, Coverage::Changes, known)
}

/// The digest of a layer directory that is committed already, for example by [`crate::unpack`]. Files in `known` are not
/// read.
///
/// # Errors
/// As [`commit`]. Nothing is written.
pub fn digest_layer(layer: &Path, format: LayerFormat, known: &Contents) -> Result<Committed> {
    let reader = NodeReader::from(format);
    let root = open_root(layer)?;
    let mut digest = DigestBuilder::default();
    let node = reader.read(root.as_fd(), b"").at("examine", b"")?;
    if node.root_changed {
        digest.push(b"", node, root.as_fd(), b"")?;
    }
    let mut walk = Walk::new(open_root(layer)?)?;
    while let Some(event) = walk.next() {
        if event == Event::Entry {
            let node = reader.read(walk.directory(), walk.name()).at("examine", walk.path())?;
            let descend = node.is_directory();
            digest.push(walk.path(), node, walk.directory(), walk.name())?;
            if descend {
                walk.descend()?;
            }
        }
    }
    digest.finish(root.as_fd(), known)
}

/// What the walk remembers of a directory it is in.
struct Level {
    node: Node,
    /// The merged lower directory of the same path.
    lower: Option<MergedDirectory>,
    /// The metadata of that, for comparison.
    lower_node: Option<Node>,
    /// Nothing of the lower directory shows through, whatever the attribute says.
    hides_lower: bool,
    /// Something in it was kept.
    kept: bool,
    /// Names were added or removed, so its time must be restored.
    touched: bool,
    /// How many digest entries there were before it, to take its own back if it is dropped.
    entries_before: usize,
}

pub(crate) fn commit_as(
    upper: &Path,
    lowers: &[&Path],
    format: LayerFormat,
    coverage: Coverage,
    known: &Contents,
) -> Result<Committed> {
    let commit = Commit { reader: format.into(), format };
    let root = open_root(upper)?;
    let lower = MergedDirectory::open(lowers, format)?;
    let lower_root = lower.root_node()?;
    let root_node = commit.reader.read(root.as_fd(), b"").at("examine", b"")?;
    let root_changed = !root_node.same_metadata(&lower_root);
    let mut digest = DigestBuilder::default();
    if root_changed {
        digest.push(b"", root_node.clone(), root.as_fd(), b"")?;
    }
    mark_root(root.as_fd(), root_changed)?;
    let mut top = Level {
        node: root_node,
        lower: Some(lower),
        lower_node: Some(lower_root),
        hides_lower: coverage == Coverage::Everything,
        kept: true,
        touched: false,
        entries_before: 0,
    };
    top.touched = commit.spell_out_deletions(root.as_fd(), &top, b"")?;
    let mut levels = vec![top];
    let mut walk = Walk::new(open_root(upper)?)?;
    while let Some(event) = walk.next() {
        match event {
            Event::Entry => commit.entry(&mut walk, &mut levels, &mut digest)?,
            Event::Leave => {
                let level = levels.pop().expect("every directory that is left was entered");
                let parent = levels.last_mut().expect("the root's level is never popped");
                leave(&walk, &level, parent, &mut digest)?;
            }
        }
    }
    if let Some(top) = levels.pop().filter(|top| top.touched) {
        set_mtime(root.as_fd(), top.node.mtime).at("restore the time of", b"")?;
    }
    digest.finish(root.as_fd(), known)
}

struct Commit {
    reader: NodeReader,
    format: LayerFormat,
}

impl Commit {
    /// Keeps or drops one name of the upper directory; descends into directories.
    fn entry(&self, walk: &mut Walk, levels: &mut Vec<Level>, digest: &mut DigestBuilder) -> Result<()> {
        let node = self.reader.read(walk.directory(), walk.name()).at("examine", walk.path())?;
        let parent = levels.last_mut().expect("the walk is inside a directory");
        let found = match &parent.lower {
            Some(lower) => lower.lookup(walk.name(), walk.path())?,
            None => None,
        };
        if node.kind != Kind::Whiteout && walk.name().starts_with(b".wh.") {
            return Err(SnapshotError::ReservedName { path: display(walk.path()) });
        }
        match node.kind {
            Kind::Directory => return self.enter(walk, node, found, levels, digest),
            // A socket has no meaning without the process that listens on it, and tar has no type for it.
            Kind::Socket => {
                remove(walk)?;
                parent.touched = true;
                if found.is_none() {
                    return Ok(());
                }
                self.make_whiteout(walk.directory(), walk.name(), walk.path())?;
                let node = self.reader.read(walk.directory(), walk.name()).at("examine", walk.path())?;
                digest.push(walk.path(), node, walk.directory(), walk.name())?;
            }
            Kind::Whiteout if found.is_none() => {
                remove(walk)?;
                parent.touched = true;
                return Ok(());
            }
            Kind::Whiteout => digest.push(walk.path(), node, walk.directory(), walk.name())?,
            _ => {
                if let (Some(found), Some(lower)) = (&found, &parent.lower)
                    && unchanged(walk, &node, lower, found)?
                {
                    remove(walk)?;
                    parent.touched = true;
                    return Ok(());
                }
                digest.push(walk.path(), node, walk.directory(), walk.name())?;
            }
        }
        parent.kept = true;
        Ok(())
    }

    fn enter(
        &self,
        walk: &mut Walk,
        node: Node,
        found: Option<Found>,
        levels: &mut Vec<Level>,
        digest: &mut DigestBuilder,
    ) -> Result<()> {
        let parent = levels.last().expect("the walk is inside a directory");
        let lower = match (&parent.lower, &found) {
            (Some(lower), Some(found)) if found.node.is_directory() => {
                Some(lower.child(walk.name(), found, walk.path())?)
            }
            _ => None,
        };
        let mut level = Level {
            lower_node: lower.is_some().then(|| found.map(|found| found.node)).flatten(),
            lower,
            hides_lower: node.opaque || parent.hides_lower,
            kept: false,
            touched: false,
            entries_before: digest.len(),
            node,
        };
        let directory = open_directory_at(walk.directory(), walk.name()).at("open", walk.path())?;
        if level.node.opaque {
            xattr::remove_open(&directory, self.format.overlay_xattrs.opaque())
                .at("take the opaque attribute off", walk.path())?;
            level.node.opaque = false;
        }
        level.touched = self.spell_out_deletions(directory.as_fd(), &level, walk.path())?;
        digest.push(walk.path(), level.node.clone(), walk.directory(), walk.name())?;
        levels.push(level);
        walk.descend()
    }

    /// For a directory that hides the lower one: a deletion for every lower name that the upper one does not have.
    /// Returns whether any was made.
    fn spell_out_deletions(&self, directory: BorrowedFd<'_>, level: &Level, path: &[u8]) -> Result<bool> {
        let Some(lower) = level.lower.as_ref().filter(|_| level.hides_lower) else { return Ok(false) };
        let names = list_names(directory).at("list", path)?;
        let mut made = false;
        for name in lower.names(path)? {
            if names.binary_search(&name).is_err() {
                self.make_whiteout(directory, &name, path)?;
                made = true;
            }
        }
        Ok(made)
    }

    fn make_whiteout(&self, directory: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<()> {
        make_whiteout(self.format, directory, name).at("make a deletion in", path)
    }
}

/// Keeps or drops a directory, now that it is known what stayed in it.
fn leave(walk: &Walk, level: &Level, parent: &mut Level, digest: &mut DigestBuilder) -> Result<()> {
    let changed = level.lower_node.as_ref().is_none_or(|lower| !level.node.same_metadata(lower));
    if level.kept || changed {
        parent.kept = true;
        let mut time = level.node.mtime;
        // Overlay copied the directory from a served tree, where it did not have its own time.
        let is_served = time == SERVED_DIRECTORY_TIME;
        if let (true, Some(lower)) = (is_served, &level.lower_node) {
            time = lower.mtime;
        }
        if level.touched || is_served {
            let directory = open_directory_at(walk.directory(), walk.name()).at("open", walk.path())?;
            set_mtime(directory.as_fd(), time).at("restore the time of", walk.path())?;
        }
        return Ok(());
    }
    rustix::fs::unlinkat(walk.directory(), walk.name(), AtFlags::REMOVEDIR).at("drop", walk.path())?;
    digest.truncate(level.entries_before);
    parent.touched = true;
    Ok(())
}

/// Whether a file of the upper directory is the lower one, copied up but not changed.
fn unchanged(walk: &Walk, node: &Node, lower: &MergedDirectory, found: &Found) -> Result<bool> {
    if !node.same_metadata(&found.node) {
        return Ok(false);
    }
    let holder = lower.holder(found);
    match node.kind {
        Kind::File => {
            // The time is part of what a layer keeps, so a file that was only touched is a change.
            if (node.size, node.mtime) != (found.node.size, found.node.mtime) {
                return Ok(false);
            }
            let upper = open_file(walk.directory(), walk.name(), walk.path())?;
            same_content(upper, open_file(holder, walk.name(), walk.path())?, walk.path())
        }
        Kind::Symlink => {
            let read = |directory: BorrowedFd<'_>| rustix::fs::readlinkat(directory, walk.name(), Vec::new());
            let upper = read(walk.directory()).at("read the link", walk.path())?;
            Ok(upper == read(holder).at("read the link", walk.path())?)
        }
        // Devices: the number is part of the kind, which is equal.
        _ => Ok(true),
    }
}

fn remove(walk: &Walk) -> Result<()> {
    rustix::fs::unlinkat(walk.directory(), walk.name(), AtFlags::empty()).at("drop", walk.path())
}

/// Puts overlay's deletion of `name` into a layer directory.
pub(crate) fn make_whiteout(
    format: LayerFormat,
    directory: BorrowedFd<'_>,
    name: &[u8],
) -> std::result::Result<(), Errno> {
    match rustix::fs::mknodat(directory, name, FileType::CharacterDevice, Mode::empty(), 0) {
        Err(Errno::PERM) => {
            let opaque = format.overlay_xattrs.opaque();
            let path = proc_path(directory, b"");
            if xattr::get(&path, opaque)?.is_none() {
                xattr::set(&path, opaque, b"x")?;
            }
            let file = create_file(directory, name)?;
            xattr::set_open(&file, format.overlay_xattrs.whiteout(), b"y")
        }
        other => other,
    }
}

/// Sets or takes away the mark that a layer's root directory has metadata of its own.
pub(crate) fn mark_root(root: BorrowedFd<'_>, changed: bool) -> Result<()> {
    if changed {
        return xattr::set_open(root, ROOT_XATTR, b"changed").at("mark", b"");
    }
    match xattr::remove_open(root, ROOT_XATTR) {
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
        other => other.at("unmark", b""),
    }
}

/// Gives a fresh upper directory the metadata of the lowers' root directory, which overlay would otherwise hide.
pub(crate) fn prepare_root(upper: &Path, lowers: &[Lower<'_>], format: LayerFormat) -> Result<()> {
    let reader = NodeReader::from(format);
    let mut node = default_directory();
    // That of the topmost layer that changed it, as `MergedDirectory::root_node` has it.
    for lower in lowers.iter().rev() {
        let own = match lower {
            Lower::Layer(path) => {
                let node = reader.read(open_root(path)?.as_fd(), b"").at("examine", b"")?;
                node.root_changed.then_some(node)
            }
            Lower::Served { tree, .. } => tree.root_node()?,
        };
        if let Some(own) = own {
            node = own;
            break;
        }
    }
    let root = open_root(upper)?;
    Attributes::from(&node).apply(format, root.as_fd(), Kind::Directory, b"").map(drop)
}
