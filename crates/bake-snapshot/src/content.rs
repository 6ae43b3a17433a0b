//! Reading, comparing and hashing the content of files, in parallel where there is much of it.

use std::fs::File;
use std::io::Read;
use std::num::NonZero;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bake_sys::{Mode, OFlags};

use crate::error::{At, Result, SnapshotError, display};
use crate::node::{Node, from_status, stat};
use crate::walk::open_beneath;

/// Bytes read at a time: large enough that the calls cost nothing, small enough for the processor's cache.
pub(crate) const BUFFER_BYTES: usize = 128 * 1024;

/// More threads than this wait for the disk and each other.
const THREADS_MAX: usize = 8;

/// Fewer files than this, with fewer bytes than [`PARALLEL_BYTES_MIN`], are hashed sooner than threads are started.
const PARALLEL_FILES_MIN: usize = 64;
const PARALLEL_BYTES_MIN: u64 = 4 * 1024 * 1024;

/// How often a file that changes while it is hashed is tried again before that is an error.
const ATTEMPTS_MAX: u32 = 3;

/// Opens the regular file `name` of `directory` for reading. Nothing is followed, and nothing blocks: a FIFO or device
/// that took the file's place is an error.
pub(crate) fn open_file(directory: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, name, flags, Mode::empty()).at("open", path)?;
    regular(file, path)
}

/// Refuses everything but regular files.
pub(crate) fn regular(file: OwnedFd, path: &[u8]) -> Result<File> {
    let status = rustix::fs::fstat(&file).at("examine", path)?;
    if rustix::fs::FileType::from_raw_mode(status.st_mode) == rustix::fs::FileType::RegularFile {
        Ok(File::from(file))
    } else {
        Err(SnapshotError::NotAFile { path: display(path) })
    }
}

/// Whether two files of equal size hold the same bytes.
pub(crate) fn same_content(mut one: File, mut other: File, path: &[u8]) -> Result<bool> {
    let (mut left, mut right) = (vec![0; BUFFER_BYTES], vec![0; BUFFER_BYTES]);
    loop {
        let length = fill(&mut one, &mut left).at("read", path)?;
        let other_length = fill(&mut other, &mut right).at("read", path)?;
        if left.get(..length) != right.get(..other_length) {
            return Ok(false);
        }
        if length == 0 {
            return Ok(true);
        }
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// One file to hash.
#[derive(Debug, Clone)]
pub(crate) struct HashRequest {
    /// Relative to the root given to [`hash_files`].
    pub(crate) path: Vec<u8>,
    /// The file as the walk saw it.
    pub(crate) node: Node,
}

/// The content hash of a file, with the node as it was during hashing.
#[derive(Debug, Clone)]
pub(crate) struct Hashed {
    pub(crate) blake3: [u8; 32],
    /// The bytes that were hashed, which differ from the request's size when the file changed between walk and hash.
    pub(crate) size: u64,
    pub(crate) node: Node,
}

/// Hashes files below `root`, on several threads when that pays. The answers are in the order of the requests.
pub(crate) fn hash_files(root: BorrowedFd<'_>, requests: &[HashRequest]) -> Result<Vec<Hashed>> {
    let bytes: u64 = requests.iter().map(|request| request.node.size).fold(0, u64::saturating_add);
    let parallel = requests.len() >= PARALLEL_FILES_MIN || (requests.len() > 1 && bytes >= PARALLEL_BYTES_MIN);
    let threads = if parallel {
        std::thread::available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX).min(requests.len())
    } else {
        1
    };
    let next = AtomicUsize::new(0);
    let answers: Vec<Mutex<Option<Result<Hashed>>>> = requests.iter().map(|_| Mutex::new(None)).collect();
    let work = || {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let (Some(request), Some(answer)) = (requests.get(index), answers.get(index)) else { break };
            let hashed = hash_file(root, request, &mut buffer);
            if hashed.is_err() {
                // The first error ends the whole call: let the other threads run out of work.
                next.store(requests.len(), Ordering::Relaxed);
            }
            if let Ok(mut answer) = answer.lock() {
                *answer = Some(hashed);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    let mut hashed = Vec::with_capacity(answers.len());
    let mut unanswered = None;
    for (request, answer) in requests.iter().zip(answers) {
        match answer.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            Some(Ok(answer)) => hashed.push(answer),
            Some(Err(error)) => return Err(error),
            None => unanswered = Some(request),
        }
    }
    match unanswered {
        // Only possible together with an error, which was returned above.
        Some(request) => Err(SnapshotError::Changed { path: display(&request.path) }),
        None => Ok(hashed),
    }
}

fn hash_file(root: BorrowedFd<'_>, request: &HashRequest, buffer: &mut [u8]) -> Result<Hashed> {
    for _ in 0..ATTEMPTS_MAX {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let mut file = regular(open_beneath(root, &request.path, flags).at("open", &request.path)?, &request.path)?;
        let before = from_status(&stat(file.as_fd(), b"").at("examine", &request.path)?);
        let mut hasher = blake3::Hasher::new();
        let mut size = 0_u64;
        loop {
            let length = fill(&mut file, buffer).at("read", &request.path)?;
            let Some(bytes) = buffer.get(..length).filter(|bytes| !bytes.is_empty()) else { break };
            hasher.update(bytes);
            size += bytes.len() as u64;
        }
        let after = from_status(&stat(file.as_fd(), b"").at("examine", &request.path)?);
        let unchanged =
            before.size == size && (before.size, before.mtime, before.ctime) == (after.size, after.mtime, after.ctime);
        if unchanged {
            return Ok(Hashed { blake3: *hasher.finalize().as_bytes(), size, node: after });
        }
    }
    Err(SnapshotError::Changed { path: display(&request.path) })
}
