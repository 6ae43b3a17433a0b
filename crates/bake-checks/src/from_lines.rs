//! Checks of FROM lines, and of the images they name.

use bake_dockerfile::instruction::{FromInstruction, InstructionKind, Word};
use bake_dockerfile::suggest::did_you_mean;
use bake_dockerfile::{Dockerfile, Expander, Span};
use bake_oci::{Platform, Reference};

use crate::table::{
    FROM_PLATFORM_FLAG_CONST_DISALLOWED, INVALID_BASE_IMAGE_PLATFORM, INVALID_DEFAULT_ARG_IN_FROM,
    REDUNDANT_TARGET_PLATFORM, UNDEFINED_ARG_IN_FROM,
};
use crate::{Expanded, Violation};

/// The argument that says what is built for.
const TARGET_PLATFORM: &str = "TARGETPLATFORM";

/// `InvalidDefaultArgInFrom`: image names that are none when nobody gives build arguments, with the index of their stage.
/// `predefined` has the values of the arguments that exist before the first line.
pub fn invalid_default_args(
    dockerfile: &Dockerfile,
    predefined: &dyn Fn(&str) -> Option<String>,
) -> Vec<(usize, Violation)> {
    let mut values: Vec<(&str, String)> = Vec::new();
    for index in &dockerfile.global_args {
        let InstructionKind::Arg(declarations) = &dockerfile.instructions[*index].kind else { continue };
        for declaration in declarations {
            let Some(default) = &declaration.default else { continue };
            // One that cannot be expanded is an error of its own.
            let Some(value) = expand(dockerfile, default, &values, predefined) else { return Vec::new() };
            values.push((&declaration.name.value, value));
        }
    }
    let mut violations = Vec::new();
    for stage in &dockerfile.stages {
        let InstructionKind::From(from) = &dockerfile.instructions[stage.from].kind else { continue };
        let Some(image) = expand(dockerfile, &from.image, &values, predefined) else { break };
        if Reference::parse(&image).is_err() {
            let message =
                format!("Default value for ARG {} results in empty or invalid base image name", from.image.value);
            violations.push((stage.index, Violation::new(&INVALID_DEFAULT_ARG_IN_FROM, from.image.span, message)));
        }
    }
    violations
}

/// The word with these values; of several for a name the last.
fn expand(
    dockerfile: &Dockerfile,
    word: &Word,
    values: &[(&str, String)],
    predefined: &dyn Fn(&str) -> Option<String>,
) -> Option<String> {
    let own = |name: &str| values.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
    let expander = Expander::new(dockerfile.directives.escape);
    expander.expand(&word.value, &|name| own(name).or_else(|| predefined(name))).ok().map(|expansion| expansion.text)
}

/// `UndefinedArgInFrom`: what is used in a word of a FROM line, has no value, and is not among the `known` names.
pub fn undeclared_args<'a>(
    word: &Expanded,
    span: Span,
    known: &(impl Iterator<Item = &'a str> + Clone),
) -> Vec<Violation> {
    let undeclared = word.missing.iter().filter(|name| !known.clone().any(|known| known == name.as_str()));
    undeclared
        .map(|name| {
            let guess = did_you_mean(name, known.clone(), true);
            let message = format!("FROM argument '{name}' is not declared{guess}");
            Violation::new(&UNDEFINED_ARG_IN_FROM, span, message)
        })
        .collect()
}

/// `RedundantTargetPlatform` and `FromPlatformFlagConstDisallowed`: a `--platform` that says the default, or always the same.
/// `flag` is its value and `target` that of `TARGETPLATFORM`. A stage whose name has the operating system or the architecture is
/// taken to mean it.
pub fn platform_flag(from: &FromInstruction, flag: &Expanded, target: Option<&str>) -> Option<Violation> {
    let word = from.platform.as_ref()?;
    let only_target = flag.used.len() == 1 && flag.used.contains(TARGET_PLATFORM) && flag.missing.is_empty();
    if only_target && target == Some(flag.text.as_str()) {
        let written = &word.value;
        let message =
            format!("Setting platform to predefined {written} in FROM is redundant as this is the default behavior");
        return Some(Violation::new(&REDUNDANT_TARGET_PLATFORM, word.span, message));
    }
    if !flag.used.is_empty() || !flag.missing.is_empty() {
        return None;
    }
    let platform = Platform::parse(&flag.text).ok()?;
    let name = from.name.as_ref().map(|name| name.value.to_lowercase()).unwrap_or_default();
    if name.contains(&platform.os) || name.contains(&platform.architecture) {
        return None;
    }
    let message = format!("FROM --platform flag should not use constant value {:?}", flag.text);
    Some(Violation::new(&FROM_PLATFORM_FLAG_CONST_DISALLOWED, word.span, message))
}

/// `InvalidBaseImagePlatform`: an image called `name` is for another platform than the one that is `wanted`.
pub fn base_platform(name: &str, found: &Platform, wanted: &Platform, span: Span) -> Option<Violation> {
    if found.os == wanted.os && found.architecture == wanted.architecture {
        return None;
    }
    let (found, wanted) = (found.normalised(), wanted.normalised());
    let message =
        format!("Base image {name} was pulled with platform \"{found}\", expected \"{wanted}\" for current build");
    Some(Violation::new(&INVALID_BASE_IMAGE_PLATFORM, span, message))
}

/// The same for platforms as text; `None` also where one is no platform.
pub fn base_platform_named(name: &str, found: &str, wanted: &str, span: Span) -> Option<Violation> {
    base_platform(name, &Platform::parse(found).ok()?, &Platform::parse(wanted).ok()?, span)
}
