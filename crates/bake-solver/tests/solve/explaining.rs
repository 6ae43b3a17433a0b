//! Why a step ran.

use bake_graph::VertexId;
use bake_solver::{BuildEvent, Difference, Explanation, How, SolveError, StepErrorKind};

use crate::graphs::{Script, Workshop};

/// The explanations of a build's steps, in order.
fn explanations(workshop: &Workshop) -> Vec<(VertexId, Explanation)> {
    let explained = |event| match event {
        BuildEvent::Explained { step, explanation } => Some((step, explanation)),
        _ => None,
    };
    workshop.sink.events().into_iter().filter_map(explained).collect()
}

fn texts(workshop: &Workshop) -> Vec<String> {
    explanations(workshop).iter().map(|(_, explanation)| explanation.to_string()).collect()
}

/// Builds one script after the other over one cache, and tells why the steps of the last one ran.
fn after(first: &dyn Fn(&mut Script) -> VertexId, second: &dyn Fn(&mut Script) -> VertexId) -> Vec<String> {
    let workshop = Workshop::default();
    let mut script = Script::default();
    let target = first(&mut script);
    workshop.counts(&script.graph, target);
    let workshop = workshop.next();
    let mut script = Script::default();
    let target = second(&mut script);
    workshop.counts(&script.graph, target);
    texts(&workshop)
}

#[test]
fn nothing_is_compared_with_where_there_is_nothing() {
    let mut script = Script::default();
    let scratch = script.scratch();
    let target = script.run(scratch, "RUN make");
    let workshop = Workshop::default();
    workshop.counts(&script.graph, target);
    let explanations = explanations(&workshop);
    assert_eq!(explanations[0].1.differences, [Difference::NeverBuilt]);
    assert!(!explanations[0].1.is_telling() && explanations[0].1.nearest.is_none());
    // What was found is not explained.
    let again = workshop.next();
    again.counts(&script.graph, target);
    assert_eq!(texts(&again), Vec::<String>::new());
}

#[test]
fn the_files_that_changed_are_named_and_followed() {
    let mut script = Script::default();
    let scratch = script.scratch();
    let context = script.context();
    let copied = script.copy(scratch, context, "COPY");
    let installed = script.run(copied, "RUN install");
    let target = script.run(installed, "RUN make");
    let workshop = Workshop::default();
    workshop.cache.set_time(1000);
    workshop.worker.set_content("COPY", 1, "a.c 1\nb.c 1\ngone.c 1\n");
    workshop.counts(&script.graph, target);
    let again = workshop.next();
    again.worker.set_content("COPY", 1, "a.c 1\nb.c 2\nnew.c 1\n");
    again.counts(&script.graph, target);
    assert_eq!(
        texts(&again),
        [
            "b.c changed, and 2 more files",
            "`COPY` left other files: b.c changed, and 2 more files",
            "since `COPY`: b.c changed, and 2 more files",
        ]
    );
    let (_, explanation) = &explanations(&again)[0];
    let nearest = explanation.nearest.as_ref().unwrap();
    assert_eq!((nearest.step.as_str(), nearest.made_unix_s, &nearest.evicted), ("COPY", 1000, &None));
    assert_eq!(nearest.key.len(), 64);
    let [Difference::Files { of, changes, count: 3 }] = explanation.differences.as_slice() else {
        panic!("{explanation:?}")
    };
    assert_eq!(of, "the build context");
    let changes: Vec<_> = changes.iter().map(|change| (change.path.as_str(), change.how)).collect();
    assert_eq!(changes, [("b.c", How::Changed), ("new.c", How::Added), ("gone.c", How::Removed)]);
}

#[test]
fn arguments_and_variables_are_named_and_secrets_are_not_shown() {
    let step = |version: &'static str, flags: &'static str, token: &'static str| {
        move |script: &mut Script| {
            let scratch = script.scratch();
            let env = [("FLAGS", flags), ("VERSION", version), ("NPM_TOKEN", token)];
            script.run_in(scratch, "RUN make", &[], &env, &["VERSION"])
        }
    };
    let base = step("1", "-O1", "t0");
    assert_eq!(after(&base, &step("2", "-O1", "t0")), ["build argument VERSION changed from `1` to `2`"]);
    assert_eq!(after(&base, &step("1", "-O2", "t0")), ["variable FLAGS changed from `-O1` to `-O2`"]);
    assert_eq!(after(&base, &step("1", "-O1", "t1")), ["variable NPM_TOKEN changed"]);
    assert_eq!(after(&base, &step("2", "-O2", "t0")), ["build argument VERSION changed from `1` to `2` (and 1 more)"]);
    let without = |script: &mut Script| {
        let scratch = script.scratch();
        script.run_in(scratch, "RUN make", &[], &[("FLAGS", "-O1"), ("NPM_TOKEN", "t0")], &[])
    };
    assert_eq!(after(&without, &base), ["build argument VERSION is new: `1`"]);
}

#[test]
fn another_base_image_and_another_command_are_told() {
    let step = |image: &'static str, command: &'static str| {
        move |script: &mut Script| {
            let base = script.image("docker.io/library/alpine:3", image);
            script.run(base, command)
        }
    };
    let told = after(&step("old", "RUN make"), &step("new", "RUN make"));
    assert!(told[0].starts_with("image alpine:3 changed from sha256:"), "{told:?}");
    assert_eq!(after(&step("old", "RUN make all"), &step("old", "RUN make some")), ["the command changed"]);
}

#[test]
fn a_step_behind_one_that_ran_for_itself_points_to_it() {
    let steps = |command: &'static str| {
        move |script: &mut Script| {
            let scratch = script.scratch();
            let first = script.run(scratch, command);
            let second = script.run(first, "RUN two");
            script.run(second, "RUN three")
        }
    };
    assert_eq!(
        after(&steps("RUN one"), &steps("RUN uno")),
        [
            "the command changed",
            "`RUN uno` left other files: the command changed",
            "since `RUN uno`: the command changed",
        ]
    );
}

#[test]
fn steps_of_one_build_are_no_versions_of_each_other() {
    let mut script = Script::default();
    let scratch = script.scratch();
    let first = script.run(scratch, "RUN make one");
    let target = script.run(first, "RUN make two");
    let workshop = Workshop::default();
    workshop.counts(&script.graph, target);
    assert!(explanations(&workshop).iter().all(|(_, explanation)| !explanation.is_telling()));

    // One is written anew; the other is still itself.
    let mut script = Script::default();
    let scratch = script.scratch();
    let first = script.run(scratch, "RUN make three");
    let target = script.run(first, "RUN make two");
    let again = workshop.next();
    again.counts(&script.graph, target);
    let explanation = &explanations(&again)[0].1;
    assert_eq!(explanation.nearest.as_ref().unwrap().step, "RUN make one");
}

#[test]
fn a_removed_result_is_told_from_a_change() {
    let mut script = Script::default();
    let scratch = script.scratch();
    let target = script.run(scratch, "RUN make");
    let workshop = Workshop::default();
    workshop.counts(&script.graph, target);
    workshop.cache.set_time(5000);
    workshop.cache.evict_all("bake prune");
    let again = workshop.next();
    again.counts(&script.graph, target);
    let (_, explanation) = &explanations(&again)[0];
    assert_eq!(explanation.differences, [Difference::Evicted]);
    let evicted = explanation.nearest.as_ref().unwrap().evicted.as_ref().unwrap();
    assert_eq!((evicted.at_unix_s, evicted.by.as_str()), (5000, "bake prune"));
    assert!(explanation.is_telling());
}

#[test]
fn a_cache_that_was_not_to_be_used_is_reason_enough() {
    let mut script = Script { ignore_cache: true, ..Script::default() };
    let scratch = script.scratch();
    let target = script.run(scratch, "RUN make");
    let workshop = Workshop::default();
    workshop.counts(&script.graph, target);
    let again = workshop.next();
    again.counts(&script.graph, target);
    assert_eq!(texts(&again), ["the cache was not to be used"]);
}

#[test]
fn an_explanation_survives_being_written_down() {
    let mut script = Script::default();
    let scratch = script.scratch();
    let context = script.context();
    let copied = script.copy(scratch, context, "COPY");
    let target = script.run(copied, "RUN make");
    let workshop = Workshop::default();
    for content in ["a 1\n", "a 2\n"] {
        let build = workshop.next();
        build.worker.set_content("COPY", 1, content);
        build.counts(&script.graph, target);
        for (_, explanation) in explanations(&build) {
            let text = serde_json::to_string(&explanation).unwrap();
            assert_eq!(serde_json::from_str::<Explanation>(&text).unwrap(), explanation, "{text}");
        }
    }
}

#[test]
fn where_results_are_required_nothing_runs_without_one() {
    let steps = |command: &str| {
        let mut script = Script::default();
        let scratch = script.scratch();
        let first = script.run(scratch, "RUN first");
        let target = script.run(first, command);
        (script, target)
    };
    let workshop = Workshop::default();
    let (script, target) = steps("RUN second 1");
    workshop.counts(&script.graph, target);
    let strict = Workshop { require_cached: true, ..workshop.next() };
    assert_eq!(strict.counts(&script.graph, target), (0, 2));

    let (script, target) = steps("RUN second 2");
    let SolveError::Step { step, error } = strict.solve(&script.graph, target, 2).unwrap_err() else {
        panic!("cancelled instead of failed")
    };
    assert_eq!((step, error.kind), (target, StepErrorKind::NotCached));
    assert_eq!(error.message, "`RUN second 2` is not cached: the command changed");
    assert_eq!(strict.worker.runs(), Vec::<String>::new());
}
