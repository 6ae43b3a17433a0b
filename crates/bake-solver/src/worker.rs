//! The seam to whatever carries out ops.

use bake_graph::{Vertex, VertexId};
use bake_oci::TreeDigest;

use crate::event::EventSink;
use crate::output::{Layer, Output};
use crate::paths::PathList;
use crate::trace::{Answer, Question, Slot, Traced};

/// Carries out ops. Implementations are called from several threads at once.
pub trait Worker: Sync {
    /// The digest of those paths of `source` that `vertex` selects from its input number `input`.
    fn content_digest(&self, vertex: &Vertex, input: usize, source: &Output) -> Result<ContentDigest, StepError>;

    /// Whether paths of `output` can be looked at without fetching or unpacking anything.
    fn is_here(&self, output: &Output) -> bool;

    /// Brings in a source: layers of an image, a directory's name, a fetched file. Never cached by the solver, so it must be
    /// cheap when nothing has to be fetched.
    fn source(&self, task: &Task<'_>) -> Result<Output, StepError>;

    /// Carries out an exec or file op and returns the layer it adds, with what it asked of [`Task::slots`].
    fn run(&self, task: &Task<'_>) -> Result<Ran, StepError>;

    /// Asks `questions`, sorted, of the slots of `task` as they are now; one answer for each, or `None` if that cannot be told.
    fn answers(&self, task: &Task<'_>, questions: &[Question]) -> Result<Option<Vec<Answer>>, StepError>;

    /// The first path in which two layers differ, for people; `None` if it cannot be told.
    fn first_difference(&self, one: &Layer, other: &Layer) -> Option<String>;

    /// How many of the vertices in `running` have hardly used a processor of late, because they sleep or wait.
    ///
    /// Asked again and again (at most every 20 ms) while something waits for its turn, so it must be cheap.
    fn idle(&self, running: &[VertexId]) -> usize;

    /// Ends everything that runs, soon. Called once or twice, from other threads.
    fn cancel(&self);
}

/// What a worker gets to carry out one vertex.
#[derive(Debug)]
pub struct Task<'a> {
    /// The vertex's identity, for events.
    pub id: VertexId,
    /// What to do.
    pub vertex: &'a Vertex,
    /// The results of its inputs, in order.
    pub inputs: Vec<&'a Output>,
    /// The slots that the step's questions are to be recorded of; none if nothing is to be recorded.
    pub slots: &'a [Slot],
    /// Where progress and output go.
    pub events: &'a dyn EventSink,
}

/// What carrying out a step came to.
#[derive(Debug, Clone)]
pub struct Ran {
    /// The layer that it adds.
    pub layer: Layer,
    /// What it asked of its slots; `None` where that was not recorded, or not completely.
    pub traced: Option<Traced>,
}

impl From<Layer> for Ran {
    fn from(layer: Layer) -> Self {
        Self { layer, traced: None }
    }
}

/// What a selection of paths holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentDigest {
    /// The digest of all of it.
    pub digest: TreeDigest,
    /// Path by path, for explaining a miss.
    pub paths: PathList,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct StepError {
    /// What kind of failure.
    pub kind: StepErrorKind,
    /// What was attempted on what, and what came of it.
    pub message: String,
    /// What would cure it.
    pub hints: Vec<String>,
    /// What lies underneath.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The kinds of failure of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepErrorKind {
    /// The process of a RUN ended with this exit code.
    Exit(i32),
    /// The process of a RUN was ended by this signal.
    Signal(i32),
    /// The Dockerfile, the context or an image does not hold what the step needs.
    Input,
    /// The machine, the store or the network failed.
    Environment,
    /// Only results from before were to be used, and there is none.
    NotCached,
    /// The build was cancelled.
    Cancelled,
}

impl StepError {
    /// The user's input does not fit.
    pub fn input(message: impl Into<String>) -> Self {
        Self { kind: StepErrorKind::Input, message: message.into(), hints: Vec::new(), source: None }
    }

    /// The surroundings failed because of `source`.
    pub fn environment(
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            kind: StepErrorKind::Environment,
            message: message.into(),
            hints: Vec::new(),
            source: Some(source.into()),
        }
    }

    /// The build was cancelled.
    pub fn cancelled() -> Self {
        Self { kind: StepErrorKind::Cancelled, message: "cancelled".into(), hints: Vec::new(), source: None }
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}
