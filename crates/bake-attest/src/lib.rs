//! From facts about a build to in-toto statements, signatures and policy decisions.
//!
//! Entry points: [`Policy`] and [`SourcePolicy`] for which images a build may use; [`SigningKey`], [`VerifyingKey`] and
//! [`ImageSignature`] for signatures as `cosign` makes them.
//!
//! Invariant: equal facts give equal bytes and decisions. Only new keys and signatures hold random numbers, which come from the
//! system.
//!
//! Must not: open sockets or files, look at the clock or the environment.
#![forbid(unsafe_code)]

mod bundle;
mod image_pattern;
mod key;
mod policy;
mod secretbox;
mod signature;
mod source_policy;

pub use bundle::{BUNDLE_BYTES_MAX, SIGSTORE_BUNDLE, bundle_of, may_hold_signature, sign_bundle, verify_bundle};
pub use key::{KEY_BYTES_MAX, KeyError, PrivateKeyFile, SigningKey, VerifyingKey};
pub use policy::{Allowed, POLICY_BYTES_MAX, Policy, PolicyError, Refusal, RefusalReason};
pub use signature::{
    ImageSignature, ListedSignature, PAYLOAD_BYTES_MAX, SIGNATURES_MAX, SignatureManifest, SignatureProblem,
    listed_signatures, signature_tag,
};
pub use source_policy::{SourcePolicy, SourcePolicyError, SourceRefusal};
