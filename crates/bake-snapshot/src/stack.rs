//! A stack of layer directories seen as one tree, without mounting it.
//!
//! Follows overlay's rules: the topmost layer that names a file decides; directories of adjacent layers merge until
//! a layer deletes the name, holds something else under it, or makes it opaque.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use bake_oci::Timestamp;
use bake_sys::Errno;

use crate::error::{At, Result, SnapshotError, display};
use crate::format::LayerFormat;
use crate::node::{Kind, Node, NodeReader};
use crate::walk::{list_names, open_directory_at, open_root};

/// Symbolic links followed in one path, as the kernel's own limit (`path_resolution(7)`).
pub(crate) const LINKS_MAX: u32 = 40;

/// One directory of the merged tree: the layers that contribute to it.
#[derive(Debug)]
pub(crate) struct MergedDirectory {
    /// Topmost first.
    layers: Vec<OwnedFd>,
    reader: NodeReader,
}

/// A file of the merged tree.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) node: Node,
    /// Which of the directory's layers holds it.
    layer: usize,
}

impl MergedDirectory {
    /// The root directory of `lowers`, base first. No lowers make an empty directory.
    pub(crate) fn open(lowers: &[&Path], format: LayerFormat) -> Result<Self> {
        let layers = lowers.iter().rev().map(|path| open_root(path)).collect::<Result<Vec<_>>>()?;
        Ok(Self { layers, reader: format.into() })
    }

    /// What `name` is, if it exists. `path` is for errors.
    pub(crate) fn lookup(&self, name: &[u8], path: &[u8]) -> Result<Option<Found>> {
        for (layer, directory) in self.layers.iter().enumerate() {
            match self.reader.read(directory.as_fd(), name) {
                Ok(Node { kind: Kind::Whiteout, .. }) => return Ok(None),
                Ok(node) => return Ok(Some(Found { node, layer })),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno).at("examine", path),
            }
        }
        Ok(None)
    }

    /// The layer directory that holds what [`Self::lookup`] found.
    pub(crate) fn holder(&self, found: &Found) -> BorrowedFd<'_> {
        self.layers.get(found.layer).map_or_else(|| unreachable!("the index came from this stack"), AsFd::as_fd)
    }

    /// The merged directory `name`, which [`Self::lookup`] found to be one.
    pub(crate) fn child(&self, name: &[u8], found: &Found, path: &[u8]) -> Result<Self> {
        let mut layers = Vec::new();
        let mut node = found.node.clone();
        for directory in self.layers.iter().skip(found.layer) {
            if !layers.is_empty() {
                node = match self.reader.read(directory.as_fd(), name) {
                    Ok(node) => node,
                    Err(Errno::NOENT) => continue,
                    Err(errno) => return Err(errno).at("examine", path),
                };
            }
            if !node.is_directory() {
                break;
            }
            layers.push(open_directory_at(directory.as_fd(), name).at("open", path)?);
            if node.opaque {
                break;
            }
        }
        Ok(Self { layers, reader: self.reader })
    }

    /// The merged directory `name` if there is one.
    pub(crate) fn subdirectory(&self, name: &[u8], path: &[u8]) -> Result<Option<Self>> {
        match self.lookup(name, path)? {
            Some(found) if found.node.is_directory() => self.child(name, &found, path).map(Some),
            _ => Ok(None),
        }
    }

    /// The names that exist, in byte order. `path` is for errors.
    pub(crate) fn names(&self, path: &[u8]) -> Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        for directory in &self.layers {
            names.extend(list_names(directory.as_fd()).at("list", path)?);
        }
        names.sort_unstable();
        names.dedup();
        let mut visible = Vec::with_capacity(names.len());
        for name in names {
            if self.lookup(&name, path)?.is_some() {
                visible.push(name);
            }
        }
        Ok(visible)
    }

    /// The metadata of the root directory: that of the topmost layer that changed it, else 0:0 and 0755.
    pub(crate) fn root_node(&self) -> Result<Node> {
        for directory in &self.layers {
            let node = self.reader.read(directory.as_fd(), b"").at("examine", b"")?;
            if node.root_changed {
                return Ok(node);
            }
        }
        Ok(default_directory())
    }
}

/// A directory nobody described: 0755, owner 0:0, time 0.
pub(crate) fn default_directory() -> Node {
    let epoch = Timestamp { seconds: 0, nanoseconds: 0 };
    Node {
        kind: Kind::Directory,
        mode: 0o755,
        uid: 0,
        gid: 0,
        size: 0,
        mtime: epoch,
        ctime: epoch,
        identity: (0, 0),
        links: 1,
        xattrs: std::collections::BTreeMap::new(),
        opaque: false,
        root_changed: false,
    }
}

/// Where a path leads in the merged tree.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// The path without links, `.` and `..`, relative to the root.
    pub(crate) path: Vec<u8>,
    /// The merged directory that holds the last component, with what is there; `None` when its parent is missing or
    /// the path is the root.
    pub(crate) place: Option<(MergedDirectory, Option<Found>)>,
}

/// Resolves `path` in the stack as a process with that root would, following links up to and including the last
/// component if `follow_last`. Missing components are kept by name.
pub(crate) fn resolve(lowers: &[&Path], format: LayerFormat, path: &[u8], follow_last: bool) -> Result<Resolved> {
    resolve_telling(lowers, format, path, follow_last, &mut |_| {})
}

/// The paths that are looked up in the stack `lowers` (base first) when a process with that root opens `path`, relative to the
/// root: each directory on the way, the file itself, and where one is a symbolic link, those of where it leads.
///
/// Paths below one that is missing are among them; whoever finds it missing need not look at those.
///
/// # Errors
/// [`SnapshotError::RefusedEntry`] for a circle of links; otherwise [`SnapshotError::Io`].
pub fn passed_paths(lowers: &[&Path], format: LayerFormat, path: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut passed = Vec::new();
    resolve_telling(lowers, format, path, true, &mut |names| passed.push(names.join(&b'/')))?;
    Ok(passed)
}

fn resolve_telling(
    lowers: &[&Path],
    format: LayerFormat,
    path: &[u8],
    follow_last: bool,
    told: &mut dyn FnMut(&[Vec<u8>]),
) -> Result<Resolved> {
    let mut pending: Vec<Vec<u8>> = components(path).rev().map(<[u8]>::to_vec).collect();
    let mut names: Vec<Vec<u8>> = Vec::new();
    let mut links = 0;
    while let Some(name) = pending.pop() {
        if name == b".." {
            names.pop();
            continue;
        }
        names.push(name);
        told(&names);
        if pending.is_empty() && !follow_last {
            break;
        }
        let (parent, found) = place(lowers, format, &names)?;
        if let (Some(parent), Some(found)) = (parent, found)
            && found.node.kind == Kind::Symlink
        {
            links += 1;
            if links > LINKS_MAX {
                return Err(SnapshotError::RefusedEntry {
                    path: display(path),
                    reason: "it passes too many symbolic links",
                });
            }
            let name = names.pop().unwrap_or_default();
            let target = rustix::fs::readlinkat(parent.holder(&found), name.as_slice(), Vec::new())
                .at("read the link", path)?
                .into_bytes();
            if target.first() == Some(&b'/') {
                names.clear();
            }
            pending.extend(components(&target).rev().map(<[u8]>::to_vec));
        }
    }
    let canonical = names.join(&b'/');
    let (parent, found) = place(lowers, format, &names)?;
    Ok(Resolved { path: canonical, place: parent.map(|parent| (parent, found)) })
}

/// The parent directory and the file that `names` lead to, without following links.
fn place(lowers: &[&Path], format: LayerFormat, names: &[Vec<u8>]) -> Result<(Option<MergedDirectory>, Option<Found>)> {
    let Some((last, parents)) = names.split_last() else { return Ok((None, None)) };
    let mut directory = MergedDirectory::open(lowers, format)?;
    let shown = names.join(&b'/');
    for name in parents {
        match directory.subdirectory(name, &shown)? {
            Some(child) => directory = child,
            None => return Ok((None, None)),
        }
    }
    let found = directory.lookup(last, &shown)?;
    Ok((Some(directory), found))
}

/// The components of a path, without empty ones and `.`.
pub(crate) fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|component| !component.is_empty() && *component != b".")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn everything_on_the_way_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let (base, top) = (directory.path().join("base"), directory.path().join("top"));
        std::fs::create_dir_all(base.join("usr/etc")).unwrap();
        std::fs::write(base.join("usr/etc/passwd"), "").unwrap();
        std::fs::create_dir_all(&top).unwrap();
        symlink("usr/./x/../etc", top.join("etc")).unwrap();
        let passed = |path: &str| {
            let passed = passed_paths(&[&base, &top], LayerFormat::ROOT, path.as_bytes()).unwrap();
            passed.into_iter().map(|path| String::from_utf8(path).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(passed("/etc/passwd"), ["etc", "usr", "usr/x", "usr/etc", "usr/etc/passwd"]);
        assert_eq!(passed("/none/at/all"), ["none", "none/at", "none/at/all"]);
        assert_eq!(passed("/"), Vec::<String>::new());
    }
}
