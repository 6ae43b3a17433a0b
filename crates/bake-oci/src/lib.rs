//! OCI digests, references, manifests, configs and deterministic layer archives.
pub mod digest;
pub use digest::{CacheKey, ChainId, DefinitionDigest, DiffId, Digest, DigestError, Digester, SnapshotId, TreeDigest};
