//! What a target takes from outside: build arguments, secrets, SSH agents. Collected while stages are lowered, so that
//! defaults have the values that a build would see.

use std::collections::{BTreeMap, BTreeSet};

use bake_dockerfile::instruction::Instruction;
use bake_dockerfile::{Dockerfile, Span};

use crate::description::description;
use crate::stages::name_of;

/// What a target takes from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outline {
    /// The target's name; empty when it has none.
    pub name: String,
    /// What the comment above its FROM says of it.
    pub description: String,
    /// Build arguments, in the order of the file.
    pub arguments: Vec<OutlineArgument>,
    /// Secrets, in the order of the file.
    pub secrets: Vec<OutlineAccess>,
    /// SSH agents, in the order of the file.
    pub agents: Vec<OutlineAccess>,
}

/// A build argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineArgument {
    /// Its name.
    pub name: String,
    /// What the comment above its ARG says of it.
    pub description: String,
    /// The value that it has in this build; empty when it has none.
    pub value: String,
    /// Its declaration.
    pub span: Span,
}

/// A secret or an SSH agent that a RUN can see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineAccess {
    /// What it is found under.
    pub id: String,
    /// Whether the build fails without it.
    pub required: bool,
    /// The first instruction that uses it.
    pub span: Span,
}

/// What is known while stages are lowered.
#[derive(Debug)]
pub(crate) struct Capture {
    /// Global arguments, with the arguments that their defaults use.
    globals: BTreeMap<String, (OutlineArgument, BTreeSet<String>)>,
    /// Names in the order of their first declaration.
    names: Vec<String>,
    stages: Vec<CapturedStage>,
}

/// What one stage uses.
#[derive(Debug, Clone, Default)]
struct CapturedStage {
    base: Option<usize>,
    dependencies: BTreeSet<usize>,
    /// Names of arguments that FROM or an ARG uses.
    used: BTreeSet<String>,
    /// Arguments that are declared here with a value of their own.
    arguments: BTreeMap<String, OutlineArgument>,
    secrets: Vec<OutlineAccess>,
    agents: Vec<OutlineAccess>,
}

impl Capture {
    pub(crate) fn new(stages: usize) -> Self {
        Self { globals: BTreeMap::new(), names: Vec::new(), stages: vec![CapturedStage::default(); stages] }
    }

    /// An ARG before the first FROM; `used` are the variables of its default.
    pub(crate) fn global(
        &mut self,
        dockerfile: &Dockerfile,
        instruction: &Instruction,
        name: &str,
        value: Option<&str>,
        mut used: BTreeSet<String>,
    ) {
        if used.remove(name)
            && let Some((_, before)) = self.globals.get(name)
        {
            used.extend(before.iter().cloned());
        }
        self.names.push(name.to_owned());
        let argument = argument(dockerfile, instruction, instruction.span, name, value);
        self.globals.insert(name.to_owned(), (argument, used));
    }

    pub(crate) fn based_on(&mut self, stage: usize, base: usize) {
        self.stages[stage].base = Some(base);
    }

    pub(crate) fn depends_on(&mut self, stage: usize, other: usize) {
        self.stages[stage].dependencies.insert(other);
    }

    pub(crate) fn used_by_from(&mut self, stage: usize, names: BTreeSet<String>) {
        self.stages[stage].used.extend(names);
    }

    /// An ARG of a stage, shown at a span; `inherited` when its value is that of a global one.
    pub(crate) fn argument(
        &mut self,
        dockerfile: &Dockerfile,
        (stage, instruction, span): (usize, &Instruction, Span),
        name: &str,
        value: Option<&str>,
        inherited: bool,
    ) {
        self.names.push(name.to_owned());
        let captured = &mut self.stages[stage];
        captured.used.insert(name.to_owned());
        if !inherited {
            captured.arguments.insert(name.to_owned(), argument(dockerfile, instruction, span, name, value));
        }
    }

    pub(crate) fn secret(&mut self, stage: usize, id: &str, required: bool, span: Span) {
        note(&mut self.stages[stage].secrets, id, required, span);
    }

    pub(crate) fn agent(&mut self, stage: usize, id: &str, required: bool, span: Span) {
        note(&mut self.stages[stage].agents, id, required, span);
    }

    /// What the target takes, with everything that it is built from.
    pub(crate) fn outline(&self, dockerfile: &Dockerfile, target: usize) -> Outline {
        let stage = &dockerfile.stages[target];
        let name = name_of(stage).unwrap_or_default();
        let from = &dockerfile.instructions[stage.from];
        let description = description(dockerfile, from, &name).filter(|_| !name.is_empty()).unwrap_or_default();
        let mut outline = Outline { name, description, ..Outline::default() };
        for index in self.stages_from(target) {
            let stage = &self.stages[index];
            for name in self.with_dependencies(&stage.used) {
                let global = || self.globals.get(&name).map(|(argument, _)| argument);
                if let Some(argument) = stage.arguments.get(&name).or_else(global)
                    && outline.arguments.iter().all(|known| known.name != name)
                {
                    outline.arguments.push(argument.clone());
                }
            }
            for access in &stage.secrets {
                note(&mut outline.secrets, &access.id, access.required, access.span);
            }
            for access in &stage.agents {
                note(&mut outline.agents, &access.id, access.required, access.span);
            }
        }
        // Several may stand in one line.
        let declared = |name: &str| self.names.iter().position(|known| known == name);
        outline.arguments.sort_by_cached_key(|argument| (argument.span.start, declared(&argument.name)));
        outline.secrets.sort_by_key(|secret| secret.span.start);
        outline.agents.sort_by_key(|agent| agent.span.start);
        outline
    }

    /// The target, what it is built from, and what it copies from; each once, the nearest first.
    fn stages_from(&self, target: usize) -> Vec<usize> {
        let mut order = Vec::new();
        let mut open = vec![target];
        while let Some(index) = open.pop() {
            if order.contains(&index) {
                continue;
            }
            order.push(index);
            let stage = &self.stages[index];
            open.extend(stage.dependencies.iter().rev());
            open.extend(stage.base);
        }
        order
    }

    /// The names, and those that the defaults of global arguments among them use.
    fn with_dependencies(&self, names: &BTreeSet<String>) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        let mut open: Vec<&String> = names.iter().collect();
        while let Some(name) = open.pop() {
            if all.insert(name.clone())
                && let Some((_, used)) = self.globals.get(name)
            {
                open.extend(used);
            }
        }
        all
    }
}

fn argument(
    dockerfile: &Dockerfile,
    instruction: &Instruction,
    span: Span,
    name: &str,
    value: Option<&str>,
) -> OutlineArgument {
    OutlineArgument {
        name: name.to_owned(),
        description: description(dockerfile, instruction, name).unwrap_or_default(),
        value: value.unwrap_or_default().to_owned(),
        span,
    }
}

/// The first use of an ID counts.
fn note(list: &mut Vec<OutlineAccess>, id: &str, required: bool, span: Span) {
    if list.iter().all(|known| known.id != id) {
        list.push(OutlineAccess { id: id.to_owned(), required, span });
    }
}
