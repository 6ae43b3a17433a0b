//! The stages that can be asked for, by what is written.

use bake_dockerfile::instruction::InstructionKind;
use bake_dockerfile::{Dockerfile, Span};

use crate::description::description;
use crate::stages::name_of;

/// A stage that can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name; empty when it has none.
    pub name: String,
    /// Whether it is built when no target is given.
    pub default: bool,
    /// What the comment above its FROM says of it.
    pub description: String,
    /// What it is built from, as written.
    pub base: String,
    /// Its platform, as written; empty when it is that of the build.
    pub platform: String,
    /// Its FROM.
    pub span: Span,
}

/// All stages in the order of the file.
pub fn targets(dockerfile: &Dockerfile) -> Vec<Target> {
    let last = dockerfile.stages.len().saturating_sub(1);
    let stages = dockerfile.stages.iter().filter_map(|stage| {
        let instruction = &dockerfile.instructions[stage.from];
        let InstructionKind::From(from) = &instruction.kind else { return None };
        let name = name_of(stage).unwrap_or_default();
        let description = description(dockerfile, instruction, &name).filter(|_| !name.is_empty());
        Some(Target {
            default: stage.index == last,
            description: description.unwrap_or_default(),
            base: from.image.value.clone(),
            platform: from.platform.as_ref().map(|platform| platform.value.clone()).unwrap_or_default(),
            span: instruction.span,
            name,
        })
    });
    stages.collect()
}
