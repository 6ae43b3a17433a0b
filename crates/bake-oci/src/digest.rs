//! Content digests and one newtype for every role a digest plays.
//!
//! Mixing up the digest of a compressed blob with the diff ID of its content is the classic image-builder bug,
//! so each role is a type of its own and conversions are explicit.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a string is not a digest, or bytes are not what a digest says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// The text is not `algorithm:lower-case-hex` with a supported algorithm.
    #[error("`{text}` is not a digest: {reason}")]
    Invalid {
        /// The text as given, cut to 128 characters.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Digest algorithms that are accepted (OCI image spec, "Registered algorithms").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256: everything bake writes.
    Sha256,
    /// SHA-512: read only.
    Sha512,
}

impl Algorithm {
    /// The name as it stands in a digest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// The number of bytes of a digest of this algorithm.
    pub fn size_bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

/// The digest of a blob: `sha256:` or `sha512:` and lower-case hexadecimal digits (OCI image spec, "Digests").
///
/// A value of this type is safe to use as a file name: it can hold nothing but the algorithm and hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    hex: Box<str>,
}

impl Digest {
    /// Parses `algorithm:hex`; only `sha256` and `sha512` with lower-case digits of the exact length are accepted.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        let invalid = |reason| DigestError::Invalid { text: text.chars().take(128).collect(), reason };
        let (name, hex) = text.split_once(':').ok_or_else(|| invalid("it has no `:` after the algorithm"))?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ => return Err(invalid("its algorithm is neither sha256 nor sha512")),
        };
        if hex.len() != algorithm.size_bytes() * 2 {
            return Err(invalid("it has the wrong number of digits"));
        }
        if !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(invalid("it has a character that is not a lower-case hexadecimal digit"));
        }
        Ok(Self { algorithm, hex: hex.into() })
    }

    /// The digest whose SHA-256 value is `bytes`.
    pub fn from_sha256(bytes: [u8; 32]) -> Self {
        Self { algorithm: Algorithm::Sha256, hex: to_hex(&bytes).into() }
    }

    /// The SHA-256 digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let mut digester = Digester::new();
        digester.update(bytes);
        digester.finish()
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hexadecimal digits after the colon.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// The first twelve hexadecimal digits, for people.
    pub fn short(&self) -> &str {
        &self.hex[..12]
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;
    fn from_str(text: &str) -> Result<Self, DigestError> {
        Self::parse(text)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Declares a newtype over [`Digest`] for one role.
macro_rules! digest_role {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Digest);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl FromStr for $name {
            type Err = DigestError;
            fn from_str(text: &str) -> Result<Self, DigestError> {
                Digest::parse(text).map(Self)
            }
        }
    };
}

digest_role! {
    /// The digest of a layer's uncompressed tar archive (OCI image config, `rootfs.diff_ids`).
    DiffId
}
digest_role! {
    /// The identity of a stack of layers (OCI image config, "Layer `ChainID`").
    ChainId
}

impl ChainId {
    /// The chain ID of `layers`, base first; `None` for no layers.
    pub fn of(layers: &[DiffId]) -> Option<Self> {
        let (first, rest) = layers.split_first()?;
        Some(rest.iter().fold(Self(first.0.clone()), |chain, layer| chain.extend(layer)))
    }

    /// The chain ID of this stack with one more layer on top.
    #[must_use]
    pub fn extend(&self, layer: &DiffId) -> Self {
        Self(Digest::of(format!("{self} {layer}").as_bytes()))
    }
}

/// Declares a newtype over a 32-byte BLAKE3 value for one role inside bake (never written to an image).
macro_rules! key_role {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The BLAKE3 value of `bytes` in this role.
            pub fn of(bytes: &[u8]) -> Self {
                Self(*blake3::hash(bytes).as_bytes())
            }

            /// The 64 hexadecimal digits.
            pub fn hex(&self) -> String {
                to_hex(&self.0)
            }

            /// Parses 64 lower-case hexadecimal digits.
            pub fn from_hex(text: &str) -> Option<Self> {
                from_hex(text)?.try_into().ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.hex())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.hex())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::from_hex(&text).ok_or_else(|| serde::de::Error::custom("not 64 hexadecimal digits"))
            }
        }
    };
}

key_role! {
    /// What a layer holds: names, types, modes, owners, links, xattrs and content, not times.
    /// Two layers with one tree digest are interchangeable as inputs of a step.
    TreeDigest
}
key_role! {
    /// The identity of a vertex's definition: what is asked, regardless of what its inputs hold.
    DefinitionDigest
}
key_role! {
    /// The identity of a step's result: its definition and the content of everything it can see.
    CacheKey
}

/// The name of a committed layer directory in the local store; safe as a file name (`[a-z0-9-]`, 1 to 80 characters).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SnapshotId(Box<str>);

impl SnapshotId {
    /// How the IDs of [`SnapshotId::for_layer`] begin.
    pub const LAYER_PREFIX: &str = "layer-";
    /// How the IDs of [`SnapshotId::for_chain`] begin.
    pub const CHAIN_PREFIX: &str = "chain-";

    /// Checks that `text` is 1 to 80 characters of `[a-z0-9-]`.
    pub fn new(text: &str) -> Result<Self, DigestError> {
        let fine =
            (1..=80).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if fine {
            Ok(Self(text.into()))
        } else {
            Err(DigestError::Invalid { text: text.chars().take(128).collect(), reason: "it is not a snapshot ID" })
        }
    }

    /// The snapshot of an image layer that needs nothing of the layers below it.
    pub fn for_layer(diff_id: &DiffId) -> Self {
        Self(format!("{}{}", Self::LAYER_PREFIX, diff_id.0.hex().get(..64).unwrap_or_default()).into())
    }

    /// The snapshot of an image layer that was completed from the layers below it (a hard link to a lower file).
    pub fn for_chain(chain_id: &ChainId) -> Self {
        Self(format!("{}{}", Self::CHAIN_PREFIX, chain_id.0.hex().get(..64).unwrap_or_default()).into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SnapshotId {
    type Error = DigestError;
    fn try_from(text: String) -> Result<Self, DigestError> {
        Self::new(&text)
    }
}

impl From<SnapshotId> for String {
    fn from(id: SnapshotId) -> Self {
        id.0.into()
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Computes a SHA-256 digest piece by piece.
///
/// `sha2` is the faster of the two where the CPU has SHA instructions; elsewhere `ring`'s AVX2 code is 1.6 to 2.5 times
/// faster than `sha2`'s portable code, so the choice is made once at run time.
pub struct Digester(Backend);

enum Backend {
    Ring(ring::digest::Context),
    Sha2(sha2::Sha256),
    Sha512(ring::digest::Context),
}

impl fmt::Debug for Digester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digester")
    }
}

impl Default for Digester {
    fn default() -> Self {
        Self::new()
    }
}

impl Digester {
    /// Starts a digest.
    pub fn new() -> Self {
        Self(if cpu_has_sha() {
            Backend::Sha2(sha2::Sha256::default())
        } else {
            Backend::Ring(ring::digest::Context::new(&ring::digest::SHA256))
        })
    }

    /// Starts a digest of `algorithm`, to verify content that others named.
    pub fn for_algorithm(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::new(),
            Algorithm::Sha512 => Self(Backend::Sha512(ring::digest::Context::new(&ring::digest::SHA512))),
        }
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Backend::Ring(context) | Backend::Sha512(context) => context.update(bytes),
            Backend::Sha2(context) => sha2::Digest::update(context, bytes),
        }
    }

    /// The digest of all bytes added.
    pub fn finish(self) -> Digest {
        match self.0 {
            Backend::Ring(context) => {
                Digest { algorithm: Algorithm::Sha256, hex: to_hex(context.finish().as_ref()).into() }
            }
            Backend::Sha2(context) => {
                Digest { algorithm: Algorithm::Sha256, hex: to_hex(&sha2::Digest::finalize(context)).into() }
            }
            Backend::Sha512(context) => {
                Digest { algorithm: Algorithm::Sha512, hex: to_hex(context.finish().as_ref()).into() }
            }
        }
    }
}

impl std::io::Write for Digester {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(target_arch = "x86_64")]
fn cpu_has_sha() -> bool {
    std::arch::is_x86_feature_detected!("sha")
}

#[cfg(target_arch = "aarch64")]
fn cpu_has_sha() -> bool {
    std::arch::is_aarch64_feature_detected!("sha2")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn cpu_has_sha() -> bool {
    true
}

/// Lower-case hexadecimal digits of `bytes`.
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// The bytes that lower-case hexadecimal `text` spells, or `None`.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    let bytes = text.as_bytes();
    if !bytes.len().is_multiple_of(2) {
        return None;
    }
    bytes.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn both_backends_agree() {
        let mut ring = Digester(Backend::Ring(ring::digest::Context::new(&ring::digest::SHA256)));
        let mut sha2 = Digester(Backend::Sha2(sha2::Sha256::default()));
        for piece in [b"ab".as_slice(), b"", &[7; 1000]] {
            ring.update(piece);
            sha2.update(piece);
        }
        assert_eq!(ring.finish(), sha2.finish());
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
    }

    #[test]
    fn only_canonical_digests_parse() {
        assert_eq!(Digest::parse(EMPTY).map(|d| d.to_string()), Ok(EMPTY.to_owned()));
        for bad in [
            "",
            "sha256",
            "sha256:",
            "sha256:abc",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            "SHA256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
            "sha256:../../../../../../../../../../../../../../../../../../../etc/passwd1",
        ] {
            assert!(Digest::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn chain_ids_follow_the_specification() {
        let a = DiffId(Digest::of(b"a"));
        let b = DiffId(Digest::of(b"b"));
        assert_eq!(ChainId::of(&[]), None);
        assert_eq!(ChainId::of(std::slice::from_ref(&a)), Some(ChainId(a.0.clone())));
        let both = ChainId::of(&[a.clone(), b.clone()]);
        assert_eq!(both, Some(ChainId(Digest::of(format!("{a} {b}").as_bytes()))));
    }

    #[test]
    fn hex_round_trips() {
        assert_eq!(from_hex("00ff1a"), Some(vec![0, 255, 26]));
        assert_eq!(from_hex("0"), None);
        assert_eq!(from_hex("0G"), None);
        assert_eq!(to_hex(&[0, 255, 26]), "00ff1a");
    }
}
