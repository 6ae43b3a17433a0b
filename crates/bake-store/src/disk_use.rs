//! Measuring disk space as `du` does: allocated blocks, every inode once, links never followed.
//!
//! Trees are walked by directory descriptor on all cores. The unit of work is one directory, so a store with a single
//! large snapshot is measured as fast as one with many small ones.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir};

/// More threads than this wait for the disk and each other.
const THREADS_MAX: usize = 8;

/// Bytes asked from the kernel per listing call: about 1000 names.
const NAMES_BUFFER_BYTES: usize = 32 << 10;

/// `st_blocks` counts in this unit, whatever the block size of the file system (stat(2)).
const BLOCK_BYTES: u64 = 512;

/// What is to be measured as a part of one thing.
#[derive(Debug)]
pub(crate) enum Extent {
    /// A file, or a directory with everything below it.
    Tree(PathBuf),
    /// A file or directory by itself.
    Entry(PathBuf),
}

/// What one thing takes.
#[derive(Debug, Default)]
pub(crate) struct DiskUse {
    /// The bytes of inodes that have no other name.
    pub(crate) own_bytes: u64,
    /// The names of inodes that have several.
    pub(crate) linked: Vec<Linked>,
}

/// One name of a file that has several.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Linked {
    /// Device and inode number.
    pub(crate) inode: (u64, u64),
    /// How many names it has anywhere.
    pub(crate) links: u64,
    /// Its allocated bytes.
    pub(crate) bytes: u64,
}

/// Measures things, each of which consists of some extents. What vanishes meanwhile counts as nothing.
pub(crate) fn measure(things: &[Vec<Extent>]) -> Vec<DiskUse> {
    let mut jobs = Vec::new();
    for (thing, extents) in things.iter().enumerate() {
        for extent in extents {
            let (path, descend) = match extent {
                Extent::Tree(path) => (path, true),
                Extent::Entry(path) => (path, false),
            };
            if let Ok(name) = CString::new(path.as_os_str().as_bytes()) {
                jobs.push(Job { thing, parent: None, name, descend });
            }
        }
    }
    // The last is taken first: large trees are mostly those of layers, which come first.
    jobs.reverse();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let work = Work { queue: Mutex::new(Queue { jobs, busy: 0 }), changed: Condvar::new() };
    let mut total: Vec<DiskUse> = things.iter().map(|_| DiskUse::default()).collect();
    let parts = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(|| work.run(things.len()))).collect();
        let mut parts = vec![work.run(things.len())];
        for other in others {
            parts.push(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        parts
    });
    for part in parts {
        for (total, part) in total.iter_mut().zip(part) {
            total.own_bytes += part.own_bytes;
            total.linked.extend(part.linked);
        }
    }
    total
}

/// An entry to be counted, or a directory that was counted and is to be listed.
struct Job {
    thing: usize,
    /// The directory it is in; `None` for what was named by the caller and is not counted yet.
    parent: Option<Arc<OwnedFd>>,
    name: CString,
    descend: bool,
}

struct Queue {
    jobs: Vec<Job>,
    /// Threads at work, which may still add jobs.
    busy: usize,
}

struct Work {
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Work {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works until there is nothing left to do for anybody.
    fn run(&self, things: usize) -> Vec<DiskUse> {
        let mut uses: Vec<DiskUse> = (0..things).map(|_| DiskUse::default()).collect();
        let mut buffer = vec![MaybeUninit::uninit(); NAMES_BUFFER_BYTES];
        let mut found = Vec::new();
        loop {
            let mut queue = self.lock();
            let job = loop {
                if let Some(job) = queue.jobs.pop() {
                    break job;
                }
                if queue.busy == 0 {
                    self.changed.notify_all();
                    return uses;
                }
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            };
            queue.busy += 1;
            drop(queue);
            if let Some(used) = uses.get_mut(job.thing) {
                look_at(job, used, &mut buffer, &mut found);
            }
            let mut queue = self.lock();
            queue.busy -= 1;
            if !found.is_empty() || queue.busy == 0 {
                self.changed.notify_all();
            }
            queue.jobs.append(&mut found);
        }
    }
}

fn look_at(job: Job, used: &mut DiskUse, buffer: &mut [MaybeUninit<u8>], found: &mut Vec<Job>) {
    let Job { thing, parent, name, descend } = job;
    let directory = if let Some(parent) = &parent {
        open_directory(parent.as_fd(), &name)
    } else {
        let is_directory = count(CWD, &name, used);
        if !is_directory || !descend {
            return;
        }
        open_directory(CWD, &name)
    };
    drop(parent);
    // A directory that cannot be entered is one that nobody can look into with this user's rights.
    let Ok(directory) = directory.map(Arc::new) else { return };
    let mut entries = RawDir::new(directory.as_fd(), buffer);
    while let Some(Ok(entry)) = entries.next() {
        let name = entry.file_name();
        if name != c"." && name != c".." && count(directory.as_fd(), name, used) {
            let parent = Some(Arc::clone(&directory));
            found.push(Job { thing, parent, name: name.to_owned(), descend: true });
        }
    }
}

/// Adds one entry; says whether it is a directory.
fn count(parent: BorrowedFd<'_>, name: &CStr, used: &mut DiskUse) -> bool {
    let Ok(status) = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) else { return false };
    let bytes = u64::try_from(status.st_blocks).unwrap_or(0).saturating_mul(BLOCK_BYTES);
    let is_directory = FileType::from_raw_mode(status.st_mode) == FileType::Directory;
    #[expect(clippy::useless_conversion, reason = "the width of the field differs between architectures")]
    let links = u64::from(status.st_nlink);
    if is_directory || links <= 1 {
        used.own_bytes += bytes;
    } else {
        used.linked.push(Linked { inode: (status.st_dev, status.st_ino), links, bytes });
    }
    is_directory
}

fn open_directory(parent: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn bytes(path: &std::path::Path) -> u64 {
        fs::symlink_metadata(path).unwrap().blocks() * 512
    }

    #[test]
    fn a_tree_is_measured_by_blocks_and_links_are_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("a/b/c")).unwrap();
        fs::write(root.join("a/b/large"), vec![1; 100_000]).unwrap();
        fs::write(root.join("one"), "x").unwrap();
        fs::hard_link(root.join("one"), root.join("a/two")).unwrap();
        std::os::unix::fs::symlink("/", root.join("a/link")).unwrap();
        let sparse = fs::File::create(root.join("sparse")).unwrap();
        sparse.set_len(1 << 30).unwrap();
        let things = [
            vec![Extent::Tree(root.join("a")), Extent::Entry(root.join("sparse"))],
            vec![Extent::Entry(root.join("a"))],
            vec![Extent::Tree(root.join("absent"))],
            vec![Extent::Tree(root.to_path_buf())],
        ];
        let uses = measure(&things);
        let expected: u64 =
            ["a", "a/b", "a/b/c", "a/b/large", "a/link", "sparse"].iter().map(|name| bytes(&root.join(name))).sum();
        assert_eq!(uses[0].own_bytes, expected);
        assert_eq!(uses[0].linked.len(), 1);
        assert_eq!((uses[0].linked[0].links, uses[0].linked[0].bytes), (2, bytes(&root.join("one"))));
        assert_eq!(uses[1].own_bytes, bytes(&root.join("a")));
        assert_eq!((uses[2].own_bytes, uses[2].linked.len()), (0, 0));
        assert_eq!(uses[3].linked.len(), 2);
        assert_eq!(uses[3].linked[0].inode, uses[3].linked[1].inode);
    }
}
