//! Where things are in the workspace, and its manifests.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The largest text file that is looked into: larger ones are data.
const TEXT_BYTES_MAX: u64 = 2 * 1024 * 1024;

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).unwrap_or(manifest).to_path_buf()
}

/// A crate of the workspace.
#[derive(Debug)]
pub(crate) struct Crate {
    /// The name, which is also that of its directory.
    pub(crate) name: String,
    /// Its directory.
    pub(crate) directory: PathBuf,
    /// Its parsed manifest.
    pub(crate) manifest: toml::Table,
}

/// The crates, by name.
pub(crate) fn crates() -> Result<Vec<Crate>, String> {
    let mut crates = Vec::new();
    for directory in entries(&root().join("crates"))? {
        let path = directory.join("Cargo.toml");
        if !path.is_file() {
            continue;
        }
        let manifest = read(&path)?.parse().map_err(|error| format!("Failed to parse {}: {error}", path.display()))?;
        let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        crates.push(Crate { name, directory, manifest });
    }
    Ok(crates)
}

impl Crate {
    /// The names in a dependency table, those for single targets included.
    pub(crate) fn dependencies(&self, table: &str) -> Vec<String> {
        let of = |parent: &toml::Table| {
            parent
                .get(table)
                .and_then(toml::Value::as_table)
                .map(|t| t.keys().cloned().collect::<Vec<_>>())
                .unwrap_or_default()
        };
        let mut names = of(&self.manifest);
        if let Some(targets) = self.manifest.get("target").and_then(toml::Value::as_table) {
            names.extend(targets.values().filter_map(toml::Value::as_table).flat_map(of));
        }
        names.sort();
        names.dedup();
        names
    }
}

/// The entries of a directory, ordered.
pub(crate) fn entries(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |error: std::io::Error| format!("Failed to read directory {}: {error}", directory.display());
    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory)
        .map_err(failed)?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    paths.sort();
    Ok(paths)
}

/// The text of a file.
pub(crate) fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("Failed to read {}: {error}", path.display()))
}

/// All text files below `directory` with their texts; build output, version control, binary and very large files left out.
pub(crate) fn text_files(directory: &Path) -> Result<Vec<(PathBuf, String)>, String> {
    let mut files = Vec::new();
    let mut waiting = vec![directory.to_path_buf()];
    while let Some(current) = waiting.pop() {
        for path in entries(&current)? {
            let Ok(metadata) = path.symlink_metadata() else { continue };
            let name = path.file_name().unwrap_or_default();
            // In a linked worktree `.git` is a file.
            if name == ".git" {
                continue;
            }
            if metadata.is_dir() {
                if name != "target" {
                    waiting.push(path);
                }
            } else if metadata.is_file()
                && metadata.len() <= TEXT_BYTES_MAX
                && let Ok(text) = std::fs::read_to_string(&path)
            {
                files.push((path, text));
            }
        }
    }
    files.sort();
    Ok(files)
}

/// A path as shown to people: relative to the root.
pub(crate) fn display(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// Says what was attempted on which path.
pub(crate) fn failed<E: std::fmt::Display>(attempt: &str, path: &Path) -> impl Fn(E) -> String {
    let text = format!("Failed to {attempt} {}", path.display());
    move |error| format!("{text}: {error}")
}

/// What a program wrote to its standard output; what it said on standard error, when it failed.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("Failed to start {name}: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{name} failed ({}): {}", output.status, said.trim()));
    }
    Ok(output.stdout)
}

/// The same as text.
pub(crate) fn output_text(command: &mut Command) -> Result<String, String> {
    output(command).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Runs cargo in the root, its output going where ours goes.
pub(crate) fn cargo(arguments: &[&str], environment: &[(&str, &str)]) -> Result<(), String> {
    // Set by the cargo that runs this program; the plain name serves when it was started by hand.
    let cargo = option_env!("CARGO").unwrap_or("cargo");
    let status = Command::new(cargo)
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(root())
        .status()
        .map_err(|error| format!("Failed to start {cargo}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`cargo {}` failed: {status}", arguments.join(" "))) }
}

/// As [`cargo`], with each line of its standard output also given to `line`.
pub(crate) fn cargo_lines(arguments: &[&str], mut line: impl FnMut(&str)) -> Result<(), String> {
    let cargo = option_env!("CARGO").unwrap_or("cargo");
    let mut child = Command::new(cargo)
        .args(arguments)
        .current_dir(root())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("Failed to start {cargo}: {error}"))?;
    let stdout = child.stdout.take().ok_or("cargo has no standard output")?;
    let mut reader = BufReader::new(stdout);
    let mut bytes = Vec::new();
    // Tests may write what is no text, so lines are read as bytes.
    while reader.read_until(b'\n', &mut bytes).map_err(|error| format!("Failed to read what cargo said: {error}"))? > 0
    {
        let text = String::from_utf8_lossy(&bytes);
        print!("{text}");
        line(text.trim_end());
        bytes.clear();
    }
    let status = child.wait().map_err(|error| format!("Failed to wait for {cargo}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`cargo {}` failed: {status}", arguments.join(" "))) }
}
