//! An image with busybox from Debian's package `busybox-static`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use bake_oci::{ContainerConfig, Entry, EntryKind};

use super::BaseImage;
use super::layout::LayoutWriter;
use crate::workspace::{failed, output_text};

const PACKAGE: &str = "busybox-static";

/// Directories with their permissions.
const DIRECTORIES: [(&str, u32); 12] = [
    ("bin", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("proc", 0o755),
    ("root", 0o700),
    ("sys", 0o755),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("usr/bin", 0o755),
    ("var", 0o755),
    ("var/tmp", 0o1777),
];

/// Small files of the system.
const FILES: [(&str, &str); 2] = [
    ("etc/group", "root:x:0:\nusers:x:100:\nnogroup:x:65534:\n"),
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n"),
];

/// Makes the image in an empty directory and says what it is made from.
pub(super) fn make(directory: &Path) -> Result<String, String> {
    let packages = directory.join("packages");
    let (program, version) = installed().map_or_else(|| download(&packages), Ok)?;
    let bytes = std::fs::read(&program).map_err(failed("read", &program))?;
    let applets = output_text(Command::new(&program).arg("--list"))?;
    if packages.exists() {
        std::fs::remove_dir_all(&packages).map_err(failed("remove", &packages))?;
    }

    // Sorted by name, as in every layer.
    let mut entries: BTreeMap<String, (Entry, &[u8])> = BTreeMap::new();
    let mut add = |path: &str, kind, mode, content| {
        entries.insert(path.to_owned(), (Entry::new(path, kind, mode), content));
    };
    for (path, mode) in DIRECTORIES {
        add(path, EntryKind::Directory, mode, b"");
    }
    for (path, text) in FILES {
        add(path, EntryKind::File { size: text.len() as u64 }, 0o644, text.as_bytes());
    }
    for applet in applets.lines().filter(|applet| !applet.is_empty() && !applet.contains('/') && *applet != "busybox") {
        add(&format!("bin/{applet}"), EntryKind::Symlink { target: b"busybox".to_vec() }, 0o777, b"");
    }
    add("usr/bin/env", EntryKind::Symlink { target: b"../../bin/busybox".to_vec() }, 0o777, b"");
    add("bin/busybox", EntryKind::File { size: bytes.len() as u64 }, 0o755, &bytes);

    let mut layout = LayoutWriter::new(directory)?;
    for (path, (entry, mut content)) in entries {
        let is_file = matches!(entry.kind, EntryKind::File { .. });
        let reader: Option<&mut dyn std::io::Read> = if is_file { Some(&mut content) } else { None };
        layout.archive().append(&entry, reader).map_err(|error| format!("Failed to write {path}: {error}"))?;
    }
    let config = ContainerConfig {
        env: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()],
        cmd: vec!["sh".to_owned()],
        ..ContainerConfig::default()
    };
    let origin = format!("package {PACKAGE} {version}");
    layout.finish(BaseImage::Busybox.reference(), config, &origin)?;
    Ok(origin)
}

/// The program of the package, if that is installed, and its version.
fn installed() -> Option<(PathBuf, String)> {
    let files = output_text(Command::new("dpkg-query").args(["--listfiles", PACKAGE])).ok()?;
    let program = files.lines().find(|path| path.ends_with("bin/busybox")).map(PathBuf::from)?;
    let version =
        output_text(Command::new("dpkg-query").args(["--show", "--showformat", "${Version}", PACKAGE])).ok()?;
    program.is_file().then_some((program, version))
}

/// Fetches the package and unpacks it; neither needs root.
fn download(directory: &Path) -> Result<(PathBuf, String), String> {
    std::fs::create_dir_all(directory).map_err(failed("make", directory))?;
    output_text(Command::new("apt-get").args(["download", PACKAGE]).current_dir(directory)).map_err(|error| {
        format!("{error}\n  to get the package in another way: apt-get update && apt-get install {PACKAGE}")
    })?;
    let package = crate::workspace::entries(directory)?.into_iter().next();
    let package = package.ok_or_else(|| format!("apt-get left no package in {}", directory.display()))?;
    let version = output_text(Command::new("dpkg-deb").arg("--field").arg(&package).arg("Version"))?.trim().to_owned();
    let files = directory.join("files");
    output_text(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(&files))?;
    let program =
        ["bin/busybox", "usr/bin/busybox"].map(|path| files.join(path)).into_iter().find(|path| path.is_file());
    Ok((program.ok_or_else(|| format!("there is no busybox in {}", package.display()))?, version))
}
