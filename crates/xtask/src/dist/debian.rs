//! The Debian package: an `ar` archive of three members, as deb(5) describes it.

use std::fmt::Write as _;

use bake_oci::{Compression, Timestamp};

use super::VERSION;
use super::archive::{Tree, gzip};
use super::files::{Files, mail_time};
use super::program::Program;

/// The revision of the packaging of one version.
const REVISION: u32 = 1;

/// What the package is called in front of its description.
const SUMMARY: &str = "build OCI images from Dockerfiles, without a daemon";

/// The description: lines of at most 80 columns, a dot for an empty one.
const DESCRIPTION: &str = " bake compiles Dockerfiles into OCI images. It is one program: no daemon runs,
 root is not needed, nothing has to be set up. Its command line is that of
 `docker buildx build`, and its images run with any container engine.
 .
 With uidmap, images of ordinary users have files of all owners; with passt,
 the steps of a build have a network of their own.
";

/// What lintian asks about and is meant to be so.
const OVERRIDES: &str = "# One file for every system, which also runs in containers without libraries.
bake: shared-library-lacks-prerequisites [usr/bin/bake]
# `bake sbom` reads the databases of the images that it lists.
bake: uses-dpkg-database-directly [usr/bin/bake]
# Made by the project itself, so there is no request for a package in Debian to close.
bake: initial-upload-closes-no-bugs [usr/share/doc/bake/changelog.Debian.gz:1]
";

/// The name of the package's file, and its bytes.
pub(super) fn package(
    program: &Program,
    files: &Files,
    maintainer: &str,
    time: Timestamp,
) -> Result<(String, Vec<u8>), String> {
    let version = format!("{VERSION}-{REVISION}");
    let architecture = program.debian_architecture;
    let installed = installed(program, files, &version, maintainer, time)?;
    let mut control = Tree::default();
    control.add("control", 0o644, control_file(program, &version, maintainer, installed.installed_kib()));
    let members = [
        ("debian-binary", b"2.0\n".to_vec()),
        // Every dpkg reads gzip; Zstandard only those of Debian 12 and later.
        ("control.tar.gz", control.archive(Compression::Gzip { level: 9 }, time)?),
        ("data.tar.gz", installed.archive(Compression::Gzip { level: 9 }, time)?),
    ];
    Ok((format!("bake_{version}_{architecture}.deb"), ar(&members, time)))
}

/// What is put where.
fn installed(
    program: &Program,
    files: &Files,
    version: &str,
    maintainer: &str,
    time: Timestamp,
) -> Result<Tree, String> {
    let mut tree = Tree::default();
    tree.add("usr/bin/bake", 0o755, program.bytes.as_slice());
    for (name, bytes) in &files.completions {
        let place = match name.as_str() {
            "bake.bash" => "usr/share/bash-completion/completions/bake",
            "_bake" => "usr/share/zsh/vendor-completions/_bake",
            _ => "usr/share/fish/vendor_completions.d/bake.fish",
        };
        tree.add(place, 0o644, bytes.as_slice());
    }
    for (name, bytes) in &files.manual {
        tree.add(&format!("usr/share/man/man1/{name}.gz"), 0o644, gzip(bytes)?);
    }
    let changes = format!(
        "bake ({version}) unstable; urgency=medium\n\n  * Version {VERSION}; changelog.gz tells what is new.\n\n -- {maintainer}  {}\n",
        mail_time(time.seconds)?
    );
    let document = |name: &str| format!("usr/share/doc/bake/{name}");
    tree.add(&document("changelog.Debian.gz"), 0o644, gzip(changes.as_bytes())?);
    tree.add(&document("changelog.gz"), 0o644, gzip(files.changelog.as_bytes())?);
    tree.add(&document("copyright"), 0o644, copyright());
    tree.add(&document("licenses-third-party.gz"), 0o644, gzip(files.third_party.as_bytes())?);
    if program.is_static {
        tree.add("usr/share/lintian/overrides/bake", 0o644, OVERRIDES);
    }
    Ok(tree)
}

/// The file that dpkg reads first.
fn control_file(program: &Program, version: &str, maintainer: &str, installed_kib: u64) -> String {
    let mut text = format!(
        "Package: bake\nVersion: {version}\nArchitecture: {}\nMaintainer: {maintainer}\nInstalled-Size: {installed_kib}\n",
        program.debian_architecture
    );
    if !program.is_static {
        text.push_str("Depends: libc6\n");
    }
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "Recommends: ca-certificates, passt, uidmap\nSuggests: git\nSection: admin\nPriority: optional\n\
         Homepage: https://github.com/bake-build/bake\nDescription: {SUMMARY}\n{DESCRIPTION}"
    );
    text
}

/// Who may do what with it, in Debian's machine-readable form.
fn copyright() -> String {
    "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
     Upstream-Name: bake\nSource: https://github.com/bake-build/bake\n\n\
     Files: *\nCopyright: 2026 The developers of bake\nLicense: Apache-2.0\n\
     Comment: The program has libraries of others linked into it, under licences that allow it; all of them are in\n \
     /usr/share/doc/bake/licenses-third-party.gz.\n\n\
     License: Apache-2.0\n On Debian systems, the full text of the Apache License, Version 2.0, is in\n \
     /usr/share/common-licenses/Apache-2.0.\n"
        .to_owned()
}

/// The common form of `ar`: a magic, then headers of 60 bytes with padded numbers, contents at even places.
fn ar(members: &[(&str, Vec<u8>)], time: Timestamp) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, content) in members {
        let header = format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", time.seconds, 0, 0, "100644", content.len());
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(content);
        if content.len() % 2 == 1 {
            bytes.push(b'\n');
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_begin_at_even_places() {
        let bytes = ar(&[("a", b"123".to_vec()), ("b", b"45".to_vec())], Timestamp::EPOCH);
        assert_eq!(bytes.len(), 8 + 60 + 4 + 60 + 2);
        assert_eq!(&bytes[8..68], b"a               0           0     0     100644  3         `\n");
        assert_eq!(&bytes[72..74], b"b ");
    }

    #[test]
    fn the_description_is_in_debians_form() {
        assert!(SUMMARY.len() < 80 && !SUMMARY.ends_with('.'));
        for line in DESCRIPTION.lines() {
            assert!(line.starts_with(' ') && line.len() <= 80, "{line}");
        }
        for line in copyright().lines() {
            assert!(line.is_empty() || line.starts_with(' ') || line.contains(": "), "{line}");
        }
    }
}
