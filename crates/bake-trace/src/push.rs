//! Content that is put into the kernel's cache before anybody asks for it.
//!
//! A step that reads the files of several directories one after the other, all of them small, waits for the server once per
//! file. When that is seen, the files of every further directory that is listed with attributes are given to the kernel beforehand
//! (`FUSE_NOTIFY_STORE`). The record does not get wider by that: what a file holds counts as told since its attributes were.
//!
//! The kernel takes content only under the lock of a page, which is held by whoever waits for the server to answer a read of
//! that page. So a thread of its own gives it, and the server answers until that thread has ended ([`Pusher::end`]).

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bake_snapshot::LayerTree;
use rustix::io::Errno;

use crate::protocol::Reply;
use crate::signal::Signal;

/// The largest file that is given beforehand. For larger ones the copying takes longer than the question.
const FILE_BYTES_MAX: u64 = 32 * 1024;
/// All that one tree gives beforehand: whether somebody reads it is not seen any more.
const TOTAL_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// So many files that were listed and then read are the beginning.
const READS_MIN: usize = 16;
/// Directories that wait to be given.
const QUEUE_MAX: usize = 64;
/// How often a file is given that the kernel does not know: whoever listed the directory may not have got to it yet.
const ATTEMPTS: usize = 2;

/// A file that can be given.
#[derive(Debug, Clone)]
pub(crate) struct SmallFile {
    /// Its number for the kernel.
    pub(crate) node: u64,
    pub(crate) path: Arc<[u8]>,
    pub(crate) size_bytes: u64,
}

/// What a step does with files that it was told of by listings, and what is given to it for that.
#[derive(Debug, Default)]
pub(crate) struct Foresight {
    /// Files that were listed and not read so far, by number.
    unread: BTreeMap<u64, SmallFile>,
    /// Those of the last listing do not count against it: it may have just begun to read them.
    listed_before: usize,
    /// How many were listed, of which those count as read that are not in `unread`.
    listed: usize,
    given_bytes: u64,
    is_begun: bool,
}

impl Foresight {
    /// `files` are about to be told of by one listing. Those are returned that are to be given.
    pub(crate) fn listed(&mut self, files: Vec<SmallFile>) -> Vec<SmallFile> {
        let small = files.into_iter().filter(|file| (1..=FILE_BYTES_MAX).contains(&file.size_bytes));
        if self.is_begun {
            return within(small, &mut self.given_bytes);
        }
        self.listed_before = self.listed;
        let before = self.unread.len();
        self.unread.extend(small.map(|file| (file.node, file)));
        self.listed += self.unread.len() - before;
        Vec::new()
    }

    /// `node` is read from its beginning. Those are returned that are to be given.
    pub(crate) fn read(&mut self, node: u64) -> Vec<SmallFile> {
        if self.is_begun || self.unread.remove(&node).is_none() {
            return Vec::new();
        }
        let read = self.listed - self.unread.len();
        // Three quarters.
        if read < READS_MIN || read * 4 < self.listed_before * 3 {
            return Vec::new();
        }
        self.is_begun = true;
        // What is before it was passed over.
        let after = self.unread.split_off(&node);
        self.unread.clear();
        within(after.into_values(), &mut self.given_bytes)
    }
}

/// As many of `files` as may still be given.
fn within(files: impl Iterator<Item = SmallFile>, given_bytes: &mut u64) -> Vec<SmallFile> {
    let may_be_given = |file: &SmallFile| {
        *given_bytes = given_bytes.saturating_add(file.size_bytes);
        *given_bytes <= TOTAL_BYTES_MAX
    };
    files.take_while(may_be_given).collect()
}

/// The thread that gives content to the kernel.
#[derive(Debug)]
pub(crate) struct Pusher {
    queue: SyncSender<Vec<SmallFile>>,
    is_ending: Arc<AtomicBool>,
    ended: Arc<Signal>,
}

impl Pusher {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the thread or a descriptor cannot be had.
    pub(crate) fn start(tree: Arc<LayerTree>, device: Arc<OwnedFd>) -> std::io::Result<Self> {
        let ended = Arc::new(Signal::new()?);
        let is_ending = Arc::new(AtomicBool::new(false));
        let (queue, waiting) = sync_channel(QUEUE_MAX);
        std::thread::Builder::new().name("traced content".to_owned()).spawn({
            let (is_ending, ended) = (Arc::clone(&is_ending), Arc::clone(&ended));
            move || {
                push(&tree, &device, &waiting, &is_ending);
                drop(device);
                // The first write to an event counter has room.
                let _ = ended.give();
            }
        })?;
        Ok(Self { queue, is_ending, ended })
    }

    /// Has `files` given, unless there is too much to do already.
    pub(crate) fn push(&self, files: Vec<SmallFile>) {
        // A full queue means that whoever reads is faster, and then asks for itself.
        let _ = self.queue.try_send(files);
    }

    /// Has the thread end. It has when what is returned can be read, and until then may need answers of the server.
    pub(crate) fn end(self) -> Arc<Signal> {
        self.is_ending.store(true, Ordering::Relaxed);
        self.ended
    }
}

fn push(tree: &LayerTree, device: &OwnedFd, waiting: &Receiver<Vec<SmallFile>>, is_ending: &AtomicBool) {
    let mut notice = Reply::new();
    for files in waiting {
        let mut left = files;
        for _attempt in 0..ATTEMPTS {
            let mut unknown = Vec::new();
            for file in left {
                match give(tree, device, &file, &mut notice) {
                    Err(Errno::NOENT) => unknown.push(file),
                    Err(Errno::NODEV) => return,
                    _ => {}
                }
                if is_ending.load(Ordering::Relaxed) {
                    return;
                }
            }
            left = unknown;
        }
    }
}

/// Gives a file to the kernel. What cannot be read is left for the server to report, if anybody ever asks for it.
fn give(tree: &LayerTree, device: &OwnedFd, file: &SmallFile, notice: &mut Reply) -> Result<(), Errno> {
    let Ok(size) = usize::try_from(file.size_bytes) else { return Ok(()) };
    notice.clear();
    notice.content(file.node, size);
    match tree.open_file(&file.path) {
        Ok(content) if content.read_exact_at(notice.room(size), 0).is_ok() => {
            rustix::io::write(device, notice.finish_content()).map(drop)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(numbers: std::ops::Range<u64>, size_bytes: u64) -> Vec<SmallFile> {
        numbers.map(|node| SmallFile { node, path: Arc::from(&b"x"[..]), size_bytes }).collect()
    }

    fn nodes(files: &[SmallFile]) -> Vec<u64> {
        files.iter().map(|file| file.node).collect()
    }

    #[test]
    fn who_reads_what_it_lists_gets_the_rest() {
        let mut foresight = Foresight::default();
        assert!(foresight.listed(files(10..30, 100)).is_empty());
        for node in 10..25 {
            assert!(foresight.read(node).is_empty());
            assert!(foresight.read(node).is_empty(), "a second time does not count");
        }
        assert_eq!(nodes(&foresight.read(25)), [26, 27, 28, 29]);
        let mut next = files(40..42, 100);
        next.extend(files(42..43, 0));
        next.extend(files(43..44, FILE_BYTES_MAX + 1));
        assert_eq!(nodes(&foresight.listed(next)), [40, 41]);
        assert!(foresight.read(40).is_empty());
    }

    #[test]
    fn who_reads_little_of_what_it_lists_gets_nothing() {
        let mut foresight = Foresight::default();
        for directory in 0..100 {
            assert!(foresight.listed(files(directory * 10..directory * 10 + 10, 100)).is_empty());
            for node in 0..5 {
                assert!(foresight.read(directory * 10 + node).is_empty());
            }
        }
    }

    #[test]
    fn what_is_given_has_a_limit() {
        let mut foresight = Foresight { is_begun: true, ..Foresight::default() };
        let count = TOTAL_BYTES_MAX / FILE_BYTES_MAX;
        assert_eq!(foresight.listed(files(0..count + 5, FILE_BYTES_MAX)).len() as u64, count);
        assert!(foresight.listed(files(0..9, 1)).is_empty());
    }
}
