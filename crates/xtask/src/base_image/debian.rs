//! An image with Debian's essential packages and apt, made by `mmdebstrap` (or, for root, `debootstrap`).

use std::io::{BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use bake_oci::{ContainerConfig, EntryKind, LayerReader};

use super::layout::LayoutWriter;
use crate::workspace::{failed, output_text};

/// The public image that this one stands in for.
pub(super) const REFERENCE: &str = "debian:12";

/// Its release.
const RELEASE: &str = "bookworm";

/// Where packages come from when this machine's apt names no Debian mirror.
const PUBLIC_ARCHIVE: &str = "http://deb.debian.org/debian";
const PUBLIC_SECURITY: &str = "http://deb.debian.org/debian-security";

/// Files of this machine that do not belong into an image; steps get their own.
const FOREIGN: [&[u8]; 2] = [b"etc/hostname", b"etc/resolv.conf"];

/// The mirrors a machine uses.
#[derive(Debug, PartialEq, Eq)]
struct Mirrors {
    archive: String,
    security: String,
}

/// Makes the image in an empty directory and says what it is made from.
pub(super) fn make(directory: &Path) -> Result<String, String> {
    let format = "--format=$(LABEL) $(REPO_URI)";
    let targets = output_text(Command::new("apt-get").args(["indextargets", format, "Created-By: Packages"]));
    let mirrors = Mirrors::read(&targets.unwrap_or_default());
    let mut layout = LayoutWriter::new(directory)?;
    let tool = if has("mmdebstrap") {
        mmdebstrap(&mirrors, &mut layout)?;
        "mmdebstrap"
    } else if has("debootstrap") {
        debootstrap(&mirrors, &directory.join("root"), &mut layout)?;
        "debootstrap"
    } else {
        return Err("making a Debian image takes mmdebstrap: apt-get install mmdebstrap uidmap".to_owned());
    };
    let config = ContainerConfig {
        env: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()],
        cmd: vec!["bash".to_owned()],
        ..ContainerConfig::default()
    };
    layout.finish(REFERENCE, config, &format!("{tool} {RELEASE}"))?;
    Ok(format!("{RELEASE}'s packages by {tool}, from this machine's Debian mirror"))
}

impl Mirrors {
    /// Takes the mirrors from lines of a label and an address, as apt lists them.
    fn read(targets: &str) -> Self {
        let find = |label: &str, public: &str| {
            let found = targets.lines().find_map(|line| line.strip_prefix(label)?.strip_prefix(' '));
            // Addresses that apt knows and a root file system of its own does not: files, discs, mirror lists.
            let found = found.filter(|address| address.starts_with("http://") || address.starts_with("https://"));
            found.unwrap_or(public).trim_end_matches('/').to_owned()
        };
        Self { archive: find("Debian", PUBLIC_ARCHIVE), security: find("Debian-Security", PUBLIC_SECURITY) }
    }

    /// The lines of `sources.list`.
    fn sources(&self) -> [String; 3] {
        let Self { archive, security } = self;
        [
            format!("deb {archive} {RELEASE} main"),
            format!("deb {archive} {RELEASE}-updates main"),
            format!("deb {security} {RELEASE}-security main"),
        ]
    }

    fn needs_certificates(&self) -> bool {
        self.archive.starts_with("https:") || self.security.starts_with("https:")
    }
}

/// Unprivileged where there are subordinate IDs; the archive comes through a pipe.
fn mmdebstrap(mirrors: &Mirrors, layout: &mut LayoutWriter) -> Result<(), String> {
    let mut command = Command::new("mmdebstrap");
    command.args(["--variant=minbase", "--format=tar", "--quiet"]);
    if mirrors.needs_certificates() {
        command.arg("--include=ca-certificates");
    }
    command.arg(RELEASE).arg("-").args(mirrors.sources());
    copy_archive(&mut command, layout).map_err(|error| {
        format!(
            "{error}\n  it takes root, or for other users the package uidmap and a range of IDs in /etc/subuid and /etc/subgid"
        )
    })
}

/// For root only. The root file system is removed afterwards.
fn debootstrap(mirrors: &Mirrors, root: &Path, layout: &mut LayoutWriter) -> Result<(), String> {
    let mut command = Command::new("debootstrap");
    command.arg("--variant=minbase");
    if mirrors.needs_certificates() {
        command.arg("--include=ca-certificates");
    }
    output_text(command.arg(RELEASE).arg(root).arg(&mirrors.archive))?;
    let sources = root.join("etc/apt/sources.list");
    std::fs::write(&sources, mirrors.sources().map(|line| line + "\n").concat()).map_err(failed("write", &sources))?;
    let mut tar = Command::new("tar");
    tar.arg("--create").arg("--sort=name").arg("--numeric-owner").arg("--xattrs").arg("--directory").arg(root).arg(".");
    tar.args(["--exclude=./var/cache/apt/archives/*.deb", "--exclude=./var/lib/apt/lists/*"]);
    copy_archive(&mut tar, layout)?;
    std::fs::remove_dir_all(root).map_err(failed("remove", root))
}

/// Copies the archive that a program writes to its standard output into the layer.
fn copy_archive(command: &mut Command, layout: &mut LayoutWriter) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("Failed to start {name}: {error}"))?;
    let stdout = child.stdout.take().ok_or_else(|| format!("{name} has no output"))?;
    let copied = copy_entries(BufReader::new(stdout), layout);
    // Its reader is gone now, so it ends even where the copy did not get to the end.
    let status = child.wait().map_err(|error| format!("Failed to wait for {name}: {error}"))?;
    if !status.success() {
        return Err(format!("{name} failed ({status}); what it said stands above"));
    }
    copied.map_err(|error| format!("Failed to read what {name} wrote: {error}"))
}

fn copy_entries(archive: impl Read, layout: &mut LayoutWriter) -> Result<(), String> {
    let mut reader = LayerReader::new(archive);
    while let Some(mut found) = reader.next_entry().map_err(|error| error.to_string())? {
        let entry = found.entry.clone();
        let is_device = matches!(entry.kind, EntryKind::CharacterDevice { .. } | EntryKind::BlockDevice { .. });
        // Devices are made for each step, and by the engine that runs the image.
        if entry.path.is_empty()
            || entry.path.starts_with(b"dev/")
            || is_device
            || FOREIGN.contains(&entry.path.as_slice())
        {
            continue;
        }
        let content: Option<&mut dyn Read> =
            if matches!(entry.kind, EntryKind::File { .. }) { Some(&mut found) } else { None };
        layout.archive().append(&entry, content).map_err(|error| error.to_string())?;
    }
    reader.finish().map(drop).map_err(|error| error.to_string())
}

/// Whether a program can be started.
fn has(program: &str) -> bool {
    output_text(Command::new(program).arg("--version")).is_ok()
}

#[cfg(test)]
mod tests {
    use super::{Mirrors, PUBLIC_ARCHIVE, PUBLIC_SECURITY};

    #[test]
    fn mirrors_are_those_of_apt() {
        let targets = "Other https://packages.example.com/\nDebian http://mirror.example.org/debian/\n\
                       Debian-Security https://mirror.example.org/security/\nDebian http://second.example.org/debian/\n";
        let mirrors = Mirrors::read(targets);
        assert_eq!(mirrors.archive, "http://mirror.example.org/debian");
        assert_eq!(mirrors.security, "https://mirror.example.org/security");
        assert!(mirrors.needs_certificates());
        assert_eq!(mirrors.sources()[2], "deb https://mirror.example.org/security bookworm-security main");
    }

    #[test]
    fn without_a_mirror_the_public_one_serves() {
        for targets in
            ["", "Debian file:/srv/mirror\nDebian-Security cdrom:x\n", "Ubuntu http://archive.example.com/\n"]
        {
            let mirrors = Mirrors::read(targets);
            assert_eq!((mirrors.archive.as_str(), mirrors.security.as_str()), (PUBLIC_ARCHIVE, PUBLIC_SECURITY));
        }
    }
}
