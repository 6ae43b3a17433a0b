//! A directory of this machine as a tree of files.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;

use bake_sys::path::open_in_root;
use bake_sys::{AtFlags, Errno, Mode, OFlags};
use rustix::fs::{FileType, RawDir};

use crate::files::{Entry, EntryKind, Files, FilesError, RandomAccess, Visit, shown};

/// How deeply directories may be nested. Every level keeps a descriptor open.
const DEPTH_MAX: usize = 900;
/// Bytes asked from the kernel per `getdents64` call: about 1000 names.
const NAMES_BUFFER_BYTES: usize = 32 << 10;
/// How directories are opened to list them.
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// How files are opened to read them: neither a pipe nor a terminal that has taken a file's place must hold us up.
const FILE: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// The tree below an open directory: a mounted image or a build context. Nothing outside of it is looked at, whatever links
/// are in it (`openat2(2)`).
#[derive(Debug)]
pub struct DirectoryFiles {
    root: OwnedFd,
}

impl DirectoryFiles {
    /// The tree below `root`, a descriptor of a directory (`O_PATH` will do).
    pub fn new(root: OwnedFd) -> Self {
        Self { root }
    }
}

impl Files for DirectoryFiles {
    fn walk(&self, visit: &mut dyn FnMut(&Entry<'_>) -> Visit) -> Result<(), FilesError> {
        let root = rustix::fs::openat(&self.root, c".", DIRECTORY, Mode::empty()).at("open", b".")?;
        let names = list(root.as_fd()).at("list", b".")?;
        let mut frames = vec![Frame { directory: root, names: names.into_iter(), path_length: 0 }];
        let mut path = Vec::new();
        while let Some(frame) = frames.last_mut() {
            path.truncate(frame.path_length);
            let Some((name, file_type)) = frame.names.next() else {
                frames.pop();
                continue;
            };
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            let Some(kind) = kind(frame.directory.as_fd(), &name, file_type).at("examine", &path)? else { continue };
            match visit(&Entry { path: &path, kind }) {
                Visit::Stop => return Ok(()),
                Visit::Continue if kind == EntryKind::Directory => {}
                Visit::Continue | Visit::Skip => continue,
            }
            if frames.len() >= DEPTH_MAX {
                let source = io::Error::other(format!("it is nested deeper than {DEPTH_MAX} directories"));
                return Err(FilesError { action: "enter", path: shown(&path), source });
            }
            let parent = frames.last().expect("there was one a moment ago").directory.as_fd();
            let directory = rustix::fs::openat(parent, name.as_slice(), DIRECTORY, Mode::empty()).at("open", &path)?;
            let names = list(directory.as_fd()).at("list", &path)?.into_iter();
            frames.push(Frame { directory, names, path_length: path.len() });
        }
        Ok(())
    }

    fn open(&self, path: &[u8]) -> Result<Option<Box<dyn RandomAccess>>, FilesError> {
        // Looked at before it is opened for reading: opening a device can have effects of its own.
        let Some(pinned) = self.open_at(path, OFlags::PATH)? else { return Ok(None) };
        if !is_file(pinned.as_fd()).at("examine", path)? {
            return Ok(None);
        }
        let Some(file) = self.open_at(path, FILE)? else { return Ok(None) };
        let status = rustix::fs::fstat(&file).at("examine", path)?;
        if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        let size_bytes = u64::try_from(status.st_size).unwrap_or(0);
        Ok(Some(Box::new(OpenFile { file: File::from(file), size_bytes })))
    }
}

impl DirectoryFiles {
    fn open_at(&self, path: &[u8], flags: OFlags) -> Result<Option<OwnedFd>, FilesError> {
        match open_in_root(&self.root, OsStr::from_bytes(path), flags, Mode::empty()) {
            Ok(file) => Ok(Some(file)),
            // Links that lead nowhere or in a circle name nothing.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(errno).at("open", path),
        }
    }
}

struct Frame {
    directory: OwnedFd,
    names: std::vec::IntoIter<(Vec<u8>, FileType)>,
    /// How much of the path is this directory's own.
    path_length: usize,
}

struct OpenFile {
    file: File,
    size_bytes: u64,
}

impl RandomAccess for OpenFile {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }
}

/// The names in a directory in byte order, without `.` and `..`, with what the directory says of their types.
fn list(directory: BorrowedFd<'_>) -> Result<Vec<(Vec<u8>, FileType)>, Errno> {
    let mut buffer: Vec<MaybeUninit<u8>> = vec![MaybeUninit::uninit(); NAMES_BUFFER_BYTES];
    let mut entries = RawDir::new(directory, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push((name.to_vec(), entry.file_type()));
        }
    }
    names.sort_unstable_by(|left, right| left.0.cmp(&right.0));
    Ok(names)
}

/// What stands at a name; `None` when it has gone meanwhile.
fn kind(directory: BorrowedFd<'_>, name: &[u8], listed: FileType) -> Result<Option<EntryKind>, Errno> {
    match listed {
        FileType::Directory => return Ok(Some(EntryKind::Directory)),
        FileType::RegularFile | FileType::Unknown => {}
        _ => return Ok(Some(EntryKind::Other)),
    }
    let status = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(status) => status,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    Ok(Some(match FileType::from_raw_mode(status.st_mode) {
        FileType::Directory => EntryKind::Directory,
        FileType::RegularFile => EntryKind::File {
            executable: status.st_mode & 0o111 != 0,
            size_bytes: u64::try_from(status.st_size).unwrap_or(0),
        },
        _ => EntryKind::Other,
    }))
}

fn is_file(file: BorrowedFd<'_>) -> Result<bool, Errno> {
    rustix::fs::fstat(file).map(|status| FileType::from_raw_mode(status.st_mode) == FileType::RegularFile)
}

/// Says what was attempted on what.
trait At<T> {
    fn at(self, action: &'static str, path: &[u8]) -> Result<T, FilesError>;
}

impl<T> At<T> for Result<T, Errno> {
    fn at(self, action: &'static str, path: &[u8]) -> Result<T, FilesError> {
        self.map_err(|errno| FilesError { action, path: shown(path), source: errno.into() })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn directory(path: &std::path::Path) -> DirectoryFiles {
        DirectoryFiles::new(rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap())
    }

    #[test]
    fn names_come_sorted_and_links_are_not_entered() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(tree.path().join("b/c")).unwrap();
        std::fs::write(tree.path().join("b/c/file"), b"12345").unwrap();
        std::fs::write(tree.path().join("a"), b"").unwrap();
        std::fs::set_permissions(tree.path().join("a"), std::fs::Permissions::from_mode(0o755)).unwrap();
        symlink("/", tree.path().join("b/root")).unwrap();
        let mut seen = Vec::new();
        let record = &mut |entry: &Entry<'_>| {
            seen.push((shown(entry.path), entry.kind));
            Visit::Continue
        };
        directory(tree.path()).walk(record).unwrap();
        let file = |executable, size_bytes| EntryKind::File { executable, size_bytes };
        let expected = [
            ("a", file(true, 0)),
            ("b", EntryKind::Directory),
            ("b/c", EntryKind::Directory),
            ("b/c/file", file(false, 5)),
            ("b/root", EntryKind::Other),
        ];
        assert_eq!(seen, expected.map(|(path, kind)| (path.to_owned(), kind)));
    }

    #[test]
    fn skipped_directories_are_not_read() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(tree.path().join("a/b")).unwrap();
        std::fs::create_dir_all(tree.path().join("c")).unwrap();
        let mut seen = Vec::new();
        let record = &mut |entry: &Entry<'_>| {
            seen.push(shown(entry.path));
            Visit::Skip
        };
        directory(tree.path()).walk(record).unwrap();
        assert_eq!(seen, ["a", "c"]);
    }

    #[test]
    fn files_outside_of_the_tree_are_not_opened() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("canary"), b"outside").unwrap();
        let tree = outside.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        symlink("../canary", tree.join("relative")).unwrap();
        symlink(outside.path().join("canary"), tree.join("absolute")).unwrap();
        symlink("circle", tree.join("circle")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, tree.join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        let files = directory(&tree);
        for name in ["relative", "absolute", "circle", "pipe", "missing", "missing/x"] {
            assert!(files.open(name.as_bytes()).unwrap().is_none(), "{name}");
        }
        std::fs::write(tree.join("canary"), b"inside!").unwrap();
        let file = files.open(b"relative").unwrap().unwrap();
        let mut buffer = [0; 16];
        let length = file.read_at(&mut buffer, 2).unwrap();
        assert_eq!((&buffer[..length], file.size_bytes()), (&b"side!"[..], 7));
    }
}
