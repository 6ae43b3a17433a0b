//! Lists of packages of layers in the store.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use bake::error::{CommandError, ErrorKind};
use bake_oci::DiffId;
use bake_sbom::{DirectoryFiles, Inventory, Limits};
use bake_snapshot::{MergedView, Snapshotter};
use rustix::fs::{Mode, OFlags};

/// The packages in a stack of layers, as a process in it would see their files. `directories` are those of the layers, base first;
/// `layers` says what they are, and a package tells from which it came, unless the stack was so long that it was shortened.
pub(crate) fn inventory(
    snapshotter: &dyn Snapshotter,
    directories: &[PathBuf],
    layers: &[DiffId],
) -> Result<Inventory, CommandError> {
    let failed = |error: &dyn std::error::Error| CommandError::from_error(ErrorKind::Build, error);
    let paths: Vec<&Path> = directories.iter().map(PathBuf::as_path).collect();
    let view = MergedView::open(snapshotter, &paths).map_err(|error| failed(&error))?;
    let Some(root) = view.root() else { return Ok(Inventory::default()) };
    let root =
        root.try_clone_to_owned().map_err(|error| CommandError::build(format!("cannot open the files: {error}")))?;
    let mut inventory =
        bake_sbom::scan(&DirectoryFiles::new(root), &Limits::default()).map_err(|error| failed(&error))?;
    // Of a stack that was shortened, it is not known which directory holds which layers.
    if directories.len() == layers.len() {
        let opened = directories.iter().map(|path| open_directory(path)).collect::<Result<Vec<_>, _>>()?;
        inventory.attribute(|path| {
            let has = |directory: &OwnedFd| {
                let flags = OFlags::PATH | OFlags::NOFOLLOW;
                bake_sys::path::open_beneath_no_links(directory, OsStr::new(path), flags, Mode::empty()).is_ok()
            };
            // The topmost layer that has a file is where it comes from.
            let layer = opened.iter().rposition(has)?;
            layers.get(layer).map(ToString::to_string)
        });
    }
    Ok(inventory)
}

fn open_directory(path: &Path) -> Result<OwnedFd, CommandError> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| CommandError::build(format!("cannot open the layer `{}`: {errno}", path.display())))
}
