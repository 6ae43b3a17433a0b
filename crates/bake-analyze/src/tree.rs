//! The merged tree of the layers applied so far.

use std::collections::BTreeMap;
use std::rc::Rc;

use bake_oci::Timestamp;

use crate::analysis::AnalyzeError;

/// The most names that the layers of an image may have together, those that are deleted again and directories that nobody describes
/// included. A name takes about 200 bytes, 400 at worst; the largest public images have a few hundred thousand.
pub const NODES_MAX: usize = 3_000_000;

/// The root directory.
pub(crate) const ROOT: usize = 0;

/// A name in the tree. Removed names keep their place in the list, but nothing leads to them.
#[derive(Debug)]
struct Node {
    parent: usize,
    name: Rc<[u8]>,
    children: BTreeMap<Rc<[u8]>, usize>,
    occupant: Occupant,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Occupant {
    pub(crate) kind: OccupantKind,
    pub(crate) layer: usize,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OccupantKind {
    Directory,
    /// A regular file: its number among all that were ever there.
    File(usize),
    Other,
}

/// The content behind one or more names.
#[derive(Debug, Clone)]
pub(crate) struct FileRecord {
    pub(crate) size_bytes: u64,
    pub(crate) content: Option<[u8; 32]>,
    pub(crate) mtime: Timestamp,
    /// The layer that brought it.
    pub(crate) layer: usize,
    /// How many names it has now.
    pub(crate) names: u32,
}

/// A file that an image has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisibleFile {
    /// Relative to the root.
    pub path: Vec<u8>,
    /// Its bytes; 0 for a further name of a file that is listed already.
    pub bytes: u64,
    /// The layer whose bytes these are, from 0.
    pub layer: usize,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

#[derive(Debug)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
    nodes_max: usize,
    pub(crate) files: Vec<FileRecord>,
}

impl Tree {
    pub(crate) fn new(nodes_max: usize) -> Self {
        let directory = Occupant { kind: OccupantKind::Directory, layer: 0, mode: 0o755, uid: 0, gid: 0 };
        let root = Node { parent: ROOT, name: Rc::from([]), children: BTreeMap::new(), occupant: directory };
        Self { nodes: vec![root], nodes_max, files: Vec::new() }
    }

    /// What is at `path`.
    pub(crate) fn find(&self, path: &[u8]) -> Option<usize> {
        let mut node = ROOT;
        for component in path.split(|byte| *byte == b'/').filter(|component| !component.is_empty()) {
            node = *self.nodes[node].children.get(component)?;
        }
        Some(node)
    }

    /// The name `name` in a directory.
    pub(crate) fn child(&self, directory: usize, name: &[u8]) -> Option<usize> {
        self.nodes[directory].children.get(name).copied()
    }

    /// Adds a name that is not there yet.
    pub(crate) fn add(&mut self, directory: usize, name: &[u8], occupant: Occupant) -> Result<usize, AnalyzeError> {
        if self.nodes.len() >= self.nodes_max {
            return Err(AnalyzeError::TooManyNames);
        }
        let (node, name): (usize, Rc<[u8]>) = (self.nodes.len(), Rc::from(name));
        self.nodes[directory].children.insert(Rc::clone(&name), node);
        self.nodes.push(Node { parent: directory, name, children: BTreeMap::new(), occupant });
        Ok(node)
    }

    pub(crate) fn occupant(&self, node: usize) -> Occupant {
        self.nodes[node].occupant
    }

    pub(crate) fn occupy(&mut self, node: usize, occupant: Occupant) {
        self.nodes[node].occupant = occupant;
    }

    /// Takes everything below a directory out of the tree; gives the names that were files.
    pub(crate) fn clear(&mut self, directory: usize) -> Vec<(usize, usize)> {
        let mut files = Vec::new();
        let mut left: Vec<usize> = std::mem::take(&mut self.nodes[directory].children).into_values().collect();
        while let Some(node) = left.pop() {
            if let OccupantKind::File(file) = self.nodes[node].occupant.kind {
                files.push((node, file));
            }
            left.extend(std::mem::take(&mut self.nodes[node].children).into_values());
        }
        files
    }

    /// Takes a name out of its directory. What is below it must be gone.
    pub(crate) fn unlink(&mut self, node: usize) {
        let (parent, name) = (self.nodes[node].parent, Rc::clone(&self.nodes[node].name));
        self.nodes[parent].children.remove(&name);
    }

    /// The path of a name, also of one that was taken out.
    pub(crate) fn path(&self, node: usize) -> Vec<u8> {
        let mut names = Vec::new();
        let mut current = node;
        while current != ROOT {
            names.push(&self.nodes[current].name[..]);
            current = self.nodes[current].parent;
        }
        names.reverse();
        names.join(&b'/')
    }

    /// The files that are there, sorted by path component.
    pub(crate) fn visible(&self) -> Vec<VisibleFile> {
        let mut seen = vec![false; self.files.len()];
        let mut found = Vec::new();
        // Depth first without recursion: an image may nest as deeply as paths are long.
        let mut left = vec![ROOT];
        while let Some(index) = left.pop() {
            let node = &self.nodes[index];
            if let OccupantKind::File(file) = node.occupant.kind
                && let Some(record) = self.files.get(file)
            {
                let first = !std::mem::replace(&mut seen[file], true);
                let Occupant { mode, uid, gid, .. } = node.occupant;
                let bytes = if first { record.size_bytes } else { 0 };
                found.push(VisibleFile { path: self.path(index), bytes, layer: record.layer, mode, uid, gid });
            }
            left.extend(node.children.values().rev());
        }
        found
    }
}
