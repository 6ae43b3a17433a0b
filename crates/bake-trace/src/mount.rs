//! A FUSE connection and the detached mount that belongs to it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use bake_sys::mount::{FsContext, MountAttrFlags};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::TraceError;

/// Opens the FUSE device. Closing what is returned ends the connection that it was mounted with.
///
/// # Errors
/// [`TraceError::Device`].
pub(crate) fn open_device() -> Result<OwnedFd, TraceError> {
    rustix::fs::open(c"/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| TraceError::Device { source: errno.into() })
}

/// A new superblock whose questions come from `device`, mounted where no path leads.
///
/// # Errors
/// [`TraceError::Mount`].
pub(crate) fn mount(device: BorrowedFd<'_>) -> Result<OwnedFd, TraceError> {
    let failed = |stage: &'static str, context: Option<&FsContext>, errno: Errno| {
        let messages = context.map(FsContext::messages).unwrap_or_default().replace('\n', "; ");
        let messages = if messages.is_empty() { messages } else { format!(" ({messages})") };
        TraceError::Mount { stage, messages, source: errno.into() }
    };
    let context =
        FsContext::open(c"fuse").map_err(|errno| failed("the file system type is not available", None, errno))?;
    let option = |result: Result<(), Errno>| result.map_err(|errno| failed("setting an option", Some(&context), errno));
    // The same text in every step's mount table.
    option(context.set_string(c"source", c"bake"))?;
    option(context.set_string(c"subtype", c"bake"))?;
    option(context.set_string(c"fd", device.as_raw_fd().to_string()))?;
    option(context.set_string(c"rootmode", c"40000"))?;
    option(context.set_string(c"user_id", rustix::process::geteuid().as_raw().to_string()))?;
    option(context.set_string(c"group_id", rustix::process::getegid().as_raw().to_string()))?;
    // The kernel checks permissions by the modes and owners that it was told, as on a disk.
    option(context.set_flag(c"default_permissions"))?;
    // Overlay asks with the rights of the mounter, but a step that sees the tree as a bind mount asks with its own.
    option(context.set_flag(c"allow_other"))?;
    option(context.set_flag(c"ro"))?;
    context.create().map_err(|errno| failed("creating the file system", Some(&context), errno))?;
    context
        .mount(MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV)
        .map_err(|errno| failed("mounting the created file system", Some(&context), errno))
}

/// Asks the mount something that needs the server, so that a connection that does not work is found here.
pub(crate) fn probe(mount: &OwnedFd) -> Result<(), TraceError> {
    rustix::fs::fstat(mount.as_fd()).map(drop).map_err(|errno| TraceError::Mount {
        stage: "asking the server",
        messages: String::new(),
        source: errno.into(),
    })
}
