//! The mounts a step asks for, and the paths it must not see or change.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use bake_sys::Errno;
use bake_sys::descriptor::take_inherited;
use bake_sys::mount::{
    AttributeChange, MountAttrFlags, Recursion, attach, attach_at, clone_tree, detach, new_tmpfs, set_attributes,
};
use bake_sys::path::open_in_root;
use rustix::fs::{CWD, Dir, FileType, Gid, Mode, OFlags, Uid, fchmod, fchown, fstat, openat};

use crate::kernel_mounts::empty_directory;
use crate::message::{SetupFailure, Stage};
use crate::plan::{Plan, PlannedMount, PlannedSource};
use crate::step::{MountAccess, SetIdFiles};
use crate::target::{Stubs, TargetKind, mount_target};

/// Makes the mounts of the plan in their order.
pub(crate) fn attach_all(
    plan: &Plan,
    contents: &[u8],
    root: BorrowedFd<'_>,
    stubs: &mut Stubs,
) -> Result<(), SetupFailure> {
    let mut files = memory_files(plan, contents)?.into_iter();
    for mount in &plan.mounts {
        let shown = String::from_utf8_lossy(&mount.target).into_owned();
        let stage = || format!("mounting `{shown}`");
        let source = match &mount.source {
            PlannedSource::Tree(number) => take_inherited(*number).stage(stage)?,
            PlannedSource::Tmpfs { size_bytes, mode } => {
                let mode = Mode::from_raw_mode(*mode & 0o7777);
                new_tmpfs(*size_bytes, mode, MountAttrFlags::empty()).stage(stage)?
            }
            PlannedSource::File { .. } => files.next().ok_or(Errno::NOENT).stage(stage)?,
        };
        attach_one(mount, &source, root, stubs, &stage)?;
    }
    Ok(())
}

fn attach_one(
    mount: &PlannedMount,
    source: &OwnedFd,
    root: BorrowedFd<'_>,
    stubs: &mut Stubs,
    stage: &dyn Fn() -> String,
) -> Result<(), SetupFailure> {
    let mut attributes = MountAttrFlags::MOUNT_ATTR_NODEV;
    if mount.access == MountAccess::ReadOnly {
        attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    if mount.set_id == SetIdFiles::Ignored {
        attributes |= MountAttrFlags::MOUNT_ATTR_NOSUID;
    }
    set_attributes(source, c"", Recursion::Recursive, AttributeChange::setting(attributes)).stage(stage)?;
    let status = fstat(source).stage(stage)?;
    let kind = match FileType::from_raw_mode(status.st_mode) {
        FileType::Directory => TargetKind::Directory,
        _ => TargetKind::File,
    };
    let target = mount_target(root, &mount.target, kind, stubs)?;
    attach_at(source, &target).stage(stage)
}

/// Makes the memory-only files of the plan, one detached mount for each, in order.
pub(crate) fn memory_files(plan: &Plan, contents: &[u8]) -> Result<Vec<OwnedFd>, SetupFailure> {
    let make = || -> Result<Vec<OwnedFd>, Errno> {
        let files: Vec<_> = plan
            .mounts
            .iter()
            .filter_map(|mount| match &mount.source {
                PlannedSource::File { content, mode, uid, gid } => Some((content.of(contents), *mode, *uid, *gid)),
                _ => None,
            })
            .collect();
        if files.is_empty() {
            return Ok(Vec::new());
        }
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV);
        let tmpfs = new_tmpfs(None, Mode::from_raw_mode(0o700), attributes)?;
        for (index, (content, mode, uid, gid)) in files.iter().enumerate() {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            let file = openat(&tmpfs, index.to_string(), flags, Mode::from_raw_mode(0o600))?;
            write_all(&file, content)?;
            let mapped_user = if plan.id_map.outside_user(*uid).is_some() { *uid } else { 0 };
            let mapped_group = if plan.id_map.outside_group(*gid).is_some() { *gid } else { 0 };
            fchown(&file, Some(Uid::from_raw(mapped_user)), Some(Gid::from_raw(mapped_group)))?;
            fchmod(&file, Mode::from_raw_mode(*mode & 0o7777))?;
        }
        // Only what is attached can be cloned on kernels before 6.15, so the file system is attached for a moment:
        // over the root, where no path leads to it.
        attach(&tmpfs, CWD, c"/")?;
        let mounts: Result<Vec<OwnedFd>, Errno> =
            (0..files.len()).map(|index| clone_tree(&tmpfs, index.to_string(), Recursion::Single)).collect();
        rustix::process::fchdir(&tmpfs)?;
        detach(c".")?;
        rustix::process::chdir(c"/")?;
        mounts
    };
    make().stage(|| "making files in memory".to_owned())
}

pub(crate) fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(0) => return Err(Errno::NOSPC),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Makes the read-only paths of the plan read-only, and covers the masked ones: files with `null`, directories with an
/// empty directory. Paths that do not exist need nothing.
pub(crate) fn restrict(plan: &Plan, root: BorrowedFd<'_>, null: BorrowedFd<'_>) -> Result<(), SetupFailure> {
    for path in &plan.read_only_paths {
        let stage = || format!("making `{path}` read-only");
        let Some(pinned) = pin(root, path).stage(stage)? else { continue };
        let copy = clone_tree(&pinned, c"", Recursion::Recursive).stage(stage)?;
        let change = AttributeChange::setting(MountAttrFlags::MOUNT_ATTR_RDONLY);
        set_attributes(&copy, c"", Recursion::Recursive, change).stage(stage)?;
        attach_at(&copy, &pinned).stage(stage)?;
    }
    // The first cover is attached, the others are clones of it.
    let mut cover: Option<OwnedFd> = None;
    for path in plan.masked_paths.iter().flat_map(|path| expand(root, path)) {
        let stage = || format!("hiding `{path}`");
        let Some(pinned) = pin(root, &path).stage(stage)? else { continue };
        let is_directory = FileType::from_raw_mode(fstat(&pinned).stage(stage)?.st_mode) == FileType::Directory;
        let copy = match &cover {
            _ if !is_directory => clone_tree(null, c"", Recursion::Single),
            Some(cover) => clone_tree(cover, c"", Recursion::Single),
            None => empty_directory(),
        }
        .stage(stage)?;
        attach_at(&copy, &pinned).stage(stage)?;
        if is_directory && cover.is_none() {
            cover = Some(copy);
        }
    }
    Ok(())
}

/// Opens what a path names now, so that the mount goes on exactly that; `None` when there is nothing.
fn pin(root: BorrowedFd<'_>, path: &str) -> Result<Option<OwnedFd>, Errno> {
    match open_in_root(root, path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()) {
        // EACCES: the process that covers it is privileged in its namespace, so nobody in the step gets there.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => Ok(None),
        other => other.map(Some),
    }
}

/// The paths a masked path stands for: itself, or with one `*` component every path that exists.
fn expand(root: BorrowedFd<'_>, path: &str) -> Vec<String> {
    let Some((directory, rest)) = path.split_once("/*") else { return vec![path.to_owned()] };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let Ok(opened) = open_in_root(root, OsStr::from_bytes(directory.as_bytes()), flags, Mode::empty()) else {
        return Vec::new();
    };
    let Ok(entries) = Dir::new(opened) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned))
        .filter(|name| name != "." && name != "..")
        .map(|name| format!("{directory}/{name}{rest}"))
        .filter(|path| matches!(pin(root.as_fd(), path), Ok(Some(_))))
        .collect()
}
