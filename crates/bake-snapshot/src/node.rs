//! What is known about one file of a tree: its type, owner, mode, times and attributes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use bake_oci::Timestamp;
use bake_sys::owner_record::{OWNER_XATTR, OwnerRecord, RecordedDevice};
use bake_sys::{AtFlags, Errno, xattr};
use rustix::fs::{FileType, Statx, StatxFlags};

use crate::format::{LayerFormat, OverlayXattrs, Ownership, RECORDED_XATTR_PREFIX, ROOT_XATTR, enters_layer};

/// A file type, with overlay's deletions as a type of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Symlink,
    CharacterDevice { major: u32, minor: u32 },
    BlockDevice { major: u32, minor: u32 },
    Fifo,
    Socket,
    Whiteout,
}

/// One file as the image sees it: recorded owners are resolved, notes of overlay and bake are taken out of `xattrs`.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Apparent size in bytes.
    pub(crate) size: u64,
    pub(crate) mtime: Timestamp,
    pub(crate) ctime: Timestamp,
    /// The file's identity on this host.
    pub(crate) identity: (u64, u64),
    /// The number of names the inode has.
    pub(crate) links: u32,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// A directory that hides the one below.
    pub(crate) opaque: bool,
    /// A root directory whose metadata belongs to its layer.
    pub(crate) root_changed: bool,
}

impl Node {
    pub(crate) fn is_directory(&self) -> bool {
        self.kind == Kind::Directory
    }

    /// Whether type, mode, owner and attributes are those of `other`.
    pub(crate) fn same_metadata(&self, other: &Self) -> bool {
        let same_mode = self.kind == Kind::Symlink || self.mode == other.mode;
        self.kind == other.kind
            && same_mode
            && (self.uid, self.gid) == (other.uid, other.gid)
            && self.xattrs == other.xattrs
    }
}

/// How the files of a tree are to be understood.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NodeReader {
    pub(crate) ownership: Ownership,
    /// Set for layer directories, unset for mounted trees and other directories.
    pub(crate) overlay: Option<OverlayXattrs>,
    /// Unset to leave attributes alone (recorded owners are read regardless).
    pub(crate) with_xattrs: bool,
}

impl From<LayerFormat> for NodeReader {
    fn from(format: LayerFormat) -> Self {
        Self { ownership: format.ownership, overlay: Some(format.overlay_xattrs), with_xattrs: true }
    }
}

impl NodeReader {
    /// Reads the file `name` of `directory` without following it; an empty name means the directory itself.
    pub(crate) fn read(self, directory: BorrowedFd<'_>, name: &[u8]) -> Result<Node, Errno> {
        self.read_from(&stat(directory, name)?, directory, name)
    }

    /// As [`Self::read`], of which `status` is known.
    pub(crate) fn read_from(self, status: &Statx, directory: BorrowedFd<'_>, name: &[u8]) -> Result<Node, Errno> {
        let mut node = from_status(status);
        if let (Kind::CharacterDevice { major: 0, minor: 0 }, Some(_)) = (node.kind, self.overlay) {
            node.kind = Kind::Whiteout;
            return Ok(node);
        }
        self.resolve_link_owner(status, &mut node);
        if self.with_xattrs || (self.ownership == Ownership::Recorded && carries_user_xattrs(node.kind)) {
            self.read_xattrs(&XattrSource::Named(proc_path(directory, name)), &mut node)?;
        }
        Ok(node)
    }

    /// Reads the file that is open as `file`, also with `O_PATH`.
    pub(crate) fn read_pinned(self, file: BorrowedFd<'_>) -> Result<Node, Errno> {
        let status = stat(file, b"")?;
        let mut node = from_status(&status);
        self.resolve_link_owner(&status, &mut node);
        if self.with_xattrs || (self.ownership == Ownership::Recorded && carries_user_xattrs(node.kind)) {
            self.read_xattrs(&XattrSource::Pinned(file), &mut node)?;
        }
        Ok(node)
    }

    /// Links and FIFOs have their owner in a place that needs no further call.
    fn resolve_link_owner(self, status: &Statx, node: &mut Node) {
        if self.ownership == Ownership::Recorded
            && let Some(owner) = OwnerRecord::of_link(status)
        {
            (node.uid, node.gid) = (owner.uid, owner.gid);
        }
    }

    fn read_xattrs(self, source: &XattrSource<'_>, node: &mut Node) -> Result<(), Errno> {
        let names = match source.list() {
            Ok(names) => names,
            // A file system without attributes has files without attributes.
            Err(Errno::OPNOTSUPP) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        for name in names {
            if let Some(overlay) = self.overlay.filter(|overlay| name.starts_with(overlay.prefix())) {
                if name == overlay.opaque() && node.is_directory() {
                    node.opaque = source.get(&name)?.as_deref() == Some(b"y");
                } else if name == overlay.whiteout() && node.kind == Kind::File && node.size == 0 {
                    node.kind = Kind::Whiteout;
                    node.xattrs.clear();
                    return Ok(());
                }
                continue;
            }
            if name == ROOT_XATTR {
                node.root_changed = true;
                continue;
            }
            if self.ownership == Ownership::Recorded {
                if name == OWNER_XATTR {
                    let owner = source.get(&name)?.as_deref().and_then(OwnerRecord::parse);
                    // A file that was really given to somebody after it was recorded belongs to that one.
                    if let (Some(owner), (0, 0)) = (owner, (node.uid, node.gid)) {
                        (node.uid, node.gid) = (owner.uid, owner.gid);
                        if let Some(RecordedDevice { block, major, minor }) = owner.device {
                            node.kind = if block {
                                Kind::BlockDevice { major, minor }
                            } else {
                                Kind::CharacterDevice { major, minor }
                            };
                        }
                    }
                    continue;
                }
                if let Some(original) = name.strip_prefix(RECORDED_XATTR_PREFIX).filter(|name| enters_layer(name)) {
                    if let (true, Some(value)) = (self.with_xattrs, source.get(&name)?) {
                        node.xattrs.insert(original.to_vec(), value);
                    }
                    continue;
                }
            }
            if !self.with_xattrs || !enters_layer(&name) {
                continue;
            }
            // `None`: removed since it was listed.
            if let Some(value) = source.get(&name)? {
                let value = if name == CAPABILITY_XATTR { without_root_id(value) } else { value };
                node.xattrs.insert(name, value);
            }
        }
        Ok(())
    }
}

/// Where to read attributes from.
enum XattrSource<'a> {
    /// A path whose last component is not followed.
    Named(PathBuf),
    /// An open file, also with `O_PATH`.
    Pinned(BorrowedFd<'a>),
}

impl XattrSource<'_> {
    fn list(&self) -> Result<Vec<Vec<u8>>, Errno> {
        match self {
            Self::Named(path) => xattr::list(path),
            Self::Pinned(file) => xattr::list_pinned(file),
        }
    }

    fn get(&self, name: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
        match self {
            Self::Named(path) => xattr::get(path, name),
            Self::Pinned(file) => xattr::get_pinned(file, name),
        }
    }
}

/// The type, owner, mode and times of `name` in `directory` as the file system has them.
pub(crate) fn stat(directory: BorrowedFd<'_>, name: &[u8]) -> Result<Statx, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::EMPTY_PATH;
    rustix::fs::statx(directory, name, flags, StatxFlags::BASIC_STATS)
}

/// The node of a file whose attributes were not looked at.
pub(crate) fn from_status(status: &Statx) -> Node {
    let mode = u32::from(status.stx_mode);
    let (major, minor) = (status.stx_rdev_major, status.stx_rdev_minor);
    let kind = match FileType::from_raw_mode(mode) {
        FileType::RegularFile | FileType::Unknown => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::CharacterDevice => Kind::CharacterDevice { major, minor },
        FileType::BlockDevice => Kind::BlockDevice { major, minor },
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
    };
    let time = |time: rustix::fs::StatxTimestamp| Timestamp { seconds: time.tv_sec, nanoseconds: time.tv_nsec };
    Node {
        kind,
        mode: mode & 0o7777,
        uid: status.stx_uid,
        gid: status.stx_gid,
        size: status.stx_size,
        mtime: time(status.stx_mtime),
        ctime: time(status.stx_ctime),
        identity: (u64::from(status.stx_dev_major) << 32 | u64::from(status.stx_dev_minor), status.stx_ino),
        links: status.stx_nlink,
        xattrs: BTreeMap::new(),
        opaque: false,
        root_changed: false,
    }
}

/// Whether files of this type can have `user.*` attributes (`xattr(7)`).
pub(crate) fn carries_user_xattrs(kind: Kind) -> bool {
    matches!(kind, Kind::File | Kind::Directory)
}

/// A path by which the kernel finds exactly `name` in `directory`, for the calls that take no descriptor.
///
/// Only the last component is resolved in the file system, and the callers do not follow it.
pub(crate) fn proc_path(directory: BorrowedFd<'_>, name: &[u8]) -> PathBuf {
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend_from_slice(if name.is_empty() { b"." } else { name });
    PathBuf::from(OsString::from_vec(path))
}

const CAPABILITY_XATTR: &[u8] = b"security.capability";

/// Turns file capabilities that are bound to the root of one user namespace (revision 3) into plain ones (revision 2).
///
/// The namespace of a step is gone with the step; in the image the file has the capability for the image's root.
/// Layout: `linux/capability.h`, `struct vfs_ns_cap_data`; little-endian, revision in the top byte of the first word.
fn without_root_id(mut value: Vec<u8>) -> Vec<u8> {
    const REVISION_3_BYTES: usize = 24;
    const REVISION_2_BYTES: usize = 20;
    if let (REVISION_3_BYTES, Some(revision @ 3)) = (value.len(), value.get_mut(3)) {
        *revision = 2;
        value.truncate(REVISION_2_BYTES);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaced_capabilities_lose_their_root_id() {
        let mut value = vec![1, 0, 0, 3];
        value.extend([7; 20]);
        let plain = without_root_id(value.clone());
        assert_eq!(plain.len(), 20);
        assert_eq!(plain[..5], [1, 0, 0, 2, 7]);
        assert_eq!(without_root_id(plain.clone()), plain);
        assert_eq!(without_root_id(vec![1, 0, 0, 3]), [1, 0, 0, 3]);
    }
}
