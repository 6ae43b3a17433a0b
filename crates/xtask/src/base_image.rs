//! Base images made from Debian packages, for machines that reach no registry with public images.

mod busybox;
mod debian;
mod layout;

use std::path::Path;

use clap::ValueEnum;

use crate::workspace::failed;

/// A base image that can be made here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BaseImage {
    /// The program busybox and nothing else, from the package `busybox-static`.
    Busybox,
    /// Debian's essential packages and apt, from a Debian mirror.
    Debian,
}

impl BaseImage {
    /// The public image that it stands in for.
    pub(crate) fn reference(self) -> &'static str {
        match self {
            Self::Busybox => "busybox:stable",
            Self::Debian => debian::REFERENCE,
        }
    }

    /// Makes the image as an OCI layout in `directory`, complete or not at all; one that is there already stays. Says what it is
    /// made from.
    pub(crate) fn make(self, directory: &Path) -> Result<String, String> {
        if directory.join(bake_oci::layout::INDEX_FILE).is_file() {
            return Ok("made earlier".to_owned());
        }
        let parent = directory.parent().unwrap_or(Path::new("."));
        let name = directory.file_name().ok_or_else(|| format!("{} names no directory", directory.display()))?;
        let unfinished = parent.join(format!("{}.unfinished", name.to_string_lossy()));
        if unfinished.exists() {
            std::fs::remove_dir_all(&unfinished).map_err(failed("remove", &unfinished))?;
        }
        std::fs::create_dir_all(&unfinished).map_err(failed("make", &unfinished))?;
        let origin = match self {
            Self::Busybox => busybox::make(&unfinished),
            Self::Debian => debian::make(&unfinished),
        };
        let origin = origin.inspect_err(|_| {
            // Only room is lost where this fails too, and the next attempt begins with it.
            let _ = std::fs::remove_dir_all(&unfinished);
        })?;
        std::fs::rename(&unfinished, directory).map_err(failed("make", directory))?;
        Ok(origin)
    }
}
