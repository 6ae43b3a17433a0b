//! `bake build --check` and `bake lint` find the same violations of the build checks, apart from the differences that are listed here
//! and explained in `docs/lint.md`.

#![expect(clippy::unwrap_used, reason = "a failed test should panic")]

use std::collections::BTreeSet;
use std::path::Path;

use bake_dockerfile::{Dockerfile, SourceText, Span};
use bake_frontend::{CHECKS, MetaError, MetaResolver, NamedContext, PlanOptions, ResolvedImage};
use bake_lint::{LintOptions, lint};
use bake_oci::{Digest, ImageConfig, Platform, Reference};
use bake_testkit::fake_resolver::FakeResolver;

/// The cases whose Dockerfiles are compared.
const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/cases");

/// Who finds a violation alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Door {
    Build,
    Lint,
}

/// Where the two differ on purpose: case, line of the instruction, check, who finds it, and why the other does not.
const DIFFERENCES: &[(&str, usize, &str, Door, &str)] = &[
    ("args/env-of-one-line", 3, "UndefinedVar", Door::Build, DEFAULT),
    ("args/nested-modifiers", 3, "UndefinedVar", Door::Build, DEFAULT),
    ("args/nested-modifiers", 4, "UndefinedVar", Door::Build, DEFAULT),
    ("check/commands", 8, "JSONArgsRecommended", Door::Build, "after `exec` signals reach the program"),
    ("check/experimental", 6, "InvalidDefinitionDescription", Door::Build, "`skip=all` hides everything in lint"),
    ("check/experimental", 10, "InvalidDefinitionDescription", Door::Build, "`skip=all` hides everything in lint"),
    ("check/outline", 7, "SecretsUsedInArgOrEnv", Door::Build, "`TOKEN_NAME` is the name of a token"),
    ("check/secrets", 5, "SecretsUsedInArgOrEnv", Door::Lint, "labels can be read by everybody, too"),
    ("check/skipped", 11, "InvalidDefinitionDescription", Door::Lint, "builds run experimental checks when asked to"),
    ("check/undefined-variables", 8, "UndefinedVar", Door::Build, DEFAULT),
    ("check/undefined-variables", 13, "UndefinedVar", Door::Lint, "BuildKit does not look at EXPOSE"),
    (
        "error/names-in-unused-stages",
        1,
        "InvalidDefaultArgInFrom",
        Door::Build,
        "the argument is not declared: one finding is enough",
    ),
    ("lint/suppressed", 3, "WorkdirRelativePath", Door::Build, "a comment for linters does not concern builds"),
    ("parse/env-forms", 4, "SecretsUsedInArgOrEnv", Door::Lint, "labels can be read by everybody, too"),
    ("parse/env-forms", 5, "UndefinedVar", Door::Build, DEFAULT),
    ("parse/escape-backtick", 6, "WorkdirRelativePath", Door::Build, "`c:\\x` is absolute"),
    ("plan/entrypoint-and-command-forms", 2, "JSONArgsRecommended", Door::Build, "empty"),
    ("plan/entrypoint-and-command-forms", 3, "JSONArgsRecommended", Door::Build, "empty"),
    ("plan/entrypoint-and-command-forms", 8, "JSONArgsRecommended", Door::Build, "broken JSON has a rule of its own"),
    ("plan/entrypoint-and-command-forms", 9, "JSONArgsRecommended", Door::Build, "broken JSON has a rule of its own"),
    ("plan/expose-host-ports", 4, "UndefinedVar", Door::Lint, "BuildKit does not look at EXPOSE"),
    ("plan/mount-type-variable", 6, "UndefinedVar", Door::Build, DEFAULT),
    ("plan/triggers-of-every-kind", 10, "JSONArgsRecommended", Door::Lint, "a trigger is judged where it is written"),
    ("plan/triggers-of-every-kind", 19, "WorkdirRelativePath", Door::Build, "a trigger is judged where it is written"),
];

const DEFAULT: &str = "a variable with a default may be undefined";

/// Knows every image: the base images of the tests, and any other name as an image without settings.
#[derive(Debug, Default)]
struct EveryImage(FakeResolver);

impl MetaResolver for EveryImage {
    fn resolve_image(&self, reference: &Reference, platform: &Platform) -> Result<ResolvedImage, MetaError> {
        self.0.resolve_image(reference, platform).or_else(|_| {
            let manifest = Digest::of(reference.to_string().as_bytes());
            let config = ImageConfig::for_platform(platform);
            Ok(ResolvedImage {
                reference: format!("{reference}@{manifest}"),
                manifest,
                origin: bake_graph::ImageOrigin::Store,
                config,
            })
        })
    }

    fn named_context(&self, name: &str, platform: &Platform) -> Result<Option<NamedContext>, MetaError> {
        self.0.named_context(name, platform)
    }
}

/// A violation: the line on which its instruction begins, and the check.
type Violations = BTreeSet<(usize, &'static str)>;

fn line_of_instruction(dockerfile: &Dockerfile, span: Span) -> usize {
    let inside = |found: Span| found.start <= span.start && span.start <= found.end;
    let instruction = dockerfile.instructions.iter().find(|found| inside(found.span) || found.comments.contains(&span));
    dockerfile.source.position(instruction.map_or(span.start, |instruction| instruction.span.start)).line
}

fn by_build(dockerfile: &Dockerfile) -> Violations {
    let options = PlanOptions::for_platform(Platform::new("linux", "amd64", None));
    let Ok(checked) = bake_frontend::check(dockerfile, &options, &EveryImage::default()) else {
        return BTreeSet::new();
    };
    checked.warnings.iter().map(|found| (line_of_instruction(dockerfile, found.span), found.code.0)).collect()
}

fn by_lint(dockerfile: &Dockerfile) -> Violations {
    let options = LintOptions { select: vec!["all".into()], ..LintOptions::default() };
    let check = |rule: &bake_lint::Rule| CHECKS.iter().map(|check| check.name).find(|name| rule.is_named(name));
    let findings = lint(dockerfile, &options);
    findings
        .iter()
        .filter_map(|found| Some((line_of_instruction(dockerfile, found.span), check(found.rule)?)))
        .collect()
}

#[test]
fn builds_and_the_linter_find_the_same() {
    let mut compared = BTreeSet::new();
    let mut found = BTreeSet::new();
    for case in bake_testkit::case::discover(Path::new(CASES)).unwrap() {
        let dockerfile = bake_dockerfile::parse(SourceText::new("Dockerfile", case.dockerfile().unwrap()));
        if dockerfile.has_errors() {
            continue;
        }
        let (build, lint) = (by_build(&dockerfile), by_lint(&dockerfile));
        compared.extend(build.intersection(&lint).map(|(_, check)| *check));
        for (door, only) in [(Door::Build, &build - &lint), (Door::Lint, &lint - &build)] {
            found.extend(only.into_iter().map(|(line, check)| (case.name.clone(), line, check, door)));
        }
    }
    let listed = DIFFERENCES.iter().map(|(case, line, check, door, _)| ((*case).to_owned(), *line, *check, *door));
    let listed: BTreeSet<_> = listed.collect();
    let unlisted: Vec<_> = found.difference(&listed).collect();
    assert!(unlisted.is_empty(), "found by one alone; mend that, or list it with a reason: {unlisted:#?}");
    let gone: Vec<_> = listed.difference(&found).collect();
    assert!(gone.is_empty(), "listed as differences and none any more: {gone:#?}");
    // The cases have something for all that can be told from a Dockerfile and the images it names.
    // The one case of the experimental check is among the differences.
    let surroundings = ["CopyIgnoredFile", "InvalidBaseImagePlatform", "InvalidDefinitionDescription"];
    let never = CHECKS.iter().map(|check| check.name).filter(|name| !compared.contains(name));
    let never: Vec<&str> = never.filter(|name| !surroundings.contains(name)).collect();
    assert!(never.is_empty(), "no case shows that both find {never:?}");
}
