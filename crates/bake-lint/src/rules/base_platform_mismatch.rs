//! `base-platform-mismatch`

use super::prelude::*;
use bake_checks::base_platform_named;

pub(super) const RULE: Rule = Rule {
    id: "base-platform-mismatch",
    aliases: &["InvalidBaseImagePlatform", "platform-mismatch"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "A base image is for another platform than the stage that begins from it.",
    why: "Its programs do not run, or only under emulation. Known only of images that are in the local store, or in an editor that was \
          told.",
    bad: "FROM --platform=linux/arm64 example.com/only-amd64:1\nUSER 10001\n",
    good: "FROM --platform=linux/amd64 example.com/only-amd64:1 AS build-amd64\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for stage in &context.stages {
        let Base::Image(image) = &stage.base else { continue };
        let Some(facts) = context.image_facts(image).filter(|facts| !facts.platform.is_empty()) else { continue };
        let given = |name: &str| context.options.build_args.get(name).cloned();
        let wanted = match &stage.from.platform {
            // What the machine would fill in is not known here.
            Some(word) => context
                .expander()
                .expand(&word.value, &|name| given(name).or_else(|| context.global_args.get(name).cloned().flatten()))
                .ok()
                .filter(|expansion| expansion.undefined.is_empty())
                .map(|expansion| expansion.text),
            None => given("TARGETPLATFORM"),
        };
        let Some(wanted) = wanted else { continue };
        let span = stage.from.platform.as_ref().map_or(stage.from.image.span, |word| word.span);
        if let Some(violation) = base_platform_named(&image.to_string(), &facts.platform, &wanted, span) {
            report.violation(violation);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::testing::findings_with;
    use crate::{ImageFacts, LintOptions};

    #[test]
    fn only_known_images_and_platforms_are_judged() {
        let found = |text: &str, target: Option<&str>| {
            let facts = ImageFacts { platform: "linux/amd64".to_owned(), ..ImageFacts::default() };
            let options = LintOptions {
                images: BTreeMap::from([("x:1".to_owned(), facts)]),
                build_args: target.map(|target| ("TARGETPLATFORM".to_owned(), target.to_owned())).into_iter().collect(),
                ..LintOptions::default()
            };
            findings_with(text, &options).iter().filter(|finding| finding.rule.id == "base-platform-mismatch").count()
        };
        assert_eq!(found("FROM --platform=linux/arm64 x:1\n", None), 1);
        assert_eq!(found("FROM --platform=linux/x86_64 x:1\n", None), 0);
        assert_eq!(found("ARG P=linux/arm64\nFROM --platform=$P x:1\n", None), 1);
        assert_eq!(found("FROM --platform=$BUILDPLATFORM x:1\n", None), 0);
        assert_eq!(found("FROM x:1\n", None), 0);
        assert_eq!(found("FROM x:1\n", Some("linux/arm64/v8")), 1);
        assert_eq!(found("FROM --platform=linux/arm64 y:1\n", Some("linux/arm64/v8")), 0);
    }
}
