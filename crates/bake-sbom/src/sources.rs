//! Who knows which files. One module for each format.

pub(crate) mod apk;
pub(crate) mod cargo;
pub(crate) mod composer;
pub(crate) mod copyright;
pub(crate) mod distribution;
pub(crate) mod dotnet;
pub(crate) mod dpkg;
pub(crate) mod golang;
pub(crate) mod java;
pub(crate) mod npm;
pub(crate) mod program;
pub(crate) mod python;
pub(crate) mod rpm;
pub(crate) mod ruby;

use serde::de::DeserializeOwned;

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
    cargo::CARGO_LOCK,
    composer::INSTALLED,
    composer::LOCK,
    dotnet::DEPENDENCIES,
    dpkg::STATUS,
    dpkg::STATUS_DIRECTORY,
    golang::GO_MOD,
    golang::GO_SUM,
    java::ARCHIVE,
    npm::MANIFEST,
    npm::PACKAGE_LOCK,
    npm::PNPM_LOCK,
    npm::YARN_LOCK,
    program::PROGRAM,
    python::METADATA,
    python::PIPFILE_LOCK,
    python::REQUIREMENTS,
    python::TOML_LOCK,
    rpm::BERKELEY,
    rpm::NDB,
    rpm::SQLITE,
    ruby::GEMFILE_LOCK,
    ruby::SPECIFICATION,
];

/// How many objects and lists, and how many values, a document may have. Each takes up to 600 bytes of memory once it is read, which
/// can be a hundred times its text. A lock file of 5,000 packages has 50 thousand objects.
const CONTAINERS_MAX: usize = 500_000;
const VALUES_MAX: usize = 3_000_000;

/// Reads JSON.
pub(crate) fn json<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    check_size(text)?;
    serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .map_err(|error| Problem::damaged(format!("it is not the JSON that it should be: {error}")))
}

/// Reads TOML.
pub(crate) fn toml<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    check_size(text)?;
    toml::from_str(text)
        .map_err(|error| Problem::damaged(format!("it is not the TOML that it should be: {}", error.message())))
}

/// Refuses what would take too much memory, by what stands before and between values.
fn check_size(text: &str) -> Result<(), Problem> {
    let count = |signs: [u8; 2]| text.bytes().filter(|byte| signs.contains(byte)).count();
    if count(*b"{[") > CONTAINERS_MAX || count(*b",\n") > VALUES_MAX {
        return Err(Problem::damaged("it has too many values"));
    }
    Ok(())
}

/// Directories in which packages stand that were installed or downloaded.
const PACKAGE_DIRECTORIES: [&[u8]; 6] =
    [b"node_modules", b"site-packages", b"dist-packages", b"gems", b"vendor", b"testdata"];
/// The same for those whose names say little on their own: the caches of Go and of cargo.
const PACKAGE_PLACES: [&[u8]; 3] = [b"pkg/mod/", b"registry/src/", b"git/checkouts/"];

/// Whether a lock file or the like is one of the program itself. Those that came inside a package say what its authors use to
/// develop it.
pub(crate) fn is_own(entry: &Entry<'_>) -> bool {
    let is_below = |place: &[u8]| entry.path.windows(place.len()).any(|part| part == place);
    !PACKAGE_DIRECTORIES.iter().any(|name| in_directory(entry.path, name)) && !PACKAGE_PLACES.into_iter().any(is_below)
}

/// Whether a path leads through a directory of this name.
pub(crate) fn in_directory(path: &[u8], name: &[u8]) -> bool {
    let mut components = path.rsplit(|byte| *byte == b'/').skip(1);
    components.any(|component| component == name)
}

/// The path of another file in the same directory.
pub(crate) fn beside(path: &[u8], name: &str) -> Vec<u8> {
    let directory = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    [&path[..directory], name.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use crate::testing::inventory;

    #[test]
    fn documents_that_would_take_too_much_memory_are_refused() {
        let objects = format!("[{}{{}}]", "{\"a\":0},".repeat(600_000));
        let values = format!("x = [{}0]", "0,".repeat(3_100_000));
        for (path, text) in [("vendor/composer/installed.json", objects), ("Cargo.lock", values)] {
            let found = inventory(&[(path, text.as_bytes())]);
            assert!(found.warnings.iter().any(|warning| warning.message.contains("too many values")), "{path}");
        }
    }
}
