//! Who knows which files. One module for each format.

pub(crate) mod apk;
pub(crate) mod copyright;
pub(crate) mod distribution;
pub(crate) mod dpkg;
pub(crate) mod npm;

use crate::files::Entry;
use crate::scan::{Problem, Scan};

/// A kind of file that tells of packages.
pub(crate) struct Source {
    /// Whether a regular file is of this kind, by its name, its size and its mode.
    pub(crate) wants: fn(&Entry<'_>) -> bool,
    /// Reads the file at a path and adds the packages it tells of.
    pub(crate) read: fn(&mut Scan<'_>, &[u8]) -> Result<(), Problem>,
}

/// All of them. A file may be of several kinds.
pub(crate) const SOURCES: &[Source] = &[
    apk::INSTALLED,
    dpkg::STATUS,
    dpkg::STATUS_DIRECTORY,
    npm::MANIFEST,
    npm::PACKAGE_LOCK,
    npm::PNPM_LOCK,
    npm::YARN_LOCK,
];

/// Whether a path leads through a directory of this name.
pub(crate) fn in_directory(path: &[u8], name: &[u8]) -> bool {
    let mut components = path.rsplit(|byte| *byte == b'/').skip(1);
    components.any(|component| component == name)
}
