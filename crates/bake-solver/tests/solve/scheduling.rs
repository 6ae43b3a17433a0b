//! Order, width, failures and cancellation.

use std::num::NonZeroUsize;
use std::sync::atomic::Ordering;

use bake_solver::{BuildEvent, Parallelism, SolveError, StepErrorKind};

use crate::graphs::{Script, Workshop};

#[test]
fn independent_steps_run_side_by_side_up_to_the_limit() {
    let mut script = Script::default();
    let scratch = script.scratch();
    let names = ["RUN a", "RUN b", "RUN c", "RUN d"];
    let steps = names.map(|name| script.run(scratch, name));
    let target = script.merge(steps.to_vec());
    let workshop = Workshop::default();
    for name in names {
        workshop.worker.hold(name);
    }
    std::thread::scope(|scope| {
        let solving = scope.spawn(|| workshop.solve(&script.graph, target, 3).unwrap());
        workshop.worker.wait_until_running(3);
        for name in names {
            workshop.worker.release(name);
        }
        assert_eq!(solving.join().unwrap().ran, 4);
    });
    assert_eq!(workshop.worker.most_at_once(), 3);
    assert_eq!(workshop.worker.runs(), names);
}

#[test]
fn inputs_come_before_users() {
    let mut script = Script::default();
    let scratch = script.scratch();
    let first = script.run(scratch, "RUN first");
    let second = script.run(first, "RUN second");
    let other = script.run(scratch, "RUN other");
    let target = script.copy(second, other, "COPY");
    let workshop = Workshop::default();
    let solved = workshop.solve(&script.graph, target, 4).unwrap();
    assert_eq!(solved.outputs[&target].layers().len(), 3);
    assert_eq!(solved.outputs[&target].layers()[..2], *solved.outputs[&second].layers());
    let lines = workshop.sink.lines();
    let at = |text: &str| lines.iter().position(|line| line == text).unwrap();
    assert_eq!(lines[0], "planned 5 steps");
    assert!(at("finished RUN first (ran)") < at("started RUN second"));
    assert!(at("finished RUN second (ran)") < at("started COPY"));
    assert!(at("finished RUN other (ran)") < at("started COPY"));
}

#[test]
fn steps_that_no_target_needs_are_not_looked_at() {
    let mut script = Script::default();
    let scratch = script.scratch();
    let target = script.run(scratch, "RUN wanted");
    script.run(target, "RUN unwanted");
    let workshop = Workshop::default();
    assert_eq!(workshop.counts(&script.graph, target), (1, 0));
    assert_eq!(workshop.worker.runs(), ["RUN wanted"]);
}

#[test]
fn the_first_failure_ends_the_build_and_keeps_what_is_done() {
    let mut script = Script::default();
    let scratch = script.scratch();
    let done = script.run(scratch, "RUN done");
    let failing = script.run(done, "RUN failing");
    let slow = script.run(scratch, "RUN slow");
    let never = script.run(failing, "RUN never");
    let target = script.merge(vec![never, slow]);
    let workshop = Workshop::default();
    workshop.worker.hold("RUN slow");
    workshop.worker.fail("RUN failing", StepErrorKind::Exit(3), "exit code 3");
    let error = workshop.solve(&script.graph, target, 2).unwrap_err();
    let SolveError::Step { step, error } = error else { panic!("cancelled instead of failed") };
    assert_eq!((step, error.kind, error.message.as_str()), (failing, StepErrorKind::Exit(3), "exit code 3"));
    assert_eq!(workshop.worker.cancellations(), 1);
    assert!(!workshop.worker.runs().contains(&"RUN never".to_owned()));
    assert!(workshop.sink.lines().contains(&"failed RUN failing: exit code 3".to_owned()));
    assert_eq!(workshop.cache.recorded(), ["RUN done"]);

    let again = workshop.next();
    assert_eq!(again.counts(&script.graph, target), (3, 1));
}

#[test]
fn a_build_can_be_cancelled_from_outside() {
    let mut script = Script::default();
    let scratch = script.scratch();
    let first = script.run(scratch, "RUN first");
    let target = script.run(first, "RUN second");
    let workshop = Workshop::default();
    workshop.worker.hold("RUN first");
    std::thread::scope(|scope| {
        let solving = scope.spawn(|| workshop.solve(&script.graph, target, 1));
        workshop.worker.wait_until_running(1);
        workshop.cancelled.store(true, Ordering::SeqCst);
        bake_solver::Worker::cancel(&workshop.worker);
        assert!(matches!(solving.join().unwrap(), Err(SolveError::Cancelled)));
    });
    assert_eq!(workshop.worker.runs(), ["RUN first"]);
    assert!(workshop.cache.is_empty());
}

#[test]
fn a_build_that_is_cancelled_before_it_begins_does_nothing() {
    let mut script = Script::default();
    let scratch = script.scratch();
    let target = script.run(scratch, "RUN first");
    let workshop = Workshop::default();
    workshop.cancelled.store(true, Ordering::SeqCst);
    assert!(matches!(workshop.solve(&script.graph, target, 1), Err(SolveError::Cancelled)));
    assert!(workshop.worker.calls().is_empty());
}

#[test]
fn a_broken_cache_is_a_failure_of_the_step() {
    let mut script = Script::default();
    let scratch = script.scratch();
    let target = script.run(scratch, "RUN first");
    let workshop = Workshop::default();
    workshop.cache.break_down("the index is locked");
    let SolveError::Step { step, error } = workshop.solve(&script.graph, target, 1).unwrap_err() else {
        panic!("cancelled instead of failed")
    };
    assert_eq!((step, error.kind), (target, StepErrorKind::Environment));
    assert!(error.to_string().contains("the index is locked"), "{error}");
    assert!(workshop.worker.runs().is_empty());
}

#[test]
fn every_started_step_is_finished_or_failed() {
    let mut script = Script::default();
    let scratch = script.scratch();
    let context = script.context();
    let copied = script.copy(scratch, context, "COPY");
    let target = script.run(copied, "RUN");
    let workshop = Workshop::default();
    for build in [&workshop, &workshop.next()] {
        build.solve(&script.graph, target, 2).unwrap();
        let (mut started, mut ended) = (Vec::new(), Vec::new());
        for event in build.sink.events() {
            match event {
                BuildEvent::Started { step } => started.push(step),
                BuildEvent::Finished { step, .. } | BuildEvent::Failed { step, .. } => ended.push(step),
                _ => {}
            }
        }
        started.sort();
        ended.sort();
        assert_eq!((started.len(), &started), (2, &ended));
    }
}

#[test]
fn a_difference_is_what_was_added() {
    let mut script = Script::default();
    let scratch = script.scratch();
    let base = script.run(scratch, "RUN base");
    let added = script.run(base, "RUN added");
    let other = script.run(scratch, "RUN other");
    let difference = script.diff(base, added);
    let wrong = script.diff(other, added);
    let workshop = Workshop::default();
    let solved = workshop.solve(&script.graph, difference, 2).unwrap();
    assert_eq!(solved.outputs[&difference].layers(), &solved.outputs[&added].layers()[1..]);
    assert!(matches!(workshop.solve(&script.graph, wrong, 2), Err(SolveError::Step { .. })));
}

const TWO_PROCESSORS: Parallelism = Parallelism::Processors(NonZeroUsize::new(2).unwrap());

#[test]
fn steps_that_sleep_make_room_for_others() {
    let mut script = Script::default();
    let scratch = script.scratch();
    let names = ["RUN a", "RUN b", "RUN c", "RUN d", "RUN e"];
    let steps = names.map(|name| script.run(scratch, name));
    let target = script.merge(steps.to_vec());
    let workshop = Workshop::default();
    for name in names {
        workshop.worker.hold(name);
        workshop.worker.set_idle(name);
    }
    std::thread::scope(|scope| {
        let solving = scope.spawn(|| workshop.solve_with(&script.graph, target, TWO_PROCESSORS).unwrap());
        workshop.worker.wait_until_running(names.len());
        for name in names {
            workshop.worker.release(name);
        }
        assert_eq!(solving.join().unwrap().ran, names.len());
    });
}

#[test]
fn steps_that_work_hold_their_processors() {
    let mut script = Script::default();
    let scratch = script.scratch();
    let names = ["RUN a", "RUN b", "RUN c", "RUN d", "RUN e"];
    let steps = names.map(|name| script.run(scratch, name));
    let target = script.merge(steps.to_vec());
    let workshop = Workshop::default();
    for name in names {
        workshop.worker.hold(name);
    }
    // One sleeps, so there is room for two others beside it, and no more.
    workshop.worker.set_idle("RUN a");
    std::thread::scope(|scope| {
        let solving = scope.spawn(|| workshop.solve_with(&script.graph, target, TWO_PROCESSORS).unwrap());
        workshop.worker.wait_until_running(3);
        for name in ["RUN b", "RUN c", "RUN d", "RUN e", "RUN a"] {
            workshop.worker.release(name);
        }
        assert_eq!(solving.join().unwrap().ran, names.len());
    });
    assert_eq!(workshop.worker.most_at_once(), 3);
}

#[test]
fn a_number_of_jobs_is_a_limit_even_for_steps_that_sleep() {
    let mut script = Script::default();
    let scratch = script.scratch();
    let names = ["RUN a", "RUN b", "RUN c"];
    let steps = names.map(|name| script.run(scratch, name));
    let target = script.merge(steps.to_vec());
    let workshop = Workshop::default();
    for name in names {
        workshop.worker.set_idle(name);
    }
    assert_eq!(workshop.solve(&script.graph, target, 1).unwrap().ran, 3);
    assert_eq!(workshop.worker.most_at_once(), 1);
}

#[test]
fn the_longest_way_comes_first() {
    let mut script = Script::default();
    let scratch = script.scratch();
    let short = script.run(scratch, "RUN short");
    let mut long = script.run(scratch, "RUN long");
    for number in 2..5 {
        long = script.run(long, &format!("RUN long {number}"));
    }
    let target = script.merge(vec![short, long]);
    let workshop = Workshop::default();
    workshop.solve(&script.graph, target, 1).unwrap();
    let started: Vec<String> =
        workshop.sink.lines().into_iter().filter_map(|line| line.strip_prefix("started ").map(str::to_owned)).collect();
    assert_eq!(started[0], "RUN long");
    assert!(started.iter().position(|name| name == "RUN short").unwrap() >= 3, "{started:?}");
}

#[test]
fn what_is_known_is_found_while_every_slot_is_taken() {
    let mut script = Script::default();
    let scratch = script.scratch();
    let known = script.run(scratch, "RUN known");
    let slow = script.run(scratch, "RUN slow");
    let target = script.merge(vec![slow, known]);
    let workshop = Workshop::default();
    workshop.counts(&script.graph, known);
    let again = workshop.next();
    again.worker.hold("RUN slow");
    std::thread::scope(|scope| {
        let solving = scope.spawn(|| again.solve(&script.graph, target, 1).unwrap());
        again.worker.wait_until_running(1);
        assert!(again.sink.lines().contains(&"finished RUN known (cached)".to_owned()));
        again.worker.release("RUN slow");
        assert_eq!(solving.join().unwrap().cached, 1);
    });
}

#[test]
fn a_build_that_waits_for_another_one_can_be_cancelled() {
    let mut script = Script::default();
    let scratch = script.scratch();
    let target = script.run(scratch, "RUN slow");
    let first = Workshop::default();
    let second = first.next();
    first.worker.hold("RUN slow");
    std::thread::scope(|scope| {
        let one = scope.spawn(|| first.solve(&script.graph, target, 1).unwrap());
        first.worker.wait_until_running(1);
        let two = scope.spawn(|| second.solve(&script.graph, target, 1));
        while !second.sink.lines().contains(&"waiting RUN slow".to_owned()) {
            assert!(!two.is_finished(), "the second build did not wait");
            std::thread::yield_now();
        }
        second.cancelled.store(true, Ordering::SeqCst);
        assert!(matches!(two.join().unwrap(), Err(SolveError::Cancelled)));
        first.worker.release("RUN slow");
        assert_eq!(one.join().unwrap().ran, 1);
    });
}

#[test]
fn a_failure_ends_the_wait_for_another_build() {
    let mut script = Script::default();
    let scratch = script.scratch();
    let slow = script.run(scratch, "RUN slow");
    let failing = script.run(scratch, "RUN failing");
    let target = script.merge(vec![slow, failing]);
    let first = Workshop::default();
    let second = first.next();
    first.worker.hold("RUN slow");
    second.worker.hold("RUN failing");
    second.worker.fail("RUN failing", StepErrorKind::Exit(1), "exit code 1");
    std::thread::scope(|scope| {
        let one = scope.spawn(|| first.solve(&script.graph, slow, 1).unwrap());
        first.worker.wait_until_running(1);
        let two = scope.spawn(|| second.solve(&script.graph, target, 2));
        while !second.sink.lines().contains(&"waiting RUN slow".to_owned()) {
            assert!(!two.is_finished(), "the second build did not wait");
            std::thread::yield_now();
        }
        second.worker.release("RUN failing");
        let error = two.join().unwrap().unwrap_err();
        assert!(matches!(error, SolveError::Step { step, .. } if step == failing), "{error:?}");
        first.worker.release("RUN slow");
        one.join().unwrap();
    });
}
