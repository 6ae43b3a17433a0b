//! Checks that depend on what only a resolver knows.

use bake_dockerfile::{IgnoreFile, IgnorePatterns, SourceText, parse};
use bake_frontend::{
    CHECKS, Checked, MetaError, MetaResolver, NamedContext, PlanOptions, ResolvedImage, check, check_named,
};
use bake_graph::BuildGraph;
use bake_oci::{DiffId, Digest, ImageConfig, Platform, Reference};
use bake_testkit::fake_resolver::FakeResolver;

/// Has images for one platform only, whatever is asked for, and an ignore file.
struct OnePlatform {
    images: FakeResolver,
    platform: Platform,
    ignore: IgnorePatterns,
}

impl MetaResolver for OnePlatform {
    fn resolve_image(&self, reference: &Reference, _: &Platform) -> Result<ResolvedImage, MetaError> {
        let mut image = self.images.resolve_image(reference, &self.platform)?;
        if reference.familiar().starts_with("empty") {
            image.config = ImageConfig::for_platform(&self.platform);
        } else if image.config.rootfs.diff_ids.is_empty() {
            image.config.rootfs.diff_ids.push(DiffId(Digest::of(b"layer")));
        }
        Ok(image)
    }

    fn named_context(&self, _: &str, _: &Platform) -> Result<Option<NamedContext>, MetaError> {
        Ok(None)
    }

    fn ignore_patterns(&self) -> Option<&IgnorePatterns> {
        Some(&self.ignore)
    }
}

fn checked(text: &str) -> Checked {
    let mut images = FakeResolver::new();
    images.add_image("empty", ImageConfig::for_platform(&Platform::new("linux", "arm64", None)));
    let resolver = OnePlatform {
        images,
        platform: Platform::new("linux", "arm64", None),
        ignore: IgnoreFile::parse(b"*.log\n").unwrap(),
    };
    let options = PlanOptions::for_platform(Platform::new("linux", "amd64", None));
    check(&mut BuildGraph::new(), &parse(SourceText::new("Dockerfile", text)), &options, &resolver).unwrap()
}

fn messages(text: &str) -> Vec<String> {
    checked(text).warnings.into_iter().map(|warning| format!("{}: {}", warning.code, warning.message)).collect()
}

#[test]
fn base_images_of_another_platform_are_told_once_for_each_use() {
    let message = "InvalidBaseImagePlatform: Base image busybox was pulled with platform \"linux/arm64\", expected \"linux/amd64\" \
                   for current build";
    assert_eq!(messages("FROM busybox AS a\nFROM a\nFROM scratch\n"), [message]);
    assert_eq!(messages("FROM scratch\nCOPY --from=busybox /x /x\n"), [message]);
    assert_eq!(messages("FROM empty\n"), [""; 0]);
    assert_eq!(messages("FROM --platform=linux/arm64 busybox AS for-arm64\n"), [""; 0]);
}

#[test]
fn ignored_sources_are_those_of_the_context() {
    let found = messages("FROM scratch AS a\nCOPY x.log /x\nFROM scratch\nCOPY --from=a y.log /y\nADD ./z.log /z\n");
    let message = |verb: &str, file: &str| {
        format!("CopyIgnoredFile: Attempting to {verb} file \"{file}\" that is excluded by .dockerignore")
    };
    assert_eq!(found, [message("Copy", "x.log"), message("Add", "z.log")]);
}

#[test]
fn triggers_are_shown_at_the_from_that_runs_them() {
    let checked = checked("FROM scratch AS a\nONBUILD WORKDIR relative\nONBUILD ENV A=$NOWHERE\nFROM a\n");
    let found: Vec<(&str, usize)> =
        checked.warnings.iter().map(|warning| (warning.code.0, warning.span.start)).collect();
    let from = "FROM scratch AS a\nONBUILD WORKDIR relative\nONBUILD ENV A=$NOWHERE\n".len();
    assert_eq!(found, [("WorkdirRelativePath", from), ("UndefinedVar", from)]);
}

#[test]
fn findings_become_errors_where_the_file_or_a_comment_asks_for_it() {
    assert_eq!(checked("FROM scratch\nWORKDIR x\n").violated, [""; 0]);
    let text = "# check=error=true\nFROM scratch\nWORKDIR x\nENV A=$B\nENV C=$D\n";
    assert_eq!(checked(text).violated, ["WorkdirRelativePath", "UndefinedVar"]);
    assert_eq!(checked("FROM scratch\n# check=error=true\nWORKDIR x\n").violated, ["WorkdirRelativePath"]);
}

#[test]
fn checks_are_found_by_name() {
    for check in CHECKS {
        assert_eq!(check_named(check.name), Some(check));
        assert_eq!(check.url().is_none(), check.name == "InvalidBaseImagePlatform");
    }
    assert_eq!(check_named("NoSuchCheck"), None);
}
