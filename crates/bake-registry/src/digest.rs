//! Hashing received bytes with whichever algorithm the expected digest names.

use bake_oci::digest::{Algorithm, to_hex};
use bake_oci::{Digest, Digester};

/// Computes the digest of a stream under the algorithm of the digest it is to be compared with.
pub(crate) enum Verifier {
    Sha256(Digester),
    Sha512(ring::digest::Context),
}

impl Verifier {
    /// Starts with no bytes.
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Digester::new()),
            Algorithm::Sha512 => Self::Sha512(ring::digest::Context::new(&ring::digest::SHA512)),
        }
    }

    /// Adds bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(digester) => digester.update(bytes),
            Self::Sha512(context) => context.update(bytes),
        }
    }

    /// The digest of all bytes added.
    pub(crate) fn finish(self) -> Digest {
        match self {
            Self::Sha256(digester) => digester.finish(),
            Self::Sha512(context) => Digest::parse(&format!("sha512:{}", to_hex(context.finish().as_ref())))
                .expect("64 bytes in hexadecimal make a SHA-512 digest"),
        }
    }

    /// The digest of `bytes` under `algorithm`.
    pub(crate) fn digest_of(algorithm: Algorithm, bytes: &[u8]) -> Digest {
        let mut verifier = Self::new(algorithm);
        verifier.update(bytes);
        verifier.finish()
    }
}
