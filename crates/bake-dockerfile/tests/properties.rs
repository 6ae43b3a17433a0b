//! Properties that hold for any text.

use bake_dockerfile::{Dockerfile, Expander, ItemKind, SourceText, Span, glob_match, parse, parse_trigger};
use proptest::prelude::*;

fn check_span(dockerfile: &Dockerfile, span: Span) {
    let text = dockerfile.source.text();
    assert!(text.get(span.start..span.end).is_some(), "{span:?} is no range of {text:?}");
}

fn check(dockerfile: &Dockerfile, text: &str) {
    assert_eq!(dockerfile.print(), text);
    let mut position = 0;
    for item in &dockerfile.items {
        assert_eq!(item.span.start, position, "items are contiguous");
        position = item.span.end;
    }
    let listed = dockerfile.items.iter().filter(|item| matches!(item.kind, ItemKind::Instruction(_))).count();
    assert_eq!(listed, dockerfile.instructions.len());
    for instruction in &dockerfile.instructions {
        check_span(dockerfile, instruction.span);
        check_span(dockerfile, instruction.keyword.span);
        instruction.comments.iter().for_each(|span| check_span(dockerfile, *span));
        for flag in &instruction.flags {
            check_span(dockerfile, flag.span);
            check_span(dockerfile, flag.name.span);
            flag.value.iter().for_each(|value| check_span(dockerfile, value.span));
        }
        for heredoc in &instruction.heredocs {
            check_span(dockerfile, heredoc.span);
            check_span(dockerfile, heredoc.word.span);
        }
    }
    for diagnostic in &dockerfile.diagnostics {
        check_span(dockerfile, diagnostic.span);
        diagnostic.labels.iter().for_each(|(span, _)| check_span(dockerfile, *span));
        diagnostic.fix.iter().for_each(|edit| check_span(dockerfile, edit.span));
    }
    for stage in &dockerfile.stages {
        assert!(stage.instructions.end <= dockerfile.instructions.len());
    }
    // The dump looks at every other span.
    assert!(!dockerfile.dump().is_empty() || text.trim().is_empty());
}

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

proptest! {
    #[test]
    fn any_text_is_parsed_without_loss(text in any::<String>()) {
        check(&parse(SourceText::new("Dockerfile", text.as_str())), &text);
    }

    #[test]
    fn likely_text_is_parsed_without_loss(text in dockerfile_text()) {
        check(&parse(SourceText::new("Dockerfile", text.as_str())), &text);
        check(&parse_trigger(&text), &text);
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
        for escape in ['\\', '`'] {
            let expander = Expander::new(escape);
            let _ = expander.expand(&word, &|name| (name.len() % 2 == 0).then(|| "a/b".to_owned()));
            let _ = expander.expand_to_words(&word, &|_| None);
            let _ = expander.expand_heredoc(&word, &|_| Some(String::new()));
            let _ = expander.unquote(&word);
        }
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
