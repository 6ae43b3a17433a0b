//! What a build would do.

use bake_graph::VertexId;
use bake_solver::{Forecast, TraceRun, plan};

use crate::graphs::{Script, Workshop};

/// What would become of each step, as text.
fn planned(workshop: &Workshop, script: &Script, target: VertexId) -> Vec<String> {
    let steps =
        plan(&script.graph, &[target], &workshop.worker, &workshop.cache, &workshop.sink, TraceRun::default()).unwrap();
    let text = |forecast: &Forecast| match forecast {
        Forecast::Cached { .. } => "cached".to_owned(),
        Forecast::Runs(explanation) => format!("runs: {explanation}"),
        Forecast::DependsOn(steps) => {
            let names: Vec<_> = steps.iter().map(|step| script.graph.vertex(*step).label.to_string()).collect();
            format!("depends on {}", names.join(", "))
        }
        Forecast::Unknown { why } => format!("unknown: {why}"),
    };
    steps.iter().map(|planned| format!("{} {}", planned.step.label, text(&planned.forecast))).collect()
}

fn build(command: &str) -> (Script, VertexId) {
    let mut script = Script::default();
    let scratch = script.scratch();
    let context = script.context();
    let copied = script.copy(scratch, context, "COPY");
    let made = script.run(copied, command);
    let target = script.run(made, "RUN last");
    (script, target)
}

#[test]
fn a_plan_carries_nothing_out_and_records_nothing() {
    let workshop = Workshop::default();
    let (script, target) = build("RUN make");
    assert_eq!(
        planned(&workshop, &script, target),
        [
            "COPY runs: nothing like it was built here before",
            "RUN make depends on COPY",
            "RUN last depends on RUN make",
        ]
    );
    assert_eq!(workshop.worker.runs(), Vec::<String>::new());
    assert!(workshop.cache.is_empty());

    workshop.counts(&script.graph, target);
    assert_eq!(planned(&workshop.next(), &script, target), ["COPY cached", "RUN make cached", "RUN last cached"]);

    let (script, target) = build("RUN make again");
    assert_eq!(
        planned(&workshop.next(), &script, target),
        ["COPY cached", "RUN make again runs: the command changed", "RUN last depends on RUN make again"]
    );
}

#[test]
fn files_that_are_not_here_are_not_fetched() {
    let workshop = Workshop::default();
    let copy_of = |command: &str| {
        let mut script = Script::default();
        let scratch = script.scratch();
        let made = script.run(scratch, command);
        let target = script.copy(scratch, made, "COPY");
        (script, target)
    };
    for command in ["RUN make", "RUN make other"] {
        let (script, target) = copy_of(command);
        workshop.counts(&script.graph, target);
    }
    // The quick key needs no files.
    let (script, target) = copy_of("RUN make");
    let away = workshop.next();
    away.worker.take_files_away();
    assert_eq!(planned(&away, &script, target), ["RUN make cached", "COPY cached"]);
    workshop.cache.evict("COPY", "bake prune");
    assert_eq!(
        planned(&away, &script, target),
        ["RUN make cached", "COPY unknown: the files that it copies would have to be fetched first"]
    );
    let strict = Workshop { require_cached: true, ..workshop.next() };
    strict.worker.take_files_away();
    assert!(strict.solve(&script.graph, target, 1).is_err());
    assert_eq!(strict.worker.runs(), Vec::<String>::new());
}

#[test]
fn what_a_server_has_is_not_asked_for() {
    let mut script = Script::default();
    let scratch = script.scratch();
    let fetched = script.http("https://example.com/file");
    let target = script.copy(scratch, fetched, "ADD");
    let workshop = Workshop::default();
    workshop.counts(&script.graph, target);
    let again = workshop.next();
    assert_eq!(
        planned(&again, &script, target),
        [
            "https://example.com/file unknown: only its server knows whether it has changed",
            "ADD depends on https://example.com/file",
        ]
    );
    assert!(again.worker.calls().is_empty());
}
