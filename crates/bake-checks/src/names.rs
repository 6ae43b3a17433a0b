//! Checks of names and letter case.

use std::collections::BTreeSet;

use bake_dockerfile::instruction::{FromInstruction, Instruction, InstructionKind};
use bake_dockerfile::{Dockerfile, Stage};

use crate::Violation;
use crate::table::{
    CONSISTENT_INSTRUCTION_CASING, DUPLICATE_STAGE_NAME, FROM_AS_CASING, RESERVED_STAGE_NAME, STAGE_NAME_CASING,
};

/// Names that a stage cannot be found under.
const RESERVED_NAMES: [&str; 2] = ["context", "scratch"];

/// The letter case of keywords.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Casing {
    /// `run`
    Lower,
    /// `RUN`
    Upper,
}

impl Casing {
    /// The case of a keyword, if it has one.
    pub fn of(keyword: &str) -> Option<Self> {
        [Self::Lower, Self::Upper].into_iter().find(|casing| casing.applied(keyword) == keyword)
    }

    /// The keyword in this case.
    pub fn applied(self, keyword: &str) -> String {
        match self {
            Self::Lower => keyword.to_lowercase(),
            Self::Upper => keyword.to_uppercase(),
        }
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lower => "lowercase",
            Self::Upper => "uppercase",
        }
    }
}

/// `StageNameCasing`: capital letters in the name that a FROM gives its stage.
pub fn stage_name_casing(from: &FromInstruction) -> Option<Violation> {
    let name = from.name.as_ref().filter(|name| name.value != name.value.to_lowercase())?;
    let message = format!("Stage name '{}' should be lowercase", name.value);
    Some(Violation::new(&STAGE_NAME_CASING, name.span, message))
}

/// `FromAsCasing`: `AS` in another case than `FROM`. A keyword in mixed case is a finding of its own.
pub fn from_as_casing(keyword: &str, from: &FromInstruction) -> Option<Violation> {
    let word = from.as_keyword.as_ref()?;
    let wanted = Casing::of(keyword)?;
    let message = format!("'{}' and '{keyword}' keywords' casing do not match", word.value);
    (wanted.applied(&word.value) != word.value).then(|| Violation::new(&FROM_AS_CASING, word.span, message))
}

/// `ReservedStageName` and `DuplicateStageName`: each with the index of the stage. Names are compared in lower case.
pub fn stage_names(dockerfile: &Dockerfile) -> Vec<(usize, Violation)> {
    let mut violations = Vec::new();
    let mut seen = BTreeSet::new();
    for stage in &dockerfile.stages {
        let Some(written) = &stage.name else { continue };
        let name = written.value.to_lowercase();
        if RESERVED_NAMES.contains(&name.as_str()) {
            let message = format!("Stage name should not use the same name as reserved stage {name:?}");
            violations.push((stage.index, Violation::new(&RESERVED_STAGE_NAME, written.span, message)));
        }
        if seen.contains(&name) {
            let message = format!("Duplicate stage name {name:?}, stage names should be unique");
            violations.push((stage.index, Violation::new(&DUPLICATE_STAGE_NAME, written.span, message)));
        }
        seen.insert(name);
    }
    violations
}

/// The case that most keywords are in; upper where it is a draw. Arguments before the first FROM do not count.
pub fn casing_majority(dockerfile: &Dockerfile) -> Casing {
    let count = |wanted| {
        stage_keywords(dockerfile).filter(|(_, found)| Casing::of(&found.keyword.value) == Some(wanted)).count()
    };
    if count(Casing::Lower) > count(Casing::Upper) { Casing::Lower } else { Casing::Upper }
}

/// `ConsistentInstructionCasing`: keywords that are not in the case of [`casing_majority`], with the index of their instruction.
pub fn instruction_casing(dockerfile: &Dockerfile) -> Vec<(usize, Violation)> {
    let majority = casing_majority(dockerfile);
    stage_keywords(dockerfile)
        .filter(|(_, instruction)| Casing::of(&instruction.keyword.value) != Some(majority))
        .map(|(index, instruction)| {
            let keyword = &instruction.keyword;
            let message = format!(
                "Command '{}' should match the case of the command majority ({})",
                keyword.value,
                majority.name()
            );
            (index, Violation::new(&CONSISTENT_INSTRUCTION_CASING, keyword.span, message))
        })
        .collect()
}

/// The instructions from the first FROM on, with their index; those that could not be read are left out.
fn stage_keywords(dockerfile: &Dockerfile) -> impl Iterator<Item = (usize, &Instruction)> {
    let first = dockerfile.stages.first().map_or(dockerfile.instructions.len(), |stage: &Stage| stage.from);
    let instructions = dockerfile.instructions.iter().enumerate().skip(first);
    instructions.filter(|(_, instruction)| !matches!(instruction.kind, InstructionKind::Invalid(_)))
}
