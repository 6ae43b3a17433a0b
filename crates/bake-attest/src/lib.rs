//! From facts about a build to in-toto statements, and the manifests that hold them.
//!
//! Entry points: [`Provenance::predicate`] for what is said of a build, [`Statement`] for saying it of an image,
//! [`referrer_manifest`] and [`attestation_manifest`] for the two forms in which it lies beside an image.
//!
//! Invariant: equal facts give equal bytes. Values of build arguments are in a statement only if the caller named them, and
//! addresses only without their credentials.
//!
//! Must not: open sockets or files, look at the clock or the environment.
#![forbid(unsafe_code)]

mod artifact;
mod options;
mod provenance;
mod purl;
mod statement;

pub use artifact::{
    ATTESTATION_ARTIFACT, Artifact, ArtifactError, attestation_manifest, predicate_of, referrer_manifest,
};
pub use options::{OptionError, ProvenanceMode, ProvenanceOptions, SbomOptions};
pub use provenance::{
    BUILD_TYPE, BuildStep, ConfigSource, Dependency, Provenance, ProvenanceArguments, REDACTED, SLSA_PROVENANCE_V1,
};
pub use purl::{image_purl, is_safe_address, shown_address};
pub use statement::{CYCLONEDX, SPDX, STATEMENT_TYPE, Statement, Subject};
