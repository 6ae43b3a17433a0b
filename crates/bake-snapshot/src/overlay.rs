//! Overlay mounts by file descriptor.
//!
//! Every layer is cloned into a detached mount of its own before overlay gets it: that pins it, lets its owners be
//! mapped, and leaves `/` instead of a host path in the step's mount table.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use bake_sys::mount::{
    AttributeChange, FsContext, MountAttrFlags, Recursion, clone_tree, new_tmpfs, set_attributes, set_id_map,
};
use bake_sys::{Errno, Mode, OFlags};
use rustix::fs::StatVfsMountFlags;

use crate::commit::{Committed, commit, prepare_root};
use crate::error::{At, Result, SnapshotError, display_path};
use crate::format::{LayerFormat, OverlayXattrs};
use crate::layer_digest::Contents;
use crate::snapshotter::{Active, Lower, Snapshotter};
use crate::walk::open_root;

/// The kernel refuses more lower directories than this (`OVL_MAX_STACK`).
pub const LOWERS_MAX: usize = 500;

/// The on-disk id that [`OverlaySnapshotter::id_map`] must map to the mounting process's own id, see there.
pub const MOUNTER_ID_ON_DISK: u32 = 0xFFFF_FFFD;

/// Mounts with the kernel's overlay file system.
#[derive(Debug)]
pub struct OverlaySnapshotter {
    /// How the layers stand on disk.
    pub format: LayerFormat,
    /// A user namespace through whose id maps the layers are mounted, so that files that a step in such a namespace
    /// creates as its root belong to id 0 on disk. `None`: ids are taken as they are.
    ///
    /// The map needs the extents of the step's namespace and one more: [`MOUNTER_ID_ON_DISK`] to the user and group
    /// of the mounting process (0 for real root), count 1. Overlay makes its work directory and its deletions as
    /// that user, and the kernel refuses to create files for an id that the map does not know. The step's namespace
    /// does not have this extent, so the step can neither become that id nor own files as it.
    pub id_map: Option<OwnedFd>,
}

impl OverlaySnapshotter {
    /// A snapshotter without an id map.
    pub fn new(format: LayerFormat) -> Self {
        Self { format, id_map: None }
    }

    /// A detached clone of a trusted directory, with mapped ids where that is wanted. Device files do not work in it:
    /// a device in an image must never reach the host's driver.
    fn clone_layer(&self, path: &Path, extra: MountAttrFlags) -> Result<OwnedFd> {
        use std::os::unix::ffi::OsStrExt;
        let bytes = path.as_os_str().as_bytes();
        let directory = open_root(path)?;
        let mount = clone_tree(&directory, c"", Recursion::Single).at("clone the mount of", bytes)?;
        set_attributes(
            &mount,
            c"",
            Recursion::Single,
            AttributeChange::setting(MountAttrFlags::MOUNT_ATTR_NODEV | extra),
        )
        .at("set the mount attributes of", bytes)?;
        if let Some(namespace) = &self.id_map {
            set_id_map(&mount, namespace.as_fd(), Recursion::Single)
                .map_err(|errno| SnapshotError::IdMapRefused { path: display_path(path), source: errno.into() })?;
        }
        Ok(mount)
    }

    fn mount_overlay(&self, lowers: &[Lower<'_>], active: Option<Active<'_>>) -> Result<OwnedFd> {
        if lowers.len() > LOWERS_MAX {
            return Err(SnapshotError::TooManyLowers { count: lowers.len() });
        }
        let context = FsContext::open(c"overlay").map_err(|errno| SnapshotError::Mount {
            lowers: lowers.len(),
            stage: "the file system type is not available",
            messages: String::new(),
            source: errno.into(),
        })?;
        let failed = |stage: &'static str| {
            let context = &context;
            move |errno: Errno| SnapshotError::Mount {
                lowers: lowers.len(),
                stage,
                messages: separated(&context.messages()),
                source: errno.into(),
            }
        };
        context.set_string(c"source", c"overlay").map_err(failed("setting the source"))?;
        // Closing the descriptor of a detached mount dissolves it, and overlay takes its own clones only when it is
        // created: until then all of them stay open.
        let mut pinned = Vec::with_capacity(lowers.len() + 1);
        // Topmost first. Layers are also read-only mounts: overlay never writes to a lower, and this says so.
        for lower in lowers.iter().rev() {
            match lower {
                Lower::Layer(path) => {
                    let mount = self.clone_layer(path, MountAttrFlags::MOUNT_ATTR_RDONLY)?;
                    set_layer(&context, "lowerdir+", mount.as_fd()).map_err(failed("adding a lower directory"))?;
                    pinned.push(mount);
                }
                Lower::Served { mount, .. } => {
                    set_layer(&context, "lowerdir+", *mount).map_err(failed("adding a served directory"))?;
                }
            }
        }
        if lowers.len() == 1 && active.is_none() {
            // Overlay wants two directories. Mounting the one layer as it is would show its deletions as devices.
            let empty = new_tmpfs(None, Mode::RWXU, MountAttrFlags::MOUNT_ATTR_RDONLY)
                .map_err(failed("making an empty lower directory"))?;
            set_layer(&context, "lowerdir+", empty.as_fd()).map_err(failed("adding a lower directory"))?;
            pinned.push(empty);
        }
        if let Some(active) = active {
            let (parent, upper, work) = active.siblings()?;
            // Both must be in one mount, so their parent directory is cloned.
            let mount = self.clone_layer(parent, MountAttrFlags::empty())?;
            for (key, path, name) in [("upperdir", active.upper, upper), ("workdir", active.work, work)] {
                use std::os::unix::ffi::OsStrExt;
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let directory = rustix::fs::openat(&mount, name, flags, Mode::empty())
                    .at("open the directory", path.as_os_str().as_bytes())?;
                set_layer(&context, key, directory.as_fd()).map_err(failed("setting the upper and work directory"))?;
            }
            pinned.push(mount);
            // Nothing of a running step survives a crash, so its fsyncs (dpkg makes thousands) need not reach the
            // disk: the store syncs the whole file system before it counts the snapshot as complete.
            context.set_flag(c"volatile").map_err(failed("setting `volatile`"))?;
        }
        if self.format.overlay_xattrs == OverlayXattrs::User {
            context.set_flag(c"userxattr").map_err(failed("setting `userxattr`"))?;
        }
        // An upper directory must be a complete layer by itself: whole files and directories, no references into
        // the lowers. And notes in a layer that say otherwise must not be believed, hence `nofollow`.
        for (key, value) in [
            ("redirect_dir", "nofollow"),
            ("metacopy", "off"),
            ("index", "off"),
            ("nfs_export", "off"),
            ("xino", "off"),
        ] {
            context.set_string(key, value).map_err(failed("setting an option"))?;
        }
        context.create().map_err(failed("creating the file system"))?;
        drop(pinned);
        let mount =
            context.mount(MountAttrFlags::MOUNT_ATTR_NODEV).map_err(failed("mounting the created file system"))?;
        if let Some(active) = active
            && !is_writable(mount.as_fd())?
        {
            // The commonest reason: overlay could not make its files in the work directory.
            if let Ok(status) = rustix::fs::statvfs(active.work)
                && (status.f_favail == 0 || status.f_bavail == 0)
            {
                return Err(Errno::NOSPC)
                    .at("make overlay's work directory below", active.work.as_os_str().as_encoded_bytes());
            }
            return Err(SnapshotError::ReadOnlyMount {
                upper: display_path(active.upper),
                messages: separated(&context.messages()),
            });
        }
        Ok(mount)
    }
}

impl Snapshotter for OverlaySnapshotter {
    fn format(&self) -> LayerFormat {
        self.format
    }

    fn mount(&self, lowers: &[&Path], active: Active<'_>) -> Result<OwnedFd> {
        if lowers.is_empty() {
            prepare_root(active.upper, &[], self.format)?;
            // Overlay needs a lower directory; without one there is nothing to lay over.
            return self.clone_layer(active.upper, MountAttrFlags::empty());
        }
        self.mount_over(&Lower::layers(lowers), Some(active))
    }

    fn view(&self, lowers: &[&Path]) -> Result<OwnedFd> {
        self.mount_over(&Lower::layers(lowers), None)
    }

    fn mount_over(&self, lowers: &[Lower<'_>], active: Option<Active<'_>>) -> Result<OwnedFd> {
        if let Some(active) = active {
            prepare_root(active.upper, lowers, self.format)?;
        }
        match self.mount_overlay(lowers, active) {
            // If the disk was full, whoever filled it may have failed too and have made room meanwhile. Nothing of the first attempt
            // is in the way of a second one: overlay clears its work directory.
            Err(SnapshotError::ReadOnlyMount { .. }) => self.mount_overlay(lowers, active),
            mounted => mounted,
        }
    }

    fn commit(&self, lowers: &[&Path], active: Active<'_>, known: &Contents) -> Result<Committed> {
        commit(active.upper, lowers, self.format, known)
    }
}

/// Gives a layer to overlay by descriptor (Linux 6.13), or on older kernels by the path that `/proc` has for it.
fn set_layer(context: &FsContext, key: &str, layer: BorrowedFd<'_>) -> std::result::Result<(), Errno> {
    use std::os::fd::AsRawFd;
    match context.set_fd(key, layer) {
        Err(Errno::INVAL | Errno::OPNOTSUPP) => {
            context.set_string(key, format!("/proc/self/fd/{}", layer.as_raw_fd()).as_str())
        }
        other => other,
    }
}

fn is_writable(mount: BorrowedFd<'_>) -> Result<bool> {
    let status = rustix::fs::fstatvfs(mount).at("examine the mount", b"")?;
    Ok(!status.f_flag.contains(StatVfsMountFlags::RDONLY))
}

fn separated(messages: &str) -> String {
    if messages.is_empty() { String::new() } else { format!(" ({})", messages.replace('\n', "; ")) }
}
