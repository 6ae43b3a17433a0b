//! `label-value-invalid`

use super::prelude::*;
use crate::labels::labels;

pub(super) const RULE: Rule = Rule {
    id: "label-value-invalid",
    aliases: &["DL3052", "DL3053", "DL3054", "DL3055", "DL3056", "DL3058"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "The value of a label is not of the kind that the schema asks for.",
    why: "Programs read it: a version that is none, or an address that leads nowhere, breaks them. Kinds are `url`, `semver`, `hash`, \
          `rfc3339`, `spdx`, `email` and `text`. Variables get the values they have in the Dockerfile; where one has none, nothing is \
          reported. Reports nothing until a label schema is configured.",
    bad: "FROM debian:12-slim\nLABEL version=latest\nUSER 10001\n",
    good: "FROM debian:12-slim\nLABEL version=1.2.3\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    let schema = &context.options.label_schema;
    if schema.is_empty() {
        return;
    }
    for label in labels(context) {
        let (Some(key), Some(value)) = (label.key, label.value) else { continue };
        // An empty one has a rule of its own.
        if let Some(kind) = schema.get(&key).filter(|kind| !value.is_empty() && !kind.accepts(&value)) {
            let message = format!("Value `{value}` of label `{key}` is not {}", kind.description());
            report.report(label.value_span, message);
        }
    }
}

#[cfg(test)]
mod tests {
    use bake_dockerfile::{SourceText, parse};

    use crate::{LabelKind, LintOptions, lint};

    fn found(text: &str, strict: bool) -> Vec<(&'static str, usize)> {
        let schema = [("version", LabelKind::Semver), ("vendor", LabelKind::Text), ("url", LabelKind::Url)];
        let options = LintOptions {
            select: vec!["label-*".to_owned()],
            label_schema: schema.map(|(key, kind)| (key.to_owned(), kind)).into(),
            strict_labels: strict,
            ..LintOptions::default()
        };
        let source = SourceText::new("Dockerfile", text);
        let findings = lint(&parse(source.clone()), &options);
        findings.iter().map(|finding| (finding.rule.id, source.position(finding.span.start).line)).collect()
    }

    #[test]
    fn values_are_expanded() {
        let text = "FROM a AS b\nARG V=1.2.3\nENV BAD=x\nLABEL version=$V vendor=acme\nLABEL url=$UNKNOWN\n\
                    FROM b\nLABEL version=$BAD\n";
        assert_eq!(found(text, false), [("label-value-invalid", 7)]);
    }

    #[test]
    fn labels_are_asked_for_once_and_others_refused() {
        let text = "FROM a\nLABEL version=1.0.0\nLABEL vendor=\"\"\nLABEL vendr=x\n";
        assert_eq!(found(text, false), [("label-missing", 1), ("label-empty", 3)]);
        assert_eq!(found(text, true), [("label-missing", 1), ("label-empty", 3), ("label-unexpected", 4)]);
        assert_eq!(found("FROM a\nLABEL $X=1\n", true), []);
    }
}
