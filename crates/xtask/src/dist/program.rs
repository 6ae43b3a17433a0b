//! The program: compiled for release, or one that is there.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::VERSION;
use crate::workspace;

/// How every program begins.
pub(super) const ELF_MAGIC: &[u8] = b"\x7fELF";

/// ELF's names for architectures: ours (rust's), Debian's, and `e_machine`.
const ARCHITECTURES: [(&str, &str, u16); 3] =
    [("x86_64", "amd64", 62), ("aarch64", "arm64", 183), ("riscv64", "riscv64", 243)];

/// The type of a program header that names the dynamic linker.
const PT_INTERP: u32 = 3;

/// A program.
#[derive(Debug)]
pub(super) struct Program {
    /// Where it is, to run it.
    pub(super) path: PathBuf,
    /// Its bytes.
    pub(super) bytes: Vec<u8>,
    /// The architecture, as Rust calls it.
    architecture: &'static str,
    /// The same as Debian calls it.
    pub(super) debian_architecture: &'static str,
    /// Whether it needs nothing of the machine that it runs on but the kernel.
    pub(super) is_static: bool,
}

impl Program {
    /// Compiles bake for `target`.
    pub(super) fn build(target: Option<&str>) -> Result<Self, String> {
        let target = target.map_or_else(|| format!("{}-unknown-linux-musl", std::env::consts::ARCH), str::to_owned);
        let directory =
            workspace::output_text(Command::new("rustc").args(["--print", "target-libdir", "--target", &target]))?;
        if !Path::new(directory.trim()).is_dir() {
            return Err(format!(
                "the compiler cannot compile for {target}: rustup target add {target}\n  \
                 or, without it, a program with the C library of this machine: --target {}-unknown-linux-gnu",
                std::env::consts::ARCH
            ));
        }
        let metadata = super::licences::Metadata::read(&target)?;
        // Paths of this machine are in messages of panics and asserts; there they tell nobody anything.
        let root = workspace::root().display().to_string();
        let moved = [(root.as_str(), "/bake"), (metadata.sources()?, "/cargo")];
        let mut flags: Vec<String> = vec!["-Ctarget-feature=+crt-static".to_owned()];
        flags.extend(moved.iter().map(|(from, to)| format!("--remap-path-prefix={from}={to}")));
        let c_flags = moved.map(|(from, to)| format!("-ffile-prefix-map={from}={to}")).join(" ");
        let arguments = ["build", "--release", "--locked", "--package", "bake", "--target", &target];
        let environment = [("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}")), ("CFLAGS", c_flags)];
        workspace::cargo(&arguments, &environment.each_ref().map(|(name, value)| (*name, value.as_str())))?;
        let program = Self::read(&metadata.target_directory().join(&target).join("release/bake"))?;
        if !program.is_static {
            return Err(format!("{} is not static", program.path.display()));
        }
        Ok(program)
    }

    /// Reads a program.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let bytes = std::fs::read(path).map_err(|error| format!("Failed to read {}: {error}", path.display()))?;
        let header = Header::read(&bytes).ok_or_else(|| format!("{} is no 64-bit ELF program", path.display()))?;
        let known = ARCHITECTURES.iter().find(|(_, _, machine)| *machine == header.machine);
        let (architecture, debian_architecture, _) =
            known.ok_or_else(|| format!("{} is for an architecture without a name here", path.display()))?;
        // It is started from another directory.
        let path = path.canonicalize().map_err(|error| format!("Failed to find {}: {error}", path.display()))?;
        Ok(Self { path, bytes, architecture, debian_architecture, is_static: !header.has_interpreter })
    }

    /// Version, architecture and system, as they are in names of files.
    pub(super) fn place(&self) -> String {
        format!("{VERSION}-{}-linux", self.architecture)
    }

    /// What it writes to standard output. Nothing of the user's is read or written.
    pub(super) fn run(&self, arguments: &[&str]) -> Result<Vec<u8>, String> {
        workspace::output(Command::new(&self.path).args(arguments).env_clear())
    }
}

/// What of the ELF header counts here.
struct Header {
    machine: u16,
    has_interpreter: bool,
}

impl Header {
    /// Reads a little-endian 64-bit header; `None` for anything else, and for what is cut off.
    fn read(bytes: &[u8]) -> Option<Self> {
        let at = |offset: usize, length: usize| bytes.get(offset..offset.checked_add(length)?);
        let short = |offset| Some(u16::from_le_bytes(at(offset, 2)?.try_into().ok()?));
        let long = |offset| Some(u64::from_le_bytes(at(offset, 8)?.try_into().ok()?));
        if at(0, 6)? != [ELF_MAGIC, &[2, 1]].concat() {
            return None;
        }
        let (headers, size, count) =
            (usize::try_from(long(32)?).ok()?, usize::from(short(54)?), usize::from(short(56)?));
        let mut has_interpreter = false;
        for number in 0..count {
            let kind = at(headers.checked_add(number * size)?, 4)?;
            has_interpreter |= u32::from_le_bytes(kind.try_into().ok()?) == PT_INTERP;
        }
        Some(Self { machine: short(18)?, has_interpreter })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_header_is_read() {
        let own = std::fs::read("/proc/self/exe").unwrap_or_default();
        let header = Header::read(&own).map(|header| (header.machine, header.has_interpreter));
        let expected =
            ARCHITECTURES.iter().find(|(name, _, _)| *name == std::env::consts::ARCH).map(|(_, _, machine)| *machine);
        assert_eq!(header.map(|(machine, _)| machine), expected);
        assert_eq!(header.map(|(_, interpreter)| interpreter), Some(cfg!(not(target_feature = "crt-static"))));
    }

    #[test]
    fn damaged_headers_are_none() {
        let own = std::fs::read("/proc/self/exe").unwrap_or_default();
        for length in [0, 4, 6, 20, 57, 64] {
            assert!(Header::read(&own[..length]).is_none(), "{length}");
        }
        assert!(Header::read(b"#!/bin/sh\n").is_none());
    }
}
