#![expect(clippy::unwrap_used, reason = "a failed test should panic")]

use bake_solver::MemoryOf;

use super::*;
use crate::record::UsageRecord;

fn step(name: &str, began_us: u64, ended_us: u64, inputs: &[usize], outcome: StepOutcome) -> StepRecord {
    StepRecord { name: name.into(), began_us, ended_us, inputs: inputs.to_vec(), outcome, ..StepRecord::default() }
}

fn record() -> BuildRecord {
    let usage = UsageRecord {
        processor_us: 50,
        memory_peak_bytes: 1,
        memory_of: MemoryOf::AllProcesses,
        disk_read_bytes: 0,
        disk_written_bytes: 0,
        layer_bytes: None,
    };
    BuildRecord {
        name: "app".into(),
        result: BuildResult::Failed,
        elapsed_ms: 1,
        started_unix_ms: 1_700_000_000_000,
        error: Some("it failed".into()),
        steps: vec![
            step("a", 10, 100, &[], StepOutcome::Ran),
            StepRecord { usage: Some(usage), ..step("b", 20, 120, &[], StepOutcome::Cached) },
            StepRecord { error: Some("exit code: 1".into()), ..step("c", 120, 900, &[0, 1, 77], StepOutcome::Failed) },
            step("d", 130, 0, &[0], StepOutcome::NotReached),
            step("never", 0, 0, &[2], StepOutcome::NotReached),
        ],
        ..BuildRecord::default()
    }
}

/// The fields of the protocol's messages, by name: what a strict reader of its JSON form accepts.
#[test]
fn spans_are_those_of_the_protocol() {
    let trace = otlp(&record(), 7);
    assert_eq!(trace, otlp(&record(), 7), "identities do not change");
    let spans = trace["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
    assert_eq!(spans.len(), 5, "a step that was never reached is no span");
    let known = [
        "traceId",
        "spanId",
        "parentSpanId",
        "name",
        "kind",
        "startTimeUnixNano",
        "endTimeUnixNano",
        "attributes",
        "links",
        "status",
    ];
    for span in spans {
        assert!(span.as_object().unwrap().keys().all(|key| known.contains(&key.as_str())), "{span}");
        let hex = |key: &str, length: usize| {
            let text = span[key].as_str().unwrap();
            text.len() == length && text.chars().all(|digit| digit.is_ascii_hexdigit())
        };
        assert!(hex("traceId", 32) && hex("spanId", 16), "{span}");
        let time = |key: &str| span[key].as_str().unwrap().parse::<u64>().unwrap();
        assert!(time("startTimeUnixNano") <= time("endTimeUnixNano"), "{span}");
        for attribute in span["attributes"].as_array().unwrap() {
            let (kind, value) = attribute["value"].as_object().unwrap().iter().next().unwrap();
            assert!(["stringValue", "intValue", "boolValue"].contains(&kind.as_str()), "{attribute}");
            assert!(value.is_string() || value.is_boolean(), "{attribute}");
        }
    }
    assert_eq!(spans[1]["startTimeUnixNano"], "1700000000000010000");
    let linked: Vec<&Value> = spans[3]["links"].as_array().unwrap().iter().map(|link| &link["spanId"]).collect();
    assert_eq!(linked, [&spans[1]["spanId"], &spans[2]["spanId"]]);
    assert_eq!(spans[3]["status"], json!({ "code": 2, "message": "exit code: 1" }));
    assert_eq!(spans[4]["endTimeUnixNano"], "1700000000001000000", "what was broken off ends with the build");
}

#[test]
fn events_of_a_lane_do_not_overlap() {
    let trace = chrome(&record(), 7);
    let events = trace["traceEvents"].as_array().unwrap();
    let complete: Vec<&Value> = events.iter().filter(|event| event["ph"] == "X").collect();
    assert_eq!(complete.len(), 4);
    let number = |event: &Value, key: &str| event[key].as_u64().unwrap();
    for (place, event) in complete.iter().enumerate() {
        for other in complete.iter().skip(place + 1).filter(|other| other["tid"] == event["tid"]) {
            let end = |event: &Value| number(event, "ts") + number(event, "dur");
            assert!(end(event) <= number(other, "ts") || end(other) <= number(event, "ts"), "{event} {other}");
        }
    }
    // Every arrow has two ends, each within an event of its lane.
    for arrow in events.iter().filter(|event| event["ph"] == "s" || event["ph"] == "f") {
        let holds = |event: &&&Value| {
            event["tid"] == arrow["tid"]
                && (number(event, "ts")..=number(event, "ts") + number(event, "dur")).contains(&number(arrow, "ts"))
        };
        assert!(complete.iter().any(|event| holds(&event)), "{arrow}");
    }
    let count = |phase: &str| events.iter().filter(|event| event["ph"] == phase).count();
    assert_eq!((count("s"), count("f"), count("C")), (3, 3, 2));
}
