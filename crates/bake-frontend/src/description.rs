//! Comments that describe what they stand above: `# NAME text` above `FROM ... AS NAME` or `ARG NAME`.

use bake_checks::comment_words;
use bake_dockerfile::Dockerfile;
use bake_dockerfile::instruction::Instruction;

/// What the comments above `instruction` say of `name`: the rest of the first one that begins with the name.
pub(crate) fn description(dockerfile: &Dockerfile, instruction: &Instruction, name: &str) -> Option<String> {
    let mut comments = comment_words(dockerfile, instruction);
    comments.find_map(|comment| comment.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned))
}
