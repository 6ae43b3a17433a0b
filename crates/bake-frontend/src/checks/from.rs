//! Checks of FROM lines, stages that nothing needs included.

use std::collections::BTreeSet;

use bake_checks::{Expanded, invalid_default_args, platform_flag, undeclared_args};
use bake_dockerfile::Dockerfile;
use bake_dockerfile::instruction::{InstructionKind, Word};

use super::{Checks, Place};
use crate::args::Variables;

/// What FROM lines can use.
pub(crate) struct GlobalScope<'a> {
    /// Variables with their values.
    pub(crate) values: &'a Variables,
    /// Arguments that are declared, also those without a value.
    pub(crate) declared: &'a BTreeSet<String>,
    /// The variables before the first line.
    pub(crate) platform_args: &'a Variables,
}

pub(crate) fn check_from_lines(dockerfile: &Dockerfile, scope: &GlobalScope<'_>, checks: &mut Checks<'_>) {
    let predefined = |name: &str| scope.platform_args.get(name).map(str::to_owned);
    for (stage, violation) in invalid_default_args(dockerfile, &predefined) {
        checks.add(violation, Place::of(&dockerfile.instructions[dockerfile.stages[stage].from]));
    }
    let expand = |word: &Word| scope.values.expand(dockerfile.directives.escape, &word.value).ok();
    let names = scope.values.pairs().iter().map(|(name, _)| name.as_str());
    let known = scope.declared.iter().map(String::as_str).chain(names);
    let check_declared = |word: &Expanded, place: Place<'_>, checks: &mut Checks<'_>| {
        for violation in undeclared_args(word, place.span, &known) {
            checks.add(violation, place);
        }
    };
    for stage in &dockerfile.stages {
        let instruction = &dockerfile.instructions[stage.from];
        let InstructionKind::From(from) = &instruction.kind else { continue };
        let place = Place::of(instruction);
        if let Some(image) = expand(&from.image) {
            check_declared(&image, place, checks);
        }
        if let Some(platform) = from.platform.as_ref().and_then(expand) {
            check_declared(&platform, place, checks);
            if let Some(violation) = platform_flag(from, &platform, scope.values.get("TARGETPLATFORM")) {
                checks.add(violation, place);
            }
        }
    }
}
