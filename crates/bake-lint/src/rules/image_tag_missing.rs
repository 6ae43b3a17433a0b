//! `image-tag-missing`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "image-tag-missing",
    aliases: &["DL3006", "DS-0001", "AVD-DS-0001", "CKV_DOCKER_7"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "An image is used with neither tag nor digest, in `FROM`, `COPY --from` or `RUN --mount=from`.",
    why: "Without a tag the registry serves `latest`, so the image changes under the Dockerfile. Stage names and `scratch` are not \
          images and are left alone.",
    bad: "FROM debian\nUSER 10001\n",
    good: "FROM debian:12.5-slim AS base\nFROM base\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for image in &context.images {
        if image.name.tag.is_none() && image.name.digest.is_none() && !image.is_misspelt_stage {
            let finding = report.report(image.span, format!("Image `{}` has no tag", image.name.repository));
            finding.help(format!("name the release that was tested: `{}:TAG`", image.name.repository));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::lines;

    #[test]
    fn only_images_count() {
        let text = "ARG BASE=debian\nARG GIVEN\nFROM $BASE AS a\nFROM a\nFROM scratch\nFROM $GIVEN\nFROM x@sha256:aa\n\
                    COPY --from=nginx /a /\nCOPY --from=0 /a /\nCOPY --from=A /a /\nFROM localhost:5000/x\n";
        assert_eq!(lines("image-tag-missing", text), [3, 8, 11]);
    }
}
