//! The directory that a Dockerfile would be built with, looked at when a rule asks.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bake_dockerfile::glob::has_wildcard;
use bake_dockerfile::limits::IGNORE_FILE_BYTES_MAX;
use bake_dockerfile::{IgnorePatterns, MatchState, glob_match, suggest};
use bake_lint::{BuildContext, Found, IgnoreFile, UnwantedPath};

use crate::files::read_file;

/// Directory entries that are looked at for one question: enough for what people copy, little enough not to be waited for.
const ENTRIES_MAX: usize = 100_000;
/// Unwanted paths that are told of.
const UNWANTED_MAX: usize = 100;

/// Directories that images rarely want.
const DIRECTORIES: [&str; 14] = [
    ".git",
    ".hg",
    ".svn",
    "node_modules",
    ".venv",
    "__pycache__",
    ".tox",
    ".mypy_cache",
    ".pytest_cache",
    ".terraform",
    ".idea",
    ".vscode",
    ".aws",
    ".ssh",
];

/// A directory as a build context.
#[derive(Debug)]
pub(super) struct DirectoryContext {
    root: PathBuf,
    /// Whether it was named as the context. Else it is only where the Dockerfile lies: what is not in it may be elsewhere.
    named: bool,
    /// The ignore file in force with its patterns, and whether it lies in the context or beside the Dockerfile.
    ignore: OnceLock<Option<ReadIgnoreFile>>,
    /// The file that holds the Dockerfile.
    dockerfile: Option<PathBuf>,
}

#[derive(Debug)]
struct ReadIgnoreFile {
    file: IgnoreFile,
    /// `None` where it cannot be used: a build says why.
    patterns: Option<IgnorePatterns>,
    /// Whether builds with this directory as their context are known to use it.
    certain: bool,
}

/// An entry on the way through the context.
struct Entry {
    /// From the root, with `/` between components.
    path: String,
    is_directory: bool,
    bytes: u64,
    state: MatchState,
}

impl DirectoryContext {
    /// The context that `--context` names.
    pub(super) fn named(root: &Path, dockerfile: Option<&Path>) -> Self {
        Self { root: root.to_owned(), named: true, ignore: OnceLock::new(), dockerfile: dockerfile.map(Path::to_owned) }
    }

    /// The directory of a Dockerfile, when its name says that it is most likely the context: `Dockerfile` or `Containerfile`.
    pub(super) fn guessed(dockerfile: &Path) -> Option<Self> {
        let name = dockerfile.file_name()?.to_str()?;
        let root = std::path::absolute(dockerfile).ok()?.parent()?.to_owned();
        matches!(name, "Dockerfile" | "Containerfile").then(|| Self {
            root,
            named: false,
            ignore: OnceLock::new(),
            dockerfile: Some(dockerfile.to_owned()),
        })
    }

    fn ignore(&self) -> Option<&ReadIgnoreFile> {
        self.ignore.get_or_init(|| self.read_ignore_file()).as_ref()
    }

    /// `NAME.dockerignore` beside the Dockerfile, else `.dockerignore` of the context. Of a context that is only guessed, also one of
    /// the directories above: the context may be any of them.
    fn read_ignore_file(&self) -> Option<ReadIgnoreFile> {
        let beside = self.dockerfile.as_ref().map(|path| {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(".dockerignore");
            path.with_file_name(name)
        });
        let own = self.root.join(".dockerignore");
        if let Some(read) = beside.into_iter().chain([own]).find_map(|path| read_ignore_file(&path, true)) {
            return Some(read);
        }
        if self.named || self.root.join(".git").exists() {
            return None;
        }
        let mut above = self.root.ancestors().skip(1);
        above.find_map(|directory| {
            let found = read_ignore_file(&directory.join(".dockerignore"), false);
            // Beyond the repository's own directory there is somebody else's.
            found.map(Some).or_else(|| directory.join(".git").exists().then_some(None))
        })?
    }

    /// The entries of a directory that exists. Empty where it cannot be read.
    fn entries(&self, directory: &str, state: &MatchState, left: &mut usize) -> Vec<Entry> {
        let mut entries = Vec::new();
        let Ok(listing) = std::fs::read_dir(self.root.join(directory)) else { return entries };
        for entry in listing.flatten() {
            if *left == 0 {
                break;
            }
            *left -= 1;
            let (Ok(name), Ok(metadata)) = (entry.file_name().into_string(), entry.metadata()) else { continue };
            let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
            let state = match self.patterns() {
                Some(patterns) => patterns.step(state, &path),
                None => state.clone(),
            };
            entries.push(Entry { path, is_directory: metadata.is_dir(), bytes: metadata.len(), state });
        }
        entries.sort_by(|one, other| one.path.cmp(&other.path));
        entries
    }

    fn patterns(&self) -> Option<&IgnorePatterns> {
        self.ignore()?.patterns.as_ref()
    }

    /// Whether a directory is entered: what is excluded is, when a `!` may take something below it back.
    fn is_entered(&self, entry: &Entry) -> bool {
        entry.is_directory
            && (!entry.state.is_excluded()
                || self.patterns().is_some_and(|patterns| patterns.may_match_below(&entry.path)))
    }

    /// The pattern that leaves out `path`, and all that is below it.
    fn exclusion(&self, path: &str, is_directory: bool) -> Option<String> {
        let patterns = self.patterns()?;
        let state = patterns.state_of(path);
        if !state.is_excluded() {
            return None;
        }
        let root = Entry { path: path.to_owned(), is_directory, bytes: 0, state };
        let mut left = ENTRIES_MAX;
        let mut waiting = VecDeque::from([root]);
        while let Some(entry) = waiting.pop_front() {
            if self.is_entered(&entry) {
                let entries = self.entries(&entry.path, &entry.state, &mut left);
                if left == 0 || entries.iter().any(|entry| !entry.state.is_excluded()) {
                    return None;
                }
                waiting.extend(entries);
            }
        }
        patterns.deciding_pattern(path).map(ToString::to_string)
    }

    /// The paths that a pattern matches, component by component.
    fn matching(&self, pattern: &str) -> Vec<(String, bool)> {
        let mut left = ENTRIES_MAX;
        let state = IgnorePatterns::default().root();
        let mut found = vec![(String::new(), true)];
        for component in pattern.split('/') {
            let mut next = Vec::new();
            for (directory, _) in found.iter().filter(|(_, is_directory)| *is_directory) {
                // A link may lead anywhere; only the builder follows it safely.
                for entry in self.entries(directory, &state, &mut left) {
                    let name = entry.path.rsplit('/').next().unwrap_or_default();
                    if glob_match(component, name).unwrap_or(true) {
                        next.push((entry.path, entry.is_directory));
                    }
                }
            }
            found = next;
        }
        found
    }

    fn find_plain(&self, path: &str) -> Found {
        if let Ok(metadata) = std::fs::symlink_metadata(self.root.join(path)) {
            return match self.exclusion(path, metadata.is_dir()) {
                Some(pattern) => Found::Ignored { pattern },
                None => Found::Present,
            };
        }
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut left = ENTRIES_MAX;
        let entries = self.entries(directory, &IgnorePatterns::default().root(), &mut left);
        let names = entries.iter().filter_map(|entry| entry.path.rsplit('/').next());
        let near = suggest(name, names, true);
        Found::Missing {
            near: near.map(|near| if directory.is_empty() { near.to_owned() } else { format!("{directory}/{near}") }),
        }
    }

    /// The bytes of all files below a directory; a lower bound where there are too many.
    fn size_of(&self, directory: &str, left: &mut usize) -> u64 {
        let state = IgnorePatterns::default().root();
        let mut waiting = vec![directory.to_owned()];
        let mut bytes: u64 = 0;
        while let Some(directory) = waiting.pop() {
            for entry in self.entries(&directory, &state, left) {
                if entry.is_directory {
                    waiting.push(entry.path);
                } else {
                    bytes = bytes.saturating_add(entry.bytes);
                }
            }
        }
        bytes
    }
}

impl BuildContext for DirectoryContext {
    fn ignore_file(&self) -> Option<IgnoreFile> {
        self.ignore().map(|read| read.file.clone())
    }

    fn find(&self, source: &str) -> Found {
        let unusable = self.ignore().is_some_and(|read| read.patterns.is_none());
        let path = clean(source);
        // Patterns that cross directories only a build resolves.
        if !self.named || unusable || path.contains("**") {
            return Found::Present;
        }
        if path.is_empty() {
            let everything = self.exclusion_of_everything();
            return everything.map_or(Found::Present, |pattern| Found::Ignored { pattern });
        }
        if !has_wildcard(&path) {
            return self.find_plain(&path);
        }
        let mut first = None;
        for (path, is_directory) in self.matching(&path) {
            match self.exclusion(&path, is_directory) {
                None => return Found::Present,
                Some(pattern) => first = first.or(Some(pattern)),
            }
        }
        first.map_or(Found::Missing { near: None }, |pattern| Found::Ignored { pattern })
    }

    fn unwanted(&self) -> Vec<UnwantedPath> {
        // An ignore file from elsewhere may be for another context.
        let Some(read) = self.ignore().filter(|read| self.named || read.certain) else { return Vec::new() };
        let Some(patterns) = &read.patterns else { return Vec::new() };
        let mut left = ENTRIES_MAX;
        let mut found = Vec::new();
        let mut waiting = VecDeque::from([(String::new(), patterns.root())]);
        while let Some((directory, state)) = waiting.pop_front() {
            for entry in self.entries(&directory, &state, &mut left) {
                let name = entry.path.rsplit('/').next().unwrap_or_default();
                let is_target = || name == "target" && self.root.join(&directory).join("Cargo.toml").exists();
                let is_unwanted =
                    if entry.is_directory { DIRECTORIES.contains(&name) || is_target() } else { is_secret_file(name) };
                if is_unwanted && !entry.state.is_excluded() && found.len() < UNWANTED_MAX {
                    let secret = !entry.is_directory || matches!(name, ".aws" | ".ssh");
                    let bytes = if entry.is_directory { self.size_of(&entry.path, &mut left) } else { entry.bytes };
                    found.push(UnwantedPath { path: entry.path, bytes, secret });
                } else if self.is_entered(&entry) {
                    waiting.push_back((entry.path, entry.state));
                }
            }
        }
        found.sort_by_key(|unwanted| std::cmp::Reverse(unwanted.bytes));
        found
    }
}

impl DirectoryContext {
    /// The pattern that leaves nothing of the context.
    fn exclusion_of_everything(&self) -> Option<String> {
        let mut left = ENTRIES_MAX;
        let entries = self.entries("", &self.patterns()?.root(), &mut left);
        let first = entries.first()?.path.clone();
        let all = left > 0 && entries.iter().all(|entry| self.exclusion(&entry.path, entry.is_directory).is_some());
        all.then(|| self.exclusion(&first, false)).flatten()
    }
}

fn read_ignore_file(path: &Path, certain: bool) -> Option<ReadIgnoreFile> {
    let bytes = read_file(path, IGNORE_FILE_BYTES_MAX as u64).ok()?;
    let patterns = bake_dockerfile::IgnoreFile::parse(&bytes).ok();
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Some(ReadIgnoreFile {
        file: IgnoreFile { name, text: String::from_utf8_lossy(&bytes).into_owned() },
        patterns,
        certain,
    })
}

/// Whether a file of this name is likely to hold a secret.
fn is_secret_file(name: &str) -> bool {
    let harmless = [".example", ".sample", ".template", ".dist", ".pub"].iter().any(|end| name.ends_with(end));
    let exact =
        [".env", ".npmrc", ".netrc", ".pypirc", ".git-credentials", "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519"];
    let ends = [".pem", ".key", ".p12", ".pfx"];
    !harmless && (exact.contains(&name) || name.starts_with(".env.") || ends.iter().any(|end| name.ends_with(end)))
}

/// The path from the root of the context, without what `.` and `..` do; empty for the root itself.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    fn context(files: &[(&str, &str)]) -> (tempfile::TempDir, DirectoryContext) {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let context = DirectoryContext::named(directory.path(), Some(&directory.path().join("Dockerfile")));
        (directory, context)
    }

    fn ignored(pattern: &str) -> Found {
        Found::Ignored { pattern: pattern.to_owned() }
    }

    fn missing(near: Option<&str>) -> Found {
        Found::Missing { near: near.map(str::to_owned) }
    }

    #[test]
    fn sources_are_found_as_a_build_finds_them() {
        let ignore = "*.log\nsecret\nbuilt\n!built/keep\n**/tmp\n";
        let (_directory, context) = context(&[
            (".dockerignore", ignore),
            ("a.log", ""),
            ("src/main.c", ""),
            ("src/tmp/x", ""),
            ("secret/key", ""),
            ("built/keep/x", ""),
            ("built/drop/x", ""),
        ]);
        for (source, expected) in [
            (".", Found::Present),
            ("src", Found::Present),
            ("./src/", Found::Present),
            ("/src/main.c", Found::Present),
            ("../src/../src/main.c", Found::Present),
            ("src/*.c", Found::Present),
            ("s*/main.c", Found::Present),
            ("built", Found::Present),
            ("built/drop", ignored("built")),
            ("a.log", ignored("*.log")),
            ("*.log", ignored("*.log")),
            ("secret/key", ignored("secret")),
            ("src/tmp", ignored("**/tmp")),
            ("src/mian.c", missing(Some("src/main.c"))),
            ("nothing-like-it", missing(None)),
            ("*.zip", missing(None)),
            ("**/x", Found::Present),
        ] {
            assert_eq!(context.find(source), expected, "{source}");
        }
    }

    #[test]
    fn an_ignore_file_that_leaves_nothing_is_noticed() {
        let (_directory, context) = context(&[(".dockerignore", "*\n"), ("a", "")]);
        assert_eq!(context.find("."), ignored("*"));
        let (_directory, context) = self::context(&[(".dockerignore", "*\n!a\n"), ("a", "")]);
        assert_eq!(context.find("."), Found::Present);
    }

    #[test]
    fn the_ignore_file_of_the_dockerfile_comes_first() {
        let (_directory, context) = context(&[(".dockerignore", "a\n"), ("Dockerfile.dockerignore", "b\n"), ("a", "")]);
        assert_eq!(context.ignore_file().unwrap().name, "Dockerfile.dockerignore");
        assert_eq!(context.find("a"), Found::Present);
    }

    #[test]
    fn what_images_rarely_want_is_listed_with_its_size() {
        let (_directory, context) = context(&[
            (".dockerignore", "**/node_modules\n"),
            (".git/objects/x", "12345"),
            ("web/node_modules/x", "1"),
            ("web/.env", "A=1"),
            ("web/.env.example", ""),
            ("target/x", ""),
            ("tool/Cargo.toml", ""),
            ("tool/target/x", "1234567890"),
        ]);
        let found = context.unwanted();
        let found: Vec<_> = found.iter().map(|path| (path.path.as_str(), path.bytes, path.secret)).collect();
        assert_eq!(found, [("tool/target", 10, false), (".git", 5, false), ("web/.env", 3, true)]);
    }

    #[test]
    fn a_guessed_context_says_nothing_is_missing_and_looks_above() {
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("service");
        std::fs::create_dir_all(below.join(".hidden")).unwrap();
        std::fs::create_dir(directory.path().join(".git")).unwrap();
        let guessed = || DirectoryContext::guessed(&below.join("Dockerfile")).unwrap();
        assert!(guessed().ignore_file().is_none());
        assert_eq!(guessed().find("nothing"), Found::Present);
        std::fs::write(directory.path().join(".dockerignore"), "x\n").unwrap();
        assert!(guessed().ignore_file().is_some());
        assert!(guessed().unwanted().is_empty(), "it may be for another context");
        assert!(DirectoryContext::guessed(&below.join("app.Dockerfile")).is_none());
    }
}
