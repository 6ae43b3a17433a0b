//! One vertex: found again, or carried out.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bake_graph::{BuildGraph, InputView, Op, SourceOp, Vertex, VertexId};
use bake_oci::CacheKey;

use crate::cache::{CacheError, CacheStore, NewRecord};
use crate::event::{Awaited, BuildEvent, EventSink, Outcome, TraceNote};
use crate::explain::{Difference, Explanation, Explanations, Missed};
use crate::key::step_key;
use crate::output::{Layer, Output};
use crate::reuse::{Found, Reuse, TraceRun};
use crate::slot::{SlotNote, Untraced, slot_notes};
use crate::solve::{SolveError, SolveOptions};
use crate::trace::{Scope, Trace, Traced};
use crate::worker::{Ran, StepError, StepErrorKind, Task, Worker};

/// A vertex's result and how it came about; `None` for vertices that are no step (sources, merges).
pub(crate) struct Done {
    pub(crate) output: Output,
    pub(crate) outcome: Option<Outcome>,
}

/// Remembers a layer under the keys of its step, and a traced one.
type RecordedAs<'a> = dyn Fn(&Layer, Option<CacheKey>) -> Result<(), StepError> + 'a;

/// What every thread may use.
pub(crate) struct Context<'a> {
    graph: &'a BuildGraph,
    worker: &'a dyn Worker,
    cache: &'a dyn CacheStore,
    events: &'a dyn EventSink,
    options: &'a SolveOptions<'a>,
    /// Whether the build has failed and nobody wants the rest.
    stopped: AtomicBool,
    /// Steps that wait for another build, or another thread of this one, that makes the same.
    waiting: Mutex<BTreeSet<VertexId>>,
    explanations: Explanations,
}

impl<'a> Context<'a> {
    pub(crate) fn new(
        graph: &'a BuildGraph,
        needed: &[VertexId],
        worker: &'a dyn Worker,
        cache: &'a dyn CacheStore,
        events: &'a dyn EventSink,
        options: &'a SolveOptions<'a>,
    ) -> Self {
        Self {
            graph,
            worker,
            cache,
            events,
            options,
            stopped: AtomicBool::new(false),
            waiting: Mutex::default(),
            explanations: Explanations::new(needed),
        }
    }

    /// How many of the steps that run leave their processor to others.
    pub(crate) fn idle(&self, running: &BTreeSet<VertexId>) -> usize {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let working: Vec<VertexId> = running.difference(&waiting).copied().collect();
        running.len() - working.len() + self.worker.idle(&working)
    }

    /// Ends everything that still runs, soon.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.worker.cancel();
    }

    fn is_wanted(&self) -> bool {
        !self.stopped.load(Ordering::SeqCst) && !self.options.cancelled.load(Ordering::SeqCst)
    }

    /// Whether results from before are of no use for a vertex.
    fn ignores_cache(&self, vertex: &Vertex) -> bool {
        match self.options.continued {
            Some(_) => self.is_continued(vertex),
            None => vertex.ignore_cache,
        }
    }

    fn is_continued(&self, vertex: &Vertex) -> bool {
        self.options.continued.is_some_and(|steps| steps.contains(&vertex.definition))
    }

    fn vertex(&self, id: VertexId) -> &Vertex {
        self.graph.vertex(id)
    }

    pub(crate) fn failed(&self, id: VertexId, error: StepError) -> SolveError {
        self.stop();
        SolveError::Step { step: id, error }
    }

    /// The result of a vertex if it can be had at once: stacked layers, or a record under the quick key.
    pub(crate) fn without_work(&self, id: VertexId, inputs: &[Output]) -> Result<Option<Done>, StepError> {
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
                if self.ignores_cache(vertex) {
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
    pub(crate) fn with_work(&self, id: VertexId, inputs: &[Output]) -> Result<Done, StepError> {
        let started = Instant::now();
        self.events.send(BuildEvent::Started { step: id });
        let result = match &self.vertex(id).op {
            Op::Source(_) => self.worker.source(&self.task(id, inputs)).map(|output| Done { output, outcome: None }),
            _ => self.step(id, inputs),
        };
        // What was broken off fails in many ways, none of which is the user's concern.
        let result = result.map_err(|error| if self.is_wanted() { error } else { StepError::cancelled() });
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
        Task { id, vertex: self.vertex(id), inputs: inputs.iter().collect(), slots: &[], events: self.events }
    }

    fn step(&self, id: VertexId, inputs: &[Output]) -> Result<Done, StepError> {
        let vertex = self.vertex(id);
        let borrowed: Vec<&Output> = inputs.iter().collect();
        let mut selections = Vec::with_capacity(inputs.len());
        for (number, input) in inputs.iter().enumerate() {
            if vertex.op.input_view(number) != InputView::Selected {
                selections.push(None);
                continue;
            }
            if self.options.require_cached && !self.worker.is_here(input) {
                return Err(not_cached(vertex, "the files that it copies would have to be fetched first"));
            }
            selections.push(Some(self.worker.content_digest(vertex, number, input)?));
        }
        let full = step_key(vertex, &borrowed, &selections).ok_or_else(no_root)?;
        let quick = step_key(vertex, &borrowed, &[]);
        let keys: Vec<CacheKey> = [Some(full.key), quick.map(|quick| quick.key)].into_iter().flatten().collect();
        let missed = Missed { graph: self.graph, id, key: &full, selections: &selections };
        let components = crate::explain::kept(&full.components, &vertex.op);
        let recorded_as = |layer: &Layer, traced: Option<CacheKey>| {
            if self.is_continued(vertex) {
                return Ok(());
            }
            let keys: Vec<CacheKey> = keys.iter().copied().chain(traced).collect();
            let record = NewRecord {
                keys: &keys,
                definition: vertex.definition,
                description: vertex.label.to_string(),
                components: &components,
                notes: missed.notes(),
                layer,
            };
            self.explanations.recorded(full.key);
            self.cache.record(record).map_err(cache_failed)
        };
        let recorded = |layer: &Layer| recorded_as(layer, None);
        let found = |layer: Layer| {
            // It was not found under its quick key, if it has one; next time it will be.
            if keys.len() > 1 {
                recorded(&layer)?;
            }
            Ok(Done { output: stacked(inputs, layer), outcome: Some(Outcome::Cached) })
        };

        if !self.ignores_cache(vertex)
            && let Some(layer) = self.lookup(&full.key)?
        {
            return found(layer);
        }
        let scope = self.scope(vertex, &borrowed);
        let mut read = None;
        if let Some(scope) = &scope
            && !self.ignores_cache(vertex)
        {
            let task = Task { slots: &scope.slots, ..self.task(id, inputs) };
            let slots = slot_notes(self.graph, vertex, &borrowed, scope);
            match crate::reuse::find(scope, &slots, &task, self.worker, self.cache)? {
                Reuse::Found(hit) => {
                    let note = note(vertex, scope, &hit.trace, slots, Outcome::Cached);
                    if !self.options.require_cached && self.options.verify.includes(&hit.key) {
                        return self.verified(&hit, &note, &task, inputs, &recorded_as);
                    }
                    self.events.send(BuildEvent::Traced { step: id, trace: note });
                    recorded_as(&hit.layer, Some(hit.key))?;
                    // As of now: it stays among the newest, and what differs the next time is told from here.
                    self.cache.record_trace(&scope.outer, &hit.trace).map_err(cache_failed)?;
                    return Ok(Done { output: stacked(inputs, hit.layer), outcome: Some(Outcome::Cached) });
                }
                Reuse::Changed(difference) => read = Some(difference),
                Reuse::Unknown => {}
            }
        }
        if self.options.require_cached {
            let explanation = self.explain(&missed, read);
            let why = explanation.to_string();
            self.events.send(BuildEvent::Explained { step: id, explanation });
            return Err(not_cached(vertex, &why));
        }
        // Whoever holds the key makes the result; everybody else who wants it waits and then finds it.
        let guard = self.lock(id, &full.key)?;
        if !self.ignores_cache(vertex)
            && let Some(layer) = self.lookup(&full.key)?
        {
            return found(layer);
        }
        let explanation = self.explain(&missed, read);
        self.events.send(BuildEvent::Explained { step: id, explanation });
        let mut untraced = self.untraced(vertex, scope.as_ref());
        let scope = match scope {
            Some(scope) if self.is_recorded(&scope)? => Some(scope),
            Some(_) => {
                untraced = Some(Untraced::Heavy);
                None
            }
            None => None,
        };
        let slots = scope.as_ref().map_or(&[][..], |scope| &scope.slots);
        let Ran { layer, traced } = self.worker.run(&Task { slots, ..self.task(id, inputs) })?;
        if scope.is_some() && traced.is_none() {
            untraced = Some(Untraced::Unavailable);
        }
        let traced = scope.zip(traced);
        let key = traced.as_ref().and_then(|(scope, traced)| Some(traced.trace()?.key(&scope.outer)));
        recorded_as(&layer, key)?;
        if let Some((scope, traced)) = traced {
            let slots = slot_notes(self.graph, vertex, &borrowed, &scope);
            untraced = self.keep(id, &scope, &traced, slots)?;
        }
        if let Some(why) = untraced {
            self.events.send(BuildEvent::Untraced { step: id, why });
        }
        drop(guard);
        Ok(Done { output: stacked(inputs, layer), outcome: Some(Outcome::Ran) })
    }

    /// What of a step's inputs it is asked about, if it may be found by that.
    fn scope(&self, vertex: &Vertex, inputs: &[&Output]) -> Option<Scope> {
        if self.options.trace_run == TraceRun::Off || self.is_continued(vertex) {
            return None;
        }
        crate::trace::scope(vertex, inputs)
    }

    /// Whether what the step asks is to be recorded.
    fn is_recorded(&self, scope: &Scope) -> Result<bool, StepError> {
        match self.options.trace_run {
            TraceRun::On => Ok(true),
            TraceRun::Off => Ok(false),
            TraceRun::Auto => Ok(!self.cache.is_heavy(&scope.outer).map_err(cache_failed)?),
        }
    }

    /// Why it will not be known what a step asks, as far as that can be told before it runs.
    fn untraced(&self, vertex: &Vertex, scope: Option<&Scope>) -> Option<Untraced> {
        let Op::Exec(exec) = &vertex.op else { return None };
        if self.is_continued(vertex) {
            Some(Untraced::Continued)
        } else if self.options.trace_run == TraceRun::Off {
            Some(Untraced::Off)
        } else if scope.is_none() {
            Some(crate::slot::obstacle(vertex, exec).unwrap_or(Untraced::NothingCopied))
        } else {
            None
        }
    }

    /// Keeps what a step asked, unless that is more than is worth it.
    fn keep(
        &self,
        id: VertexId,
        scope: &Scope,
        traced: &Traced,
        slots: Vec<SlotNote>,
    ) -> Result<Option<Untraced>, StepError> {
        if traced.is_heavy() {
            self.cache.note_heavy(&scope.outer).map_err(cache_failed)?;
        }
        let Some(trace) = traced.trace() else { return Ok(Some(Untraced::Heavy)) };
        self.cache.record_trace(&scope.outer, trace).map_err(cache_failed)?;
        let trace = note(self.vertex(id), scope, trace, slots, Outcome::Ran);
        self.events.send(BuildEvent::Traced { step: id, trace });
        Ok(None)
    }

    /// Runs a step whose result was found by what it asked, and compares.
    fn verified(
        &self,
        hit: &Found,
        note: &TraceNote,
        task: &Task<'_>,
        inputs: &[Output],
        recorded_as: &RecordedAs<'_>,
    ) -> Result<Done, StepError> {
        let layer = self.worker.run(task)?.layer;
        if layer.tree == hit.layer.tree {
            self.events.send(BuildEvent::Traced { step: task.id, trace: note.clone() });
            recorded_as(&hit.layer, Some(hit.key))?;
            return Ok(Done { output: stacked(inputs, hit.layer.clone()), outcome: Some(Outcome::Cached) });
        }
        let path = self.worker.first_difference(&hit.layer, &layer);
        self.events.send(BuildEvent::Refuted { step: task.id, path });
        self.cache.forget_trace(&note.outer, &note.questions).map_err(cache_failed)?;
        recorded_as(&layer, None)?;
        Ok(Done { output: stacked(inputs, layer), outcome: Some(Outcome::Ran) })
    }

    /// Why a step runs; `read` is what differs of that which it asked in its last run.
    fn explain(&self, missed: &Missed<'_>, read: Option<Difference>) -> Explanation {
        if self.ignores_cache(self.vertex(missed.id)) {
            let explanation = Explanation::cache_ignored();
            self.explanations.remember(missed.id, explanation.clone());
            return explanation;
        }
        self.explanations.explain(missed, read, self.cache)
    }

    /// The right to carry out the step of a key. Waits for whoever has it, until the build ends.
    fn lock(&self, id: VertexId, key: &CacheKey) -> Result<Box<dyn Send>, StepError> {
        let waiting = || self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let keep_waiting = || {
            if waiting().insert(id) {
                self.events.send(BuildEvent::Waiting { step: id, awaited: Some(Awaited::SameStep) });
            }
            self.is_wanted()
        };
        let lock = self.cache.lock(key, &keep_waiting);
        waiting().remove(&id);
        lock.map_err(cache_failed)?.ok_or_else(StepError::cancelled)
    }

    fn lookup(&self, key: &CacheKey) -> Result<Option<Layer>, StepError> {
        self.cache.lookup(key).map_err(cache_failed)
    }
}

/// What is told of a trace of a step that came to `outcome`.
fn note(vertex: &Vertex, scope: &Scope, trace: &Trace, slots: Vec<SlotNote>, outcome: Outcome) -> TraceNote {
    TraceNote {
        outer: scope.outer,
        questions: trace.questions(),
        paths: trace.paths(),
        reused: outcome == Outcome::Cached,
        slots,
        cwd: if let Op::Exec(exec) = &vertex.op { exec.cwd.clone() } else { String::new() },
    }
}

fn not_cached(vertex: &Vertex, why: &str) -> StepError {
    StepError {
        kind: StepErrorKind::NotCached,
        message: format!("`{}` is not cached: {why}", vertex.label),
        hints: Vec::new(),
        source: None,
    }
}

pub(crate) fn no_root() -> StepError {
    StepError::input("a step cannot work on a directory as its root file system")
}

pub(crate) fn cache_failed(error: CacheError) -> StepError {
    StepError::environment(error.message.clone(), error)
}

/// The root file system of a step's first input with the layer it added.
pub(crate) fn stacked(inputs: &[Output], layer: Layer) -> Output {
    let mut layers = inputs.first().map(|base| base.layers().to_vec()).unwrap_or_default();
    layers.push(Arc::new(layer));
    Output::Layers(layers)
}

pub(crate) fn difference(inputs: &[Output]) -> Result<Output, StepError> {
    let [lower, upper] = inputs else { return Err(StepError::input("a difference takes two inputs")) };
    match upper.layers().strip_prefix(lower.layers()) {
        Some(layers) => Ok(Output::Layers(layers.to_vec())),
        None => Err(StepError::input("the first input of a difference is not what the second one was made from")),
    }
}
