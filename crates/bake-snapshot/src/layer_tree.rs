//! One directory tree, path by path: what a file server shows of it, and what a question about it is answered with.
//!
//! Nothing is read before it is asked for, so opening a large tree costs nothing. The tree must not change meanwhile.

use std::collections::HashMap;
use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};

use bake_oci::Timestamp;
use bake_sys::{Errno, OFlags, xattr};
use rustix::fs::{FileType, RawDir};

use crate::content::{BUFFER_BYTES, open_file};
use crate::error::{At, Result};
use crate::format::{LayerFormat, Ownership};
use crate::layer_digest::{Contents, bytes, type_letter};
use crate::node::{Kind, Node, NodeReader, proc_path, stat};
use crate::stack::default_directory;
use crate::view::FileKind;
use crate::walk::{Event, Walk, open_beneath, open_root, reopen_directory};

/// The time that every directory of a served tree has: midnight of 2000-01-01, with a fraction that nobody else sets.
///
/// What a directory's own time is depends on all files that were ever made or removed in it, which is more than who only looks
/// at the directory asks for. Files and links have their own times. It is after 1980, where the times of ZIP archives begin.
pub const SERVED_DIRECTORY_TIME: Timestamp = Timestamp { seconds: 946_684_800, nanoseconds: 424_242 };

/// A tree whose files are looked at one by one.
#[derive(Debug)]
pub struct LayerTree {
    root: OwnedFd,
    reader: NodeReader,
    /// Set for layers, whose root directory may have no metadata of its own.
    is_layer: bool,
    links: Links,
    contents: KnownContents,
    /// The directory that the last path was in: most questions are about its neighbours.
    cursor: Mutex<Option<(Vec<u8>, Arc<OwnedFd>)>>,
}

/// What files hold that need not be read; a long list, so it is got when the first file is asked for.
type KnownContents = LazyLock<Contents, Box<dyn FnOnce() -> Contents + Send>>;

/// Which names of the tree are those of one file. What the disk says also counts names elsewhere.
#[derive(Debug)]
enum Links {
    /// Each file has one.
    One,
    /// By file, of those that have several names anywhere; found out when the first of them is looked at.
    Several(OnceLock<HashMap<(u64, u64), FileNames>>),
}

/// The names of one file in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileNames {
    /// How many they are.
    pub count: u32,
    /// The first of them in byte order.
    pub first: Vec<u8>,
}

impl FileNames {
    /// Notes a name of the file `identity`.
    pub fn add(known: &mut HashMap<(u64, u64), Self>, identity: (u64, u64), name: &[u8]) {
        let names = known.entry(identity).or_insert_with(|| Self { count: 0, first: name.to_vec() });
        names.count += 1;
        if name < names.first.as_slice() {
            names.first = name.to_vec();
        }
    }
}

/// What may be left out when a layer is looked at, because it is known that there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerTraits {
    /// Whether a file has extended attributes that belong to the layer.
    pub attributes: bool,
    /// Whether a file has several names in the layer.
    pub links: bool,
}

/// A file of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeNode {
    /// What it is; `None` for a deletion of what layers below hold.
    pub kind: Option<FileKind>,
    /// Permission bits with setuid, setgid and sticky; those of a link mean nothing.
    pub mode: u32,
    /// Owner, as the image has it.
    pub uid: u32,
    /// Group, as the image has it.
    pub gid: u32,
    /// Size of the content of a file, or of a link's target, in bytes; 0 for everything else.
    pub size_bytes: u64,
    /// When its content was last changed.
    pub mtime: Timestamp,
    /// How many names it has in the tree; 1 for directories.
    pub links: u32,
    /// The first of its names in the tree, where it has several.
    pub first_name: Option<Vec<u8>>,
    /// The same for all names of one file of the tree, while the tree is open.
    pub identity: (u64, u64),
    /// The digest of its extended attributes; zero where there is none.
    pub attributes: [u8; 32],
    /// How it stands on the disk.
    pub disk: DiskStatus,
}

/// How a file stands on the disk, which is not what the image says where owners are only recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskStatus {
    /// Type and permission bits (`st_mode`).
    pub mode: u32,
    /// Owner, in the caller's user namespace.
    pub uid: u32,
    /// Group, in the caller's user namespace.
    pub gid: u32,
    /// Number of a device: major, minor.
    pub device: (u32, u32),
    /// When it was last read, which is where owners of links are recorded.
    pub atime: Timestamp,
}

/// A name in a directory of a tree, with the type of the file; `None` for a deletion.
pub type TreeName = (Vec<u8>, Option<FileKind>);

impl LayerTree {
    /// The layer at `directory`.
    ///
    /// # Errors
    /// [`SnapshotError::Io`](crate::SnapshotError::Io) if it cannot be opened.
    pub fn of_layer(directory: &Path, format: LayerFormat, traits: LayerTraits) -> Result<Self> {
        let root = open_root(directory)?;
        let reader = NodeReader { with_xattrs: traits.attributes, ..NodeReader::from(format) };
        let links = if traits.links { Links::Several(OnceLock::new()) } else { Links::One };
        Ok(Self { root, reader, is_layer: true, links, contents: nothing_known(), cursor: Mutex::default() })
    }

    /// The tree below an open directory that is no layer: a mount, or a copy.
    pub fn of_directory(root: OwnedFd, ownership: Ownership) -> Self {
        let reader = NodeReader { ownership, overlay: None, with_xattrs: true };
        Self {
            root,
            reader,
            is_layer: false,
            links: Links::Several(OnceLock::new()),
            contents: nothing_known(),
            cursor: Mutex::default(),
        }
    }

    /// The same, where files in `contents` need not be read to know what they hold. It is called when the first file is asked for,
    /// or never.
    #[must_use]
    pub fn knowing(self, contents: impl FnOnce() -> Contents + Send + 'static) -> Self {
        Self { contents: LazyLock::new(Box::new(contents)), ..self }
    }

    /// Where the owners of files are kept.
    pub fn ownership(&self) -> Ownership {
        self.reader.ownership
    }

    /// What is at `path`, relative to the root, which is the empty path; `None` when there is nothing. Links are never
    /// followed: below one there is nothing.
    ///
    /// # Errors
    /// [`SnapshotError::Io`](crate::SnapshotError::Io).
    pub fn node(&self, path: &[u8]) -> Result<Option<TreeNode>> {
        let (parent, name) = split(path);
        let Some(directory) = self.directory(parent).at("open the directory of", path)? else { return Ok(None) };
        let status = match stat(directory.as_fd(), if path.is_empty() { b"" } else { name }) {
            Ok(status) => status,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(errno) => return Err(errno).at("examine", path),
        };
        let time = |time: rustix::fs::StatxTimestamp| Timestamp { seconds: time.tv_sec, nanoseconds: time.tv_nsec };
        let disk = DiskStatus {
            mode: u32::from(status.stx_mode),
            uid: status.stx_uid,
            gid: status.stx_gid,
            device: (status.stx_rdev_major, status.stx_rdev_minor),
            atime: time(status.stx_atime),
        };
        let reader = if path.is_empty() { self.root_reader() } else { self.reader };
        let mut node = reader.read_from(&status, directory.as_fd(), name).at("examine", path)?;
        if path.is_empty() && self.is_layer && !node.root_changed {
            node = Node { mtime: node.mtime, identity: node.identity, ..default_directory() };
        }
        self.tree_node(&node, disk).map(Some)
    }

    fn tree_node(&self, node: &Node, disk: DiskStatus) -> Result<TreeNode> {
        let names = match &self.links {
            Links::Several(known) if node.links > 1 && !node.is_directory() => {
                if known.get().is_none() {
                    // Whoever was faster counted the same.
                    let _ = known.set(count_names(&self.root)?);
                }
                known.get().and_then(|known| known.get(&node.identity)).filter(|names| names.count > 1)
            }
            _ => None,
        };
        let mut attributes = [0; 32];
        if !node.xattrs.is_empty() {
            let mut hasher = blake3::Hasher::new();
            for (name, value) in &node.xattrs {
                bytes(&mut hasher, name);
                bytes(&mut hasher, value);
            }
            attributes = *hasher.finalize().as_bytes();
        }
        let has_size = matches!(node.kind, Kind::File | Kind::Symlink);
        Ok(TreeNode {
            kind: (node.kind != Kind::Whiteout).then(|| FileKind::of(node.kind)),
            mode: if node.kind == Kind::Symlink { 0o777 } else { node.mode },
            uid: node.uid,
            gid: node.gid,
            size_bytes: if has_size { node.size } else { 0 },
            mtime: node.mtime,
            links: names.map_or(1, |names| names.count),
            first_name: names.map(|names| names.first.clone()),
            identity: node.identity,
            attributes,
            disk,
        })
    }

    /// The names in the directory at `path` in byte order, without `.` and `..`; `None` when there is no directory.
    ///
    /// # Errors
    /// [`SnapshotError::Io`](crate::SnapshotError::Io).
    pub fn names(&self, path: &[u8]) -> Result<Option<Vec<TreeName>>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let directory = match open_beneath(self.root.as_fd(), path, flags) {
            Ok(directory) => directory,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(errno) => return Err(errno).at("open the directory", path),
        };
        let mut buffer: Vec<MaybeUninit<u8>> = vec![MaybeUninit::uninit(); BUFFER_BYTES];
        let mut entries = RawDir::new(&directory, &mut buffer);
        let mut names: Vec<(Vec<u8>, FileType)> = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = entry.at("list", path)?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push((name.to_vec(), entry.file_type()));
            }
        }
        names.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        let kinds = names.into_iter().map(|(name, kind)| {
            let kind = self.kind_of(directory.as_fd(), &name, kind).at("examine", path)?;
            Ok((name, kind))
        });
        kinds.collect::<Result<Vec<_>>>().map(Some)
    }

    /// The type of a name, where the directory itself does not say all of it.
    fn kind_of(
        &self,
        directory: BorrowedFd<'_>,
        name: &[u8],
        kind: FileType,
    ) -> std::result::Result<Option<FileKind>, Errno> {
        match kind {
            FileType::Directory => return Ok(Some(FileKind::Directory)),
            FileType::Symlink => return Ok(Some(FileKind::Symlink)),
            FileType::RegularFile if self.reader.ownership == Ownership::Native => return Ok(Some(FileKind::File)),
            FileType::Fifo => return Ok(Some(FileKind::Fifo)),
            FileType::Socket => return Ok(Some(FileKind::Socket)),
            _ => {}
        }
        let node = self.reader.read(directory, name)?;
        Ok((node.kind != Kind::Whiteout).then(|| FileKind::of(node.kind)))
    }

    /// Opens the regular file at `path`; nothing is followed.
    ///
    /// # Errors
    /// [`SnapshotError::NotAFile`](crate::SnapshotError::NotAFile) for anything else, otherwise
    /// [`SnapshotError::Io`](crate::SnapshotError::Io).
    pub fn open_file(&self, path: &[u8]) -> Result<File> {
        let (parent, name) = split(path);
        let directory = self.directory(parent).at("open the directory of", path)?;
        let directory = directory.ok_or(Errno::NOENT).at("open", path)?;
        open_file(directory.as_fd(), name, path)
    }

    /// The target of the link at `path`.
    ///
    /// # Errors
    /// [`SnapshotError::Io`](crate::SnapshotError::Io), with `EINVAL` where it is no link.
    pub fn read_link(&self, path: &[u8]) -> Result<Vec<u8>> {
        let (parent, name) = split(path);
        let directory = self.directory(parent).at("open the directory of", path)?;
        let directory = directory.ok_or(Errno::NOENT).at("read the link", path)?;
        rustix::fs::readlinkat(&directory, name, Vec::new())
            .at("read the link", path)
            .map(std::ffi::CString::into_bytes)
    }

    /// The names of the extended attributes that `path` has on the disk.
    ///
    /// # Errors
    /// [`SnapshotError::Io`](crate::SnapshotError::Io).
    pub fn disk_attributes(&self, path: &[u8]) -> Result<Vec<Vec<u8>>> {
        let (parent, name) = split(path);
        let directory = self.directory(parent).at("open the directory of", path)?;
        let directory = directory.ok_or(Errno::NOENT).at("list the attributes of", path)?;
        match xattr::list(&proc_path(directory.as_fd(), name)) {
            Err(Errno::OPNOTSUPP) => Ok(Vec::new()),
            listed => listed.at("list the attributes of", path),
        }
    }

    /// The value of the extended attribute `attribute` that `path` has on the disk; `None` if it has none of that name.
    ///
    /// # Errors
    /// [`SnapshotError::Io`](crate::SnapshotError::Io).
    pub fn disk_attribute(&self, path: &[u8], attribute: &[u8]) -> Result<Option<Vec<u8>>> {
        let (parent, name) = split(path);
        let directory = self.directory(parent).at("open the directory of", path)?;
        let directory = directory.ok_or(Errno::NOENT).at("read an attribute of", path)?;
        match xattr::get(&proc_path(directory.as_fd(), name), attribute) {
            Err(Errno::OPNOTSUPP) => Ok(None),
            value => value.at("read an attribute of", path),
        }
    }

    /// What `node`, which is at `path`, holds, as a BLAKE3 hash: a file's content, a link's target, the number of a device; zero
    /// for everything else. Where a file has several names, with the first of them: which names are one file can be seen.
    ///
    /// # Errors
    /// As [`Self::open_file`].
    pub fn content(&self, path: &[u8], node: &TreeNode) -> Result<[u8; 32]> {
        let content = self.own_content(path, node)?;
        Ok(match &node.first_name {
            Some(first) => Self::content_of_several(&content, first),
            None => content,
        })
    }

    /// What stands for the content of a file that has several names, of which `first` is the first in byte order.
    pub fn content_of_several(content: &[u8; 32], first: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(content).update(first);
        *hasher.finalize().as_bytes()
    }

    /// What stands for the content of a device.
    pub fn content_of_device(major: u32, minor: u32) -> [u8; 32] {
        *blake3::hash(&[major.to_le_bytes(), minor.to_le_bytes()].concat()).as_bytes()
    }

    fn own_content(&self, path: &[u8], node: &TreeNode) -> Result<[u8; 32]> {
        match node.kind {
            Some(FileKind::File) => {
                if let Some(known) = self.contents.get(path) {
                    return Ok(*known);
                }
                let mut hasher = blake3::Hasher::new();
                hasher.update_reader(self.open_file(path)?).at("read", path)?;
                Ok(*hasher.finalize().as_bytes())
            }
            Some(FileKind::Symlink) => Ok(*blake3::hash(&self.read_link(path)?).as_bytes()),
            Some(FileKind::CharacterDevice { major, minor } | FileKind::BlockDevice { major, minor }) => {
                Ok(Self::content_of_device(major, minor))
            }
            _ => Ok([0; 32]),
        }
    }

    /// The directory at `path`; `None` when there is none.
    fn directory(&self, path: &[u8]) -> std::result::Result<Option<Arc<OwnedFd>>, Errno> {
        let mut cursor = self.cursor.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((open, directory)) = &*cursor
            && open == path
        {
            return Ok(Some(Arc::clone(directory)));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        match open_beneath(self.root.as_fd(), path, flags) {
            Ok(directory) => {
                let directory = Arc::new(directory);
                *cursor = Some((path.to_vec(), Arc::clone(&directory)));
                Ok(Some(directory))
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Whether the root's metadata belongs to the layer stands in an attribute, which is no attribute of the layer.
    fn root_reader(&self) -> NodeReader {
        NodeReader { with_xattrs: true, ..self.reader }
    }

    pub(crate) fn root_node(&self) -> Result<Option<Node>> {
        let node = self.root_reader().read(self.root.as_fd(), b"").at("examine", b"")?;
        Ok(node.root_changed.then_some(node))
    }
}

/// A letter for each type of file, as tree digests have them; `w` for a deletion.
pub fn kind_letter(kind: Option<FileKind>) -> u8 {
    type_letter(match kind {
        None => Kind::Whiteout,
        Some(FileKind::File) => Kind::File,
        Some(FileKind::Directory) => Kind::Directory,
        Some(FileKind::Symlink) => Kind::Symlink,
        Some(FileKind::CharacterDevice { major, minor }) => Kind::CharacterDevice { major, minor },
        Some(FileKind::BlockDevice { major, minor }) => Kind::BlockDevice { major, minor },
        Some(FileKind::Fifo) => Kind::Fifo,
        Some(FileKind::Socket) => Kind::Socket,
    })
}

fn nothing_known() -> KnownContents {
    LazyLock::new(Box::new(Contents::new))
}

/// The directory part and the last name of a path; `.` is the name of the root.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (path.get(..slash).unwrap_or_default(), path.get(slash + 1..).unwrap_or_default()),
        None if path.is_empty() => (b"", b"."),
        None => (b"", path),
    }
}

/// The names below `root` of each file that has more than one anywhere.
fn count_names(root: &OwnedFd) -> Result<HashMap<(u64, u64), FileNames>> {
    let mut counted = HashMap::new();
    let mut walk = Walk::new(reopen_directory(root.as_fd()).at("open the directory", b"")?)?;
    while let Some(event) = walk.next() {
        if event != Event::Entry {
            continue;
        }
        let node = crate::node::from_status(&stat(walk.directory(), walk.name()).at("examine", walk.path())?);
        if node.is_directory() {
            walk.descend()?;
        } else if node.links > 1 {
            FileNames::add(&mut counted, node.identity, walk.path());
        }
    }
    Ok(counted)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use std::os::unix::fs::symlink;

    use super::*;

    fn tree(traits: LayerTraits) -> (tempfile::TempDir, LayerTree) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(root.join("a/b/file"), "content").unwrap();
        std::fs::hard_link(root.join("a/b/file"), root.join("a/other")).unwrap();
        symlink("b/file", root.join("a/link")).unwrap();
        symlink("/etc", root.join("away")).unwrap();
        let tree = LayerTree::of_layer(root, LayerFormat::ROOT, traits).unwrap();
        (directory, tree)
    }

    #[test]
    fn paths_are_looked_at_without_following_links() {
        let (_directory, tree) = tree(LayerTraits { attributes: true, links: true });
        let file = tree.node(b"a/b/file").unwrap().unwrap();
        assert_eq!((file.kind, file.size_bytes, file.links), (Some(FileKind::File), 7, 2));
        assert_eq!(file.identity, tree.node(b"a/other").unwrap().unwrap().identity);
        let mut hasher = blake3::Hasher::new();
        hasher.update(blake3::hash(b"content").as_bytes()).update(b"a/b/file");
        let expected = *hasher.finalize().as_bytes();
        assert_eq!(tree.content(b"a/b/file", &file).unwrap(), expected);
        assert_eq!(tree.content(b"a/other", &file).unwrap(), expected);
        let link = tree.node(b"a/link").unwrap().unwrap();
        assert_eq!(tree.content(b"a/link", &link).unwrap(), *blake3::hash(b"b/file").as_bytes());
        for missing in [&b"a/link/x"[..], b"away/passwd", b"a/b/file/x", b"none", b"none/x"] {
            assert_eq!(tree.node(missing).unwrap(), None);
        }
        assert_eq!(tree.names(b"away").unwrap(), None);
        let names: Vec<_> = tree.names(b"a").unwrap().unwrap();
        assert_eq!(
            names,
            [
                (b"b".to_vec(), Some(FileKind::Directory)),
                (b"link".to_vec(), Some(FileKind::Symlink)),
                (b"other".to_vec(), Some(FileKind::File))
            ]
        );
        let root = tree.node(b"").unwrap().unwrap();
        assert_eq!((root.kind, root.mode, root.uid), (Some(FileKind::Directory), 0o755, 0));
    }

    #[test]
    fn a_root_of_the_layer_is_known_without_attributes() {
        let (directory, tree) = tree(LayerTraits { attributes: false, links: false });
        assert!(tree.root_node().unwrap().is_none());
        bake_sys::xattr::set(directory.path(), crate::format::ROOT_XATTR, b"y").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o710);
        std::fs::set_permissions(directory.path(), mode).unwrap();
        assert_eq!(tree.node(b"").unwrap().unwrap().mode, 0o710);
        assert_eq!(tree.root_node().unwrap().unwrap().mode, 0o710);
    }

    #[test]
    fn names_elsewhere_do_not_count() {
        let (directory, tree) = tree(LayerTraits { attributes: false, links: false });
        assert_eq!(tree.node(b"a/other").unwrap().unwrap().links, 1);
        drop(directory);
    }

    #[test]
    fn what_is_known_is_not_read() {
        let (directory, _) = tree(LayerTraits { attributes: false, links: false });
        let traits = LayerTraits { attributes: false, links: false };
        let got = Arc::new(OnceLock::new());
        let says_so = Arc::clone(&got);
        let tree = LayerTree::of_layer(directory.path(), LayerFormat::ROOT, traits).unwrap().knowing(move || {
            says_so.set(()).unwrap();
            Contents::from([(b"a/other".to_vec(), [7; 32])])
        });
        let [node, link] = ["a/other", "a/link"].map(|path| tree.node(path.as_bytes()).unwrap().unwrap());
        tree.content(b"a/link", &link).unwrap();
        assert_eq!(got.get(), None, "links are in no list");
        assert_eq!(tree.content(b"a/other", &node).unwrap(), [7; 32]);
        assert_eq!(got.get(), Some(&()));
    }
}
