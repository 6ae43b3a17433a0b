//! Files that a process makes while it believes to be somebody else.
//!
//! The kernel makes the file, as it would without a filter, a moment after the call was let through. So only the
//! directory and the name are noted, and the owner is written before the next call is answered, whoever makes it. Calls
//! that rename are answered for this reason alone.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use bake_sys::Errno;
use bake_sys::owner_record::{OwnerRecord, status_of};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, openat, statat};

use super::calls::Creation;
use super::files::{Last, pin_descriptor, read_path};
use super::{Emulation, Request};

const AT_FDCWD: i32 = -100;
/// A directory whose new files get its own group.
const SETGID: u32 = 0o2000;
/// Creations that never happened are forgotten, the oldest first, beyond this number.
const NOTED_MAX: usize = 64;

/// What is being created.
#[derive(Debug, Default)]
pub(super) struct Created {
    noted: Vec<Noted>,
}

#[derive(Debug)]
struct Noted {
    thread: u32,
    directory: OwnedFd,
    name: Vec<u8>,
    owner: OwnerRecord,
}

impl Created {
    fn note(&mut self, noted: Noted) {
        // A thread makes one call at a time: what it was noted for before has come to nothing.
        self.noted.retain(|other| other.thread != noted.thread);
        if self.noted.len() >= NOTED_MAX {
            self.noted.remove(0);
        }
        self.noted.push(noted);
    }

    /// Gives what is there by now to its owner.
    pub(super) fn settle(&mut self) {
        self.noted.retain(|noted| !noted.settle());
    }
}

impl Noted {
    /// Whether the file was there.
    fn settle(&self) -> bool {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(file) = openat(&self.directory, OsStr::from_bytes(&self.name), flags, Mode::empty()) else {
            return false;
        };
        let Ok(status) = status_of(&file) else { return false };
        let kind = FileType::from_raw_mode(status.stx_mode.into());
        let mut owner = self.owner;
        if let Ok(Some(record)) = OwnerRecord::read(&file, &status) {
            owner.device = record.device;
        }
        // A set-user-id bit that the file was made with stays, as nobody else could have used it yet.
        if !matches!(kind, FileType::CharacterDevice | FileType::BlockDevice) {
            let _ = owner.write(&file, &status);
        }
        true
    }
}

impl Emulation {
    /// Notes what a call may create, if it will belong to somebody else than 0:0.
    pub(super) fn note_creation(&mut self, request: &Request<'_>, form: Creation) -> Result<(), Errno> {
        let thread = request.thread;
        let (base, path) = match form {
            Creation::Path(index) => (AT_FDCWD, request.argument(index)),
            Creation::Open => (AT_FDCWD, request.argument(0)),
            Creation::At(index) => (request.signed(index), request.argument(index + 1)),
            Creation::OpenAt => (request.signed(0), request.argument(1)),
        };
        let path = read_path(thread, path)?;
        let trimmed = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
        let path = path.get(..trimmed).unwrap_or_default();
        let split = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let (parent, name) = path.split_at_checked(split).unwrap_or_default();
        if name.is_empty() || name == b"." || name == b".." {
            return Ok(());
        }
        let directory = if parent.is_empty() {
            pin_descriptor(thread, base)?
        } else {
            self.pin_path(thread, base, parent, Last::Followed)?
        };
        let identity = self.identities.of(thread);
        let mut owner = OwnerRecord { uid: identity.user.file_system, gid: identity.group.file_system, device: None };
        let above = status_of(&directory)?;
        if u32::from(above.stx_mode) & SETGID != 0 {
            owner.gid = OwnerRecord::read(&directory, &above)?.map_or(above.stx_gid, |record| record.gid);
        }
        if (owner.uid, owner.gid) == (0, 0) {
            return Ok(());
        }
        // What is there already keeps its owner.
        match statat(&directory, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {}
            other => return other.map(drop),
        }
        self.created.note(Noted { thread, directory, name: name.to_vec(), owner });
        Ok(())
    }
}
