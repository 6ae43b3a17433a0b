//! Files of a build context as a bind mount shows them, without the copy that the mount is made of.

use std::collections::HashMap;
use std::sync::Arc;

use bake_snapshot::{FileKind, LayerTree, TreeName, kind_letter};
use bake_solver::{Answer, Asked, NodeAnswer, StepError};
use rustix::fs::{FileType, Stat};

use super::names_digest;
use crate::mounts::{COPIED_FILE, EMPTY_COPY_MODE};
use crate::select::{Item, Selection, Selections};
use crate::source_tree::{SourceTree, TreeError, split};

/// The names of one file.
#[derive(Debug)]
struct Names {
    count: u32,
    /// The first in byte order.
    first: Vec<u8>,
}

/// What a copy of a selection would hold: everything belongs to root, and has no extended attributes.
#[derive(Debug)]
pub(crate) struct SelectedTree {
    tree: SourceTree,
    selections: Arc<Selections>,
    /// Which of the selections.
    position: usize,
    /// The items by their paths in the copy.
    items: HashMap<Vec<u8>, usize>,
    /// The names of each file that has several, and of those that have others elsewhere.
    links: HashMap<(u64, u64), Names>,
    /// The names in each directory, in byte order, once somebody asked for names.
    names: std::cell::OnceCell<HashMap<Vec<u8>, Vec<TreeName>>>,
}

impl SelectedTree {
    /// What mount number `position` shows of `tree`; `None` if nothing was selected for it.
    pub(crate) fn new(tree: SourceTree, selections: Arc<Selections>, position: usize) -> Option<Self> {
        let selection = selections.get(position)?.first()?;
        let mut items = HashMap::with_capacity(selection.items.len());
        let mut links: HashMap<(u64, u64), Names> = HashMap::new();
        for (number, item) in selection.items.iter().enumerate() {
            let path = if selection.is_directory { item.relative.clone() } else { COPIED_FILE.as_bytes().to_vec() };
            if !item.node.is_directory() && item.node.stat.st_nlink > 1 {
                let names = links.entry(identity(&item.node.stat));
                let names = names.or_insert_with(|| Names { count: 0, first: path.clone() });
                names.count += 1;
                if path < names.first {
                    names.first.clone_from(&path);
                }
            }
            items.insert(path, number);
        }
        Some(Self { tree, selections, position, items, links, names: std::cell::OnceCell::new() })
    }

    fn selection(&self) -> Option<&Selection> {
        self.selections.get(self.position)?.first()
    }

    /// What a copy would answer.
    pub(crate) fn answer(&self, asked: Asked, path: &[u8]) -> Result<Answer, StepError> {
        match asked {
            Asked::Node => self.node(path).map_err(|error| StepError::input(error.to_string())),
            Asked::Names => {
                let names = self.names.get_or_init(|| self.all_names()).get(path);
                Ok(names.map_or(Answer::Absent, |names| Answer::Names(names_digest(names))))
            }
        }
    }

    fn node(&self, path: &[u8]) -> Result<Answer, TreeError> {
        let found = self.items.get(path).and_then(|number| {
            let selection = self.selection()?;
            let content = selection.contents.get().and_then(|contents| contents.get(*number).copied().flatten());
            Some((selection.items.get(*number)?, content))
        });
        let Some((item, content)) = found else {
            // The directory that the copy of a single file is in.
            let is_root = path.is_empty() && self.selection().is_some_and(|selection| !selection.is_directory);
            return Ok(if is_root { Answer::Node(directory(EMPTY_COPY_MODE)) } else { Answer::Absent });
        };
        let stat = &item.node.stat;
        let mode = stat.st_mode & 0o7777;
        let kind = kind_of(stat);
        if kind == FileKind::Directory {
            return Ok(Answer::Node(directory(mode)));
        }
        let names = self.links.get(&identity(stat)).filter(|names| names.count > 1);
        let mut content = self.content(item, kind, content)?;
        if let Some(names) = names {
            content = LayerTree::content_of_several(&content, &names.first);
        }
        let has_size = matches!(kind, FileKind::File | FileKind::Symlink);
        Ok(Answer::Node(NodeAnswer {
            kind: kind_letter(Some(kind)),
            mode: if kind == FileKind::Symlink { 0o777 } else { mode },
            uid: 0,
            gid: 0,
            size: if has_size { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 },
            links: names.map_or(1, |names| names.count),
            attributes: [0; 32],
            content,
        }))
    }

    /// What a file holds, as [`bake_snapshot::LayerTree::content`] says it.
    fn content(&self, item: &Item, kind: FileKind, known: Option<[u8; 32]>) -> Result<[u8; 32], TreeError> {
        let path = &item.node.path;
        if let Some(known) = known {
            return Ok(known);
        }
        Ok(match kind {
            FileKind::File => {
                let mut hasher = blake3::Hasher::new();
                let file = std::fs::File::from(self.tree.open_file(path)?);
                hasher.update_reader(file).map_err(|error| {
                    let errno = rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO);
                    crate::source_tree::io("read", path)(errno)
                })?;
                *hasher.finalize().as_bytes()
            }
            FileKind::Symlink => *blake3::hash(&self.tree.read_link(path)?).as_bytes(),
            FileKind::CharacterDevice { major, minor } | FileKind::BlockDevice { major, minor } => {
                *blake3::hash(&[major.to_le_bytes(), minor.to_le_bytes()].concat()).as_bytes()
            }
            FileKind::Directory | FileKind::Fifo | FileKind::Socket => [0; 32],
        })
    }

    fn all_names(&self) -> HashMap<Vec<u8>, Vec<TreeName>> {
        let mut names: HashMap<Vec<u8>, Vec<TreeName>> = HashMap::from([(Vec::new(), Vec::new())]);
        let Some(selection) = self.selection() else { return names };
        for (path, number) in &self.items {
            let Some(item) = selection.items.get(*number) else { continue };
            let kind = kind_of(&item.node.stat);
            if kind == FileKind::Directory {
                names.entry(path.clone()).or_default();
            }
            if !path.is_empty() {
                let (parent, name) = split(path);
                names.entry(parent.to_vec()).or_default().push((name.to_vec(), Some(kind)));
            }
        }
        for listed in names.values_mut() {
            listed.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        }
        names
    }
}

fn directory(mode: u32) -> NodeAnswer {
    let kind = kind_letter(Some(FileKind::Directory));
    NodeAnswer { kind, mode, uid: 0, gid: 0, size: 0, links: 1, attributes: [0; 32], content: [0; 32] }
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

fn kind_of(stat: &Stat) -> FileKind {
    let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile | FileType::Unknown => FileKind::File,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        FileType::CharacterDevice => FileKind::CharacterDevice { major, minor },
        FileType::BlockDevice => FileKind::BlockDevice { major, minor },
        FileType::Fifo => FileKind::Fifo,
        FileType::Socket => FileKind::Socket,
    }
}
