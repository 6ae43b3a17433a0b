//! The directories that the caller of a build named: the build context and `--build-context` directories.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use bake_dockerfile::ignore::IgnorePatterns;
use bake_snapshot::Ownership;
use bake_store::{ActiveSnapshot, Store};
use rustix::fs::{Mode, OFlags};

use crate::archive::{ArchiveError, recognise};
use crate::destination::Destination;
use crate::source_tree::SourceTree;

/// A directory of the caller.
#[derive(Debug)]
pub struct BuildContext {
    /// Where it is, for messages and for opening it.
    pub path: PathBuf,
    /// What is not seen of it.
    pub ignore: IgnorePatterns,
    /// Keeps the directory while it is needed, where it was unpacked for this build.
    pub unpacked: Option<UnpackedContext>,
}

/// A build context that was unpacked for one build; its directory goes away with this value.
#[derive(Debug)]
pub struct UnpackedContext {
    snapshot: ActiveSnapshot,
}

impl UnpackedContext {
    /// The directory.
    pub fn path(&self) -> &Path {
        self.snapshot.fs()
    }
}

/// What came as a stream.
#[derive(Debug)]
pub enum StreamedContext {
    /// An archive, now unpacked.
    Archive(UnpackedContext),
    /// Something else: a Dockerfile, of at most [`TEXT_BYTES_MAX`] bytes and one more.
    Text(Vec<u8>),
}

/// The largest stream that is taken for a Dockerfile.
pub const TEXT_BYTES_MAX: u64 = 5 << 20;

/// Reads a build context from a stream: an archive (tar, plain or compressed), or a Dockerfile without a context.
pub fn context_from_stream(store: &Store, mut stream: impl Read) -> Result<StreamedContext, StreamError> {
    let snapshot = store.begin_snapshot()?;
    // Formats are told apart by their beginning, and some need the whole stream at hand.
    let path = snapshot.work().with_file_name("context-stream");
    let mut file = File::options().read(true).write(true).create_new(true).open(&path).map_err(StreamError::Read)?;
    std::fs::remove_file(&path).map_err(StreamError::Read)?;
    std::io::copy(&mut stream, &mut file).map_err(StreamError::Read)?;
    file.rewind().map_err(StreamError::Read)?;
    let archive = recognise(file.try_clone().map_err(StreamError::Read)?.into(), b"build context")?;
    if let Some(archive) = archive {
        let destination = Destination::new(open(snapshot.fs())?, open(snapshot.fs())?, Ownership::Native);
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        archive.unpack(&destination, "/", Some(own))?;
        return Ok(StreamedContext::Archive(UnpackedContext { snapshot }));
    }
    let mut text = Vec::new();
    file.rewind().and_then(|()| file.take(TEXT_BYTES_MAX + 1).read_to_end(&mut text)).map_err(StreamError::Read)?;
    Ok(StreamedContext::Text(text))
}

/// A build context could not be read from a stream.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The stream, or the file it is kept in.
    #[error("the stream cannot be read")]
    Read(#[source] std::io::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] bake_store::StoreError),
    /// The archive.
    #[error("the archive cannot be unpacked: {0}")]
    Archive(String),
}

impl From<ArchiveError> for StreamError {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(crate::images::chain_of(&error))
    }
}

impl From<std::io::Error> for StreamError {
    fn from(error: std::io::Error) -> Self {
        Self::Read(error)
    }
}

impl BuildContext {
    /// Opens the directory as a tree to copy from.
    pub(crate) fn tree(&self) -> Result<SourceTree, std::io::Error> {
        Ok(SourceTree::new(open(&self.path)?, Some(self.ignore.clone())))
    }
}

/// Opens a directory to read it or to work below it.
pub(crate) fn open(path: &Path) -> Result<OwnedFd, std::io::Error> {
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}
