//! Layer directories, stores and shell steps for the tests.
#![expect(clippy::unwrap_used, reason = "a failed test should panic")]

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;

use bake_oci::{Entry, EntryKind, LayerReader};
use bake_snapshot::{Active, Committed, Contents, LayerFormat, Snapshotter, WriteOptions, write_layer};

/// A directory of layers that is removed afterwards.
pub(crate) struct Layers {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) format: LayerFormat,
}

impl Layers {
    pub(crate) fn new(format: LayerFormat) -> Self {
        Self { directory: tempfile::tempdir().unwrap(), format }
    }

    pub(crate) fn fresh(&self, name: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::create_dir(&path).unwrap();
        path
    }

    /// Runs a shell script in the merged tree and commits what it did as the layer `name`.
    pub(crate) fn step(
        &self,
        snapshotter: &dyn Snapshotter,
        lowers: &[&Path],
        name: &str,
        script: &str,
    ) -> (PathBuf, Committed) {
        let parent = self.fresh(name);
        let (upper, work) = (parent.join("fs"), parent.join("work"));
        std::fs::create_dir(&upper).unwrap();
        std::fs::create_dir(&work).unwrap();
        let active = Active { upper: &upper, work: &work };
        let mount = snapshotter.mount(lowers, active).unwrap();
        run_in(&mount, &["sh", "-ec", script]);
        drop(mount);
        let committed = snapshotter.commit(lowers, active, &Contents::new()).unwrap();
        (upper, committed)
    }
}

/// Runs a command whose working directory is `directory`.
pub(crate) fn run_in(directory: &OwnedFd, command: &[&str]) {
    let (program, arguments) = command.split_first().unwrap();
    let output = Command::new(program)
        .args(arguments)
        .current_dir(format!("/proc/self/fd/{}", directory.as_fd().as_raw_fd()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The archive of a layer.
pub(crate) fn archive(layer: &Path, format: LayerFormat) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_layer(layer, format, WriteOptions::default(), &mut bytes).unwrap();
    bytes
}

/// The entries of an archive with their content.
pub(crate) fn entries(archive: &[u8]) -> Vec<(Entry, Vec<u8>)> {
    let mut reader = LayerReader::new(archive);
    let mut entries = Vec::new();
    while let Some(mut read) = reader.next_entry().unwrap() {
        let entry = read.entry.clone();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut read, &mut content).unwrap();
        entries.push((entry, content));
    }
    entries
}

/// The names of an archive, directories with a slash at the end.
pub(crate) fn names(archive: &[u8]) -> Vec<String> {
    entries(archive)
        .iter()
        .map(|(entry, _)| {
            let name = String::from_utf8_lossy(&entry.path).into_owned();
            if entry.kind == EntryKind::Directory { name + "/" } else { name }
        })
        .collect()
}

/// Whether the caller is real root, which most of these tests need; says so when it is not.
pub(crate) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: needs root");
    }
    root
}
