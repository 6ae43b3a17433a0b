//! Giving files an owner, a mode, attributes and times, in either [`Ownership`].
//!
//! The order matters: changing the owner clears setuid bits and file capabilities, so it comes first, and times last.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use bake_oci::Timestamp;
use bake_sys::owner_record::{
    OWNER_XATTR, OwnerRecord, RecordedDevice, Written, set_times, status_of, take_privileges,
};
use bake_sys::{AtFlags, Errno, Mode, OFlags, xattr};
use rustix::fs::{FileType, Gid, Timespec, Timestamps, Uid};

use crate::error::{At, Result, SnapshotError, display};
use crate::format::{LayerFormat, Ownership, RECORDED_XATTR_PREFIX, enters_layer};
use crate::node::{Kind, Node, NodeReader, carries_user_xattrs};

/// How a file got the owner it was to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerKept {
    /// It is the file's owner on disk.
    OnDisk,
    /// It is written down beside the file.
    Recorded,
    /// The file cannot carry a record of it: it belongs to 0:0 ([`Ownership::Recorded`] says when).
    Lost,
}

/// Gives the file that `file` has open (also with `O_PATH`, also a symbolic link) to `uid` and `gid`.
///
/// Like `chown(2)`, this takes setuid bits and file capabilities off a regular file.
///
/// # Errors
/// [`SnapshotError::Io`] naming `path`, which is used for nothing else.
pub fn set_owner(ownership: Ownership, file: impl AsFd, path: &[u8], uid: u32, gid: u32) -> Result<OwnerKept> {
    let file = file.as_fd();
    let changed = rustix::fs::chownat(
        file,
        c"",
        Some(Uid::from_raw(uid)),
        Some(Gid::from_raw(gid)),
        AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW,
    );
    if ownership == Ownership::Native {
        return changed.map(|()| OwnerKept::OnDisk).at("set the owner of", path);
    }
    let record = || -> std::result::Result<OwnerKept, Errno> {
        let status = status_of(file)?;
        let earlier = OwnerRecord::read(file, &status)?;
        let device = earlier.and_then(|owner| owner.device);
        if changed.is_ok() && device.is_none() {
            if earlier.is_some() {
                OwnerRecord::default().write(file, &status)?;
            }
            return Ok(OwnerKept::OnDisk);
        }
        // A record counts only on a file of 0:0, so a file given away earlier is taken back first.
        take_privileges(file)?;
        match (OwnerRecord { uid, gid, device }).write(file, &status_of(file)?)? {
            Written::Kept => Ok(OwnerKept::Recorded),
            // A directory or file on a file system without attributes must not seem to have the owner.
            Written::Lost if FileType::from_raw_mode(status.stx_mode.into()).is_file() => Err(Errno::OPNOTSUPP),
            Written::Lost => Ok(OwnerKept::Lost),
        }
    };
    match changed {
        Ok(()) | Err(Errno::INVAL | Errno::PERM | Errno::OVERFLOW) => record().at("record the owner of", path),
        Err(errno) => Err(errno).at("set the owner of", path),
    }
}

/// The owner of `name` in `directory` (empty: of the directory itself), as the image sees it.
///
/// # Errors
/// [`SnapshotError::Io`] naming `name`.
pub fn read_owner(ownership: Ownership, directory: impl AsFd, name: &[u8]) -> Result<(u32, u32)> {
    let reader = NodeReader { ownership, overlay: None, with_xattrs: false };
    let node = reader.read(directory.as_fd(), name).at("read the owner of", name)?;
    Ok((node.uid, node.gid))
}

/// Which device [`make_device`] makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// A character device.
    Character,
    /// A block device.
    Block,
}

/// Makes a device in `directory`, or in [`Ownership::Recorded`], where devices cannot be made, an empty file with a
/// record of it. The mode is 0600 until it is set.
///
/// # Errors
/// [`SnapshotError::Io`] naming `path`; [`SnapshotError::RefusedEntry`] for character device 0:0, which means a
/// deletion to overlay.
pub fn make_device(
    ownership: Ownership,
    directory: impl AsFd,
    name: &[u8],
    path: &[u8],
    kind: DeviceKind,
    (major, minor): (u32, u32),
) -> Result<()> {
    if kind == DeviceKind::Character && (major, minor) == (0, 0) {
        return Err(SnapshotError::RefusedEntry {
            path: display(path),
            reason: "character device 0:0 means a deletion to overlay",
        });
    }
    let file_type = match kind {
        DeviceKind::Character => FileType::CharacterDevice,
        DeviceKind::Block => FileType::BlockDevice,
    };
    let directory = directory.as_fd();
    let number = rustix::fs::makedev(major, minor);
    match rustix::fs::mknodat(directory, name, file_type, Mode::RUSR | Mode::WUSR, number) {
        Err(Errno::PERM) if ownership == Ownership::Recorded => {
            let file = create_file(directory, name).at("create", path)?;
            let device = Some(RecordedDevice { block: kind == DeviceKind::Block, major, minor });
            let record = OwnerRecord { uid: 0, gid: 0, device };
            xattr::set_open(&file, OWNER_XATTR, &record.to_value()).at("record the device of", path)
        }
        other => other.at("make the device", path),
    }
}

/// Creates an empty regular file of mode 0600 that did not exist.
pub(crate) fn create_file(directory: BorrowedFd<'_>, name: &[u8]) -> std::result::Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)
}

/// Pins `name` of `directory`, whatever it is, so that it can be changed without being named again.
pub(crate) fn pin(directory: BorrowedFd<'_>, name: &[u8]) -> std::result::Result<OwnedFd, Errno> {
    rustix::fs::openat(directory, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Everything about a file but its type and content.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attributes<'a> {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Timestamp,
    pub(crate) xattrs: &'a BTreeMap<Vec<u8>, Vec<u8>>,
}

impl<'a> From<&'a Node> for Attributes<'a> {
    fn from(node: &'a Node) -> Self {
        Self { mode: node.mode, uid: node.uid, gid: node.gid, mtime: node.mtime, xattrs: &node.xattrs }
    }
}

impl Attributes<'_> {
    /// Gives a file of the type `kind`, open as `file` in any way, these attributes. Returns how many could not be
    /// kept: owners and extended attributes of types that cannot carry a record in [`Ownership::Recorded`].
    pub(crate) fn apply(&self, format: LayerFormat, file: BorrowedFd<'_>, kind: Kind, path: &[u8]) -> Result<u64> {
        let owner = set_owner(format.ownership, file, path, self.uid, self.gid)?;
        let mut lost = u64::from(owner == OwnerKept::Lost);
        if kind != Kind::Symlink {
            let mode = Mode::from_raw_mode(self.mode & 0o7777);
            match rustix::fs::fchmod(file, mode) {
                // Open with `O_PATH`.
                Err(Errno::BADF) => rustix::fs::chmod(format!("/proc/self/fd/{}", file.as_raw_fd()), mode),
                other => other,
            }
            .at("set the mode of", path)?;
        }
        for (name, value) in self.xattrs {
            if enters_layer(name) {
                lost += u64::from(!set_xattr(format, file, kind, path, name, value)?);
            }
        }
        set_mtime(file, self.mtime).at("set the time of", path)?;
        Ok(lost)
    }
}

/// Sets one attribute; `false` when this type of file cannot have it.
fn set_xattr(
    format: LayerFormat,
    file: BorrowedFd<'_>,
    kind: Kind,
    path: &[u8],
    name: &[u8],
    value: &[u8],
) -> Result<bool> {
    match xattr::set_pinned(file, name, value) {
        Ok(()) => Ok(true),
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::INVAL | Errno::ACCESS)
            if format.ownership == Ownership::Recorded =>
        {
            if !carries_user_xattrs(kind) {
                return Ok(false);
            }
            let recorded = [RECORDED_XATTR_PREFIX, name].concat();
            xattr::set_pinned(file, &recorded, value).at("record an attribute of", path).map(|()| true)
        }
        // `user.*` attributes on links and devices, which some archives carry, exist on no Linux file system.
        Err(Errno::PERM) if name.starts_with(b"user.") && !carries_user_xattrs(kind) => Ok(false),
        Err(errno) => Err(errno).at("set an attribute of", path),
    }
}

/// Sets the modification time of an open file; the access time is set to the same, so that nothing depends on now.
pub(crate) fn set_mtime(file: BorrowedFd<'_>, mtime: Timestamp) -> std::result::Result<(), Errno> {
    let time = Timespec { tv_sec: mtime.seconds, tv_nsec: i64::from(mtime.nanoseconds) };
    set_times(file, &Timestamps { last_access: time, last_modification: time })
}
