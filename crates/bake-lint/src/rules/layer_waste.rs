//! `layer-waste`

use std::collections::BTreeMap;

use bake_analyze::{ByteSize, Cause};

use super::prelude::*;
use crate::measurements::MeasuredWaste;

pub(super) const RULE: Rule = Rule {
    id: "layer-waste",
    aliases: &[],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "An instruction deletes or replaces so many bytes of earlier layers that it matters (measured by a build).",
    why: "A layer only adds: what a later instruction deletes or replaces stays in the layer that wrote it, and everybody who pulls the \
          image pulls it. Deleting in the same instruction, or writing in another stage, is what makes images smaller. Needs \
          measurements: every build makes them, and `bake lint --measure`. Reported are at least 1 MB and a hundredth of the image.",
    bad: "FROM debian:12-slim\nCOPY build.sh /\nRUN ./build.sh\nRUN rm -rf /build\nUSER 10001\n",
    good: "FROM debian:12-slim\nCOPY build.sh /\nRUN ./build.sh && rm -rf /build\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    let Some(measurements) = &context.options.measurements else { return };
    let mut groups: BTreeMap<(usize, Cause), Vec<&MeasuredWaste>> = BTreeMap::new();
    for waste in measurements.waste.iter().filter(|waste| waste.cause != Cause::MetadataChanged) {
        groups.entry((waste.hidden_by, waste.cause)).or_default().push(waste);
    }
    for ((hidden_by, cause), group) in groups {
        let bytes = group.iter().fold(0_u64, |sum, waste| sum.saturating_add(waste.bytes));
        let Some(token) = context.measured_token(hidden_by, deleters(cause)).filter(|_| measurements.is_notable(bytes))
        else {
            continue;
        };
        let largest = group.iter().max_by_key(|waste| waste.bytes).map_or("", |waste| waste.largest.as_str());
        let files = group.iter().fold(0_u64, |sum, waste| sum.saturating_add(waste.files));
        let (name, size) = (context.source(token), ByteSize(bytes));
        let what = if files == 1 {
            format!("{size} (`{largest}`)")
        } else {
            format!("{size} ({files} files, the largest `{largest}`)")
        };
        let place = context.layers_of(&group);
        let message = match cause {
            Cause::Deleted => format!("`{name}` deletes {what} that stay in {place}"),
            Cause::StoredAgain => format!("`{name}` stores {what} again that are already in {place}"),
            _ => format!("`{name}` replaces {what} that stay in {place}"),
        };
        let finding = report.report(token, message);
        finding.bytes = Some(bytes);
        for (span, label) in context.writers_of(&group) {
            finding.label(span, label);
        }
        finding.help(match (group.iter().all(|waste| waste.written_by.is_none()), cause) {
            (true, _) => {
                "nothing that is deleted makes the base image smaller: begin from a smaller one, or copy what is needed into a new stage"
            }
            (_, Cause::Deleted) => {
                "delete them in the instruction that writes them, or write them in another stage and copy the result"
            }
            _ => "write them once, or write them in another stage and copy the result",
        });
    }
}

/// The programs of which one is to blame, if it is there.
fn deleters(cause: Cause) -> &'static [&'static str] {
    match cause {
        Cause::Deleted => &[
            "rm", "unlink", "rmdir", "find", "mv", "apt-get", "apt", "apk", "dnf", "microdnf", "yum", "zypper", "npm",
            "yarn", "pip",
        ],
        _ => &[],
    }
}

#[cfg(test)]
pub(crate) fn example() -> crate::Measurements {
    let waste = MeasuredWaste {
        written_by: Some(2),
        hidden_by: 3,
        cause: Cause::Deleted,
        bytes: 42_000_000,
        files: 7,
        largest: "/build/cache".into(),
    };
    crate::Measurements { image_bytes: 200_000_000, waste: vec![waste], ..crate::Measurements::default() }
}
