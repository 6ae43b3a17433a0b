//! `copy-entire-stage`

use super::prelude::*;
use crate::context::FromReference;
use bake_dockerfile::instruction::CopySource;

pub(super) const RULE: Rule = Rule {
    id: "copy-entire-stage",
    aliases: &["DL3067"],
    severity: Severity::Info,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "`COPY --from` takes the whole file system of another stage or image.",
    why: "Everything that was needed only for building comes along, and files of the base are replaced. Into an empty stage \
          (`FROM scratch`) it is a known way to make one layer of many, and left alone.",
    bad: "FROM debian:12-slim AS build\nRUN make\nFROM debian:12-slim\nCOPY --from=build / /\nUSER 10001\n",
    good: "FROM debian:12-slim AS build\nFROM debian:12-slim\nCOPY --from=build /out/ /\nUSER 10001\nFROM scratch AS flat\nCOPY --from=0 / /\nUSER 1\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for located in &context.instructions {
        let InstructionKind::Copy(copy) = &located.instruction.kind else { continue };
        let Some(from) = &copy.from else { continue };
        let is_root = |path: &str| matches!(path.trim_matches(['"', '\'']), "/" | "/." | "/*");
        let whole = copy.sources.iter().find_map(|source| match source {
            CopySource::Path(word) if is_root(&word.value) => Some(word),
            _ => None,
        });
        let empty = located.stage.is_some_and(|stage| context.stages[stage].base == Base::Scratch);
        // A stage that only gives an image its name: images of a few files are made to be copied whole.
        let is_image = located.stage.is_some_and(|stage| match context.resolve_from(stage, &from.value) {
            FromReference::Stage(source) => context.stage_instructions(source).next().is_none(),
            _ => false,
        });
        if let Some(word) = whole
            && is_root(&copy.destination.value)
            && copy.excludes.is_empty()
            && !empty
            && !is_image
        {
            report
                .report(word.span, format!("Everything of `{}` is copied over this stage", from.value))
                .help("copy the directories that are needed");
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::lines;

    #[test]
    fn images_made_to_be_copied_are() {
        let text = "FROM tonistiigi/xx:1 AS xx\nFROM a:1 AS made\nRUN make\nFROM a:1\nCOPY --from=xx / /\nCOPY --from=made / /\n";
        assert_eq!(lines("copy-entire-stage", text), [6]);
    }
}
