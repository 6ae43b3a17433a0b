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
mod options;
mod packages;
mod pin;
pub mod report;
mod rule;
mod rules;
mod run_script;
mod shell;
mod suppression;
mod surroundings;
#[cfg(test)]
mod testing;

use bake_dockerfile::Dockerfile;

pub use finding::{Finding, Fix, NewFile, TextEdit};
pub use fix::{Fixed, apply_fixes};
pub use options::{DEFAULT_TODAY, Date, LintOptions};
pub use pin::{ImageReference, PinObstacle, PinPlace, apply_pins, image_references};
pub use rule::{FixSafety, Rule};
pub use rules::RULES;
pub use surroundings::{BuildContext, Found, IgnoreFile, ImageFacts, UnwantedPath};

use context::LintContext;
use finding::Reporter;

/// The findings of all enabled rules, comments that hide some of them obeyed, in source order. The parser's own diagnostics are among
/// them, under the rules `parse-error`, `unknown-instruction` and so on, so the caller need not report those again.
pub fn lint(dockerfile: &Dockerfile, options: &LintOptions) -> Vec<Finding> {
    let context = LintContext::new(dockerfile, options);
    let mut findings = Vec::new();
    for rule in RULES.iter().filter(|rule| options.is_enabled(rule)) {
        (rule.check)(&context, &mut Reporter::new(rule, &mut findings));
    }
    let unused = rule_named("unused-suppression").filter(|rule| options.is_enabled(rule));
    let mut findings = suppression::apply(&context, findings, unused, |rule| options.is_enabled(rule));
    for finding in &mut findings {
        if let Some(severity) = options.severity(finding.rule) {
            finding.severity = severity;
        }
    }
    findings.sort_by_key(|finding| (finding.span.start, finding.rule.id));
    findings
}

/// The rule with this id or alias; of several with the same alias the first.
pub fn rule_named(name: &str) -> Option<&'static Rule> {
    let by_id = RULES.iter().find(|rule| rule.id.eq_ignore_ascii_case(name));
    by_id.or_else(|| RULES.iter().find(|rule| rule.is_named(name))).copied()
}
