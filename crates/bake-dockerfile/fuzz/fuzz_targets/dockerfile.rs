//! Any text as a Dockerfile and as an `ONBUILD` trigger, and the expansion of what it holds.
#![no_main]

#[path = "../../tests/invariants/mod.rs"]
#[expect(dead_code, reason = "each target checks one kind of input")]
mod invariants;

libfuzzer_sys::fuzz_target!(|input: &[u8]| invariants::check_dockerfile(&String::from_utf8_lossy(input)));
