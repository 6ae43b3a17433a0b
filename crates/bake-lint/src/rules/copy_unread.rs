//! `copy-unread`

use bake_analyze::{ByteSize, Unread};

use super::prelude::*;
use crate::measurements::MeasuredUnread;

pub(super) const RULE: Rule = Rule {
    id: "copy-unread",
    aliases: &[],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "A stage that is only built from copies files of the build context that no later step reads (measured by a build).",
    why: "Such files are looked at, hashed and stored for nothing, and steps that are not traced run again when one of them changes. \
          Needs measurements: every build makes them, and `bake lint --measure`. Known for certain, or not reported: what each `RUN` on top \
          of the copy read must have been recorded. Files that become part of a result count as read, and so do those that another stage \
          copies, and all files that a stage may use which was not built. Reported are at least 10 MB and a tenth of what is copied.",
    bad: "FROM debian:12-slim AS build\nWORKDIR /src\nCOPY . .\nRUN ./build.sh\n\nFROM debian:12-slim\nCOPY --from=build /src/app /\nUSER 10001\n",
    good: "FROM debian:12-slim AS build\nWORKDIR /src\nCOPY build.sh .\nCOPY source source\nRUN ./build.sh\n\nFROM debian:12-slim\n\
           COPY --from=build /src/app /\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    let Some(measurements) = &context.options.measurements else { return };
    for MeasuredUnread { instruction, unread } in measurements.unread.iter().filter(|unread| unread.is_notable()) {
        let Some(instruction) = context.dockerfile.instructions.get(*instruction) else { continue };
        if !matches!(instruction.kind, InstructionKind::Copy(_) | InstructionKind::Add(_)) {
            continue;
        }
        let Unread { bytes, files, of_files, largest, .. } = unread;
        let (token, size) = (instruction.keyword.span, ByteSize(*bytes));
        let place = if *files == 1 { "" } else { "the largest part " };
        let message = format!(
            "of the files that `{}` copies, {size} ({files} of {of_files} files, {place}`{largest}`) are read by no later step",
            context.source(token)
        );
        let finding = report.report(token, message);
        finding.bytes = Some(*bytes);
        finding.help(
            "list them in `.dockerignore`, or copy only what is needed; `bake trace STEP` lists what a step reads",
        );
    }
}

#[cfg(test)]
pub(crate) fn example() -> crate::Measurements {
    let unread =
        Unread { bytes: 42_000_000, files: 700, of_bytes: 50_000_000, of_files: 900, largest: "/src/docs".into() };
    let unread = vec![MeasuredUnread { instruction: 2, unread }];
    crate::Measurements { image_bytes: 200_000_000, unread, ..crate::Measurements::default() }
}
