//! What the rules about measurements share: whom to blame, and what to point at.

use bake_analyze::ByteSize;
use bake_dockerfile::Span;

use crate::context::LintContext;
use crate::measurements::MeasuredWaste;

impl LintContext<'_> {
    /// What a finding about instruction number `index` points at: the first of `programs` that it runs, else its keyword.
    pub(crate) fn measured_token(&self, index: usize, programs: &[&str]) -> Option<Span> {
        self.measured_program(index, |program| programs.contains(&program))
            .or_else(|| self.dockerfile.instructions.get(index).map(|instruction| instruction.keyword.span))
    }

    /// The first program that instruction number `index` runs and that `is_meant`.
    pub(crate) fn measured_program(&self, index: usize, is_meant: impl Fn(&str) -> bool) -> Option<Span> {
        let run = self.runs.iter().find(|run| run.index == index && !run.onbuild)?;
        let command = run.script.commands.iter().find(|command| is_meant(command.program()))?;
        command.words.get(command.program_index).map(|word| word.span)
    }

    /// Where the bytes are: `the layer of line 3`, `the base image`, or how many of them there are.
    pub(crate) fn layers_of(&self, group: &[&MeasuredWaste]) -> String {
        let mut writers: Vec<Option<usize>> = group.iter().map(|waste| waste.written_by).collect();
        writers.sort_unstable();
        writers.dedup();
        match writers.as_slice() {
            [None] => "the base image".to_owned(),
            [Some(index)] => match self.dockerfile.instructions.get(*index) {
                Some(instruction) => {
                    format!("the layer of line {}", self.dockerfile.source.position(instruction.span.start).line)
                }
                None => "an earlier layer".to_owned(),
            },
            [None, Some(_)] => "the base image and an earlier layer".to_owned(),
            writers => format!("{} layers", writers.len()),
        }
    }

    /// The keywords of the instructions that wrote the bytes, and how many each.
    pub(crate) fn writers_of(&self, group: &[&MeasuredWaste]) -> Vec<(Span, String)> {
        group
            .iter()
            .filter_map(|waste| {
                let instruction = self.dockerfile.instructions.get(waste.written_by?)?;
                Some((instruction.keyword.span, format!("{} written here", ByteSize(waste.bytes))))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use bake_analyze::{Cause, Unread};
    use bake_dockerfile::{SourceText, parse};

    use crate::{Finding, LintOptions, MeasuredUnread, MeasuredWaste, Measurements, lint, lint_measured};

    fn waste(written_by: Option<usize>, hidden_by: usize, cause: Cause, megabytes: u64) -> MeasuredWaste {
        let bytes = megabytes * 1_000_000;
        MeasuredWaste { written_by, hidden_by, cause, bytes, files: 3, largest: "/big".into() }
    }

    fn options(image_megabytes: u64, waste: Vec<MeasuredWaste>) -> LintOptions {
        let image_bytes = image_megabytes * 1_000_000;
        LintOptions {
            measurements: Some(Measurements { image_bytes, waste, ..Measurements::default() }),
            ..LintOptions::default()
        }
    }

    fn found(text: &str, options: &LintOptions) -> Vec<String> {
        let source = SourceText::new("Dockerfile", text);
        let told = |finding: &Finding| {
            let at = source.position(finding.span.start);
            format!("{}:{} {}: {}", at.line, at.column, finding.rule.id, finding.message)
        };
        lint_measured(&parse(source.clone()), options).iter().map(told).collect()
    }

    const TEXT: &str =
        "FROM debian:12\nRUN ./a\nRUN ./b\nRUN sudo rm -rf /a /b\nCOPY --chmod=755 c /\nRUN make && chown -R 1 /\n";

    #[test]
    fn culprits_and_writers_are_named() {
        let options = options(
            100,
            vec![
                waste(Some(1), 3, Cause::Deleted, 5),
                waste(Some(2), 3, Cause::Deleted, 7),
                waste(None, 4, Cause::Replaced, 2),
                waste(Some(4), 5, Cause::MetadataChanged, 9),
                waste(Some(1), 5, Cause::StoredAgain, 3),
            ],
        );
        assert_eq!(
            found(TEXT, &options),
            [
                "4:10 layer-waste: `rm` deletes 12.0MB (6 files, the largest `/big`) that stay in 2 layers",
                "5:1 layer-waste: `COPY` replaces 2.00MB (3 files, the largest `/big`) that stay in the base image",
                "6:1 layer-waste: `RUN` stores 3.00MB (3 files, the largest `/big`) again that are already in the layer of line 2",
                "6:13 layer-chown-copy: `chown` stores 9.00MB a second time (3 files), with another owner or mode",
            ]
        );
        let findings = lint_measured(&parse(SourceText::new("Dockerfile", TEXT)), &options);
        assert_eq!(
            findings.iter().map(|finding| finding.bytes).collect::<Vec<_>>(),
            [Some(12_000_000), Some(2_000_000), Some(3_000_000), Some(9_000_000)]
        );
        assert_eq!(findings[0].labels.len(), 2, "both writers are shown");
        assert!(findings[1].help.as_deref().is_some_and(|help| help.contains("base image")), "{findings:?}");
        assert!(findings[3].help.as_deref().is_some_and(|help| help.contains("`COPY --chown=...`")), "{findings:?}");
    }

    #[test]
    fn small_waste_is_not_worth_a_word() {
        let none: [&str; 0] = [];
        assert_eq!(found(TEXT, &options(500, vec![waste(Some(1), 3, Cause::Deleted, 4)])), none);
        let small = MeasuredWaste { bytes: 999_999, ..waste(Some(1), 3, Cause::Deleted, 1) };
        assert_eq!(found(TEXT, &options(5, vec![small])), none);
        // An instruction that is not there (a Dockerfile that changed meanwhile) is nobody's fault.
        assert_eq!(found(TEXT, &options(5, vec![waste(Some(9), 77, Cause::Deleted, 4)])), none);
    }

    #[test]
    fn unread_copies_are_judged_by_what_they_copy() {
        let unread = |instruction: usize, bytes: u64, of_bytes: u64, files: u64| MeasuredUnread {
            instruction,
            unread: Unread { bytes, files, of_bytes, of_files: 5000, largest: "/src/node_modules".into() },
        };
        let found_with = |unread: Vec<MeasuredUnread>| {
            let measurements = Measurements { image_bytes: u64::MAX, unread, ..Measurements::default() };
            found(TEXT, &LintOptions { measurements: Some(measurements), ..LintOptions::default() })
        };
        let told = "5:1 copy-unread: of the files that `COPY` copies,";
        assert_eq!(
            found_with(vec![unread(4, 312_000_000, 400_000_000, 4120)]),
            [format!(
                "{told} 312MB (4120 of 5000 files, the largest part `/src/node_modules`) are read by no later step"
            )]
        );
        assert_eq!(
            found_with(vec![unread(4, 10_000_000, 100_000_000, 1)]),
            [format!("{told} 10.0MB (1 of 5000 files, `/src/node_modules`) are read by no later step")]
        );
        let small = [unread(4, 9_999_999, 10_000_000, 2), unread(4, 10_000_000, 200_000_000, 2)];
        // An instruction that is not there or is another one: a Dockerfile that changed meanwhile.
        let strange = [unread(3, 50_000_000, 50_000_000, 2), unread(77, 50_000_000, 50_000_000, 2)];
        assert_eq!(found_with(small.into_iter().chain(strange).collect()), [""; 0]);
    }

    #[test]
    fn suppressions_and_severities_are_obeyed() {
        let text = "FROM scratch\nRUN [\"/a\"]\n# bake: ignore=layer-waste\nRUN rm -rf /a\n";
        let mut measured = options(100, vec![waste(Some(1), 2, Cause::Deleted, 5)]);
        assert_eq!(found(text, &measured).len(), 0);
        let unsuppressed = text.replace("# bake: ignore=layer-waste\n", "");
        assert_eq!(found(&unsuppressed, &measured).len(), 1);
        measured.severities.insert("layer-waste".into(), bake_dockerfile::Severity::Error);
        let findings = lint_measured(&parse(SourceText::new("Dockerfile", unsuppressed.as_str())), &measured);
        assert_eq!(findings[0].severity, bake_dockerfile::Severity::Error);
        measured.ignore.push("layer-waste".into());
        assert_eq!(found(&unsuppressed, &measured).len(), 0);
        // Without measurements nothing is known, so the comment may be needed.
        let plain = lint(&parse(SourceText::new("Dockerfile", text)), &LintOptions::default());
        assert!(plain.iter().all(|finding| finding.rule.id != "unused-suppression"), "{plain:?}");
    }
}
