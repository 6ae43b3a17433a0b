//! Images as a whole: archives are written and read, other programs read them, damaged images are found out.
#![expect(clippy::unwrap_used, reason = "a failed test should panic")]

mod images {
    mod archives;
    mod other_programs;
    mod support;
    mod validation;
}
