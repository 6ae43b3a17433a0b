//! `workdir-system`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "workdir-system",
    aliases: &["DS-0030", "AVD-DS-0030"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "`WORKDIR` is below `/proc`, `/sys` or `/dev`.",
    why: "Containers mount the kernel's file systems there: what a build puts below them is hidden, and a working directory such as \
          `/proc/self/fd/8` has been a way out of the container.",
    bad: "FROM debian:12-slim\nWORKDIR /proc/self/fd/8\nUSER 10001\n",
    good: "FROM debian:12-slim\nWORKDIR /srv/dev\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for located in &context.instructions {
        let InstructionKind::Workdir(word) = &located.instruction.kind else { continue };
        let path = word.value.trim_matches(['"', '\'']);
        if ["/proc", "/sys", "/dev"].iter().any(|system| crate::context::is_inside(path, system)) {
            report.report(word.span, format!("`{path}` belongs to the kernel")).help("use a directory of the image");
        }
    }
}
