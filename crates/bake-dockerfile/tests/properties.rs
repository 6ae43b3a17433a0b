//! Properties that hold for any text, and the inputs kept for the fuzz targets, which check the same.

use std::fs;
use std::path::Path;

use bake_dockerfile::{Expander, SourceText, glob_match, parse};
use proptest::prelude::*;

mod invariants;

use invariants::{check_dockerfile, check_ignore, check_words};

/// Text made of the pieces that mean something.
fn dockerfile_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("FROM a AS b\n"),
        Just("RUN "),
        Just("run --mount=type=bind,target=/x"),
        Just("COPY --from=x "),
        Just("ADD "),
        Just("ONBUILD "),
        Just("ENV "),
        Just("ARG "),
        Just("HEALTHCHECK --interval=5s CMD "),
        Just("SHELL "),
        Just("VOLUME "),
        Just("# escape=`\n"),
        Just("# syntax=docker/dockerfile:1\n"),
        Just("#"),
        Just("<<EOF "),
        Just("<<-'é F'"),
        Just("EOF\n"),
        Just("é F\n"),
        Just("\n"),
        Just("\r\n"),
        Just("\\\n"),
        Just("`\n"),
        Just("\\"),
        Just(" "),
        Just("\t"),
        Just("\""),
        Just("'"),
        Just("="),
        Just("--"),
        Just("[\"a\", \"b\"]"),
        Just("${x:-y}"),
        Just("\u{feff}"),
        Just("\u{a0}"),
        Just("word"),
        Just("🙂"),
    ];
    proptest::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

/// The files of `fuzz/seeds`: one folder for each target.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let entries = fs::read_dir(&folder).expect("a folder of seeds");
    let files: Vec<_> =
        entries.map(|entry| fs::read(entry.expect("an entry").path()).expect("a readable file")).collect();
    assert!(!files.is_empty());
    files
}

#[test]
fn the_inputs_of_the_fuzz_targets_pass() {
    for input in seeds("dockerfile") {
        check_dockerfile(&String::from_utf8_lossy(&input));
    }
    for input in seeds("words") {
        check_words(&String::from_utf8_lossy(&input));
    }
    for input in seeds("ignore") {
        check_ignore(&input);
    }
}

proptest! {
    #[test]
    fn any_text_is_parsed_without_loss(text in any::<String>()) {
        check_dockerfile(&text);
    }

    #[test]
    fn likely_text_is_parsed_without_loss(text in dockerfile_text()) {
        check_dockerfile(&text);
    }

    #[test]
    fn line_ends_do_not_matter(text in dockerfile_text()) {
        let unix = text.replace('\r', "");
        // Only whole lines count: a carriage return after the last line without its newline would be one.
        let windows = unix.replace('\n', "\r\n");
        let kinds = |text: &str| -> Vec<String> {
            parse(SourceText::new("Dockerfile", text)).instructions.into_iter().map(|instruction| instruction.text).collect()
        };
        prop_assert_eq!(kinds(&unix), kinds(&windows));
    }

    #[test]
    fn expansion_never_panics(word in "[a${}:/#%*?+\\\\'\"`é -]{0,40}") {
        check_words(&word);
    }

    #[test]
    fn ignore_files_are_read_and_matched(input in "([ab*?!/. \\\\]{0,8}\n){1,6}\n([ab]{1,2}/){0,3}[ab]{1,2}") {
        check_ignore(input.as_bytes());
    }

    #[test]
    fn plain_words_stay_as_they_are(word in "[a-zA-Z0-9_./:=-]{0,40}") {
        let expansion = Expander::default().expand(&word, &|_| None).expect("nothing to refuse");
        prop_assert_eq!(&expansion.text, &word);
        prop_assert_eq!(glob_match(&word, &word), Ok(true));
    }

    #[test]
    fn matching_never_panics(pattern in proptest::collection::vec(any::<u8>(), 0..20), name in proptest::collection::vec(any::<u8>(), 0..20)) {
        let _ = glob_match(&pattern, &name);
    }
}
