//! What a step asked of the files that were copied for it, and keys made of that.
//!
//! A step is a function of what it stands on and of the answers to what it asked. Some of what it stands on is fixed: base
//! images, and what other steps made, by the digest of all they hold. The rest are *slots*: layers that COPY and ADD made, and
//! bind mounts. Of a slot only the answers count.
//!
//! ```text
//! outer key   H(parts of the op, fixed layers by digest, slots by place)
//! trace       what was asked, in order of slot and path, each with its answer
//! traced key  H(outer key, trace)
//! ```
//!
//! A step that ran leaves its trace under its outer key, and its result under its traced key (besides the keys of
//! [`crate::step_key`]). When nothing is known under those, what past traces of the same outer key asked is asked of the slots
//! as they are now; the same answers lead to the same traced key, and so to the result.
//!
//! | asked | answer |
//! |---|---|
//! | node of a path | nothing, or all of the node: type, mode, owner, size, number of names, attributes and what it holds; of a directory without what it holds |
//! | names of a directory | no directory, or a digest of names and types |
//!
//! Times are no part of an answer, as they are no part of what a COPY is known by.

use bake_graph::{Component, InputView, MountKind, Op, Vertex};
use bake_oci::CacheKey;

use crate::key::{INPUT, versioned_key};
use crate::output::Output;

/// Part of every outer key; to be changed whenever what is recorded or answered changes.
const TRACE_VERSION: &str = "bake trace 1";

/// The most slots of a step; the topmost layers are slots, what is below counts as fixed.
pub const SLOTS_MAX: usize = 16;

/// The most questions of a trace that is kept. Answering them takes about 2 µs each, and a step that asks more depends on
/// nearly everything.
pub const QUESTIONS_MAX: usize = 10_000;

/// A trace of at most so many questions is worth keeping on recording, whatever share of the slots it is: they cost the step
/// some 20 ms.
pub const QUESTIONS_LIGHT: usize = 1000;

/// A tree that is asked path by path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// A layer of the root file system, by its number in the stack, base first.
    Layer(usize),
    /// A bind mount, by its number among the mounts of the op.
    Mount(usize),
}

/// The slots of a step, and the key of everything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The key of what is fixed.
    pub outer: CacheKey,
    /// The slots: layers from the base up, then mounts.
    pub slots: Vec<Slot>,
}

/// What can be asked of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Asked {
    /// What is there, without following a link.
    Node,
    /// The names in it.
    Names,
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Question {
    /// The number of the slot in [`Scope::slots`].
    pub slot: u16,
    /// The path in the slot, relative to its root, which is the empty path.
    pub path: Vec<u8>,
    /// What is asked of it.
    pub asked: Asked,
}

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// There is nothing, or no directory.
    Absent,
    /// There is this.
    Node(NodeAnswer),
    /// There is a directory whose names and types have this digest.
    Names([u8; 32]),
}

/// A file, without its times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeAnswer {
    /// A letter for its type, as tree digests have them.
    pub kind: u8,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes of a file or a link's target.
    pub size: u64,
    /// Number of names.
    pub links: u32,
    /// Digest of its extended attributes; zero where there are none.
    pub attributes: [u8; 32],
    /// Digest of what it holds: content, target or device number; zero for everything else.
    pub content: [u8; 32],
}

/// What a step asked, and what it was answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trace {
    entries: Vec<(Question, Answer)>,
}

/// What the worker brings back from a step that was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Traced {
    /// What was asked.
    Trace {
        /// At most [`QUESTIONS_MAX`] questions, with their answers.
        trace: Trace,
        /// How many files and directories there are in the slots.
        slot_paths: u64,
    },
    /// More than [`QUESTIONS_MAX`] questions, which nobody has answered.
    TooMuch,
}

impl Traced {
    /// The trace, if it can be kept.
    pub fn trace(&self) -> Option<&Trace> {
        match self {
            Self::Trace { trace, .. } => Some(trace),
            Self::TooMuch => None,
        }
    }

    /// Whether the step asks for so much that recording it gains nothing.
    pub fn is_heavy(&self) -> bool {
        let Self::Trace { trace, slot_paths } = self else { return true };
        let questions = trace.len();
        questions > QUESTIONS_LIGHT && (questions as u64).saturating_mul(4) > *slot_paths
    }
}

impl Trace {
    /// A trace of these questions; sorted, and each only once.
    pub fn new(mut entries: Vec<(Question, Answer)>) -> Self {
        entries.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        entries.dedup_by(|one, other| one.0 == other.0);
        Self { entries }
    }

    /// Questions and answers, by slot and path.
    pub fn entries(&self) -> &[(Question, Answer)] {
        &self.entries
    }

    /// The number of questions.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing was asked.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The number of paths that something was asked of.
    pub fn paths(&self) -> usize {
        let is_same = |one: &Question, other: &Question| one.slot == other.slot && one.path == other.path;
        self.entries.chunk_by(|one, other| is_same(&one.0, &other.0)).count()
    }

    /// The digest of what was asked, whatever the answers.
    pub fn questions(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for (question, _) in &self.entries {
            hash_question(&mut hasher, question);
        }
        *hasher.finalize().as_bytes()
    }

    /// The key under which the result of a step with these answers is found.
    pub fn key(&self, outer: &CacheKey) -> CacheKey {
        let mut hasher = blake3::Hasher::new();
        hasher.update(TRACE_VERSION.as_bytes());
        hasher.update(&outer.0);
        for (question, answer) in &self.entries {
            hash_question(&mut hasher, question);
            match answer {
                Answer::Absent => hasher.update(b"-"),
                Answer::Names(digest) => hasher.update(b"n").update(digest),
                Answer::Node(node) => {
                    hasher.update(&[b'o', node.kind]);
                    for number in [node.mode, node.uid, node.gid, node.links] {
                        hasher.update(&number.to_le_bytes());
                    }
                    hasher.update(&node.size.to_le_bytes()).update(&node.attributes).update(&node.content)
                }
            };
        }
        CacheKey(*hasher.finalize().as_bytes())
    }
}

fn hash_question(hasher: &mut blake3::Hasher, question: &Question) {
    hasher.update(&question.slot.to_le_bytes());
    hasher.update(&[u8::from(question.asked == Asked::Names)]);
    hasher.update(&(question.path.len() as u64).to_le_bytes());
    hasher.update(&question.path);
}

/// The slots of a step over `inputs`; `None` where it has none, or may depend on what no question shows.
pub fn scope(vertex: &Vertex, inputs: &[&Output]) -> Option<Scope> {
    let Op::Exec(exec) = &vertex.op else { return None };
    if crate::slot::obstacle(vertex, exec).is_some() {
        return None;
    }
    let mounts = (0..exec.mounts.len()).filter(|number| matches!(exec.mounts[*number].kind, MountKind::Bind { .. }));
    let mounts: Vec<Slot> = mounts.map(Slot::Mount).collect();
    let room = SLOTS_MAX.checked_sub(mounts.len())?;
    let layers = inputs.first()?.layers();
    let mut copied: Vec<usize> = (0..layers.len()).filter(|number| layers[*number].copied.is_some()).collect();
    copied.drain(..copied.len().saturating_sub(room));
    if copied.is_empty() && mounts.is_empty() {
        return None;
    }
    let mut components = vertex.op.components();
    for (number, layer) in layers.iter().enumerate() {
        let value = if copied.contains(&number) { "slot".to_owned() } else { layer.tree.hex() };
        components.push(Component::new("layer", value));
    }
    for (number, input) in inputs.iter().enumerate().skip(1) {
        let value = match vertex.op.input_view(number) {
            InputView::Unseen => continue,
            InputView::Selected => "slot".to_owned(),
            InputView::Whole => input.state()?.0.hex(),
        };
        components.push(Component::new(format!("{INPUT}{number}"), value));
    }
    let slots = copied.into_iter().map(Slot::Layer).chain(mounts).collect();
    Some(Scope { outer: versioned_key(TRACE_VERSION, &components), slots })
}
