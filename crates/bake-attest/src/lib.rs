//! From facts about a build to in-toto statements, signatures and policy decisions.
//!
//! Entry points: [`Provenance::predicate`] for what is said of a build, [`Statement`] for saying it of an image,
//! [`referrer_manifest`] and [`attestation_manifest`] for the two forms in which it lies beside an image; [`Policy`] and
//! [`SourcePolicy`] for which images a build may use; [`SigningKey`], [`VerifyingKey`], [`ImageSignature`] and
//! [`sign_bundle`] for signatures as `cosign` makes them.
//!
//! Invariants: equal facts give equal bytes and decisions; only new keys and signatures hold random numbers, which come from
//! the system. Values of build arguments are in a statement only if the caller named them, and addresses only without their
//! credentials.
//!
//! Must not: open sockets or files, look at the clock or the environment.
#![forbid(unsafe_code)]

mod artifact;
mod bundle;
mod image_pattern;
mod key;
mod options;
mod policy;
mod provenance;
mod purl;
mod secretbox;
mod signature;
mod source_policy;
mod statement;

pub use artifact::{
    ATTESTATION_ARTIFACT, Artifact, ArtifactError, attestation_manifest, predicate_of, referrer_manifest,
};
pub use bundle::{BUNDLE_BYTES_MAX, SIGSTORE_BUNDLE, bundle_of, may_hold_signature, sign_bundle, verify_bundle};
pub use key::{KEY_BYTES_MAX, KeyError, PrivateKeyFile, SigningKey, VerifyingKey};
pub use options::{OptionError, ProvenanceMode, ProvenanceOptions, SbomOptions};
pub use policy::{Allowed, POLICY_BYTES_MAX, Policy, PolicyError, Refusal, RefusalReason};
pub use provenance::{
    BUILD_TYPE, BuildStep, ConfigSource, Dependency, Provenance, ProvenanceArguments, REDACTED, SLSA_PROVENANCE_V1,
};
pub use purl::{image_purl, is_safe_address, shown_address};
pub use signature::{
    ImageSignature, ListedSignature, PAYLOAD_BYTES_MAX, SIGNATURES_MAX, SignatureManifest, SignatureProblem,
    listed_signatures, signature_tag,
};
pub use source_policy::{SourcePolicy, SourcePolicyError, SourceRefusal};
pub use statement::{CYCLONEDX, SPDX, STATEMENT_TYPE, Statement, Subject};
