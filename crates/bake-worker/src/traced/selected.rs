//! Files of a build context as a bind mount shows them, without the copy that the mount is made of.

use std::collections::HashMap;
use std::sync::Arc;

use bake_snapshot::{FileKind, FileNames, LayerTree, TreeName, kind_letter};
use bake_solver::{Answer, Asked, NodeAnswer, StepError};
use rustix::fs::{FileType, Stat};

use super::names_digest;
use crate::mounts::{COPIED_FILE, EMPTY_COPY_MODE};
use crate::select::{Item, Selection, Selections};
use crate::source_tree::{SourceTree, TreeError, split};

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
    links: HashMap<(u64, u64), FileNames>,
    /// The names in each directory, in byte order, once somebody asked for names.
    names: std::cell::OnceCell<HashMap<Vec<u8>, Vec<TreeName>>>,
}

impl SelectedTree {
    /// What mount number `position` shows of `tree`; `None` if nothing was selected for it.
    pub(crate) fn new(tree: SourceTree, selections: Arc<Selections>, position: usize) -> Option<Self> {
        let selection = selections.get(position)?.first()?;
        let mut items = HashMap::with_capacity(selection.items.len());
        let mut links: HashMap<(u64, u64), FileNames> = HashMap::new();
        for (number, item) in selection.items.iter().enumerate() {
            let path = if selection.is_directory { item.relative.clone() } else { COPIED_FILE.as_bytes().to_vec() };
            if !item.node.is_directory() && item.node.stat.st_nlink > 1 {
                FileNames::add(&mut links, identity(&item.node.stat), &path);
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
                LayerTree::content_of_device(major, minor)
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use std::collections::BTreeSet;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::Path;

    use bake_dockerfile::IgnorePatterns;
    use bake_snapshot::{NoMemory, Ownership};
    use bake_solver::PathList;

    use super::*;
    use crate::mounts::copy_for_mount;
    use crate::select::select_path;

    fn context(root: &Path) -> SourceTree {
        let ignore = IgnorePatterns::new(vec!["ignored".into(), "some/*".into(), "!some/kept".into()]).unwrap();
        SourceTree::new(crate::context::open(root).unwrap(), Some(ignore))
    }

    fn fill(root: &Path) {
        for directory in ["a/b", "ignored", "some", "empty"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        for file in ["a/b/file", "a-b", "ignored/x", "some/left", "some/kept", "empty-file", "a/z"] {
            fs::write(root.join(file), if file == "empty-file" { "" } else { file }).unwrap();
        }
        fs::hard_link(root.join("a/z"), root.join("a/b/again")).unwrap();
        fs::hard_link(root.join("a-b"), root.join("ignored/elsewhere")).unwrap();
        symlink("b/file", root.join("a/link")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, root.join("a/fifo"), FileType::Fifo, 0o640.into(), 0).unwrap();
        for (path, mode) in [("", 0o750), ("a", 0o711), ("a/b/file", 0o4755), ("a-b", 0o600), ("empty", 0o1777)] {
            fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
        }
    }

    /// The same answers from the selection and from the copy that a mount would be made of.
    fn compared(source: &str, with_key: bool) {
        let directory = tempfile::tempdir().unwrap();
        let (root, copy) = (directory.path().join("context"), directory.path().join("copy"));
        for path in [&root, &copy] {
            fs::create_dir(path).unwrap();
        }
        fill(&root);
        let tree = context(&root);
        let selections = vec![vec![select_path(&tree, source.as_bytes(), None).unwrap()]];
        if with_key {
            crate::content::digest(&tree, &selections[0], &mut NoMemory, &mut PathList::default()).unwrap();
        }
        let (_, contents) = copy_for_mount(&tree, &selections[0][0], &copy, Ownership::Native).unwrap();
        let open = || crate::context::open(&copy).unwrap();
        let copies = [
            LayerTree::of_directory(open(), Ownership::Native).knowing(|| contents),
            LayerTree::of_directory(open(), Ownership::Native),
        ];
        let selected = SelectedTree::new(tree, Arc::new(selections), 0).unwrap();
        let mut paths: BTreeSet<Vec<u8>> = selected.items.keys().cloned().collect();
        assert!(!paths.is_empty());
        for other in ["", "none", "a/none/x", "ignored", "some", "some/left", "a/link/x", "file", "a/b/file/x"] {
            paths.insert(other.into());
        }
        for path in &paths {
            for asked in [Asked::Node, Asked::Names] {
                let mut expected = copies.iter().map(|copy| super::super::answer(copy, asked, path).unwrap());
                let shown = String::from_utf8_lossy(path);
                let found = selected.answer(asked, path).unwrap();
                assert!(expected.all(|expected| expected == found), "{asked:?} of {shown:?}: {found:?}");
            }
        }
    }

    #[test]
    fn a_selection_answers_as_its_copy_does() {
        if !rustix::process::geteuid().is_root() {
            // What is copied belongs to root.
            return;
        }
        for source in ["", "a", "a/b", "a/b/file", "a/link", "some", "empty", "empty-file"] {
            for with_key in [false, true] {
                compared(source, with_key);
            }
        }
    }
}
