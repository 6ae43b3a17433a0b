//! What an unpacked layer needs from the layers below it before it can be mounted on them.
//!
//! Layer archives may leave things unsaid that overlay must know: the metadata of directories they put files into,
//! what a hard link to a lower file holds, and where `lib/x` goes when the layers below have `lib -> usr/lib`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use bake_sys::{AtFlags, Errno, Mode, OFlags};
use rustix::fs::RenameFlags;

use crate::commit::make_whiteout;
use crate::copy::copy_node;
use crate::error::{At, Result, SnapshotError, display};
use crate::format::LayerFormat;
use crate::node::{Kind, Node, NodeReader, from_status, stat};
use crate::ownership::{Attributes, set_mtime};
use crate::stack::{Found, MergedDirectory, components, default_directory, resolve};
use crate::unpack::{Pending, refused, set_opaque};
use crate::walk::{list_names, open_beneath, open_directory_at, open_root, remove_tree};

/// Finishes the layer directory `layer` for the stack `lowers` (base first), after which it can be mounted on top of
/// that stack and of no other.
///
/// Directories the archive did not describe get the metadata of the lower directory of the same path. Where the lower
/// layers have a symbolic link to a directory at that path, the files move to where the link leads, as they would
/// have had the archive been unpacked over the lower layers. Hard links to lower files become copies of them.
///
/// # Errors
/// [`SnapshotError::MissingLinkTarget`], [`SnapshotError::RefusedEntry`], otherwise [`SnapshotError::Io`]. The layer is
/// then to be thrown away.
pub fn complete(pending: &Pending, layer: &Path, lowers: &[&Path], format: LayerFormat) -> Result<()> {
    let completion = Completion { root: open_root(layer)?, reader: format.into(), format, lowers };
    if pending.hides_everything {
        completion.hide_everything()?;
    }
    let mut moved: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut directories = pending.directories.clone();
    directories.sort_unstable();
    for directory in directories {
        let path = after_moves(&moved, &directory);
        if let Some(target) = completion.directory(&path)? {
            moved.push((path, target));
        }
    }
    for link in &pending.links {
        completion.link(&after_moves(&moved, &link.path), &link.target)?;
    }
    Ok(())
}

/// Where a path is after its directory moved.
fn after_moves(moved: &[(Vec<u8>, Vec<u8>)], path: &[u8]) -> Vec<u8> {
    let mut path = path.to_vec();
    for (from, to) in moved {
        if let Some(rest) = path.strip_prefix(from.as_slice())
            && (rest.is_empty() || rest.starts_with(b"/"))
        {
            let moved = [to.as_slice(), rest].concat();
            path = moved.strip_prefix(b"/").unwrap_or(&moved).to_vec();
        }
    }
    path
}

struct Completion<'a> {
    root: OwnedFd,
    reader: NodeReader,
    format: LayerFormat,
    lowers: &'a [&'a Path],
}

impl Completion<'_> {
    /// A deletion for every name below that the layer does not have; its own directories become opaque.
    fn hide_everything(&self) -> Result<()> {
        let lower = MergedDirectory::open(self.lowers, self.format)?;
        let mtime = self.reader.read(self.root.as_fd(), b"").at("examine", b"")?.mtime;
        for name in lower.names(b"")? {
            match self.layer_node(self.root.as_fd(), &name, &name)? {
                None => make_whiteout(self.format, self.root.as_fd(), &name).at("make the deletion", &name)?,
                Some(node) if node.is_directory() => {
                    let directory = open_directory_at(self.root.as_fd(), &name).at("open", &name)?;
                    set_opaque(self.format, directory.as_fd(), &name)?;
                }
                Some(_) => {}
            }
        }
        set_mtime(self.root.as_fd(), mtime).at("restore the time of", b"")
    }

    /// Completes one undescribed directory. Returns where its content went if it had to move.
    fn directory(&self, path: &[u8]) -> Result<Option<Vec<u8>>> {
        let directory = match open_beneath(self.root.as_fd(), path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(directory) => directory,
            // It became part of another directory.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(errno) => return Err(errno).at("open", path),
        };
        match self.lower_node(path)? {
            Some(node) if node.is_directory() => {
                Attributes::from(&node).apply(self.format, directory.as_fd(), Kind::Directory, path)?;
                Ok(None)
            }
            Some(node) if node.kind == Kind::Symlink => {
                let target = resolve(self.lowers, self.format, path, true)?;
                if target.place.as_ref().and_then(|(_, found)| found.as_ref()).is_some_and(is_file) {
                    return Ok(None);
                }
                if target.path.starts_with(&[path, b"/"].concat()) || target.path == path {
                    return Err(refused(path, "it is a symbolic link into itself in the layers below"));
                }
                self.move_content(path, &directory, &target.path)?;
                Ok(Some(target.path))
            }
            // Nothing, or a file that the directory replaces: the defaults it was made with stay.
            _ => Ok(None),
        }
    }

    /// What the lower layers show at `path` through this layer: `None` also when this layer hides it.
    fn lower_node(&self, path: &[u8]) -> Result<Option<Node>> {
        let mut lower = MergedDirectory::open(self.lowers, self.format)?;
        let mut directory = open_beneath(self.root.as_fd(), b"", OFlags::RDONLY | OFlags::DIRECTORY).at("open", b"")?;
        let names: Vec<&[u8]> = components(path).collect();
        let Some((last, parents)) = names.split_last() else { return Ok(None) };
        for name in parents {
            let own = self.reader.read(directory.as_fd(), name).at("examine", path)?;
            let Some(below) = lower.subdirectory(name, path)?.filter(|_| !own.opaque) else { return Ok(None) };
            directory = open_directory_at(directory.as_fd(), name).at("open", path)?;
            lower = below;
        }
        if self.reader.read(directory.as_fd(), last).at("examine", path)?.opaque {
            return Ok(None);
        }
        Ok(lower.lookup(last, path)?.map(|found| found.node))
    }

    /// Moves what is in the directory at `path` to `target`, and removes the directory.
    fn move_content(&self, path: &[u8], directory: &OwnedFd, target: &[u8]) -> Result<()> {
        let destination = self.ensure_directory(target)?;
        let mut pairs = vec![(directory.try_clone().at("open", path)?, destination)];
        while let Some((from, to)) = pairs.pop() {
            let mtime = self.reader.read(to.as_fd(), b"").at("examine", target)?.mtime;
            for name in list_names(from.as_fd()).at("list", path)? {
                let renamed =
                    rustix::fs::renameat_with(&from, name.as_slice(), &to, name.as_slice(), RenameFlags::NOREPLACE);
                match renamed {
                    Ok(()) => {}
                    Err(Errno::EXIST) => merge(&from, &to, &name, target, &mut pairs)?,
                    Err(errno) => return Err(errno).at("move", path),
                }
            }
            set_mtime(to.as_fd(), mtime).at("restore the time of", target)?;
        }
        let (parent, name) = self.split(path)?;
        let mtime = self.reader.read(parent.as_fd(), b"").at("examine", path)?.mtime;
        remove_tree(parent.as_fd(), name, path)?;
        set_mtime(parent.as_fd(), mtime).at("restore the time of", path)
    }

    /// The directory `path` of the layer; what is missing of it is made like the lower directories of that path.
    fn ensure_directory(&self, path: &[u8]) -> Result<OwnedFd> {
        let mut directory = open_beneath(self.root.as_fd(), b"", OFlags::RDONLY | OFlags::DIRECTORY).at("open", b"")?;
        let mut lower = Some(MergedDirectory::open(self.lowers, self.format)?);
        for name in components(path) {
            let found = match &lower {
                Some(lower) => lower.lookup(name, path)?.filter(|found| found.node.is_directory()),
                None => None,
            };
            let next = match self.layer_node(directory.as_fd(), name, path)? {
                Some(node) if node.is_directory() => open_directory_at(directory.as_fd(), name).at("open", path)?,
                Some(_) => return Err(refused(path, "links of the layers below lead through a file of this layer")),
                None => {
                    let mtime = self.reader.read(directory.as_fd(), b"").at("examine", path)?.mtime;
                    rustix::fs::mkdirat(&directory, name, Mode::RWXU).at("create", path)?;
                    let made = open_directory_at(directory.as_fd(), name).at("open", path)?;
                    let node = found.as_ref().map_or_else(default_directory, |found| found.node.clone());
                    Attributes::from(&node).apply(self.format, made.as_fd(), Kind::Directory, path)?;
                    set_mtime(directory.as_fd(), mtime).at("restore the time of", path)?;
                    made
                }
            };
            lower = match (&lower, found) {
                (Some(lower), Some(found)) => Some(lower.child(name, &found, path)?),
                _ => None,
            };
            directory = next;
        }
        Ok(directory)
    }

    /// Makes `path` the same file as `target` of this layer, or a copy of that of the lower layers.
    fn link(&self, path: &[u8], target: &[u8]) -> Result<()> {
        let missing = || SnapshotError::MissingLinkTarget { path: display(path), target: display(target) };
        let (parent, name) = match self.split(path) {
            Ok(split) => split,
            // A later entry of the layer took the place of one of its directories.
            Err(error) if error.errno() == Some(Errno::NOTDIR) || error.errno() == Some(Errno::LOOP) => return Ok(()),
            Err(error) => return Err(error),
        };
        match self.layer_node(parent.as_fd(), name, path)? {
            // A later entry of the same name.
            Some(node) if node.kind != Kind::Whiteout => return Ok(()),
            Some(_) => rustix::fs::unlinkat(&parent, name, AtFlags::empty()).at("replace", path)?,
            None => {}
        }
        let mtime = self.reader.read(parent.as_fd(), b"").at("examine", path)?.mtime;
        let resolved = resolve(self.lowers, self.format, target, false)?;
        if let Some((holder, own)) = self.own_file(&resolved.path)? {
            let own_name = own.as_slice();
            rustix::fs::linkat(&holder, own_name, &parent, name, AtFlags::empty()).at("link", path)?;
        } else {
            let (holder, found) = resolved.place.ok_or_else(missing)?;
            let found = found.ok_or_else(missing)?;
            if found.node.is_directory() {
                return Err(refused(path, "it is a hard link to a directory"));
            }
            let target_name = components(&resolved.path).next_back().ok_or_else(missing)?;
            copy_node(self.format, holder.holder(&found), target_name, &found.node, parent.as_fd(), name, path)?;
        }
        set_mtime(parent.as_fd(), mtime).at("restore the time of", path)
    }

    /// The file at `path` if this layer has it.
    fn own_file(&self, path: &[u8]) -> Result<Option<(OwnedFd, Vec<u8>)>> {
        let (parent, name) = match self.split(path) {
            Ok(split) => split,
            Err(error) if matches!(error.errno(), Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let node = self.layer_node(parent.as_fd(), name, path)?;
        let is_file = node.is_some_and(|node| !node.is_directory() && node.kind != Kind::Whiteout);
        Ok(is_file.then(|| (parent, name.to_vec())))
    }

    /// The layer's directory that holds the last component of `path`, and that component.
    fn split<'a>(&self, path: &'a [u8]) -> Result<(OwnedFd, &'a [u8])> {
        let (parent, name) =
            bake_sys::path::split_leaf(path).ok_or_else(|| refused(path, "it names the root directory"))?;
        let parent = parent.strip_suffix(b"/").unwrap_or(parent);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        Ok((open_beneath(self.root.as_fd(), parent, flags).at("open", parent)?, name))
    }

    fn layer_node(&self, directory: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<Option<Node>> {
        match self.reader.read(directory, name) {
            Ok(node) => Ok(Some(node)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno).at("examine", path),
        }
    }
}

/// A name that both directories have: directories merge, anything else is replaced by what moves.
fn merge(from: &OwnedFd, to: &OwnedFd, name: &[u8], path: &[u8], pairs: &mut Vec<(OwnedFd, OwnedFd)>) -> Result<()> {
    let is_directory = |parent: &OwnedFd| stat(parent.as_fd(), name).map(|status| from_status(&status).is_directory());
    match (is_directory(from).at("examine", path)?, is_directory(to).at("examine", path)?) {
        (true, true) => {
            let one = open_directory_at(from.as_fd(), name).at("open", path)?;
            let other = open_directory_at(to.as_fd(), name).at("open", path)?;
            pairs.push((one, other));
            return Ok(());
        }
        (_, true) => remove_tree(to.as_fd(), name, path)?,
        (_, false) => rustix::fs::unlinkat(to, name, AtFlags::empty()).at("replace", path)?,
    }
    rustix::fs::renameat(from, name, to, name).at("move", path)
}

fn is_file(found: &Found) -> bool {
    !matches!(found.node.kind, Kind::Directory | Kind::Symlink)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_follow_their_directories() {
        let moved = vec![(b"lib".to_vec(), b"usr/lib".to_vec()), (b"to-root".to_vec(), Vec::new())];
        assert_eq!(after_moves(&moved, b"lib/x"), b"usr/lib/x");
        assert_eq!(after_moves(&moved, b"lib"), b"usr/lib");
        assert_eq!(after_moves(&moved, b"library"), b"library");
        assert_eq!(after_moves(&moved, b"to-root/x"), b"x");
    }
}
