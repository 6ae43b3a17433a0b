//! `layer-chown-copy`

use std::collections::BTreeMap;

use bake_analyze::{ByteSize, Cause};

use super::prelude::*;
use crate::measurements::MeasuredWaste;

pub(super) const RULE: Rule = Rule {
    id: "layer-chown-copy",
    aliases: &[],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "An instruction stores files a second time only to change their owner or mode (measured by a build).",
    why: "A layer holds whole files, so `chown -R` and `chmod -R` of what earlier layers hold store all of it again. `COPY --chown` and \
          `COPY --chmod` give files their owner and mode when they are stored. Needs measurements: every build makes them, and `bake lint \
          --measure`. Reported are at least 1 MB and a hundredth of the image.",
    bad: "FROM debian:12-slim\nCOPY app /app\nRUN chown -R 10001 /app\nUSER 10001\n",
    good: "FROM debian:12-slim\nCOPY --chown=10001 app /app\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    let Some(measurements) = &context.options.measurements else { return };
    let mut groups: BTreeMap<usize, Vec<&MeasuredWaste>> = BTreeMap::new();
    for waste in measurements.waste.iter().filter(|waste| waste.cause == Cause::MetadataChanged) {
        groups.entry(waste.hidden_by).or_default().push(waste);
    }
    for (hidden_by, group) in groups {
        let bytes = group.iter().fold(0_u64, |sum, waste| sum.saturating_add(waste.bytes));
        let files = group.iter().fold(0_u64, |sum, waste| sum.saturating_add(waste.files));
        let programs = ["chown", "chmod", "chgrp", "setfacl", "setcap"];
        let Some(token) = context.measured_token(hidden_by, &programs).filter(|_| measurements.is_notable(bytes))
        else {
            continue;
        };
        let (name, plural) = (context.source(token), if files == 1 { "" } else { "s" });
        let message = format!(
            "`{name}` stores {} a second time ({files} file{plural}), with another owner or mode",
            ByteSize(bytes)
        );
        let flag = match name {
            "chown" | "chgrp" => "--chown=...",
            "chmod" => "--chmod=...",
            _ => "--chown=... --chmod=...",
        };
        let finding = report.report(token, message);
        finding.bytes = Some(bytes);
        for (span, label) in context.writers_of(&group) {
            finding.label(span, label);
        }
        let copies: Vec<&str> = group
            .iter()
            .filter_map(|waste| context.dockerfile.instructions.get(waste.written_by?))
            .filter(|instruction| matches!(instruction.kind, InstructionKind::Copy(_) | InstructionKind::Add(_)))
            .map(|instruction| context.source(instruction.keyword.span))
            .collect();
        match copies.first() {
            Some(keyword) => finding.help(format!("use `{keyword} {flag}` where the files are stored first")),
            None => finding.help(format!("run `{name}` in the instruction that writes the files, before it ends")),
        };
    }
}

#[cfg(test)]
pub(crate) fn example() -> crate::Measurements {
    let waste = MeasuredWaste {
        written_by: Some(1),
        hidden_by: 2,
        cause: Cause::MetadataChanged,
        bytes: 42_000_000,
        files: 700,
        largest: "/app/a".into(),
    };
    crate::Measurements { image_bytes: 200_000_000, waste: vec![waste], ..crate::Measurements::default() }
}
