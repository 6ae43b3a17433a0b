//! `layer-cache-left`

use bake_analyze::ByteSize;

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "layer-cache-left",
    aliases: &[],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "A package manager left so many bytes of downloads or lists in the image that it matters (measured by a build).",
    why: "Package managers keep what they fetched for the next time, which in an image never comes. Remove it in the same instruction, or \
          keep it out of the image with `RUN --mount=type=cache`. Needs measurements: every build makes them, and `bake lint --measure`. \
          Reported are at least 1 MB and a hundredth of the image.",
    bad: "FROM debian:12-slim\nRUN apt-get update && apt-get install -y --no-install-recommends git\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN apt-get update && apt-get install -y --no-install-recommends git && rm -rf /var/lib/apt/lists/*\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    let Some(measurements) = &context.options.measurements else { return };
    for left in measurements.caches.iter().filter(|left| measurements.is_notable(left.bytes)) {
        // `apt lists` and `go modules` begin with whose they are.
        let manager = left.cache.name.split(' ').next().unwrap_or_default();
        let named = context.measured_program(left.instruction, |program| program.starts_with(manager));
        let Some(token) = named.or_else(|| context.measured_token(left.instruction, &[])) else { continue };
        let message = format!("`{}` leaves {} in `{}`", context.source(token), ByteSize(left.bytes), left.directory);
        let finding = report.report(token, message);
        finding.bytes = Some(left.bytes);
        finding.help(left.cache.advice);
    }
}

#[cfg(test)]
pub(crate) fn example() -> crate::Measurements {
    let left = bake_analyze::CacheSum { layer: 1, directory: "/var/lib/apt/lists".into(), bytes: 19_600_000 };
    let cache = crate::measurements::MeasuredCache {
        instruction: 1,
        cache: left.cache().expect("the directory is known"),
        directory: left.directory,
        bytes: left.bytes,
    };
    crate::Measurements { image_bytes: 200_000_000, caches: vec![cache], ..crate::Measurements::default() }
}
