//! What is looked up for a step before it begins, outside of its mounts.

use std::path::Path;

use bake_graph::ExecOp;
use bake_snapshot::{FileKind, LayerFormat, LayerTree, SnapshotError, passed_paths};
use bake_solver::{Answer, Asked, Question, StepError};

use super::{answer, is_directory};
use crate::source_tree::join;
use crate::users::ACCOUNT_FILES;

/// The paths of the root file system `lowers` that decide which user the step is, and where it works.
pub(super) fn looked_up(op: &ExecOp, lowers: &[&Path], format: LayerFormat) -> Result<Vec<Vec<u8>>, SnapshotError> {
    let mut passed = Vec::new();
    for path in ACCOUNT_FILES.into_iter().chain([op.cwd.as_str()]) {
        passed.extend(passed_paths(lowers, format, path.as_bytes())?);
    }
    passed.sort_unstable();
    passed.dedup();
    Ok(passed)
}

/// The file of a tree that holds a single one, beside directories.
///
/// It is asked for on behalf of every step. Who copies one file in front of a step that does not read it wants the step to run
/// again when the file changes: `ADD https://example.org/refs/main /version` before `RUN git clone` is how builds are made to
/// fetch again what no key can show.
pub(super) fn only_file(tree: &LayerTree) -> Result<Option<Vec<u8>>, SnapshotError> {
    let mut found = None;
    let mut pending = vec![Vec::new()];
    while let Some(directory) = pending.pop() {
        for (name, kind) in tree.names(&directory)?.unwrap_or_default() {
            let path = join(&directory, &name);
            if kind == Some(FileKind::Directory) {
                pending.push(path);
            } else if found.replace(path).is_some() {
                return Ok(None);
            }
        }
    }
    Ok(found)
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use bake_snapshot::LayerTraits;

    use super::*;

    #[test]
    fn one_file_is_found_wherever_it_is_and_of_two_none() {
        let directory = tempfile::tempdir().unwrap();
        let only = || {
            let traits = LayerTraits { attributes: false, links: false };
            let tree = LayerTree::of_layer(directory.path(), LayerFormat::ROOT, traits).unwrap();
            only_file(&tree).unwrap()
        };
        assert_eq!(only(), None);
        std::fs::create_dir_all(directory.path().join("etc/empty")).unwrap();
        std::fs::write(directory.path().join("etc/version"), "1").unwrap();
        assert_eq!(only().as_deref(), Some(&b"etc/version"[..]));
        std::os::unix::fs::symlink("version", directory.path().join("other")).unwrap();
        assert_eq!(only(), None);
    }
}
