//! Steps that are found by what they asked of the files that were copied for them.

use bake_graph::{BuildGraph, VertexId};
use bake_solver::{BuildEvent, Task, TraceRun, Untraced, past_questions, scope};
use bake_testkit::fake_worker::FakeWorker;

use crate::graphs::{Script, Workshop};

/// `FROM scratch; COPY . .; RUN install`.
fn script() -> (BuildGraph, VertexId) {
    let mut script = Script::default();
    let scratch = script.scratch();
    let context = script.context();
    let copied = script.copy(scratch, context, "COPY");
    let target = script.run(copied, "RUN install");
    (script.graph, target)
}

/// The files of the context, each a name and what it holds.
fn put(worker: &FakeWorker, files: &[(&str, &str)]) {
    for (path, content) in files {
        worker.put_file(path, content);
    }
    worker.set_content("COPY", 1, &format!("{files:?}"));
    worker.set_layer("COPY", &format!("{files:?}"));
    worker.set_reads("RUN install", &["package.json", "npmrc"]);
}

const BEFORE: [(&str, &str); 2] = [("package.json", "1"), ("main.js", "1")];

fn built_before() -> Workshop {
    let (graph, target) = script();
    let workshop = Workshop::default();
    put(&workshop.worker, &BEFORE);
    assert_eq!(workshop.counts(&graph, target), (2, 0));
    workshop
}

#[test]
fn what_a_step_did_not_read_does_not_matter() {
    let (graph, target) = script();
    let again = built_before().next();
    put(&again.worker, &[("package.json", "1"), ("main.js", "2"), ("new.js", "1")]);
    assert_eq!(again.counts(&graph, target), (1, 1));
    assert_eq!(again.worker.runs(), ["COPY"]);
    assert!(again.sink.lines().iter().any(|line| line == "reused RUN install: 2 paths"), "{:?}", again.sink.lines());
    // It was recorded under its whole key too.
    let third = again.next();
    put(&third.worker, &[("package.json", "1"), ("main.js", "2"), ("new.js", "1")]);
    assert_eq!(third.counts(&graph, target), (0, 2));
    assert!(!third.sink.lines().iter().any(|line| line.starts_with("reused")));
}

#[test]
fn what_it_read_does_and_is_named() {
    let (graph, target) = script();
    for (files, told) in [
        (vec![("package.json", "2"), ("main.js", "1")], "RUN install: `package.json` changed (content)"),
        (vec![("main.js", "1")], "RUN install: `package.json` is gone"),
        (vec![("package.json", "1"), ("npmrc", "1"), ("main.js", "1")], "RUN install: `npmrc` is new"),
    ] {
        let again = built_before().next();
        put(&again.worker, &files);
        assert_eq!(again.counts(&graph, target), (2, 0));
        let lines = again.sink.lines();
        assert!(lines.iter().any(|line| line == &format!("explained {told}")), "{lines:?}");
        // Going back to what was there before finds what was made of it then.
        let back = again.next();
        put(&back.worker, &[("package.json", "1"), ("main.js", "3")]);
        assert_eq!(back.counts(&graph, target), (1, 1), "{told}");
    }
}

#[test]
fn it_is_told_what_the_slots_are_and_why_there_is_no_trace() {
    let (mut graph, target) = script();
    let first = built_before();
    let slots: Vec<String> = first
        .sink
        .events()
        .into_iter()
        .filter_map(|event| if let BuildEvent::Traced { trace, .. } = event { Some(trace.slots) } else { None })
        .flatten()
        .map(|slot| slot.text)
        .collect();
    assert_eq!(slots, ["COPY"]);
    let told = |workshop: &Workshop| -> Vec<Untraced> {
        let events = workshop.sink.events().into_iter();
        events.filter_map(|event| if let BuildEvent::Untraced { why, .. } = event { Some(why) } else { None }).collect()
    };
    assert_eq!(told(&first), []);
    let off = Workshop { trace_run: TraceRun::Off, ..Workshop::default() };
    put(&off.worker, &BEFORE);
    off.counts(&graph, target);
    assert_eq!(told(&off), [Untraced::Off]);
    graph.forbid_trace(target);
    let forbidden = Workshop::default();
    put(&forbidden.worker, &BEFORE);
    forbidden.counts(&graph, target);
    assert_eq!(told(&forbidden), [Untraced::Forbidden]);
}

#[test]
fn what_a_cached_step_read_is_known_as_long_as_the_answers_are_the_same() {
    let (graph, target) = script();
    let asked = |workshop: &Workshop| {
        let solved = workshop.solve(&graph, target, 1).unwrap();
        let vertex = graph.vertex(target);
        let inputs: Vec<_> = vertex.inputs.iter().map(|input| &solved.outputs[input]).collect();
        let scope = scope(vertex, &inputs).unwrap();
        let task = Task { id: target, vertex, inputs, slots: &scope.slots, events: &workshop.sink };
        let asked = past_questions(&scope, &task, &workshop.worker, &workshop.cache).unwrap();
        asked.map(|asked| {
            asked.into_iter().map(|question| String::from_utf8(question.path).unwrap()).collect::<Vec<_>>()
        })
    };
    let read = Some(vec!["npmrc".to_owned(), "package.json".to_owned()]);
    let cached = built_before().next();
    put(&cached.worker, &BEFORE);
    assert_eq!(asked(&cached), read);
    assert_eq!(cached.worker.runs(), [""; 0]);
    // Of a run that was answered something else nothing follows.
    let untraced = Workshop { trace_run: TraceRun::Off, ..cached.next() };
    put(&untraced.worker, &[("package.json", "2")]);
    assert_eq!(asked(&untraced), None);
    // A run that asked more, with the same answers: it may have been that one.
    let more = Workshop::default();
    put(&more.worker, &BEFORE);
    assert_eq!(asked(&more), read);
    let more = more.next();
    put(&more.worker, &[("package.json", "2"), ("main.js", "1")]);
    more.worker.set_reads("RUN install", &["main.js"]);
    assert_eq!(asked(&more), Some(vec!["main.js".to_owned()]));
    let both = more.next();
    put(&both.worker, &BEFORE);
    let all = ["main.js", "npmrc", "package.json"].map(str::to_owned);
    assert_eq!(
        asked(&both).map(|mut asked| {
            asked.sort_unstable();
            asked
        }),
        Some(all.to_vec())
    );
}

#[test]
fn it_can_be_switched_off() {
    let (graph, target) = script();
    let again = Workshop { trace_run: TraceRun::Off, ..built_before().next() };
    put(&again.worker, &[("package.json", "1"), ("main.js", "2")]);
    assert_eq!(again.counts(&graph, target), (2, 0));
    let (mut graph, target) = script();
    graph.forbid_trace(target);
    let again = built_before().next();
    put(&again.worker, &[("package.json", "1"), ("main.js", "2")]);
    assert_eq!(again.counts(&graph, target), (2, 0));
}

#[test]
fn nothing_is_found_where_only_cached_results_count_and_a_read_file_changed() {
    let (graph, target) = script();
    let mut first = built_before();
    put(&first.worker, &[("package.json", "1"), ("main.js", "2")]);
    first.counts(&graph, target);
    first = Workshop { require_cached: true, ..first.next() };
    put(&first.worker, &[("package.json", "1"), ("main.js", "2")]);
    assert_eq!(first.counts(&graph, target), (0, 2));
}

#[test]
fn a_verified_reuse_that_differs_is_thrown_away() {
    let (graph, target) = script();
    let first = built_before();
    // The same: it stays.
    let again = Workshop { verify_percent: 100, ..first.next() };
    put(&again.worker, &[("package.json", "1"), ("main.js", "2")]);
    again.worker.set_layer("RUN install", "other");
    assert_eq!(again.counts(&graph, target), (2, 0));
    assert!(again.sink.lines().iter().any(|line| line == "refuted RUN install: all of it"));
    // The trace is gone, so the next change runs it.
    let third = again.next();
    put(&third.worker, &[("package.json", "1"), ("main.js", "3")]);
    assert_eq!(third.counts(&graph, target), (2, 0));
}

#[test]
fn a_verified_reuse_that_is_the_same_stays() {
    let (graph, target) = script();
    let first = Workshop::default();
    put(&first.worker, &BEFORE);
    first.worker.set_layer("RUN install", "modules");
    first.counts(&graph, target);
    let again = Workshop { verify_percent: 100, ..first.next() };
    put(&again.worker, &[("package.json", "1"), ("main.js", "2")]);
    again.worker.set_layer("RUN install", "modules");
    assert_eq!(again.counts(&graph, target), (1, 1));
    assert_eq!(again.worker.runs(), ["COPY", "RUN install"]);
}

#[test]
fn two_steps_of_one_outer_key_have_their_own_answers() {
    let (graph, target) = script();
    let mut last = built_before();
    for number in 2..20 {
        let content = number.to_string();
        last = last.next();
        put(&last.worker, &[("package.json", &content), ("main.js", "1")]);
        assert_eq!(last.counts(&graph, target), (2, 0));
    }
    for number in 2..20 {
        let content = number.to_string();
        last = last.next();
        put(&last.worker, &[("package.json", &content), ("main.js", "2")]);
        assert_eq!(last.counts(&graph, target), (1, 1));
    }
}
