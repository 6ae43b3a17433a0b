//! What the file of a project may say. A repository is not trusted like its user: it says what is built, and from what; where results go,
//! what is shown to steps and what the machine does is for whoever builds.

use std::path::{Path, PathBuf};

use bake_cache::{ImportSpec, Place};
use toml::Value;

/// What the file of a project may say about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProjectRule {
    /// Anything.
    Free,
    /// A path within the project.
    PathInside,
    /// A path within the project, or something that is fetched.
    ContextInside,
    /// Only caches in registries, with all checks.
    RegistryCache,
    /// Everything but the network of the machine.
    OwnNetwork,
    /// What reads a lock file, and not what writes one.
    ReadingLock,
    /// Nothing.
    Never,
}

impl ProjectRule {
    /// The rule for a flag of `bake build`. What is not listed is for whoever builds.
    pub(super) fn of_flag(name: &str) -> Self {
        match name {
            "annotation" | "attest" | "build-arg" | "cpus" | "label" | "locked" | "memory" | "no-cache-filter"
            | "platform" | "progress" | "provenance" | "provenance-args" | "pull" | "sbom" | "shm-size" | "target"
            | "timeout" | "trace-run" => Self::Free,
            "file" | "lock-file" | "policy" => Self::PathInside,
            "build-context" => Self::ContextInside,
            "cache-from" => Self::RegistryCache,
            "network" => Self::OwnNetwork,
            "lock" => Self::ReadingLock,
            _ => Self::Never,
        }
    }

    /// Judges a value, and makes its paths absolute: in the file of a project they begin at its directory.
    ///
    /// # Errors
    /// What the project may not say.
    pub(super) fn admit(self, value: &Value, project: &Project) -> Result<Value, String> {
        match self {
            Self::Never => Err("a project's file cannot set it".to_owned()),
            Self::PathInside => each(value, &|text: &str| project.inside(text)),
            Self::ContextInside => each(value, &|text: &str| match text.split_once("://") {
                Some(("oci-layout", layout)) => project.inside(layout).map(|path| format!("oci-layout://{path}")),
                Some(("docker-image" | "git" | "http" | "https", _)) => Ok(text.to_owned()),
                // By SSH a repository is read with the keys of whoever builds.
                Some(_) => Err(format!("a project's file cannot name the context `{text}`")),
                None if text.starts_with("github.com/") => Ok(text.to_owned()),
                None if bake_frontend::is_git_context(text) => {
                    Err(format!("a project's file cannot name the context `{text}`"))
                }
                None => project.inside(text),
            }),
            Self::RegistryCache => each(value, &|text: &str| {
                let imports = ImportSpec::parse(text).map_err(|error| error.to_string())?;
                let is_safe = |import: &ImportSpec| matches!(import.place, Place::Registry { insecure: false, .. });
                let refused = || {
                    "a project's file can only name caches in registries: other places are read with your rights"
                        .to_owned()
                };
                imports.iter().all(is_safe).then(|| text.to_owned()).ok_or_else(refused)
            }),
            Self::OwnNetwork if value.as_str() == Some("host") => {
                Err("a project's file cannot open the network of the machine to steps".to_owned())
            }
            // A lock file may be a link to anywhere.
            Self::ReadingLock if matches!(value.as_str(), Some("add" | "update")) => {
                Err("a project's file cannot have files written: only `use`, `require` and `off` may stand here"
                    .to_owned())
            }
            Self::Free | Self::OwnNetwork | Self::ReadingLock => Ok(value.clone()),
        }
    }
}

/// A list of texts, or one, changed one by one.
fn each(value: &Value, change: &dyn Fn(&str) -> Result<String, String>) -> Result<Value, String> {
    match value {
        Value::String(text) => change(text).map(Value::String),
        Value::Array(list) => list.iter().map(|item| each(item, change)).collect::<Result<_, _>>().map(Value::Array),
        other => change(&super::values::text(other)).map(Value::String),
    }
}

/// Where a project begins and ends.
#[derive(Debug, Clone)]
pub(crate) struct Project {
    /// The directory of its file, absolute.
    pub(crate) directory: PathBuf,
    /// The directory that paths may not leave: the repository, or that of the file.
    pub(crate) root: PathBuf,
}

impl Project {
    /// A path that the file names, absolute.
    fn inside(&self, text: &str) -> Result<String, String> {
        let outside = || format!("`{text}` leads out of the project `{}`", self.root.display());
        if Path::new(text).is_absolute() || text.is_empty() || text == "-" || text.contains("://") {
            return Err(format!("expected a path within the project, not `{text}`"));
        }
        let path = self.directory.join(text);
        // Links are followed as far as there is something: `Dockerfile` could be one to anywhere.
        let mut there = path.clone();
        let mut missing = Vec::new();
        let real = loop {
            match std::fs::canonicalize(&there) {
                Ok(real) => break real,
                Err(_) => match (there.parent(), there.file_name()) {
                    (Some(parent), Some(name)) => {
                        missing.push(name.to_owned());
                        there = parent.to_owned();
                    }
                    _ => return Err(outside()),
                },
            }
        };
        if !real.starts_with(&self.root) {
            return Err(outside());
        }
        // A link whose end is missing could be made to lead anywhere.
        if !missing.is_empty() && std::fs::symlink_metadata(&path).is_ok() {
            return Err(outside());
        }
        path.to_str().map(str::to_owned).ok_or_else(|| format!("the path `{}` is not UTF-8", path.display()))
    }
}

/// The directories in which the file of a project is looked for, from `start` upwards: up to the one with `.git`, and without
/// those above `start` that everybody can write to, such as `/tmp`, where anybody could leave a file for others.
pub(crate) fn search_directories(start: &Path) -> Vec<PathBuf> {
    // A path through a link has the parents of what it leads to.
    let start = if start.as_os_str().is_empty() { Path::new(".") } else { start };
    let start =
        std::fs::canonicalize(start).or_else(|_| std::path::absolute(start)).unwrap_or_else(|_| start.to_owned());
    let mut directories = Vec::new();
    for directory in start.ancestors() {
        if directory != start && is_writable_for_everybody(directory) {
            break;
        }
        directories.push(directory.to_owned());
        if is_repository(directory) {
            break;
        }
    }
    directories
}

/// Whether a repository begins here; in a worktree or submodule `.git` is a file.
pub(crate) fn is_repository(directory: &Path) -> bool {
    std::fs::symlink_metadata(directory.join(".git")).is_ok()
}

fn is_writable_for_everybody(directory: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(directory).is_ok_and(|metadata| metadata.permissions().mode() & 0o002 != 0)
}

/// The project whose file is in the last of the directories that were searched up to it.
pub(crate) fn project_of(directory: &Path) -> Project {
    let root = search_directories(directory).into_iter().last().filter(|last| is_repository(last));
    Project { directory: directory.to_owned(), root: root.unwrap_or_else(|| directory.to_owned()) }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        let outer = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(outer.path()).unwrap().join("repository");
        std::fs::create_dir_all(root.join("app")).unwrap();
        std::fs::write(root.join("Dockerfile"), "").unwrap();
        std::os::unix::fs::symlink("/etc", root.join("app/etc")).unwrap();
        std::os::unix::fs::symlink("/nowhere/at/all", root.join("app/dangling")).unwrap();
        std::os::unix::fs::symlink("loop", root.join("app/loop")).unwrap();
        let project = Project { directory: root.join("app"), root: root.clone() };
        for text in ["Dockerfile", "../Dockerfile", "not/yet/there", "./x"] {
            assert_eq!(project.inside(text).unwrap(), root.join("app").join(text).to_str().unwrap());
        }
        for text in [
            "../../x",
            "/etc/passwd",
            "etc/passwd",
            "etc",
            "dangling",
            "loop",
            "not/../../../x",
            "",
            "-",
            "https://a/b",
        ] {
            assert!(project.inside(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_search_ends_at_the_repository_and_before_what_is_everybodys() {
        use std::os::unix::fs::PermissionsExt as _;
        let outer = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(outer.path()).unwrap();
        std::fs::create_dir_all(root.join("a/b/c")).unwrap();
        std::fs::write(root.join("a/.git"), "gitdir: elsewhere").unwrap();
        assert_eq!(search_directories(&root.join("a/b/c")), ["a/b/c", "a/b", "a"].map(|name| root.join(name)));
        std::fs::remove_file(root.join("a/.git")).unwrap();
        std::fs::set_permissions(root.join("a"), std::fs::Permissions::from_mode(0o1777)).unwrap();
        assert_eq!(search_directories(&root.join("a/b/c")), ["a/b/c", "a/b"].map(|name| root.join(name)));
        assert_eq!(search_directories(&root.join("a"))[0], root.join("a"));
    }

    #[test]
    fn caches_and_networks_of_projects() {
        let project = Project { directory: "/p".into(), root: "/p".into() };
        let admit = |rule: ProjectRule, text: &str| rule.admit(&Value::String(text.to_owned()), &project);
        assert!(admit(ProjectRule::RegistryCache, "registry.example.com/app:cache").is_ok());
        assert!(admit(ProjectRule::RegistryCache, "type=registry,ref=example.com/a:b").is_ok());
        for text in [
            "type=local,src=/home",
            "type=registry,ref=example.com/a:b,registry.insecure=true",
            "type=s3,region=a,bucket=b,name=c",
            "type=gha",
        ] {
            assert!(admit(ProjectRule::RegistryCache, text).is_err(), "{text}");
        }
        assert!(admit(ProjectRule::OwnNetwork, "host").is_err() && admit(ProjectRule::OwnNetwork, "none").is_ok());
        assert!(admit(ProjectRule::ContextInside, "docker-image://busybox").is_ok());
        assert!(admit(ProjectRule::ContextInside, "oci-layout:///etc").is_err());
        for text in ["file:///etc", "ssh://git@example.com/a.git", "git@example.com:a.git", "../x"] {
            assert!(admit(ProjectRule::ContextInside, text).is_err(), "{text}");
        }
    }
}
