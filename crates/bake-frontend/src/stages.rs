//! Which stages there are, which one is the target, and which images the target will need.

use bake_dockerfile::instruction::{Instruction, InstructionKind, MountKind, Word};
use bake_dockerfile::suggest::did_you_mean;
use bake_dockerfile::{Code, Diagnostic, Dockerfile, Severity, Span, Stage};

/// The name a stage is found under: lower-cased, as BuildKit does.
pub(crate) fn stage_key(name: &str) -> String {
    name.to_lowercase()
}

/// The stage that is asked for: by name, by index, or the last one.
pub(crate) fn find_target(dockerfile: &Dockerfile, target: Option<&str>) -> Result<usize, Box<Diagnostic>> {
    let Some(last) = dockerfile.stages.last() else {
        return Err(Box::new(error(Span::default(), "dockerfile contains no stages to build")));
    };
    let Some(target) = target.filter(|t| !t.is_empty()) else { return Ok(last.index) };
    let key = stage_key(target);
    if let Some(stage) = dockerfile.stages.iter().rev().find(|s| name_of(s).as_deref() == Some(&key)) {
        return Ok(stage.index);
    }
    if let Some(index) = target.parse::<usize>().ok().filter(|index| *index < dockerfile.stages.len()) {
        return Ok(index);
    }
    let names: Vec<String> = dockerfile.stages.iter().filter_map(name_of).collect();
    let guess = did_you_mean(&key, names.iter().map(String::as_str), false);
    let from = &dockerfile.instructions[last.from];
    let mut diagnostic = error(from.span, format!("target stage \"{target}\" could not be found{guess}"));
    diagnostic.help =
        Some(if names.is_empty() { "no stage has a name".into() } else { format!("stages: {}", names.join(", ")) });
    Err(Box::new(diagnostic))
}

/// A stage's name as it is found under.
pub(crate) fn name_of(stage: &Stage) -> Option<String> {
    stage.name.as_ref().map(|name| stage_key(&name.value))
}

/// How a stage is called in output, and by `--no-cache-filter`: its name, or `stage-N` counted from 0.
pub(crate) fn label_of(stage: &Stage) -> String {
    name_of(stage).unwrap_or_else(|| format!("stage-{}", stage.index))
}

/// Those of `names` that are no stage's, in any case of letters.
pub fn unmatched_stage_names<'a>(dockerfile: &Dockerfile, names: &'a [String]) -> Vec<&'a str> {
    let labels: Vec<String> = dockerfile.stages.iter().map(label_of).collect();
    let is_stage = |name: &&String| labels.iter().any(|label| label.eq_ignore_ascii_case(name));
    names.iter().filter(|name| !is_stage(name)).map(String::as_str).collect()
}

/// The latest stage called `name` among the first `before` stages.
pub(crate) fn stage_before(dockerfile: &Dockerfile, name: &str, before: usize) -> Option<usize> {
    dockerfile.stages[..before].iter().rev().find(|s| name_of(s).as_deref() == Some(name)).map(|s| s.index)
}

/// The last stage called `name` in the whole file: what `--from=name` means.
pub(crate) fn stage_anywhere(dockerfile: &Dockerfile, name: &str) -> Option<usize> {
    let key = stage_key(name);
    dockerfile.stages.iter().rev().find(|s| name_of(s).as_deref() == Some(&key)).map(|s| s.index)
}

/// The stages that `target` can need, by what is written; variables in FROM are expanded by `expand_from`.
pub(crate) fn reachable(
    dockerfile: &Dockerfile,
    target: usize,
    expand_from: &dyn Fn(&Stage) -> Option<String>,
) -> Vec<usize> {
    let mut seen = vec![false; dockerfile.stages.len()];
    let mut open = vec![target];
    while let Some(index) = open.pop() {
        if std::mem::replace(&mut seen[index], true) {
            continue;
        }
        open.extend(stages_named_in(dockerfile, index, expand_from));
    }
    (0..seen.len()).filter(|index| seen[*index]).collect()
}

/// The stages that `target` needs and that stand before the one that needs them (others are errors), in the order of the
/// file. What a stage that `is_replaced` by a named context would need is not among them.
pub(crate) fn needed_before(
    dockerfile: &Dockerfile,
    target: usize,
    expand_from: &dyn Fn(&Stage) -> Option<String>,
    is_replaced: &dyn Fn(&Stage) -> bool,
) -> Vec<usize> {
    let mut seen = vec![false; dockerfile.stages.len()];
    let mut open = vec![target];
    while let Some(index) = open.pop() {
        if std::mem::replace(&mut seen[index], true) || is_replaced(&dockerfile.stages[index]) {
            continue;
        }
        open.extend(stages_named_in(dockerfile, index, expand_from).into_iter().filter(|named| *named < index));
    }
    (0..seen.len()).filter(|index| seen[*index]).collect()
}

/// The stages that the stage `index` names: its base, and what it copies from or mounts.
fn stages_named_in(
    dockerfile: &Dockerfile,
    index: usize,
    expand_from: &dyn Fn(&Stage) -> Option<String>,
) -> Vec<usize> {
    let stage = &dockerfile.stages[index];
    let mut named = Vec::new();
    if let Some(base) = expand_from(stage) {
        named.extend(stage_before(dockerfile, &base, index));
    }
    for from in dockerfile.stage_instructions(stage).iter().flat_map(sources_named_in) {
        let by_number = from.parse::<usize>().ok().filter(|n| *n < dockerfile.stages.len());
        named.extend(stage_anywhere(dockerfile, from).or(by_number));
    }
    named
}

/// What an instruction copies from or mounts, as written.
fn sources_named_in(instruction: &Instruction) -> Vec<&str> {
    let words: Vec<&Word> = match &instruction.kind {
        InstructionKind::Copy(copy) => copy.from.iter().collect(),
        InstructionKind::Run(run) => run
            .mounts
            .iter()
            .filter(|mount| matches!(mount.kind, MountKind::Bind | MountKind::Cache))
            .filter_map(|mount| mount.from.as_ref())
            .collect(),
        _ => Vec::new(),
    };
    words.into_iter().map(|word| word.value.as_str()).collect()
}

/// The stages that may use files of the stage `index`, be it through others. A name that holds a variable may mean any earlier stage.
pub fn users_of_stage(dockerfile: &Dockerfile, index: usize) -> Vec<usize> {
    let base = |stage: &Stage| match dockerfile.instructions.get(stage.from).map(|from| &from.kind) {
        Some(InstructionKind::From(from)) => Some(stage_key(&from.image.value)),
        _ => None,
    };
    let mut found = vec![index];
    for stage in dockerfile.stages.iter().skip(index + 1) {
        let sources = dockerfile.stage_instructions(stage).iter().flat_map(sources_named_in);
        let mut names = sources.map(str::to_owned).chain(base(stage));
        let is_user = names.any(|name| name.contains('$'))
            || stages_named_in(dockerfile, stage.index, &base).iter().any(|named| found.contains(named));
        if is_user {
            found.push(stage.index);
        }
    }
    found.split_off(1)
}

/// An error without a rule name.
pub(crate) fn error(span: Span, message: impl Into<String>) -> Diagnostic {
    Diagnostic::new(Severity::Error, Code("build"), span, message)
}

#[cfg(test)]
mod tests {
    use bake_dockerfile::{SourceText, parse};

    use super::*;

    #[test]
    fn users_of_a_stage_are_those_that_may_be() {
        let text = "FROM a AS base\nFROM Base AS direct\nFROM b AS other\nFROM direct AS through\nFROM c AS copies\n\
                    COPY --from=0 /a /\nFROM d AS mounts\nRUN --mount=type=bind,from=copies,target=/a true\nFROM $WHAT AS chosen\n\
                    FROM e\nCOPY --from=other /a /\n";
        let dockerfile = parse(SourceText::new("Dockerfile", text));
        assert_eq!(users_of_stage(&dockerfile, 0), [1, 3, 4, 5, 6]);
        assert_eq!(users_of_stage(&dockerfile, 2), [6, 7]);
        assert_eq!(users_of_stage(&dockerfile, 7), [0; 0]);
    }
}
