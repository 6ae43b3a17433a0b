//! Build contexts: directories that the caller named, and what was fetched or unpacked in place of one.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use bake_dockerfile::ignore::IgnorePatterns;
use bake_graph::{GitSource, HttpSource};
use bake_oci::Digester;
use bake_snapshot::MergedView;
use bake_solver::{Layer, StepError};
use rustix::fs::{FileType, Mode, OFlags};

use crate::archive::recognise;
use crate::destination::Destination;
use crate::git::FetchedCommit;
use crate::select::{Item, select_path};
use crate::source_tree::SourceTree;
use crate::worker::{LinuxWorker, RememberedLayer, Report, open_directory, snapshot_failed, store_failed};

/// What a build copies from by the name of a context.
#[derive(Debug)]
pub enum BuildContext {
    /// A directory of the caller.
    Directory(ContextDirectory),
    /// What was fetched or unpacked, as layers; there are none where a context is empty. Files have owners of their own, and no
    /// ignore file counts.
    Fetched(Vec<Layer>),
}

/// A directory of the caller.
#[derive(Debug)]
pub struct ContextDirectory {
    /// Where it is, for messages and for opening it.
    pub path: PathBuf,
    /// What is not seen of it.
    pub ignore: IgnorePatterns,
}

/// What came as a stream or from a server.
#[derive(Debug)]
pub enum FetchedContext {
    /// An archive, now unpacked.
    Archive(Layer),
    /// Something else: a Dockerfile, of at most [`TEXT_BYTES_MAX`] bytes and one more; with the files that `COPY` finds.
    Text {
        /// The Dockerfile.
        bytes: Vec<u8>,
        /// The context around it.
        files: Vec<Layer>,
    },
}

/// The largest stream that is taken for a Dockerfile.
pub const TEXT_BYTES_MAX: u64 = 5 << 20;
/// The largest stream that is taken for an archive; it is kept in the store while it is unpacked.
const ARCHIVE_BYTES_MAX: u64 = 64 << 30;
/// The part of the store's memory where unpacked archives are noted.
const UNPACKED: &str = "context-archives";

impl LinuxWorker {
    /// Reads a build context from a stream: an archive (tar, plain or compressed), or a Dockerfile with nothing around it.
    pub fn context_from_stream(&self, mut stream: impl Read, report: &Report<'_>) -> Result<FetchedContext, StepError> {
        let failed = |error: std::io::Error| StepError::environment("the stream cannot be read", error);
        // Formats are told apart by their beginning, and some need the whole stream at hand.
        let spooled = self.options.store.begin_snapshot().map_err(|error| store_failed(&error))?;
        let path = spooled.work().with_file_name("context-stream");
        let mut file = File::options().read(true).write(true).create_new(true).open(&path).map_err(failed)?;
        let mut digester = Digester::new();
        let mut buffer = vec![0; 128 * 1024];
        let mut total = 0u64;
        loop {
            let count = match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(error)),
            };
            total += count as u64;
            if total > ARCHIVE_BYTES_MAX {
                return Err(StepError::input(format!("the stream is longer than {ARCHIVE_BYTES_MAX} bytes")));
            }
            digester.update(&buffer[..count]);
            file.write_all(&buffer[..count]).map_err(failed)?;
        }
        file.rewind().map_err(failed)?;
        match self.unpack_context(&file, &digester.finish().to_string(), report)? {
            Some(layer) => Ok(FetchedContext::Archive(layer)),
            None => Ok(FetchedContext::Text { bytes: text(file).map_err(failed)?, files: Vec::new() }),
        }
    }

    /// Fetches a build context from an HTTP server: an archive, or a Dockerfile, which is then also the only file of the context.
    pub fn context_from_http(&self, source: &HttpSource, report: &Report<'_>) -> Result<FetchedContext, StepError> {
        let layer = self.http(source, report)?;
        let failed = |error: std::io::Error| StepError::environment("cannot read what was fetched", error);
        let mut file = File::open(self.directory_of(&layer)?.join(HttpSource::FILE_NAME)).map_err(failed)?;
        if let Some(unpacked) = self.unpack_context(&file, &format!("tree {}", layer.tree.hex()), report)? {
            return Ok(FetchedContext::Archive(unpacked));
        }
        file.rewind().map_err(failed)?;
        Ok(FetchedContext::Text { bytes: text(file).map_err(failed)?, files: vec![layer] })
    }

    /// Fetches a build context from a git repository.
    pub fn context_from_git(&self, source: &GitSource, report: &Report<'_>) -> Result<FetchedCommit, StepError> {
        self.git_commit(source, report)
    }

    /// The time of a file on an HTTP server, in seconds since 1970: what the server says, else that of the newest file of an archive.
    pub fn time_of_http(&self, source: &HttpSource, report: &Report<'_>) -> Result<Option<i64>, StepError> {
        if let Some(time) = self.http_last_modified(source, report)? {
            return Ok(Some(time));
        }
        let FetchedContext::Archive(layer) = self.context_from_http(source, report)? else { return Ok(None) };
        let root = open_directory(&self.directory_of(&layer)?, "cannot open what was fetched")?;
        let files = select_path(&SourceTree::new(root, None), b"/", None)
            .map_err(|error| StepError::input(error.to_string()))?;
        let regular = |item: &&Item| item.node.file_type() == FileType::RegularFile;
        Ok(files.items.iter().filter(regular).map(|item| item.node.stat.st_mtime).max())
    }

    /// Reads a file of a context that was fetched, at most `limit` bytes and one more, following links inside it; `None` if there is
    /// nothing.
    pub fn read_fetched(&self, layer: &Layer, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, StepError> {
        let directory = self.directory_of(layer)?;
        let root = open_directory(&directory, "cannot open what was fetched")?;
        let view = MergedView::of_directory(root, self.format.ownership);
        let Some(file) =
            view.open_file(path.as_os_str().as_encoded_bytes()).map_err(|error| snapshot_failed(&error))?
        else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        file.take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| StepError::environment(format!("cannot read `{}`", path.display()), error))?;
        Ok(Some(bytes))
    }

    /// Unpacks an archive whose content `name` stands for; `None` if it is none.
    fn unpack_context(&self, file: &File, name: &str, report: &Report<'_>) -> Result<Option<Layer>, StepError> {
        if let Some((layer, _)) = self.recall_layer(UNPACKED, name)? {
            return Ok(Some(layer));
        }
        let failed = |error| StepError::input(crate::images::chain_of(&error));
        let duplicate = file.try_clone().map_err(|error| StepError::environment("cannot duplicate a file", error))?;
        let Some(archive) = recognise(duplicate.into(), b"build context").map_err(failed)? else { return Ok(None) };
        let snapshot = self.options.store.begin_snapshot().map_err(|error| store_failed(&error))?;
        let open = || open_directory(snapshot.fs(), "cannot open a directory of the store");
        let destination = Destination::new(open()?, open()?, self.format.ownership);
        archive.unpack(&destination, "/", None).map_err(failed)?;
        let layer = self.publish_source(snapshot, report)?;
        self.remember_layer(UNPACKED, name, &RememberedLayer { layer: layer.clone() })?;
        Ok(Some(layer))
    }

    fn directory_of(&self, layer: &Layer) -> Result<PathBuf, StepError> {
        let snapshot = self.options.store.snapshot(&layer.snapshot).map_err(|error| store_failed(&error))?;
        snapshot
            .map(|snapshot| snapshot.path)
            .ok_or_else(|| StepError::input("what was fetched is not in the store any more"))
    }
}

/// What is left of a file, as far as it can be a Dockerfile.
fn text(file: File) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl ContextDirectory {
    /// Opens the directory as a tree to copy from.
    pub(crate) fn tree(&self) -> Result<SourceTree, std::io::Error> {
        Ok(SourceTree::new(open(&self.path)?, Some(self.ignore.clone())))
    }
}

/// Opens a directory to read it or to work below it.
pub(crate) fn open(path: &Path) -> Result<OwnedFd, std::io::Error> {
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}
