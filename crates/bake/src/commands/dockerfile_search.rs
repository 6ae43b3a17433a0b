//! Dockerfiles in directories and behind patterns.

use std::path::{Path, PathBuf};

use bake::error::CommandError;
use globset::{GlobBuilder, GlobMatcher};
use ignore::WalkBuilder;

use super::dockerfile;

/// Far more than a repository has; a search that finds more was begun in the wrong place.
const FILES_MAX: usize = 100_000;

/// Directories that are never looked into: what is in them was made by others.
const SKIPPED: [&str; 3] = [".git", "node_modules", "target"];

/// Endings of files that only look like Dockerfiles: ignore files, templates, what editors and merges leave.
const NO_DOCKERFILES: [&str; 14] = [
    "dockerignore",
    "j2",
    "jinja",
    "jinja2",
    "tmpl",
    "tpl",
    "template",
    "erb",
    "md",
    "orig",
    "rej",
    "bak",
    "swp",
    "in",
];

/// A file to look at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Whether it was found by a search; what is excluded is still looked at when somebody names it.
    pub(crate) found: bool,
}

/// What a search found.
#[derive(Debug)]
pub(crate) struct Search {
    /// The files.
    pub(crate) targets: Vec<Target>,
    /// Directories that could not be read.
    pub(crate) problems: Vec<CommandError>,
}

/// The files to look at, in the order of their paths where they were searched for: files as they are named, the Dockerfiles of
/// directories, what matches patterns that the shell did not resolve. With no name the Dockerfile of the current directory.
///
/// A search honours `.gitignore` and does not follow symbolic links. It takes `Dockerfile` and `Containerfile`, `Dockerfile.NAME`,
/// `Containerfile.NAME`, `NAME.Dockerfile` and `NAME.Containerfile`, in any letter case.
///
/// # Errors
/// Nothing is found, or too much.
pub(crate) fn search(named: &[PathBuf]) -> Result<Search, CommandError> {
    let mut targets: Vec<Target> = Vec::new();
    let mut problems = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let mut add = |path: PathBuf, found: bool, targets: &mut Vec<Target>| {
        if seen.insert(path.clone()) {
            targets.push(Target { path, found });
        }
    };
    for path in dockerfile::paths(named)? {
        let pattern = (!path.exists() && !dockerfile::is_stdin(&path)).then(|| pattern(&path)).flatten();
        if path.is_dir() && !dockerfile::is_stdin(&path) {
            for found in walk(&path, &|path| is_dockerfile(path), &mut problems) {
                add(found, true, &mut targets);
            }
        } else if let Some((directory, matcher)) = pattern {
            let is_wanted = |path: &Path| matcher.is_match(path.strip_prefix("./").unwrap_or(path));
            let found = walk(&directory, &is_wanted, &mut problems);
            if found.is_empty() {
                return Err(CommandError::input(format!("nothing matches `{}`", path.display())));
            }
            for found in found {
                add(found, true, &mut targets);
            }
        } else {
            add(path, false, &mut targets);
        }
        if targets.len() > FILES_MAX {
            return Err(
                CommandError::input(format!("more than {FILES_MAX} files were found")).hint("name fewer directories")
            );
        }
    }
    if targets.is_empty() && problems.is_empty() {
        let shown: Vec<String> = named.iter().map(|path| format!("`{}`", path.display())).collect();
        return Err(CommandError::input(format!("there is no Dockerfile in {}", shown.join(", ")))
            .hint("a file of any name is looked at when it is named"));
    }
    Ok(Search { targets, problems })
}

/// The wanted files below `directory`, sorted. What cannot be read is left out and told.
fn walk(directory: &Path, is_wanted: &dyn Fn(&Path) -> bool, problems: &mut Vec<CommandError>) -> Vec<PathBuf> {
    let mut walk = WalkBuilder::new(directory);
    // Hidden directories hold Dockerfiles too, such as `.devcontainer`; other tools' ignore files are not ours.
    walk.hidden(false).ignore(false).require_git(false).follow_links(false).filter_entry(|entry| {
        let is_directory = entry.file_type().is_some_and(|kind| kind.is_dir());
        let is_skipped = entry.file_name().to_str().is_some_and(|name| SKIPPED.contains(&name));
        !(is_directory && is_skipped && entry.depth() > 0)
    });
    let mut files = Vec::new();
    for entry in walk.build() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                problems.push(CommandError::input(format!("cannot search `{}`: {error}", directory.display())));
                continue;
            }
        };
        if entry.file_type().is_some_and(|kind| kind.is_file()) && is_wanted(entry.path()) {
            let path = entry.into_path();
            files.push(path.strip_prefix("./").map(Path::to_owned).unwrap_or(path));
            if files.len() > FILES_MAX {
                break;
            }
        }
    }
    files.sort();
    files
}

/// Whether a file is a Dockerfile by its name.
pub(crate) fn is_dockerfile(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()).map(str::to_lowercase) else { return false };
    if name.ends_with('~') || name.rsplit_once('.').is_some_and(|(_, ending)| NO_DOCKERFILES.contains(&ending)) {
        return false;
    }
    ["dockerfile", "containerfile"].into_iter().any(|kind| {
        let before =
            name.strip_suffix(kind).is_some_and(|rest| rest.is_empty() || (rest.len() > 1 && rest.ends_with('.')));
        let after = name.strip_prefix(kind).is_some_and(|rest| rest.len() > 1 && rest.starts_with('.'));
        before || after
    })
}

/// A path that holds wildcards: the directory before the first one, and what matches all of it.
fn pattern(path: &Path) -> Option<(PathBuf, GlobMatcher)> {
    let text = path.to_str()?;
    let wild = text.find(['*', '?', '[', '{'])?;
    let directory = text[..wild].rfind('/').map_or(".", |slash| if slash == 0 { "/" } else { &text[..slash] });
    let glob = GlobBuilder::new(text.strip_prefix("./").unwrap_or(text)).literal_separator(true).build().ok()?;
    Some((PathBuf::from(directory), glob.compile_matcher()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    fn found(directory: &Path, named: &[&str]) -> Vec<String> {
        let named: Vec<PathBuf> = named.iter().map(|name| directory.join(name)).collect();
        let targets = search(&named).unwrap().targets;
        targets.iter().map(|target| target.path.strip_prefix(directory).unwrap().display().to_string()).collect()
    }

    #[test]
    fn names_are_told_apart() {
        for name in [
            "Dockerfile",
            "dockerfile",
            "Containerfile",
            "Dockerfile.dev",
            "api.Dockerfile",
            "x.containerfile",
            "Containerfile.in.x",
        ] {
            assert!(is_dockerfile(Path::new(name)), "{name}");
        }
        for name in [
            "Dockerfile.dockerignore",
            "Dockerfile.j2",
            "Dockerfile~",
            "MyDockerfile",
            ".Dockerfile",
            "Dockerfiles",
            "docker-compose.yml",
            "Dockerfile.",
        ] {
            assert!(!is_dockerfile(Path::new(name)), "{name}");
        }
    }

    #[test]
    fn directories_are_searched_as_git_sees_them() {
        let directory = tempfile::tempdir().unwrap();
        for path in [
            "b/Dockerfile",
            "a/x.Dockerfile",
            "a/notes",
            ".devcontainer/Dockerfile",
            "old/Dockerfile",
            "node_modules/m/Dockerfile",
            ".git/Dockerfile",
        ] {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "FROM scratch\n").unwrap();
        }
        std::fs::write(directory.path().join(".gitignore"), "old/\n").unwrap();
        std::os::unix::fs::symlink("b", directory.path().join("link")).unwrap();
        assert_eq!(found(directory.path(), &[""]), [".devcontainer/Dockerfile", "a/x.Dockerfile", "b/Dockerfile"]);
        assert_eq!(
            found(directory.path(), &["b", "b/Dockerfile", "a/notes", "old/Dockerfile"]),
            ["b/Dockerfile", "a/notes", "old/Dockerfile"]
        );
        assert_eq!(
            found(directory.path(), &["*/*ockerfile"]),
            [".devcontainer/Dockerfile", "a/x.Dockerfile", "b/Dockerfile"]
        );
        assert!(search(&[directory.path().join("*.none")]).is_err());
        std::fs::create_dir(directory.path().join("empty")).unwrap();
        assert!(search(&[directory.path().join("empty")]).unwrap_err().message().contains("no Dockerfile"));
    }
}
