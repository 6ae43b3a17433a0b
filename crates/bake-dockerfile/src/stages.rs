//! The rules about the file as a whole: stages, global args and what must come before what.

use crate::diagnostic::{Diagnostic, code};
use crate::dockerfile::{Dockerfile, Stage};
use crate::instruction::{Instruction, InstructionKind};
use crate::keyword::Keyword;
use crate::source::Span;

/// Finds the stages and the global args.
pub(crate) fn find_stages(dockerfile: &mut Dockerfile) {
    let mut open: Option<Stage> = None;
    let mut seen_from = false;
    for (index, instruction) in dockerfile.instructions.iter().enumerate() {
        match &instruction.kind {
            InstructionKind::From(from) => {
                dockerfile.stages.extend(open.take());
                open = Some(Stage {
                    index: dockerfile.stages.len(),
                    name: from.name.clone(),
                    from: index,
                    instructions: index + 1..index + 1,
                });
                seen_from = true;
            }
            // What follows a broken FROM belongs to a stage that is not known.
            InstructionKind::Invalid(_) if is_from(instruction) => {
                dockerfile.stages.extend(open.take());
                seen_from = true;
            }
            kind => {
                if let Some(stage) = &mut open {
                    stage.instructions.end = index + 1;
                } else if !seen_from && matches!(kind, InstructionKind::Arg(_)) {
                    dockerfile.global_args.push(index);
                }
            }
        }
    }
    dockerfile.stages.extend(open);
}

fn is_from(instruction: &Instruction) -> bool {
    Keyword::parse(&instruction.keyword.value) == Some(Keyword::From)
}

/// Reports what is wrong with the file as a whole.
pub(crate) fn check_order(dockerfile: &mut Dockerfile) {
    let diagnostics: Vec<Diagnostic> = missing_stages(dockerfile).into_iter().collect();
    dockerfile.diagnostics.extend(diagnostics);
}

fn missing_stages(dockerfile: &Dockerfile) -> Option<Diagnostic> {
    let help = "begin with `FROM IMAGE`, or `FROM scratch` for an empty root file system";
    let error = |span: Span, message: &str| Some(Diagnostic::error(code::ORDER, span, message).with_help(help));
    let text = dockerfile.source.text();
    if text.is_empty() {
        return error(Span::default(), "the Dockerfile cannot be empty");
    }
    for instruction in &dockerfile.instructions {
        match &instruction.kind {
            // An invalid one has its own error, and may have been meant to be a FROM.
            InstructionKind::From(_) | InstructionKind::Invalid(_) => return None,
            InstructionKind::Arg(_) => {}
            _ => {
                let message = format!(
                    "no build stage in current context: {} stands before the first FROM",
                    instruction.keyword.value
                );
                return error(instruction.span, &message);
            }
        }
    }
    if dockerfile.has_errors() {
        return None;
    }
    match dockerfile.instructions.last() {
        None => error(Span::new(0, text.trim_end().len()), "file with no instructions"),
        Some(last) => error(last.span, "dockerfile contains no stages to build"),
    }
}
