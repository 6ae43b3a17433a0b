//! The files of an image in a directory of the user.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use bake_oci::{Entry, EntryKind, LayerReader};
use bake_snapshot::Snapshotter;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};

use crate::attestation::BesideFile;
use crate::error::{ExportError, io};
use crate::image::Exporter;

impl Exporter {
    /// Writes the files of a stack of layer directories into `destination`, beside what is there. Files of the same name are
    /// replaced; owners are set where that is allowed; devices are left out for users who may not make them.
    pub fn to_directory(
        &self,
        snapshotter: &dyn Snapshotter,
        layers: &[PathBuf],
        destination: &Path,
    ) -> Result<(), ExportError> {
        std::fs::create_dir_all(destination).map_err(io("make the directory", destination))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root =
            rustix::fs::open(destination, flags, Mode::empty()).map_err(|e| io("open", destination)(e.into()))?;
        let (reader, writer) = std::io::pipe().map_err(ExportError::Write)?;
        std::thread::scope(|scope| {
            let archive = scope.spawn(move || self.to_tar(snapshotter, layers, std::io::BufWriter::new(writer)));
            let unpacked = unpack(reader, &root, destination);
            let written = archive.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            // A reader that gave up makes the writer fail too; what the reader says is the cause.
            unpacked.and(written)
        })
    }
}

fn unpack(stream: impl Read, root: &OwnedFd, shown: &Path) -> Result<(), ExportError> {
    let mut reader = LayerReader::new(std::io::BufReader::with_capacity(256 * 1024, stream));
    let mut directories: Vec<Entry> = Vec::new();
    loop {
        let next = reader.next_entry().map_err(|error| ExportError::Write(std::io::Error::other(error)))?;
        let Some(mut next) = next else { break };
        let entry = next.entry.clone();
        let path = shown.join(entry.display_path());
        place(root, &entry, &mut next).map_err(io("write", path))?;
        if entry.kind == EntryKind::Directory {
            directories.push(entry);
        }
    }
    for entry in directories.iter().rev().filter(|entry| !entry.path.is_empty()) {
        let path = shown.join(entry.display_path());
        finish_directory(root, entry).map_err(io("set the times of", path))?;
    }
    Ok(())
}

/// Writes files at the top of `destination`, in place of what has their names there.
pub(crate) fn place_files(files: &[BesideFile], destination: &Path) -> Result<(), ExportError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(destination, flags, Mode::empty()).map_err(|e| io("open", destination)(e.into()))?;
    for file in files {
        place(&root, &file.entry(), &mut file.bytes.as_slice()).map_err(io("write", destination.join(&file.name)))?;
    }
    Ok(())
}

fn parent(root: &OwnedFd, path: &[u8]) -> Result<(OwnedFd, Vec<u8>), rustix::io::Errno> {
    let (parent, name) = match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&b""[..], path),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut current = rustix::fs::openat(root, ".", flags, Mode::empty())?;
    for part in parent.split(|b| *b == b'/').filter(|part| !part.is_empty()) {
        current = rustix::fs::openat(&current, part, flags, Mode::empty())?;
    }
    Ok((current, name.to_vec()))
}

fn place(root: &OwnedFd, entry: &Entry, content: &mut impl Read) -> std::io::Result<()> {
    if entry.path.is_empty() {
        return Ok(());
    }
    let (directory, name) = parent(root, &entry.path)?;
    if entry.kind == EntryKind::Directory {
        return match rustix::fs::mkdirat(&directory, &*name, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        };
    }
    match rustix::fs::unlinkat(&directory, &*name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let mode = Mode::from_raw_mode(entry.mode);
    match &entry.kind {
        EntryKind::File { .. } => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&directory, &*name, flags, Mode::RUSR | Mode::WUSR)?;
            let mut file = File::from(file);
            std::io::copy(content, &mut file)?;
            for (key, value) in &entry.xattrs {
                // File systems and users differ in what they take; the content is what matters here.
                let _ = rustix::fs::fsetxattr(&file, key.as_slice(), value, rustix::fs::XattrFlags::empty());
            }
            own(&directory, &name, entry)?;
            rustix::fs::fchmod(&file, mode)?;
        }
        EntryKind::HardLink { target } => {
            let (from, from_name) = parent(root, target)?;
            rustix::fs::linkat(&from, &*from_name, &directory, &*name, AtFlags::empty())?;
            return Ok(());
        }
        EntryKind::Symlink { target } => {
            rustix::fs::symlinkat(&**target, &directory, &*name)?;
            own(&directory, &name, entry)?;
        }
        EntryKind::CharacterDevice { major, minor } => {
            return device(&directory, &name, FileType::CharacterDevice, mode, (*major, *minor));
        }
        EntryKind::BlockDevice { major, minor } => {
            return device(&directory, &name, FileType::BlockDevice, mode, (*major, *minor));
        }
        EntryKind::Fifo => {
            rustix::fs::mknodat(&directory, &*name, FileType::Fifo, mode, 0)?;
            own(&directory, &name, entry)?;
        }
        EntryKind::Directory => {}
    }
    rustix::fs::utimensat(&directory, &*name, &times(entry), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

fn device(directory: &OwnedFd, name: &[u8], kind: FileType, mode: Mode, numbers: (u32, u32)) -> std::io::Result<()> {
    match rustix::fs::mknodat(directory, name, kind, mode, rustix::fs::makedev(numbers.0, numbers.1)) {
        // An ordinary user cannot make devices.
        Ok(()) | Err(rustix::io::Errno::PERM) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Sets the owner, which only root can.
fn own(directory: &impl AsFd, name: &[u8], entry: &Entry) -> std::io::Result<()> {
    let (user, group) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    match rustix::fs::chownat(directory, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(()) | Err(rustix::io::Errno::PERM | rustix::io::Errno::INVAL) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn times(entry: &Entry) -> Timestamps {
    let time = Timespec { tv_sec: entry.mtime.seconds, tv_nsec: i64::from(entry.mtime.nanoseconds) };
    Timestamps { last_access: time, last_modification: time }
}

fn finish_directory(root: &OwnedFd, entry: &Entry) -> std::io::Result<()> {
    let (directory, name) = parent(root, &entry.path)?;
    own(&directory, &name, entry)?;
    rustix::fs::chmodat(&directory, &*name, Mode::from_raw_mode(entry.mode), AtFlags::empty())?;
    rustix::fs::utimensat(&directory, &*name, &times(entry), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}
