//! Owners that files cannot really have, because only one ID exists where they are: how they are written down.
//!
//! - Regular files and directories carry the attribute `user.bake.owner`: `UID:GID`, or for a device, which is an empty
//!   file then, `UID:GID:c:MAJOR:MINOR` (`b` for block devices).
//! - Symbolic links, FIFOs and sockets can have no `user.*` attribute. Their access time is a number of nanoseconds after
//!   [`TIME_BASE_SECONDS`] (the year 2223): `UID * 2^31 + GID`. Kernels do not update an access time that lies in the
//!   future (`relatime`), copying up keeps it, and nobody else has a use for the access time of such a file.
//!
//! A record counts only on a file that belongs to 0:0 on disk.

use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::{AtFlags, FileType, Gid, Statx, StatxFlags, Timespec, Timestamps, UTIME_OMIT, Uid};
use rustix::io::Errno;

use crate::{Result, xattr};

/// The attribute that holds the owner of a regular file or directory.
pub const OWNER_XATTR: &[u8] = b"user.bake.owner";

/// Access times from here on are owners of links, FIFOs and sockets. With all IDs below 2^31 the last one is in the year
/// 2369, which ext4 (up to 2446), XFS (up to 2486), btrfs and tmpfs can keep.
pub const TIME_BASE_SECONDS: i64 = 8_000_000_000;
const IDS: u64 = 1 << 31;
const NANOSECONDS: u64 = 1_000_000_000;

/// A device that an empty file stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordedDevice {
    /// Whether it is a block device, else a character device.
    pub block: bool,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

/// An owner that is written down because the file cannot really have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OwnerRecord {
    /// The intended owner.
    pub uid: u32,
    /// The intended group.
    pub gid: u32,
    /// The device that the file stands for.
    pub device: Option<RecordedDevice>,
}

/// Where an owner was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is recorded, or the file belongs to 0:0, which needs no record.
    Kept,
    /// The file's type or file system can carry no record of it.
    Lost,
}

impl OwnerRecord {
    /// Reads the attribute's value; `None` when it is malformed.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let mut parts = text.split(':');
        let number = |part: Option<&str>| part?.parse::<u32>().ok();
        let (uid, gid) = (number(parts.next())?, number(parts.next())?);
        let device = match parts.next() {
            None => None,
            Some(letter) => {
                let (major, minor) = (number(parts.next())?, number(parts.next())?);
                let block = match letter {
                    "c" => false,
                    "b" => true,
                    _ => return None,
                };
                Some(RecordedDevice { block, major, minor })
            }
        };
        parts.next().is_none().then_some(Self { uid, gid, device })
    }

    /// The attribute's value.
    pub fn to_value(self) -> Vec<u8> {
        let Self { uid, gid, device } = self;
        match device {
            Some(RecordedDevice { block, major, minor }) => {
                format!("{uid}:{gid}:{}:{major}:{minor}", if block { 'b' } else { 'c' })
            }
            None => format!("{uid}:{gid}"),
        }
        .into_bytes()
    }

    /// The owner in an access time; `None` when it is an ordinary time.
    pub fn from_access_time(seconds: i64, nanoseconds: u32) -> Option<Self> {
        let after = u64::try_from(seconds.checked_sub(TIME_BASE_SECONDS)?).ok()?;
        let number = after.checked_mul(NANOSECONDS)?.checked_add(u64::from(nanoseconds))?;
        if number >= IDS * IDS {
            return None;
        }
        let (uid, gid) = (u32::try_from(number / IDS).ok()?, u32::try_from(number % IDS).ok()?);
        Some(Self { uid, gid, device: None })
    }

    /// The access time that stands for this owner; `None` for IDs from 2^31 on.
    fn access_time(self) -> Option<Timespec> {
        let (uid, gid) = (u64::from(self.uid), u64::from(self.gid));
        if uid >= IDS || gid >= IDS {
            return None;
        }
        let number = uid * IDS + gid;
        Some(Timespec {
            tv_sec: TIME_BASE_SECONDS + i64::try_from(number / NANOSECONDS).ok()?,
            tv_nsec: i64::try_from(number % NANOSECONDS).ok()?,
        })
    }

    /// The record of the file that is open as `file` (also with `O_PATH`) and has this `status`; `None` when there is none.
    ///
    /// # Errors
    /// As [`xattr::get`].
    pub fn read(file: impl AsFd, status: &Statx) -> Result<Option<Self>> {
        if (status.stx_uid, status.stx_gid) != (0, 0) {
            return Ok(None);
        }
        if carries_attributes(status) {
            return match xattr::get_pinned(file, OWNER_XATTR) {
                Ok(value) => Ok(value.as_deref().and_then(Self::parse)),
                Err(Errno::OPNOTSUPP | Errno::PERM) => Ok(None),
                Err(errno) => Err(errno),
            };
        }
        Ok(Self::of_link(status))
    }

    /// The record of a link, FIFO or socket with this `status`.
    pub fn of_link(status: &Statx) -> Option<Self> {
        if !carries_time(status) || (status.stx_uid, status.stx_gid) != (0, 0) {
            return None;
        }
        Self::from_access_time(status.stx_atime.tv_sec, status.stx_atime.tv_nsec)
    }

    /// Writes the record of the file that is open as `file`, or takes it away where it says 0:0, which is what the file
    /// has without. The file must belong to 0:0 on disk.
    ///
    /// # Errors
    /// As [`xattr::set`], but for types and file systems without attributes: those are [`Written::Lost`].
    pub fn write(self, file: impl AsFd, status: &Statx) -> Result<Written> {
        let file = file.as_fd();
        let root = self == Self::default();
        if carries_attributes(status) {
            let written = if root {
                match xattr::remove_pinned(file, OWNER_XATTR) {
                    Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::PERM) => Ok(()),
                    other => other,
                }
            } else {
                xattr::set_pinned(file, OWNER_XATTR, &self.to_value())
            };
            return match written {
                Ok(()) => Ok(Written::Kept),
                Err(Errno::OPNOTSUPP | Errno::PERM) => Ok(Written::Lost),
                Err(errno) => Err(errno),
            };
        }
        let recorded = Self::of_link(status).is_some();
        if root && !recorded {
            return Ok(Written::Kept);
        }
        if !carries_time(status) {
            return Ok(Written::Lost);
        }
        let modified = Timespec { tv_sec: status.stx_mtime.tv_sec, tv_nsec: i64::from(status.stx_mtime.tv_nsec) };
        let Some(time) = (if root { Some(modified) } else { self.access_time() }) else { return Ok(Written::Lost) };
        let omitted = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let times = Timestamps { last_access: time, last_modification: omitted };
        let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(file, c"", &times, flags)?;
        // A file system with a shorter range of times has cut it.
        let after = status_of(file)?;
        Ok(if root || Self::of_link(&after) == Some(self) { Written::Kept } else { Written::Lost })
    }
}

/// Type, owner, mode and times of an open file, also with `O_PATH`.
///
/// # Errors
/// Those of `statx(2)`.
pub fn status_of(file: impl AsFd) -> Result<Statx> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::EMPTY_PATH;
    rustix::fs::statx(file, c"", flags, StatxFlags::BASIC_STATS | StatxFlags::BTIME)
}

/// Sets the times of a file that is open in any way, but not the access time of one whose access time is its owner.
///
/// # Errors
/// Those of `utimensat(2)`.
pub fn set_times(file: impl AsFd, times: &Timestamps) -> Result<()> {
    let file = file.as_fd();
    let mut times = times.clone();
    let status = status_of(file)?;
    if OwnerRecord::of_link(&status).is_some() {
        times.last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    } else if carries_time(&status) && times.last_access.tv_sec >= TIME_BASE_SECONDS {
        // What would look like an owner.
        times.last_access.tv_sec = 0;
    }
    rustix::fs::utimensat(file, c"", &times, AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW)
}

/// Does to the mode and capabilities of a regular file what giving it away does: takes setuid, setgid and capabilities off.
///
/// # Errors
/// Those of `chown(2)`.
pub fn take_privileges(file: impl AsFd) -> Result<()> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(file, c"", Some(Uid::ROOT), Some(Gid::ROOT), flags)
}

/// The path by which `/proc` names an open file of this process.
pub fn path_of_descriptor(file: impl AsFd) -> String {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd())
}

fn carries_attributes(status: &Statx) -> bool {
    let kind = FileType::from_raw_mode(status.stx_mode.into());
    matches!(kind, FileType::RegularFile | FileType::Directory)
}

fn carries_time(status: &Statx) -> bool {
    let kind = FileType::from_raw_mode(status.stx_mode.into());
    matches!(kind, FileType::Symlink | FileType::Fifo | FileType::Socket)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use rustix::fs::{CWD, Mode, OFlags};

    use super::*;

    #[test]
    fn values_round_trip() {
        for device in [None, Some(RecordedDevice { block: true, major: 4095, minor: 1_048_575 })] {
            let owner = OwnerRecord { uid: 33, gid: u32::MAX - 1, device };
            assert_eq!(OwnerRecord::parse(&owner.to_value()), Some(owner));
        }
        for bad in ["", "1", "1:", "1:2:", "1:2:c", "1:2:x:1:1", "1:2:c:1:1:1", "-1:2", "1:2:c:1"] {
            assert_eq!(OwnerRecord::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn every_small_id_has_a_time_of_its_own() {
        for (uid, gid) in [(0, 1), (1, 0), (1000, 1000), (65534, 65534), (0x7fff_ffff, 0x7fff_ffff)] {
            let owner = OwnerRecord { uid, gid, device: None };
            let time = owner.access_time().unwrap();
            let nanoseconds = u32::try_from(time.tv_nsec).unwrap();
            assert_eq!(OwnerRecord::from_access_time(time.tv_sec, nanoseconds), Some(owner));
            // The end of ext4's times.
            assert!(time.tv_sec < 15_032_385_535);
        }
        assert_eq!(OwnerRecord { uid: 1 << 31, gid: 0, device: None }.access_time(), None);
        assert_eq!(OwnerRecord::from_access_time(1_800_000_000, 0), None);
        assert_eq!(OwnerRecord::from_access_time(i64::MAX, 0), None);
    }

    #[test]
    fn a_link_keeps_its_owner_when_it_is_read_and_touched() {
        let directory = tempfile::tempdir_in(".").unwrap();
        let path = directory.path().join("link");
        std::os::unix::fs::symlink("target", &path).unwrap();
        let link = rustix::fs::openat(CWD, &path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).unwrap();
        let owner = OwnerRecord { uid: 1000, gid: 33, device: None };
        let status = status_of(&link).unwrap();
        if (status.stx_uid, status.stx_gid) != (0, 0) {
            // Records count on files of 0:0 only; whoever tests without being root has none.
            assert_eq!(OwnerRecord::read(&link, &status).unwrap(), None);
            return;
        }
        assert_eq!(owner.write(&link, &status).unwrap(), Written::Kept);
        std::fs::read_link(&path).unwrap();
        let time = Timespec { tv_sec: 1_000_000_000, tv_nsec: 5 };
        set_times(&link, &Timestamps { last_access: time, last_modification: time }).unwrap();
        let status = status_of(&link).unwrap();
        assert_eq!(status.stx_mtime.tv_sec, 1_000_000_000);
        assert_eq!(OwnerRecord::read(&link, &status).unwrap(), Some(owner));
        OwnerRecord::default().write(&link, &status).unwrap();
        assert_eq!(OwnerRecord::read(&link, &status_of(&link).unwrap()).unwrap(), None);
    }
}
