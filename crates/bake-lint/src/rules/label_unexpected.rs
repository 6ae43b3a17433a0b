//! `label-unexpected`

use super::prelude::*;
use crate::labels::labels;

pub(super) const RULE: Rule = Rule {
    id: "label-unexpected",
    aliases: &["DL3050"],
    severity: Severity::Info,
    default: true,
    since: 2026,
    fix: FixSafety::Unsafe,
    summary: "A label is not one that the schema names.",
    why: "With strict labels, images have those that were agreed on and no others, so a misspelled one is noticed. Reports nothing \
          unless strict labels are configured.",
    bad: "FROM debian:12-slim\nLABEL maintainer=Jo maintainr=Jo\nUSER 10001\n",
    good: "FROM debian:12-slim\nLABEL maintainer=Jo\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    if !context.options.strict_labels {
        return;
    }
    let schema = &context.options.label_schema;
    for label in labels(context) {
        let Some(key) = label.key.filter(|key| !schema.contains_key(key)) else { continue };
        let near = bake_dockerfile::suggest(&key, schema.keys().map(String::as_str), true);
        let finding = report.report(label.key_span, format!("Label `{key}` is not in the label schema"));
        if let Some(near) = near {
            finding.help(format!("did you mean `{near}`?"));
            let as_written = context.source(label.key_span) == key;
            if as_written {
                finding.unsafe_fix(format!("Rename it to `{near}`"), vec![TextEdit::replace(label.key_span, near)]);
            }
        }
    }
}
