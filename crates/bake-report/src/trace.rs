//! Builds as traces, for programs that show such: OpenTelemetry's protocol as JSON, and Chrome's trace events.

use bake_oci::digest::to_hex;
use serde_json::{Map, Value, json};

use crate::record::{BuildRecord, BuildResult, StepOutcome, StepRecord};
use crate::timeline::Timeline;

/// A build as one line of the OTLP file format: `TracesData` of the OpenTelemetry protocol 1.x in its JSON form, with one span
/// for the build and one for each step that was begun. Identities are made from the record, so they are the same each time.
pub fn otlp(record: &BuildRecord, number: i64) -> Value {
    let identity = blake3::hash(format!("{number} {} {}", record.started_unix_ms, record.name).as_bytes());
    let trace = to_hex(identity.as_bytes().get(..16).unwrap_or_default());
    let span = |place: Option<usize>| {
        let name = place.map_or_else(|| "build".to_owned(), |place| place.to_string());
        to_hex(blake3::keyed_hash(identity.as_bytes(), name.as_bytes()).as_bytes().get(..8).unwrap_or_default())
    };
    let at = |microseconds: u64| {
        let started = u64::try_from(record.started_unix_ms).unwrap_or(0).saturating_mul(1_000_000);
        started.saturating_add(microseconds.saturating_mul(1000)).to_string()
    };
    let total_us = Timeline::of(record).total_us;
    let mut attributes = vec![
        attribute("bake.build.number", number),
        attribute("bake.build.result", record.result.name()),
        attribute("bake.build.context", record.request.context.as_str()),
    ];
    // One attribute has one value; which image of several targets it would be is nobody's guess.
    if let [image] = record.images.as_slice() {
        attributes.push(attribute("bake.image.digest", image.digest.as_str()));
    }
    let mut spans = vec![json!({
        "traceId": trace,
        "spanId": span(None),
        "name": format!("build {}", record.name),
        "kind": INTERNAL,
        "startTimeUnixNano": at(0),
        "endTimeUnixNano": at(total_us),
        "attributes": attributes,
        "status": status(record.result == BuildResult::Succeeded, record.error.as_deref()),
    })];
    for (place, step) in begun(record) {
        // What a step needed is no parent of it: it had ended before.
        let links: Vec<Value> = step
            .inputs
            .iter()
            .filter(|input| record.steps.get(**input).is_some_and(is_begun))
            .map(|input| json!({ "traceId": trace, "spanId": span(Some(*input)) }))
            .collect();
        spans.push(json!({
            "traceId": trace,
            "spanId": span(Some(place)),
            "parentSpanId": span(None),
            "name": step.name,
            "kind": INTERNAL,
            "startTimeUnixNano": at(step.began_us),
            "endTimeUnixNano": at(end_of(step, total_us)),
            "attributes": facts(step).into_iter().map(|(key, value)| attribute(&format!("bake.step.{key}"), value)).collect::<Vec<_>>(),
            "links": links,
            "status": status(step.outcome != StepOutcome::Failed, step.error.as_deref()),
        }));
    }
    json!({ "resourceSpans": [{
        "resource": { "attributes": [
            attribute("service.name", "bake"),
            attribute("service.version", record.machine.version.as_str()),
            attribute("host.cpu.count", record.machine.processors),
        ] },
        "scopeSpans": [{ "scope": { "name": "bake", "version": record.machine.version }, "spans": spans }],
    }] })
}

/// `SPAN_KIND_INTERNAL`.
const INTERNAL: u8 = 1;

/// A build as Chrome's trace events (`chrome://tracing`, Perfetto): a complete event for each step, in lanes that hold one at
/// a time, and how many processors were busy. Arrows lead from a step to those that needed it.
pub fn chrome(record: &BuildRecord, number: i64) -> Value {
    let timeline = Timeline::of(record);
    let mut events = vec![json!({
        "name": "process_name", "ph": "M", "pid": 1, "tid": 0,
        "args": { "name": format!("build {number} of {}", record.name) },
    })];
    let lanes = lanes(record, timeline.total_us);
    let count = lanes.iter().flatten().max().map_or(0, |last| last + 1);
    for lane in 0..count {
        events.push(json!({
            "name": "thread_name", "ph": "M", "pid": 1, "tid": lane + 1, "args": { "name": format!("lane {}", lane + 1) },
        }));
    }
    let lane = |place: usize| lanes.get(place).copied().flatten().unwrap_or(0) + 1;
    for (place, step) in begun(record) {
        let mut args: Map<String, Value> =
            facts(step).into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        args.insert("critical".to_owned(), timeline.critical.contains(&place).into());
        let end = end_of(step, timeline.total_us);
        events.push(json!({
            "name": step.name, "cat": "step", "ph": "X", "pid": 1, "tid": lane(place),
            "ts": step.began_us, "dur": end.saturating_sub(step.began_us), "args": args,
        }));
        for input in &step.inputs {
            let Some(needed) = record.steps.get(*input).filter(|needed| is_begun(needed)) else { continue };
            let id = format!("{input}-{place}");
            // An arrow begins within the event that it comes from.
            let from = end_of(needed, timeline.total_us).saturating_sub(1).max(needed.began_us);
            events.push(json!({
                "name": "needs", "cat": "input", "ph": "s", "id": id, "pid": 1, "tid": lane(*input), "ts": from,
            }));
            events.push(json!({
                "name": "needs", "cat": "input", "ph": "f", "bp": "e", "id": id, "pid": 1, "tid": lane(place), "ts": step.began_us,
            }));
        }
    }
    for (at, busy) in &timeline.load {
        events.push(json!({
            "name": "busy processors", "ph": "C", "pid": 1, "tid": 0, "ts": at, "args": { "processors": busy },
        }));
    }
    json!({
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": { "build": number, "result": record.result.name(), "startedUnixMs": record.started_unix_ms },
    })
}

/// The steps that work began on, with their places.
fn begun(record: &BuildRecord) -> impl Iterator<Item = (usize, &StepRecord)> {
    record.steps.iter().enumerate().filter(|(_, step)| is_begun(step))
}

fn is_begun(step: &StepRecord) -> bool {
    step.outcome != StepOutcome::NotReached || step.began_us > 0
}

/// A step without an end ended with the build.
fn end_of(step: &StepRecord, total_us: u64) -> u64 {
    if step.ended_us == 0 && step.outcome == StepOutcome::NotReached {
        total_us
    } else {
        step.ended_us.max(step.began_us)
    }
}

/// For each step that was begun a lane, such that no two of a lane overlap.
fn lanes(record: &BuildRecord, total_us: u64) -> Vec<Option<usize>> {
    let mut order: Vec<(usize, &StepRecord)> = begun(record).collect();
    order.sort_by_key(|(_, step)| step.began_us);
    let mut lanes = vec![None; record.steps.len()];
    let mut ends: Vec<u64> = Vec::new();
    for (place, step) in order {
        let end = end_of(step, total_us);
        let lane = ends.iter().position(|end| *end <= step.began_us).unwrap_or(ends.len());
        if lane == ends.len() {
            ends.push(0);
        }
        if let (Some(slot), Some(until)) = (lanes.get_mut(place), ends.get_mut(lane)) {
            (*slot, *until) = (Some(lane), end);
        }
    }
    lanes
}

/// What is told of a step besides its times.
fn facts(step: &StepRecord) -> Vec<(&'static str, Value)> {
    let outcome = serde_json::to_value(step.outcome).unwrap_or_default();
    let kind = serde_json::to_value(step.kind).unwrap_or_default();
    let mut facts = vec![("outcome", outcome), ("kind", kind)];
    let mut add = |key, value: Option<Value>| facts.extend(value.map(|value| (key, value)));
    add("number", step.number.map(Value::from));
    add("line", step.line.map(Value::from));
    add("stage", (!step.stage.is_empty()).then(|| step.stage.as_str().into()));
    add("reason", step.explanation.as_ref().map(|why| why.to_string().into()));
    add("read_paths", step.trace.as_ref().map(|trace| trace.paths.into()));
    add("transferred_bytes", (step.transferred_bytes > 0).then(|| step.transferred_bytes.into()));
    let usage = step.usage.as_ref();
    add("processor_us", usage.map(|usage| usage.processor_us.into()));
    add("memory_peak_bytes", usage.map(|usage| usage.memory_peak_bytes.into()));
    add("disk_read_bytes", usage.map(|usage| usage.disk_read_bytes.into()));
    add("disk_written_bytes", usage.map(|usage| usage.disk_written_bytes.into()));
    add("layer_bytes", usage.and_then(|usage| usage.layer_bytes).map(Value::from));
    facts
}

/// An attribute as the protocol writes it: 64-bit integers are strings.
fn attribute(key: &str, value: impl Into<Value>) -> Value {
    let value = match value.into() {
        Value::Number(number) => json!({ "intValue": number.to_string() }),
        Value::Bool(truth) => json!({ "boolValue": truth }),
        Value::String(text) => json!({ "stringValue": text }),
        other => json!({ "stringValue": other.to_string() }),
    };
    json!({ "key": key, "value": value })
}

/// `STATUS_CODE_OK` or `STATUS_CODE_ERROR`.
fn status(good: bool, message: Option<&str>) -> Value {
    match (good, message) {
        (true, _) => json!({ "code": 1 }),
        (false, Some(message)) => json!({ "code": 2, "message": message }),
        (false, None) => json!({ "code": 2 }),
    }
}

#[cfg(test)]
mod tests;
