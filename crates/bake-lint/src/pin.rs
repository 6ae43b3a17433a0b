//! Which images a Dockerfile names, and where their digests can be written.

use bake_dockerfile::instruction::{Instruction, InstructionKind, Word};
use bake_dockerfile::{Dockerfile, Span};

use crate::context::{Base, FromReference, LintContext, Located, from_words};
use crate::finding::TextEdit;
use crate::image::ImageName;
use crate::options::LintOptions;

/// The use of an image that is neither a stage nor `scratch`: in `FROM`, `COPY --from` or `RUN --mount=from`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageReference {
    /// The word that names it.
    pub span: Span,
    /// The name, build arguments replaced by their defaults. With [`PinObstacle::Argument`] it may be no name at all.
    pub name: String,
    /// Where the digest can be written, or why it cannot.
    pub place: Result<PinPlace, PinObstacle>,
}

/// A text that can be replaced so that the image has another name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinPlace {
    /// What is replaced: the word, or the default of a build argument.
    span: Span,
    /// What of the name stands before the build argument.
    prefix: String,
}

/// Why a digest cannot be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinObstacle {
    /// The word has quotes, escapes or a line continuation in it.
    Spelling,
    /// Build arguments stand elsewhere than at the end of the name, or are changed by `${NAME...}`.
    Composite,
    /// The argument has no default, or not exactly one plain text.
    Argument(String),
    /// The argument is used for something else too.
    SharedArgument(String),
}

impl std::fmt::Display for PinObstacle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Spelling => f.write_str("it is written with quotes, escapes or a line continuation"),
            Self::Composite => f.write_str("it is put together from build arguments"),
            Self::Argument(name) => write!(f, "the build argument `{name}` has no plain default that could be changed"),
            Self::SharedArgument(name) => write!(f, "the build argument `{name}` is used for something else too"),
        }
    }
}

impl ImageReference {
    /// Whether the name has a digest.
    pub fn is_pinned(&self) -> bool {
        ImageName::parse(&self.name).digest.is_some()
    }

    /// The name whose digest is to be found: with its tag (`latest` if there is none) and without the digest it has. `None` for an
    /// image that is named by nothing but a digest: no tag tells what a newer one would be.
    pub fn tagged_name(&self) -> Option<String> {
        let name = ImageName::parse(&self.name);
        match (&name.tag, &name.digest) {
            (Some(tag), _) => Some(format!("{}:{tag}", name.repository)),
            (None, None) => Some(format!("{}:latest", name.repository)),
            (None, Some(_)) => None,
        }
    }

    /// The digest that the name has.
    pub fn digest(&self) -> Option<String> {
        ImageName::parse(&self.name).digest
    }

    /// The change after which the image is pinned to `digest` (such as `sha256:...`); its tag is kept, and `latest` is written out.
    /// `None` where there is an obstacle, or no tag.
    pub fn pin(&self, digest: &str) -> Option<TextEdit> {
        let place = self.place.as_ref().ok()?;
        let name = format!("{}@{digest}", self.tagged_name()?);
        Some(TextEdit::replace(place.span, name.strip_prefix(&place.prefix)?))
    }
}

/// The images that a Dockerfile names, in source order. Names that are stages are none, as far as that can be told without the
/// arguments of a build; `options.build_args` are not looked at, since what they replace is not in the file.
pub fn image_references(dockerfile: &Dockerfile, options: &LintOptions) -> Vec<ImageReference> {
    let options = LintOptions { build_args: std::collections::BTreeMap::new(), ..options.clone() };
    let context = LintContext::new(dockerfile, &options);
    let mut references = Vec::new();
    for stage in &context.stages {
        let word = &stage.from.image;
        let name = match &stage.base {
            Base::Stage(_) | Base::Scratch => continue,
            Base::Image(name) => name.to_string(),
            Base::Unknown(text) => text.clone(),
        };
        references.push(ImageReference { span: word.span, name, place: from_place(&context, word) });
    }
    for located in &context.instructions {
        let Some(stage) = located.stage else { continue };
        for word in from_words(located.instruction) {
            references.extend(other_reference(&context, located, stage, word));
        }
    }
    references.sort_by_key(|reference| reference.span.start);
    references
}

/// `text` with the edits of several references made. Edits at the same place, such as an argument that two `FROM` use, are one.
pub fn apply_pins(text: &str, mut edits: Vec<TextEdit>) -> String {
    edits.sort_by_key(|edit| (edit.span.start, edit.span.end));
    edits.dedup();
    let mut result = String::with_capacity(text.len());
    let mut position = 0;
    for edit in &edits {
        // Two names at one place cannot be: a shared argument is an obstacle.
        if edit.span.start < position {
            continue;
        }
        result.push_str(&text[position..edit.span.start]);
        result.push_str(&edit.replacement);
        position = edit.span.end;
    }
    result.push_str(&text[position..]);
    result
}

/// `--from` of `COPY` and of mounts; `None` for a stage.
fn other_reference(
    context: &LintContext<'_>,
    located: &Located<'_>,
    stage: usize,
    word: &Word,
) -> Option<ImageReference> {
    let value = |name: &str| context.environment_value(stage, located.index, name);
    let expanded = context.expander().expand(&word.value, &value);
    let name = expanded.map_or_else(|_| word.value.clone(), |expansion| expansion.text);
    if name == "scratch" || name.is_empty() || context.resolve_from(stage, &name) != FromReference::Image {
        return None;
    }
    let place = if context.source(word.span) == name {
        Ok(PinPlace { span: word.span, prefix: String::new() })
    } else if word.value.contains('$') {
        Err(PinObstacle::Composite)
    } else {
        Err(PinObstacle::Spelling)
    };
    Some(ImageReference { span: word.span, name, place })
}

/// Where the digest of the image of a `FROM` belongs.
fn from_place(context: &LintContext<'_>, word: &Word) -> Result<PinPlace, PinObstacle> {
    let source = context.source(word.span);
    if source != word.value {
        return Err(PinObstacle::Spelling);
    }
    let is_plain = |text: &str| !text.contains(['$', '"', '\'', context.dockerfile.directives.escape]);
    if is_plain(source) {
        return Ok(PinPlace { span: word.span, prefix: String::new() });
    }
    let (prefix, name) = match source.split_once('$') {
        Some((prefix, name)) if is_plain(prefix) => (prefix, name),
        Some(_) => return Err(PinObstacle::Composite),
        None => return Err(PinObstacle::Spelling),
    };
    let name = name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).unwrap_or(name);
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Err(PinObstacle::Composite);
    }
    let mut declarations = global_declarations(context, name);
    let (Some(default), None) = (declarations.next(), declarations.next()) else {
        return Err(PinObstacle::Argument(name.to_owned()));
    };
    let default = default.ok_or_else(|| PinObstacle::Argument(name.to_owned()))?;
    if context.source(default.span) != default.value || !is_plain(&default.value) || default.value.is_empty() {
        return Err(PinObstacle::Argument(name.to_owned()));
    }
    if is_used_otherwise(context, name, &word.value) {
        return Err(PinObstacle::SharedArgument(name.to_owned()));
    }
    Ok(PinPlace { span: default.span, prefix: prefix.to_owned() })
}

/// The defaults of all declarations of `name` before the first `FROM`.
fn global_declarations<'a>(context: &LintContext<'a>, name: &str) -> impl Iterator<Item = Option<&'a Word>> {
    let dockerfile = context.dockerfile;
    let declarations = dockerfile.global_args.iter().filter_map(|index| dockerfile.instructions.get(*index));
    let of_name = declarations.flat_map(|instruction| match &instruction.kind {
        InstructionKind::Arg(declarations) => declarations.as_slice(),
        _ => &[],
    });
    let name = name.to_owned();
    of_name.filter(move |declaration| declaration.name.value == name).map(|declaration| declaration.default.as_ref())
}

/// Whether the argument means something besides the image that `word` names: a digest in it would break that.
fn is_used_otherwise(context: &LintContext<'_>, name: &str, word: &str) -> bool {
    let uses = |other: &Word| other.value != word && uses_variable(context, other, name);
    let in_from =
        context.stages.iter().any(|stage| uses(&stage.from.image) || stage.from.platform.as_ref().is_some_and(uses));
    // A stage that declares it again sees its value, and a RUN may do anything with that.
    let declared = |instruction: &Instruction, global: bool| match &instruction.kind {
        InstructionKind::Arg(declarations) => declarations.iter().any(|declaration| {
            let again = !global && declaration.name.value == name && declaration.default.is_none();
            again || declaration.default.as_ref().is_some_and(uses)
        }),
        _ => false,
    };
    in_from || context.instructions.iter().any(|located| declared(located.instruction, located.stage.is_none()))
}

fn uses_variable(context: &LintContext<'_>, word: &Word, name: &str) -> bool {
    let seen = std::cell::Cell::new(false);
    let value = |used: &str| {
        if used == name {
            seen.set(true);
        }
        Some("x".to_owned())
    };
    // A word that cannot be expanded ends a build; what was seen until then counts.
    let _ = context.expander().expand(&word.value, &value);
    seen.get()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use bake_dockerfile::{SourceText, parse};

    use super::*;

    const DIGEST: &str = "sha256:0123";

    fn references(text: &str) -> Vec<ImageReference> {
        image_references(&parse(SourceText::new("Dockerfile", text)), &LintOptions::default())
    }

    /// The text with every image pinned that can be.
    fn pinned(text: &str) -> String {
        let unpinned = references(text).into_iter().filter(|reference| !reference.is_pinned());
        apply_pins(text, unpinned.filter_map(|reference| reference.pin(DIGEST)).collect())
    }

    fn obstacles(text: &str) -> Vec<PinObstacle> {
        references(text).into_iter().filter_map(|reference| reference.place.err()).collect()
    }

    #[test]
    fn images_are_pinned_where_they_are_named() {
        for (before, after) in [
            ("FROM debian\n", "FROM debian:latest@sha256:0123\n"),
            ("FROM debian:12 AS a\nFROM a\n", "FROM debian:12@sha256:0123 AS a\nFROM a\n"),
            ("FROM h:5000/a/b\r\nRUN x\r\n", "FROM h:5000/a/b:latest@sha256:0123\r\nRUN x\r\n"),
            (
                "from --platform=linux/amd64 \\\n  # why\n  a:1\n",
                "from --platform=linux/amd64 \\\n  # why\n  a:1@sha256:0123\n",
            ),
            ("FROM scratch\nCOPY --from=a:1 /x /\n", "FROM scratch\nCOPY --from=a:1@sha256:0123 /x /\n"),
            (
                "FROM a:1@sha256:9\nRUN --mount=type=bind,from=b,target=/b --mount=from=0,target=/c true\n",
                "FROM a:1@sha256:9\nRUN --mount=type=bind,from=b:latest@sha256:0123,target=/b --mount=from=0,target=/c true\n",
            ),
            ("FROM scratch\nONBUILD COPY --from=a:1 / /\n", "FROM scratch\nONBUILD COPY --from=a:1@sha256:0123 / /\n"),
            (
                "FROM scratch\nRUN <<E\nFROM debian\nE\nCOPY --from=b / /",
                "FROM scratch\nRUN <<E\nFROM debian\nE\nCOPY --from=b:latest@sha256:0123 / /",
            ),
        ] {
            assert_eq!(pinned(before), after);
            assert_eq!(pinned(after), after, "pinning twice changes nothing");
            assert_eq!(obstacles(before), []);
        }
    }

    #[test]
    fn defaults_of_arguments_are_pinned() {
        for (before, after) in [
            ("ARG B=a:1\nFROM $B\nFROM ${B}x\n", "ARG B=a:1\nFROM $B\nFROM ${B}x\n"),
            ("ARG B=a:1\nFROM $B\nFROM $B\n", "ARG B=a:1@sha256:0123\nFROM $B\nFROM $B\n"),
            ("ARG X=1 B=a\nFROM ${B}\n", "ARG X=1 B=a:latest@sha256:0123\nFROM ${B}\n"),
            ("ARG V=1.2\nFROM r.io/a:${V} AS v\n", "ARG V=1.2@sha256:0123\nFROM r.io/a:${V} AS v\n"),
        ] {
            assert_eq!(pinned(before), after);
            assert_eq!(pinned(after), after, "pinning twice changes nothing");
        }
    }

    #[test]
    fn obstacles_are_told() {
        let shared = |name: &str| vec![PinObstacle::SharedArgument(name.to_owned())];
        let argument = |name: &str| vec![PinObstacle::Argument(name.to_owned())];
        for (text, expected) in [
            ("FROM \"debian:12\"\n", vec![PinObstacle::Spelling]),
            ("FROM deb\\\nian\n", vec![PinObstacle::Spelling]),
            ("FROM scratch\nCOPY --from=\"a\" / /\n", vec![PinObstacle::Spelling]),
            ("ARG V=1\nFROM a:$V-slim\n", vec![PinObstacle::Composite]),
            ("ARG V=1\nFROM a:${V:-2}\n", vec![PinObstacle::Composite]),
            ("ARG R=a V=1\nFROM $R:$V\n", vec![PinObstacle::Composite]),
            ("ARG B\nFROM $B\n", argument("B")),
            ("ARG B=\"a:1\"\nFROM $B\n", argument("B")),
            ("ARG B=a\nARG B=b\nFROM $B\n", argument("B")),
            ("FROM a-$TARGETARCH\n", argument("TARGETARCH")),
            ("ARG V=1\nFROM a:$V\nARG V\nRUN install-$V\n", shared("V")),
            ("ARG V=1\nARG W=$V\nFROM a:$V\n", shared("V")),
            ("FROM scratch\nARG I=b:1\nRUN --mount=from=$I,target=/x true\n", vec![PinObstacle::Composite]),
            ("FROM scratch AS s\nFROM scratch\nARG I=s\nRUN --mount=from=$I,target=/x true\n", vec![]),
        ] {
            assert_eq!(obstacles(text), expected, "{text}");
        }
    }

    #[test]
    fn digests_are_renewed_where_there_is_a_tag() {
        let both = references("FROM a:1@sha256:9\nFROM b@sha256:8\n");
        assert_eq!(both[0].tagged_name().unwrap(), "a:1");
        assert_eq!(both[0].pin(DIGEST).unwrap().replacement, "a:1@sha256:0123");
        assert_eq!(both[1].tagged_name(), None);
        assert_eq!(both[1].pin(DIGEST), None);
    }
}
