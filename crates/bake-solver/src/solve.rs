//! The scheduler: walks the graph from its sources and carries out what is not known yet.
//!
//! One thread (the caller's) holds all state and decides; a vertex whose inputs are done is looked up there and, if it has
//! to be carried out, handed to a thread of its own. Threads only wait or call the worker, so there are as many as the
//! graph is wide, up to [`SolveOptions::parallelism`]. The first failure cancels the rest; what is finished stays recorded.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use bake_graph::{BuildGraph, InputView, Op, SourceOp, Vertex, VertexId};
use bake_oci::CacheKey;

use crate::cache::{CacheError, CacheStore, NewRecord};
use crate::event::{BuildEvent, EventSink, Outcome, StepInfo};
use crate::key::{KeyParts, step_key};
use crate::output::{Layer, Output};
use crate::worker::{StepError, StepErrorKind, Task, Worker};

/// How a graph is carried out.
#[derive(Debug, Clone, Copy)]
pub struct SolveOptions<'a> {
    /// The largest number of vertices that are carried out at the same time.
    pub parallelism: NonZeroUsize,
    /// Set from outside to end the build soon.
    pub cancelled: &'a AtomicBool,
}

/// The results of the targets, and what it took.
#[derive(Debug)]
pub struct Solved {
    /// The output of every vertex that was needed.
    pub outputs: HashMap<VertexId, Output>,
    /// How many steps were carried out.
    pub ran: usize,
    /// How many results from before were used.
    pub cached: usize,
}

/// Why a build ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum SolveError {
    /// A step failed.
    #[error("{error}")]
    Step {
        /// Which.
        step: VertexId,
        /// Why.
        #[source]
        error: StepError,
    },
    /// The build was cancelled.
    #[error("the build was cancelled")]
    Cancelled,
}

/// Carries out everything that `targets` need.
pub fn solve(
    graph: &BuildGraph,
    targets: &[VertexId],
    worker: &dyn Worker,
    cache: &dyn CacheStore,
    events: &dyn EventSink,
    options: &SolveOptions<'_>,
) -> Result<Solved, SolveError> {
    let needed = graph.needed(targets);
    events.send(BuildEvent::Planned { steps: needed.iter().map(|id| announce(graph, *id)).collect() });
    let context = Context { graph, worker, cache, events };
    let mut state = State::new(graph, &needed);
    let (sender, receiver) = mpsc::channel::<(VertexId, Result<Done, StepError>)>();

    std::thread::scope(|scope| {
        let mut running = 0usize;
        let mut failure: Option<SolveError> = None;
        loop {
            while failure.is_none() && running < options.parallelism.get() {
                if options.cancelled.load(Ordering::SeqCst) {
                    failure = Some(SolveError::Cancelled);
                    break;
                }
                let Some(id) = state.ready.pop_front() else { break };
                let inputs: Vec<Output> = context.vertex(id).inputs.iter().map(|i| state.outputs[i].clone()).collect();
                match context.without_work(id, &inputs) {
                    Ok(Some(done)) => state.finish(id, done, graph),
                    Ok(None) => {
                        running += 1;
                        let (sender, context) = (sender.clone(), &context);
                        scope.spawn(move || {
                            let result = context.with_work(id, &inputs);
                            // The receiver lives until every thread of the scope has been counted back in.
                            let _ = sender.send((id, result));
                        });
                    }
                    Err(error) => failure = Some(context.failed(id, error)),
                }
            }
            if running == 0 {
                break;
            }
            let Ok((id, result)) = receiver.recv() else { break };
            running -= 1;
            match result {
                Ok(done) => state.finish(id, done, graph),
                Err(error) if failure.is_none() => {
                    failure =
                        Some(if error.kind == StepErrorKind::Cancelled && options.cancelled.load(Ordering::SeqCst) {
                            SolveError::Cancelled
                        } else {
                            SolveError::Step { step: id, error }
                        });
                    worker.cancel();
                }
                Err(_) => {}
            }
        }
        match failure {
            Some(error) => Err(error),
            None => Ok(Solved { outputs: state.outputs, ran: state.ran, cached: state.cached }),
        }
    })
}

fn announce(graph: &BuildGraph, id: VertexId) -> StepInfo {
    let vertex = graph.vertex(id);
    StepInfo {
        id,
        definition: vertex.definition,
        inputs: vertex.inputs.iter().map(|input| graph.vertex(*input).definition).collect(),
        label: vertex.label.clone(),
    }
}

/// A vertex's result and how it came about; `None` for vertices that are no step (sources, merges).
struct Done {
    output: Output,
    outcome: Option<Outcome>,
}

/// What the coordinating thread knows.
struct State {
    outputs: HashMap<VertexId, Output>,
    /// Inputs that are still missing, by vertex.
    missing: HashMap<VertexId, usize>,
    ready: VecDeque<VertexId>,
    ran: usize,
    cached: usize,
}

impl State {
    fn new(graph: &BuildGraph, needed: &[VertexId]) -> Self {
        let mut missing = HashMap::with_capacity(needed.len());
        let mut ready = VecDeque::new();
        for id in needed {
            let mut inputs = graph.vertex(*id).inputs.clone();
            inputs.sort_unstable();
            inputs.dedup();
            if inputs.is_empty() {
                ready.push_back(*id);
            }
            missing.insert(*id, inputs.len());
        }
        Self { outputs: HashMap::with_capacity(needed.len()), missing, ready, ran: 0, cached: 0 }
    }

    fn finish(&mut self, id: VertexId, done: Done, graph: &BuildGraph) {
        self.outputs.insert(id, done.output);
        match done.outcome {
            Some(Outcome::Ran) => self.ran += 1,
            Some(Outcome::Cached) => self.cached += 1,
            None => {}
        }
        for user in graph.users(id) {
            // Users that no target needs are not in the map.
            if let Some(missing) = self.missing.get_mut(&user) {
                *missing -= 1;
                if *missing == 0 {
                    self.ready.push_back(user);
                }
            }
        }
    }
}

/// What every thread may use.
struct Context<'a> {
    graph: &'a BuildGraph,
    worker: &'a dyn Worker,
    cache: &'a dyn CacheStore,
    events: &'a dyn EventSink,
}

impl Context<'_> {
    fn vertex(&self, id: VertexId) -> &Vertex {
        self.graph.vertex(id)
    }

    fn failed(&self, id: VertexId, error: StepError) -> SolveError {
        self.worker.cancel();
        SolveError::Step { step: id, error }
    }

    /// The result of a vertex if it can be had at once: stacked layers, or a record under the quick key.
    fn without_work(&self, id: VertexId, inputs: &[Output]) -> Result<Option<Done>, StepError> {
        let vertex = self.vertex(id);
        let started = Instant::now();
        match &vertex.op {
            Op::Source(SourceOp::Scratch) => Ok(Some(Done { output: Output::Layers(Vec::new()), outcome: None })),
            // The worker only says what the caller meant by the name, which takes no thread and nothing to show.
            Op::Source(SourceOp::Local(_)) => {
                let output = self.worker.source(&self.task(id, inputs))?;
                Ok(Some(Done { output, outcome: None }))
            }
            Op::Source(_) => Ok(None),
            Op::Merge => {
                let layers = inputs.iter().flat_map(|input| input.layers().iter().cloned()).collect();
                Ok(Some(Done { output: Output::Layers(layers), outcome: None }))
            }
            Op::Diff => Ok(Some(Done { output: difference(inputs)?, outcome: None })),
            Op::Exec(_) | Op::File(_) => {
                if vertex.ignore_cache {
                    return Ok(None);
                }
                let Some(quick) = step_key(vertex, &inputs.iter().collect::<Vec<_>>(), &[]) else { return Ok(None) };
                let Some(layer) = self.lookup(&quick.key)? else { return Ok(None) };
                self.events.send(BuildEvent::Started { step: id });
                self.events.send(BuildEvent::Finished {
                    step: id,
                    outcome: Outcome::Cached,
                    elapsed: started.elapsed(),
                });
                Ok(Some(Done { output: stacked(inputs, layer), outcome: Some(Outcome::Cached) }))
            }
        }
    }

    /// Carries out a vertex, unless its content-based key shows that it was done before.
    fn with_work(&self, id: VertexId, inputs: &[Output]) -> Result<Done, StepError> {
        let started = Instant::now();
        self.events.send(BuildEvent::Started { step: id });
        let result = match &self.vertex(id).op {
            Op::Source(_) => self.worker.source(&self.task(id, inputs)).map(|output| Done { output, outcome: None }),
            _ => self.step(id, inputs),
        };
        let elapsed = started.elapsed();
        match &result {
            Ok(done) => {
                let outcome = done.outcome.unwrap_or(Outcome::Ran);
                self.events.send(BuildEvent::Finished { step: id, outcome, elapsed });
            }
            Err(error) => self.events.send(BuildEvent::Failed { step: id, message: error.message.clone(), elapsed }),
        }
        result
    }

    fn task<'b>(&'b self, id: VertexId, inputs: &'b [Output]) -> Task<'b> {
        Task { id, vertex: self.vertex(id), inputs: inputs.iter().collect(), events: self.events }
    }

    fn step(&self, id: VertexId, inputs: &[Output]) -> Result<Done, StepError> {
        let vertex = self.vertex(id);
        let borrowed: Vec<&Output> = inputs.iter().collect();
        let mut selections = Vec::with_capacity(inputs.len());
        for (number, input) in inputs.iter().enumerate() {
            let selected = vertex.op.input_view(number) == InputView::Selected;
            selections.push(if selected { Some(self.worker.content_digest(vertex, number, input)?) } else { None });
        }
        let full = step_key(vertex, &borrowed, &selections)
            .ok_or_else(|| StepError::input("a step cannot work on a directory as its root file system"))?;
        let quick = step_key(vertex, &borrowed, &[]);
        let keys: Vec<CacheKey> = [Some(full.key), quick.map(|quick| quick.key)].into_iter().flatten().collect();

        if !vertex.ignore_cache
            && let Some(layer) = self.lookup(&full.key)?
        {
            self.remember(vertex, &keys, &full, &layer)?;
            return Ok(Done { output: stacked(inputs, layer), outcome: Some(Outcome::Cached) });
        }
        // Whoever holds the key makes the result; everybody else who wants it waits and then finds it.
        let guard =
            self.cache.lock(&full.key, &|| self.events.send(BuildEvent::Waiting { step: id })).map_err(cache_failed)?;
        if !vertex.ignore_cache
            && let Some(layer) = self.lookup(&full.key)?
        {
            self.remember(vertex, &keys, &full, &layer)?;
            return Ok(Done { output: stacked(inputs, layer), outcome: Some(Outcome::Cached) });
        }
        let layer = self.worker.run(&self.task(id, inputs))?;
        self.remember(vertex, &keys, &full, &layer)?;
        drop(guard);
        Ok(Done { output: stacked(inputs, layer), outcome: Some(Outcome::Ran) })
    }

    fn lookup(&self, key: &CacheKey) -> Result<Option<Layer>, StepError> {
        self.cache.lookup(key).map_err(cache_failed)
    }

    fn remember(&self, vertex: &Vertex, keys: &[CacheKey], full: &KeyParts, layer: &Layer) -> Result<(), StepError> {
        let record = NewRecord {
            keys,
            definition: vertex.definition,
            description: vertex.label.to_string(),
            components: &full.components,
            layer,
        };
        self.cache.record(record).map_err(cache_failed)
    }
}

fn cache_failed(error: CacheError) -> StepError {
    StepError::environment(error.message.clone(), error)
}

/// The root file system of a step's first input with the layer it added.
fn stacked(inputs: &[Output], layer: Layer) -> Output {
    let mut layers = inputs.first().map(|base| base.layers().to_vec()).unwrap_or_default();
    layers.push(layer);
    Output::Layers(layers)
}

fn difference(inputs: &[Output]) -> Result<Output, StepError> {
    let [lower, upper] = inputs else { return Err(StepError::input("a difference takes two inputs")) };
    match upper.layers().strip_prefix(lower.layers()) {
        Some(layers) => Ok(Output::Layers(layers.to_vec())),
        None => Err(StepError::input("the first input of a difference is not what the second one was made from")),
    }
}
