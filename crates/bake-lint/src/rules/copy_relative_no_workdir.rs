//! `copy-relative-no-workdir`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "copy-relative-no-workdir",
    aliases: &["DL3045"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "`COPY` or `ADD` to a relative path in a stage without `WORKDIR`.",
    why: "The files land in the base image's working directory, which is nowhere to be seen and can change with the image.",
    bad: "FROM debian:12-slim\nCOPY app bin/\nUSER 10001\n",
    good: "FROM debian:12-slim\nWORKDIR /srv\nCOPY app bin/\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    let mut has_directory = vec![false; context.stages.len()];
    for (index, stage) in context.stages.iter().enumerate() {
        // An image that is no bare distribution may well set a directory of its own.
        has_directory[index] = match &stage.base {
            Base::Stage(base) => has_directory[*base],
            Base::Scratch => false,
            Base::Image(image) => match context.image_facts(image) {
                Some(facts) => !facts.working_directory.is_empty(),
                None => !image.is_plain_distribution(),
            },
            Base::Unknown(_) => true,
        };
        for located in context.stage_instructions(index).filter(|located| !located.onbuild) {
            match &located.instruction.kind {
                InstructionKind::Workdir(_) => has_directory[index] = true,
                InstructionKind::Copy(copy) | InstructionKind::Add(copy) if !has_directory[index] => {
                    let path = copy.destination.value.trim_matches(['"', '\'']);
                    if !path.starts_with(['/', '$', '\\']) && !path.contains(':') && !path.is_empty() {
                        report
                            .report(copy.destination.span, format!("`{path}` is relative, and no WORKDIR says to what"))
                            .help("give an absolute path, or set WORKDIR before");
                    }
                }
                _ => {}
            }
        }
    }
}
