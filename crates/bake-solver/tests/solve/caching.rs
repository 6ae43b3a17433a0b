//! What is found again, and by which of its keys.

use bake_testkit::fake_worker::Call;

use crate::graphs::{Script, Workshop};

fn content_calls(workshop: &Workshop) -> usize {
    workshop.worker.calls().iter().filter(|call| matches!(call, Call::Content(..))).count()
}

#[test]
fn a_build_that_was_done_before_asks_the_worker_for_nothing_but_contents() {
    let mut script = Script::default();
    let scratch = script.scratch();
    let context = script.context();
    let copied = script.copy(scratch, context, "COPY");
    let target = script.run(copied, "RUN");
    let workshop = Workshop::default();
    assert_eq!(workshop.counts(&script.graph, target), (2, 0));
    let again = workshop.next();
    assert_eq!(again.counts(&script.graph, target), (0, 2));
    // The context has to be looked at; the step over it is found by what it stands on.
    assert_eq!(again.worker.calls(), [Call::Source("context".into()), Call::Content("COPY".into(), 1)]);
}

#[test]
fn the_quick_key_spares_looking_at_files() {
    let mut script = Script::default();
    let scratch = script.scratch();
    let built = script.run(scratch, "RUN build");
    let target = script.copy(scratch, built, "COPY");
    let workshop = Workshop::default();
    assert_eq!(workshop.counts(&script.graph, target), (2, 0));
    assert_eq!(content_calls(&workshop), 1);
    let again = workshop.next();
    assert_eq!(again.counts(&script.graph, target), (0, 2));
    assert_eq!(content_calls(&again), 0);
}

#[test]
fn the_content_key_finds_a_copy_of_equal_files_from_another_tree() {
    let mut script = Script::default();
    let scratch = script.scratch();
    let built = script.run(scratch, "RUN build");
    let target = script.copy(scratch, built, "COPY");
    let workshop = Workshop::default();
    workshop.worker.set_content("COPY", 1, "the same file");
    workshop.counts(&script.graph, target);

    // The build leaves another layer, in which the copied file is the same.
    let mut script = Script::default();
    let scratch = script.scratch();
    let built = script.run(scratch, "RUN build differently");
    let target = script.copy(scratch, built, "COPY");
    let again = workshop.next();
    again.worker.set_content("COPY", 1, "the same file");
    assert_eq!(again.counts(&script.graph, target), (1, 1));
    assert_eq!(again.worker.runs(), ["RUN build differently"]);

    // It was remembered under its new quick key.
    let third = workshop.next();
    assert_eq!(third.counts(&script.graph, target), (0, 2));
    assert_eq!(content_calls(&third), 0);
}

#[test]
fn a_step_that_made_the_same_again_does_not_invalidate_what_follows() {
    let graph = |command: &str| {
        let mut script = Script::default();
        let scratch = script.scratch();
        let first = script.run(scratch, command);
        let target = script.run(first, "RUN next");
        (script, target)
    };
    let workshop = Workshop::default();
    let (script, target) = graph("RUN one");
    workshop.worker.set_layer("RUN one", "result");
    assert_eq!(workshop.counts(&script.graph, target), (2, 0));

    let (script, target) = graph("RUN another");
    let same = workshop.next();
    same.worker.set_layer("RUN another", "result");
    assert_eq!(same.counts(&script.graph, target), (1, 1));

    let (script, target) = graph("RUN a third");
    let other = workshop.next();
    other.worker.set_layer("RUN a third", "another result");
    assert_eq!(other.counts(&script.graph, target), (2, 0));
}

#[test]
fn a_changed_selection_runs_again_and_an_unchanged_one_does_not() {
    let mut script = Script::default();
    let scratch = script.scratch();
    let context = script.context();
    let target = script.copy(scratch, context, "COPY");
    let workshop = Workshop::default();
    for (content, expected) in [("one", (1, 0)), ("one", (0, 1)), ("two", (1, 0)), ("one", (0, 1))] {
        let build = workshop.next();
        build.worker.set_content("COPY", 1, content);
        assert_eq!(build.counts(&script.graph, target), expected, "{content}");
    }
}

#[test]
fn bind_mounts_count_by_what_is_selected() {
    let graph = |tool: &str| {
        let mut script = Script::default();
        let scratch = script.scratch();
        let tools = script.run(scratch, tool);
        let target = script.run_with(scratch, "RUN use", &[tools]);
        (script, target)
    };
    let workshop = Workshop::default();
    for (tool, content, expected) in
        [("RUN a", "tool", (2, 0)), ("RUN b", "tool", (1, 1)), ("RUN c", "new tool", (2, 0))]
    {
        let (script, target) = graph(tool);
        let build = workshop.next();
        build.worker.set_content("RUN use", 1, content);
        assert_eq!(build.counts(&script.graph, target), expected, "{tool}");
    }
}

#[test]
fn steps_that_ignore_the_cache_run_and_are_remembered() {
    let graph = |ignore_cache| {
        let mut script = Script { ignore_cache, ..Script::default() };
        let scratch = script.scratch();
        let target = script.run(scratch, "RUN");
        (script, target)
    };
    let workshop = Workshop::default();
    for (ignore, expected) in [(true, (1, 0)), (true, (1, 0)), (false, (0, 1))] {
        let (script, target) = graph(ignore);
        assert_eq!(workshop.next().counts(&script.graph, target), expected);
    }
}

#[test]
fn one_key_is_carried_out_once() {
    // Two definitions with equal keys: copies of equal files out of different trees.
    let mut script = Script::default();
    let scratch = script.scratch();
    let (one, two) = (script.run(scratch, "RUN one"), script.run(scratch, "RUN two"));
    let copies = [one, two].map(|source| script.copy(scratch, source, "COPY"));
    let target = script.merge(copies.to_vec());
    let workshop = Workshop::default();
    workshop.worker.set_content("COPY", 1, "equal");
    let solved = workshop.solve(&script.graph, target, 4).unwrap();
    assert_eq!((solved.ran, solved.cached), (3, 1));
    assert_eq!(workshop.worker.runs(), ["COPY", "RUN one", "RUN two"]);
    assert_eq!(solved.outputs[&copies[0]], solved.outputs[&copies[1]]);
}

#[test]
fn two_builds_at_the_same_time_share_their_work() {
    let mut script = Script::default();
    let scratch = script.scratch();
    let target = script.run(scratch, "RUN slow");
    let first = Workshop::default();
    let second = first.next();
    first.worker.hold("RUN slow");
    std::thread::scope(|scope| {
        let one = scope.spawn(|| first.solve(&script.graph, target, 1).unwrap());
        first.worker.wait_until_running(1);
        let two = scope.spawn(|| second.solve(&script.graph, target, 1).unwrap());
        while !second.sink.lines().contains(&"waiting RUN slow".to_owned()) {
            assert!(!two.is_finished(), "the second build did not wait");
            std::thread::yield_now();
        }
        first.worker.release("RUN slow");
        let (one, two) = (one.join().unwrap(), two.join().unwrap());
        assert_eq!((one.ran, two.ran, two.cached), (1, 0, 1));
        assert_eq!(one.outputs[&target], two.outputs[&target]);
    });
    assert!(second.worker.runs().is_empty());
}

#[test]
fn whoever_waited_for_a_failure_tries_it_itself() {
    let mut script = Script::default();
    let scratch = script.scratch();
    let target = script.run(scratch, "RUN slow");
    let first = Workshop::default();
    let second = first.next();
    first.worker.hold("RUN slow");
    first.worker.fail("RUN slow", bake_solver::StepErrorKind::Environment, "no space");
    std::thread::scope(|scope| {
        let one = scope.spawn(|| first.solve(&script.graph, target, 1));
        first.worker.wait_until_running(1);
        let two = scope.spawn(|| second.solve(&script.graph, target, 1));
        while !second.sink.lines().contains(&"waiting RUN slow".to_owned()) {
            assert!(!two.is_finished(), "the second build did not wait");
            std::thread::yield_now();
        }
        first.worker.release("RUN slow");
        assert!(one.join().unwrap().is_err());
        assert_eq!(two.join().unwrap().unwrap().ran, 1);
    });
}

#[test]
fn a_build_in_which_everything_is_known_records_nothing() {
    let mut script = Script::default();
    let scratch = script.scratch();
    let context = script.context();
    let copied = script.copy(scratch, context, "COPY");
    let built = script.run(copied, "RUN");
    let target = script.copy(scratch, built, "COPY --from");
    let workshop = Workshop::default();
    assert_eq!(workshop.counts(&script.graph, target), (3, 0));
    let recorded = workshop.cache.recorded();
    let (lookups, nearest) = (workshop.cache.lookups(), workshop.cache.comparisons());
    assert_eq!(nearest, 3);
    assert_eq!(workshop.next().counts(&script.graph, target), (0, 3));
    assert_eq!(workshop.cache.recorded(), recorded);
    // One look per step, and nothing that only a miss needs.
    assert_eq!((workshop.cache.lookups() - lookups, workshop.cache.comparisons()), (3, nearest));
}
