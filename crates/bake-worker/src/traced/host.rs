//! What is looked up for a step before it begins, outside of its mounts.

use std::path::Path;

use bake_graph::ExecOp;
use bake_snapshot::{LayerFormat, LayerTree, SnapshotError, passed_paths};
use bake_solver::{Answer, Asked, Question, StepError};

use super::{answer, is_directory};

/// The files that say who a user is.
const ACCOUNTS: [&str; 2] = ["etc/passwd", "etc/group"];

/// The paths of the root file system `lowers` that decide which user the step is, and where it works.
pub(super) fn looked_up(op: &ExecOp, lowers: &[&Path], format: LayerFormat) -> Result<Vec<Vec<u8>>, SnapshotError> {
    let mut passed = Vec::new();
    for path in ACCOUNTS.into_iter().chain([op.cwd.as_str()]) {
        passed.extend(passed_paths(lowers, format, path.as_bytes())?);
    }
    passed.sort_unstable();
    passed.dedup();
    Ok(passed)
}

/// Asks layer number `slot`, which is `tree`, for `paths`, sorted. What is below something that is no directory is not asked for.
pub(super) fn ask(
    slot: u16,
    tree: &LayerTree,
    paths: &[Vec<u8>],
    into: &mut Vec<(Question, Answer)>,
) -> Result<(), StepError> {
    let mut barrier: Option<Vec<u8>> = None;
    for path in paths {
        if barrier.as_ref().is_some_and(|barrier| path.starts_with(barrier)) {
            continue;
        }
        let answer = answer(tree, Asked::Node, path)?;
        barrier = (!is_directory(&answer)).then(|| [path.as_slice(), b"/"].concat());
        into.push((Question { slot, path: path.clone(), asked: Asked::Node }, answer));
    }
    Ok(())
}
