//! What holds for any input, whatever it is: the properties, the replayed inputs and the fuzz targets check all of it.

use bake_dockerfile::instruction::{
    Command, CopyInstruction, CopySource, Healthcheck, Instruction, RunInstruction, Word,
};
use bake_dockerfile::{
    Dockerfile, Expander, IgnoreFile, IgnorePattern, IgnorePatterns, InstructionKind, ItemKind, SourceText, Span,
    glob_match, parse, parse_byte_size, parse_duration_ns, parse_trigger,
};

/// Checks text as a Dockerfile and as an `ONBUILD` trigger.
pub(crate) fn check_dockerfile(text: &str) {
    let dockerfile = parse(SourceText::new("Dockerfile", text));
    check_tree(&dockerfile, text);
    for instruction in &dockerfile.instructions {
        check_word(&instruction.text, dockerfile.directives.escape);
        for heredoc in &instruction.heredocs {
            let _ = Expander::default().expand_heredoc(&heredoc.body, &some_variables);
        }
    }
    check_tree(&parse_trigger(text), text);
}

/// Checks text as a word, with both escape characters.
pub(crate) fn check_words(word: &str) {
    check_word(word, '\\');
    check_word(word, '`');
    let heredoc = Expander::new('`').expand_heredoc(word, &some_variables);
    if !word.contains(['$', '\\']) {
        assert_eq!(heredoc.map(|expansion| expansion.text).as_deref(), Ok(word));
    }
    let _ = parse_duration_ns(word);
    let _ = parse_byte_size(word);
}

/// Checks bytes as an ignore file followed by paths, one a line. An empty line stands between the two.
pub(crate) fn check_ignore(input: &[u8]) {
    let split = input.windows(2).position(|pair| pair == b"\n\n").map_or(input.len(), |at| at + 1);
    let (file, paths) = input.split_at(split);
    let Ok(patterns) = IgnoreFile::parse(file) else { return };
    check_cleaned_patterns(&patterns);
    for path in paths.split(|byte| *byte == b'\n').take(20) {
        check_path(&patterns, path);
        for pattern in patterns.patterns().iter().take(20) {
            let _ = glob_match(pattern.text(), path);
        }
    }
}

fn check_tree(dockerfile: &Dockerfile, text: &str) {
    assert_eq!(dockerfile.print(), text);
    check_items(dockerfile, text);
    for instruction in &dockerfile.instructions {
        check_instruction(dockerfile, instruction);
    }
    for diagnostic in &dockerfile.diagnostics {
        check_span(dockerfile, diagnostic.span);
        diagnostic.labels.iter().for_each(|(span, _)| check_span(dockerfile, *span));
        diagnostic.fix.iter().for_each(|edit| check_span(dockerfile, edit.span));
        assert!(!diagnostic.message.is_empty());
    }
    assert!(dockerfile.diagnostics.is_sorted_by_key(|diagnostic| diagnostic.span.start));
    let directives = &dockerfile.directives;
    directives.syntax.iter().for_each(|syntax| check_span(dockerfile, syntax.span));
    directives.check.iter().for_each(|check| check_span(dockerfile, check.span));
    directives.escape_span.iter().for_each(|span| check_span(dockerfile, *span));
    let mut next = 0;
    for (index, stage) in dockerfile.stages.iter().enumerate() {
        assert_eq!(stage.index, index);
        assert!(next <= stage.from && stage.from < stage.instructions.start, "stages do not overlap");
        next = stage.instructions.end;
        assert!(next <= dockerfile.instructions.len());
    }
    assert!(!dockerfile.dump().is_empty() || text.trim().is_empty());
}

fn check_items(dockerfile: &Dockerfile, text: &str) {
    let mut position = 0;
    let mut instructions = 0;
    for item in &dockerfile.items {
        assert_eq!(item.span.start, position, "items are contiguous");
        assert!(item.span.end > position || text.is_empty(), "items are not empty");
        position = item.span.end;
        if let ItemKind::Instruction(index) = item.kind {
            assert_eq!(index, instructions, "instructions are in order");
            instructions += 1;
            let instruction = &dockerfile.instructions[index];
            check_inside(item.span, instruction.span);
        }
    }
    assert_eq!(position, text.len(), "items cover the text");
    assert_eq!(instructions, dockerfile.instructions.len());
}

fn check_instruction(dockerfile: &Dockerfile, instruction: &Instruction) {
    check_span(dockerfile, instruction.span);
    let mut spans = vec![instruction.keyword.span];
    for flag in &instruction.flags {
        check_inside(flag.span, flag.name.span);
        flag.value.iter().for_each(|value| check_inside(flag.span, value.span));
        spans.push(flag.span);
    }
    for heredoc in &instruction.heredocs {
        spans.extend([heredoc.span, heredoc.word.span]);
    }
    words_of(instruction, &mut spans);
    for span in spans {
        check_span(dockerfile, span);
        check_inside(instruction.span, span);
    }
    instruction.comments.iter().for_each(|span| check_span(dockerfile, *span));
    if let InstructionKind::Onbuild(onbuild) = &instruction.kind {
        check_instruction(dockerfile, &onbuild.instruction);
    }
}

/// The places of all words of the typed arguments.
fn words_of(instruction: &Instruction, spans: &mut Vec<Span>) {
    let mut add = |word: &Word| spans.push(word.span);
    match &instruction.kind {
        InstructionKind::From(from) => {
            add(&from.image);
            [&from.name, &from.as_keyword, &from.platform].into_iter().flatten().for_each(add);
        }
        InstructionKind::Arg(declarations) => {
            for declaration in declarations {
                add(&declaration.name);
                declaration.default.iter().for_each(&mut add);
            }
        }
        InstructionKind::Env(values) | InstructionKind::Label(values) => {
            for (key, value) in &values.pairs {
                add(key);
                add(value);
            }
        }
        InstructionKind::Run(run) => words_of_run(run, &mut add),
        InstructionKind::Copy(copy) | InstructionKind::Add(copy) => words_of_copy(copy, &mut add),
        InstructionKind::Cmd(Command::Shell(word))
        | InstructionKind::Entrypoint(Command::Shell(word))
        | InstructionKind::Healthcheck(Healthcheck::Command { command: Command::Shell(word), .. })
        | InstructionKind::Maintainer(word)
        | InstructionKind::Workdir(word)
        | InstructionKind::User(word)
        | InstructionKind::StopSignal(word)
        | InstructionKind::Invalid(word) => add(word),
        InstructionKind::Expose(words) | InstructionKind::Volume(words) => words.iter().for_each(add),
        InstructionKind::Cmd(Command::Exec(_))
        | InstructionKind::Entrypoint(Command::Exec(_))
        | InstructionKind::Healthcheck(_)
        | InstructionKind::Shell(_)
        | InstructionKind::Onbuild(_) => {}
    }
}

fn words_of_run(run: &RunInstruction, add: &mut dyn FnMut(&Word)) {
    if let Command::Shell(word) = &run.command {
        add(word);
    }
    for mount in &run.mounts {
        let values = [
            &mount.from,
            &mount.source,
            &mount.target,
            &mount.size,
            &mount.id,
            &mount.sharing,
            &mount.mode,
            &mount.uid,
            &mount.gid,
            &mount.env,
        ];
        values.into_iter().flatten().for_each(&mut *add);
    }
    run.devices.iter().for_each(add);
}

fn words_of_copy(copy: &CopyInstruction, add: &mut dyn FnMut(&Word)) {
    add(&copy.destination);
    for source in &copy.sources {
        if let CopySource::Path(word) = source {
            add(word);
        }
    }
    [&copy.from, &copy.chown, &copy.chmod, &copy.checksum].into_iter().flatten().for_each(&mut *add);
    copy.excludes.iter().for_each(add);
}

fn check_span(dockerfile: &Dockerfile, span: Span) {
    let text = dockerfile.source.text();
    assert!(text.get(span.start..span.end).is_some(), "{span:?} is no range of {text:?}");
    assert!(dockerfile.source.position(span.start) <= dockerfile.source.position(span.end));
}

fn check_inside(outer: Span, inner: Span) {
    assert!(outer.start <= inner.start && inner.end <= outer.end, "{inner:?} is outside of {outer:?}");
}

/// Variables of all kinds: set, empty and missing.
fn some_variables(name: &str) -> Option<String> {
    match name.len() % 4 {
        0 => None,
        1 => Some("a/b c\\*é".to_owned()),
        2 => Some(String::new()),
        _ => Some(name.repeat(3)),
    }
}

fn check_word(word: &str, escape: char) {
    let expander = Expander::new(escape);
    let result = expander.expand(word, &some_variables);
    let words = expander.expand_to_words(word, &some_variables);
    match (&result, &words) {
        (Ok(expansion), Ok(words)) => {
            let visible = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            assert_eq!(visible(&expansion.text), visible(&words.words.concat()));
            assert!(words.words.iter().all(|word| !word.is_empty()));
            assert_eq!(expansion.undefined, words.undefined);
        }
        (Err(one), Err(other)) => assert_eq!(one, other),
        _ => panic!("{word:?} expands only as one word or only as several"),
    }
    if let Err(error) = &result {
        assert!(word.is_char_boundary(error.offset()), "{error} at {} of {word:?}", error.offset());
    }
    if let Err(error) = expander.check(word) {
        assert!(word.is_char_boundary(error.offset()), "{error} at {} of {word:?}", error.offset());
    }
    let unquoted = expander.unquote(word);
    if !word.contains('$')
        && let Ok(expansion) = &result
    {
        assert_eq!(expansion.text, unquoted, "{word:?} with {escape}");
        assert_eq!(expander.check(word), Ok(()));
    }
}

/// A cleaned pattern stays as it is when it is read again.
fn check_cleaned_patterns(patterns: &IgnorePatterns) {
    let texts: Option<Vec<String>> =
        patterns.patterns().iter().map(|pattern| std::str::from_utf8(pattern.text()).ok().map(str::to_owned)).collect();
    let Some(texts) = texts else { return };
    // What follows a `!` (as in `!./a` after white space) or begins with another one means something else when it is read again,
    // and so does white space that stood between slashes.
    let differs = |text: &String| text.starts_with('!') || text.trim() != text;
    if patterns.has_exceptions() || texts.iter().any(differs) {
        return;
    }
    let again = IgnorePatterns::new(texts.clone()).unwrap_or_else(|error| panic!("{error} in {texts:?}"));
    let texts_again: Vec<&[u8]> = again.patterns().iter().map(IgnorePattern::text).collect();
    assert_eq!(texts_again, texts.iter().map(String::as_bytes).collect::<Vec<_>>());
}

/// A walk from the root comes to the same result as a look at the path alone, and reaches whatever is kept.
fn check_path(patterns: &IgnorePatterns, path: &[u8]) {
    let path = path.iter().filter(|byte| **byte != 0).copied().collect::<Vec<u8>>();
    let parts = || path.split(|byte| *byte == b'/');
    if parts().any(|part| matches!(part, b"" | b"." | b"..")) {
        let _ = (patterns.matches(&path), patterns.may_match_below(&path));
        return;
    }
    let mut state = patterns.root();
    let mut walked: Vec<u8> = Vec::new();
    let mut not_entered = None;
    for part in parts() {
        if !walked.is_empty() {
            if state.is_excluded() && !patterns.may_match_below(&walked) {
                not_entered = Some(walked.clone());
            }
            walked.push(b'/');
        }
        walked.extend_from_slice(part);
        state = patterns.step(&state, &walked);
        assert_eq!(state.is_excluded(), patterns.matches(&walked));
        assert!(patterns.deciding_pattern(&walked).is_some() || !state.is_excluded());
    }
    if let Some(directory) = not_entered {
        assert!(state.is_excluded(), "{:?} keeps the walk from what is kept", String::from_utf8_lossy(&directory));
    }
}
