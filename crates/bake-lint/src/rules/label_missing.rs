//! `label-missing`

use std::collections::BTreeSet;

use super::prelude::*;
use crate::labels::{Label, labels};

pub(super) const RULE: Rule = Rule {
    id: "label-missing",
    aliases: &["DL3049"],
    severity: Severity::Info,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "A label that the schema asks for is missing from the image.",
    why: "Who finds the image in a registry learns from its labels where it comes from. Only the stage that becomes the image and the \
          stages it is built from count. Reports nothing until a label schema is configured.",
    bad: "FROM debian:12-slim\nLABEL vendor=acme\nUSER 10001\n",
    good: "FROM debian:12-slim\nLABEL maintainer=\"Jo Doe\"\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    let schema = &context.options.label_schema;
    let Some(target) = context.stages.iter().position(|stage| stage.is_target) else { return };
    if schema.is_empty() {
        return;
    }
    let in_result = |label: &Label| label.stage.is_some_and(|stage| context.stages[stage].in_result);
    let labels: Vec<Label> = labels(context).into_iter().filter(in_result).collect();
    // A key with a variable in it may be any.
    if labels.iter().any(|label| label.key.is_none()) {
        return;
    }
    let present: BTreeSet<&str> = labels.iter().filter_map(|label| label.key.as_deref()).collect();
    for key in schema.keys().filter(|key| !present.contains(key.as_str())) {
        let finding = report.report(context.stages[target].from.image.span, format!("Label `{key}` is missing"));
        finding.help(format!("add `LABEL {key}=...`"));
    }
}
