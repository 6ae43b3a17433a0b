//! Lint rules, fixes and suppressions over the Dockerfile syntax tree.
//!
//! Purpose: say what is wrong, risky or wasteful in a Dockerfile, where exactly, and how to change the text.
//!
//! Entry point: [`lint`] takes a parsed file and [`LintOptions`] and returns [`Finding`]s in source order; [`apply_fixes`] changes the
//! text; [`report`] turns findings into JSON and SARIF. [`RULES`] lists the rules with their documentation. [`image_references`]
//! tells which images are named, and where their digests can be written.
//!
//! Invariants: linting never fails and never panics, whatever the text; the same text and options give the same findings on every
//! machine. Rules see commands, not text: what a `RUN` executes is read by the crate's own shell reader.
//!
//! Must not: reach the solver, the disk, the network, the clock or the environment; print.
#![forbid(unsafe_code)]

mod apt_configuration;
mod change;
mod context;
mod finding;
mod fix;
mod image;
mod label_schema;
mod labels;
mod measured;
mod measurements;
mod names;
mod options;
mod packages;
mod pin;
mod profile;
pub mod report;
mod rule;
mod rules;
mod run_script;
mod secrets;
mod shell;
mod shellcheck;
mod suppression;
mod surroundings;
#[cfg(test)]
mod testing;
mod variables;
mod wildcard;

use bake_dockerfile::{Dockerfile, Severity};

pub use finding::{Finding, Fix, NewFile, TextEdit};
pub use fix::{Fixed, apply_fixes};
pub use label_schema::{LabelKind, LabelSchema};
pub use measurements::{MeasuredCache, MeasuredUnread, MeasuredWaste, Measurements, PackageCache};
pub use names::{NameMeaning, meaning};
pub use options::{DEFAULT_TODAY, Date, LintOptions};
pub use pin::{ImageReference, PinObstacle, PinPlace, apply_pins, image_references};
pub use profile::Profile;
pub use rule::{FixSafety, Rule};
pub use rules::RULES;
pub use shellcheck::{ShellChecker, ShellRemark, ShellScript};
pub use surroundings::{BuildContext, Found, IgnoreFile, ImageFacts, UnwantedPath};

use context::LintContext;
use finding::Reporter;

/// The findings of all enabled rules, comments that hide some of them obeyed, in source order. The parser's own diagnostics are among
/// them, under the rules `parse-error`, `unknown-instruction` and so on, so the caller need not report those again.
pub fn lint(dockerfile: &Dockerfile, options: &LintOptions) -> Vec<Finding> {
    lint_by(|_| true, dockerfile, options)
}

/// The same for the rules about [`LintOptions::measurements`] alone: what a build says at its end.
pub fn lint_measured(dockerfile: &Dockerfile, options: &LintOptions) -> Vec<Finding> {
    lint_by(Rule::is_measured, dockerfile, options)
}

fn lint_by(wanted: impl Fn(&Rule) -> bool, dockerfile: &Dockerfile, options: &LintOptions) -> Vec<Finding> {
    let context = LintContext::new(dockerfile, options);
    let mut findings = Vec::new();
    for rule in RULES.iter().filter(|rule| wanted(rule) && options.is_enabled(rule)) {
        (rule.check)(&context, &mut Reporter::new(rule, &mut findings));
    }
    drop_repeated(&context, &mut findings);
    let mut findings = if options.obey_suppressions { suppression::apply(&context, findings) } else { findings };
    // Judging comments is for those who read all findings.
    findings.retain(|finding| wanted(finding.rule));
    let checks_are_errors = dockerfile.directives.check.as_ref().is_some_and(|check| check.value.error);
    for finding in &mut findings {
        let by_directive = (checks_are_errors && finding.rule.is_build_check()).then_some(Severity::Error);
        let by_caller = options.chosen_severity(finding.rule);
        if let Some(severity) = by_caller.or(by_directive).or_else(|| options.profile.severity(finding.rule)) {
            finding.severity = severity;
        }
    }
    findings.sort_by_key(|finding| (finding.span.start, finding.rule.id));
    findings
}

/// Removes remarks of other programs that are to be ignored by their code, or that a rule has made in the same line.
fn drop_repeated(context: &LintContext<'_>, findings: &mut Vec<Finding>) {
    if findings.iter().all(|finding| finding.code.is_none()) {
        return;
    }
    let line = |finding: &Finding| context.dockerfile.source.position(finding.span.start).line;
    let own: Vec<(&Rule, usize)> =
        findings.iter().filter(|finding| finding.code.is_none()).map(|finding| (finding.rule, line(finding))).collect();
    findings.retain(|finding| {
        let Some(code) = &finding.code else { return true };
        let place = line(finding);
        let repeated = own.iter().any(|(rule, line)| *line == place && rule.is_named(code));
        !repeated && !context.options.ignore.iter().any(|name| finding.has_code(name))
    });
}

/// The rule with this id or alias; of several with the same alias the first.
pub fn rule_named(name: &str) -> Option<&'static Rule> {
    let by_id = RULES.iter().find(|rule| rule.id.eq_ignore_ascii_case(name));
    by_id.or_else(|| RULES.iter().find(|rule| rule.is_named(name))).copied()
}
