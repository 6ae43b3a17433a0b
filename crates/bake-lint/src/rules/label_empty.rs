//! `label-empty`

use super::prelude::*;
use crate::labels::labels;

pub(super) const RULE: Rule = Rule {
    id: "label-empty",
    aliases: &["DL3051"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "A label that the schema asks for is empty.",
    why: "It is there so that people and programs can read it. Reports nothing until a label schema is configured.",
    bad: "FROM debian:12-slim\nLABEL maintainer=\"\"\nUSER 10001\n",
    good: "FROM debian:12-slim\nLABEL maintainer=\"Jo Doe\"\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    let schema = &context.options.label_schema;
    if schema.is_empty() {
        return;
    }
    for label in labels(context) {
        if let (Some(key), Some("")) = (&label.key, label.value.as_deref())
            && schema.contains_key(key)
        {
            report.report(label.key_span, format!("Label `{key}` is empty"));
        }
    }
}
