//! Layer archives as a whole: what is written is read back, other programs read it too, hostile archives are refused,
//! and compression gives the same bytes with any number of threads.
#![expect(clippy::unwrap_used, reason = "a failed test should panic")]

mod layers {
    mod compression;
    mod differential;
    mod estargz;
    mod hostile;
    mod other_programs;
    mod round_trip;
    mod support;
}
