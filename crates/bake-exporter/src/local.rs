//! The files of an image in a directory of the user.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use bake_oci::{Entry, EntryKind, Timestamp};
use bake_snapshot::Snapshotter;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};

use crate::error::{ExportError, io};
use crate::files::{FileTree, Owners};
use crate::image::Exporter;
use crate::remove::{remove, remove_others};
use crate::spec::LocalMode;

impl Exporter {
    /// Writes the files of images into `destination`, with `mtime` all of them with that time. What is there and not among
    /// them stays or is deleted as `mode` says; files of the same name are replaced; owners are set where that is allowed;
    /// devices are left out for users who may not make them.
    pub fn to_directory(
        &self,
        snapshotter: &dyn Snapshotter,
        trees: &[FileTree],
        destination: &Path,
        mode: LocalMode,
        mtime: Option<Timestamp>,
    ) -> Result<(), ExportError> {
        std::fs::create_dir_all(destination).map_err(io("make the directory", destination))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root =
            rustix::fs::open(destination, flags, Mode::empty()).map_err(|e| io("open", destination)(e.into()))?;
        let mut owners = Owners::default();
        let mut directories: Vec<Entry> = Vec::new();
        let shown = |entry: &Entry| destination.join(entry.display_path());
        for tree in trees {
            if let Some(directory) = &tree.directory {
                let mut entry = Entry::new(directory.as_str(), EntryKind::Directory, 0o755);
                place(&root, &entry, mode, &mut std::io::empty()).map_err(io("write", shown(&entry)))?;
                entry.mtime = mtime.unwrap_or_default();
                owners.keep(&entry, &tree.platform);
                if mtime.is_some() {
                    directories.push(entry);
                }
            }
            self.each_entry(snapshotter, tree, mtime, &mut owners, |entry, content| {
                place(&root, &entry, mode, content).map_err(io("write", shown(&entry)))?;
                if entry.kind == EntryKind::Directory {
                    directories.push(entry);
                }
                Ok(())
            })?;
        }
        if mode == LocalMode::Delete {
            remove_others(&root, &|path| owners.has(path)).map_err(|(path, error)| {
                io("delete", destination.join(String::from_utf8_lossy(&path).as_ref()))(error)
            })?;
        }
        for entry in directories.iter().rev().filter(|entry| !entry.path.is_empty()) {
            finish_directory(&root, entry).map_err(io("set the times of", shown(entry)))?;
        }
        Ok(())
    }
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

fn place(root: &OwnedFd, entry: &Entry, over: LocalMode, mut content: &mut dyn Read) -> std::io::Result<()> {
    if entry.path.is_empty() {
        return Ok(());
    }
    let (directory, name) = parent(root, &entry.path)?;
    if entry.kind == EntryKind::Directory {
        return make_directory(&directory, &name, over);
    }
    match rustix::fs::unlinkat(&directory, &*name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(_) if over == LocalMode::Delete => remove(&directory, &name)?,
        Err(error) => return Err(error.into()),
    }
    let mode = Mode::from_raw_mode(entry.mode);
    match &entry.kind {
        EntryKind::File { .. } => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&directory, &*name, flags, Mode::RUSR | Mode::WUSR)?;
            let mut file = File::from(file);
            std::io::copy(&mut content, &mut file)?;
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

fn make_directory(directory: &OwnedFd, name: &[u8], over: LocalMode) -> std::io::Result<()> {
    match rustix::fs::mkdirat(directory, name, Mode::RWXU) {
        Err(rustix::io::Errno::EXIST) => {}
        made => return made.map_err(Into::into),
    }
    let status = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(status.st_mode) == FileType::Directory {
        return Ok(());
    }
    if over == LocalMode::Copy {
        return Err(std::io::Error::new(std::io::ErrorKind::NotADirectory, "what is there is not a directory"));
    }
    remove(directory, name)?;
    rustix::fs::mkdirat(directory, name, Mode::RWXU).map_err(Into::into)
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
