//! `image-tag-latest`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "image-tag-latest",
    aliases: &["DL3007", "DS-0001", "AVD-DS-0001", "CKV_DOCKER_7"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "An image is used by the tag `latest`, in `FROM`, `COPY --from` or `RUN --mount=from`.",
    why: "`latest` is whatever was pushed last: the same Dockerfile builds different images on different days, and a build that \
          worked breaks without a change. Build arguments are resolved to their defaults before the tag is looked at.",
    bad: "ARG TAG=latest\nFROM debian:${TAG}\nUSER 10001\n",
    good: "FROM debian:12.5-slim\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for image in &context.images {
        if image.name.tag.as_deref() == Some("latest") && image.name.digest.is_none() {
            let finding =
                report.report(image.span, format!("Image `{}` is used by the tag `latest`", image.name.repository));
            finding.help("name the release that was tested, and its digest to fix the bytes: `NAME:1.2@sha256:...`");
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::lines;

    #[test]
    fn arguments_and_stages_are_resolved() {
        let text = "ARG TAG=latest\nARG NONE\nFROM debian:$TAG AS latest\nFROM debian:${NONE:-latest}\nFROM latest\n\
                    FROM a:latest@sha256:aa\nCOPY --from=nginx:latest /a /\nCOPY --from=LATEST /a /\n\
                    RUN --mount=type=bind,from=golang:latest,target=/go true\n";
        assert_eq!(lines("image-tag-latest", text), [3, 4, 7, 9]);
    }
}
