//! What is searched for packages besides the image: the stages and the build context that the Dockerfile names by
//! `BUILDKIT_SBOM_SCAN_STAGE` and `BUILDKIT_SBOM_SCAN_CONTEXT`.

use bake_dockerfile::parse_boolean;

use super::{Lowering, Progress, StageState};
use crate::history::PackageScans;
use crate::stages::name_of;

/// Names stages, or says yes or no for the stage that declares it, or for all where it stands before the first.
const STAGE: &str = "BUILDKIT_SBOM_SCAN_STAGE";
/// The same, for the build context.
const CONTEXT: &str = "BUILDKIT_SBOM_SCAN_CONTEXT";

/// Whether an ARG of this name speaks to the builder alone: steps do not get it.
pub(super) fn is_scan_argument(name: &str) -> bool {
    matches!(name, STAGE | CONTEXT)
}

impl Lowering<'_> {
    /// What is searched with the image of the target. Stages that it does not need are not made for it.
    pub(super) fn package_scans(&self) -> PackageScans {
        let mut scans = PackageScans::default();
        for (index, progress) in self.stages.iter().enumerate() {
            let Progress::Done(state) = progress else { continue };
            let name = name_of(&self.dockerfile.stages[index]).unwrap_or_else(|| format!("stage-{index}"));
            let asks = |argument: &str| self.scan_value(state, argument).is_some_and(|value| is_meant(&value, &name));
            if index == self.target {
                scans.context = asks(CONTEXT);
            } else if asks(STAGE) {
                scans.stages.push((name, state.root));
            }
        }
        scans
    }

    /// The value that holds for a stage: its own, else the one before the first stage. Not declared, it has none.
    fn scan_value(&self, state: &StageState, argument: &str) -> Option<String> {
        let own = state.args.iter().rev().find(|(name, _)| name == argument).and_then(|(_, value)| value.clone());
        own.or_else(|| self.globals.get(argument).map(str::to_owned))
    }
}

fn is_meant(value: &str, stage: &str) -> bool {
    parse_boolean(value).unwrap_or_else(|| value.split(',').any(|name| name.trim().eq_ignore_ascii_case(stage)))
}
