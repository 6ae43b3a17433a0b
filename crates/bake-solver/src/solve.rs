//! The scheduler: walks the graph from its sources and carries out what is not known yet.
//!
//! One thread (the caller's) holds all state and decides; a vertex whose inputs are done is looked up there and, if it has
//! to be carried out, handed to a thread of its own as soon as there is room. Threads only wait or call the worker, so there
//! are as many as the graph is wide, up to [`SolveOptions::parallelism`]; those with the longest way to go come first. The
//! first failure cancels the rest; what is finished stays recorded.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use bake_graph::{BuildGraph, VertexId};
use bake_oci::DefinitionDigest;

use crate::cache::CacheStore;
use crate::event::{BuildEvent, EventSink, Outcome, StepInfo};
use crate::output::Output;
use crate::reuse::{TraceRun, VerifyShare};
use crate::step::{Context, Done};
use crate::worker::{StepError, Worker};

/// The most vertices that are carried out at the same time, however idle they are: each takes a thread, a mount and the
/// memory of its process.
const AT_ONCE_MAX: usize = 64;

/// How soon after a start it is looked whether what runs leaves a processor free, while something waits for its turn.
const LOOK_FIRST: Duration = Duration::from_millis(20);

/// How long the pause between two looks becomes while nothing changes.
const LOOK_MAX: Duration = Duration::from_millis(160);

/// How many vertices may be carried out at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parallelism {
    /// This many, whatever they do.
    Fixed(NonZeroUsize),
    /// As many as keep this many processors busy: a step that sleeps or waits makes room for another one.
    Processors(NonZeroUsize),
}

/// How a graph is carried out.
#[derive(Debug, Clone, Copy)]
pub struct SolveOptions<'a> {
    /// How many vertices may be carried out at the same time.
    pub parallelism: Parallelism,
    /// Whether a step without a result from before is an error: nothing is carried out then.
    pub require_cached: bool,
    /// In a build that goes on from a failure, the steps whose results are of that build only: they are carried out whatever
    /// is known, and nobody finds them later. All other results from before count there, also where the cache was to be
    /// ignored when the build began.
    pub continued: Option<&'a [DefinitionDigest]>,
    /// Whether steps are found by what they asked of the files that were copied for them.
    pub trace_run: TraceRun,
    /// How many of the steps that are found so are run all the same, to compare.
    pub verify: VerifyShare,
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
    let context = Context::new(graph, &needed, worker, cache, events, options);
    let mut state = State::new(graph, &needed);
    let (sender, receiver) = mpsc::channel::<(VertexId, Result<Done, StepError>)>();

    std::thread::scope(|scope| {
        let mut failure: Option<SolveError> = None;
        let mut pause = LOOK_FIRST;
        loop {
            if failure.is_none() && options.cancelled.load(Ordering::SeqCst) {
                failure = Some(SolveError::Cancelled);
            }
            // What is known already takes no room.
            while failure.is_none()
                && let Some(id) = state.ready.pop()
            {
                match context.without_work(id, &state.inputs(graph, id)) {
                    Ok(Some(done)) => state.finish(id, done, graph),
                    Ok(None) => state.queue(id),
                    Err(error) => failure = Some(context.failed(id, error)),
                }
            }
            while failure.is_none()
                && !state.queued.is_empty()
                && has_room(options.parallelism, &state.running, &context)
                && let Some((_, Reverse(id))) = state.queued.pop()
            {
                state.running.insert(id);
                pause = LOOK_FIRST;
                let (sender, context, inputs) = (sender.clone(), &context, state.inputs(graph, id));
                scope.spawn(move || {
                    let result = context.with_work(id, &inputs);
                    // The receiver lives until every thread of the scope has been counted back in.
                    let _ = sender.send((id, result));
                });
            }
            if state.running.is_empty() {
                break;
            }
            let looks = failure.is_none()
                && !state.queued.is_empty()
                && matches!(options.parallelism, Parallelism::Processors(_));
            let message = if looks {
                receiver.recv_timeout(pause)
            } else {
                receiver.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            let (id, result) = match message {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => {
                    pause = (pause * 2).min(LOOK_MAX);
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            };
            state.running.remove(&id);
            match result {
                Ok(done) => state.finish(id, done, graph),
                Err(error) if failure.is_none() => {
                    failure = Some(if options.cancelled.load(Ordering::SeqCst) {
                        SolveError::Cancelled
                    } else {
                        SolveError::Step { step: id, error }
                    });
                    context.stop();
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

/// Whether another vertex may be carried out beside those of `running`.
fn has_room(parallelism: Parallelism, running: &BTreeSet<VertexId>, context: &Context<'_>) -> bool {
    match parallelism {
        Parallelism::Fixed(most) => running.len() < most.get(),
        Parallelism::Processors(processors) => {
            running.len() < processors.get()
                || (running.len() < AT_ONCE_MAX
                    && running.len().saturating_sub(context.idle(running)) < processors.get())
        }
    }
}

pub(crate) fn announce(graph: &BuildGraph, id: VertexId) -> StepInfo {
    let vertex = graph.vertex(id);
    StepInfo {
        id,
        definition: vertex.definition,
        inputs: vertex.inputs.iter().map(|input| graph.vertex(*input).definition).collect(),
        label: vertex.label.clone(),
    }
}

/// What the coordinating thread knows.
struct State {
    outputs: HashMap<VertexId, Output>,
    /// Inputs that are still missing, by vertex.
    missing: HashMap<VertexId, usize>,
    /// How many vertices follow one another above each, itself included: the longest way to a target.
    heights: HashMap<VertexId, usize>,
    /// Vertices that nobody has looked at, although all of their inputs are there.
    ready: Vec<VertexId>,
    /// Vertices that have to be carried out, the highest on top; of equals the first of the graph.
    queued: BinaryHeap<(usize, Reverse<VertexId>)>,
    running: BTreeSet<VertexId>,
    ran: usize,
    cached: usize,
}

impl State {
    fn new(graph: &BuildGraph, needed: &[VertexId]) -> Self {
        let mut missing = HashMap::with_capacity(needed.len());
        let mut ready = Vec::new();
        for id in needed {
            let mut inputs = graph.vertex(*id).inputs.clone();
            inputs.sort_unstable();
            inputs.dedup();
            if inputs.is_empty() {
                ready.push(*id);
            }
            missing.insert(*id, inputs.len());
        }
        ready.reverse();
        let mut heights: HashMap<VertexId, usize> = HashMap::with_capacity(needed.len());
        // Users come after their inputs, so their heights are known first on the way back.
        for id in needed.iter().rev() {
            let height = 1 + heights.get(id).copied().unwrap_or(0);
            heights.insert(*id, height);
            for input in &graph.vertex(*id).inputs {
                let known = heights.entry(*input).or_insert(0);
                *known = height.max(*known);
            }
        }
        Self {
            outputs: HashMap::with_capacity(needed.len()),
            missing,
            heights,
            ready,
            queued: BinaryHeap::new(),
            running: BTreeSet::new(),
            ran: 0,
            cached: 0,
        }
    }

    fn inputs(&self, graph: &BuildGraph, id: VertexId) -> Vec<Output> {
        graph.vertex(id).inputs.iter().map(|input| self.outputs[input].clone()).collect()
    }

    fn queue(&mut self, id: VertexId) {
        self.queued.push((self.heights.get(&id).copied().unwrap_or(0), Reverse(id)));
    }

    fn finish(&mut self, id: VertexId, done: Done, graph: &BuildGraph) {
        self.outputs.insert(id, done.output);
        match done.outcome {
            Some(Outcome::Ran) => self.ran += 1,
            Some(Outcome::Cached) => self.cached += 1,
            None => {}
        }
        for user in graph.users(id).into_iter().rev() {
            // Users that no target needs are not in the map.
            if let Some(missing) = self.missing.get_mut(&user) {
                *missing -= 1;
                if *missing == 0 {
                    self.ready.push(user);
                }
            }
        }
    }
}
