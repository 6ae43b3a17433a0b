//! What holds for any text: linting ends, every range lies in the text, and fixes give a text that can be linted again. And what holds
//! for the Dockerfiles of the test data: their safe fixes come to an end and keep the stages.

#![expect(clippy::unwrap_used, reason = "a failed test should panic")]

use std::path::{Path, PathBuf};

use bake_dockerfile::{InstructionKind, SourceText, parse};
use bake_lint::{ImageReference, LintOptions, apply_fixes, apply_pins, image_references, lint};
use proptest::prelude::*;

/// Pieces that make rules and the shell reader look closer.
const PIECES: [&str; 72] = [
    "FROM debian\n",
    "FROM debian:latest AS Build\n",
    "from scratch as x\n",
    "FROM $A AS build\n",
    "ARG A=build\n",
    "ARG TOKEN\n",
    "ENV A b c\n",
    "ENV A=$B PASSWORD=x\n",
    "RUN ",
    "RUN --mount=type=cache,target=/var/lib/apt ",
    "RUN <<EOF\n",
    "RUN bash <<-\"E\"\n",
    "EOF\n",
    "E\n",
    "ONBUILD ",
    "COPY --from=Build . .\n",
    "COPY <<A <<B /x/\n",
    "ADD x /tmp/x.tar\n",
    "COPY x.tar /tmp/\n",
    "RUN tar xf /tmp/x.tar -C /x",
    "COPY a /a\nRUN chmod +x /a",
    "COPY a b c\n",
    "COPY . .\n",
    "RUN npm ci",
    "RUN apt-get update\n",
    "RUN apt-get install -y b \\\n a",
    "RUN rm -rf /var/lib/apt/lists/*\n",
    "STOPSIGNAL int\n",
    "CMD b\n",
    "ENTRYPOINT c $D\n",
    "ARG D=1\n",
    "FROM --platform=$TARGETPLATFORM c AS c\n",
    "# comment\n",
    " > x",
    "CMD ['a', \"b\",]\n",
    "CMD npm start\n",
    "ENTRYPOINT [\"a\"]\n",
    "HEALTHCHECK CMD x\n",
    "EXPOSE 1.2.3.4:80/TCP 99999\n",
    "SHELL [\"bash\", \"-eo\", \"pipefail\", \"-c\"]\n",
    "USER root\n",
    "WORKDIR a\n",
    "MAINTAINER ä\n",
    "# bake: ignore=sudo, nonsense\n",
    "# check=skip=all\n",
    "# escape=`\n",
    "apt-get update",
    "sudo apt-get install x",
    "rm -rf /var/lib/{apt,x}/lists/* /tmp/x.tar",
    "pip install x",
    "curl -k x | tee y",
    "dnf install a",
    "yarn",
    "set -e",
    "if [[ a ]]; then ",
    "fi",
    "case $x in a) ",
    ";; esac",
    "$(",
    ")",
    "`",
    "\"",
    "'",
    "${x:-",
    " && ",
    " \\\n",
    " || ",
    ";",
    "\n",
    "\r\n",
    "\u{feff}",
    "ä\u{1f600}",
];

/// Pieces of image names, and of what they stand in.
const NAMES: [&str; 38] = [
    "FROM ",
    "FROM --platform=$P ",
    "FROM scratch\n",
    "ARG V=1\n",
    "ARG V=",
    "ARG V W=x\n",
    "ARG P\n",
    "COPY --from=",
    "COPY --from=\"",
    " / /\n",
    "RUN --mount=from=",
    ",target=/x true\n",
    "RUN --mount=type=bind,from=a,from=b,target=/x true\n",
    "ONBUILD ",
    "RUN <<E\n",
    "E\n",
    "# escape=`\n",
    "# comment\n",
    " AS a\n",
    "a",
    "debian",
    "docker.io/library/x",
    "localhost:5000/y",
    ":1",
    ":",
    "@sha256:9",
    "@",
    "$V",
    "${V}",
    "${V:-2}",
    "${",
    "\"",
    "'",
    "\\\n",
    "`\n",
    "\n",
    "\r\n",
    "ä",
];

/// The text with a digest for every image that can have one.
fn pinned(text: &str, references: &[ImageReference]) -> String {
    let unpinned = references.iter().filter(|reference| !reference.is_pinned());
    apply_pins(text, unpinned.filter_map(|reference| reference.pin("sha256:7")).collect())
}

fn references(text: &str) -> Vec<ImageReference> {
    image_references(&parse(SourceText::new("Dockerfile", text)), &LintOptions::default())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pinning_changes_nothing_but_the_names_of_images(pieces in prop::collection::vec(0..NAMES.len(), 0..24)) {
        let text: String = pieces.iter().map(|piece| NAMES[*piece]).collect();
        let before = references(&text);
        let after_text = pinned(&text, &before);
        let after = references(&after_text);
        prop_assert_eq!(before.len(), after.len(), "{:?} became {:?}", text, after_text);
        for (old, new) in before.iter().zip(&after) {
            let has_place = old.place.is_ok() && old.tagged_name().is_some();
            let expected = if old.is_pinned() || !has_place {
                old.name.clone()
            } else {
                format!("{}@sha256:7", old.tagged_name().unwrap_or_default())
            };
            prop_assert_eq!(&new.name, &expected, "{:?} became {:?}", text, after_text);
        }
        prop_assert_eq!(pinned(&after_text, &after), after_text, "pinning twice is pinning once");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_can_be_linted_and_fixed(pieces in prop::collection::vec(0..PIECES.len(), 0..40), noise in ".{0,20}") {
        let mut text: String = pieces.iter().map(|piece| PIECES[*piece]).collect();
        text.push_str(&noise);
        let options = LintOptions { select: vec!["all".to_owned()], ..LintOptions::default() };
        for _ in 0..3 {
            let findings = lint(&parse(SourceText::new("Dockerfile", text.as_str())), &options);
            for finding in &findings {
                let fixes = finding.fix.iter().flat_map(|fix| fix.edits.iter().map(|edit| edit.span));
                for span in fixes.chain([finding.span]) {
                    prop_assert!(text.get(span.start..span.end).is_some(), "{} {span:?} in {text:?}", finding.rule.id);
                }
            }
            text = apply_fixes(&text, &findings, true).text;
        }
    }

    #[test]
    fn safe_fixes_break_no_text(pieces in prop::collection::vec(0..PIECES.len(), 0..30)) {
        let mut text: String = pieces.iter().map(|piece| PIECES[*piece]).collect();
        let options = LintOptions { select: vec!["all".to_owned()], ..LintOptions::default() };
        let errors = |text: &str| parse(SourceText::new("Dockerfile", text)).diagnostics.iter().filter(|d| d.is_error()).count();
        for _ in 0..4 {
            let findings = lint(&parse(SourceText::new("Dockerfile", text.as_str())), &options);
            let fixed = apply_fixes(&text, &findings, false);
            prop_assert!(errors(&fixed.text) <= errors(&text), "{:?} became {:?}", text, fixed.text);
            prop_assert_eq!(stages(&fixed.text).len(), stages(&text).len(), "{:?} became {:?}", text, fixed.text);
            text = fixed.text;
        }
    }
}

/// The files below `directory` that are called `Dockerfile`, or end with `.Dockerfile`.
fn dockerfiles(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        if path.is_dir() {
            dockerfiles(&path, found);
        } else if name == "Dockerfile" || name.ends_with(".Dockerfile") {
            found.push(path);
        }
    }
}

/// Names and bases of the stages.
fn stages(text: &str) -> Vec<(Option<String>, String)> {
    let dockerfile = parse(SourceText::new("Dockerfile", text));
    let of = |stage: &bake_dockerfile::Stage| match &dockerfile.instructions[stage.from].kind {
        InstructionKind::From(from) => {
            (from.name.as_ref().map(|n| n.value.to_lowercase()), from.image.value.to_lowercase())
        }
        other => panic!("a stage begins with {other:?}"),
    };
    dockerfile.stages.iter().map(of).collect()
}

/// `text` after as many rounds of fixes as there are, at most `rounds`.
fn all_fixed(text: &str, rounds: usize, include_unsafe: bool) -> (String, bool) {
    let options = LintOptions { select: vec!["all".to_owned()], ..LintOptions::default() };
    let mut text = text.to_owned();
    for _ in 0..rounds {
        let findings = lint(&parse(SourceText::new("Dockerfile", text.as_str())), &options);
        let fixed = apply_fixes(&text, &findings, include_unsafe);
        if fixed.applied == 0 || fixed.text == text {
            return (text, true);
        }
        text = fixed.text;
    }
    (text, false)
}

#[test]
fn fixes_of_real_files_come_to_an_end_and_keep_the_stages() {
    let mut files = Vec::new();
    dockerfiles(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata")), &mut files);
    dockerfiles(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases")), &mut files);
    assert!(files.len() > 100, "only {} files", files.len());
    let mut changed = 0;
    for file in files {
        let Ok(before) = std::fs::read_to_string(&file) else { continue };
        let broken =
            |text: &str| parse(SourceText::new("Dockerfile", text)).diagnostics.iter().filter(|d| d.is_error()).count();
        let (safe, ended) = all_fixed(&before, 10, false);
        assert!(ended, "{}: safe fixes go on", file.display());
        assert!(broken(&safe) <= broken(&before), "{}:\n{safe}", file.display());
        assert_eq!(stages(&safe), stages(&before), "{}:\n{safe}", file.display());
        changed += usize::from(safe != before);
        let (all, ended) = all_fixed(&before, 10, true);
        assert!(ended, "{}: fixes go on", file.display());
        assert!(broken(&all) <= broken(&before), "{}:\n{all}", file.display());
    }
    assert!(changed > 20, "only {changed} files had something to fix");
}
