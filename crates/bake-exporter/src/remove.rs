//! Deletes what is in a directory of the user and not among the files of the image (`mode=delete`).

use std::os::fd::{AsFd, OwnedFd};

use bake_snapshot::list_names;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

/// Directories within directories that are gone down into: more than a path can name.
const DEPTH_MAX: usize = 2048;

/// Deletes everything below `directory` whose path `keep` does not want, without following links. The error comes with
/// the path.
pub(crate) fn remove_others(
    directory: &impl AsFd,
    keep: &dyn Fn(&[u8]) -> bool,
) -> Result<(), (Vec<u8>, std::io::Error)> {
    below(directory, b"", keep, 0)
}

/// Deletes `name` in `directory`, with all that is in it.
pub(crate) fn remove(directory: &impl AsFd, name: &[u8]) -> std::io::Result<()> {
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let inner = open(directory, name)?;
    below(&inner, name, &|_| false, 1).map_err(|(_, error)| error)?;
    rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR).map_err(Into::into)
}

fn below(
    directory: &impl AsFd,
    path: &[u8],
    keep: &dyn Fn(&[u8]) -> bool,
    depth: usize,
) -> Result<(), (Vec<u8>, std::io::Error)> {
    let failed = |path: &[u8], error: std::io::Error| (path.to_vec(), error);
    if depth > DEPTH_MAX {
        return Err(failed(path, std::io::Error::other("directories are nested too deep")));
    }
    for name in list_names(directory.as_fd()).map_err(|error| failed(path, error.into()))? {
        let inner_path = if path.is_empty() { name.clone() } else { [path, b"/", &name].concat() };
        if !keep(&inner_path) {
            remove(directory, &name).map_err(|error| failed(&inner_path, error))?;
            continue;
        }
        let status = rustix::fs::statat(directory, &*name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| failed(&inner_path, error.into()))?;
        if FileType::from_raw_mode(status.st_mode) == FileType::Directory {
            let inner = open(directory, &name).map_err(|error| failed(&inner_path, error))?;
            below(&inner, &inner_path, keep, depth + 1)?;
        }
    }
    Ok(())
}

fn open(directory: &impl AsFd, name: &[u8]) -> std::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::empty()).map_err(Into::into)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_wanted_goes_and_links_are_not_followed() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("stays"), "").unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        std::fs::create_dir_all(at("kept/deep")).unwrap();
        std::fs::create_dir_all(at("gone/deep/deeper")).unwrap();
        for file in ["kept/file", "kept/deep/old", "gone/deep/deeper/file", "old"] {
            std::fs::write(at(file), "").unwrap();
        }
        std::os::unix::fs::symlink(outside.path(), at("gone/link")).unwrap();
        std::os::unix::fs::symlink(outside.path(), at("link")).unwrap();
        let directory = std::fs::File::open(scratch.path()).unwrap();
        let wanted: [&[u8]; 4] = [b"kept", b"kept/file", b"kept/deep", b"link"];
        remove_others(&directory, &|path| wanted.contains(&path)).unwrap();
        assert!(at("kept/file").exists() && at("kept/deep").exists() && at("link").is_symlink());
        assert!(!at("kept/deep/old").exists() && !at("gone").exists() && !at("old").exists());
        assert!(outside.path().join("stays").exists());
    }
}
