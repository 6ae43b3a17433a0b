//! Checks that look at the file as it is written, stages that nothing needs included.

use bake_checks::{
    definition_description, empty_continuation, from_as_casing, instruction_casing, maintainer, stage_name_casing,
    stage_names,
};
use bake_dockerfile::Dockerfile;
use bake_dockerfile::instruction::InstructionKind;

use super::{Checks, Place};

pub(crate) fn check_file(dockerfile: &Dockerfile, checks: &mut Checks<'_>) {
    for instruction in &dockerfile.instructions {
        if let Some(violation) = empty_continuation(dockerfile, instruction) {
            let place = Place { span: violation.span, ..Place::of(instruction) };
            checks.add(violation, place);
        }
    }
    for instruction in &dockerfile.instructions {
        let found = match &instruction.kind {
            InstructionKind::From(from) => {
                let description = from.name.as_ref().and_then(|_| definition_description(dockerfile, instruction));
                [stage_name_casing(from), from_as_casing(&instruction.keyword.value, from), description]
            }
            InstructionKind::Arg(_) => [definition_description(dockerfile, instruction), None, None],
            _ => [maintainer(instruction), None, None],
        };
        for violation in found.into_iter().flatten() {
            checks.add(violation, Place::of(instruction));
        }
    }
    for (stage, violation) in stage_names(dockerfile) {
        checks.add(violation, Place::of(&dockerfile.instructions[dockerfile.stages[stage].from]));
    }
    for (index, violation) in instruction_casing(dockerfile) {
        checks.add(violation, Place::of(&dockerfile.instructions[index]));
    }
}
