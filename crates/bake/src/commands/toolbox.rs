//! A static busybox of this machine, for roots without a shell.

use std::io::Read as _;

/// Where one is looked for.
const PLACES: [&str; 2] = ["/bin/busybox", "/usr/bin/busybox"];
/// The largest program that is taken: Debian's has 2 MiB.
const PROGRAM_BYTES_MAX: u64 = 32 << 20;
/// The number of a program header that names an interpreter (`PT_INTERP` of `elf(5)`).
const INTERPRETER: u32 = 3;

/// The first one that is there and needs nothing else.
pub(super) fn find() -> Option<Vec<u8>> {
    PLACES.iter().find_map(|path| {
        let mut bytes = Vec::new();
        std::fs::File::open(path).ok()?.take(PROGRAM_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        is_static(&bytes).then_some(bytes)
    })
}

/// Whether a program is a 64-bit ELF file without an interpreter.
fn is_static(program: &[u8]) -> bool {
    headers(program).is_some_and(|kinds| !kinds.contains(&INTERPRETER))
}

/// The kinds of the program headers (`Elf64_Ehdr`, `Elf64_Phdr`, little-endian).
fn headers(program: &[u8]) -> Option<Vec<u32>> {
    // The magic, 64 bits, little-endian.
    program.strip_prefix(b"\x7fELF\x02\x01")?;
    let number = |offset: usize, length: usize| -> Option<usize> {
        let bytes = program.get(offset..offset.checked_add(length)?)?;
        bytes.iter().rev().try_fold(0_usize, |value, byte| Some(value.checked_mul(256)? + usize::from(*byte)))
    };
    let (start, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    let header = |index: usize| number(start.checked_add(index.checked_mul(size)?)?, 4);
    (0..count).map(|index| u32::try_from(header(index)?).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF header with one program header of this kind.
    fn program(kind: u8) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01".to_vec();
        bytes.resize(64 + 56, 0);
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = 1;
        bytes[64] = kind;
        bytes
    }

    #[test]
    fn static_programs_have_no_interpreter() {
        assert!(is_static(&program(1)));
        assert!(!is_static(&program(3)));
        assert!(!is_static(b"#!/bin/sh\n"));
        assert!(!is_static(&program(1)[..60]));
    }
}
