//! Any text as a word to expand, with both escape characters.
#![no_main]

#[path = "../../tests/invariants/mod.rs"]
#[expect(dead_code, reason = "each target checks one kind of input")]
mod invariants;

libfuzzer_sys::fuzz_target!(|input: &[u8]| invariants::check_words(&String::from_utf8_lossy(input)));
