//! The mount API by file descriptor: `fsopen(2)`, `fsconfig(2)`, `fsmount(2)`, `open_tree(2)`, `move_mount(2)`,
//! `mount_setattr(2)`, `umount2(2)` and `pivot_root(2)`.
//!
//! A mount made here is *detached*: no path leads to it until [`attach`] or [`attach_at`] puts it somewhere, and
//! dropping the descriptor of a detached mount unmounts it.

use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::Mode;
use rustix::mount::{FsMountFlags, FsOpenFlags, MoveMountFlags, OpenTreeFlags};
use rustix::path::Arg;

use crate::{Result, check};

pub use rustix::mount::{MountAttrFlags, UnmountFlags};

/// The most text of the kernel's explanation that [`FsContext::messages`] returns, in bytes.
const MESSAGES_BYTES_MAX: usize = 4096;

/// A file system being configured before it is mounted (`fsopen(2)`).
#[derive(Debug)]
pub struct FsContext {
    descriptor: OwnedFd,
}

impl FsContext {
    /// Begins a new file system of type `name` (`overlay`, `proc`, `tmpfs`, ...).
    ///
    /// # Errors
    /// `ENODEV`: unknown type; `EPERM`: no `CAP_SYS_ADMIN` in the user namespace of the mount namespace, or a type
    /// that may not be mounted in one; `ENOSYS`: Linux older than 5.2.
    pub fn open(name: impl Arg) -> Result<Self> {
        Ok(Self { descriptor: rustix::mount::fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC)? })
    }

    /// Sets an option without a value, such as `ro` or `userxattr` (`FSCONFIG_SET_FLAG`).
    ///
    /// # Errors
    /// `EINVAL`: the file system does not know the option; [`Self::messages`] often says more.
    pub fn set_flag(&self, key: impl Arg) -> Result<()> {
        rustix::mount::fsconfig_set_flag(&self.descriptor, key)
    }

    /// Sets an option with a text value of at most 255 bytes (`FSCONFIG_SET_STRING`).
    ///
    /// # Errors
    /// `EINVAL`: unknown option or value, or a value of 256 bytes or more; use [`Self::set_fd`] for long paths.
    pub fn set_string(&self, key: impl Arg, value: impl Arg) -> Result<()> {
        rustix::mount::fsconfig_set_string(&self.descriptor, key, value)
    }

    /// Sets an option to a file descriptor (`FSCONFIG_SET_FD`), for example overlay's `lowerdir+`, `upperdir` and
    /// `workdir` (Linux 6.13 and later).
    ///
    /// # Errors
    /// `EINVAL`: the option takes no descriptor on this kernel; `EBADF`: not an open descriptor.
    pub fn set_fd(&self, key: impl Arg, value: impl AsFd) -> Result<()> {
        rustix::mount::fsconfig_set_fd(&self.descriptor, key, value)
    }

    /// Creates the file system's superblock (`FSCONFIG_CMD_CREATE`).
    ///
    /// # Errors
    /// Whatever the file system says; [`Self::messages`] often explains it.
    pub fn create(&self) -> Result<()> {
        rustix::mount::fsconfig_create(&self.descriptor)
    }

    /// Makes a detached mount of the created file system (`fsmount(2)`).
    ///
    /// # Errors
    /// `EBUSY`: [`Self::create`] was not called; `EPERM`: not allowed here, for `proc` and `sysfs` also when the
    /// caller's own instance is partly hidden by other mounts.
    pub fn mount(&self, attributes: MountAttrFlags) -> Result<OwnedFd> {
        rustix::mount::fsmount(&self.descriptor, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    }

    /// What the kernel had to say about this context, one message per line, oldest first; empty when nothing.
    ///
    /// Reading takes the messages away.
    pub fn messages(&self) -> String {
        let Ok(descriptor) = self.descriptor.try_clone() else { return String::new() };
        let mut log = File::from(descriptor);
        let mut text: Vec<u8> = Vec::new();
        let mut message = [0_u8; 512];
        // Each read returns one message; ENODATA (or any other error) ends the list.
        while text.len() < MESSAGES_BYTES_MAX {
            let Ok(length) = log.read(&mut message) else { break };
            let Some(bytes) = message.get(..length).filter(|bytes| !bytes.is_empty()) else { break };
            if !text.is_empty() {
                text.push(b'\n');
            }
            text.extend_from_slice(bytes.trim_ascii_end());
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl AsFd for FsContext {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Whether a mount operation covers the mounts below too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recursion {
    /// Only the one mount.
    Single,
    /// The mount and everything mounted below it.
    Recursive,
}

/// Makes a detached copy (bind mount) of what is at `path` under `directory` (`open_tree(2)`, `OPEN_TREE_CLONE`).
///
/// A symbolic link at the end of `path` is not followed. An empty `path` means `directory` itself, which may then be
/// a descriptor of a file.
///
/// # Errors
/// `EPERM`: no `CAP_SYS_ADMIN` over the mount namespace; `EINVAL`: the mount is not of the caller's mount namespace
/// or unbindable, or part of a locked tree is cloned without [`Recursion::Recursive`].
pub fn clone_tree(directory: impl AsFd, path: impl Arg, recursion: Recursion) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    if recursion == Recursion::Recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(directory, path, flags)
}

/// Attaches a detached mount at `path` under `directory`; a symbolic link at the end is not followed.
///
/// # Errors
/// As [`attach_at`].
pub fn attach(mount: impl AsFd, directory: impl AsFd, path: impl Arg) -> Result<()> {
    rustix::mount::move_mount(mount, c"", directory, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// Attaches a detached mount exactly on the file or directory that `target` has open (`move_mount(2)`).
///
/// No path is resolved, so nothing can redirect the mount.
///
/// # Errors
/// `ENOTDIR`/`EINVAL`: one of the two is a directory and the other is not, or `target` is not in the caller's mount
/// namespace; `EPERM`: no `CAP_SYS_ADMIN`; `ELOOP`: a mount would be placed below itself.
pub fn attach_at(mount: impl AsFd, target: impl AsFd) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, c"", target, c"", flags)
}

/// How mounts and unmounts spread between mount namespaces (`mount_namespaces(7)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Nothing goes in or out.
    Private,
    /// Events come in but do not go out.
    Slave,
}

/// Changes to a mount's attributes, for [`set_attributes`].
#[derive(Debug, Clone, Copy)]
pub struct AttributeChange<'a> {
    /// Attributes to set, such as `MOUNT_ATTR_RDONLY`.
    pub set: MountAttrFlags,
    /// Attributes to clear.
    pub clear: MountAttrFlags,
    /// New propagation type.
    pub propagation: Option<Propagation>,
    /// Maps the owners of files through the id maps of this user namespace (`MOUNT_ATTR_IDMAP`). Only for detached
    /// mounts that are not id-mapped yet, on file systems that support it.
    pub id_map: Option<BorrowedFd<'a>>,
}

impl AttributeChange<'_> {
    /// A change that sets `attributes` and nothing else.
    pub fn setting(attributes: MountAttrFlags) -> Self {
        Self { set: attributes, clear: MountAttrFlags::empty(), propagation: None, id_map: None }
    }
}

/// Changes the attributes of the mount at `path` under `directory` (empty: of `directory` itself), in one step for
/// all mounts covered (`mount_setattr(2)`, Linux 5.12 and later).
///
/// # Errors
/// `EPERM`: an attribute is locked because the mount came from another user namespace, or id-mapping needs
/// `CAP_SYS_ADMIN` over the file system's user namespace; `EINVAL`: not a mount point, attached already (for
/// id-mapping), or a file system without id-mapping; `ENOSYS`: old kernel.
pub fn set_attributes(
    directory: impl AsFd,
    path: &std::ffi::CStr,
    recursion: Recursion,
    change: AttributeChange<'_>,
) -> Result<()> {
    let mut attributes = libc::mount_attr {
        attr_set: u64::from(change.set.bits()),
        attr_clr: u64::from(change.clear.bits()),
        propagation: match change.propagation {
            None => 0,
            Some(Propagation::Private) => libc::MS_PRIVATE,
            Some(Propagation::Slave) => libc::MS_SLAVE,
        },
        userns_fd: 0,
    };
    if let Some(namespace) = change.id_map {
        attributes.attr_set |= libc::MOUNT_ATTR_IDMAP;
        attributes.userns_fd = u64::try_from(namespace.as_raw_fd()).map_err(|_| rustix::io::Errno::BADF)?;
    }
    // The access-time attributes are a field, not bits: changing one means clearing the whole field first.
    if change.set.intersects(MountAttrFlags::MOUNT_ATTR__ATIME) {
        attributes.attr_clr |= u64::from(MountAttrFlags::MOUNT_ATTR__ATIME.bits());
    }
    let mut flags = libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW;
    if recursion == Recursion::Recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: the path is NUL-terminated and the structure is valid for reads of the size given; both outlive the
    // call, and the kernel writes to neither.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            directory.as_fd().as_raw_fd(),
            path.as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    check(returned).map(drop)
}

/// Maps the owners of files of a detached mount through the id maps of a user namespace.
///
/// # Errors
/// As [`set_attributes`].
pub fn set_id_map(mount: impl AsFd, user_namespace: BorrowedFd<'_>, recursion: Recursion) -> Result<()> {
    let change = AttributeChange { id_map: Some(user_namespace), ..AttributeChange::setting(MountAttrFlags::empty()) };
    set_attributes(mount, c"", recursion, change)
}

/// Makes every mount of the calling process's namespace private, so that nothing it mounts spreads elsewhere.
///
/// # Errors
/// `EPERM`: no `CAP_SYS_ADMIN` over the mount namespace.
pub fn make_all_private() -> Result<()> {
    use rustix::mount::MountPropagationFlags;
    rustix::mount::mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
}

/// Takes the mount at `path` away, without following a symbolic link at its end (`umount2(2)`, `MNT_DETACH`).
///
/// # Errors
/// `EINVAL`: not a mount point, or locked because it came from another mount namespace; `EPERM`: no `CAP_SYS_ADMIN`.
pub fn detach(path: impl Arg) -> Result<()> {
    rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
}

/// Takes away the mount whose root `mounted` has open. Needs a `/proc` of the caller's own pid namespace.
///
/// # Errors
/// As [`detach`]; `ENOENT`: no `/proc`.
pub fn detach_open(mounted: impl AsFd) -> Result<()> {
    let path =
        CString::new(format!("/proc/self/fd/{}", mounted.as_fd().as_raw_fd())).map_err(|_| rustix::io::Errno::INVAL)?;
    rustix::mount::unmount(path, UnmountFlags::DETACH)
}

/// Makes the caller's working directory, which must be a mount point, the root of its mount namespace, and drops the
/// old root (`pivot_root(".", ".")`, then `umount2` of what is then stacked below).
///
/// Afterwards both the root and the working directory of the caller are the new root.
///
/// # Errors
/// `EINVAL`: the working directory is not a mount point or a mount involved is shared; `EPERM`: no `CAP_SYS_ADMIN`.
pub fn pivot_root_to_working_directory() -> Result<()> {
    rustix::process::pivot_root(c".", c".")?;
    // The old root is now mounted on top of the working directory: this detaches it, with all that is below it.
    rustix::mount::unmount(c".", UnmountFlags::DETACH)?;
    rustix::process::chdir(c"/")
}

/// Makes a detached tmpfs. `size_bytes` limits the bytes of its files (`None`: half of the memory, the kernel's
/// default), `mode` is that of its root directory.
///
/// # Errors
/// As [`FsContext`].
pub fn new_tmpfs(size_bytes: Option<u64>, mode: Mode, attributes: MountAttrFlags) -> Result<OwnedFd> {
    let context = FsContext::open(c"tmpfs")?;
    // The source is what `mount` and /proc/mounts show in the first column.
    context.set_string(c"source", c"tmpfs")?;
    context.set_string(c"mode", format!("{:o}", mode.bits()))?;
    if let Some(size) = size_bytes {
        context.set_string(c"size", size.to_string())?;
    }
    context.create()?;
    context.mount(attributes)
}
