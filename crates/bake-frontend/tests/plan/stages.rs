//! Which stages are built, and what names mean.

use bake_frontend::NamedContext;
use bake_graph::{Op, SourceOp};

use crate::planning::{Asked, env, history_of, planned, runs, steps, variable};

#[test]
fn only_what_the_target_needs_is_resolved() {
    let text = "FROM missing AS unused\nRUN false\nFROM busybox AS base\nRUN base\nFROM base\nRUN last\n";
    let asked = Asked::default();
    let plan = asked.plan(text).unwrap();
    assert_eq!(runs(&plan).len(), 2);
    assert_eq!(asked.resolver.asked(), ["busybox"]);
    let [problem] = Asked::target("unused").errors(text).try_into().unwrap();
    assert!(problem.contains("cannot resolve the image `missing`"), "{problem}");
}

#[test]
fn targets_are_found_by_name_and_number() {
    let text = "FROM busybox AS build\nRUN one\nFROM busybox AS Test\nRUN two\n";
    let last = |target: &'static str| {
        let plan = Asked::target(target).plan(text).unwrap();
        runs(&plan).last().unwrap().args.last().cloned().unwrap()
    };
    assert_eq!([last("build"), last("TEST"), last("0"), last("1"), last("")], ["one", "two", "one", "two", "two"]);
    let [problem] = Asked::target("biuld").errors(text).try_into().unwrap();
    assert_eq!(problem, "target stage \"biuld\" could not be found (did you mean build?)");
}

#[test]
fn errors_of_stages() {
    let rows = [
        ("FROM busybox\nCOPY --from=7 /a /a\n", "invalid stage index 7"),
        ("FROM busybox AS a\nCOPY --from=a /a /a\n", "circular dependency detected on stage: a"),
        (
            "FROM busybox AS a\nCOPY --from=b /a /a\nFROM a AS b\n",
            "cannot copy from stage \"b\", it needs to be defined before current stage \"a\"",
        ),
        ("FROM busybox AS base\nFROM Base\n", "must be lowercase"),
        ("FROM busybox\nCOPY --from=bsae /a /a\nFROM busybox AS base\n", "cannot resolve"),
        ("ARG X\nFROM ${X}\n", "should not be blank"),
        ("FROM --platform=nonsense/a/b/c busybox\n", "platform"),
    ];
    for (text, expected) in rows {
        let target = if text.matches("FROM busybox AS a\nCOPY").count() == 1 { Some("a") } else { None };
        let first = if text.starts_with("FROM busybox\nCOPY") { Some("0") } else { target };
        let problems = Asked { target: first, ..Asked::default() }.errors(text);
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{text}: {problems:?}");
    }
}

#[test]
fn numbers_count_stages_in_file_order_also_with_a_name_twice() {
    let text = "FROM busybox AS x\nRUN one\nFROM busybox AS x\nRUN two\nFROM busybox\nCOPY --from=0 /a /0\nCOPY --from=x /a /x\n";
    let plan = planned(text);
    let shown = steps(&plan);
    // `--from=x` is the last stage of that name.
    assert!(shown.iter().any(|step| step.contains("RUN one")) && shown.iter().any(|step| step.contains("RUN two")));
    let only = planned("FROM busybox AS x\nRUN one\nFROM busybox AS x\nRUN two\nFROM busybox\nCOPY --from=x /a /x\n");
    assert_eq!(runs(&only).len(), 1);
    assert_eq!(runs(&only)[0].args.last().unwrap(), "two");
}

#[test]
fn from_takes_the_latest_stage_before_it() {
    let plan = planned("FROM busybox AS x\nRUN one\nFROM x AS x\nRUN two\nFROM x\nRUN three\n");
    assert_eq!(runs(&plan).len(), 3);
}

#[test]
fn a_number_in_a_mount_is_a_name() {
    let [problem] = Asked::default()
        .errors("FROM busybox AS a\nFROM busybox\nRUN --mount=from=0,target=/m true\n")
        .try_into()
        .unwrap();
    assert!(problem.contains("cannot resolve the image `0`"), "{problem}");
}

#[test]
fn a_stage_may_be_called_scratch() {
    let plan = planned("FROM busybox AS scratch\nRUN one\nFROM scratch\nRUN two\n");
    assert_eq!(runs(&plan).len(), 2);
}

#[test]
fn a_named_context_replaces_a_stage() {
    let text = "FROM missing AS assets\nRUN false\nFROM busybox\nCOPY --from=assets /a /a\n";
    let mut asked = Asked::default();
    asked.resolver.add_context("assets", NamedContext::Directory { name: "assets".into() });
    let plan = asked.plan(text).unwrap();
    assert!(runs(&plan).is_empty());
    let sources = plan.graph.needed(&[plan.images[0].root]);
    let is_local = |id: &bake_graph::VertexId| matches!(&plan.graph.vertex(*id).op, Op::Source(SourceOp::Local(local)) if local.name == "assets");
    assert!(sources.iter().any(is_local));
}

#[test]
fn triggers_run_before_the_stage_and_once() {
    let plan = planned("FROM onbuild AS first\nRUN own\nFROM first\nRUN last\n");
    assert!(env(&plan).contains(&"TRIGGERED=yes".to_owned()));
    assert!(plan.images[0].config.config.on_build.is_empty());
    let history = history_of(&plan);
    assert_eq!(history[0], "(ENV TRIGGERED=yes)");
    assert!(history[1].starts_with("COPY trigger.txt /onbuild/ # buildkit"), "{history:?}");
    assert!(history[3].ends_with("/bin/sh -c own # buildkit"), "{history:?}");
    assert_eq!(history.len(), 5);
}

#[test]
fn triggers_of_a_stage_run_in_stages_built_on_it() {
    let plan = planned("FROM busybox AS base\nONBUILD RUN trigger\nFROM base AS child\nRUN own\nFROM child\n");
    let commands: Vec<&str> = runs(&plan).iter().filter_map(|run| run.args.last().map(String::as_str)).collect();
    assert_eq!(commands, ["trigger", "own"]);
    assert!(plan.images[0].config.config.on_build.is_empty());
}

#[test]
fn a_platform_of_a_stage_base_is_the_parents() {
    let text = "FROM --platform=linux/arm64 busybox AS base\nFROM --platform=linux/amd64 base\nRUN true\n";
    assert_eq!(runs(&planned(text))[0].platform, "linux/arm64");
}

#[test]
fn stages_with_the_same_steps_share_them() {
    let plan = planned("FROM busybox AS a\nRUN same\nFROM busybox AS b\nRUN same\nFROM a\nCOPY --from=b /x /x\n");
    assert_eq!(runs(&plan).len(), 1);
}

#[test]
fn steps_are_numbered_within_their_stage() {
    let plan = planned("FROM busybox AS build\nRUN make\nFROM users\nCOPY --from=build /a /a\nRUN last\n");
    let mut shown = steps(&plan);
    shown.sort();
    let expected = [
        "[build 1/2] FROM busybox",
        "[build 2/2] RUN make",
        "[stage-1 1/3] FROM users",
        "[stage-1 2/3] COPY --from=build /a /a",
        "[stage-1 3/3] RUN last",
    ];
    assert_eq!(shown, expected);
    // The only stage needs no name.
    assert_eq!(steps(&planned("FROM busybox\nRUN make\n")), ["[1/2] FROM busybox", "[2/2] RUN make"]);
}

#[test]
fn several_errors_are_told_together() {
    let problems = Asked::default().errors(
        "FROM busybox\nCOPY --chmod=99999 a /a\nEXPOSE 70000\nSTOPSIGNAL NOTHING\nCOPY https://example.com/a /a\n",
    );
    for (problem, expected) in problems.iter().zip([
        "invalid chmod parameter: '99999'",
        "invalid containerPort: 70000",
        "invalid signal: NOTHING",
        "source can't be a URL for COPY",
    ]) {
        assert!(problem.contains(expected), "{problem}");
    }
    assert_eq!(problems.len(), 4);
}

#[test]
fn chains_of_very_many_stages_are_planned() {
    use std::fmt::Write as _;
    // The thread of a test has a stack of 2 MiB: a stage inside a stage inside a stage would not fit.
    const STAGES: usize = 2_000;
    let mut text = "FROM busybox AS s0\nRUN first\n".to_owned();
    for number in 1..STAGES {
        let base = if number % 2 == 0 { "busybox".to_owned() } else { format!("s{}", number - 1) };
        let _ = write!(text, "FROM {base} AS s{number}\nRUN --mount=type=bind,from=s{},target=/m step\n", number - 1);
    }
    assert_eq!(runs(&planned(&text)).len(), STAGES);
}

const SCAN_STAGE: &str = "BUILDKIT_SBOM_SCAN_STAGE";
const SCAN_CONTEXT: &str = "BUILDKIT_SBOM_SCAN_CONTEXT";

#[test]
fn what_a_list_of_packages_covers_besides_the_image() {
    let scans = |text: &str, given: &'static [(&'static str, &'static str)]| {
        let plan = Asked::with_args(given).plan(text).unwrap();
        let scans = plan.images[0].scans.clone();
        (scans.stages.into_iter().map(|(name, _)| name).collect::<Vec<_>>(), scans.context)
    };
    let (stage, context) = (SCAN_STAGE, SCAN_CONTEXT);
    let file = |global: &str, base: &str, last: &str| {
        format!(
            "{global}\nFROM busybox AS base\n{base}\nFROM busybox AS unused\nARG {stage}=true\nFROM busybox\n{last}\nCOPY --from=base /a /a\n"
        )
    };
    let none = (Vec::new(), false);
    assert_eq!(scans(&file("", "", ""), &[]), none);
    // Undeclared, nothing that is given counts.
    assert_eq!(scans(&file("", "", ""), &[(SCAN_STAGE, "true"), (SCAN_CONTEXT, "true")]), none);
    let base = (vec!["base".to_owned()], false);
    assert_eq!(scans(&file("", &format!("ARG {stage}=true"), ""), &[]), base);
    assert_eq!(scans(&file("", &format!("ARG {stage}=false"), ""), &[(SCAN_STAGE, "1")]), base);
    assert_eq!(scans(&file(&format!("ARG {stage}=other,base"), "", ""), &[]), base);
    assert_eq!(scans(&file(&format!("ARG {stage}=true"), &format!("ARG {stage}=other"), ""), &[]), none);
    // The target is searched anyway.
    assert_eq!(scans(&file("", "", &format!("ARG {stage}=true")), &[]), none);
    let with_context = (Vec::new(), true);
    assert_eq!(scans(&file("", "", &format!("ARG {context}=true")), &[]), with_context);
    assert_eq!(scans(&file(&format!("ARG {context}"), "", ""), &[(SCAN_CONTEXT, "true")]), with_context);
    assert_eq!(scans(&file("", &format!("ARG {context}=true"), ""), &[]), none);
}

#[test]
fn steps_do_not_see_what_speaks_to_the_builder_alone() {
    let plan = planned("FROM busybox\nARG BUILDKIT_SBOM_SCAN_STAGE=true OTHER=1\nRUN true\n");
    assert_eq!(variable(&plan, "BUILDKIT_SBOM_SCAN_STAGE"), None);
    assert_eq!(variable(&plan, "OTHER").as_deref(), Some("1"));
}
