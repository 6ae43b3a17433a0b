//! Accepting what the program does now as what it should do.

use crate::{docs, workspace};

/// Runs the test cases in the mode that writes their expectations, and writes generated documents. The difference is for the author
/// to read before it is committed.
pub(crate) fn run(filter: Option<&str>) -> Result<(), String> {
    let mut arguments = vec!["test", "--package", "bake", "--test", "cases", "--"];
    arguments.extend(filter);
    workspace::cargo(&arguments, &[("BAKE_BLESS", "1")])?;
    // The linter's own cases, `crates/bake-lint/tests/cases`, take no time: they are all written.
    workspace::cargo(&["test", "--package", "bake-lint", "--test", "cases"], &[("BAKE_BLESS", "1")])?;
    docs::run(false)
}
