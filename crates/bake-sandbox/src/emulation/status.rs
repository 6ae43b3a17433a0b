//! `stat` and its relatives, for files that have another owner than the kernel believes.

use bake_sys::Errno;
use bake_sys::notification::{Answer, write_memory};
use bake_sys::owner_record::{OwnerRecord, RecordedDevice, status_of};
use bake_sys::seccomp::{ARCHITECTURE_AARCH64, ARCHITECTURE_I386};
use rustix::fs::{Statx, StatxTimestamp, makedev};

use super::calls::{Form, Layout};
use super::{Emulation, Request};

const FILE_TYPE: u16 = 0o170_000;
const CHARACTER_DEVICE: u16 = 0o020_000;
const BLOCK_DEVICE: u16 = 0o060_000;
/// `STATX_BASIC_STATS | STATX_BTIME`: what is filled in.
const STATX_FIELDS: u32 = 0xfff;
const STATX_BYTES: usize = 256;

impl Emulation {
    /// Answers with the recorded owner, or lets the kernel answer where there is none.
    pub(super) fn tell_status(&self, request: &Request<'_>, (form, layout): (Form, Layout)) -> Result<Answer, Errno> {
        // Errors are the kernel's to find.
        let Ok(file) = self.pin_file(request, form) else { return Ok(Answer::Continue) };
        let Ok(mut status) = status_of(&file) else { return Ok(Answer::Continue) };
        let Ok(Some(record)) = OwnerRecord::read(&file, &status) else { return Ok(Answer::Continue) };
        if OwnerRecord::of_link(&status).is_some() {
            status.stx_atime = status.stx_mtime;
        }
        (status.stx_uid, status.stx_gid) = (record.uid, record.gid);
        if let Some(RecordedDevice { block, major, minor }) = record.device {
            let kind = if block { BLOCK_DEVICE } else { CHARACTER_DEVICE };
            status.stx_mode = status.stx_mode & !FILE_TYPE | kind;
            (status.stx_rdev_major, status.stx_rdev_minor) = (major, minor);
        }
        let (address, bytes) = match layout {
            Layout::Statx => (request.argument(4), statx(&status)),
            Layout::Stat => {
                let address = match form {
                    Form::At(_) => request.argument(2),
                    Form::Path | Form::Link | Form::Descriptor => request.argument(1),
                };
                let bytes = match request.architecture {
                    ARCHITECTURE_I386 => stat_i386(&status),
                    ARCHITECTURE_AARCH64 => stat_generic(&status),
                    _ => stat_x86_64(&status),
                };
                (address, bytes)
            }
        };
        write_memory(request.thread, address, &bytes)?;
        Ok(Answer::Return(0))
    }
}

/// Numbers of different widths, one after the other.
#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn wide(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// Cut to 32 bits, as the kernel cuts what does not fit into a field.
    fn narrow(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&((value & 0xffff_ffff) as u32).to_le_bytes());
        self
    }

    fn time(self, time: &StatxTimestamp) -> Self {
        self.wide(time.tv_sec.cast_unsigned()).wide(time.tv_nsec.into())
    }

    fn short_time(self, time: &StatxTimestamp) -> Self {
        self.narrow(time.tv_sec.cast_unsigned()).narrow(time.tv_nsec.into())
    }

    fn long_time(self, time: &StatxTimestamp) -> Self {
        self.wide(time.tv_sec.cast_unsigned()).narrow(time.tv_nsec.into()).narrow(0)
    }

    fn ending(mut self, length: usize) -> Vec<u8> {
        self.0.resize(length, 0);
        self.0
    }
}

fn device(status: &Statx) -> u64 {
    makedev(status.stx_dev_major, status.stx_dev_minor)
}

fn device_number(status: &Statx) -> u64 {
    makedev(status.stx_rdev_major, status.stx_rdev_minor)
}

/// `struct stat` of 64-bit x86 (144 bytes).
fn stat_x86_64(status: &Statx) -> Vec<u8> {
    Fields::default()
        .wide(device(status))
        .wide(status.stx_ino)
        .wide(status.stx_nlink.into())
        .narrow(status.stx_mode.into())
        .narrow(status.stx_uid.into())
        .narrow(status.stx_gid.into())
        .narrow(0)
        .wide(device_number(status))
        .wide(status.stx_size)
        .wide(status.stx_blksize.into())
        .wide(status.stx_blocks)
        .time(&status.stx_atime)
        .time(&status.stx_mtime)
        .time(&status.stx_ctime)
        .ending(144)
}

/// `struct stat` of the generic table (128 bytes).
fn stat_generic(status: &Statx) -> Vec<u8> {
    Fields::default()
        .wide(device(status))
        .wide(status.stx_ino)
        .narrow(status.stx_mode.into())
        .narrow(status.stx_nlink.into())
        .narrow(status.stx_uid.into())
        .narrow(status.stx_gid.into())
        .wide(device_number(status))
        .wide(0)
        .wide(status.stx_size)
        .narrow(status.stx_blksize.into())
        .narrow(0)
        .wide(status.stx_blocks)
        .time(&status.stx_atime)
        .time(&status.stx_mtime)
        .time(&status.stx_ctime)
        .ending(128)
}

/// `struct stat64` of 32-bit x86 (96 bytes, packed).
fn stat_i386(status: &Statx) -> Vec<u8> {
    Fields::default()
        .wide(device(status))
        .narrow(0)
        .narrow(status.stx_ino)
        .narrow(status.stx_mode.into())
        .narrow(status.stx_nlink.into())
        .narrow(status.stx_uid.into())
        .narrow(status.stx_gid.into())
        .wide(device_number(status))
        .narrow(0)
        .wide(status.stx_size)
        .narrow(status.stx_blksize.into())
        .wide(status.stx_blocks)
        .short_time(&status.stx_atime)
        .short_time(&status.stx_mtime)
        .short_time(&status.stx_ctime)
        .wide(status.stx_ino)
        .ending(96)
}

/// `struct statx`.
fn statx(status: &Statx) -> Vec<u8> {
    let kind_and_links = u64::from(status.stx_mode);
    Fields::default()
        .narrow((status.stx_mask & STATX_FIELDS).into())
        .narrow(status.stx_blksize.into())
        .wide(0)
        .narrow(status.stx_nlink.into())
        .narrow(status.stx_uid.into())
        .narrow(status.stx_gid.into())
        .narrow(kind_and_links)
        .wide(status.stx_ino)
        .wide(status.stx_size)
        .wide(status.stx_blocks)
        .wide(0)
        .long_time(&status.stx_atime)
        .long_time(&status.stx_btime)
        .long_time(&status.stx_ctime)
        .long_time(&status.stx_mtime)
        .narrow(status.stx_rdev_major.into())
        .narrow(status.stx_rdev_minor.into())
        .narrow(status.stx_dev_major.into())
        .narrow(status.stx_dev_minor.into())
        .ending(STATX_BYTES)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_layout_is_that_of_the_kernel() {
        use std::os::unix::fs::MetadataExt;
        let file = tempfile::tempfile().unwrap();
        let known = file.metadata().unwrap();
        let bytes = stat_x86_64(&status_of(&file).unwrap());
        let wide = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let narrow = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!((wide(0), wide(8), wide(16)), (known.dev(), known.ino(), known.nlink()));
        assert_eq!((narrow(24), narrow(28), narrow(32)), (known.mode(), known.uid(), known.gid()));
        assert_eq!((wide(48), wide(56), wide(64)), (known.size(), known.blksize(), known.blocks()));
        assert_eq!(wide(88).cast_signed(), known.mtime());
        assert_eq!(wide(96).cast_signed(), known.mtime_nsec());
        assert_eq!(wide(104).cast_signed(), known.ctime());
    }
}
