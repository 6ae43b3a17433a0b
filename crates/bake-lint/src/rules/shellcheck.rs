//! `shellcheck`

use super::prelude::*;
use crate::shellcheck::scripts;

pub(super) const RULE: Rule = Rule {
    id: "shellcheck",
    aliases: &[],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "What the program ShellCheck says of the shell text of a `RUN`.",
    why: "bake has rules of its own for what matters most in a `RUN`; ShellCheck knows several hundred things more. It runs when \
          `--shellcheck` is given and the program is installed. What a rule of bake reports in the same line under the same number is \
          not repeated, and each number can be ignored by itself: `# bake: ignore=SC2010`.",
    bad: "FROM debian:12-slim\nRUN ls | grep conf\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN find . -name '*.conf'\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    let Some(checker) = &context.options.shell_checker else { return };
    let mut all = Vec::new();
    let mut places = Vec::new();
    for run in &context.runs {
        for script in scripts(context, run) {
            all.push(script);
            places.push(run);
        }
    }
    for ((script, run), remarks) in all.iter().zip(places).zip(checker.check(&all)) {
        let image = run.stage.and_then(|stage| context.root_image(stage));
        let knows_posix_only = image.is_some_and(crate::image::ImageName::shell_is_dash);
        let remarks = match remarks {
            Ok(remarks) => remarks,
            Err(problem) => {
                report.report(run.instruction.keyword.span, format!("ShellCheck did not look at this: {problem}"));
                continue;
            }
        };
        // SC3xxx say what POSIX does not promise: where `sh` is not dash, it may well know it.
        for remark in remarks.iter().filter(|remark| knows_posix_only || !(3000..4000).contains(&remark.code)) {
            let Some(span) = script.span(remark) else { continue };
            let code = format!("SC{:04}", remark.code);
            let message = format!("{} ({code})", remark.message.trim_end_matches('.'));
            let finding = report.report(span, message);
            finding.severity(remark.severity).help(format!("see https://www.shellcheck.net/wiki/{code}"));
            finding.code = Some(code);
        }
    }
}
