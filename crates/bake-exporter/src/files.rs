//! The files of an image: its layers put together, one by one or as an archive.

use std::collections::HashMap;
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use bake_oci::{Entry, EntryKind, LayerReader, LayerWriter, Platform, Timestamp};
use bake_snapshot::{Snapshotter, WriteOptions, write_layer};

use crate::attestation::BesideFile;
use crate::error::ExportError;
use crate::image::Exporter;

/// The buffer between the thread that reads files and the one that writes them.
const BUFFER_BYTES: usize = 256 << 10;

/// The files of an image for one platform.
#[derive(Debug, Clone)]
pub struct FileTree {
    /// The platform.
    pub platform: Platform,
    /// The directory that they are put into; `None` for the place itself.
    pub directory: Option<String>,
    /// The directories of its layers, base first.
    pub layers: Vec<PathBuf>,
    /// Files that are put beside those of the image.
    pub beside: Vec<BesideFile>,
}

impl Exporter {
    /// Writes the files of images as one archive. With `mtime`, every file has that time.
    pub fn to_tar(
        &self,
        snapshotter: &dyn Snapshotter,
        trees: &[FileTree],
        mtime: Option<Timestamp>,
        out: impl Write,
    ) -> Result<(), ExportError> {
        if let ([tree], None) = (trees, mtime)
            && tree.directory.is_none()
            && tree.beside.is_empty()
        {
            return self.archive(snapshotter, &tree.layers, out);
        }
        let failed = |error| ExportError::Write(std::io::Error::other(error));
        let mut writer = LayerWriter::new(out);
        let mut owners = Owners::default();
        for tree in trees {
            let mut begun = tree.directory.is_none();
            self.each_entry(snapshotter, tree, mtime, &mut owners, |entry, content| {
                if let Some(directory) = tree.directory.as_deref().filter(|_| !begun) {
                    begun = true;
                    // The root has an entry only where it is not what roots are.
                    if entry.path != directory.as_bytes() {
                        let mut root = Entry::new(directory, EntryKind::Directory, 0o755);
                        root.mtime = mtime.unwrap_or_default();
                        writer.append(&root, None).map_err(failed)?;
                    }
                }
                let content = matches!(entry.kind, EntryKind::File { .. }).then_some(content);
                writer.append(&entry, content).map_err(failed)
            })?;
        }
        writer.finish().map_err(failed)?.flush().map_err(ExportError::Write)
    }

    /// Calls `take` with every file of `tree`, directories before what is in them, named as they are to be in the end.
    pub(crate) fn each_entry(
        &self,
        snapshotter: &dyn Snapshotter,
        tree: &FileTree,
        mtime: Option<Timestamp>,
        owners: &mut Owners,
        mut take: impl FnMut(Entry, &mut dyn Read) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        let (reader, writer) = std::io::pipe().map_err(ExportError::Write)?;
        std::thread::scope(|scope| {
            let buffered = BufWriter::with_capacity(BUFFER_BYTES, writer);
            let archive = scope.spawn(move || self.archive(snapshotter, &tree.layers, buffered));
            let taken = (|| {
                let mut archive = LayerReader::new(BufReader::with_capacity(BUFFER_BYTES, reader));
                while let Some(mut next) =
                    archive.next_entry().map_err(|error| ExportError::Write(std::io::Error::other(error)))?
                {
                    let entry = entry_of(next.entry.clone(), tree, mtime);
                    if owners.admit(&entry, &tree.platform)? {
                        take(entry, &mut next)?;
                    }
                }
                for file in &tree.beside {
                    let entry = entry_of(file.entry(), tree, mtime);
                    if owners.admit(&entry, &tree.platform)? {
                        take(entry, &mut file.bytes.as_slice())?;
                    }
                }
                Ok(())
            })();
            let written = archive.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            // A reader that gave up makes the writer fail too; what the reader says is the cause.
            taken.and(written)
        })
    }

    /// Writes the files of a stack of layer directories (base first) as one archive.
    fn archive(&self, snapshotter: &dyn Snapshotter, layers: &[PathBuf], out: impl Write) -> Result<(), ExportError> {
        let paths: Vec<&Path> = layers.iter().map(PathBuf::as_path).collect();
        if paths.is_empty() {
            let finished = LayerWriter::new(out).finish();
            return finished.map(drop).map_err(|error| ExportError::Write(std::io::Error::other(error)));
        }
        let view = snapshotter.view(&paths).map_err(ExportError::Files)?;
        // The mount is attached nowhere; this is the name under which the kernel shows it to this process.
        let root = PathBuf::from(format!("/proc/self/fd/{}", view.as_raw_fd()));
        write_layer(&root, self.format, WriteOptions::default(), out).map_err(ExportError::Files)?;
        Ok(())
    }
}

/// Whose files have which names, where those of several platforms come together.
#[derive(Debug, Default)]
pub(crate) struct Owners(HashMap<Vec<u8>, (Platform, bool)>);

impl Owners {
    /// Whether an entry is to be written: a directory that another platform has too is there already.
    fn admit(&mut self, entry: &Entry, platform: &Platform) -> Result<bool, ExportError> {
        let is_directory = entry.kind == EntryKind::Directory;
        match self.0.get(&entry.path) {
            None => {
                self.0.insert(entry.path.clone(), (platform.clone(), is_directory));
                Ok(true)
            }
            Some((_, true)) if is_directory => Ok(false),
            Some((first, _)) => Err(ExportError::SamePath {
                path: entry.display_path(),
                first: Box::new(first.clone()),
                second: Box::new(platform.clone()),
            }),
        }
    }

    /// Notes a directory that is made for a platform.
    pub(crate) fn keep(&mut self, entry: &Entry, platform: &Platform) {
        self.0.insert(entry.path.clone(), (platform.clone(), true));
    }

    /// Whether something has this name.
    pub(crate) fn has(&self, path: &[u8]) -> bool {
        self.0.contains_key(path)
    }
}

/// An entry as it is to be in the end.
fn entry_of(mut entry: Entry, tree: &FileTree, mtime: Option<Timestamp>) -> Entry {
    if let Some(directory) = &tree.directory {
        move_into(&mut entry, directory);
    }
    if let Some(mtime) = mtime {
        entry.mtime = mtime;
    }
    entry
}

fn move_into(entry: &mut Entry, directory: &str) {
    entry.path = inside(directory, &entry.path);
    if let EntryKind::HardLink { target } = &mut entry.kind {
        *target = inside(directory, target);
    }
}

fn inside(directory: &str, path: &[u8]) -> Vec<u8> {
    if path.is_empty() {
        return directory.as_bytes().to_vec();
    }
    [directory.as_bytes(), b"/", path].concat()
}
