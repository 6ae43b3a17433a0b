//! Checks of single instructions.

use bake_dockerfile::diagnostic::code;
use bake_dockerfile::instruction::{Command, Instruction, InstructionKind, KeyValues};
use bake_dockerfile::suggest::suggest;
use bake_dockerfile::{Dockerfile, Span};

use crate::Violation;
use crate::table::{
    EXPOSE_INVALID_FORMAT, EXPOSE_PROTO_CASING, JSON_ARGS_RECOMMENDED, LEGACY_KEY_VALUE_FORMAT, MAINTAINER_DEPRECATED,
    MULTIPLE_INSTRUCTIONS_DISALLOWED, NO_EMPTY_CONTINUATION, SECRETS_USED_IN_ARG_OR_ENV, UNDEFINED_VAR,
    WORKDIR_RELATIVE_PATH,
};

/// Words of a name that speak of a secret, for `SecretsUsedInArgOrEnv`.
pub const SECRET_WORDS: [&str; 10] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];

/// Words of a name that say that it holds no secret after all.
pub const HARMLESS_WORDS: [&str; 3] = ["public", "file", "version"];

/// `NoEmptyContinuation`: the parser met a blank line inside a continued instruction. One finding for each instruction, and its place is
/// the last line that is continued, as BuildKit shows it.
pub fn empty_continuation(dockerfile: &Dockerfile, instruction: &Instruction) -> Option<Violation> {
    let inside = |span: Span| instruction.span.start <= span.start && span.start <= instruction.span.end;
    if !dockerfile.diagnostics.iter().any(|found| found.code == code::EMPTY_CONTINUATION && inside(found.span)) {
        return None;
    }
    let end = match instruction.heredocs.iter().map(|heredoc| heredoc.span.start).min() {
        Some(body) => body.saturating_sub(1),
        None => instruction.span.end,
    };
    let line = dockerfile.source.slice(Span::new(instruction.span.start, end));
    let start = instruction.span.start + line.rfind('\n').map_or(0, |newline| newline + 1);
    Some(Violation::new(&NO_EMPTY_CONTINUATION, Span::new(start, end), "Empty continuation line"))
}

/// `MaintainerDeprecated`: any MAINTAINER.
pub fn maintainer(instruction: &Instruction) -> Option<Violation> {
    let message = "Maintainer instruction is deprecated in favor of using label";
    matches!(instruction.kind, InstructionKind::Maintainer(_))
        .then(|| Violation::new(&MAINTAINER_DEPRECATED, instruction.keyword.span, message))
}

/// `JSONArgsRecommended`: CMD or ENTRYPOINT in shell form, unless a SHELL was chosen (`shell_is_set`: here, in a stage it is built
/// from, or in its base image).
pub fn shell_form(instruction: &Instruction, shell_is_set: bool) -> Option<Violation> {
    let (InstructionKind::Cmd(Command::Shell(text)) | InstructionKind::Entrypoint(Command::Shell(text))) =
        &instruction.kind
    else {
        return None;
    };
    let keyword = &instruction.keyword.value;
    let message =
        format!("JSON arguments recommended for {keyword} to prevent unintended behavior related to OS signals");
    (!shell_is_set).then(|| Violation::new(&JSON_ARGS_RECOMMENDED, text.span, message))
}

/// `WorkdirRelativePath`: a WORKDIR that is relative after expansion. Callers ask for the first one of a chain of stages only: with it
/// all others are right.
pub fn relative_workdir(expanded: &str, span: Span) -> Option<Violation> {
    let message = format!("Relative workdir {expanded:?} can have unexpected results if the base image changes");
    (!expanded.starts_with('/')).then(|| Violation::new(&WORKDIR_RELATIVE_PATH, span, message))
}

/// `UndefinedVar`: the variable `name`, which the caller found to be neither set nor declared; `known` are those that are.
pub fn undefined_variable<'a>(name: &str, span: Span, known: impl Iterator<Item = &'a str>) -> Violation {
    let guess = suggest(name, known, true);
    let guess = guess.map(|guess| format!(" (did you mean ${guess}?)")).unwrap_or_default();
    Violation::new(&UNDEFINED_VAR, span, format!("Usage of undefined variable '${name}'{guess}"))
}

/// The kind of an instruction of which only the last one in a stage counts.
pub fn counted_once(kind: &InstructionKind) -> Option<&'static str> {
    match kind {
        InstructionKind::Cmd(_) => Some("CMD"),
        InstructionKind::Entrypoint(_) => Some("ENTRYPOINT"),
        InstructionKind::Healthcheck(_) => Some("HEALTHCHECK"),
        _ => None,
    }
}

/// `MultipleInstructionsDisallowed`: an instruction at `span` that a later one of its kind, written `keyword`, replaces.
pub fn superseded(keyword: &str, span: Span) -> Violation {
    let message = format!(
        "Multiple {keyword} instructions should not be used in the same stage because only the last one will be used"
    );
    Violation::new(&MULTIPLE_INSTRUCTIONS_DISALLOWED, span, message)
}

/// `LegacyKeyValueFormat`: `ENV key value` and `LABEL key value`.
pub fn legacy_key_value(instruction: &Instruction, pairs: &KeyValues) -> Option<Violation> {
    let ([(key, _)], true) = (pairs.pairs.as_slice(), pairs.legacy) else { return None };
    let written = &instruction.keyword.value;
    let message = format!("\"{written} key=value\" should be used instead of legacy \"{written} key value\" format");
    Some(Violation::new(&LEGACY_KEY_VALUE_FORMAT, key.span, message))
}

/// `SecretsUsedInArgOrEnv`: the name that an ARG or ENV (`keyword`) gives a value has a word that speaks of a secret. Words are what
/// stands between `_`; letter case makes no difference.
pub fn secret_name(keyword: &str, name: &str, span: Span) -> Option<Violation> {
    let has_word =
        |words: &[&str]| name.split('_').any(|part| words.iter().any(|word| part.eq_ignore_ascii_case(word)));
    let message = || format!("Do not use ARG or ENV instructions for sensitive data ({keyword} {name:?})");
    (has_word(&SECRET_WORDS) && !has_word(&HARMLESS_WORDS))
        .then(|| Violation::new(&SECRETS_USED_IN_ARG_OR_ENV, span, message()))
}

/// `ExposeProtoCasing` and `ExposeInvalidFormat`: a port of EXPOSE, expanded, whose protocol has capital letters, or that says where on
/// the host it appears.
pub fn port(text: &str, span: Span) -> Vec<Violation> {
    let mut violations = Vec::new();
    let (address, container) = text.rsplit_once(':').unwrap_or(("", text));
    if container.split_once('/').is_some_and(|(_, protocol)| protocol != protocol.to_lowercase()) {
        let message = format!("Defined protocol '{text}' in EXPOSE instruction should be lowercase");
        violations.push(Violation::new(&EXPOSE_PROTO_CASING, span, message));
    }
    if address.contains(|c| c != ':') {
        let message =
            format!("EXPOSE instruction should not define an IP address or host-port mapping, found '{text}'");
        violations.push(Violation::new(&EXPOSE_INVALID_FORMAT, span, message));
    }
    violations
}
