//! Finds a statically linked busybox, the only program in the base images.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The largest file that is taken for a busybox, in bytes.
const BUSYBOX_BYTES_MAX: u64 = 16 << 20;

/// There is no busybox that could be put into an image.
#[derive(Debug, Clone, thiserror::Error)]
#[error("no statically linked busybox: install the package `busybox-static` ({reason})")]
pub struct NoBusybox {
    /// What came of fetching it.
    reason: String,
}

/// The path of a statically linked busybox: the machine's own, or the one of Debian's package, fetched once with
/// `apt-get download` and kept in `cache`.
pub fn find(cache: &Path) -> Result<PathBuf, NoBusybox> {
    let kept = cache.join("busybox");
    let installed = ["/bin/busybox", "/usr/bin/busybox", "/bin/busybox.static"].map(PathBuf::from);
    if let Some(path) = installed.into_iter().chain([kept.clone()]).find(|path| is_static(path)) {
        return Ok(path);
    }
    fetch(cache, &kept).map_err(|reason| NoBusybox { reason })?;
    Ok(kept)
}

/// Fetches the package and keeps its program at `kept`, complete or not at all.
fn fetch(cache: &Path, kept: &Path) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    fs::create_dir_all(cache).map_err(text)?;
    let directory = tempfile::tempdir_in(cache).map_err(text)?;
    let run = |program: &str, arguments: &[&str]| {
        let status = Command::new(program)
            .args(arguments)
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("`{program} {}` ended with {status}", arguments.join(" "))),
            Err(error) => Err(format!("cannot run `{program}`: {error}")),
        }
    };
    run("apt-get", &["download", "busybox-static"])?;
    let package = fs::read_dir(directory.path())
        .map_err(text)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .ok_or("`apt-get download` left no package")?;
    run("dpkg-deb", &["-x", &package.to_string_lossy(), "files"])?;
    let places = ["files/bin/busybox", "files/usr/bin/busybox"].map(|place| directory.path().join(place));
    let program = places.iter().find(|path| is_static(path)).ok_or("the package holds no static busybox")?;
    fs::rename(program, kept).map_err(text)
}

/// Whether there is a 64-bit ELF program at `path` that asks for no dynamic linker.
fn is_static(path: &Path) -> bool {
    /// `PT_INTERP` of the ELF specification: the program header that names the dynamic linker.
    const INTERPRETER: u32 = 3;
    if !fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() <= BUSYBOX_BYTES_MAX) {
        return false;
    }
    let Ok(bytes) = fs::read(path) else { return false };
    let number = |at: usize, size: usize| -> Option<u64> {
        let mut value = [0; 8];
        value[..size].copy_from_slice(bytes.get(at..at.checked_add(size)?)?);
        Some(u64::from_le_bytes(value))
    };
    if bytes.get(..5) != Some(b"\x7fELF\x02") {
        return false;
    }
    let (Some(table), Some(size), Some(count)) = (number(32, 8), number(54, 2), number(56, 2)) else { return false };
    (0..count).all(|index| {
        let at = usize::try_from(table.saturating_add(index * size)).unwrap_or(usize::MAX);
        number(at, 4).is_some_and(|kind| kind != u64::from(INTERPRETER))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_programs_without_a_linker_will_do() {
        assert!(!is_static(Path::new("/nonexistent")));
        assert!(!is_static(Path::new("/etc/passwd")));
        // A test binary of this crate is linked dynamically on glibc.
        #[cfg(target_env = "gnu")]
        assert!(!is_static(Path::new("/proc/self/exe")));
    }
}
