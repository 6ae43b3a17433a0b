//! The directories that the caller of a build named: the build context and `--build-context` directories.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use bake_dockerfile::ignore::IgnorePatterns;
use rustix::fs::{Mode, OFlags};

use crate::source_tree::SourceTree;

/// A directory of the caller.
#[derive(Debug)]
pub struct BuildContext {
    /// Where it is, for messages and for opening it.
    pub path: PathBuf,
    /// What is not seen of it.
    pub ignore: IgnorePatterns,
}

impl BuildContext {
    /// Opens the directory as a tree to copy from.
    pub(crate) fn tree(&self) -> Result<SourceTree, std::io::Error> {
        Ok(SourceTree::new(open(&self.path)?, Some(self.ignore.clone())))
    }
}

fn open(path: &Path) -> Result<OwnedFd, std::io::Error> {
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}
