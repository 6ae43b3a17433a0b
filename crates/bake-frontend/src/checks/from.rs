//! Checks of FROM lines, stages that nothing needs included.

use std::collections::BTreeSet;

use bake_dockerfile::Dockerfile;
use bake_dockerfile::instruction::{FromInstruction, InstructionKind, Word};
use bake_dockerfile::suggest::did_you_mean;
use bake_oci::{Platform, Reference};

use super::{
    Checks, FROM_PLATFORM_FLAG_CONST_DISALLOWED, INVALID_DEFAULT_ARG_IN_FROM, Place, REDUNDANT_TARGET_PLATFORM,
    UNDEFINED_ARG_IN_FROM,
};
use crate::args::{Expanded, Variables};

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
    let lines = || {
        dockerfile.stages.iter().filter_map(|stage| {
            let instruction = &dockerfile.instructions[stage.from];
            match &instruction.kind {
                InstructionKind::From(from) => Some((instruction, from)),
                _ => None,
            }
        })
    };
    if let Some(defaults) = default_values(dockerfile, scope.platform_args) {
        for (instruction, from) in lines() {
            let Some(expanded) = expand(dockerfile, &from.image, &defaults) else { break };
            if Reference::parse(&expanded.text).is_err() {
                let image = &from.image.value;
                let message = format!("Default value for ARG {image} results in empty or invalid base image name");
                checks.report(&INVALID_DEFAULT_ARG_IN_FROM, Place::of(instruction), message);
            }
        }
    }
    for (instruction, from) in lines() {
        let place = Place::of(instruction);
        if let Some(image) = expand(dockerfile, &from.image, scope.values) {
            check_undeclared(&image, scope, place, checks);
        }
        if let Some(word) = &from.platform
            && let Some(platform) = expand(dockerfile, word, scope.values)
        {
            check_undeclared(&platform, scope, place, checks);
            check_platform(from, word, &platform, scope, place, checks);
        }
    }
}

fn check_undeclared(word: &Expanded, scope: &GlobalScope<'_>, place: Place<'_>, checks: &mut Checks<'_>) {
    let known = || {
        let values = scope.values.pairs().iter().map(|(name, _)| name.as_str());
        scope.declared.iter().map(String::as_str).chain(values)
    };
    for name in &word.missing {
        if known().any(|known| known == name) {
            continue;
        }
        let guess = did_you_mean(name, known(), true);
        let message = format!("FROM argument '{name}' is not declared{guess}");
        checks.report(&UNDEFINED_ARG_IN_FROM, place, message);
    }
}

fn check_platform(
    from: &FromInstruction,
    word: &Word,
    platform: &Expanded,
    scope: &GlobalScope<'_>,
    place: Place<'_>,
    checks: &mut Checks<'_>,
) {
    const TARGET: &str = "TARGETPLATFORM";
    let only_target = platform.used.len() == 1 && platform.used.contains(TARGET) && platform.missing.is_empty();
    if only_target && scope.values.get(TARGET) == Some(&platform.text) {
        let written = &word.value;
        let message =
            format!("Setting platform to predefined {written} in FROM is redundant as this is the default behavior");
        checks.report(&REDUNDANT_TARGET_PLATFORM, place, message);
    }
    if !platform.used.is_empty() || !platform.missing.is_empty() {
        return;
    }
    let Ok(parsed) = Platform::parse(&platform.text) else { return };
    let name = from.name.as_ref().map(|name| crate::stages::stage_key(&name.value)).unwrap_or_default();
    if !name.contains(&parsed.os) && !name.contains(&parsed.architecture) {
        let message = format!("FROM --platform flag should not use constant value {:?}", platform.text);
        checks.report(&FROM_PLATFORM_FLAG_CONST_DISALLOWED, place, message);
    }
}

/// The global arguments as they are when nobody gives any.
fn default_values(dockerfile: &Dockerfile, platform_args: &Variables) -> Option<Variables> {
    let mut values = platform_args.clone();
    for index in &dockerfile.global_args {
        let InstructionKind::Arg(declarations) = &dockerfile.instructions[*index].kind else { continue };
        for declaration in declarations {
            let Some(default) = &declaration.default else { continue };
            let value = expand(dockerfile, default, &values)?.text;
            values.set(&declaration.name.value, value);
        }
    }
    Some(values)
}

fn expand(dockerfile: &Dockerfile, word: &Word, values: &Variables) -> Option<Expanded> {
    values.expand(dockerfile.directives.escape, &word.value).ok()
}
