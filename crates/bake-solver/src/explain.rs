//! Why a step runs: what differs from the nearest record of the past.
//!
//! A key is compared part by part with the records of the same definition, or of the same or a similar text, those that
//! were removed among them; the one with the fewest differences counts. Where the result of another step differs, that
//! step's own explanation is followed down to the cause.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bake_graph::{BuildGraph, Component, Op, SourceOp, StepLabel, Vertex, VertexId, is_masked, without_credentials};
use bake_oci::{CacheKey, DefinitionDigest, Reference, TreeDigest};
use serde::{Deserialize, Serialize};

use crate::cache::CacheStore;
use crate::key::{CONTENT, KeyParts, input_number, key_of};
use crate::paths::PathList;
use crate::worker::ContentDigest;

/// The most changed files that an explanation lists; more are counted.
pub(crate) const FILES_LISTED_MAX: usize = 1000;

/// The longest value that an explanation holds, in bytes.
const VALUE_BYTES_MAX: usize = 300;

/// The most characters of a step's text that records are found by.
const STEP_CHARS_MAX: usize = 1000;

/// Why a step was carried out instead of a result from before being used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// What it was compared with; `None` if nothing like it was ever recorded, or the cache was not to be used.
    pub nearest: Option<NearestRecord>,
    /// What differs, the most telling first; never empty.
    pub differences: Vec<Difference>,
}

impl Explanation {
    /// That of a step that has to run whatever is known.
    pub(crate) fn cache_ignored() -> Self {
        Self { nearest: None, differences: vec![Difference::CacheIgnored] }
    }

    fn never_built() -> Self {
        Self { nearest: None, differences: vec![Difference::NeverBuilt] }
    }

    /// The word before the reason: what the step read decides whether it runs, everything else only why nothing was found.
    pub fn word(&self) -> &'static str {
        if let Some(Difference::Read { .. }) = self.differences.first() { "ran" } else { "why" }
    }

    /// Whether it says more than that there was nothing to use: worth a line while the build runs.
    pub fn is_telling(&self) -> bool {
        !matches!(self.differences.first(), None | Some(Difference::CacheIgnored | Difference::NeverBuilt))
    }
}

/// The record that a step was compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NearestRecord {
    /// The step that made it, as it was shown then.
    pub step: String,
    /// Its key, in hexadecimal digits.
    pub key: String,
    /// When it was made, in seconds since 1970.
    pub made_unix_s: i64,
    /// When it was removed, and by what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evicted: Option<Eviction>,
}

/// The end of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eviction {
    /// When, in seconds since 1970.
    pub at_unix_s: i64,
    /// By what, such as `bake prune`.
    pub by: String,
}

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Difference {
    /// Results from before were not to be used (`--no-cache`).
    CacheIgnored,
    /// Nothing like it was ever built here.
    NeverBuilt,
    /// Nothing differs, but the result was removed.
    Evicted,
    /// Nothing differs, but the files of the result are gone or not to be trusted.
    Unusable,
    /// The command.
    Command(Change),
    /// A build argument.
    BuildArg(Change),
    /// An environment variable.
    Variable(Change),
    /// Something else that the instruction says: a flag, a path, the user.
    Setting(Change),
    /// The image that it stands on or copies from.
    BaseImage {
        /// Its reference.
        reference: String,
        /// The digest of its manifest then.
        from: Option<String>,
        /// And now.
        to: String,
    },
    /// Files that it copies or mounts.
    Files {
        /// What they are files of: the build context, a stage.
        of: String,
        /// Those that changed, at most 1000.
        changes: Vec<FileChange>,
        /// How many changed.
        count: usize,
    },
    /// Files that it copies or mounts; which of them is not known any more.
    Content {
        /// What they are files of.
        of: String,
    },
    /// Files that it asked for when it ran before.
    Read {
        /// Those that changed, at most 1000.
        changes: Vec<ReadChange>,
        /// How many changed.
        count: usize,
    },
    /// The step that it follows left other files.
    Step {
        /// That step.
        step: String,
        /// What that comes from, where it is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        cause: Option<Cause>,
    },
}

/// Where a chain of differing results begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The first step of the chain.
    pub step: String,
    /// Why that one ran.
    pub difference: Box<Difference>,
}

/// A named value that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What it is.
    pub name: String,
    /// How it differs.
    pub how: How,
    /// Its value then, if it had one that may be shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Its value now, if it has one that may be shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// A file that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChange {
    /// Its path, from the root of what it is selected from.
    pub path: String,
    /// How it differs.
    pub how: How,
}

/// Something that a step asked for and that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadChange {
    /// Its path as the step sees it, relative to the step's working directory where it is below that.
    pub path: String,
    /// How it differs.
    pub how: ReadHow,
}

/// How something that a step asked for differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReadHow {
    /// There was nothing.
    Added,
    /// There is nothing any more.
    Removed,
    /// It is of another type.
    Type,
    /// It holds something else.
    Content,
    /// It has other permission bits.
    Mode,
    /// It belongs to somebody else.
    Owner,
    /// It has other extended attributes, or another number of names.
    Attributes,
    /// Other names are in it.
    Listing,
}

impl fmt::Display for ReadHow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Added => "is new",
            Self::Removed => "is gone",
            Self::Type => "changed (type)",
            Self::Content => "changed (content)",
            Self::Mode => "changed (mode)",
            Self::Owner => "changed (owner)",
            Self::Attributes => "changed (attributes)",
            Self::Listing => "changed (names in it)",
        })
    }
}

/// How something differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// It was not there.
    Added,
    /// It is no longer there.
    Removed,
    /// It is another one.
    Changed,
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Added => "is new",
            Self::Removed => "is gone",
            Self::Changed => "changed",
        })
    }
}

impl fmt::Display for Explanation {
    /// The most telling difference, on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.differences.as_slice() {
            [] => write!(f, "{}", Difference::NeverBuilt),
            [only] => write!(f, "{only}"),
            [first, more @ ..] => write!(f, "{first} (and {} more)", more.len()),
        }
    }
}

impl fmt::Display for Difference {
    /// A short clause on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CacheIgnored => f.write_str("the cache was not to be used"),
            Self::NeverBuilt => f.write_str("nothing like it was built here before"),
            Self::Evicted => f.write_str("its result was removed"),
            Self::Unusable => f.write_str("its result is damaged or gone"),
            Self::Command(change) => write!(f, "the {} {}", change.name, change.how),
            Self::BuildArg(change) => write!(f, "build argument {}", Values(change)),
            Self::Variable(change) => write!(f, "variable {}", Values(change)),
            Self::Setting(change) => write!(f, "{}", Values(change)),
            Self::BaseImage { reference, from: Some(from), to } => {
                write!(f, "image {reference} changed from {} to {}", short(from), short(to))
            }
            Self::BaseImage { reference, from: None, .. } => write!(f, "image {reference} is another one"),
            Self::Files { changes, count, .. } => match (changes.first(), count) {
                (Some(first), 1) => write!(f, "{} {}", first.path, first.how),
                (Some(first), 2) => write!(f, "{} {}, and one more file", first.path, first.how),
                (Some(first), count) => write!(f, "{} {}, and {} more files", first.path, first.how, count - 1),
                (None, _) => write!(f, "{count} files changed"),
            },
            Self::Content { of } => write!(f, "files of {of} changed"),
            Self::Read { changes, count } => match (changes.first(), count) {
                (Some(first), 1) => write!(f, "`{}` {}", first.path, first.how),
                (Some(first), 2) => write!(f, "`{}` {}, and one more that it read", first.path, first.how),
                (Some(first), count) => {
                    write!(f, "`{}` {}, and {} more that it read", first.path, first.how, count - 1)
                }
                (None, _) => write!(f, "{count} paths that it read changed"),
            },
            Self::Step { step, cause: None } => write!(f, "`{step}` left other files"),
            Self::Step { step, cause: Some(cause) } if cause.step == *step => {
                write!(f, "`{step}` left other files: {}", cause.difference)
            }
            Self::Step { cause: Some(cause), .. } => write!(f, "since `{}`: {}", cause.step, cause.difference),
        }
    }
}

/// The digits of a digest that people compare.
fn short(digest: &str) -> &str {
    digest.get(..19).unwrap_or(digest)
}

struct Values<'a>(&'a Change);

impl fmt::Display for Values<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Change { name, how, from, to } = self.0;
        match (from, to) {
            (Some(from), Some(to)) if from.is_empty() => write!(f, "{name} changed from nothing to `{to}`"),
            (Some(from), Some(to)) if to.is_empty() => write!(f, "{name} changed from `{from}` to nothing"),
            (Some(from), Some(to)) => write!(f, "{name} changed from `{from}` to `{to}`"),
            (None, Some(to)) => write!(f, "{name} {how}: `{to}`"),
            _ => write!(f, "{name} {how}"),
        }
    }
}

/// What is remembered of a record to explain a later miss.
#[derive(Debug, Clone, Default)]
pub struct Notes<'a> {
    /// The step's text, without what changes when other steps come or go.
    pub step: String,
    /// What its inputs were.
    pub inputs: Vec<InputNote>,
    /// What it selected from them.
    pub selections: Vec<&'a ContentDigest>,
}

/// What an input was.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct InputNote {
    /// How it is called.
    pub name: String,
    /// The digest of its manifest, for an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
}

/// What records are looked for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The definition of the step.
    pub definition: DefinitionDigest,
    /// [`Notes::step`].
    pub step: String,
    /// What the texts of steps of this kind begin with.
    pub kind: String,
    /// The texts of the build's steps: a record of another one of them is no earlier version of this one.
    pub others: Arc<HashSet<String>>,
}

/// A record of the past.
#[derive(Debug, Clone)]
pub struct PastRecord {
    /// The step as it was shown.
    pub description: String,
    /// The parts of its key.
    pub components: Vec<Component>,
    /// What its inputs were.
    pub inputs: Vec<InputNote>,
    /// When it was made, in seconds since 1970.
    pub made_unix_s: i64,
    /// When it was removed, and by what.
    pub evicted: Option<Eviction>,
}

/// The explanations of one build.
#[derive(Debug)]
pub(crate) struct Explanations {
    needed: Vec<VertexId>,
    /// The texts of all steps, once something has to be explained.
    steps: OnceLock<Arc<HashSet<String>>>,
    known: Mutex<HashMap<VertexId, Explanation>>,
    /// The keys of this build's own records, which are not of the past.
    own: Mutex<HashSet<CacheKey>>,
}

/// The step that is to be explained.
pub(crate) struct Missed<'a> {
    pub(crate) graph: &'a BuildGraph,
    pub(crate) id: VertexId,
    pub(crate) key: &'a KeyParts,
    pub(crate) selections: &'a [Option<ContentDigest>],
}

impl<'a> Missed<'a> {
    fn vertex(&self) -> &'a Vertex {
        self.graph.vertex(self.id)
    }

    fn wanted(&self, others: &Arc<HashSet<String>>) -> Wanted {
        let label = &self.vertex().label;
        let kind = label.text.split_whitespace().next().unwrap_or_default();
        let kind = format!("{}{kind} ", stage_prefix(label));
        Wanted { definition: self.vertex().definition, kind, step: step_text(label), others: Arc::clone(others) }
    }

    pub(crate) fn notes(&self) -> Notes<'a> {
        let inputs = self.vertex().inputs.iter().map(|input| note_of(self.graph.vertex(*input))).collect();
        Notes {
            step: step_text(&self.vertex().label),
            inputs,
            selections: self.selections.iter().flatten().filter(|selection| !selection.paths.is_empty()).collect(),
        }
    }
}

/// A step's text without its numbers.
pub(crate) fn step_text(label: &StepLabel) -> String {
    let text: String = label.text.chars().take(STEP_CHARS_MAX).collect();
    format!("{}{text}", stage_prefix(label))
}

fn stage_prefix(label: &StepLabel) -> String {
    if label.stage.is_empty() { String::new() } else { format!("[{}] ", label.stage) }
}

fn note_of(input: &Vertex) -> InputNote {
    match &input.op {
        Op::Source(SourceOp::Image(image)) => {
            InputNote { name: shown_reference(&image.reference), manifest: Some(image.manifest.to_string()) }
        }
        Op::Source(SourceOp::Local(local)) if local.name == "context" => {
            InputNote { name: "the build context".into(), manifest: None }
        }
        Op::Source(SourceOp::Local(local)) => {
            InputNote { name: format!("the context `{}`", local.name), manifest: None }
        }
        _ => InputNote { name: input.label.to_string(), manifest: None },
    }
}

/// A reference as people write it, without the digest.
fn shown_reference(pinned: &str) -> String {
    let name = pinned.split('@').next().unwrap_or_default();
    Reference::parse(name).map_or_else(|_| name.to_owned(), |reference| reference.familiar())
}

impl Explanations {
    /// For a build of the steps `needed`.
    pub(crate) fn new(needed: &[VertexId]) -> Self {
        Self { needed: needed.to_vec(), steps: OnceLock::new(), known: Mutex::default(), own: Mutex::default() }
    }

    fn steps(&self, graph: &BuildGraph) -> &Arc<HashSet<String>> {
        self.steps.get_or_init(|| Arc::new(self.needed.iter().map(|id| step_text(&graph.vertex(*id).label)).collect()))
    }

    /// Takes note that this build made a record.
    pub(crate) fn recorded(&self, key: CacheKey) {
        self.own.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
    }

    fn is_own(&self, record: &PastRecord) -> bool {
        self.own.lock().unwrap_or_else(PoisonError::into_inner).contains(&key_of(&record.components))
    }

    /// Explains why a step runs, and remembers it for the steps that follow.
    /// `read` is what differs of that which it asked for when it ran before.
    pub(crate) fn explain(&self, missed: &Missed<'_>, read: Option<Difference>, cache: &dyn CacheStore) -> Explanation {
        // An explanation is only a help: a cache that cannot give one is no reason to fail.
        let records = cache.nearest(&missed.wanted(self.steps(missed.graph))).unwrap_or_default();
        let nearest = records
            .into_iter()
            .filter(|record| !self.is_own(record))
            .map(|record| (compare(&record.components, &missed.key.components).len(), record))
            .min_by_key(|(count, record)| (*count, std::cmp::Reverse(record.made_unix_s)));
        let explanation = match nearest {
            // A trace that was imported is known without its record.
            None => read
                .map_or_else(Explanation::never_built, |read| Explanation { nearest: None, differences: vec![read] }),
            Some((_, record)) => {
                let pairs = compare(&record.components, &missed.key.components);
                // What it read is all that differs from when it ran with the same command on the same base.
                let mut differences: Vec<Difference> = match read {
                    Some(read) => vec![read],
                    None => pairs.iter().map(|pair| self.difference(pair, &record, missed, cache)).collect(),
                };
                if differences.is_empty() {
                    differences.push(if record.evicted.is_some() { Difference::Evicted } else { Difference::Unusable });
                }
                differences.sort_by_key(rank);
                differences.dedup();
                let nearest = NearestRecord {
                    step: record.description,
                    key: key_of(&record.components).hex(),
                    made_unix_s: record.made_unix_s,
                    evicted: record.evicted,
                };
                Explanation { nearest: Some(nearest), differences }
            }
        };
        self.remember(missed.id, explanation.clone());
        explanation
    }

    /// Remembers why a step runs.
    pub(crate) fn remember(&self, step: VertexId, explanation: Explanation) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(step, explanation);
    }

    /// What the result of a step that ran differs for.
    fn cause(&self, graph: &BuildGraph, step: VertexId) -> Option<Cause> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(&step)?.differences.first()? {
            Difference::Step { cause, .. } => cause.clone(),
            difference => {
                Some(Cause { step: graph.vertex(step).label.to_string(), difference: Box::new(difference.clone()) })
            }
        }
    }

    fn difference(
        &self,
        pair: &Pair<'_>,
        record: &PastRecord,
        missed: &Missed<'_>,
        cache: &dyn CacheStore,
    ) -> Difference {
        let Some(number) = input_number(pair.name) else { return of_definition(pair, missed.vertex()) };
        let input = missed.vertex().inputs.get(number);
        let Some(input) = input else { return Difference::Setting(pair.change("its inputs", Shown::No)) };
        let vertex = missed.graph.vertex(*input);
        let (now, before) = (note_of(vertex), record.inputs.get(number));
        if pair.to.is_some_and(|value| value.starts_with(CONTENT)) {
            return files(pair, missed.selections.get(number).and_then(Option::as_ref), &now.name, cache);
        }
        if let Op::Source(SourceOp::Image(image)) = &vertex.op {
            let from = before.and_then(|note| note.manifest.clone()).filter(|from| Some(from) != now.manifest.as_ref());
            return Difference::BaseImage { reference: now.name, from, to: image.manifest.to_string() };
        }
        Difference::Step { step: vertex.label.to_string(), cause: self.cause(missed.graph, *input) }
    }
}

/// The most telling first.
fn rank(difference: &Difference) -> u8 {
    match difference {
        Difference::CacheIgnored | Difference::NeverBuilt | Difference::Evicted | Difference::Unusable => 0,
        Difference::Read { .. } | Difference::Command(_) => 1,
        Difference::BuildArg(_) => 2,
        Difference::Variable(_) => 3,
        Difference::BaseImage { .. } => 4,
        Difference::Files { .. } => 5,
        Difference::Content { .. } => 6,
        Difference::Setting(_) => 7,
        Difference::Step { .. } => 8,
    }
}

/// A part of a key that is not the same in two records.
struct Pair<'a> {
    name: &'a str,
    from: Option<&'a str>,
    to: Option<&'a str>,
}

/// Whether the values of something may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Yes,
    No,
}

impl Pair<'_> {
    fn change(&self, name: &str, shown: Shown) -> Change {
        let value = |value: Option<&str>| value.filter(|_| shown == Shown::Yes).map(cut);
        let how = match (self.from, self.to) {
            (None, _) => How::Added,
            (_, None) => How::Removed,
            _ => How::Changed,
        };
        Change { name: name.to_owned(), how, from: value(self.from), to: value(self.to) }
    }
}

/// A value that is not too long, without user name and password of an address.
fn cut(value: &str) -> String {
    let value = without_credentials(value);
    match value.char_indices().find(|(offset, character)| offset + character.len_utf8() > VALUE_BYTES_MAX) {
        Some((offset, _)) => format!("{}...", &value[..offset]),
        None => value,
    }
}

/// The parts that differ. Of several parts with one name, the first belongs to the first.
fn compare<'a>(before: &'a [Component], now: &'a [Component]) -> Vec<Pair<'a>> {
    let mut old: HashMap<&str, std::collections::VecDeque<&str>> = HashMap::new();
    for component in before {
        old.entry(&component.name).or_default().push_back(&component.value);
    }
    let mut pairs = Vec::new();
    for component in now {
        let from = old.get_mut(component.name.as_str()).and_then(std::collections::VecDeque::pop_front);
        // Of some parts the record holds a digest only.
        let same = from.is_some_and(|from| Component::new(component.name.as_str(), from).says_the_same(component));
        if !same {
            pairs.push(Pair { name: &component.name, from, to: Some(&component.value) });
        }
    }
    for component in before {
        if let Some(from) = old.get_mut(component.name.as_str()).and_then(std::collections::VecDeque::pop_front) {
            pairs.push(Pair { name: &component.name, from: Some(from), to: None });
        }
    }
    pairs
}

/// A difference of what the instruction says.
fn of_definition(pair: &Pair<'_>, vertex: &Vertex) -> Difference {
    if let Some(variable) = pair.name.strip_prefix("env ") {
        let hidden = is_secret_name(variable) || [pair.from, pair.to].into_iter().flatten().any(is_masked);
        let shown = if hidden { Shown::No } else { Shown::Yes };
        let change = pair.change(variable, shown);
        let is_arg = matches!(&vertex.op, Op::Exec(exec) if exec.build_args.iter().any(|name| name == variable));
        return if is_arg { Difference::BuildArg(change) } else { Difference::Variable(change) };
    }
    match pair.name {
        "command" => {
            let (from, to) = (pair.from.map(shown_command), pair.to.map(shown_command));
            let pair = Pair { name: pair.name, from: from.as_deref(), to: to.as_deref() };
            Difference::Command(pair.change("command", Shown::Yes))
        }
        // Heredocs.
        "content" => Difference::Command(pair.change("content of the file", Shown::No)),
        "write" | "options" => Difference::Setting(pair.change(pair.name, Shown::No)),
        name if pair.to.or(pair.from).is_some_and(|value| name.starts_with("mount ") && value.starts_with("file ")) => {
            Difference::Command(pair.change("script", Shown::No))
        }
        "network" | "security" => {
            let (from, to) = (pair.from.map(shown_mode), pair.to.map(shown_mode));
            let pair = Pair { name: pair.name, from: from.as_deref(), to: to.as_deref() };
            Difference::Setting(pair.change(pair.name, Shown::Yes))
        }
        name => Difference::Setting(pair.change(name, Shown::Yes)),
    }
}

/// A mode, which is kept as JSON, as it is written in a Dockerfile.
fn shown_mode(value: &str) -> String {
    value.trim_matches('"').to_lowercase()
}

/// The words of a command that is kept as a JSON list: a shell's script alone, others joined.
fn shown_command(value: &str) -> String {
    match bake_graph::command_words(value) {
        Some(words) => match words.as_slice() {
            [_, flag, script] if flag == "-c" => script.clone(),
            words => words.join(" "),
        },
        None => value.to_owned(),
    }
}

/// Whether a variable of this name may hold what nobody should see: a password, a key, the address of a proxy with its
/// user.
fn is_secret_name(name: &str) -> bool {
    const PARTS: [&str; 11] = [
        "secret",
        "token",
        "passw",
        "passphrase",
        "credential",
        "auth",
        "apikey",
        "api_key",
        "access_key",
        "private",
        "proxy",
    ];
    let name = name.to_ascii_lowercase();
    name == "key" || name.ends_with("_key") || name.ends_with("_pat") || PARTS.iter().any(|part| name.contains(part))
}

/// A build argument of more bytes than this may be a credential, whatever it is called: versions and names are shorter.
const ARGUMENT_BYTES_MAX: usize = 20;

/// The parts of a key as they are recorded: of variables that may hold what nobody should see, a digest.
pub(crate) fn kept(components: &[Component], op: &Op) -> Vec<Component> {
    let arguments: &[String] = if let Op::Exec(exec) = op { &exec.build_args } else { &[] };
    let confidential = |component: &Component| {
        component.name.strip_prefix("env ").is_some_and(|variable| {
            let is_argument = arguments.iter().any(|name| name == variable);
            is_secret_name(variable) || (is_argument && component.value.len() > ARGUMENT_BYTES_MAX)
        })
    };
    components.iter().map(|part| if confidential(part) { part.masked() } else { part.clone() }).collect()
}

/// Which files of a selection differ.
fn files(pair: &Pair<'_>, now: Option<&ContentDigest>, of: &str, cache: &dyn CacheStore) -> Difference {
    let unknown = Difference::Content { of: of.to_owned() };
    let Some(before) = pair.from.and_then(|value| value.strip_prefix(CONTENT)).and_then(TreeDigest::from_hex) else {
        return unknown;
    };
    let Some(now) = now else { return unknown };
    let Ok(Some(before)) = cache.selection(&before) else { return unknown };
    let (changes, count) = changed_files(&before, &now.paths);
    if count == 0 { unknown } else { Difference::Files { of: of.to_owned(), changes, count } }
}

fn changed_files(before: &PathList, now: &PathList) -> (Vec<FileChange>, usize) {
    let (old, new) = (before.entries(), now.entries());
    // Where lists were cut short, what is behind their last common path may be there without being listed.
    let listed = |list: &PathList, entries: &[(Vec<u8>, [u8; 8])], other: &HashMap<&[u8], [u8; 8]>| {
        if !list.is_cut() {
            return entries.len();
        }
        entries.iter().rposition(|(path, _)| other.contains_key(path.as_slice())).map_or(0, |last| last + 1)
    };
    let old_map: HashMap<&[u8], [u8; 8]> = old.iter().map(|(path, print)| (path.as_slice(), *print)).collect();
    let new_map: HashMap<&[u8], [u8; 8]> = new.iter().map(|(path, print)| (path.as_slice(), *print)).collect();
    let mut changes = Vec::new();
    let mut count = 0;
    let mut add = |path: &[u8], how: How| {
        count += 1;
        if changes.len() < FILES_LISTED_MAX {
            let path = String::from_utf8_lossy(path).replace(char::is_control, "\u{fffd}");
            changes.push(FileChange { path: if path.is_empty() { ".".into() } else { path }, how });
        }
    };
    for (path, print) in &new[..listed(before, &new, &old_map).min(new.len())] {
        match old_map.get(path.as_slice()) {
            Some(old) if old == print => {}
            Some(_) => add(path, How::Changed),
            None => add(path, How::Added),
        }
    }
    for (path, _) in &old[..listed(now, &old, &new_map).min(old.len())] {
        if !new_map.contains_key(path.as_slice()) {
            add(path, How::Removed);
        }
    }
    (changes, count)
}
