//! Dockerfiles that commands check and change: found, read and written.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use bake::error::CommandError;
use bake_dockerfile::limits;

use crate::files::replace_file;

/// The files to look at: those that were named, or the one of the current directory.
pub(super) fn paths(named: &[PathBuf]) -> Result<Vec<PathBuf>, CommandError> {
    if !named.is_empty() {
        if named.iter().filter(|path| is_stdin(path)).count() > 1 {
            return Err(CommandError::usage("standard input can be read only once"));
        }
        return Ok(named.to_vec());
    }
    let found = ["Dockerfile", "dockerfile", "Containerfile"].map(PathBuf::from).into_iter().find(|path| path.exists());
    match found {
        Some(path) => Ok(vec![path]),
        None => Err(CommandError::input("there is no `Dockerfile` in the current directory")
            .hint("name the files, or `-` for standard input")),
    }
}

/// Whether a path stands for standard input.
pub(super) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// The text of a Dockerfile.
pub(super) fn read(path: &Path) -> Result<String, CommandError> {
    let shown = if is_stdin(path) { "standard input".to_owned() } else { format!("`{}`", path.display()) };
    let cannot = |problem: String| CommandError::input(format!("cannot read {shown}: {problem}"));
    let limit = limits::FILE_BYTES_MAX as u64;
    let mut bytes = Vec::new();
    if is_stdin(path) {
        std::io::stdin().lock().take(limit + 1).read_to_end(&mut bytes).map_err(|error| cannot(error.to_string()))?;
    } else {
        let file = File::open(path).map_err(|error| cannot(error.to_string()))?;
        if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
            return Err(cannot("it is a directory".to_owned()).hint("name the Dockerfile in it"));
        }
        file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| cannot(error.to_string()))?;
    }
    if bytes.len() as u64 > limit {
        return Err(cannot(format!("it is larger than {limit} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid].split(|byte| *byte == b'\n').count();
        cannot(format!("it is not UTF-8 (line {line})"))
    })
}

/// Writes a text that was changed. What came from standard input goes to standard output, changed or not.
pub(super) fn write(path: &Path, before: &str, after: &str) -> Result<(), CommandError> {
    if is_stdin(path) {
        return crate::print(after);
    }
    if before == after {
        return Ok(());
    }
    replace_file(path, after.as_bytes())
        .map_err(|error| CommandError::input(format!("cannot write `{}`: {error}", path.display())))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn changes_keep_the_mode_and_the_link() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("real"), directory.path().join("Dockerfile"));
        std::fs::write(&file, "a").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("real", &link).unwrap();
        write(&link, "a", "b").unwrap();
        assert_eq!(read(&file).unwrap(), "b");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_is_no_text_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        assert!(read(directory.path()).unwrap_err().message().contains("directory"));
        let file = directory.path().join("f");
        std::fs::write(&file, b"FROM a\n\xff").unwrap();
        assert!(read(&file).unwrap_err().message().contains("line 2"));
    }
}
