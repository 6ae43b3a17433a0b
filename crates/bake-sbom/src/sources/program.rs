//! Programs that tell what they were built from: those of Go, and those of Rust built by `cargo auditable`.

use crate::elf::Elf;
use crate::files::{Entry, EntryKind};
use crate::scan::{Problem, Scan};
use crate::sources::{Source, cargo, golang};

/// No program that says more than its name is smaller.
const PROGRAM_BYTES_MIN: u64 = 256;

/// Any file that may be executed, and shared libraries.
pub(crate) const PROGRAM: Source = Source { wants, read };

fn wants(entry: &Entry<'_>) -> bool {
    let EntryKind::File { executable, size_bytes } = entry.kind else { return false };
    let is_library = || entry.name().windows(3).any(|part| part == b".so");
    size_bytes >= PROGRAM_BYTES_MIN && (executable || is_library())
}

fn read(scan: &mut Scan<'_>, path: &[u8]) -> Result<(), Problem> {
    let input = scan.seen(path)?;
    // A damaged program is not a damaged list of packages: it says nothing. That is different once it has begun to.
    let elf = match Elf::read(&input) {
        Ok(Some(elf)) => elf,
        Err(problem) if problem.ends_scan() => return Err(problem),
        Ok(None) | Err(_) => return Ok(()),
    };
    golang::read_program(scan, path, &input, &elf)?;
    cargo::read_program(scan, path, &input, &elf)
}
