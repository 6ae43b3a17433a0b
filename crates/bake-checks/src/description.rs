//! Comments that describe what they stand above: `# NAME text` above `FROM ... AS NAME` or `ARG NAME`.

use bake_dockerfile::Dockerfile;
use bake_dockerfile::instruction::{Instruction, InstructionKind};

use crate::Violation;
use crate::table::INVALID_DEFINITION_DESCRIPTION;

/// The comments directly above, without `#` and the white space around.
pub fn comment_words<'a>(
    dockerfile: &'a Dockerfile,
    instruction: &'a Instruction,
) -> impl DoubleEndedIterator<Item = &'a str> {
    instruction.comments.iter().map(|comment| {
        let text = dockerfile.source.slice(*comment).trim();
        text.strip_prefix('#').unwrap_or(text).trim()
    })
}

/// `InvalidDefinitionDescription`: the comment directly above a named FROM, or an ARG, does not begin with its name.
pub fn definition_description(dockerfile: &Dockerfile, instruction: &Instruction) -> Option<Violation> {
    let (keyword, names) = match &instruction.kind {
        InstructionKind::From(from) => ("FROM", vec![from.name.as_ref()?.value.to_lowercase()]),
        InstructionKind::Arg(arguments) => ("ARG", arguments.iter().map(|arg| arg.name.value.clone()).collect()),
        _ => return None,
    };
    let comment = comment_words(dockerfile, instruction).next_back()?;
    let first = comment.split(' ').next().unwrap_or_default();
    if names.iter().any(|name| name == first) {
        return None;
    }
    let example = match names.as_slice() {
        [only] => only,
        _ => "<arg_key>",
    };
    let message = format!("Comment for {keyword} should follow the format: `# {example} <description>`");
    let span = *instruction.comments.last()?;
    Some(Violation::new(&INVALID_DEFINITION_DESCRIPTION, span, message))
}
