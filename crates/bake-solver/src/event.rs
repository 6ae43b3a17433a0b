//! The only thing a build tells the outside world while it works.
//!
//! The events carry what BuildKit's status stream carries (vertexes with digests and inputs, statuses, logs, warnings).

use std::fmt;
use std::time::Duration;

use bake_graph::{StepLabel, VertexId};
use bake_oci::{CacheKey, DefinitionDigest};
use serde::{Deserialize, Serialize};

use crate::explain::Explanation;
use crate::slot::{SlotNote, Untraced};

/// Something that happened in a build.
#[derive(Debug, Clone)]
pub enum BuildEvent {
    /// These steps are going to be looked at; sent once, first.
    Planned {
        /// In an order in which inputs come before users.
        steps: Vec<StepInfo>,
    },
    /// Work on a step began.
    Started {
        /// Which.
        step: VertexId,
    },
    /// A step waits for somebody else, or goes on after that.
    Waiting {
        /// Which.
        step: VertexId,
        /// For what; `None` when it goes on. It goes on without that too, when anything else happens to it.
        awaited: Option<Awaited>,
    },
    /// A step has to be carried out, and this is why.
    Explained {
        /// Which.
        step: VertexId,
        /// Why.
        explanation: Explanation,
    },
    /// What a step asked of the files that were copied for it is known: when it has run, or when the answers are those of a
    /// past run, whose result is used.
    Traced {
        /// Which.
        step: VertexId,
        /// Where that is kept.
        trace: TraceNote,
    },
    /// A step has run without it being known what it asked; after a run that failed it never is.
    Untraced {
        /// Which.
        step: VertexId,
        /// Why.
        why: Untraced,
    },
    /// The result of a past run was not used, because the step, run again to verify it, left something else.
    Refuted {
        /// Which.
        step: VertexId,
        /// The first path that differs; `None` if that cannot be told.
        path: Option<String>,
    },
    /// A step wrote output.
    Log {
        /// Which.
        step: VertexId,
        /// Where it wrote to.
        stream: Stream,
        /// What it wrote; not necessarily whole lines or UTF-8.
        bytes: Vec<u8>,
    },
    /// Bytes are on their way.
    Transfer {
        /// The step they belong to.
        step: VertexId,
        /// What is transferred, for example `pull sha256:1234`.
        id: String,
        /// Bytes so far.
        current: u64,
        /// Bytes in total, where known.
        total: Option<u64>,
    },
    /// Something that is worth knowing about a step.
    Notice {
        /// Which.
        step: VertexId,
        /// The text.
        message: String,
    },
    /// The process of a step has ended, and this is what it used.
    Used {
        /// Which.
        step: VertexId,
        /// What.
        usage: StepUsage,
    },
    /// A step is done.
    Finished {
        /// Which.
        step: VertexId,
        /// How.
        outcome: Outcome,
        /// How long it took, waiting for a slot not included.
        elapsed: Duration,
    },
    /// A step failed; the error itself is in the result of the build.
    Failed {
        /// Which.
        step: VertexId,
        /// Its message.
        message: String,
        /// How long it took.
        elapsed: Duration,
    },
}

/// Where a trace is kept, and what of it people are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceNote {
    /// The outer key of the step.
    pub outer: CacheKey,
    /// The digest of what was asked.
    pub questions: [u8; 32],
    /// The number of paths that something was asked of.
    pub paths: usize,
    /// Whether the result of a past run is used.
    pub reused: bool,
    /// The slots that were asked.
    pub slots: Vec<SlotNote>,
    /// The working directory of the step, which paths are shown relative to.
    pub cwd: String,
}

/// What a step can wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Awaited {
    /// Another build that is making the same thing.
    SameStep,
    /// A cache mount that another step has for itself.
    CacheMount {
        /// Its identity in the Dockerfile.
        id: String,
    },
}

impl fmt::Display for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SameStep => f.write_str("waiting for another build that makes the same"),
            Self::CacheMount { id } => write!(f, "waiting for the cache mount `{id}`, which another step has locked"),
        }
    }
}

/// A step as announced.
#[derive(Debug, Clone)]
pub struct StepInfo {
    /// Its identity in this build.
    pub id: VertexId,
    /// Its definition.
    pub definition: DefinitionDigest,
    /// The definitions it builds on.
    pub inputs: Vec<DefinitionDigest>,
    /// How it is shown.
    pub label: StepLabel,
}

/// What the processes of a step used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepUsage {
    /// Processor time.
    pub processor: Duration,
    /// The largest amount of memory at one time, in bytes: of all of them where a cgroup counted it, else of the largest.
    pub memory_peak_bytes: u64,
    /// Which of the two that is.
    pub memory_of: MemoryOf,
    /// What had to be read from disks, in bytes.
    pub disk_read_bytes: u64,
    /// What was written for disks to take, in bytes.
    pub disk_written_bytes: u64,
    /// Bytes of file content in the layer it made; `None` where it failed.
    pub written_bytes: Option<u64>,
}

/// What an amount of memory was counted of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemoryOf {
    /// All processes of the step together.
    AllProcesses,
    /// The one that had most.
    LargestProcess,
}

/// How a step came to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was carried out.
    Ran,
    /// A result from before was used.
    Cached,
}

/// Where output was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Receives events, from several threads at once. It must not block for long.
pub trait EventSink: Sync + std::fmt::Debug {
    /// Takes an event.
    fn send(&self, event: BuildEvent);
}
