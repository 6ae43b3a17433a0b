//! From facts about a build to in-toto statements, signatures and policy decisions; lock files and pinning of images.
//!
//! Must not: open sockets or files, look at the clock or the environment.
#![forbid(unsafe_code)]

mod image_pattern;
mod key;
mod policy;
mod secretbox;
mod signature;
mod source_policy;

pub use key::{KEY_BYTES_MAX, KeyError, PrivateKeyFile, SigningKey, VerifyingKey};
pub use policy::{Allowed, POLICY_BYTES_MAX, Policy, PolicyError, Refusal, RefusalReason};
pub use signature::{
    ImageSignature, ListedSignature, PAYLOAD_BYTES_MAX, SIGNATURE_ARTIFACT, SIGNATURES_MAX, SignatureManifest,
    SignatureProblem, listed_signatures, signature_tag,
};
pub use source_policy::{SourcePolicy, SourcePolicyError, SourceRefusal};
