#![expect(clippy::unwrap_used, reason = "a failed test should panic")]
use super::*;
use crate::diagnostic::Severity;
use crate::instruction::{Command, CopySource, Healthcheck, NetworkFlag};

fn parse_text(text: &str) -> Dockerfile {
    let dockerfile = parse(SourceText::new("Dockerfile", text));
    assert_eq!(dockerfile.print(), text, "the items must concatenate to the source");
    dockerfile
}

/// The diagnostics as `LINE: MESSAGE`.
fn problems(text: &str) -> Vec<String> {
    let dockerfile = parse_text(text);
    let line = |diagnostic: &Diagnostic| dockerfile.source.position(diagnostic.span.start).line;
    dockerfile.diagnostics.iter().map(|diagnostic| format!("{}: {}", line(diagnostic), diagnostic.message)).collect()
}

fn kinds(text: &str) -> Vec<InstructionKind> {
    let dockerfile = parse_text(text);
    assert_eq!(dockerfile.diagnostics, [], "{text}");
    dockerfile.instructions.into_iter().map(|instruction| instruction.kind).collect()
}

/// The kind of the one instruction after a `FROM`.
fn kind(instruction: &str) -> InstructionKind {
    kinds(&format!("FROM a\n{instruction}\n")).remove(1)
}

fn shell_text(kind: &InstructionKind) -> &str {
    let command = match kind {
        InstructionKind::Run(run) => &run.command,
        InstructionKind::Cmd(command) | InstructionKind::Entrypoint(command) => command,
        other => panic!("{other:?} has no command"),
    };
    match command {
        Command::Shell(word) => &word.value,
        Command::Exec(arguments) => panic!("{arguments:?} is no shell form"),
    }
}

#[test]
fn continuations_are_joined() {
    for (text, expected) in [
        ("RUN echo one\\\ntwo \\\n    three", "echo onetwo     three"),
        ("RUN a \\\n# comment\n    # another\n b", "a  b"),
        ("RUN a \\  \t\n b", "a  b"),
        ("RUN a \\", "a"),
        ("RUN a \\\n", "a"),
        ("  RUN   a  ", "a"),
        ("RUN a \\\\\n", "a \\\\"),
        ("RUN \\\n  a", "a"),
        ("R\\\nUN a", "a"),
        ("RUN a \\\r\n  b\r\n", "a   b"),
        ("\\\nRUN a", "a"),
        ("RUN\ta\t", "a"),
    ] {
        let kinds = kinds(&format!("FROM x\n{text}"));
        assert_eq!(shell_text(&kinds[1]), expected, "{text:?}");
    }
}

#[test]
fn blank_lines_in_continuations_warn() {
    let dockerfile = parse_text("FROM a\nRUN echo a \\\n\n  \n b\nUSER x\n");
    assert_eq!(shell_text(&dockerfile.instructions[1].kind), "echo a  b");
    assert_eq!(dockerfile.instructions.len(), 3);
    let found: Vec<_> =
        dockerfile.diagnostics.iter().map(|d| (d.severity, d.code, d.fix.len(), d.span.start)).collect();
    let code = code::EMPTY_CONTINUATION;
    assert_eq!(found, [(Severity::Warning, code, 1, 20), (Severity::Warning, code, 1, 21)]);
    assert!(!dockerfile.has_errors());
}

#[test]
fn escape_directive_changes_continuation_and_words() {
    let kinds = kinds("# escape=`\nFROM a\nENV P=C:\\dir Q=a` b\nRUN one `\n two \\\n");
    let InstructionKind::Env(pairs) = &kinds[1] else { panic!("{kinds:?}") };
    let values: Vec<_> = pairs.pairs.iter().map(|(key, value)| (key.value.as_str(), value.value.as_str())).collect();
    assert_eq!(values, [("P", "C:\\dir"), ("Q", "a` b")]);
    assert_eq!(shell_text(&kinds[2]), "one  two \\");
}

#[test]
fn byte_order_mark_and_carriage_returns() {
    let dockerfile = parse_text("\u{feff}FROM a\r\nENV A=1\r\nLABEL l v\r\nCOPY <<EOF /x\r\nb\r\nEOF\r\n");
    assert_eq!(dockerfile.diagnostics, []);
    assert_eq!(dockerfile.items[0].kind, ItemKind::ByteOrderMark);
    assert!(dockerfile.instructions.iter().all(|instruction| !instruction.text.contains('\r')));
    assert_eq!(dockerfile.instructions[3].heredocs[0].body, "b\n");
}

#[test]
fn comments_belong_to_the_instruction_below() {
    let text = "# syntax=docker/dockerfile:1\n# one\n\n# two\n # three\nFROM a\nRUN b\n# last";
    let dockerfile = parse_text(text);
    let comments = |index: usize| -> Vec<&str> {
        dockerfile.instructions[index].comments.iter().map(|span| dockerfile.source.slice(*span)).collect()
    };
    assert_eq!(comments(0), ["# two", " # three"]);
    assert!(comments(1).is_empty());
    let kinds: Vec<_> = dockerfile.items.iter().map(|item| item.kind).collect();
    assert_eq!(kinds[..3], [ItemKind::Directive, ItemKind::Comment, ItemKind::Blank]);
    assert_eq!(kinds.last(), Some(&ItemKind::Comment));
}

#[test]
fn commands_in_json_and_shell_form() {
    for (text, expected) in [
        ("CMD [\"a\", \"b c\"]", Some(vec!["a", "b c"])),
        ("CMD [ \"a\", \\\n # comment\n \"b\" ]", Some(vec!["a", "b"])),
        ("CMD []", Some(vec![])),
        ("CMD ['a']", None),
        ("CMD [\"a\"] b", None),
        ("CMD", None),
    ] {
        match (kind(text), expected) {
            (InstructionKind::Cmd(Command::Exec(arguments)), Some(expected)) => {
                assert_eq!(arguments, expected, "{text}");
            }
            (InstructionKind::Cmd(Command::Shell(_)), None) => {}
            (other, _) => panic!("{text}: {other:?}"),
        }
    }
    let expected = "2: when using JSON array syntax, arrays must be comprised of strings only";
    for keyword in ["RUN", "CMD", "ENTRYPOINT", "COPY", "VOLUME", "SHELL", "HEALTHCHECK CMD"] {
        assert_eq!(problems(&format!("FROM a\n{keyword} [\"a\", 1]")), [expected]);
    }
}

#[test]
fn env_forms() {
    for (text, legacy, expected) in [
        ("ENV a=b c=d", false, vec![("a", "b"), ("c", "d")]),
        ("ENV leg  a  b", true, vec![("leg", "a  b")]),
        ("ENV q=\"a b\" r='$q' s=a\\ b", false, vec![("q", "\"a b\""), ("r", "'$q'"), ("s", "a\\ b")]),
        ("ENV A=x#y B=\"# z\"", false, vec![("A", "x#y"), ("B", "\"# z\"")]),
        ("ENV a=", false, vec![("a", "")]),
        ("ENV a=b=c", false, vec![("a", "b=c")]),
        ("ENV k v = with \"quotes\"", true, vec![("k", "v = with \"quotes\"")]),
        ("LABEL \"a b\"=c", false, vec![("\"a b\"", "c")]),
    ] {
        let (InstructionKind::Env(pairs) | InstructionKind::Label(pairs)) = kind(text) else { panic!("{text}") };
        let found: Vec<_> = pairs.pairs.iter().map(|(key, value)| (key.value.as_str(), value.value.as_str())).collect();
        assert_eq!((pairs.legacy, found), (legacy, expected), "{text}");
    }
}

#[test]
fn argument_errors() {
    let two = "requires at least two arguments, but only one was provided. Destination could not be determined";
    for (text, expected) in [
        ("ENV a=b c", "Syntax error - can't find = in \"c\". Must be of the form: name=value"),
        ("ENV a", "ENV must have two arguments"),
        ("LABEL a", "LABEL must have two arguments"),
        ("ENV", "ENV requires at least one argument"),
        ("ENV =b", "ENV names can not be blank"),
        ("ARG", "ARG requires at least one argument"),
        ("ARG =b", "ARG names can not be blank"),
        ("COPY a", &format!("COPY {two}")),
        ("COPY", &format!("COPY {two}")),
        ("ADD [\"a\"]", &format!("ADD {two}")),
        ("COPY --from=x a", &format!("COPY {two}")),
        ("COPY a <<EOF\nEOF", "COPY cannot accept a heredoc as a destination"),
        ("WORKDIR", "WORKDIR requires exactly one argument"),
        ("USER", "USER requires exactly one argument"),
        ("STOPSIGNAL", "STOPSIGNAL requires exactly one argument"),
        ("MAINTAINER", "MAINTAINER requires exactly one argument"),
        ("EXPOSE", "EXPOSE requires at least one argument"),
        ("VOLUME", "VOLUME requires at least one argument"),
        ("VOLUME []", "VOLUME requires at least one argument"),
        ("VOLUME [\"\"]", "VOLUME specified can not be an empty string"),
        ("SHELL", "SHELL requires at least one argument"),
        ("SHELL []", "SHELL requires at least one argument"),
        ("SHELL /bin/sh -c", "SHELL requires the arguments to be in JSON form"),
        ("RUN []", "RUN requires at least one argument"),
        ("RUN", "RUN without a command does nothing"),
        ("RUN --network=hots x", "invalid network mode \"hots\" (did you mean host?)"),
        ("RUN --security=none x", "invalid security mode \"none\""),
        ("RUN --mount=type=cahce x", "unsupported mount type \"cahce\" (did you mean cache?)"),
        ("HEALTHCHECK", "HEALTHCHECK requires at least one argument"),
        ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
        ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK CMD []", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK foo", "Unknown type \"FOO\" in HEALTHCHECK (try CMD)"),
        ("HEALTHCHECK --interval=1us CMD x", "Interval \"interval\" cannot be less than 1ms"),
        ("HEALTHCHECK --timeout=5 CMD x", "missing unit in duration \"5\""),
        ("HEALTHCHECK --retries=-1 CMD x", "--retries cannot be negative (-1)"),
        ("ONBUILD", "ONBUILD requires at least one argument"),
        ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("ONBUILD from x", "FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD MAINTAINER x", "MAINTAINER isn't allowed as an ONBUILD trigger"),
        ("ONBUILD COPPY a b", "unknown instruction: COPPY (did you mean COPY?)"),
        (
            "COPY --from=$X a b",
            "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround",
        ),
        ("COPY --form=x a b", "unknown flag: --form (did you mean from?)"),
        ("COPPY a b", "unknown instruction: COPPY (did you mean COPY?)"),
        ("foo", "unknown instruction: foo (did you mean FROM?)"),
        ("INSTALL x", "unknown instruction: INSTALL"),
        ("RUN <<EOF\nx", "unterminated heredoc: there is no line that holds only `EOF`"),
        ("FROM", "FROM requires either one or three arguments"),
        ("FROM a b", "FROM requires either one or three arguments"),
        ("FROM a IS b", "FROM requires either one or three arguments"),
        ("FROM a AS 1x", "invalid name for build stage: \"1x\", name can't start with a number or contain symbols"),
        ("FROM a AS x/y", "invalid name for build stage: \"x/y\", name can't start with a number or contain symbols"),
    ] {
        assert_eq!(problems(&format!("FROM a\n{text}\n")), [format!("2: {expected}")], "{text}");
    }
}

#[test]
fn all_problems_come_at_once_each_with_its_place() {
    let text = "FROM a\nCOPPY a b\nENV x\nRUN --mnt=1 --network=no y\nWORKDIR /ok\nVOLUME [\"\"]\n";
    assert_eq!(
        problems(text),
        [
            "2: unknown instruction: COPPY (did you mean COPY?)",
            "3: ENV must have two arguments",
            "4: unknown flag: --mnt (did you mean mount?)",
            "4: invalid network mode \"no\" (did you mean none?)",
            "6: VOLUME specified can not be an empty string",
        ]
    );
    let dockerfile = parse_text(text);
    let places: Vec<_> = dockerfile.diagnostics.iter().map(|d| dockerfile.source.slice(d.span)).collect();
    assert_eq!(places, ["COPPY", "x", "--mnt=1", "no", "\"\""]);
}

#[test]
fn files_without_stages() {
    for (text, expected) in [
        ("", vec!["1: the Dockerfile cannot be empty"]),
        ("# only\n\n# comments\n", vec!["1: file with no instructions"]),
        (" \n", vec!["1: file with no instructions"]),
        ("ARG A\nARG B=1\n", vec!["2: dockerfile contains no stages to build"]),
        ("ARG A\nRUN x\nRUN y\n", vec!["2: no build stage in current context: RUN stands before the first FROM"]),
        ("FORM a\nRUN x\n", vec!["1: unknown instruction: FORM (did you mean FROM?)"]),
        ("FROM\nRUN x\n", vec!["1: FROM requires either one or three arguments"]),
    ] {
        assert_eq!(problems(text), expected, "{text:?}");
    }
}

#[test]
fn stages_and_global_args() {
    let text = "ARG A\nARG B\nFROM a AS One\nRUN x\nARG C\nFROM b\nFROM c AS one\nUSER d\n";
    let dockerfile = parse_text(text);
    assert_eq!(dockerfile.global_args, [0, 1]);
    let stages: Vec<_> = dockerfile
        .stages
        .iter()
        .map(|stage| {
            (stage.index, stage.name.as_ref().map(|name| name.value.as_str()), stage.from, stage.instructions.clone())
        })
        .collect();
    assert_eq!(stages, [(0, Some("One"), 2, 3..5), (1, None, 5, 6..6), (2, Some("one"), 6, 7..8)]);
    assert_eq!(dockerfile.stage_instructions(&dockerfile.stages[0]).len(), 2);
    assert_eq!(dockerfile.stage_by_name("ONE").map(|stage| stage.index), Some(2));
    assert!(dockerfile.diagnostics.is_empty(), "{:?}", dockerfile.diagnostics);
}

#[test]
fn heredocs_become_sources_and_bodies() {
    let text = "FROM a\nCOPY a.txt <<b.txt <<-'C D' /d/\n1\nb.txt\n\t2\n\tC D\nRUN 3<<X cat\nx\nX\nUSER u\n";
    let dockerfile = parse_text(text);
    assert_eq!(dockerfile.diagnostics, []);
    let copy = &dockerfile.instructions[1];
    let InstructionKind::Copy(arguments) = &copy.kind else { panic!("{copy:?}") };
    assert_eq!(arguments.sources[1..], [CopySource::Heredoc(0), CopySource::Heredoc(1)]);
    assert_eq!(arguments.destination.value, "/d/");
    let bodies: Vec<_> = copy.heredocs.iter().map(|h| (h.name.as_str(), h.body.as_str(), h.expand, h.chomp)).collect();
    assert_eq!(bodies, [("b.txt", "1\n", true, false), ("C D", "2\n", false, true)]);
    assert_eq!(dockerfile.source.slice(copy.heredocs[1].span), "\t2\n\tC D");
    assert_eq!(copy.heredocs[1].word.value, "<<-'C D'");
    assert_eq!(copy.text, "COPY a.txt <<b.txt <<-'C D' /d/");
    assert_eq!(dockerfile.source.slice(copy.span).lines().count(), 5);
    let run = &dockerfile.instructions[2];
    assert_eq!(shell_text(&run.kind), "3<<X cat");
    assert_eq!((run.heredocs[0].file_descriptor, run.heredocs[0].body.as_str()), (3, "x\n"));
    assert_eq!(dockerfile.instructions.len(), 4);
}

#[test]
fn only_shell_forms_of_three_instructions_have_heredocs() {
    for text in ["RUN [\"a\", \"<<EOF\"]", "USER <<EOF", "CMD cat <<EOF", "RUN \"<<EOF\"", "ENV a=<<EOF"] {
        let dockerfile = parse_text(&format!("FROM a\n{text}\n"));
        assert_eq!(dockerfile.diagnostics, [], "{text}");
        assert!(dockerfile.instructions[1].heredocs.is_empty(), "{text}");
    }
}

#[test]
fn carriage_returns_in_a_body_are_content_where_lines_end_without() {
    let dockerfile = parse_text("FROM a\nCOPY <<EOF /x.bat\nb\r\nEOF\n");
    assert_eq!(dockerfile.instructions[1].heredocs[0].body, "b\r\n");
}

#[test]
fn onbuild_keeps_its_text() {
    for (text, expected) in [
        ("ONBUILD RUN  echo a", "RUN  echo a"),
        ("onbuild copy a b", "copy a b"),
        ("ONBUILD RUN a \\\n  b", "RUN a   b"),
        ("ONBUILD COPY <<-EOF <<B /x/\n\ta\n\tEOF\nb\nB", "COPY <<-EOF <<B /x/\n\ta\nEOF\nb\nB"),
        ("ONBUILD RUN <<EOF\nEOF", "RUN <<EOF\nEOF"),
    ] {
        let InstructionKind::Onbuild(onbuild) = kind(text) else { panic!("{text}") };
        assert_eq!(onbuild.trigger, expected, "{text}");
        let trigger = parse_trigger(&onbuild.trigger);
        assert_eq!(trigger.diagnostics, [], "{text}");
        let bodies = |instruction: &Instruction| -> Vec<String> {
            instruction.heredocs.iter().map(|heredoc| heredoc.body.clone()).collect()
        };
        assert_eq!(bodies(&trigger.instructions[0]), bodies(&onbuild.instruction), "{text}");
    }
    let InstructionKind::Onbuild(onbuild) = kind("ONBUILD COPY --chown=a <<F /x\nb\nF") else { panic!() };
    let InstructionKind::Copy(copy) = &onbuild.instruction.kind else { panic!("{onbuild:?}") };
    assert_eq!(copy.chown.as_ref().map(|word| word.value.as_str()), Some("a"));
    assert_eq!(copy.sources, [CopySource::Heredoc(0)]);
}

#[test]
fn bad_triggers() {
    for (text, expected) in [
        ("FROM a", "FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD RUN a", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("", "onbuild trigger should be a single expression"),
        ("RUN a\nRUN b", "onbuild trigger should be a single expression"),
        (
            "COPY a",
            "COPY requires at least two arguments, but only one was provided. Destination could not be determined",
        ),
    ] {
        let trigger = parse_trigger(text);
        assert_eq!(trigger.diagnostics.first().map(|d| d.message.as_str()), Some(expected), "{text}");
    }
}

#[test]
fn flags_are_typed() {
    let InstructionKind::Copy(copy) =
        kind("COPY --from=x --link --parents=false --exclude=*.a --exclude=b --chmod=644 a b /c/")
    else {
        panic!()
    };
    assert_eq!((copy.link, copy.parents, copy.excludes.len(), copy.sources.len()), (true, false, 2, 2));
    let InstructionKind::Add(add) = kind("ADD --unpack=false --keep-git-dir --checksum=sha256:0 http://x /y") else {
        panic!()
    };
    assert_eq!((add.unpack, add.keep_git_dir, add.from), (Some(false), Some(true), None));
    let InstructionKind::Healthcheck(Healthcheck::Command { interval_ns, retries, timeout_ns, .. }) =
        kind("HEALTHCHECK --interval=1m30s --retries=3 --timeout=0s CMD x")
    else {
        panic!()
    };
    assert_eq!((interval_ns, retries, timeout_ns), (Some(90_000_000_000), Some(3), Some(0)));
    let InstructionKind::From(from) = kinds("FROM --platform=linux/arm64 a as b").remove(0) else { panic!() };
    assert_eq!(from.platform.unwrap().value, "linux/arm64");
    assert_eq!(from.as_keyword.unwrap().value, "as");
    let InstructionKind::Run(run) = kind("RUN --mount=type=cache,target=/c --network=none -- --x") else { panic!() };
    assert_eq!((run.mounts.len(), run.network.map(|network| network.value)), (1, Some(NetworkFlag::None)));
    assert_eq!(shell_text(&kind("RUN -- --x")), "--x");
}

#[test]
fn words_have_exact_places() {
    let text = "FROM a\nCOPY --chown=me a \\\n  # c\n  \"b\" /dest/\nCOPY [\"x y\", \"/z\"]\n";
    let dockerfile = parse_text(text);
    let slice = |span: Span| dockerfile.source.slice(span);
    let InstructionKind::Copy(copy) = &dockerfile.instructions[1].kind else { panic!() };
    let CopySource::Path(source) = &copy.sources[1] else { panic!() };
    assert_eq!((slice(source.span), slice(copy.destination.span)), ("\"b\"", "/dest/"));
    assert_eq!(slice(copy.chown.as_ref().unwrap().span), "me");
    assert_eq!(slice(dockerfile.instructions[1].keyword.span), "COPY");
    let InstructionKind::Copy(copy) = &dockerfile.instructions[2].kind else { panic!() };
    let CopySource::Path(source) = &copy.sources[0] else { panic!() };
    assert_eq!((source.value.as_str(), slice(source.span)), ("x y", "\"x y\""));
    assert_eq!(slice(dockerfile.instructions[1].span), "COPY --chown=me a \\\n  # c\n  \"b\" /dest/");
}

#[test]
fn forgotten_continuations_get_a_hint() {
    let help = |text: &str| parse_text(text).diagnostics.first().and_then(|d| d.help.clone());
    let expected = "if this line continues the one above, that one must end with `\\`";
    assert_eq!(help("FROM a\nRUN x &&\ny z\n").as_deref(), Some(expected));
    assert_eq!(help("FROM a\nRUN x\n  y z\n").as_deref(), Some(expected));
    assert_eq!(help("FROM a\nRUN x\ny z\n"), None);
}

#[test]
fn foreign_syntax_is_the_only_thing_reported() {
    assert_eq!(
        problems("# syntax=example/frontend:1\nSTEP 1\nSTEP 2\n"),
        ["1: syntax \"example/frontend:1\" is not supported"]
    );
    assert_eq!(problems("# syntax=docker/dockerfile:1.7-labs\nFROM a\n"), [""; 0]);
}

#[test]
fn limits_are_named() {
    let long = format!("FROM a\nRUN {}\n", "x".repeat(LINE_BYTES_MAX - 3));
    assert_eq!(problems(&long), ["2: dockerfile line greater than max allowed size of 65535"]);
    let fits = format!("FROM a\nRUN {}\n", "x".repeat(LINE_BYTES_MAX - 4));
    assert_eq!(problems(&fits), [""; 0]);
    let many = "ARG a\n".repeat(INSTRUCTIONS_MAX + 5);
    assert_eq!(
        problems(&many),
        [format!("{}: the file has more than the {INSTRUCTIONS_MAX} instructions allowed", INSTRUCTIONS_MAX + 1)]
    );
    let large = "#".repeat(FILE_BYTES_MAX + 1);
    assert!(problems(&large)[0].contains("more than the 5242880 allowed"));
    let hostile = format!("FROM a\nENV A=1{}\n", " b".repeat(1_000));
    assert_eq!(problems(&hostile).len(), PROBLEMS_PER_INSTRUCTION_MAX);
    let hostile = format!("FROM a\nRUN a \\\n{}b\n", "\n#\n".repeat(1_000));
    assert_eq!(problems(&hostile).len(), PROBLEMS_PER_INSTRUCTION_MAX);
    let hostile = format!("FROM a\nRUN --mount={} b\n", "x,".repeat(1_000));
    assert_eq!(problems(&hostile).len(), PROBLEMS_PER_INSTRUCTION_MAX);
    let hostile = format!("FROM a\nRUN {}b\n", "--mount=target=/x ".repeat(2_000));
    assert_eq!(problems(&hostile), ["2: an instruction may have at most 1000 flags"]);
    let hostile = "x\n".repeat(DIAGNOSTICS_MAX + 10);
    assert!(
        problems(&hostile)
            .iter()
            .any(|problem| problem.ends_with("more than 10000 problems, the rest of it is not looked at"))
    );
    let heredocs = format!("FROM a\nRUN {}\n", "<<A ".repeat(HEREDOCS_MAX + 1));
    assert!(problems(&heredocs).iter().any(|problem| problem.contains("at most 256 heredocs")));
}

#[test]
fn repeated_directives_are_all_directives() {
    let dockerfile = parse_text(&format!("{}FROM a\n", "# escape=`\n".repeat(100_000)));
    assert_eq!(dockerfile.items.iter().filter(|item| item.kind == ItemKind::Directive).count(), 100_000);
    assert_eq!(dockerfile.diagnostics.len(), PROBLEMS_PER_INSTRUCTION_MAX);
}

#[test]
fn a_heredoc_without_a_body_stands_at_the_end_of_its_instruction() {
    let dockerfile = parse_text("FROM a\nRUN <<A <<B\nx\nA\n");
    let instruction = &dockerfile.instructions[1];
    let places: Vec<_> = instruction.heredocs.iter().map(|heredoc| (heredoc.span.start, heredoc.span.end)).collect();
    assert_eq!(places, [(19, 22), (22, 22)]);
    assert_eq!(instruction.span.end, 22);
}

#[test]
fn a_heredoc_of_many_words_is_one_source() {
    let text = format!("FROM a\nCOPY {}<<\"{}\" /d\n", "a ".repeat(100_000), "b ".repeat(100_000));
    let dockerfile = parse_text(&text);
    let InstructionKind::Copy(copy) = &dockerfile.instructions[1].kind else { panic!("no COPY") };
    assert_eq!(copy.sources.len(), 100_001);
    assert_eq!(copy.sources.last(), Some(&CopySource::Heredoc(0)));
}

#[test]
fn an_empty_value_stands_inside_its_flag() {
    let dockerfile = parse_text("FROM a\nCOPY --from=\\\n# c\n  x y\n");
    let flag = &dockerfile.instructions[1].flags[0];
    let value = flag.value.as_ref().unwrap();
    assert_eq!((flag.span.end, value.span.start, value.span.end), (19, 19, 19));
}
