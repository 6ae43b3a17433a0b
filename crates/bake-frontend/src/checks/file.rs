//! Checks that look at the file as it is written, stages that nothing needs included.

use std::collections::BTreeSet;

use bake_dockerfile::diagnostic::code;
use bake_dockerfile::instruction::{FromInstruction, Instruction, InstructionKind};
use bake_dockerfile::{Dockerfile, Span, Stage};

use super::{
    CONSISTENT_INSTRUCTION_CASING, Checks, DUPLICATE_STAGE_NAME, FROM_AS_CASING, INVALID_DEFINITION_DESCRIPTION,
    MAINTAINER_DEPRECATED, NO_EMPTY_CONTINUATION, Place, RESERVED_STAGE_NAME, STAGE_NAME_CASING,
};
use crate::description::comment_words;
use crate::stages::stage_key;

/// Names that a stage cannot be found under.
const RESERVED_NAMES: [&str; 2] = ["context", "scratch"];

pub(crate) fn check_file(dockerfile: &Dockerfile, checks: &mut Checks<'_>) {
    for instruction in &dockerfile.instructions {
        check_continuation(dockerfile, instruction, checks);
    }
    for instruction in &dockerfile.instructions {
        match &instruction.kind {
            InstructionKind::From(from) => check_from(dockerfile, instruction, from, checks),
            InstructionKind::Arg(declarations) => {
                let names: Vec<&str> = declarations.iter().map(|arg| arg.name.value.as_str()).collect();
                check_description(dockerfile, instruction, "ARG", &names, checks);
            }
            InstructionKind::Maintainer(_) => {
                let message = "Maintainer instruction is deprecated in favor of using label";
                checks.report(&MAINTAINER_DEPRECATED, Place::of(instruction), message);
            }
            _ => {}
        }
    }
    check_stage_names(dockerfile, checks);
    check_keyword_casing(dockerfile, checks);
}

/// One finding for each instruction, on the last line that is continued.
fn check_continuation(dockerfile: &Dockerfile, instruction: &Instruction, checks: &mut Checks<'_>) {
    let inside = |span: Span| instruction.span.start <= span.start && span.start <= instruction.span.end;
    if !dockerfile.diagnostics.iter().any(|found| found.code == code::EMPTY_CONTINUATION && inside(found.span)) {
        return;
    }
    let end = match instruction.heredocs.iter().map(|heredoc| heredoc.span.start).min() {
        Some(body) => body.saturating_sub(1),
        None => instruction.span.end,
    };
    let line = dockerfile.source.slice(Span::new(instruction.span.start, end));
    let start = instruction.span.start + line.rfind('\n').map_or(0, |newline| newline + 1);
    let place = Place { span: Span::new(start, end), ..Place::of(instruction) };
    checks.report(&NO_EMPTY_CONTINUATION, place, "Empty continuation line");
}

fn check_from(dockerfile: &Dockerfile, instruction: &Instruction, from: &FromInstruction, checks: &mut Checks<'_>) {
    let Some(name) = &from.name else { return };
    let place = Place::of(instruction);
    if name.value != name.value.to_lowercase() {
        checks.report(&STAGE_NAME_CASING, place, format!("Stage name '{}' should be lowercase", name.value));
    }
    if let Some(word) = &from.as_keyword {
        let keyword = &instruction.keyword.value;
        // A keyword in mixed case is a finding of its own.
        let matches = match casing(keyword) {
            Some(Casing::Lower) => word.value == word.value.to_lowercase(),
            Some(Casing::Upper) => word.value == word.value.to_uppercase(),
            None => true,
        };
        if !matches {
            let message = format!("'{}' and '{keyword}' keywords' casing do not match", word.value);
            checks.report(&FROM_AS_CASING, place, message);
        }
    }
    check_description(dockerfile, instruction, "FROM", &[&stage_key(&name.value)], checks);
}

fn check_description(
    dockerfile: &Dockerfile,
    instruction: &Instruction,
    keyword: &str,
    names: &[&str],
    checks: &mut Checks<'_>,
) {
    let Some(comment) = comment_words(dockerfile, instruction).next_back() else { return };
    if names.contains(&comment.split(' ').next().unwrap_or_default()) {
        return;
    }
    let example = match names {
        [only] => only,
        _ => "<arg_key>",
    };
    let message = format!("Comment for {keyword} should follow the format: `# {example} <description>`");
    checks.report(&INVALID_DEFINITION_DESCRIPTION, Place::of(instruction), message);
}

fn check_stage_names(dockerfile: &Dockerfile, checks: &mut Checks<'_>) {
    let mut seen = BTreeSet::new();
    for stage in &dockerfile.stages {
        let Some(name) = crate::stages::name_of(stage) else { continue };
        let place = Place::of(&dockerfile.instructions[stage.from]);
        if RESERVED_NAMES.contains(&name.as_str()) {
            let message = format!("Stage name should not use the same name as reserved stage {name:?}");
            checks.report(&RESERVED_STAGE_NAME, place, message);
        }
        if !seen.insert(name.clone()) {
            let message = format!("Duplicate stage name {name:?}, stage names should be unique");
            checks.report(&DUPLICATE_STAGE_NAME, place, message);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Casing {
    Lower,
    Upper,
}

/// The letter case of a keyword, if it has one.
fn casing(keyword: &str) -> Option<Casing> {
    if keyword == keyword.to_lowercase() {
        Some(Casing::Lower)
    } else if keyword == keyword.to_uppercase() {
        Some(Casing::Upper)
    } else {
        None
    }
}

/// Arguments before the first FROM do not count.
fn check_keyword_casing(dockerfile: &Dockerfile, checks: &mut Checks<'_>) {
    let of_stage = |stage: &Stage| {
        std::iter::once(&dockerfile.instructions[stage.from]).chain(dockerfile.stage_instructions(stage))
    };
    let instructions: Vec<&Instruction> = dockerfile.stages.iter().flat_map(of_stage).collect();
    let count = |wanted| instructions.iter().filter(|found| casing(&found.keyword.value) == Some(wanted)).count();
    let (majority, name) = if count(Casing::Lower) > count(Casing::Upper) {
        (Casing::Lower, "lowercase")
    } else {
        (Casing::Upper, "uppercase")
    };
    for instruction in instructions {
        let keyword = &instruction.keyword.value;
        if casing(keyword) != Some(majority) {
            let message = format!("Command '{keyword}' should match the case of the command majority ({name})");
            checks.report(&CONSISTENT_INSTRUCTION_CASING, Place::of(instruction), message);
        }
    }
}
