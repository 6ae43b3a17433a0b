//! What a build would do, without doing it.
//!
//! Results are looked up as a build would look them up, one step after the other. Behind a step that would run nothing is
//! certain: it may leave what it left before, and then what follows is found. Nothing is carried out, fetched or unpacked.

use std::collections::HashMap;

use bake_graph::{BuildGraph, InputView, Op, SourceOp, VertexId};

use crate::cache::CacheStore;
use crate::event::{EventSink, StepInfo};
use crate::explain::{Explanation, Explanations, Missed};
use crate::key::step_key;
use crate::output::{Layer, Output};
use crate::reuse::{Reuse, TraceRun};
use crate::solve::announce;
use crate::step::{cache_failed, difference, no_root, stacked};
use crate::worker::{StepError, Task, Worker};

/// What would become of a step.
#[derive(Debug, Clone)]
pub struct PlannedStep {
    /// Which.
    pub step: StepInfo,
    /// What would become of it.
    pub forecast: Forecast,
}

/// What would become of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forecast {
    /// Its result from before would be used.
    Cached {
        /// When that was made, in nanoseconds since 1970.
        made_ns: Option<i64>,
    },
    /// It would be carried out.
    Runs(Explanation),
    /// That depends on what these steps leave, which would run themselves or cannot be known.
    DependsOn(Vec<VertexId>),
    /// It cannot be told without fetching something.
    Unknown {
        /// What.
        why: String,
    },
}

/// What is known of a vertex.
enum Known {
    Output(Output),
    /// Nothing; these steps have to run before.
    After(Vec<VertexId>),
}

/// Says what would become of every exec and file op (and every file or repository to be fetched) that `targets` need,
/// inputs before users.
///
/// # Errors
/// With the step, if a source, a selection or the cache cannot be read.
pub fn plan(
    graph: &BuildGraph,
    targets: &[VertexId],
    worker: &dyn Worker,
    cache: &dyn CacheStore,
    events: &dyn EventSink,
    trace_run: TraceRun,
) -> Result<Vec<PlannedStep>, (VertexId, StepError)> {
    let needed = graph.needed(targets);
    let explanations = Explanations::new(&needed);
    let mut planner = Planner { graph, worker, cache, events, trace_run, explanations, known: HashMap::new() };
    let mut steps = Vec::new();
    for id in needed {
        let (known, forecast) = planner.look(id).map_err(|error| (id, error))?;
        planner.known.insert(id, known);
        steps.extend(forecast.map(|forecast| PlannedStep { step: announce(graph, id), forecast }));
    }
    Ok(steps)
}

struct Planner<'a> {
    graph: &'a BuildGraph,
    worker: &'a dyn Worker,
    cache: &'a dyn CacheStore,
    events: &'a dyn EventSink,
    trace_run: TraceRun,
    explanations: Explanations,
    known: HashMap<VertexId, Known>,
}

impl Planner<'_> {
    fn look(&self, id: VertexId) -> Result<(Known, Option<Forecast>), StepError> {
        let vertex = self.graph.vertex(id);
        let (inputs, after) = self.inputs(id);
        if !after.is_empty() {
            let forecast = match vertex.op {
                Op::Exec(_) | Op::File(_) => Some(Forecast::DependsOn(after.clone())),
                _ => None,
            };
            // Of a chain of such steps each depends on the one before it.
            let after = if forecast.is_some() { vec![id] } else { after };
            return Ok((Known::After(after), forecast));
        }
        match &vertex.op {
            Op::Source(SourceOp::Scratch) => Ok((Known::Output(Output::Layers(Vec::new())), None)),
            Op::Source(SourceOp::Local(_) | SourceOp::Image(_)) => {
                let task = Task { id, vertex, inputs: Vec::new(), slots: &[], events: self.events };
                Ok((Known::Output(self.worker.source(&task)?), None))
            }
            Op::Source(SourceOp::Http(_) | SourceOp::Git(_)) => {
                let why = "only its server knows whether it has changed".to_owned();
                Ok((Known::After(vec![id]), Some(Forecast::Unknown { why })))
            }
            Op::Merge => {
                let layers = inputs.iter().flat_map(|input| input.layers().iter().cloned()).collect();
                Ok((Known::Output(Output::Layers(layers)), None))
            }
            Op::Diff => {
                let inputs: Vec<Output> = inputs.into_iter().cloned().collect();
                Ok((Known::Output(difference(&inputs)?), None))
            }
            Op::Exec(_) | Op::File(_) => self.step(id, &inputs),
        }
    }

    /// The results of a vertex's inputs, or the steps that have to run before they are known.
    fn inputs(&self, id: VertexId) -> (Vec<&Output>, Vec<VertexId>) {
        let mut outputs = Vec::new();
        let mut after = Vec::new();
        for input in &self.graph.vertex(id).inputs {
            match self.known.get(input) {
                Some(Known::Output(output)) => outputs.push(output),
                Some(Known::After(steps)) => after.extend(steps.iter().copied()),
                None => {}
            }
        }
        after.sort_unstable();
        after.dedup();
        (outputs, after)
    }

    fn step(&self, id: VertexId, inputs: &[&Output]) -> Result<(Known, Option<Forecast>), StepError> {
        let vertex = self.graph.vertex(id);
        let found = |layer: Layer| {
            let made_ns = layer.created_ns;
            let inputs: Vec<Output> = inputs.iter().take(1).map(|input| (*input).clone()).collect();
            (Known::Output(stacked(&inputs, layer)), Some(Forecast::Cached { made_ns }))
        };
        if vertex.ignore_cache {
            let explanation = Explanation::cache_ignored();
            self.explanations.remember(id, explanation.clone());
            return Ok((Known::After(vec![id]), Some(Forecast::Runs(explanation))));
        }
        if let Some(quick) = step_key(vertex, inputs, &[])
            && let Some(layer) = self.cache.lookup(&quick.key).map_err(cache_failed)?
        {
            return Ok(found(layer));
        }
        let mut selections = Vec::with_capacity(inputs.len());
        for (number, input) in inputs.iter().enumerate() {
            if vertex.op.input_view(number) != InputView::Selected {
                selections.push(None);
            } else if self.worker.is_here(input) {
                selections.push(Some(self.worker.content_digest(vertex, number, input)?));
            } else {
                let why = "the files that it copies would have to be fetched first".to_owned();
                return Ok((Known::After(vec![id]), Some(Forecast::Unknown { why })));
            }
        }
        let full = step_key(vertex, inputs, &selections).ok_or_else(no_root)?;
        if let Some(layer) = self.cache.lookup(&full.key).map_err(cache_failed)? {
            return Ok(found(layer));
        }
        let mut read = None;
        if let Some(scope) = crate::trace::scope(vertex, inputs).filter(|_| self.trace_run != TraceRun::Off) {
            let task = Task { id, vertex, inputs: inputs.to_vec(), slots: &scope.slots, events: self.events };
            let slots = crate::slot::slot_notes(self.graph, vertex, inputs, &scope);
            match crate::reuse::find(&scope, &slots, &task, self.worker, self.cache)? {
                Reuse::Found(hit) => return Ok(found(hit.layer)),
                Reuse::Changed(difference) => read = Some(difference),
                Reuse::Unknown => {}
            }
        }
        let missed = Missed { graph: self.graph, id, key: &full, selections: &selections };
        let explanation = self.explanations.explain(&missed, read, self.cache);
        Ok((Known::After(vec![id]), Some(Forecast::Runs(explanation))))
    }
}
