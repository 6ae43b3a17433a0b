//! The build definition: vertices (ops), edges and their digests, in the vocabulary of BuildKit's LLB.
//!
//! Entry point: [`BuildGraph`], filled by a frontend with [`BuildGraph::add`] and walked by a solver.
//!
//! Invariant: a graph is acyclic by construction (a vertex can only take vertices that exist already as inputs), and two
//! vertices with the same definition are one vertex. A definition is complete, serialisable and free of host paths, so
//! that a step can be explained, compared and carried out somewhere else.
//!
//! Must not: know Dockerfiles, or how an op is carried out. It is data only.
#![forbid(unsafe_code)]

mod address;
mod components;
mod graph;
mod op;

pub use address::without_credentials;
pub use components::{Component, InputView, command_words, is_masked};
pub use graph::{BuildGraph, Origin, StepLabel, Vertex, VertexId};
pub use op::{
    CacheMount, CacheSharing, CopyAction, ExecMount, ExecOp, FileAction, FileOp, GitSource, GitTimes, HttpSource,
    ImageOrigin, ImageSource, LocalSource, ModeChange, MountKind, NetworkMode, Op, Owner, OwnerId, RunLimits,
    SecretEnvironment, SecurityMode, SourceOp, Unpack,
};
