//! Whether two texts are the same Dockerfile.

use bake_dockerfile::Dockerfile;
use bake_dockerfile::instruction::{Instruction, InstructionKind};

/// Whether both have the same directives, instructions, flags, words and heredocs. The number of blanks between words is not looked
/// at: that it cannot matter is the business of [`crate::quoting`].
pub(crate) fn is_same(one: &Dockerfile, other: &Dockerfile) -> bool {
    let check = |file: &Dockerfile| file.directives.check.as_ref().map(|check| check.value.clone());
    let syntax = |file: &Dockerfile| file.directives.syntax.as_ref().map(|syntax| syntax.value.clone());
    one.directives.escape == other.directives.escape
        && syntax(one) == syntax(other)
        && check(one) == check(other)
        && one.instructions.len() == other.instructions.len()
        && one.instructions.iter().zip(&other.instructions).all(|(one, other)| is_same_instruction(one, other))
}

fn is_same_instruction(one: &Instruction, other: &Instruction) -> bool {
    let flags = |instruction: &Instruction| -> Vec<(String, Option<String>)> {
        let value = |flag: &bake_dockerfile::instruction::Flag| flag.value.as_ref().map(|value| value.value.clone());
        instruction.flags.iter().map(|flag| (flag.name.value.clone(), value(flag))).collect()
    };
    let heredocs = |instruction: &Instruction| -> Vec<(String, bool, bool, String)> {
        let heredocs = instruction.heredocs.iter();
        heredocs.map(|h| (h.name.clone(), h.expand, h.chomp, h.unstripped.clone())).collect()
    };
    std::mem::discriminant(&one.kind) == std::mem::discriminant(&other.kind)
        && flags(one) == flags(other)
        && heredocs(one) == heredocs(other)
        && has_same_words(one, other)
}

fn has_same_words(one: &Instruction, other: &Instruction) -> bool {
    let rest = |instruction: &Instruction| -> String {
        let text = instruction.text.get(instruction.keyword.value.len()..).unwrap_or_default();
        text.trim_start().to_owned()
    };
    let (first, second) = (rest(one), rest(other));
    let mut words = (first.split_whitespace(), second.split_whitespace());
    let is_from = matches!(one.kind, InstructionKind::From(_));
    loop {
        match (words.0.next(), words.1.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if a == b || (is_from && a.eq_ignore_ascii_case("as") && b == "AS") => {}
            _ => return false,
        }
    }
}
