//! What targets want beyond this directory. A file with targets can come from anybody, so that is asked for, or has to be allowed.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use bake::error::CommandError;
use bake::ui::sanitize::sanitize_line;
use bake_targets::Privileges;

use crate::question::is_answered_yes;
use crate::settings;

/// What is allowed.
#[derive(Debug, Default)]
pub(super) struct Entitlements {
    network_host: bool,
    insecure: bool,
    ssh_agent: bool,
    read: Paths,
    write: Paths,
}

/// Paths that may be used, with everything below them.
#[derive(Debug, Default)]
struct Paths {
    all: bool,
    below: Vec<PathBuf>,
}

impl Paths {
    fn add(&mut self, path: &str) {
        if path == "*" {
            self.all = true;
        } else {
            self.below.push(resolved(Path::new(path)));
        }
    }

    /// Those of `wanted` that are not allowed, each once and as they really are: a link leads where it leads.
    fn missing<'a>(&self, wanted: impl IntoIterator<Item = &'a String>) -> Vec<PathBuf> {
        if self.all {
            return Vec::new();
        }
        let mut missing: Vec<PathBuf> = Vec::new();
        for path in wanted {
            let path = resolved(Path::new(path));
            if !self.below.iter().chain(&missing).any(|allowed| path.starts_with(allowed)) {
                missing.push(path);
            }
        }
        missing
    }
}

/// Reads the values of `--allow`.
pub(super) fn allowed(texts: &[String]) -> Result<Entitlements, CommandError> {
    let mut entitlements = Entitlements::default();
    // What lies here is what the files are about.
    let here = settings::working_directory()?;
    entitlements.read.below.push(here.clone());
    entitlements.write.below.push(here);
    for text in texts {
        let (name, path) = text.split_once('=').map_or((text.as_str(), None), |(name, path)| (name, Some(path)));
        let path = path.filter(|path| !path.is_empty());
        match (name, path) {
            ("network.host", None) => entitlements.network_host = true,
            ("security.insecure", None) => entitlements.insecure = true,
            ("ssh", None) => entitlements.ssh_agent = true,
            // For outputs, which check it themselves.
            ("buildx.local.delete", None) => {}
            ("fs", Some(path)) => {
                entitlements.read.add(path);
                entitlements.write.add(path);
            }
            ("fs.read", Some(path)) => entitlements.read.add(path),
            ("fs.write", Some(path)) => entitlements.write.add(path),
            ("fs" | "fs.read" | "fs.write", None) => {
                return Err(CommandError::usage(format!("`--allow {text}` names no path"))
                    .hint(format!("write `--allow {name}=PATH`, or `--allow {name}=*` for every path")));
            }
            _ => {
                let known =
                    "network.host, security.insecure, ssh, fs=PATH, fs.read=PATH, fs.write=PATH, buildx.local.delete";
                return Err(
                    CommandError::usage(format!("`--allow {text}` is unknown")).hint(format!("there are {known}"))
                );
            }
        }
    }
    Ok(entitlements)
}

impl Entitlements {
    /// Asks for what `wanted` has and this has not; without a terminal, or if the answer is no, that is an error.
    pub(super) fn check(&self, wanted: &Privileges) -> Result<(), CommandError> {
        let (mut told, mut flags) = (Vec::new(), Vec::new());
        let mut ask = |flag: String, text: String| {
            told.push(text);
            flags.push(format!("--allow {flag}"));
        };
        if wanted.network_host && !self.network_host {
            ask("network.host".into(), "steps in the network of this machine".into());
        }
        if wanted.insecure && !self.insecure {
            ask("security.insecure".into(), "steps without a sandbox, which can change this machine".into());
        }
        if wanted.ssh_agent && !self.ssh_agent {
            ask("ssh".into(), "the use of your SSH agent".into());
        }
        let is_checked = settings::variable("BUILDX_BAKE_ENTITLEMENTS_FS")
            .is_none_or(|text| bake_dockerfile::parse_boolean(&text) != Some(false));
        if is_checked {
            for path in self.read.missing(&wanted.read) {
                ask(format!("fs.read={}", path.display()), format!("reading `{}`", path.display()));
            }
            for path in self.write.missing(&wanted.write) {
                ask(format!("fs.write={}", path.display()), format!("writing `{}`", path.display()));
            }
        }
        if told.is_empty() || confirmed(&told)? {
            return Ok(());
        }
        Err(CommandError::usage(format!(
            "the targets want what has to be allowed: {}",
            sanitize_line(&told.join(", "))
        ))
        .hint(format!("if you trust the files, add `{}`", sanitize_line(&flags.join(" ")))))
    }
}

/// Asks, where there is somebody to ask.
fn confirmed(wanted: &[String]) -> Result<bool, CommandError> {
    use std::fmt::Write as _;
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(false);
    }
    let mut text = "The targets want:\n".to_owned();
    for line in wanted {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  - {}", sanitize_line(line));
    }
    text.push_str("\nDo you want to allow that and continue?");
    is_answered_yes(&text)
}

/// The path without links, as far as it exists; the rest cannot be a link.
fn resolved(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut rest = Vec::new();
    let mut existing = absolute.as_path();
    loop {
        if let Ok(real) = std::fs::canonicalize(existing) {
            return rest.iter().rev().fold(real, |path: PathBuf, name: &std::ffi::OsString| {
                if name == ".." { path.parent().unwrap_or(&path).to_owned() } else { path.join(name) }
            });
        }
        let Some(parent) = existing.parent() else { return absolute };
        // `a/..` has no file name: the component itself is what is gone up over.
        rest.extend(existing.components().next_back().map(|last| last.as_os_str().to_owned()));
        existing = parent;
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn links_and_dots_lead_out() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("here/sub")).unwrap();
        std::os::unix::fs::symlink("/etc", root.join("here/link")).unwrap();
        let paths = Paths { all: false, below: vec![root.join("here")] };
        let missing = |path: &str| {
            let wanted: BTreeSet<String> = [root.join("here").join(path).to_str().unwrap().to_owned()].into();
            paths.missing(&wanted)
        };
        assert!(missing("sub/new/file").is_empty() && missing(".").is_empty() && missing("new/../x").is_empty());
        assert_eq!(missing("link/passwd"), [PathBuf::from("/etc/passwd")]);
        assert_eq!(missing("../there"), [root.join("there")]);
        assert_eq!(missing("new/../../there/x"), [root.join("there/x")]);
        assert!(Paths { all: true, below: Vec::new() }.missing(&BTreeSet::from(["/".to_owned()])).is_empty());
    }

    #[test]
    fn what_cannot_be_allowed_is_an_error() {
        for wrong in ["fs", "fs.read=", "device", "network.host=1", ""] {
            assert!(allowed(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
        let entitlements = allowed(&["network.host".to_owned(), "fs=*".to_owned()]).unwrap();
        assert!(entitlements.network_host && entitlements.read.all && entitlements.write.all);
    }
}
