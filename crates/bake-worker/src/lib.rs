//! Performs the operations of a build graph on Linux: exec, file changes, and image, local, HTTP and git sources.
//!
//! Entry point: [`LinuxWorker`], which implements `bake_solver::Worker`, and [`StoreCache`], which implements
//! `bake_solver::CacheStore` over the local store. [`Images`] finds out what image references mean.
//!
//! Invariant: here, and only here, sandbox, snapshots, registries and the store meet. Every path that comes from a
//! Dockerfile, a context, an image or a step is walked component by component from a directory descriptor.
//!
//! Must not: decide what is to be done (that is the graph), schedule (that is the solver), print, or read the
//! environment.
#![forbid(unsafe_code)]

mod activity;
mod archive;
mod arrival;
mod cache;
mod cache_mounts;
mod chmod;
mod content;
mod context;
mod copy;
mod destination;
mod exec;
mod fetched;
mod file;
mod git;
mod grants;
mod http;
mod images;
mod imported;
mod layers;
mod limits;
mod mounts;
mod network;
mod packed;
mod reuse;
mod select;
mod source_tree;
mod ssh;
mod step_network;
mod touched;
mod traced;
mod users;
mod verify;
mod worker;

pub use cache::StoreCache;
pub use context::{BuildContext, ContextDirectory, FetchedContext, TEXT_BYTES_MAX};
pub use exec::{
    Bind, CapabilityError, Continuation, ContinuedStep, DebugSession, FailedInput, FailedRoot, FailedStep, ImageRun,
    Missing, Privileges, Started, Streams, SystemCalls, TmpfsMount, capabilities,
};
pub use git::FetchedCommit;
pub use grants::{SecretValue, StepGrants};
pub use images::{ImageError, Images, PinnedImage, Pulled};
pub use imported::{ImportError, ImportProgress, ImportedLayers, ImportedMounts, MountContent};
pub use layers::{LayerDigests, LayerIdentity};
pub use limits::{ResourceLimit, StepLimits};
pub use mounts::cache_mount_id;
pub use network::{Network, NetworkError, known_user, log_in};
pub use packed::unpack_bzip2_or_xz;
pub use ssh::{OwnAgent, SshAgent, SshError};
pub use step_network::{HOST_GATEWAY, StepNetworkOptions, find_pasta};
pub use traced::recording_available;
pub use users::{ACCOUNT_FILES, Accounts, Identity, UserError};
pub use verify::verify_layer;
pub use worker::{Isolation, LinuxWorker, Report, StepIsolation, WorkerOptions};
