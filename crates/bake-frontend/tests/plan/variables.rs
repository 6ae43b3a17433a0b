//! ARG, ENV and expansion.

use crate::planning::{Asked, env, history, history_of, planned, runs, variable};

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[test]
fn variables_of_a_line_have_their_values_from_before_it() {
    let plan = planned("FROM busybox\nENV A=1\nENV A=2 B=$A\n");
    assert_eq!(env(&plan), [PATH, "A=2", "B=1"]);
}

#[test]
fn unset_variables_are_empty_and_warned_of() {
    let plan = planned("FROM busybox\nENV GREETING=hello\nLABEL a=$GREETNIG b=$GREETING\n");
    assert_eq!(plan.images[0].config.config.labels["a"], "");
    assert_eq!(plan.images[0].config.config.labels["b"], "hello");
    let warnings: Vec<&str> = plan.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(warnings, ["Usage of undefined variable '$GREETNIG' (did you mean $GREETING?)"]);
}

#[test]
fn a_variable_that_must_be_set_says_so() {
    let asked = Asked::default();
    let [problem] = asked.errors("FROM busybox\nWORKDIR /${X:?give_it}\n").try_into().unwrap();
    assert!(problem.contains("X: give_it"), "{problem}");
    let [problem] = asked.errors("FROM busybox\nWORKDIR /${X^^}\n").try_into().unwrap();
    assert!(problem.contains("unsupported modifier"), "{problem}");
}

#[test]
fn defaults_are_expanded_and_given_values_are_not() {
    let text = "FROM busybox\nENV Y=env\nARG X=$Y-default\nRUN true\n";
    assert_eq!(variable(&planned(text), "X").as_deref(), Some("env-default"));
    let given = Asked::with_args(&[("X", "$Y")]).plan(text).unwrap();
    assert_eq!(variable(&given, "X").as_deref(), Some("$Y"));
}

#[test]
fn where_an_argument_gets_its_value_from() {
    // The text, the build arguments, and what RUN sees.
    type Row = (&'static str, &'static [(&'static str, &'static str)], Option<&'static str>);
    let rows: [Row; 12] = [
        // Not declared in the stage: not seen, whatever is known of it.
        ("ARG X=global\nFROM busybox\nRUN true", &[], None),
        ("ARG X=global\nFROM busybox\nRUN true", &[("X", "given")], None),
        ("FROM busybox\nRUN true\nARG X=late", &[], None),
        // Declared again without a default: the value from before FROM.
        ("ARG X=global\nFROM busybox\nARG X\nRUN true", &[], Some("global")),
        ("ARG X\nFROM busybox\nARG X\nRUN true", &[], None),
        ("FROM busybox\nARG X\nRUN true", &[], None),
        // A default in the stage hides it.
        ("ARG X=global\nFROM busybox\nARG X=own\nRUN true", &[], Some("own")),
        ("ARG X=global\nFROM busybox\nARG X=\nRUN true", &[], Some("")),
        // What is given wins over both.
        ("ARG X=global\nFROM busybox\nARG X=own\nRUN true", &[("X", "given")], Some("given")),
        ("ARG X=global\nFROM busybox\nARG X\nRUN true", &[("X", "given")], Some("given")),
        // Later declarations win; several stand on a line.
        ("FROM busybox\nARG X=1\nARG X=2\nRUN true", &[], Some("2")),
        ("FROM busybox\nARG W=w X=$W\nRUN true", &[], Some("w")),
    ];
    for (text, args, expected) in rows {
        let plan = Asked::with_args(args).plan(text).unwrap();
        assert_eq!(variable(&plan, "X").as_deref(), expected, "{text} with {args:?}");
    }
}

#[test]
fn arguments_are_seen_in_stages_built_on_theirs() {
    let plan = planned("FROM busybox AS base\nARG X=set\nFROM base\nRUN true\n");
    assert_eq!(variable(&plan, "X").as_deref(), Some("set"));
    assert!(!env(&plan).iter().any(|entry| entry.starts_with("X=")));
}

#[test]
fn of_env_and_arg_the_later_one_is_seen_and_env_is_kept() {
    for (text, seen) in [
        ("FROM busybox\nENV X=env\nARG X=arg\nRUN true\n", "arg"),
        ("FROM busybox\nARG X=arg\nENV X=env\nRUN true\n", "env"),
    ] {
        let plan = planned(text);
        assert!(env(&plan).contains(&"X=env".to_owned()), "{text}");
        assert_eq!(variable(&plan, "X").as_deref(), Some(seen), "{text}");
    }
}

#[test]
fn arguments_nothing_uses_are_told() {
    let asked = Asked::with_args(&[("USED", "1"), ("UNUSED", "1"), ("HTTP_PROXY", "http://p")]);
    let plan = asked.plan("FROM busybox\nARG USED\nRUN true\n").unwrap();
    assert_eq!(plan.unused_build_args, ["UNUSED"]);
}

#[test]
fn platforms_are_seen_only_where_they_are_declared() {
    let text = "FROM --platform=$BUILDPLATFORM busybox\nARG TARGETARCH TARGETVARIANT TARGETPLATFORM\nRUN true\n";
    let plan = Asked { platform: Some("linux/arm/v7"), ..Asked::default() }.plan(text).unwrap();
    assert_eq!(variable(&plan, "TARGETARCH").as_deref(), Some("arm"));
    assert_eq!(variable(&plan, "TARGETVARIANT").as_deref(), Some("v7"));
    assert_eq!(variable(&plan, "TARGETPLATFORM").as_deref(), Some("linux/arm/v7"));
    assert_eq!(variable(&plan, "BUILDPLATFORM"), None);
    assert_eq!(runs(&plan)[0].platform, "linux/amd64");
    assert_eq!(variable(&planned("FROM busybox\nRUN true\n"), "TARGETARCH"), None);
}

#[test]
fn proxies_reach_run_and_stay_out_of_history_and_environment() {
    let plan = Asked::with_args(&[("HTTP_PROXY", "http://p")]).plan("FROM busybox\nRUN true\n").unwrap();
    let [run] = runs(&plan).try_into().unwrap();
    let pairs = [("HTTP_PROXY", "http://p"), ("http_proxy", "http://p")];
    assert_eq!(run.proxy_env, pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert!(!run.env.iter().any(|(name, _)| name.eq_ignore_ascii_case("http_proxy")));
    assert_eq!(history_of(&plan), ["RUN /bin/sh -c true # buildkit"]);
}

#[test]
fn a_variable_that_is_set_again_keeps_its_place() {
    let plan = planned("FROM users\nENV BASE=new LAST=1 EMPTY=full\n");
    assert_eq!(env(&plan), [PATH, "BASE=new", "EMPTY=full", "GREETING=hello world", "LAST=1"]);
}

#[test]
fn an_image_without_a_search_path_gets_one() {
    let plan = planned("FROM scratch\nLABEL a=b\n");
    assert_eq!(env(&plan), [PATH]);
    assert_eq!(plan.images[0].config.config.working_dir, "/");
    assert_eq!(env(&planned("FROM scratch\nENV PATH=/own\n")), ["PATH=/own"]);
}

#[test]
fn quotes_and_escapes() {
    for (written, value) in [
        (r#""a b""#, "a b"),
        (r"'$A'", "$A"),
        (r"a\ b", "a b"),
        (r"\$A", "$A"),
        (r#"$A"$A"'$A'"#, "11$A"),
        ("${A}b", "1b"),
        ("${UNSET:-x}", "x"),
        ("${A:-x}", "1"),
        ("${A:+x}", "x"),
        ("${UNSET:+x}", ""),
        ("${FILE%.*}", "a.tar"),
        ("${FILE##*.}", "gz"),
    ] {
        let plan = planned(&format!("FROM busybox\nENV A=1 FILE=a.tar.gz\nENV X={written}\n"));
        assert_eq!(env(&plan).last().unwrap(), &format!("X={value}"), "{written}");
    }
}

#[test]
fn the_old_form_of_env_keeps_inner_spaces() {
    assert_eq!(history("FROM busybox\nENV leg  a  b\n"), ["(ENV leg=a  b)"]);
}
