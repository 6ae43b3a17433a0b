//! From facts about a build to in-toto statements, signatures and policy decisions; lock files and pinning of images.
//!
//! Must not: open sockets or files, look at the clock or the environment.
#![forbid(unsafe_code)]

mod image_pattern;
mod policy;
mod source_policy;

pub use policy::{Allowed, POLICY_BYTES_MAX, Policy, PolicyError, Refusal, RefusalReason};
pub use source_policy::{SourcePolicy, SourcePolicyError, SourceRefusal};
