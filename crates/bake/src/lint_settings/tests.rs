//! What files say, and who wins.

#![expect(clippy::unwrap_used, reason = "a failed test should panic")]

use bake::cli::{Arguments, Command};
use clap::Parser as _;

use super::*;

fn typed(arguments: &[&str]) -> Result<LintSettings, CommandError> {
    match Arguments::try_parse_from(["bake", "lint"].iter().chain(arguments)).unwrap().command {
        Command::Lint(lint) => LintSettings::typed(&lint),
        other => panic!("parsed as {other:?}"),
    }
}

fn document(text: &str) -> LintSettings {
    document::parse(text, "f", Path::new("/p")).unwrap()
}

fn is_on(settings: &LintSettings, path: &str, rule: &str) -> bool {
    settings.options_for(Path::new(path)).is_enabled(bake_lint::rule_named(rule).unwrap())
}

#[test]
fn every_key_is_read() {
    let settings = document(
        "profile = \"strict\"\nedition = 2026\nselect = [\"DL*\"]\nextend-select = [\"pkg-version-unpinned\"]\nignore = [\"DL3059\", \"SC1091\"]\n\
         fail-level = \"info\"\ntrusted-registries = [\"*.example.com\"]\nstrict-labels = true\nrequire-reason = true\n\
         disable-ignore-pragma = true\nexclude = [\"old\"]\n[severity]\nsudo = \"error\"\n\"apt-*\" = \"style\"\n\
         [label-schema]\n\"a.b\" = \"semver\"\n[per-file-ignores]\n\"tests/**\" = [\"sudo\"]\n",
    );
    let options = settings.options_for(Path::new("/p/Dockerfile"));
    assert_eq!((options.profile, options.edition), (Profile::Strict, Some(2026)));
    assert_eq!(options.select, ["DL*"]);
    assert_eq!(options.extend_select, ["pkg-version-unpinned", REASON_RULE]);
    assert_eq!(options.ignore, ["DL3059", "SC1091"]);
    assert_eq!(options.severities.len(), 2);
    assert_eq!(options.trusted_registries, ["*.example.com"]);
    assert_eq!(options.label_schema.get("a.b"), Some(&bake_lint::LabelKind::Semver));
    assert!(options.strict_labels && !options.obey_suppressions);
    assert_eq!(settings.fail_level(), FailLevel::Info);
    assert!(
        settings.excludes(Path::new("/p/x/old/Dockerfile")) && !settings.excludes(Path::new("/p/older/Dockerfile"))
    );
    assert!(!is_on(&settings, "/p/tests/a/Dockerfile", "sudo") && is_on(&settings, "/p/a/Dockerfile", "sudo"));
}

#[test]
fn sections_are_told_from_keys() {
    let parse = |text: &str| document::parse(text, "f", Path::new("/p"));
    assert_eq!(parse("[lint]\nignore = [\"sudo\"]\n").unwrap().ignore, ["sudo"]);
    assert_eq!(parse("ignore = [\"sudo\"]\n").unwrap().ignore, ["sudo"]);
    assert!(parse("").unwrap().is_silent());
    // A `bake.toml` without that section says nothing about linting.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bake.toml");
    let read =
        || crate::configuration::of_project_directory(directory.path(), &[crate::configuration::key::Section::Lint]);
    assert!(read().unwrap().is_none());
    std::fs::write(&path, "[build]\ntarget = \"a\"\n").unwrap();
    assert!(read().unwrap().is_none());
    std::fs::write(&path, "[lint]\nignore = [\"sudo\"]\n[build]\n").unwrap();
    assert_eq!(document::of_values(&read().unwrap().unwrap()).unwrap().ignore, ["sudo"]);
    std::fs::write(&path, "ignore = []\n").unwrap();
    assert!(read().is_err());
}

#[test]
fn mistakes_are_told_with_a_cure() {
    for (text, problem, cure) in [
        ("ingore = []", "there is no key `ingore` in section `lint`", "did you mean `ignore`?"),
        ("ignore = [\"sudoo\"]", "there is no rule `sudoo`", "did you mean `sudo`?"),
        ("select = [\"SC9999\"]", "there is no rule `SC9999`", "--shellcheck"),
        ("[severity]\nsudoo = \"error\"", "there is no rule `sudoo`", "sudo"),
        ("[severity]\nsudo = \"fatal\"", "`lint.severity.sudo`: expected one of error", ""),
        ("profile = \"hard\"", "`lint.profile`: expected one of default, strict, hadolint", ""),
        ("edition = \"2026\"", "`lint.edition`: expected a whole number", ""),
        ("fail-level = \"high\"", "`lint.fail-level`: expected one of error", ""),
        ("exclude = [\"a[\"]", "`a[` is not a pattern", ""),
        ("[label-schema]\nx = \"number\"", "`lint.label-schema.x`: expected one of text", ""),
        ("[per-file-ignores]\nx = \"sudo\"", "`lint.per-file-ignores.x`: expected a list", ""),
        ("[lnit]\nignore = []", "there is no key `lnit` in section `lint`", ""),
        ("[lint]\n[gc]", "there is no section `gc`", ""),
        ("lint = 1", "`lint` is a section", ""),
        ("edition = 1999", "`lint.edition`: expected a year", ""),
    ] {
        let error = document::parse(text, "f", Path::new("/p")).unwrap_err().into_error(Path::new("f"));
        let shown = error.render(bake::ui::colour::Colour::Plain);
        assert!(shown.contains(problem) && shown.contains(cure), "{text}: {shown}");
    }
}

#[test]
fn what_is_typed_wins() {
    let file = document(
        "ignore = [\"sudo\"]\nextend-select = [\"apk-no-cache\"]\nfail-level = \"error\"\nprofile = \"strict\"\n",
    );
    let more = file.with(&typed(&["--ignore", "maintainer", "--fail-level", "style"]).unwrap());
    assert!(!is_on(&more, "/p/D", "sudo") && !is_on(&more, "/p/D", "maintainer"));
    assert_eq!(more.fail_level(), FailLevel::Style);
    let anew = file.with(&typed(&["--select", "sudo", "--no-fail"]).unwrap());
    assert!(is_on(&anew, "/p/D", "sudo") && !is_on(&anew, "/p/D", "apk-no-cache"));
    assert_eq!(anew.fail_level(), FailLevel::None);
    assert_eq!(anew.options_for(Path::new("/p/D")).profile, Profile::Strict);
    assert!(typed(&["--select", "no-such-rule"]).is_err());
    assert!(typed(&["--exclude", "a["]).is_err());
}

#[test]
fn the_file_of_hadolint_is_read_as_it_is() {
    let settings = hadolint::parse(
        "failure-threshold: info\nformat: tty\nignored:\n  - DL3008\n  - SC2086\noverride:\n  error:\n    - DL3059\n  info: [DL3003]\n\
         label-schema:\n  author: text\n  contact: email\nno-color: true\nstrict-labels: true\ndisable-ignore-pragma: false\n\
         trustedRegistries:\n  - docker.io\n  - '*.gcr.io'\n",
    )
    .unwrap();
    let options = settings.options_for(Path::new("/p/Dockerfile"));
    assert_eq!(options.ignore, ["DL3008", "SC2086"]);
    assert_eq!(options.severities.get("DL3059"), Some(&Severity::Error));
    assert_eq!(options.severities.get("DL3003"), Some(&Severity::Info));
    assert_eq!(options.trusted_registries, ["docker.io", "*.gcr.io"]);
    assert!(options.strict_labels && options.obey_suppressions && options.label_schema.len() == 2);
    assert_eq!(
        (settings.fail_level(), settings.format, settings.coloured),
        (FailLevel::Info, Some(LintFormat::Text), Some(false))
    );
    assert_eq!(settings.remarks, [""; 0]);
    assert_eq!(hadolint::parse("no-fail: true\nfailure-threshold: error\n").unwrap().fail_level(), FailLevel::None);
    assert_eq!(hadolint::parse("trustedRegistries: docker.io\n").unwrap().trusted_registries.unwrap(), ["docker.io"]);
    assert!(hadolint::parse("").unwrap().ignore.is_empty());
}

#[test]
fn what_hadolint_has_and_we_do_not_know_is_named() {
    let settings = hadolint::parse("ignord: [DL3008]\nignored: [DL30O8]\noverride:\n  fatal: [DL3008]\n").unwrap();
    assert_eq!(
        settings.remarks,
        [
            "the key `ignord` is not known and has no effect (did you mean ignored?)",
            "`override.fatal` is not known and has no effect",
            "there is no rule `DL30O8`"
        ]
    );
    for text in ["ignored: 5", "- a", "a: [", "no-fail: maybe", "format: paper", "label-schema: {a: number}"] {
        assert!(hadolint::parse(text).is_err(), "{text}");
    }
}

#[test]
fn documents_that_grow_are_refused() {
    let mut bomb = "a0: &a0 [x, x]\n".to_owned();
    for level in 1..40 {
        bomb = format!("{bomb}a{level}: &a{level} [*a{0}, *a{0}]\n", level - 1);
    }
    assert!(hadolint::parse(&bomb).is_err());
    assert!(hadolint::parse(&format!("a: {}", "[".repeat(10_000))).is_err());
}

#[test]
fn the_nearest_file_holds() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    std::fs::create_dir_all(root.join("a/b/c")).unwrap();
    std::fs::write(root.join("bake.toml"), "[lint]\nignore = [\"sudo\"]\n").unwrap();
    std::fs::write(root.join("a/b/.bake-lint.toml"), "ignore = [\"maintainer\"]\n").unwrap();
    std::fs::write(root.join("a/b/bake.toml"), "[lint]\nignore = [\"chmod-777\"]\n").unwrap();
    std::fs::write(root.join("a/bake.toml"), "").unwrap();
    let mut finder = SettingsFinder::new(None, false).unwrap();
    let mut ignored = |path: &str| finder.for_directory(&root.join(path)).unwrap().ignore.clone();
    assert_eq!(ignored("a/b/c"), ["maintainer"]);
    assert_eq!(ignored("a/b"), ["maintainer"]);
    assert_eq!(ignored("a"), ["sudo"], "a file without the section says nothing");
    let mut fixed = SettingsFinder::new(Some(&root.join("bake.toml")), false).unwrap();
    assert_eq!(fixed.for_directory(&root.join("a/b")).unwrap().ignore, ["sudo"]);
    let mut none = SettingsFinder::new(None, true).unwrap();
    assert_eq!(none.for_directory(root).unwrap().ignore, [""; 0]);
    assert!(SettingsFinder::new(Some(&root.join("missing.toml")), false).is_err());
    std::fs::write(root.join("a/b/c/.bake-lint.toml"), "ignore = 1\n").unwrap();
    let mut broken = SettingsFinder::new(None, false).unwrap();
    assert!(broken.for_directory(&root.join("a/b/c")).unwrap_err().message().contains(".bake-lint.toml"));
}
