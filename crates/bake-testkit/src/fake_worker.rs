//! A worker, a cache and an event sink that live in memory and do as they are told.
//!
//! The layer that a step makes is by default a function of its definition and of what its inputs hold, so a graph that is
//! carried out twice gives the same layers. Tests choose something else by the text of the step (`RUN make`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bake_graph::{FileAction, Op, SourceOp, Vertex, VertexId};
use bake_oci::{CacheKey, DefinitionDigest, SnapshotId, TreeDigest};
use bake_solver::{
    Answer, Asked, BuildEvent, CacheError, CacheStore, ContentDigest, CopiedLayer, EventSink, Eviction, Layer,
    NewRecord, NodeAnswer, Output, PastRecord, PathList, QUESTIONS_MAX, Question, Ran, StepError, StepErrorKind,
    StoredTrace, Task, Trace, Traced, Wanted, Worker,
};

/// How long a test waits for something that another thread must do, before it is said to hang.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often whoever waits for a key asks whether it should go on waiting.
const LOOK: Duration = Duration::from_millis(5);

/// What a worker was asked to do, with the text of the step.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// The digest of what a step selects from an input.
    Content(String, usize),
    /// To bring in a source.
    Source(String),
    /// To carry out a step.
    Run(String),
}

/// A worker that records what it is asked and answers as told.
#[derive(Debug, Default)]
pub struct FakeWorker {
    state: Mutex<WorkerState>,
    changed: Condvar,
    context: Option<PathBuf>,
}

#[derive(Debug, Default)]
struct WorkerState {
    calls: Vec<Call>,
    layers: BTreeMap<String, String>,
    contents: BTreeMap<(String, usize), String>,
    failures: BTreeMap<String, (StepErrorKind, String)>,
    idle: BTreeSet<String>,
    names: BTreeMap<VertexId, String>,
    held: BTreeSet<String>,
    elsewhere: bool,
    running: usize,
    most_at_once: usize,
    cancellations: usize,
    reads: BTreeMap<String, Vec<String>>,
    files: BTreeMap<String, String>,
}

impl FakeWorker {
    /// A worker that carries out everything at once.
    pub fn new() -> Self {
        Self::default()
    }

    /// A worker whose local sources hold the files of `directory`.
    pub fn with_context(directory: &Path) -> Self {
        Self { context: Some(directory.to_owned()), ..Self::default() }
    }

    /// Lets the step with this text make a layer that is known by `content` alone, whatever it was made from.
    pub fn set_layer(&self, text: &str, content: &str) {
        self.state().layers.insert(text.to_owned(), content.to_owned());
    }

    /// Lets the step with this text ask for these paths in its first slot when it runs.
    pub fn set_reads(&self, text: &str, paths: &[&str]) {
        self.state().reads.insert(text.to_owned(), paths.iter().map(|path| (*path).to_owned()).collect());
    }

    /// Puts a file into all slots.
    pub fn put_file(&self, path: &str, content: &str) {
        self.state().files.insert(path.to_owned(), content.to_owned());
    }

    /// Takes a file out of all slots.
    pub fn take_file(&self, path: &str) {
        self.state().files.remove(path);
    }

    /// Lets the files of all root file systems be somewhere else.
    pub fn take_files_away(&self) {
        self.state().elsewhere = true;
    }

    /// Chooses what the step with this text sees of its input number `input`: lines of a path and what is there.
    pub fn set_content(&self, text: &str, input: usize, content: &str) {
        self.state().contents.insert((text.to_owned(), input), content.to_owned());
    }

    /// Lets the step or source with this text fail.
    pub fn fail(&self, text: &str, kind: StepErrorKind, message: &str) {
        self.state().failures.insert(text.to_owned(), (kind, message.to_owned()));
    }

    /// Lets everything succeed again.
    pub fn clear_failures(&self) {
        self.state().failures.clear();
    }

    /// Lets the step with this text hang until it is released or the build is cancelled.
    pub fn hold(&self, text: &str) {
        self.state().held.insert(text.to_owned());
    }

    /// Says of the step with this text that it uses no processor while it runs.
    pub fn set_idle(&self, text: &str) {
        self.state().idle.insert(text.to_owned());
    }

    /// Lets a step that hangs go on.
    pub fn release(&self, text: &str) {
        self.state().held.remove(text);
        self.changed.notify_all();
    }

    /// Waits until `count` steps are being carried out at the same time.
    ///
    /// # Panics
    /// After [`PATIENCE`].
    pub fn wait_until_running(&self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.state();
        while state.running < count {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{} steps run, {count} were expected", state.running);
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Everything that was asked, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// Forgets the calls so far and gives them.
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.state().calls)
    }

    /// The texts of the steps that were carried out, sorted.
    pub fn runs(&self) -> Vec<String> {
        let mut texts: Vec<String> = self
            .state()
            .calls
            .iter()
            .filter_map(|call| if let Call::Run(text) = call { Some(text.clone()) } else { None })
            .collect();
        texts.sort();
        texts
    }

    /// The largest number of steps that were carried out at the same time.
    pub fn most_at_once(&self) -> usize {
        self.state().most_at_once
    }

    /// How often everything was cancelled.
    pub fn cancellations(&self) -> usize {
        self.state().cancellations
    }

    fn state(&self) -> MutexGuard<'_, WorkerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a step in, lets it hang if that was asked for, and counts it out.
    fn perform(&self, id: VertexId, text: &str, call: Call) -> Result<(), StepError> {
        let mut state = self.state();
        state.calls.push(call);
        state.names.insert(id, text.to_owned());
        state.running += 1;
        state.most_at_once = state.most_at_once.max(state.running);
        self.changed.notify_all();
        while state.held.contains(text) && state.cancellations == 0 {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.running -= 1;
        if state.held.contains(text) {
            return Err(StepError::cancelled());
        }
        match state.failures.get(text) {
            Some((kind, message)) => {
                Err(StepError { kind: *kind, message: message.clone(), hints: Vec::new(), source: None })
            }
            None => Ok(()),
        }
    }
}

impl Worker for FakeWorker {
    fn content_digest(&self, vertex: &Vertex, input: usize, source: &Output) -> Result<ContentDigest, StepError> {
        let text = vertex.label.text.clone();
        let mut state = self.state();
        state.calls.push(Call::Content(text.clone(), input));
        if let Some(content) = state.contents.get(&(text, input)) {
            return Ok(ContentDigest { digest: TreeDigest::of(content.as_bytes()), paths: listed(content) });
        }
        drop(state);
        let mut description = String::new();
        match (source, &self.context) {
            (Output::Layers(layers), _) => {
                description.extend(layers.iter().map(|layer| format!("layer {}\n", layer.tree.hex())));
            }
            (Output::Directory { name }, None) => description.push_str(name),
            (Output::Directory { .. }, Some(directory)) => {
                for path in selected(vertex, input) {
                    describe(directory, &path, &mut description)
                        .map_err(|error| StepError::environment(format!("cannot read `{path}`"), error))?;
                }
            }
        }
        Ok(ContentDigest { digest: TreeDigest::of(description.as_bytes()), paths: listed(&description) })
    }

    fn is_here(&self, output: &Output) -> bool {
        matches!(output, Output::Directory { .. }) || !self.state().elsewhere
    }

    fn source(&self, task: &Task<'_>) -> Result<Output, StepError> {
        let text = task.vertex.label.text.clone();
        self.perform(task.id, &text, Call::Source(text.clone()))?;
        let name = match &task.vertex.op {
            Op::Source(SourceOp::Local(local)) => return Ok(Output::Directory { name: local.name.clone() }),
            Op::Source(SourceOp::Image(image)) => image.manifest.to_string(),
            _ => task.vertex.definition.hex(),
        };
        let content = self.state().layers.get(&text).cloned().unwrap_or(name);
        Ok(Output::Layers(vec![Arc::new(layer(&content))]))
    }

    fn run(&self, task: &Task<'_>) -> Result<Ran, StepError> {
        let text = task.vertex.label.text.clone();
        self.perform(task.id, &text, Call::Run(text.clone()))?;
        let chosen = self.state().layers.get(&text).cloned();
        if let Some(content) = chosen {
            return Ok(self.ran(task, layer(&content)));
        }
        let mut made_from = task.vertex.definition.hex();
        for (number, input) in task.inputs.iter().enumerate() {
            made_from.push_str(&self.content_of(task.vertex, number, input)?);
        }
        Ok(self.ran(task, layer(&made_from)))
    }

    fn answers(&self, _: &Task<'_>, questions: &[Question]) -> Result<Option<Vec<Answer>>, StepError> {
        let state = self.state();
        Ok(Some(questions.iter().map(|question| answer(&state.files, &question.path)).collect()))
    }

    fn first_difference(&self, one: &Layer, other: &Layer) -> Option<String> {
        (one.tree != other.tree).then(|| "all of it".to_owned())
    }

    fn idle(&self, running: &[VertexId]) -> usize {
        let state = self.state();
        let is_idle = |id: &&VertexId| state.names.get(*id).is_some_and(|text| state.idle.contains(text));
        running.iter().filter(is_idle).count()
    }

    fn cancel(&self) {
        self.state().cancellations += 1;
        self.changed.notify_all();
    }
}

impl FakeWorker {
    /// A result, with what the step asked of its first slot.
    fn ran(&self, task: &Task<'_>, layer: Layer) -> Ran {
        let layer = match task.vertex.op {
            Op::File(_) => Layer { copied: Some(CopiedLayer { attributes: false, links: false }), ..layer },
            _ => layer,
        };
        let state = self.state();
        let read = state.reads.get(&task.vertex.label.text).filter(|_| !task.slots.is_empty());
        let traced = read.map(|paths| {
            let question = |path: &String| Question { slot: 0, path: path.as_bytes().to_vec(), asked: Asked::Node };
            let entries = paths.iter().map(|path| (question(path), answer(&state.files, path.as_bytes())));
            let trace = Trace::new(entries.collect());
            if trace.len() > QUESTIONS_MAX {
                return Traced::TooMuch;
            }
            Traced::Trace { trace, slot_paths: state.files.len() as u64 }
        });
        Ran { layer, traced }
    }

    /// What an input holds, as text, without counting as a call.
    fn content_of(&self, vertex: &Vertex, number: usize, input: &Output) -> Result<String, StepError> {
        if let Some(state) = input.state() {
            return Ok(state.0.hex());
        }
        let before = self.state().calls.len();
        let content = self.content_digest(vertex, number, input)?;
        self.state().calls.truncate(before);
        Ok(content.digest.hex())
    }
}

/// The paths of a content that is written as lines of a path and what is there.
fn listed(content: &str) -> PathList {
    let mut paths = PathList::default();
    for line in content.lines() {
        let (path, what) = line.split_once(' ').unwrap_or((line, ""));
        paths.push(path.as_bytes(), &TreeDigest::of(what.as_bytes()));
    }
    paths
}

fn layer(content: &str) -> Layer {
    let tree = TreeDigest::of(content.as_bytes());
    let snapshot = SnapshotId::new(&format!("fake-{}", tree.hex())).expect("hexadecimal digits make a snapshot ID");
    Layer { snapshot, tree, diff_id: None, tar_size_bytes: None, blob: None, created_ns: Some(0), copied: None }
}

/// The paths of an input that a step copies.
fn selected(vertex: &Vertex, input: usize) -> Vec<String> {
    match &vertex.op {
        Op::File(file) => file
            .actions
            .iter()
            .filter_map(|action| match action {
                FileAction::Copy(copy) if copy.from == input => Some(copy.source.clone()),
                _ => None,
            })
            .collect(),
        _ => vec!["/".to_owned()],
    }
}

/// What is at a path of a slot.
fn answer(files: &BTreeMap<String, String>, path: &[u8]) -> Answer {
    let content = std::str::from_utf8(path).ok().and_then(|path| files.get(path));
    content.map_or(Answer::Absent, |content| {
        Answer::Node(NodeAnswer {
            kind: b'f',
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: content.len() as u64,
            links: 1,
            attributes: [0; 32],
            content: TreeDigest::of(content.as_bytes()).0,
        })
    })
}

/// Names and bytes of everything at `path` below `directory`; a pattern stands for everything.
fn describe(directory: &Path, path: &str, text: &mut String) -> std::io::Result<()> {
    let relative = path.trim_matches('/');
    let start = if relative.contains(['*', '?', '[']) { directory.to_owned() } else { directory.join(relative) };
    let mut open = vec![start];
    while let Some(path) = open.pop() {
        let name = path.strip_prefix(directory).unwrap_or(&path).display().to_string();
        if path.is_dir() {
            // Writing to a string cannot fail, here and below.
            let _ = writeln!(text, "{name}/");
            let mut names: Vec<PathBuf> =
                std::fs::read_dir(&path)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
            names.sort();
            open.extend(names.into_iter().rev());
        } else {
            let _ = writeln!(text, "{name} {}", TreeDigest::of(&std::fs::read(&path)?).hex());
        }
    }
    Ok(())
}

/// A record that explains a miss.
#[derive(Debug, Clone)]
struct Past {
    definition: DefinitionDigest,
    step: String,
    keys: Vec<CacheKey>,
    record: PastRecord,
}

/// A cache in memory. Clones share what they hold, as builds share a store.
#[derive(Debug, Clone, Default)]
pub struct FakeCache {
    shared: Arc<CacheShared>,
}

#[derive(Debug, Default)]
struct CacheShared {
    state: Mutex<CacheState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct CacheState {
    records: BTreeMap<CacheKey, Layer>,
    past: Vec<Past>,
    selections: BTreeMap<TreeDigest, PathList>,
    traces: Vec<(CacheKey, StoredTrace)>,
    heavy: BTreeSet<CacheKey>,
    /// The time that records get, in seconds since 1970.
    now_unix_s: i64,
    descriptions: Vec<String>,
    locked: BTreeSet<CacheKey>,
    lookups: usize,
    comparisons: usize,
    broken: Option<String>,
}

impl FakeCache {
    /// An empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of keys under which something is found.
    pub fn len(&self) -> usize {
        self.state().records.len()
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The steps that were recorded, in order, as shown to people.
    pub fn recorded(&self) -> Vec<String> {
        self.state().descriptions.clone()
    }

    /// How often a key was looked up.
    pub fn lookups(&self) -> usize {
        self.state().lookups
    }

    /// The time that later records get, in seconds since 1970.
    pub fn set_time(&self, now_unix_s: i64) {
        self.state().now_unix_s = now_unix_s;
    }

    /// Removes all results, as `by` would.
    pub fn evict_all(&self, by: &str) {
        let mut state = self.state();
        let at_unix_s = state.now_unix_s;
        state.records.clear();
        for past in &mut state.past {
            past.record.evicted.get_or_insert(Eviction { at_unix_s, by: by.to_owned() });
        }
    }

    /// Removes the result of the step with this text.
    pub fn evict(&self, step: &str, by: &str) {
        let mut state = self.state();
        let at_unix_s = state.now_unix_s;
        let mut gone = Vec::new();
        for past in state.past.iter_mut().filter(|past| past.step == step) {
            past.record.evicted = Some(Eviction { at_unix_s, by: by.to_owned() });
            gone.append(&mut past.keys);
        }
        state.records.retain(|key, _| !gone.contains(key));
    }

    /// How often records were asked for to compare a miss with.
    pub fn comparisons(&self) -> usize {
        self.state().comparisons
    }

    /// Lets every later call fail with this message.
    pub fn break_down(&self, message: &str) {
        self.state().broken = Some(message.to_owned());
    }

    fn state(&self) -> MutexGuard<'_, CacheState> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CacheState {
    fn check(&self) -> Result<(), CacheError> {
        match &self.broken {
            Some(message) => Err(CacheError { message: message.clone(), source: None }),
            None => Ok(()),
        }
    }
}

impl CacheStore for FakeCache {
    fn lookup(&self, key: &CacheKey) -> Result<Option<Layer>, CacheError> {
        let mut state = self.state();
        state.check()?;
        state.lookups += 1;
        Ok(state.records.get(key).cloned())
    }

    fn record(&self, record: NewRecord<'_>) -> Result<(), CacheError> {
        let mut state = self.state();
        state.check()?;
        let past = PastRecord {
            description: record.description.clone(),
            components: record.components.to_vec(),
            inputs: record.notes.inputs,
            made_unix_s: state.now_unix_s,
            evicted: None,
        };
        let (definition, step) = (record.definition, record.notes.step);
        state.past.push(Past { definition, step, keys: record.keys.to_vec(), record: past });
        for selection in record.notes.selections {
            state.selections.insert(selection.digest, selection.paths.clone());
        }
        state.descriptions.push(record.description);
        for key in record.keys {
            state.records.insert(*key, record.layer.clone());
        }
        Ok(())
    }

    fn nearest(&self, wanted: &Wanted) -> Result<Vec<PastRecord>, CacheError> {
        let mut state = self.state();
        state.check()?;
        state.comparisons += 1;
        let of = |admits: &dyn Fn(&Past) -> bool| -> Vec<PastRecord> {
            state.past.iter().filter(|past| admits(past)).map(|past| past.record.clone()).collect()
        };
        let same = of(&|past| past.definition == wanted.definition || past.step == wanted.step);
        Ok(if same.is_empty() {
            of(&|past| past.step.starts_with(&wanted.kind) && !wanted.others.contains(&past.step))
        } else {
            same
        })
    }

    fn selection(&self, digest: &TreeDigest) -> Result<Option<PathList>, CacheError> {
        Ok(self.state().selections.get(digest).cloned())
    }

    fn traces(&self, outer: &CacheKey) -> Result<Vec<StoredTrace>, CacheError> {
        let state = self.state();
        state.check()?;
        Ok(state.traces.iter().rev().filter(|(key, _)| key == outer).map(|(_, trace)| trace.clone()).collect())
    }

    fn record_trace(&self, outer: &CacheKey, trace: &Trace) -> Result<(), CacheError> {
        self.forget_trace(outer, &trace.questions())?;
        let mut state = self.state();
        let stored = StoredTrace { trace: trace.clone(), made_unix_s: state.now_unix_s };
        state.traces.push((*outer, stored));
        Ok(())
    }

    fn forget_trace(&self, outer: &CacheKey, questions: &[u8; 32]) -> Result<(), CacheError> {
        let mut state = self.state();
        state.check()?;
        state.traces.retain(|(key, stored)| key != outer || stored.trace.questions() != *questions);
        Ok(())
    }

    fn note_heavy(&self, outer: &CacheKey) -> Result<(), CacheError> {
        self.state().heavy.insert(*outer);
        Ok(())
    }

    fn is_heavy(&self, outer: &CacheKey) -> Result<bool, CacheError> {
        Ok(self.state().heavy.contains(outer))
    }

    fn lock(&self, key: &CacheKey, keep_waiting: &dyn Fn() -> bool) -> Result<Option<Box<dyn Send>>, CacheError> {
        let mut state = self.state();
        state.check()?;
        while state.locked.contains(key) {
            drop(state);
            if !keep_waiting() {
                return Ok(None);
            }
            state = self.state();
            if state.locked.contains(key) {
                state = self.shared.changed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        state.locked.insert(*key);
        Ok(Some(Box::new(Held { shared: Arc::clone(&self.shared), key: *key })))
    }
}

/// A key that is held.
struct Held {
    shared: Arc<CacheShared>,
    key: CacheKey,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.locked.remove(&self.key);
        self.shared.changed.notify_all();
    }
}

/// Keeps all events.
#[derive(Debug, Default)]
pub struct RecordingSink {
    events: Mutex<Vec<BuildEvent>>,
}

impl RecordingSink {
    /// A sink without events.
    pub fn new() -> Self {
        Self::default()
    }

    /// Everything that was sent, in order.
    pub fn events(&self) -> Vec<BuildEvent> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The events as stable text, one line each; times are left out.
    pub fn lines(&self) -> Vec<String> {
        let events = self.events();
        let mut names: BTreeMap<VertexId, String> = BTreeMap::new();
        for event in &events {
            if let BuildEvent::Planned { steps } = event {
                names.extend(steps.iter().map(|step| (step.id, step.label.to_string())));
            }
        }
        let name = |step: &VertexId| names.get(step).cloned().unwrap_or_else(|| step.to_string());
        // That there was nothing to compare with, or nothing to record, goes without saying.
        let is_told = |event: &&BuildEvent| match event {
            BuildEvent::Explained { explanation, .. } => explanation.is_telling(),
            BuildEvent::Untraced { .. } => false,
            _ => true,
        };
        events
            .iter()
            .filter(is_told)
            .map(|event| match event {
                BuildEvent::Planned { steps } => format!("planned {} steps", steps.len()),
                BuildEvent::Started { step } => format!("started {}", name(step)),
                BuildEvent::Waiting { step, awaited: Some(_) } => format!("waiting {}", name(step)),
                BuildEvent::Waiting { step, awaited: None } => format!("goes on {}", name(step)),
                BuildEvent::Explained { step, explanation } => format!("explained {}: {explanation}", name(step)),
                BuildEvent::Log { step, bytes, .. } => {
                    format!("log {}: {}", name(step), String::from_utf8_lossy(bytes).trim_end())
                }
                BuildEvent::Transfer { step, id, .. } => format!("transfer {}: {id}", name(step)),
                BuildEvent::Traced { step, trace } => {
                    let verb = if trace.reused { "reused" } else { "traced" };
                    format!("{verb} {}: {} paths", name(step), trace.paths)
                }
                BuildEvent::Untraced { step, why } => format!("untraced {}: {why}", name(step)),
                BuildEvent::Refuted { step, path } => {
                    format!("refuted {}: {}", name(step), path.as_deref().unwrap_or_default())
                }
                BuildEvent::Notice { step, message } => format!("notice {}: {message}", name(step)),
                BuildEvent::Used { step, .. } => format!("used {}", name(step)),
                BuildEvent::Finished { step, outcome, .. } => {
                    format!("finished {} ({})", name(step), format!("{outcome:?}").to_lowercase())
                }
                BuildEvent::Failed { step, message, .. } => format!("failed {}: {message}", name(step)),
            })
            .collect()
    }
}

impl EventSink for RecordingSink {
    fn send(&self, event: BuildEvent) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }
}
